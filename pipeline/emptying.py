"""Emptying the trash: the one place of the platform that deletes, on a person's word alone.

Belongs here: what stands in the trashes, since when, and deleting what has been there long enough. Does not belong
here: moving anything there or back (`pipeline.trash`).

A file is deleted only on a proof, as everything that leaves its place: enough copies of exactly its bytes were read
elsewhere at that moment. Besides, its bytes are those of a rendition of ours, its original was read and holds exactly
its own bytes, nothing waits for it, and its folder's day is longer ago than the settings keep it. Everything else stays
and is named.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from sqlalchemy import Connection, Engine

from catalog import emptied, renditions
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.renditions import RELEASED
from media.files import SourceChanged, fsync_folder, hash_file, refuse_change
from pipeline import layout
from pipeline.proofs import Candidate, Doomed, KeptFolder, NotProven, SafeDeleteProof, Witness, prove
from pipeline.roots import MARKER
from pipeline.trash import trashes
from resources.delivery import Intent

_TAG = "trash"
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(-\d+)?")


@dataclass(frozen=True, slots=True)
class InTrash:
    """A file in a trash.

    Attributes:
        path: Where it is.
        trash: The trash.
        day: When it went there.
        size: Its bytes.
    """

    path: Path
    trash: Path
    day: date
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the trashes hold together."""

    files: int
    bytes: int
    oldest: date | None


@dataclass(slots=True)
class Emptied:
    """What became of the files that have been there long enough."""

    files: int = 0
    bytes: int = 0
    stay: list[tuple[Path, str]] = field(default_factory=list)


def contents(roots: Mapping[str, Path]) -> Iterator[InTrash]:
    """Yields every file that was moved to a trash; what lies elsewhere in it is not ours to judge."""
    for trash, _ in trashes(roots):
        for folder in sorted(trash.iterdir()) if trash.is_dir() else []:
            day = _day_of(folder)
            if day is None or folder.is_symlink():
                continue
            for base, folders, names in os.walk(folder):
                folders.sort()
                for name in sorted(names):
                    seen = os.lstat(path := Path(base, name))
                    if name != MARKER and stat.S_ISREG(seen.st_mode):
                        yield InTrash(path, trash, day, seen.st_size)


def summary(roots: Mapping[str, Path]) -> Summary:
    """Returns how much the trashes hold, and since when."""
    files = list(contents(roots))
    return Summary(len(files), sum(one.size for one in files), min((one.day for one in files), default=None))


def empty(
    engine: Engine,
    roots: Mapping[str, Path],
    originals: Mapping[str, Path],
    witnesses: Mapping[str, Witness],
    copies_needed: int,
    today: date,
    older_than: int,
    *,
    dry_run: bool,
) -> Emptied:
    """Deletes what has been in the trash for more days than that and can be spared.

    Args:
        engine: The catalog.
        roots: The roots that are written to, by name.
        originals: Where originals stand, by the name of their root.
        witnesses: Who may hold copies, by name.
        copies_needed: How many must be proven.
        today: The day that counts as today.
        older_than: In days.
        dry_run: Only look.
    """
    done = Emptied()
    holders = {**witnesses, layout.RENDITIONS: KeptFolder(layout.RENDITIONS, roots[layout.RENDITIONS])}
    for one in contents(roots):
        if (today - one.day).days <= older_than:
            continue
        try:
            reason = _delete(engine, originals, holders, copies_needed, one, dry_run=dry_run)
        except (OSError, SourceChanged) as error:
            reason = str(error)
        if reason is not None:
            done.stay.append((one.path, reason))
            continue
        done.files += 1
        done.bytes += one.size
    return done


def _delete(
    engine: Engine,
    originals: Mapping[str, Path],
    holders: Mapping[str, Witness],
    copies_needed: int,
    one: InTrash,
    *,
    dry_run: bool,
) -> str | None:
    """Deletes a file, or returns why it stays."""
    before = os.lstat(one.path)
    sha256 = hash_file(str(one.path))["sha256"]
    with engine.connect() as connection:
        reason = _why_it_stays(connection, originals, sha256)
        candidates = _candidates(connection, holders, one, sha256)
    if reason is not None:
        return reason
    try:
        proof = prove(Doomed(one.path, str(one.path), sha256, one.size, "rendition"), candidates, copies_needed)
    except NotProven as lacking:
        return str(lacking)
    if dry_run:
        return None
    with engine.begin() as connection:
        # The record comes first: of a file that a kill leaves behind nothing is promised, and the next time takes it.
        emptied.forget_trashed(connection, [to_text(str(one.path.relative_to(one.trash)))])
        for origin in emptied.origins_of(connection, sha256):
            log_event(
                connection,
                run_id="trash empty",
                stage=RELEASED,
                event="deleted from the trash",
                media_file_id=origin.original.media_file_id,
                detail=to_text(str(one.path)),
            )
    _erase(proof, one, before)
    return None


def _erase(proof: SafeDeleteProof, one: InTrash, before: os.stat_result) -> None:
    """Deletes the very file that a proof is for."""
    if proof.subject != str(one.path):
        raise NotProven(f"the proof is for {proof.subject}, not for {one.path}")
    refuse_change(one.path, before)
    one.path.unlink()
    fsync_folder(one.path.parent)
    _remove_empty_folders(one.path.parent, one.trash)


def _candidates(connection: Connection, holders: Mapping[str, Witness], one: InTrash, sha256: str) -> list[Candidate]:
    """Returns who is said to hold the same bytes: destinations, and for a destination's trash our own renditions."""
    found = [
        Candidate(
            holders[copy.destination],
            Intent(str(one.path), from_text(copy.remote_path), sha256, one.size, _TAG, copy.remote_ids),
            "original" if copy.role == "original" else "rendition",
        )
        for copy in emptied.copies_of(connection, sha256)
        if copy.destination in holders
    ]
    if (standing := renditions.standing_rendition(connection, sha256)) is not None:
        intent = Intent(str(one.path), from_text(standing[0]), sha256, one.size, _TAG)
        found.append(Candidate(holders[layout.RENDITIONS], intent, "rendition"))
    return found


def _why_it_stays(connection: Connection, originals: Mapping[str, Path], sha256: str) -> str | None:
    if emptied.is_original(connection, sha256):
        return "it holds the bytes of an original; originals are never deleted"
    origins = emptied.origins_of(connection, sha256)
    if not origins:
        return "the catalog does not know its bytes, so nobody knows whether they exist elsewhere"
    if (reason := emptied.still_wanted(connection, sha256)) is not None:
        return reason
    for origin in origins:
        root = originals.get(origin.original.root)
        if root is None:
            return f"the folder of its original ({origin.original.root}) is not in the settings"
        path = root / from_text(origin.original.path)
        try:
            found = hash_file(str(path), cold=True)["sha256"]
        except OSError as error:
            return f"its original cannot be read at {path} ({error.strerror})"
        if found != origin.sha256:
            return f"its original at {path} no longer holds its bytes"
    return None


def _day_of(folder: Path) -> date | None:
    found = _DAY.fullmatch(folder.name)
    if found is None:
        return None
    try:
        return date.fromisoformat(found[1])
    except ValueError:
        return None


def _remove_empty_folders(folder: Path, trash: Path) -> None:
    while folder != trash:
        try:
            folder.rmdir()
        except OSError:
            return  # not empty
        folder = folder.parent
