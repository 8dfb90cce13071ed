"""What the platform costs: ratios against a bare script, not timed tests.

Belongs here: programs that synthesise their inputs in a temporary folder, measure, print and clean up;
`python -m benchmarks.prove` runs them all. Does not belong here: tests (`tests`), anything that the
product imports, or a path of one machine.
"""
