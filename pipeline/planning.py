"""Which dates a run should cover, and whether the disks have room for it.

Belongs here: merging dates into few ranges, and the estimate of space before anything is written.
Does not belong here: asking for a run (`sensors`, `jobs`), or starting one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from catalog.work import Scope

MOST_DAYS = 366  # in one range: Dagster writes every day of a run down before the run stores its first photo
RESERVE_BYTES = 500_000_000  # what a machine needs to stay usable, and PostgreSQL to stay up


def merge_dates(dates: Iterable[date], gap_days: int) -> list[Scope]:
    """Merges dates into ranges of at most a year: an empty date costs far less than another run.

    Args:
        dates: In any order.
        gap_days: Two dates that are at most so many days apart share a range.

    Returns:
        Ranges that cover every date, in order, without overlap.
    """
    scopes: list[Scope] = []
    for day in sorted(set(dates)):
        near = bool(scopes) and (day - scopes[-1].last).days <= gap_days
        if near and (day - scopes[-1].first).days < MOST_DAYS:
            scopes[-1] = Scope(scopes[-1].first, day)
        else:
            scopes.append(Scope(day, day))
    return scopes


@dataclass(frozen=True, slots=True)
class Shortage:
    """A disk that lacks room.

    Attributes:
        path: A folder on it.
        needed: Bytes that the run would write there.
        free: Bytes that are free there now.
    """

    path: Path
    needed: int
    free: int

    def __str__(self) -> str:
        return (
            f"{self.path} has {self.free / 1e9:.1f} GB free; about {self.needed / 1e9:.1f} GB would be written there, "
            f"and {RESERVE_BYTES / 1e9:.1f} GB should stay free. Make room or set another folder in mediapipe.toml."
        )


def shortages(writes: Sequence[tuple[Path, int]], free: Mapping[int, int] | None = None) -> list[Shortage]:
    """Returns the disks on which a run would not find room.

    Args:
        writes: A folder and the bytes that would be written below it, at most.
        free: Free bytes by device number, in place of asking the system.
    """
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for folder, size in writes:
        existing = _existing(folder)
        device = os.stat(existing).st_dev
        needed[device] = needed.get(device, 0) + size
        folders.setdefault(device, existing)
    found = []
    for device, size in needed.items():
        available = _free(folders[device]) if free is None else free[device]
        if size and size + RESERVE_BYTES > available:
            found.append(Shortage(folders[device], size, available))
    return found


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _free(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
