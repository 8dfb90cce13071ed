"""The sensor that reads what changed in iCloud.

Belongs here: when a library is read again, one bounded sync of each, and run requests for the days of what is new.
Does not belong here: the sync (`pipeline.icloud_sync`), or downloading (`icloud_originals` of the run).
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from catalog import icloud
from jobs.chain import chain_job, requests_for, was_canceled
from jobs.recovery import fail_runs_without_a_lease
from pipeline.assembly import Platform
from pipeline.icloud_sync import Synced
from pipeline.switches import why_paused
from resources.icloud_errors import ICloudError

ICLOUD_LIBRARY = "icloud_library"
TICK_SECONDS = 60
SYNC_SECONDS = 40.0  # the daemon ends a tick after 60; a first sync goes on at the next one
REST_MINUTES = 15
# The cursor: whether the last tick found a run under way for the days of what is new.
UNASKED, ASKED = "due", "asked"


def icloud_sensor(gap_days: int) -> dg.SensorDefinition:
    """Returns the sensor.

    Args:
        gap_days: See `pipeline.planning.merge_dates`.
    """

    @dg.sensor(
        name="icloud_sensor",
        job=chain_job,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads what changed in iCloud, every sources.<name>.sync_minutes, and asks for runs over its days.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with context.resources.platform.opened() as platform:
            if (paused := why_paused(platform.engine)) is not None:
                return dg.SkipReason(paused)
            looks, problems = _sync_what_is_due(platform)
            found = any(one.files or one.sidecars for one in looks)
            again = context.cursor == UNASKED and not was_canceled(context.instance)
            days = platform.due_dates(aged=False) if found or again else []
            if days:
                platform.clean_up()
                fail_runs_without_a_lease(context.instance, platform)
        for problem in problems:
            context.log.warning(problem)
        requests = list(requests_for(context.instance, days, gap_days, "icloud_sensor", REST_MINUTES))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(_why_not(problems, looks, days)),
            cursor=UNASKED if days and not requests else ASKED,
            # Also where nothing is new: the page of the library says when it was last read.
            asset_events=[observation(one) for one in looks],
        )

    return watch


def _sync_what_is_due(platform: Platform) -> tuple[list[Synced], list[str]]:
    looks, problems = [], []
    for name, entry in platform.icloud.sources.items():
        if not _is_due(platform, name, entry.sync_minutes):
            continue
        try:
            looks.append(platform.icloud.sync(name, platform.date_rules(), seconds=SYNC_SECONDS).found)
        except ICloudError as error:
            problems.append(f"{name}: {error}")
    return looks, problems


def _is_due(platform: Platform, name: str, minutes: int) -> bool:
    with platform.engine.connect() as connection:
        state = icloud.library_state(connection, name)
    if state is None or state.synced_at is None or state.complete_at is None:
        return True
    return platform.now() - state.synced_at >= timedelta(minutes=minutes)


def _why_not(problems: Sequence[str], looks: Sequence[Synced], days: Sequence[object]) -> str:
    if problems:
        return " ".join(problems)
    if days:
        return f"A run for these days is under way, or failed less than {REST_MINUTES} minutes ago."
    return "Nothing is new in iCloud." if looks else "iCloud was read a moment ago."


def observation(found: Synced) -> dg.AssetObservation:
    """Returns what one sync found, as the lineage page shows it."""
    return dg.AssetObservation(
        asset_key=ICLOUD_LIBRARY,
        metadata={
            "library": found.source,
            "photos": found.assets,
            "apple_counts": found.apple_count if found.apple_count is not None else "not asked",
            "new": len(found.new),
            "changed": len(found.changed),
            "deleted_in_icloud": len(found.deleted),
            "files_to_download": found.files,
            "sidecars_to_write": found.sidecars,
            "megabytes_to_download": round(found.bytes / 1e6, 1),
        },
    )
