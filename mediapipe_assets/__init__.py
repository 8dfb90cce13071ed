"""What Dagster shows: assets, checks, partitions, and `definitions.py`, the only place of assembly.

Belongs here: the thin layer between Dagster and the pipeline, and the command line that starts runs.
Does not belong here: what is done with a file (`pipeline`), SQL (`catalog`), bytes (`media`).
"""
