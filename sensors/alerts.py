"""The sensors that write down what a person should be told: failed checks, failed runs, and the platform's own health.

Belongs here: reading what Dagster recorded, and handing it on, each thing once. Does not belong here: the words
(`pipeline.alerts`), looking at the platform (`pipeline.health`), or sending (the bot's process).

What was seen of Dagster's records is kept in the catalog and not in the sensors' cursors: it is written in the
transaction of the notices, so that a tick that dies half-way neither repeats nor loses one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import RunRecord
from sqlalchemy import Connection

from catalog import config, heartbeats
from catalog.failing import FAILING, FAILING_FILES
from catalog.notifications import Notice, resolve, resolve_under, standing, tell, was_told
from catalog.work import Scope
from jobs.chain import CHAIN_JOB, KILLED, RANGE_END, RANGE_START, UNDER_WAY
from jobs.failures import OF_FAILURES, failed_steps, only_checks_failed, why_it_failed
from pipeline import alerts, health
from pipeline.alerts import FailedCheck, FailedRun
from pipeline.assembly import Platform
from pipeline.left import failed_files
from resources.settings import Settings

TICK_SECONDS = 30
HEALTH_SECONDS = 60
HISTORY = 25  # evaluations of one check that a tick looks back at
LATEST_RUNS = 100
LATE_SECONDS = 3600.0  # so late may be written down what happened before something that is known already
FIRST_LOOK = timedelta(days=1)  # older failures are no news to somebody who has just set up a channel
SLOW_LOOKS = timedelta(minutes=10)  # between two looks that ask every stage what waits
SEEN_CHECKS, SEEN_RUNS = "alerts_seen_checks", "alerts_seen_runs"
PARTITION = "dagster/partition"


def alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Returns the sensors; none while there is nowhere to tell anything."""
    return [check_alerts(), run_alerts(), health_alerts()] if settings.tells_somebody else []


