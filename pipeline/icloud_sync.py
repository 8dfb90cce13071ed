"""Discovery in iCloud: what the changes feed says, as observations of the days on which photos were taken.

Belongs here: reading the feed from where it was left, putting the halves of an asset together, and recording what is
new, changed and gone. Does not belong here: speaking to Apple (`resources.icloud`), or downloading
(`pipeline.icloud_originals`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from catalog import icloud, icloud_uploads, sidecars, sources
from catalog.icloud import StoredRecord
from catalog.paths import to_text
from media.capture import CaptureDate
from media.kinds import Kind, kind_of_name
from pipeline.discovery import DateRules
from resources.icloud import Answer
from resources.icloud_errors import Away, TokenTooOld
from resources.icloud_records import Asset, Part, Record, asset_of, read_record

LAST_NS = 2**63 - 1  # in the year 2262; a broken date may lie beyond
MOST_ROUNDS = 10  # a library that changes faster than it can be read is complete enough; the next sync goes on
DAYS_TO_READ_ANEW = 7  # while Apple counts more photos than it has listed
MOST_REFUSALS = 4  # of its own tokens by Apple, in one sync
_NO_ORIGINAL = (
    "iCloud lists it without its original; open it once on the phone or on icloud.com, then it is tried again"
)
_REFUSES_ITS_OWN = (
    "Apple does not know the place in its feed that it has just named. It is read again at the next sync."
)
_STANDS_STILL = "Apple says that its feed goes on, and does not go on. It is read again at the next sync."
_NO_MASTER = "iCloud lists it without the record of its file; it is taken once Apple delivers that"


class Feed(Protocol):
    """What discovery asks of Apple."""

    def changes(self, zone: Mapping[str, Any], token: str | None) -> Answer:
        """Returns what changed since a token, from the beginning for None.

        Raises:
            TokenTooOld: Apple no longer knows the token.
        """
        ...

    def count(self, zone: Mapping[str, Any]) -> int | None:
        """Returns how many photos Apple counts, hidden and deleted ones left out; None where it does not say."""
        ...


@dataclass(frozen=True, slots=True)
class Library:
    """One iCloud library that is a source.

    Attributes:
        name: The source's name.
        account: The Apple ID that reads it.
        zone: As Apple names it.
    """

    name: str
    account: str
    zone: Mapping[str, Any]


@dataclass(slots=True)
class Synced:
    """What one sync found.

    Attributes:
        source: The library.
        new: Photos seen for the first time, by record name.
        changed: Photos whose files or words changed.
        deleted: Photos that were deleted in iCloud; nothing is deleted here.
        files: New files to download.
        bytes: Their size.
        sidecars: Photos of which iCloud says something else than before: title, album, favourite and the like.
        assets: The photos that iCloud holds now.
        apple_count: What Apple itself counts, hidden ones left out; None where it was not asked.
        counted: What the catalog counts by the same rule.
        complete: Whether the feed was read to its end.
    """

    source: str
    new: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    files: int = 0
    bytes: int = 0
    sidecars: int = 0
    assets: int = 0
    apple_count: int | None = None
    counted: int = 0
    complete: bool = True


def sync(
    engine: Engine,
    feed: Feed,
    library: Library,
    rules: DateRules,
    *,
    ours: Sequence[str] = (),
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Synced:
    """Reads the feed to its end and records what it says.

    Each page is kept together with the token that follows it, so that a sync that is killed goes on where it stopped.

    Args:
        engine: The catalog.
        feed: Apple.
        library: Which library.
        rules: How dates become partitions.
        ours: The destinations that upload to this library: what they put there is not taken in again.
        seconds: After so many the sync stops between two pages, for a sensor's tick; the next one goes on.
        clock: Monotonic seconds.
    """
    with engine.begin() as connection:
        sources.register_source(connection, library.name, "icloud", library.account)
        icloud.register_library(connection, library.name, library.account, library.zone)
        state = icloud.library_state(connection, library.name)
    assert state is not None
    found = Synced(library.name)
    recorder = _Recorder(library.name, rules, ours, found)
    end = None if seconds is None else clock() + seconds
    found.complete = _read(engine, feed, library, recorder, state.sync_token, lambda: end is None or clock() < end)
    if found.complete:
        _finish(engine, feed, library, recorder, found)
    return found


def _finish(engine: Engine, feed: Feed, library: Library, recorder: _Recorder, found: Synced) -> None:
    """Compares with Apple's own count, and records what left iCloud while we knew no token."""
    with engine.connect() as connection:
        state = icloud.library_state(connection, library.name)
    assert state is not None
    count = feed.count(library.zone) if recorder.pages or state.complete_at is None else state.apple_count
    with engine.begin() as connection:
        met = icloud.count_met(connection, library.name)
        if state.complete_at is None and (met > 0 if count is None else count <= met):
            # Where Apple counts more than its feed has listed, the feed is what lacks something; and where it counts
            # nothing, in a shared library, a feed that lists nothing at all is not believed alone.
            recorder.bury(connection, icloud.unseen_records(connection, library.name))
        found.apple_count = count
        found.counted = icloud.count_live(connection, library.name)
        found.assets = icloud.count_assets(connection, library.name)
        icloud.record_sync(connection, library.name, count)
        if count is not None and count > found.counted:
            # The changes alone would never bring what the feed once left out.
            icloud.read_anew_in_time(connection, library.name, DAYS_TO_READ_ANEW)
        sources.record_listing(connection, library.name, found.assets)


