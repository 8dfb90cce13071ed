"""The sensors that watch phones: what arrived is latched, and runs are asked for that bring its files further.

Belongs here: one look at each tick, run requests, and what the lineage page shows of the phone. Does not belong here:
the look (`pipeline.pixel_watch`), which days are due (`pipeline.pixel_days`), or moving files (the run).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg
from sqlalchemy import Connection

from catalog import phone_watch, placed_files
from jobs.chain import RANGE_END, RANGE_START, chain_job, requests_for
from jobs.recovery import fail_runs_without_a_lease
from pipeline.assembly import Platform
from pipeline.pixel_days import Due, due_for_phone
from pipeline.pixel_watch import Watched, look
from pipeline.switches import why_paused
from resources.pixel import PixelFolder
from resources.settings import Settings
from resources.settings_pixel import PixelDestination

SYNCTHING_FOLDER = "syncthing_folder"
REST_MINUTES = 15


def pixel_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Returns a sensor for each phone."""
    gap = settings.runs.merge_gap_days
    return [pixel_sensor(name, entry, gap) for name, entry in settings.pixels.items() if entry.enabled]


def sensor_name(destination: str) -> str:
    """Returns the name of a phone's sensor."""
    return f"phone_{destination.replace('-', '_')}_sensor"


def pixel_sensor(name: str, entry: PixelDestination, gap_days: int) -> dg.SensorDefinition:
    """Returns the sensor of one phone.

    Args:
        name: The destination.
        entry: Its section.
        gap_days: See `pipeline.planning.merge_dates`.
    """
    folder = PixelFolder.of(name, entry)  # for all ticks: to open a connection takes longer than a look

    @dg.sensor(
        name=sensor_name(name),
        job=chain_job,
        minimum_interval_seconds=entry.watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Asks Syncthing what has reached the phone “{name}”, latches it, tells what is amiss, and asks "
        "for runs that prove deliveries, fill the folder where it has room, and empty it.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        with context.resources.platform.opened() as platform:
            # Also during a pause: what the phone has now it may have deleted by its end.
            found = look(platform.engine, folder, platform.now())
            paused = why_paused(platform.engine)
            due = _due(platform, found, before, paused)
            if due.days:
                platform.clean_up()
                fail_runs_without_a_lease(context.instance, platform)
            # A tick that finds nothing writes nothing down: there are thousands of them in a day.
            shown = found.news or due.mark != before.get("mark")
            events = [observation(platform, found)] if shown else []
        requests = list(requests_for(context.instance, due.days, gap_days, sensor_name(name), REST_MINUTES))
        if entry.order == "newest":
            requests.reverse()
        for notice in found.told:
            context.log.warning(notice.title)
        asked = paused is None and all(_is_asked_for(day, requests) for day in due.for_room)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(_why_not(found, due, paused)),
            cursor=json.dumps(_cursor(before, found, due, asked=asked)),
            asset_events=events,
        )

    return watch


def _due(platform: Platform, found: Watched, before: dict[str, str], paused: str | None) -> Due:
    if paused is not None or found.away is not None or found.busy:
        return Due([], [], before.get("mark", ""))
    return due_for_phone(platform, found.destination, before.get("asked"))


def _is_asked_for(day: date, requests: Sequence[dg.RunRequest]) -> bool:
    return any(one.tags[RANGE_START] <= day.isoformat() <= one.tags[RANGE_END] for one in requests)


def _cursor(before: dict[str, str], found: Watched, due: Due, *, asked: bool) -> dict[str, str]:
    """Returns what the next tick is to know; when Syncthing is back, what waits is asked for anew."""
    if found.away is not None:
        return {"mark": due.mark}
    kept = due.mark if asked and not found.busy else before.get("asked")
    return {"mark": due.mark} | ({"asked": kept} if kept is not None else {})


def _why_not(found: Watched, due: Due, paused: str | None) -> str:
    if found.away is not None:
        return found.away
    if found.busy:
        return "Another look at this phone is under way."
    if paused is not None:
        return paused
    if due.days:
        return f"A run for these days is under way, or failed less than {REST_MINUTES} minutes ago."
    if not found.connected:
        return "The phone is not connected."
    return f"{found.delivered} files have reached the phone." if found.delivered else "Nothing is new on the phone."


def observation(platform: Platform, found: Watched) -> dg.AssetObservation:
    """Returns what is known of a phone, as the lineage page shows it."""
    with platform.engine.connect() as connection:
        metadata = _shown(connection, found, platform.settings.pixels[found.destination])
    return dg.AssetObservation(asset_key=SYNCTHING_FOLDER, metadata=metadata)


def _shown(connection: Connection, found: Watched, entry: PixelDestination) -> dict[str, Any]:
    counts = placed_files.counts(connection, found.destination)
    waiting = phone_watch.waiting(connection, found.destination, entry.deliver)
    return {
        "destination": found.destination,
        "connected": found.connected,
        "last_seen": "never" if found.last_seen is None else found.last_seen.isoformat(timespec="seconds"),
        "waiting": waiting.files,
        "waiting_megabytes": round(waiting.bytes / 1e6, 1),
        "megabytes_in_folder": round(counts.in_flight / 1e6, 1),
        "megabytes_on_phone": round(waiting.on_phone / 1e6, 1),
        "delivered": counts.delivered,
        "freed_on_phone": counts.freed_on_phone,
        "problems": sum(counts.problems.values()),
        **({"syncthing": found.away} if found.away is not None else {}),
    }
