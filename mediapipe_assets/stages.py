"""From a stage to a materialization: what every asset of the chain shares.

Belongs here: running a stage for a run's days and saying in Dagster's words what happened. Does not
belong here: anything about one stage (`mediapipe_assets.assets`), or how it works (`pipeline`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from catalog import bundles, deliveries, logs, renditions, sidecars, work
from catalog.work import Scope
from mediapipe_assets.checks import checks_of
from mediapipe_assets.partitions import scope_of
from mediapipe_assets.platform import PipelineResource, Redo
from mediapipe_assets.tables import table
from pipeline.failures import RunStopped
from pipeline.stage import FAILED, StageReport, work_off
from resources.redaction import redact

LOG_EVERY_SECONDS = 10.0
MB = 1_000_000
NAMED = 20  # files in the log; the check has them too


def run_stage(
    context: dg.AssetExecutionContext, pipeline: PipelineResource, name: str
) -> Iterator[dg.MaterializeResult[Any]]:
    """Works off one stage at the run's days.

    Yields:
        What happened; nothing in a dry run, which materializes nothing.

    Raises:
        dagster.Failure: The run cannot go on; trying again at once would not help.
    """
    scope = scope_of(context.run.tags) or Scope(*_key_range(context))
    platform = pipeline.platform
    if pipeline.dry_run:
        _say_what_would_be_done(context, pipeline, scope)
        return
    try:
        stage = platform.stage(name)
    except KeyError:
        yield dg.MaterializeResult(
            metadata={"summary": "switched off in the settings; nothing to do"},
            check_results=checks_of(name, platform, scope),
        )
        return
    run = pipeline.run(context.run_id, scope, _progress_log(context))
    try:
        pipeline.refuse_without_room(scope, _stages_of(context))
        if pipeline.redo is Redo.all:
            _forget(pipeline, name, scope)
        _look_again(context, pipeline, name)
        report = work_off(stage, run)
    except RunStopped as error:
        raise dg.Failure(redact(str(error)), allow_retries=False) from error
    with platform.engine.begin() as connection:
        logs.add_metrics(connection, context.run_id, name, report.metrics())
        days = logs.figures_by_day(connection, context.run_id, name)
        savings = renditions.largest_savings(connection, context.run_id) if name == renditions.COMPRESSED else []
    for day, events in days.items():
        if not scope.first <= day <= scope.last:
            continue  # it was moved to another day meanwhile, and Dagster takes figures only for the run's own
        context.add_asset_metadata(dict(events), partition_key=day.isoformat())
    context.log.info(_sentence(report))
    yield dg.MaterializeResult(
        metadata={**_figures(report), **_tables(report, savings)}, check_results=checks_of(name, platform, scope)
    )


def _key_range(context: dg.AssetExecutionContext) -> tuple[date, date]:
    keys = context.partition_key_range
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end)


def _stages_of(context: dg.AssetExecutionContext) -> list[str] | None:
    """Returns the stages that the whole run goes through, None for all."""
    selected = context.run.asset_selection
    return ["/".join(key.path) for key in selected] if selected else None


def _say_what_would_be_done(context: dg.AssetExecutionContext, pipeline: PipelineResource, scope: Scope) -> None:
    with pipeline.platform.engine.connect() as connection:
        for query in pipeline.platform.queries(aged=True):
            due = work.count_due(connection, query, scope)
            context.log.info(f"dry run: {query.stage} would work on {due} files between {scope.first} and {scope.last}")


def _forget(pipeline: PipelineResource, name: str, scope: Scope) -> None:
    """Makes a stage's finished work due again for a run that redoes everything."""
    destination, _, step = name.partition("/")
    with pipeline.platform.engine.begin() as connection:
        if name == renditions.COMPRESSED:
            renditions.forget_decisions(connection, scope.first, scope.last)
        elif name == renditions.RELEASED:
            renditions.ask_again_for_proof(connection, scope.first, scope.last)
        elif name == bundles.LIBRARY:
            bundles.forget_library_days(connection, scope.first, scope.last)
        elif name == sidecars.SIDECARS:
            libraries = pipeline.platform.icloud.with_sidecars
            sidecars.make_days_due(connection, libraries, scope.first, scope.last)
        elif step == "verified_media" and destination not in pipeline.platform.settings.pixels:
            # What a phone once had is not proven anew: its verdict is latched, and the file may have left the folder.
            deliveries.doubt_evidence(connection, destination, scope.first, scope.last)


def _look_again(context: dg.AssetExecutionContext, pipeline: PipelineResource, name: str) -> None:
    """Looks at a few copies that were proven long ago, at any date; what is amiss is due again, and checks name it."""
    destination, _, step = name.partition("/")
    if step != "verified_media":
        return
    found = pipeline.platform.recheck(destination)
    for path, reason in found.amiss[:NAMED]:
        context.log.warning(f"{path}: {reason}")
    if found.looked:
        more = ", so every copy there is proven anew" if found.everything else ""
        context.log.info(f"{destination}: looked again at {found.looked} copies, {len(found.amiss)} are amiss{more}")


def _progress_log(context: dg.AssetExecutionContext) -> Any:
    last = time.monotonic()

    def log(stage: str, done: int, total: int, seconds: float) -> None:
        nonlocal last
        if time.monotonic() - last < LOG_EVERY_SECONDS:
            return
        last = time.monotonic()
        rate = done / seconds if seconds else 0.0
        left = (total - done) / rate if rate else 0.0
        context.log.info(f"{stage}: {done} of {total}, {rate:.1f} a second, {left:.0f} s left")

    return log


def _sentence(report: StageReport) -> str:
    if not report.done:
        return f"{report.stage}: nothing to do"
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(report.counts.items()))
    return f"{report.stage}: {counts} in {report.seconds:.1f} s"


def _figures(report: StageReport) -> dict[str, Any]:
    rate = report.done / report.seconds if report.done and report.seconds else 0.0
    figures: dict[str, Any] = {
        "summary": _sentence(report),
        "files": report.done,
        "failed": report.counts.get(FAILED, 0),
        "seconds": round(report.seconds, 2),
        "files_per_minute": round(60 * rate, 1),
    }
    figures |= {name: count for name, count in report.counts.items() if name != FAILED}
    for name, value in report.figures.items():
        figures[name] = round(value / MB, 3) if "bytes" in name else int(value)
    return {name.replace("bytes", "megabytes") if "bytes" in name else name: value for name, value in figures.items()}


def _tables(report: StageReport, savings: list[tuple[str, int, int, str]]) -> Mapping[str, Any]:
    tables: dict[str, Any] = {}
    if report.failures:
        tables["failures"] = table(("file", "reason"), report.failures)
    if report.notes:
        tables["worth_a_look"] = table(("file", "what"), report.notes)
    if savings:
        rows = [
            (path, f"{before / MB:.2f}", f"{after / MB:.2f}", f"{100 * (1 - after / before):.0f} %", detail)
            for path, before, after, detail in savings
        ]
        tables["largest_savings"] = table(("file", "MB before", "MB after", "saved", "how"), rows)
    return tables
