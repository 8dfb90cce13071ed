"""The sensor that watches the folders.

Belongs here: one bounded look at each folder, and run requests for the days of what is new. Does not
belong here: the comparison (`pipeline.discovery`).
"""

import json
from collections.abc import Sequence

import dagster as dg

from jobs.chain import chain_job, requests_for, was_canceled
from jobs.recovery import fail_runs_without_a_lease
from pipeline.assembly import Platform
from pipeline.discovery import Discovery, look
from pipeline.failures import RefusedForSafety
from pipeline.switches import why_paused
from resources.folder import SourceMissing

LOCAL_FOLDER = "local_folder"
REST_MINUTES = 15


def folder_sensor(every_seconds: int, gap_days: int) -> dg.SensorDefinition:
    """Returns the sensor.

    Args:
        every_seconds: The least time between two looks.
        gap_days: See `pipeline.planning.merge_dates`.
    """

    @dg.sensor(
        name="folder_sensor",
        job=chain_job,
        minimum_interval_seconds=every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at the folders, records what is new, and asks for runs over its days.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with context.resources.platform.opened() as platform:
            if (paused := why_paused(platform.engine)) is not None:
                return dg.SkipReason(paused)
            looks, problems, cursor = _look_at_all(platform, context.cursor)
            # Days are asked for only when something was found: failures have their own schedule.
            found = any(one.new for one in looks)
            again = _left_over(context.cursor) and not was_canceled(context.instance)
            days = platform.due_dates(aged=False) if found or again else []
            if days:
                platform.clean_up()
                fail_runs_without_a_lease(context.instance, platform)
        requests = list(requests_for(context.instance, days, gap_days, "folder_sensor", REST_MINUTES))
        for problem in problems:
            context.log.warning(problem)
        waiting = len(days) > 0
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(_why_not(problems, looks, waiting)),
            cursor=json.dumps({"digests": cursor, "due": waiting}),
            asset_events=[observation(one) for one in looks if one.new or one.gone],
        )

    return watch


def _look_at_all(platform: Platform, cursor: str | None) -> tuple[list[Discovery], list[str], dict[str, str]]:
    digests: dict[str, str] = json.loads(cursor).get("digests", {}) if cursor else {}
    looks, problems, seen = [], [], {}
    for name, spec in platform.sources.items():
        try:
            found = look(
                platform.engine,
                spec,
                platform.date_rules(),
                limit=platform.settings.runs.discover_limit,
                known_digest=digests.get(name),
            )
        except (SourceMissing, RefusedForSafety) as error:
            problems.append(str(error))
            continue
        looks.append(found)
        if found.digest is not None:
            seen[name] = found.digest
    return looks, problems, seen


def _left_over(cursor: str | None) -> bool:
    """Returns whether days were due at the last tick: a run may have been under way for them."""
    return cursor is None or bool(json.loads(cursor).get("due"))


def _why_not(problems: Sequence[str], looks: Sequence[Discovery], waiting: bool) -> str:
    if problems:
        return " ".join(problems)
    if not looks:
        return "No folder is watched. Run: mediapipe-assets run --source DIR"
    if waiting:
        return f"A run for these days is under way, or failed less than {REST_MINUTES} minutes ago."
    unsettled = sum(one.unsettled for one in looks)
    return f"{unsettled} files are still being written." if unsettled else "Nothing is new."


def observation(found: Discovery) -> dg.AssetObservation:
    """Returns what one look at a folder found, as the lineage page shows it."""
    return dg.AssetObservation(
        asset_key=LOCAL_FOLDER,
        metadata={
            "source": found.source,
            "files": found.listed,
            "new": found.new,
            "gone": found.gone,
            "still_being_written": found.unsettled,
            "new_megabytes": round(found.new_bytes / 1e6, 1),
        },
    )
