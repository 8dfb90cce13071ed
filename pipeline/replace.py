"""Replacement at a destination: what a newer rendition stands for goes to the destination's own trash, on proof.

Belongs here: the one task that shows the new file, proves the old one dispensable and has it moved. Does
not belong here: when that is due, and what is recorded (`pipeline.deliver`).

The new file has a name of its own, so that both stand side by side until the new one is verified. The delivery
remembers what it replaces until this task has been seen to be done, so a run killed at any point is finished by
the next: the old file is either in its place still, or gone from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from catalog.paths import to_text
from pipeline.destination import Destination
from pipeline.proofs import Candidate, Doomed, NotProven, prove
from resources.delivery import Intent


def subject_of(destination: str, remote_path: str) -> str:
    """Returns what a proof about a file at a destination is made for."""
    return f"{destination}:{remote_path}"


def release_replaced(
    destination: Destination,
    folder: Path,
    new: Intent,
    old: Intent,
    candidates: Sequence[Candidate],
    copies_needed: int,
    day: date,
) -> dict[str, str]:
    """Moves what a rendition replaces to the destination's trash; runs in a worker, where the proof is made and used.

    Args:
        destination: Where both stand.
        folder: Its folder.
        new: What is delivered now.
        old: What it replaces.
        candidates: Who else may hold the bytes of the old one. A witness that knows files by another checksum than
            ours, as Apple does, is shown the old file itself, to compute its own of exactly these bytes.
        copies_needed: How many must be proven.
        day: The day that names the folder in the trash.

    Returns:
        `done` in words, or the `reason` why the old one stays.
    """
    shown = destination.evidence(new)
    if not shown.proves(new.sha256, new.size):
        return {"reason": f"the new rendition is not proven now ({shown.reason or shown.verdict}); the old one stays"}
    there = destination.evidence(old)
    if there.verdict == "absent":
        return {"done": f"{to_text(old.remote_path)} is gone from its place"}
    doomed = Doomed(
        folder / old.remote_path,
        subject_of(destination.name, old.remote_path),
        old.sha256,
        int(str(there.facts.get("size", old.size))),
        "rendition",
        held_by=destination.name,
    )
    shown_to = [
        replace(one, intent=replace(one.intent, source=str(doomed.path), size=doomed.size)) for one in candidates
    ]
    try:
        proof = prove(doomed, shown_to, copies_needed)
    except NotProven as error:
        return {"reason": f"the rendition that it replaces stays: {error}"}
    place = destination.release(proof, old.remote_path, day)
    seen = ", ".join(f"{copy.destination}: {to_text(copy.remote_path)} at {copy.at:%F %T} UTC" for copy in proof.copies)
    return {"done": f"{to_text(old.remote_path)} → {to_text(place)}; proven at {seen}"}
