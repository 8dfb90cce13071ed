"""The days at which a run would bring a phone's files further.

Belongs here: what is due because of what was seen on the phone, or because its folder has room again. Does not belong
here: looking at the phone (`pipeline.pixel_watch`), the room itself (`pipeline.pixel_room`), or asking for runs
(`sensors.pixel`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from catalog import phone_watch, placed_files, work
from catalog.phone_room import to_place
from catalog.work import ClaimRules
from pipeline.assembly import Platform


@dataclass(frozen=True, slots=True)
class Due:
    """What is due for a phone.

    Attributes:
        days: The days.
        for_room: Those of them at which something waits for room, or to be placed.
        mark: What the folder held, and which run last filled it. What waits for room is asked for once for each mark:
            a run that could not bring it further, for instance on a full disk, is not repeated every few seconds.
    """

    days: list[date]
    for_room: list[date]
    mark: str


def due_for_phone(platform: Platform, name: str, asked: str | None) -> Due:
    """Returns the days at which a run would bring a phone's files further.

    Args:
        platform: The home.
        name: The destination.
        asked: The mark for which a run was asked for last, None before the first time and after Syncthing was away.
    """
    settings = platform.settings.pixels[name]
    rules = ClaimRules(lease_id=0, redo="failed", max_attempts=platform.settings.runs.max_attempts)
    room = platform.phone_room(name)
    waiting: set[date] = set()
    with platform.engine.connect() as connection:
        days = set(work.due_dates(connection, phone_watch.to_finish(name, settings.keep_hours), rules))
        mark = f"{placed_files.in_flight(connection, name)} after {phone_watch.last_batch(connection, name)}"
        if mark != asked:
            waiting.update(work.due_dates(connection, to_place(name, newest_first=room.newest_first), rules))
            waiting.update(work.due_dates(connection, room.query(room.plan()), rules))
    return Due(sorted(days | waiting), sorted(waiting), mark)