def check_alerts() -> dg.SensorDefinition:
    """Returns the sensor for failed asset checks."""

    @dg.sensor(
        name="check_alerts",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of asset checks that fail: once for each set of failing files, until it was mended.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None
        keys = sorted(context.repository_def.asset_graph.asset_check_keys, key=str)
        evaluated = {_name(key): _evaluations(context.instance, key) for key in keys}
        with context.resources.platform.opened() as platform, platform.engine.begin() as connection:
            seen: dict[str, list[str]] = config.get_config(connection, SEEN_CHECKS) or {}
            tokens = {name: [_token(one) for one in records] for name, records in evaluated.items()}
            news = [one for name, records in evaluated.items() for one in _news(records, seen.get(name))]
            told = [notice for one in news if (notice := _judge(context.instance, connection, one)) is not None]
            if tokens != seen:
                config.set_config(connection, SEEN_CHECKS, tokens)
        return _said(context, told, "No check has found another set of failing files.")

    return watch


def _name(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}:{key.name}"


def _evaluations(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> list[AssetCheckExecutionRecord]:
    """Returns what a check last found, in the order in which it did."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=HISTORY, status=set(COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES)
    )
    return sorted(records, key=_evaluated_at)


def _evaluated_at(record: AssetCheckExecutionRecord) -> float:
    return float(record.event.timestamp if record.event is not None else record.create_timestamp)


def _token(record: AssetCheckExecutionRecord) -> str:
    # The row is written when the check is planned, and again by each try of its step.
    return f"{record.id}@{_evaluated_at(record)}"


def _news(records: Sequence[AssetCheckExecutionRecord], seen: Sequence[str] | None) -> list[AssetCheckExecutionRecord]:
    """Returns the evaluations that no tick has seen; of a check that was never looked at only the latest."""
    if not seen:
        return list(records[-1:])
    # One that is far older comes into view because somebody deleted the runs after it.
    after = max(float(token.partition("@")[2]) for token in seen) - LATE_SECONDS
    return [one for one in records if _token(one) not in seen and _evaluated_at(one) > after]


def _judge(instance: dg.DagsterInstance, connection: Connection, record: AssetCheckExecutionRecord) -> Notice | None:
    """Tells of what a check found, or takes back what was told of it; returns what was told anew."""
    found = _failure(instance, record)
    if found is None:
        resolve_under(connection, alerts.check_prefix(record.key.asset_key.to_user_string(), record.key.name))
        return None
    notice = alerts.check_failed(found)
    return notice if tell(connection, notice) else None


def _failure(instance: dg.DagsterInstance, record: AssetCheckExecutionRecord) -> FailedCheck | None:
    """Returns what a check found failing; what only waits for its turn is nothing to tell."""
    evaluation = record.evaluation
    if evaluation is None or record.status != AssetCheckExecutionRecordStatus.FAILED:
        return None
    metadata: dict[str, Any] = {name: value.value for name, value in evaluation.metadata.items()}
    if not metadata.get(FAILING):
        return None
    run = instance.get_run_by_id(record.run_id)
    return FailedCheck(
        asset=record.key.asset_key.to_user_string(),
        check=record.key.name,
        digest=str(metadata[FAILING]),
        files=int(metadata[FAILING_FILES]),
        noun=_noun(evaluation.metadata.get("files")),
        sample=_sample(evaluation.metadata.get("files")),
        what_to_do=str(metadata.get("what_to_do", "")),
        severe=evaluation.severity == dg.AssetCheckSeverity.ERROR,
        days=None if run is None else _days(run),
        run_id=record.run_id,
    )


def _noun(named: object) -> str:
    """Returns what a check's table is about, by its first column."""
    return named.schema.columns[0].name if isinstance(named, dg.TableMetadataValue) else "file"


def _sample(named: object) -> list[tuple[str, str]]:
    """Returns what a check's table names, each with its reason; a last row may stand for what only waits."""
    rows = [list(row.data.values()) for row in named.records] if isinstance(named, dg.TableMetadataValue) else []
    return [(str(row[0]), str(row[1]) if len(row) > 1 else "") for row in rows if row[0] != "…"]


def run_alerts() -> dg.SensorDefinition:
    """Returns the sensor for failed runs."""

    @dg.sensor(
        name="run_alerts",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of runs that fail as a whole, once however often they are repeated.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        instance = context.instance
        with context.resources.platform.opened() as platform, platform.engine.begin() as connection:
            seen = config.get_config(connection, SEEN_RUNS) or _never_looked(platform)
            # Asked first: a run that ends in between is then found among those that have ended, or at the next tick.
            under_way = [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)))]
            ended = _ended(instance, seen["under_way"])
            news = [one for one in ended if _is_news(one, seen)]
            told = [notice for one in news if (notice := _tell_end(instance, platform, connection, one)) is not None]
            until = max([seen["until"], *(_ended_at(one) for one in news)])
            now_seen = {"under_way": under_way, "ended": [one.dagster_run.run_id for one in ended], "until": until}
            if now_seen != seen:
                config.set_config(connection, SEEN_RUNS, now_seen)
        return _said(context, told, "No other run has failed.")

    return watch


def _ended(instance: dg.DagsterInstance, under_way: Sequence[str]) -> list[RunRecord]:
    """Returns the latest runs that came to an end, and those that were under way at the last tick, in that order."""
    statuses = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    records = list(instance.get_run_records(dg.RunsFilter(statuses=statuses), limit=LATEST_RUNS))
    if under_way:
        records += instance.get_run_records(dg.RunsFilter(run_ids=list(under_way), statuses=statuses))
    each = {one.dagster_run.run_id: one for one in records}
    return sorted(each.values(), key=_ended_at)


def _ended_at(record: RunRecord) -> float:
    return record.end_time or 0.0


def _never_looked(platform: Platform) -> dict[str, Any]:
    return {"under_way": [], "ended": [], "until": (platform.now() - FIRST_LOOK).timestamp() + LATE_SECONDS}


def _is_news(record: RunRecord, seen: Mapping[str, Any]) -> bool:
    """Returns whether no tick has seen a run's end; a far older one is there because later ones were deleted."""
    run_id = record.dagster_run.run_id
    late = _ended_at(record) <= seen["until"] - LATE_SECONDS and run_id not in seen["under_way"]
    return run_id not in seen["ended"] and not late


