"""Level 4 of a phone: what a person's sample of Google Photos shows of what was delivered.

Belongs here: comparing a Takeout with the catalog, and what is recorded of it. Does not belong here: reading a Takeout
(`resources.takeout`), or how far Syncthing brought a file (`resources.pixel`).

By hash: Google Photos holds exactly the bytes that were delivered. By metadata, which is weaker: it holds a photo of
the same name, moment and measures, whose bytes are others, as after a backup in less than original quality. Neither
says that it was the phone that uploaded it, and a sample says nothing of what is not in it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine

from catalog import placed_files
from catalog.paths import name_key, to_text
from catalog.placed_files import Comparable, Confirmed, Known
from media.dimensions import dimensions
from resources.takeout import Sampled, Takeout, Unreadable

BATCH = 200
NAMED_FILES = 20
MOST_TEMPORARY = 1 << 30  # bytes of one file that are written down to be measured
SAME_MOMENT = timedelta(seconds=2)
ZONES = timedelta(hours=14)  # no clock is further from UTC
QUARTER = 900  # seconds; every zone is a multiple of them from UTC

Progress = Callable[[int, int, float], None]


@dataclass(slots=True)
class Confirmation:
    """What a sample showed.

    Attributes:
        destination: The phone.
        files: Photos and films of the sample.
        by_hash: Those whose very bytes were delivered.
        by_metadata: Those that look like a delivered file by name, moment and measures, and hold other bytes.
        newly_confirmed: Deliveries that no earlier sample had confirmed, or only by what is weaker.
        not_delivered: Files of the sample that are known and were not seen to reach the phone; nothing is recorded of
            them.
        edited: Copies that were edited in Google Photos; their originals are in the sample.
        trashed: Files that lie in Google Photos' trash, and so are about to be deleted there.
        not_found: Files of the sample that nothing delivered fits, with the reason.
        unreadable: What could not be read, with the reason.
        first: The first day of the sample, None where it has none.
        last: The last one.
        missing: Delivered files of these days that are not in the sample.
        missing_first: The first few of them.
    """

    destination: str
    files: int = 0
    by_hash: int = 0
    by_metadata: int = 0
    newly_confirmed: int = 0
    not_delivered: int = 0
    edited: int = 0
    trashed: list[str] = field(default_factory=list)
    not_found: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    first: date | None = None
    last: date | None = None
    missing: int = 0
    missing_first: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything in the sample was recognised; of an empty one nothing was."""
        return self.files > 0 and not (self.not_found or self.unreadable or self.trashed)


def confirm(engine: Engine, destination: str, takeout: Takeout, progress: Progress | None = None) -> Confirmation:
    """Compares a sample with what was delivered to a phone, and records what it confirms.

    What it confirms is committed some hundred files at a time; doing it again changes nothing.

    Args:
        engine: The catalog.
        destination: The phone.
        takeout: The sample.
        progress: Called with files compared, files to compare, seconds.
    """
    files = takeout.files()
    comparison = _Comparison(engine, destination)
    start = time.monotonic()
    remaining = iter(files)
    while batch := list(islice(remaining, BATCH)):
        comparison.take(batch)
        if progress is not None:
            progress(comparison.found.files, len(files), time.monotonic() - start)
    comparison.found.unreadable += dict.fromkeys(takeout.unreadable)
    comparison.look_for_missing()
    return comparison.found