def _read(
    engine: Engine,
    feed: Feed,
    library: Library,
    recorder: _Recorder,
    token: str | None,
    go_on: Callable[[], bool],
) -> bool:
    """Reads pages until the token stands still: what is added while a large library is read is on a later page.

    Returns:
        Whether the end was reached.
    """
    refused: list[str | None] = []
    if token is None:
        _begin(engine, library)
    for _ in range(MOST_ROUNDS):
        more, moved = True, False
        while more:
            if not go_on():
                return False
            try:
                page = feed.changes(library.zone, token)
            except TokenTooOld as error:
                refused.append(token)
                if len(refused) > MOST_REFUSALS:
                    raise Away(_REFUSES_ITS_OWN) from error
                if refused.count(token) > 1:  # asked once more first: forgetting it means reading everything
                    token = None
                    _begin(engine, library)
                continue
            stuck = page.more and page.token == token
            moved = moved or (bool(page.records) and page.token != token)
            with engine.begin() as connection:
                recorder.take(connection, page.records)
                icloud.set_sync_token(connection, library.name, page.token)
            if stuck:
                raise Away(_STANDS_STILL)
            token, more = page.token, page.more
        if not moved:
            break
    return True


def _begin(engine: Engine, library: Library) -> None:
    with engine.begin() as connection:
        icloud.begin_reading(connection, library.name)