def _tell_end(
    instance: dg.DagsterInstance, platform: Platform, connection: Connection, record: RunRecord
) -> Notice | None:
    """Tells of a run that failed, or takes back what was told of its days; returns what was told anew."""
    run = record.dagster_run
    days = _days(run)
    if run.status == dg.DagsterRunStatus.SUCCESS:
        for key in _standing_at(instance, connection, days):
            resolve(connection, key)
        return None
    logged = instance.all_logs(run.run_id, of_type=OF_FAILURES)
    events = [one.dagster_event for one in logged if one.dagster_event is not None]
    if only_checks_failed(events):
        return None  # the check is told
    found = FailedRun(
        root_id=run.root_run_id or run.run_id,
        run_id=run.run_id,
        assets=failed_steps(events),
        days=days,
        files=failed_files(platform, connection, days).count if days else 0,
        error=why_it_failed(events),
        killed=KILLED in run.tags,
    )
    notice = alerts.run_failed(found)
    if _is_told(instance, connection, found) or was_told(connection, notice.key):
        return None
    return notice if tell(connection, notice) else None


def _is_told(instance: dg.DagsterInstance, connection: Connection, found: FailedRun) -> bool:
    """Returns whether the same was told of the same days, or word by word of others and no run has succeeded since.

    A disk that is away fails one run after the other, each over days of its own.
    """
    if any(alerts.tells_of(body, found.error) for body in _standing_at(instance, connection, found.days).values()):
        return True
    succeeded = instance.get_run_records(
        dg.RunsFilter(job_name=CHAIN_JOB, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=1
    )
    since = max((_ended_at(one) for one in succeeded), default=0.0)
    told = standing(connection, alerts.RUN)
    return any(one.at.timestamp() > since and alerts.tells_exactly(one.body, found.error) for one in told)


def _standing_at(instance: dg.DagsterInstance, connection: Connection, days: Scope | None) -> dict[str, str]:
    """Returns what was told of runs that share a day with these: their keys and bodies."""
    found = {}
    for told in standing(connection, alerts.RUN):
        run = instance.get_run_by_id(told.key.removeprefix(alerts.RUN))
        others = None if run is None else _days(run)
        if days is None or others is None or (days.first <= others.last and others.first <= days.last):
            found[told.key] = told.body
    return found


def _days(run: dg.DagsterRun) -> Scope | None:
    first = run.tags.get(RANGE_START) or run.tags.get(PARTITION)
    last = run.tags.get(RANGE_END) or run.tags.get(PARTITION)
    return Scope(date.fromisoformat(first), date.fromisoformat(last)) if first and last else None


def health_alerts() -> dg.SensorDefinition:
    """Returns the sensor for the health of the platform itself."""

    @dg.sensor(
        name="health_alerts",
        minimum_interval_seconds=HEALTH_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells when iCloud needs a person, a disk is nearly full, files wait and none is finished, or the "
        "bot fell silent; and says itself that the daemon is alive.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with context.resources.platform.opened() as platform:
            now, cursor = platform.now(), context.cursor
            slow = cursor is None or now - datetime.fromisoformat(cursor) >= SLOW_LOOKS
            disks = health.disks_of(platform)
            with platform.engine.begin() as connection:
                last_tick = heartbeats.last_beat(connection, heartbeats.SENSORS)
                told = health.look_at_processes(platform, connection)
                told += health.look_at_accounts(platform, connection)
                told += health.look_at_disks(platform, connection, disks)
                if slow:
                    told += health.look_for_room(platform, connection, disks)
                    told += health.look_for_progress(platform, connection, last_tick)
        reason = _said(context, told, "All is well.")
        return dg.SensorResult(skip_reason=reason, cursor=now.astimezone(UTC).isoformat() if slow else cursor)

    return watch


def _said(context: dg.SensorEvaluationContext, told: Sequence[Notice], nothing: str) -> dg.SkipReason:
    for notice in told:
        context.log.warning(notice.title)
    return dg.SkipReason("; ".join(notice.title for notice in told) or nothing)