class _Comparison:
    """One sample on its way through."""

    def __init__(self, engine: Engine, destination: str) -> None:
        self.found = Confirmation(destination)
        self._engine = engine
        self._destination = destination
        self._held: set[int] = set()
        with engine.connect() as connection:
            self._sizes = placed_files.placed_sizes(connection, destination)

    def take(self, batch: Sequence[Sampled]) -> None:
        """Compares some files."""
        self.found.files += len(batch)
        present = [one for one in batch if not self._is_trashed(one)]
        hashes = [(one, self._hash(one)) for one in present]
        with self._engine.connect() as connection:
            known = placed_files.placed_with_hashes(connection, self._destination, [sha for _, sha in hashes if sha])
        exact: list[Known] = []
        alike: list[Known] = []
        for one, sha256 in hashes:
            if sha256 is None:
                continue
            if sha256 in known:
                self.found.by_hash += 1
                exact += self._seen(known[sha256])
            elif one.edited:
                self.found.edited += 1
                self._add_day(one)
            else:
                alike += self._seen(self._by_metadata(one))
        self._record(exact, alike)

    def look_for_missing(self) -> None:
        """Finds what was delivered in the days of the sample and is not in it."""
        if self.found.first is None or self.found.last is None:
            return
        with self._engine.connect() as connection:
            self.found.missing, self.found.missing_first = placed_files.not_among(
                connection, self._destination, (self.found.first, self.found.last), sorted(self._held), NAMED_FILES
            )

    def _record(self, exact: Sequence[Known], alike: Sequence[Known]) -> None:
        groups: list[tuple[Sequence[Known], Confirmed]] = [(exact, "hash"), (alike, "metadata")]
        with self._engine.begin() as connection:
            for known, by in groups:
                ids = [one.delivery_id for one in known]
                self.found.newly_confirmed += placed_files.record_confirmed(connection, ids, by)

    def _is_trashed(self, one: Sampled) -> bool:
        if one.trashed:
            self.found.trashed.append(one.name)
            self._add_day(one)
        return one.trashed

    def _hash(self, one: Sampled) -> str | None:
        """Returns a file's hash; an empty text where its size tells already that it is none of ours."""
        if one.size not in self._sizes:
            return ""
        digest = hashlib.sha256()
        try:
            for block in one.blocks():
                digest.update(block)
        except Unreadable as error:
            self.found.unreadable.append((one.name, str(error)))
            return None
        return digest.hexdigest()

    def _by_metadata(self, one: Sampled) -> list[Known]:
        self._add_day(one)
        reason = ""
        if one.taken is None:
            reason = "no delivered file has these bytes, and there is no JSON that says when it was taken"
        else:
            fitting = [row for row in self._of_these_days(one.taken) if _is_of(row, one, one.taken)]
            if not fitting:
                reason = "no delivered file has these bytes, or this name and time"
            elif not (same := self._of_same_measures(one, fitting)):
                reason = "a file of this name and time was delivered, and has other measures"
            elif len(same) > 1:
                reason = f"{len(same)} delivered files have this name, time and measures"
            else:
                self.found.by_metadata += 1
                return list(same)
        self.found.not_found.append((one.name, reason))
        return []

    def _of_these_days(self, taken: datetime) -> list[Comparable]:
        day = taken.date()
        days = [day + timedelta(days=step) for step in (-1, 0, 1)]
        with self._engine.connect() as connection:
            return placed_files.placed_on(connection, self._destination, days)

    def _of_same_measures(self, one: Sampled, fitting: Sequence[Comparable]) -> list[Comparable]:
        same = [row for row in fitting if row.size == one.size]
        measured = [row for row in fitting if row.width is not None and row.height is not None]
        if same or not measured or (stated := self._measured(one)) is None:
            return same
        # Turned or not: Google turns what it encodes anew.
        return [row for row in measured if sorted(stated) == sorted((row.width or 0, row.height or 0))]

    def _measured(self, one: Sampled) -> tuple[int, int] | None:
        if one.size > MOST_TEMPORARY:
            return None
        try:
            with _written_down(one) as path:
                return dimensions(path, one.title)
        except Unreadable:
            return None

    def _seen(self, known: Sequence[Known]) -> list[Known]:
        """Notes files that the sample holds, and returns those that are known to have reached the phone."""
        delivered = [one for one in known if one.delivered]
        self.found.not_delivered += bool(known) and not delivered
        self._held.update(one.delivery_id for one in known)
        for one in known:
            self._widen(one.partition_date)
        return delivered

    def _add_day(self, one: Sampled) -> None:
        if one.taken is not None:
            self._widen(one.taken.date())

    def _widen(self, day: date) -> None:
        self.found.first = min(day, self.found.first or day)
        self.found.last = max(day, self.found.last or day)


def _is_of(row: Comparable, one: Sampled, taken: datetime) -> bool:
    """Returns whether a file of the sample has the name and the moment of a delivered one."""
    title = name_key(to_text(one.title))
    if title not in (name_key(os.path.basename(row.path)), name_key(row.name)):
        return False
    local = row.capture_local.replace(tzinfo=UTC)
    if row.offset_minutes is not None and abs(local - timedelta(minutes=row.offset_minutes) - taken) <= SAME_MOMENT:
        return True
    # Of a photo that does not say its zone, Google guesses one.
    between = taken - local
    within = abs((between.total_seconds() + QUARTER / 2) % QUARTER - QUARTER / 2) <= SAME_MOMENT.total_seconds()
    return within and abs(between) <= ZONES + SAME_MOMENT


@contextmanager
def _written_down(one: Sampled) -> Iterator[Path]:
    """Writes a file of the sample to a place without a name of its own, no more of it than it promised."""
    with tempfile.NamedTemporaryFile(prefix="mediapipe-takeout-") as handle:
        left = one.size
        for block in one.blocks():
            left -= handle.write(block)
            if left < 0:
                raise Unreadable("it is longer than it promised")
        handle.flush()
        yield Path(handle.name)