class _Recorder:
    """Writes pages of the feed into the catalog."""

    def __init__(self, source: str, rules: DateRules, ours: Sequence[str], found: Synced) -> None:
        self._source = source
        self._rules = rules
        self._ours = ours
        self._found = found
        self._news: set[str] = set()
        self.pages = 0

    def take(self, connection: Connection, raw: Sequence[Mapping[str, Any]]) -> None:
        """Records one page."""
        if not raw:
            return
        self.pages += 1
        whole = [one for one in raw if isinstance(one, Mapping)]
        records = {record.name: record for one in whole if (record := read_record(one)) is not None}
        told = [record for record in records.values() if not record.gone]
        before = icloud.records_named(connection, self._source, records)
        icloud.put_records(connection, self._source, [_row(record) for record in told])
        buried = icloud.bury_records(connection, self._source, [one.name for one in records.values() if one.gone])
        self._news = {one.name for one in told if _says_something_else(one, before.get(one.name))}
        self._settle(connection, before, told, buried)
        self._make_sidecars_due(connection, [one for one in told if one.name in self._news], buried)
        self._doubt_uploads(connection, [one.name for one in records.values() if one.gone or one.fields.get("deleted")])

    def bury(self, connection: Connection, names: Sequence[str]) -> None:
        """Records that some records left iCloud."""
        before = icloud.records_named(connection, self._source, names)
        buried = icloud.bury_records(connection, self._source, names)
        self._settle(connection, before, [], buried)
        self._make_sidecars_due(connection, [], buried)
        self._doubt_uploads(connection, names)

    def _doubt_uploads(self, connection: Connection, deleted: Sequence[str]) -> None:
        """What we sent and a person deleted is no proven copy any more."""
        if self._ours and deleted:
            icloud_uploads.doubt_deleted(connection, self._ours, deleted)

    def _settle(
        self,
        connection: Connection,
        before: Mapping[str, StoredRecord],
        told: Sequence[Record],
        buried: Sequence[StoredRecord],
    ) -> None:
        touched = {one.name for one in told if one.kind == "asset"} | {
            one.name for one in buried if one.kind == "asset"
        }
        masters = {one.name for one in told if one.kind == "master"} | {
            one.name for one in buried if one.kind == "master"
        }
        touched.update(icloud.assets_of_masters(connection, self._source, masters))
        touched.update(_asset_of_relation(told, buried))
        if not touched:
            return
        assets, reasons = assembled(connection, self._source, touched)
        icloud.set_reasons(connection, self._source, reasons)
        seen = icloud.days_of_assets(connection, self._source, [one.name for one in assets])
        moved = self._observe(connection, assets, seen)
        self._count(assets, before, moved, seen)

    def _make_sidecars_due(
        self, connection: Connection, changed: Sequence[Record], buried: Sequence[StoredRecord]
    ) -> None:
        """Finds the photos of which iCloud says something else now, by themselves, their masters and their albums."""
        names = {one.name for one in changed if one.kind == "asset"} | _asset_of_relation(changed, buried)
        if masters := {one.name for one in changed if one.kind == "master"}:
            names.update(icloud.assets_of_masters(connection, self._source, masters))
        albums = {one.name for one in changed if one.kind == "album"}
        albums |= {one.name for one in buried if one.kind == "album"}
        if albums:
            names.update(sidecars.assets_in_albums(connection, self._source, albums))
        if names:
            self._found.sidecars += sidecars.make_due(connection, self._source, names)

    def _observe(self, connection: Connection, assets: Sequence[Asset], earlier: Mapping[str, Any]) -> set[str]:
        """Records the files of assets, and that others are no longer there; returns the assets that this changed."""
        ours = icloud_uploads.uploaded_masters(connection, self._ours, [one.master for one in assets])
        present: dict[str, dict[tuple[str, str], int]] = {}
        for row_id, name, path, version in icloud.present_parts(connection, self._source, [one.name for one in assets]):
            present.setdefault(name, {})[path, version] = row_id
        rows: list[Mapping[str, object]] = []
        gone: list[int] = []
        moved: set[str] = set()
        for asset in assets:
            there = present.get(asset.name, {})
            # What was taken in before it turned out to be what we sent as well stays what it is.
            left = asset.deleted or (not there and _is_our_upload(asset, ours))
            wanted = [] if left else self._rows(asset, earlier.get(asset.name))
            known = {(str(row["source_id"]), str(row["version"])) for row in wanted}
            fresh = [row for row in wanted if (row["source_id"], row["version"]) not in there]
            vanished = [row_id for key, row_id in there.items() if key not in known]
            if fresh or vanished:
                moved.add(asset.name)
            rows += fresh
            gone += vanished
        sources.mark_gone(connection, gone)
        sources.add_observations(connection, rows)
        self._found.files += len(rows)
        self._found.bytes += sum(int(str(row["size"])) for row in rows)
        return moved

    def _rows(self, asset: Asset, earlier: Any) -> list[Mapping[str, object]]:
        taken = capture_date(asset, self._rules)
        day, flag = (earlier, None) if earlier is not None else self._rules.partition(taken.local.date())
        at = asset.taken or asset.added or self._rules.now
        roles = _roles(asset.parts)
        return [
            {
                "source": self._source,
                "source_id": to_text(f"{asset.name}/{part.name}"),
                "version": part.checksum,
                "folder": asset.name,
                "stem_key": asset.name,
                "kind": (kind_of_name(part.name) or Kind.PHOTO).value,
                "size": part.size,
                "mtime_ns": max(-LAST_NS, min(LAST_NS, int(at.timestamp() * 1000) * 1_000_000)),
                "role": roles[part.name],
                "capture_local": taken.local,
                "capture_offset_minutes": taken.offset_minutes,
                "capture_provenance": taken.provenance,
                "capture_flag": flag,
                "partition_date": day,
            }
            for part in asset.parts
        ]

    def _count(
        self, assets: Sequence[Asset], before: Mapping[str, StoredRecord], moved: set[str], seen: Mapping[str, Any]
    ) -> None:
        found = self._found
        for asset in assets:
            known = before.get(asset.name)
            if asset.deleted:
                # The master's tombstone takes along an asset that is on no page of its own.
                was_there = known.state not in ("deleted", "gone") if known is not None else asset.name in moved
                if was_there:
                    found.deleted.add(asset.name)
            elif asset.name in moved and asset.name not in seen:
                found.new.add(asset.name)
            elif asset.name not in found.new and (asset.name in moved or asset.name in self._news):
                found.changed.add(asset.name)


