"""Discovery: what a folder holds that the catalog does not know, and what has left it.

Belongs here: comparing a listing with the catalog in bulk, dating what is new, and recognising a
source that is away. Does not belong here: hashing, decoding, or storing (`pipeline.storing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from catalog import sources
from catalog.paths import from_text
from media.capture import CaptureDate, read_capture_date
from media.kinds import Kind
from pipeline.failures import RefusedForSafety
from resources.folder import Listing, folder_of, is_edit, list_folder, stem_key

CHUNK = 1000
READERS = 8  # header reads wait for the disk or the mount, not for the processor
CLOCK_SKEW_SECONDS = 60
LEAD_ORDER = {Kind.PHOTO: 0, Kind.RAW: 1, Kind.VIDEO: 2, Kind.SIDECAR: 3}
_WRITTEN_BY_A_CAMERA = ("exif_offset", "exif", "quicktime", "quicktime_utc")
_NO_DATE = ("file_time", "first_seen")


@dataclass(frozen=True, slots=True)
class FolderSpec:
    """A folder source, as the settings describe it."""

    name: str
    path: Path
    copied: bool = True
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    settle_seconds: float = 5.0
    away_share: float = 0.5


@dataclass(frozen=True, slots=True)
class DateRules:
    """How a capture date becomes a partition.

    Attributes:
        timezone: The zone of files that give only UTC.
        start: The first partition; older photos belong to it.
        now: The present moment, with its zone.
    """

    timezone: str
    start: date
    now: datetime

    @property
    def last(self) -> date:
        """The last partition: in Auckland it is tomorrow already."""
        return self.now.date() + timedelta(days=1)

    def partition(self, day: date) -> tuple[date, str | None]:
        """Returns the partition of a capture day, and a flag when it is another day: `before_start` or `future`."""
        if day < self.start:
            return self.start, "before_start"
        if day > self.last:
            return self.now.date(), "future"
        return day, None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What one look at a source found.

    Attributes:
        source: Its name.
        listed: Files that it holds.
        new: Observations that were recorded.
        new_bytes: Their size.
        gone: Files that left it.
        unsettled: Files still being written, left for the next look.
        left: New files beyond the limit, likewise.
        unreadable: Folders that could not be entered and files that could not be looked at, with the reason.
        digest: To hand in at the next look; None when that one must compare again.
    """

    source: str
    listed: int
    new: int
    new_bytes: int
    gone: int
    unsettled: int
    left: int
    unreadable: Sequence[tuple[str, str]]
    digest: str | None


