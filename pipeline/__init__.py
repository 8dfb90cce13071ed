"""The stage loop, claims, proofs and the destination protocol.

Belongs here: what is done with a file at each stage, in which order, and what is recorded of it.
Does not belong here: Dagster (`mediapipe_assets`), how an outside system is spoken to (`resources`),
SQL (`catalog`), bytes and pixels (`media`).
"""
