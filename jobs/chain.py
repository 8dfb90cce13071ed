"""The job that works the whole chain for a range of days, and how a run of it is asked for.

Belongs here: the job, and turning due days into few run requests. Does not belong here: finding out
which days are due (`pipeline.assembly`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from catalog.work import Scope
from pipeline.planning import merge_dates

CHAIN_JOB = "media_chain"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
ASKED_FOR_BY = "mediapipe/asked_for_by"
A_PERSON = "a person"
COMMAND_LINE = "mediapipe-assets run"
KILLED = "mediapipe/killed"  # tag of a run that did not fail by itself
# Dagster's own: which run this one repeats, and its number where the daemon and no person repeats it.
PARENT, RETRY = "dagster/parent_run_id", "dagster/retry_number"
UNDER_WAY = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)

# One process a run: the parallelism is the pool inside, over files. A step costs 0.16 s this way and
# 2.4 to 4.3 s under the multiprocess executor.
chain_job = dg.define_asset_job(
    CHAIN_JOB,
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description=(
        "The whole chain for any range of days: store, deduplicate, compress, deliver, prove, sort. What is done "
        "already is passed over, so it may be run at any time, and again after any crash."
    ),
)


def range_tags(scope: Scope) -> dict[str, str]:
    """Returns the tags with which Dagster runs a range of days in one run."""
    return {RANGE_START: scope.first.isoformat(), RANGE_END: scope.last.isoformat()}


def requests_for(
    instance: dg.DagsterInstance,
    days: Sequence[date],
    gap_days: int,
    reason: str,
    rest_minutes: float = 0,
    key: str | None = None,
) -> Iterator[dg.RunRequest]:
    """Yields one run request for each range of due days that no run under way covers.

    A run that fails as a whole, because a disk is full or not mounted, leaves its days due: whoever asks every few
    seconds lets them rest, or thousands of runs would fail in one night.

    Args:
        instance: Where runs are recorded.
        days: The days at which something is due.
        gap_days: See `pipeline.planning.merge_dates`.
        reason: Why, shown as a tag of the run.
        rest_minutes: How long days are left alone after a run over them failed; killed runs go on at once.
        key: Of what is granted once: the same days under the same key are never started twice.
    """
    busy = [*_under_way(instance), *_failed_lately(instance, rest_minutes)] if days else []
    for scope in merge_dates(days, gap_days):
        if not any(scope.first <= other.last and other.first <= scope.last for other in busy):
            run_key = f"{key} {scope.first} {scope.last}" if key else None
            yield dg.RunRequest(run_key, tags={**range_tags(scope), ASKED_FOR_BY: reason})


def starts_by_itself(tags: Mapping[str, str]) -> bool:
    """Returns whether no person started a run, by its tags."""
    if RETRY in tags:
        return True
    return PARENT not in tags and tags.get(ASKED_FOR_BY) not in (None, A_PERSON, COMMAND_LINE)


def _under_way(instance: dg.DagsterInstance) -> Iterator[Scope]:
    filters = dg.RunsFilter(job_name=CHAIN_JOB, statuses=list(UNDER_WAY))
    yield from _days_of(instance.get_runs(filters))


def _failed_lately(instance: dg.DagsterInstance, minutes: float) -> Iterator[Scope]:
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    filters = dg.RunsFilter(job_name=CHAIN_JOB, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    failed = instance.get_runs(filters, limit=100) if minutes else []
    yield from _days_of(run for run in failed if KILLED not in run.tags)


def _days_of(runs: Iterable[dg.DagsterRun]) -> Iterator[Scope]:
    for run in runs:
        first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
        if first and last:
            yield Scope(date.fromisoformat(first), date.fromisoformat(last))


def was_canceled(instance: dg.DagsterInstance) -> bool:
    """Returns whether a person ended the last run: then the schedule takes up what is left, not the next tick."""
    last = instance.get_runs(dg.RunsFilter(job_name=CHAIN_JOB), limit=1)
    return bool(last) and last[0].status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELING)