def look(
    engine: Engine,
    spec: FolderSpec,
    rules: DateRules,
    *,
    limit: int | None = None,
    known_digest: str | None = None,
    record: bool = True,
) -> Discovery:
    """Looks at a source and records what is new and what is gone.

    Args:
        engine: The catalog.
        spec: The source.
        rules: How dates become partitions.
        limit: Record at most about so many new files; the rest is `left`.
        known_digest: The digest of an earlier look; when the listing still has it, the catalog is not asked.
        record: False to compare only, for a dry run.

    Raises:
        SourceMissing: The folder is not there or cannot be read.
        RefusedForSafety: The source lost so much at once that it is taken for away.
    """
    listing = list_folder(spec.path, spec.include, spec.exclude)
    if known_digest is not None and listing.digest == known_digest:
        return Discovery(spec.name, len(listing.files), 0, 0, 0, 0, 0, listing.unreadable, known_digest)
    with engine.begin() as connection:
        if record:
            sources.register_source(connection, spec.name, "folder", str(spec.path))
        present = _present(sources.present_files(connection, spec.name))
    if lost := _lost(spec, listing, present):
        if record:
            with engine.begin() as connection:
                sources.record_away(connection, spec.name)
        raise RefusedForSafety(
            f"The source “{spec.name}” at {spec.path} suddenly lacks {lost} of the {len(present)} files it held, so it "
            "is taken for away, not for emptied. Is its disk mounted? Nothing was touched. If you removed them "
            f"yourself, set sources.{spec.name}.away_share = 1 in mediapipe.toml and run again; our copies stay in any "
            "case."
        )
    keys = ["path", "size", "mtime_ns"]
    new = listing.files.join(present, on=keys, how="anti")
    gone = _really_gone(present.join(listing.files, on=keys, how="anti"), listing)
    settled = new.filter(~_still_written(spec, rules))
    groups = _groups(settled)
    taken, left = _capped(groups, limit)
    if record:
        with engine.begin() as connection:
            sources.mark_gone(connection, gone["id"].to_list())
        for chunk in _chunks(taken):
            _record(engine, spec, rules, chunk)
        with engine.begin() as connection:
            sources.record_listing(connection, spec.name, len(listing.files))
    unsettled = len(new) - len(settled)
    complete = record and not (unsettled or left or listing.unreadable)
    return Discovery(
        source=spec.name,
        listed=len(listing.files),
        new=sum(len(group) for group in taken),
        new_bytes=sum(row.size for group in taken for row in group),
        gone=len(gone),
        unsettled=unsettled,
        left=left,
        unreadable=listing.unreadable,
        digest=listing.digest if complete else None,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    size: int
    mtime_ns: int
    kind: Kind
    folder: str
    stem: str


def _present(rows: list[tuple[int, str, int, int]]) -> pl.DataFrame:
    schema = {"id": pl.Int64, "path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _lost(spec: FolderSpec, listing: Listing, present: pl.DataFrame) -> int:
    """Returns how many files a source lost when that is more than it may lose at once, else 0."""
    missing = _really_gone(present.join(listing.files, on="path", how="anti"), listing)
    # What was renamed or sorted into other folders is there under another path.
    arrived = listing.files.join(present, on="path", how="anti")
    lost = len(missing.join(arrived, on=["size", "mtime_ns"], how="anti"))
    return lost if lost > spec.away_share * len(present) else 0


def _really_gone(gone: pl.DataFrame, listing: Listing) -> pl.DataFrame:
    """Leaves out what could not be looked at, and what stands in such folders: it is out of sight, not gone."""
    for path, _ in listing.unreadable:
        gone = gone.filter(~(pl.col("path").str.starts_with(f"{path}/") | (pl.col("path") == path)))
    return gone


def _still_written(spec: FolderSpec, rules: DateRules) -> pl.Expr:
    # The change time moves with every write and cannot be set back, as a copied modification time is.
    # One far in the future is a clock that is wrong, not a file that is new.
    age = int(rules.now.timestamp() * 1e9) - pl.col("ctime_ns")
    return age.is_between(int(-CLOCK_SKEW_SECONDS * 1e9), int(spec.settle_seconds * 1e9), closed="none")


def _groups(files: pl.DataFrame) -> list[list[_Found]]:
    """Returns what shares a folder and a stem, the lead first."""
    found = [
        _Found(path, size, mtime_ns, Kind(kind), folder_of(path), stem_key(path))
        for path, size, mtime_ns, _, kind in files.iter_rows()
    ]
    found.sort(key=lambda row: (row.folder, row.stem, LEAD_ORDER[row.kind], is_edit(row.path), row.path))
    return [list(rows) for _, rows in groupby(found, key=lambda row: (row.folder, row.stem))]


def _capped(groups: list[list[_Found]], limit: int | None) -> tuple[list[list[_Found]], int]:
    if limit is None:
        return groups, 0
    taken: list[list[_Found]] = []
    count = 0
    for group in groups:
        if count >= limit:
            break
        taken.append(group)
        count += len(group)
    return taken, sum(len(group) for group in groups) - count


def _chunks(groups: list[list[_Found]]) -> Iterator[list[list[_Found]]]:
    chunk: list[list[_Found]] = []
    for group in groups:
        chunk.append(group)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _record(engine: Engine, spec: FolderSpec, rules: DateRules, groups: list[list[_Found]]) -> None:
    with ThreadPoolExecutor(READERS) as readers:
        dated = list(readers.map(lambda group: _dates(spec, rules, group), groups))
    with engine.begin() as connection:
        earlier = sources.group_dates(connection, spec.name, [(group[0].folder, group[0].stem) for group in groups])
        rows = []
        for group, dates in zip(groups, dated, strict=True):
            rows += _observations(spec, rules, group, dates, earlier.get((group[0].folder, group[0].stem)))
        sources.add_observations(connection, rows)


def _dates(spec: FolderSpec, rules: DateRules, group: list[_Found]) -> list[CaptureDate]:
    """Reads each member's own date; one that has none takes what a camera wrote into the file beside it.

    A Live Photo's still that was exported without its EXIF would otherwise be dated by its file time, years from its
    other half.
    """
    sidecars = [spec.path / from_text(row.path) for row in group if row.kind is Kind.SIDECAR]
    dates = [_date(spec, rules, row, sidecars) for row in group]
    lent = next((date for date in dates if date.provenance in _WRITTEN_BY_A_CAMERA), None)
    return dates if lent is None else [lent if date.provenance in _NO_DATE else date for date in dates]


def _date(spec: FolderSpec, rules: DateRules, row: _Found, sidecars: Sequence[Path]) -> CaptureDate:
    path = spec.path / from_text(row.path)
    beside = [] if row.kind is Kind.SIDECAR else sidecars
    try:
        return read_capture_date(
            path, timezone=rules.timezone, mtime_ns=row.mtime_ns, first_seen=rules.now, sidecars=beside
        )
    except OSError:
        # It cannot be read just now: it gets a date all the same. Before it is stored it is dated anew, or what is
        # wrong with it is said there (`pipeline.dating`).
        return CaptureDate(rules.now.replace(tzinfo=None), None, "first_seen")


def _observations(
    spec: FolderSpec,
    rules: DateRules,
    group: list[_Found],
    dates: Sequence[CaptureDate],
    earlier: date | None,
) -> list[Mapping[str, object]]:
    lead = dates[0]
    shared, flag = rules.partition(lead.local.date())
    if earlier is not None:
        shared, flag = earlier, None
    rows: list[Mapping[str, object]] = []
    for row, own in zip(group, dates, strict=True):
        day, day_flag = shared, flag
        if stands_alone(row.kind, own, shared):
            day, day_flag = rules.partition(own.local.date())
        rows.append(
            {
                "source": spec.name,
                "source_id": row.path,
                "version": f"{row.size}-{row.mtime_ns}",
                "folder": row.folder,
                "stem_key": row.stem,
                "kind": row.kind.value,
                "size": row.size,
                "mtime_ns": row.mtime_ns,
                "capture_local": own.local,
                "capture_offset_minutes": own.offset_minutes,
                "capture_provenance": own.provenance,
                "capture_flag": day_flag,
                "partition_date": day,
            }
        )
    return rows


def stands_alone(kind: Kind, own: CaptureDate, shared: date) -> bool:
    """Returns whether a camera wrote another day into a file: the name came round again, it is no half of a pair."""
    camera = own.provenance in _WRITTEN_BY_A_CAMERA and kind is not Kind.SIDECAR
    return camera and abs((own.local.date() - shared).days) > 1
