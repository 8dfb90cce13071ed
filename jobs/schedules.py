"""Runs by the clock.

Belongs here: the schedule for whatever is pending and the one for photos that have grown older. Does
not belong here: runs for new files, which the folder sensor asks for at once.
"""

from collections.abc import Iterator

import dagster as dg

from jobs.chain import chain_job, requests_for
from jobs.recovery import fail_runs_without_a_lease
from pipeline.switches import why_paused


def pending_schedule(every_minutes: int, gap_days: int) -> dg.ScheduleDefinition:
    """Returns the schedule that takes up whatever was left: failures after their pause, runs that were killed."""

    @dg.schedule(
        name="pending_schedule",
        job=chain_job,
        cron_schedule=_every(every_minutes),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Takes up whatever is pending: failed files after their pause, and what a killed run left.",
        required_resource_keys={"platform"},
    )
    def pending(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from _ask(context, gap_days, aged=False, reason="pending_schedule")

    return pending


def tier_schedule(hour: int, gap_days: int, timezone: str = "UTC") -> dg.ScheduleDefinition:
    """Returns the nightly schedule for photos whose age tier has changed, at an hour of the person's time zone."""

    @dg.schedule(
        name="tier_schedule",
        job=chain_job,
        cron_schedule=f"0 {hour} * * *",
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Once a night: photos that have reached the next age tier get their next rendition, and copies "
        "that were proven long ago are looked at again.",
        required_resource_keys={"platform"},
    )
    def tiers(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from _ask(context, gap_days, aged=True, reason="tier_schedule")

    return tiers


def _ask(
    context: dg.ScheduleEvaluationContext, gap_days: int, *, aged: bool, reason: str
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    with context.resources.platform.opened() as platform:
        if (paused := why_paused(platform.engine)) is not None:
            yield dg.SkipReason(paused)
            return
        platform.clean_up()
        fail_runs_without_a_lease(context.instance, platform)
        days = platform.due_dates(aged=aged, unseen=aged)
    requests = list(requests_for(context.instance, days, gap_days, reason))
    if not requests:
        yield dg.SkipReason("Nothing is due." if not days else "A run for these days is under way.")
    yield from requests


def _every(minutes: int) -> str:
    """Returns what comes nearest in cron's words, which know no 90 minutes."""
    hours, days = round(minutes / 60), round(minutes / 1440)
    if minutes < 60:
        return f"*/{minutes} * * * *"
    if hours < 24:
        return f"0 */{hours} * * *" if hours > 1 else "0 * * * *"
    return f"0 0 */{days} * *" if days > 1 else "0 0 * * *"
