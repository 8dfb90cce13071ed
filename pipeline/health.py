"""Whether the platform itself is well: sign-ins, disks, the bot, and whether anything comes to its end.

Belongs here: looking, and telling what is new or over, in the transaction of the look. Does not belong here: the words
(`pipeline.alerts`), or single files and runs (`sensors.alerts`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from catalog import config, heartbeats, icloud, logs, twofa, work
from catalog.deliveries import stage_name
from catalog.notifications import Notice, resolve, resolve_under, standing, tell
from catalog.sources import ICLOUD_ORIGINALS
from pipeline import alerts
from pipeline.assembly import STEPS, Platform
from pipeline.icloud_account import trust_step, trust_warning
from pipeline.planning import Shortage
from pipeline.space import estimate
from pipeline.switches import paused_since
from resources.settings import account_of

WAITING_SINCE = "files_wait_since"
ENOUGH = 1.2  # so much more than the least must be free before a disk counts as well again
SLEPT = timedelta(minutes=15)  # a longer silence of the sensors means that the platform was down


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that we write to.

    Attributes:
        name: What it is known by.
        folders: What stands on it.
        device: Its number.
        free: Free bytes.
    """

    name: str
    folders: Sequence[str]
    device: int
    free: int


def look_at_processes(platform: Platform, connection: Connection) -> list[Notice]:
    """Says that the sensors are alive, and looks whether the bot is; returns what was told anew."""
    heartbeats.beat(connection, heartbeats.SENSORS)
    last = heartbeats.last_beat(connection, heartbeats.BOT)
    if last is None or platform.now() - last <= alerts.BOT_SILENCE:
        resolve(connection, alerts.BOT_SILENT)
        return []
    return _told(connection, [alerts.bot_is_silent(last)])


def look_at_accounts(platform: Platform, connection: Connection) -> list[Notice]:
    """Looks whether Apple wants a person, or soon will; returns what was told anew."""
    notices = []
    for account in platform.icloud.accounts.values():
        state = icloud.account_state(connection, account.name)
        if state.needs is None:
            resolve(connection, f"{alerts.account_prefix(account.name)}needs")
        elif twofa.open_request_of(connection, account.name) is None:  # the bot is not just asking for it
            notices.append(alerts.needs_person(state))
        step = trust_step(state, account.trust_days, platform.now())
        warning = trust_warning(state, account.trust_days, platform.now())
        due = alerts.trust_ends_soon(account.name, step, warning) if step is not None and warning is not None else None
        resolve_under(connection, alerts.trust_prefix(account.name), but=due.key if due else None)
        notices += [due] if due else []
    return _told(connection, notices)


def disks_of(platform: Platform) -> list[Disk]:
    """Returns the disks that we write to and that are there, each once."""
    folders: dict[str, Path] = {**platform.roots, "home": platform.settings.home}
    names: dict[int, list[str]] = {}
    for name, folder in folders.items():
        if folder.exists():
            names.setdefault(os.stat(folder).st_dev, []).append(name)
    found = []
    for device, those in names.items():
        space = os.statvfs(folders[those[0]])
        found.append(Disk(those[0], those, device, space.f_bavail * space.f_frsize))
    return found


def look_at_disks(platform: Platform, connection: Connection, disks: Sequence[Disk]) -> list[Notice]:
    """Looks how much is free; a disk about at the limit is neither told again nor taken back."""
    least = platform.settings.notify.least_free_gb
    notices = []
    for disk in disks:
        if disk.free < least * 1e9:
            notices.append(alerts.disk_nearly_full(disk.name, disk.folders, disk.free, least))
        elif disk.free >= ENOUGH * least * 1e9:
            resolve(connection, f"{alerts.DISK}{disk.name}")
    return _told(connection, notices)


def look_for_room(platform: Platform, connection: Connection, disks: Sequence[Disk]) -> list[Notice]:
    """Looks whether a run over everything that waits would find room, as a run does before it writes anything."""
    lacking: dict[str, Shortage] = {}
    for one in estimate(platform):
        name = next((disk.name for disk in disks if disk.device == os.stat(one.path).st_dev), str(one.path))
        lacking[name] = one
    for told in standing(connection, alerts.ROOM):
        if told.key.removeprefix(alerts.ROOM) not in lacking:
            resolve(connection, told.key)
    return _told(connection, [alerts.no_room(name, str(one)) for name, one in lacking.items()])


def look_for_progress(platform: Platform, connection: Connection, last_tick: datetime | None) -> list[Notice]:
    """Looks whether anything was finished while files wait.

    Not while it is paused, and not what waits for a person or for Apple: that is told in other ways.

    Args:
        platform: The home.
        connection: Its catalog.
        last_tick: When somebody last looked.
    """
    now = platform.now()
    waiting = {} if paused_since(connection) is not None else _waiting(platform, connection)
    if not waiting:
        config.set_config(connection, WAITING_SINCE, None)
        resolve(connection, alerts.STALLED)
        return []
    since = _waiting_since(connection, now, last_tick)
    finished = logs.last_finished(connection)
    moved = since if finished is None else max(since, finished)
    if now - moved < timedelta(hours=platform.settings.notify.stalled_hours):
        if moved != since:
            resolve(connection, alerts.STALLED)
        return []
    return _told(connection, [alerts.stalled(sum(waiting.values()), list(waiting), moved)])


def _waiting_since(connection: Connection, now: datetime, last_tick: datetime | None) -> datetime:
    """Returns since when files wait, or the platform was last started: a machine that is off stalls nothing."""
    stored = config.get_config(connection, WAITING_SINCE)
    if stored is not None and last_tick is not None and now - last_tick <= SLEPT:
        return datetime.fromisoformat(stored)
    config.set_config(connection, WAITING_SINCE, now.isoformat())
    return now


def _waiting(platform: Platform, connection: Connection) -> dict[str, int]:
    """Returns how many files could be worked on at each stage."""
    attempts = platform.settings.runs.max_attempts
    held = _held_by_apple(platform, connection)
    counts = {
        query.stage: work.count_ready(connection, query, attempts)
        for query in platform.queries(aged=False)
        if query.stage not in held
    }
    return {stage: count for stage, count in counts.items() if count}


def _held_by_apple(platform: Platform, connection: Connection) -> set[str]:
    """Returns the stages that wait for a person, or until Apple may be asked again."""
    states = {name: icloud.account_state(connection, name) for name in platform.icloud.accounts}
    stopped = {
        name
        for name, state in states.items()
        if state.needs is not None or (state.throttled_until is not None and state.throttled_until > platform.now())
    }
    held = {
        stage_name(name, step)
        for name, entry in platform.settings.icloud_destinations.items()
        if entry.account in stopped
        for step in STEPS
    }
    sources = {account_of(name, entry) for name, entry in platform.icloud.sources.items()}
    return held | ({ICLOUD_ORIGINALS} if sources & stopped else set())


def _told(connection: Connection, notices: Sequence[Notice]) -> list[Notice]:
    return [one for one in notices if tell(connection, one)]
