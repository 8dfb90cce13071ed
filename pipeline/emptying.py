"""Emptying the trash: the one place of the platform that deletes, on a person's word alone.

Belongs here: what stands in the trashes, since when, and deleting what has been there long enough. Does not belong
here: moving anything there or back (`pipeline.trash`).

A file is deleted only when, at that moment, its bytes are those of a rendition of ours, its original was read and holds
exactly its own bytes, nothing waits for it, and its folder's day is longer ago than the settings keep it. Everything
else stays and is named.
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

from catalog import emptied
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.renditions import RELEASED
from media.files import SourceChanged, fsync_folder, hash_file, refuse_change
from pipeline.roots import MARKER
from pipeline.trash import trashes

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
        today: The day that counts as today.
        older_than: In days.
        dry_run: Only look.
    """
    done = Emptied()
    for one in contents(roots):
        if (today - one.day).days <= older_than:
            continue
        try:
            reason = _delete(engine, originals, one, dry_run=dry_run)
        except (OSError, SourceChanged) as error:
            reason = str(error)
        if reason is not None:
            done.stay.append((one.path, reason))
            continue
        done.files += 1
        done.bytes += one.size
    return done


def _delete(engine: Engine, originals: Mapping[str, Path], one: InTrash, *, dry_run: bool) -> str | None:
    """Deletes a file, or returns why it stays."""
    before = os.lstat(one.path)
    sha256 = hash_file(str(one.path))["sha256"]
    with engine.begin() as connection:
        reason = _why_it_stays(connection, originals, sha256)
        if reason is not None or dry_run:
            return reason
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
    refuse_change(one.path, before)
    one.path.unlink()
    fsync_folder(one.path.parent)
    _remove_empty_folders(one.path.parent, one.trash)
    return None


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
