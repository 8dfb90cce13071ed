"""One look at a phone through Syncthing: what arrived is latched, what is amiss is told.

Belongs here: the cursor, when files are asked about, and what is recorded of the answers. Does not belong here: what
an answer means (`resources.pixel`), the words of what is told (`pipeline.pixel_alerts`), or asking for runs
(`sensors.pixel`).

A look without news asks Syncthing three small questions and not one about a file. A look with news asks about every
file that has not arrived, for a few seconds at most; the next look goes on where it stopped. What is latched is never
taken back: a phone that is away shows nothing, and that says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from catalog import config, phone_watch, placed_files, work
from catalog.deliveries import stage_name
from catalog.notifications import Notice, resolve, standing, tell
from catalog.placed_files import Counts, Placed
from media.files import RootAway
from pipeline import pixel_alerts as alerts
from resources.delivery import NotNow
from resources.pixel import Look, PixelFolder, PixelRefused
from resources.syncthing import Event, SyncthingAway, SyncthingError, SyncthingRefused

TYPES = (
    "RemoteIndexUpdated",
    "DeviceConnected",
    "DeviceDisconnected",
    "FolderErrors",
    "PendingFoldersChanged",
    "Starting",
)
ROUND = timedelta(minutes=15)  # so often files are asked about without any news
MOST_FILES = 2_000  # at one look
MOST_ARRIVED = 500  # of them those that arrived, to see which the phone has deleted since
MOST_SECONDS = 3.5  # for all of them
TOGETHER = 100  # are recorded in one transaction
AWAY = timedelta(minutes=15)  # a restart, or an update, of Syncthing takes less and is nothing to tell
SLEPT = timedelta(hours=1)  # nobody looked for so long: the platform was down, which is no standstill of the phone
NOT_SHARED = "notSharing"


@dataclass(frozen=True, slots=True)
class Cursor:
    """What one look leaves to the next one; moments are texts, as it is kept in the catalog.

    Attributes:
        start: When the daemon had started, None when it was never asked.
        id: Its last event that was seen.
        swept: When files were last asked about.
        since: The database's time at which the last round over them began.
        open: Whether that round has files left.
        connected: Whether the phone was connected.
        last_seen: When it last was, as far as is known.
        away_since: Since when Syncthing does not answer.
        known_since: When the phone was first looked at.
        awake_since: Since when it is looked at without a long pause.
        arrived: How many files had reached the phone at the last round.
        needed: How many bytes it lacked then, as Syncthing knew.
        moved: When one of these last showed progress, or files began to wait.
    """

    known_since: str
    awake_since: str
    start: str | None = None
    id: int = 0
    swept: str | None = None
    since: str | None = None
    open: bool = False
    connected: bool = False
    last_seen: str | None = None
    away_since: str | None = None
    arrived: int = 0
    needed: int = 0
    moved: str | None = None


@dataclass(slots=True)
class Watched:
    """What one look came to.

    Attributes:
        destination: The phone's.
        connected: Whether the phone is connected now.
        last_seen: When it last was, None when it never was.
        away: Why Syncthing could not be asked, None when it could.
        busy: Whether another look was under way, so that this one did nothing.
        news: Whether anything called for asking about files, or has changed.
        asked: How many files were asked about.
        delivered: How many of them were seen on the phone for the first time.
        freed: How many were seen to be deleted there.
        problems: How many have a problem that is new.
        told: What a person is told anew.
    """

    destination: str
    connected: bool = False
    last_seen: datetime | None = None
    away: str | None = None
    busy: bool = False
    news: bool = False
    asked: int = 0
    delivered: int = 0
    freed: int = 0
    problems: int = 0
    told: list[Notice] = field(default_factory=list)


def look(engine: Engine, folder: PixelFolder, now: datetime, *, clock: Callable[[], float] = time.monotonic) -> Watched:
    """Looks at a phone once.

    Args:
        engine: The catalog.
        folder: The phone's folder.
        now: The present moment.
        clock: Bounds the time that the files take.
    """
    with engine.connect() as session:
        if not phone_watch.try_to_watch(session, folder.name):
            return replace(last_known(session, folder.name), busy=True)
        try:
            return _Look(engine, folder, now, clock).run()
        finally:
            phone_watch.stop_watching(session, folder.name)


def last_known(connection: Connection, destination: str) -> Watched:
    """Returns what the last look left, without asking anybody."""
    kept = config.get_config(connection, _key(destination))
    if kept is None:
        return Watched(destination)
    return Watched(destination, bool(kept["connected"]), _moment(kept["last_seen"]))


def glance(engine: Engine, folder: PixelFolder, now: datetime) -> Watched:
    """Returns whether the phone is connected, or what was last known while Syncthing is away; records nothing."""
    with engine.connect() as connection:
        known = last_known(connection, folder.name)
    device = folder.settings.device_id
    try:
        connected = folder.syncthing.is_connected(device)
        seen = now if connected else folder.syncthing.last_seen(device)
    except SyncthingError as error:
        return replace(known, connected=False, away=str(error))
    return replace(known, connected=connected, last_seen=seen or known.last_seen)


class _Look:
    """One look, under the lock."""

    def __init__(self, engine: Engine, folder: PixelFolder, now: datetime, clock: Callable[[], float]) -> None:
        self._engine, self._folder, self._now = engine, folder, now
        self._name, self._settings, self._syncthing = folder.name, folder.settings, folder.syncthing
        self._clock, self._end = clock, clock() + MOST_SECONDS
        with engine.connect() as connection:
            kept = config.get_config(connection, _key(self._name))
        self._before = Cursor(now.isoformat(), now.isoformat()) if kept is None else Cursor(**kept)
        self._found = Watched(self._name)

    def run(self) -> Watched:
        try:
            after, calls = self._news()
            if calls:
                after = self._round(after)
        except (SyncthingError, NotNow) as error:
            return self._away(error)
        self._close(after)
        return self._found

    # ------------------------------------------------------------------ what has happened

    def _news(self) -> tuple[Cursor, bool]:
        """Returns the cursor after the events, and whether files are to be asked about."""
        before, device = self._before, self._settings.device_id
        start = self._syncthing.started_at()
        restarted = start != before.start
        seen = 0 if restarted else before.id
        events = self._syncthing.events(seen, TYPES)
        missed = bool(events) and events[0].id > seen + 1
        connected = self._syncthing.is_connected(device)
        swept = _moment(before.swept)
        fresh = restarted or missed or swept is None or self._now - swept >= ROUND
        fresh = fresh or any(self._concerns_us(one) for one in events)
        last_seen = self._last_seen(connected, fresh)
        after = replace(
            before,
            start=start,
            id=events[-1].id if events else seen,
            connected=connected,
            last_seen=None if last_seen is None else last_seen.isoformat(),
            away_since=None,
            awake_since=self._now.isoformat() if swept is None or self._now - swept > SLEPT else before.awake_since,
        )
        if fresh:
            # Also in the middle of a round: what was asked about already may have arrived since.
            with self._engine.connect() as connection:
                after = replace(after, since=phone_watch.database_time(connection).isoformat(), open=True)
        self._found.connected, self._found.last_seen = connected, self._now if connected else last_seen
        self._found.news = after.open or connected != before.connected or before.away_since is not None
        return after, after.open

    def _concerns_us(self, event: Event) -> bool:
        if event.type in ("PendingFoldersChanged", "Starting"):
            return True
        ours = event.data.get("folder") in (None, self._settings.folder_id)
        of_phone = self._settings.device_id in (event.data.get("device"), event.data.get("id"))
        return ours and (of_phone or event.type == "FolderErrors") and event.type != "DeviceDisconnected"

    def _last_seen(self, connected: bool, fresh: bool) -> datetime | None:
        if connected:
            # By the quarter of an hour as long as it is connected: an idle look is to write nothing.
            known = _moment(self._before.last_seen)
            return known if known is not None and not fresh and self._before.connected else self._now
        if fresh or self._before.connected:
            return self._syncthing.last_seen(self._settings.device_id) or _moment(self._before.last_seen)
        return _moment(self._before.last_seen)

    # ------------------------------------------------------------------ the files

    def _round(self, cursor: Cursor) -> Cursor:
        assert cursor.since is not None
        begun = datetime.fromisoformat(cursor.since)
        with self._engine.connect() as connection:
            missing = placed_files.undelivered(connection, self._name, MOST_FILES, begun)
            most = min(MOST_ARRIVED, MOST_FILES - len(missing))
            arrived = placed_files.delivered_and_here(connection, self._name, most) if most else []
        for some in self._looked_at([*missing, *arrived]):
            with self._engine.begin() as connection:
                self._record(connection, some)
        wrong, needed = self._state_of_folder()
        with self._engine.begin() as connection:
            left = bool(placed_files.undelivered(connection, self._name, 1, begun))
            counts = placed_files.counts(connection, self._name)
            self._tell_of_folder(connection, wrong)
            self._forget_problems(connection)
            cursor = self._tell_of_standstill(connection, cursor, counts, needed)
        return replace(cursor, swept=self._now.isoformat(), open=left)

    def _looked_at(self, files: Sequence[Placed]) -> Iterator[list[tuple[Placed, Look]]]:
        """Yields what was seen of files, a handful at a time, until the time is over."""
        for first in range(0, len(files), TOGETHER):
            some = files[first : first + TOGETHER]
            seen: list[tuple[Placed, Look]] = []
            for one in some:
                if self._clock() >= self._end:
                    break
                try:
                    seen.append((one, self._folder.look(one)))
                except (SyncthingError, NotNow):
                    yield seen  # it counts, though Syncthing is away now
                    raise
            yield seen
            if len(seen) < len(some):
                return

    def _record(self, connection: Connection, seen: Sequence[tuple[Placed, Look]]) -> None:
        """Latches what arrived, for as long as the files are those that were looked at."""
        current = placed_files.lock_placed(connection, [one.delivery_id for one, _ in seen])
        woken, nothing_new = [], []
        for one, found in seen:
            if current.get(one.delivery_id) != one.placed_at:
                continue
            if found.arrived and self._latched(connection, one, found):
                woken.append(one.delivery_id)
            elif found.level == "problem" and one.delivered_at is None:
                if placed_files.record_problem(connection, one.delivery_id, found.words):
                    self._found.problems += 1
                    woken.append(one.delivery_id)
                self._tell(connection, [alerts.problem(self._name, one.delivery_id, one.path, found.words)])
            else:
                nothing_new.append(one.delivery_id)
        placed_files.looked_at(connection, nothing_new)
        work.due_at_once(connection, stage_name(self._name, "verified"), woken)
        self._found.asked += len(seen)

    def _latched(self, connection: Connection, one: Placed, found: Look) -> bool:
        freed = found.level == "freed_on_phone"
        if not placed_files.latch_delivered(connection, one.delivery_id, found.facts, freed=freed):
            return False
        self._found.delivered += one.delivered_at is None
        self._found.freed += freed
        return True

    # ------------------------------------------------------------------ what is told

    def _close(self, after: Cursor) -> None:
        """Tells what holds at every look, and keeps the cursor where it has changed."""
        with self._engine.begin() as connection:
            resolve(connection, alerts.away_key(self._name))
            self._tell_of_absence(connection, after)
            if after != self._before:
                config.set_config(connection, _key(self._name), asdict(after))

    def _away(self, error: Exception) -> Watched:
        """Leaves everything as it was known; what was latched already in this look stays so."""
        since = _moment(self._before.away_since) or self._now
        lasting = not isinstance(error, SyncthingAway | NotNow) or self._now - since >= AWAY
        after = replace(self._before, away_since=since.isoformat(), connected=False)
        with self._engine.begin() as connection:
            if lasting:
                self._tell(connection, [alerts.away(self._name, since, str(error))])
            if after != self._before:
                config.set_config(connection, _key(self._name), asdict(after))
        self._found.away, self._found.connected = str(error), False
        self._found.last_seen = _moment(self._before.last_seen)
        self._found.news = self._before.away_since is None
        return self._found

    def _tell_of_absence(self, connection: Connection, after: Cursor) -> None:
        limit, seen = timedelta(hours=self._settings.unseen_hours), _moment(after.last_seen)
        if after.connected or self._now - (seen or datetime.fromisoformat(after.known_since)) < limit:
            resolve(connection, alerts.unseen_key(self._name))
        elif self._now - datetime.fromisoformat(after.awake_since) >= min(limit, SLEPT):
            # When the platform itself was down, the phone first gets the time to show up.
            files = phone_watch.waiting(connection, self._name, self._settings.deliver).files
            self._tell(connection, [alerts.unseen(self._name, seen, self._settings.unseen_hours, files)])

    def _state_of_folder(self) -> tuple[dict[str, Sequence[str]], int]:
        """Returns what is wrong with the folder, by kinds, and how many bytes the phone lacks as Syncthing knows."""
        wrong: dict[str, Sequence[str]] = {}
        folder, device = self._settings.folder_id, self._settings.device_id
        try:
            self._folder.prepare()
        except (PixelRefused, RootAway) as error:
            wrong["setup"] = [str(error)]
        try:
            if errors := self._syncthing.folder_errors(folder):
                wrong["errors"] = errors
            done = self._syncthing.completion(folder, device)
        except (SyncthingAway, SyncthingRefused):
            raise
        except SyncthingError as error:
            # It is paused; or it is not there at all, which was said already.
            return wrong or {"stopped": [str(error)]}, 0
        if done.remote_state == NOT_SHARED:
            wrong["shared"] = ["The phone has not taken the folder: open Syncthing on it and accept the folder."]
        return wrong, done.need_bytes

    def _tell_of_folder(self, connection: Connection, wrong: Mapping[str, Sequence[str]]) -> None:
        prefix = alerts.folder_prefix(self._name)
        for told in standing(connection, prefix):
            if told.key.removeprefix(prefix) not in wrong:
                resolve(connection, told.key)
        self._tell(connection, [alerts.folder_wrong(self._name, kind, words) for kind, words in wrong.items()])

    def _forget_problems(self, connection: Connection) -> None:
        """Takes back what was told of files that have no problem any more."""
        prefix = alerts.problem_prefix(self._name)
        told = {one.key: int(one.key.removeprefix(prefix)) for one in standing(connection, prefix)}
        if not told:
            return
        there = phone_watch.problem_ids(connection, self._name)
        for key, delivery_id in told.items():
            if delivery_id not in there:
                resolve(connection, key)

    def _tell_of_standstill(self, connection: Connection, cursor: Cursor, counts: Counts, needed: int) -> Cursor:
        """Tells when files wait and none arrives, though the phone was there in the meantime.

        A file with a problem is told as that, and does not count as waiting.
        """
        waiting = counts.staged - sum(counts.problems.values())
        moved, seen, swept = _moment(cursor.moved), _moment(cursor.last_seen), _moment(cursor.swept)
        progress = not waiting or counts.delivered != cursor.arrived or needed < cursor.needed
        cursor = replace(cursor, arrived=counts.delivered, needed=needed)
        if progress:
            resolve(connection, alerts.stuck_key(self._name))
        if progress or moved is None or swept is None or self._now - swept > SLEPT:
            return replace(cursor, moved=self._now.isoformat())
        was_there = cursor.connected or (seen is not None and seen > moved)
        if was_there and self._now - moved >= timedelta(hours=self._settings.stuck_hours):
            self._tell(connection, [alerts.stuck(self._name, moved, waiting)])
        return cursor

    def _tell(self, connection: Connection, notices: Sequence[Notice]) -> None:
        self._found.told += [one for one in notices if tell(connection, one)]


def _key(destination: str) -> str:
    return f"watch:{destination}"


def _moment(value: Any) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