def parts_of(connection: Connection, source: str, assets: Iterable[str]) -> dict[tuple[str, str], Part]:
    """Returns where the bytes of some assets lie at Apple, by (path, version) of the observation."""
    found = {}
    for asset in assembled(connection, source, assets)[0]:
        found.update({(f"{asset.name}/{part.name}", part.checksum): part for part in asset.parts})
    return found


def assembled(connection: Connection, source: str, names: Iterable[str]) -> tuple[list[Asset], dict[str, str | None]]:
    """Puts assets and their masters together.

    Returns:
        The assets, and for each name why it brings no file, None where it does: its master may come on a later page.
    """
    stored = icloud.records_named(connection, source, names)
    masters = icloud.records_named(connection, source, {one.parent for one in stored.values() if one.parent})
    assets: list[Asset] = []
    reasons: dict[str, str | None] = {}
    for one in stored.values():
        if one.kind != "asset":
            continue
        master = masters.get(one.parent or "")
        if master is None:
            reasons[one.name] = _NO_MASTER
            continue
        asset = asset_of(_record(one), _record(master))
        reasons[one.name] = None if any(part.role == "original" for part in asset.parts) else _NO_ORIGINAL
        assets.append(asset)
    return assets, reasons


def capture_date(asset: Asset, rules: DateRules) -> CaptureDate:
    """Returns the local day and time where a photo was taken, as Apple says.

    Where it gives no offset the setting `timezone` holds, never the zone of this machine.
    """
    for moment, offset, provenance in (
        (asset.taken, asset.offset_seconds, "icloud"),
        (asset.taken, None, "icloud_utc"),
        (asset.added, None, "icloud_added"),
    ):
        if moment is None or (provenance == "icloud" and (offset is None or abs(offset) >= 86_400)):
            continue
        with contextlib.suppress(OverflowError):  # a broken date at the very end of the calendar
            if offset is None:
                return CaptureDate(_in_zone(moment, rules.timezone), None, provenance)
            return CaptureDate(
                (moment + timedelta(seconds=offset)).replace(tzinfo=None), round(offset / 60), provenance
            )
    return CaptureDate(rules.now.replace(tzinfo=None), None, "first_seen")


def _in_zone(moment: datetime, timezone: str) -> datetime:
    return moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)


def _roles(parts: Sequence[Part]) -> dict[str, str]:
    """Returns what each file is to the bundle; of a RAW + JPEG pair the picture leads, whichever came first."""
    roles = {"original": "lead", "live_video": "live_video", "raw": "raw", "edit": "edit", "edit_video": "edit"}
    found = {part.name: roles[part.role] for part in parts}
    original = next((part for part in parts if part.role == "original"), None)
    other = next((part for part in parts if part.role == "raw"), None)
    if original and other and kind_of_name(original.name) is Kind.RAW and kind_of_name(other.name) is Kind.PHOTO:
        found[original.name], found[other.name] = "raw", "lead"
    return found


def _row(record: Record) -> dict[str, Any]:
    says = record.fields
    parents = {"asset": says.get("master"), "relation": says.get("asset")}
    state = "deleted" if says.get("deleted") else "hidden" if says.get("hidden") else "live"
    return {
        "name": record.name,
        "kind": record.kind,
        "parent": parents.get(str(record.kind)),
        "state": state,
        "fields": dict(says),
        "change_tag": record.change_tag,
    }


def _says_something_else(record: Record, before: StoredRecord | None) -> bool:
    """Returns whether a record is news; one that is read again from the beginning mostly is not."""
    row = _row(record)
    return before is None or before.state != row["state"] or before.fields != row["fields"]


def _record(stored: StoredRecord) -> Record:
    return Record(stored.name, stored.kind, stored.fields, stored.change_tag, stored.state == "gone")  # type: ignore[arg-type]


def _is_our_upload(asset: Asset, ours: set[str]) -> bool:
    """Tells whether an asset is nothing but what we sent; with an edit of the person's it has more than we have."""
    return asset.master in ours and all(part.checksum == asset.master for part in asset.parts)


def _asset_of_relation(told: Sequence[Record], buried: Sequence[StoredRecord]) -> set[str]:
    ours = {str(one.fields.get("asset")) for one in told if one.kind == "relation"}
    return ours | {str(one.parent) for one in buried if one.kind == "relation"}
