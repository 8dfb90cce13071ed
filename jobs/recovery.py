"""Dagster's view of runs that were killed.

Belongs here: marking such runs as failed, so that the UI does not show them as running for ever, and
their days are asked for again. Does not belong here: their claims and temporary files (`pipeline.run`).
"""

from __future__ import annotations

import time

import dagster as dg

from catalog import leases
from jobs.chain import CHAIN_JOB, KILLED
from pipeline.assembly import Platform

# A run has no lease in the moments between its start and its first step.
STARTING_SECONDS = 600.0


def fail_runs_without_a_lease(instance: dg.DagsterInstance, platform: Platform) -> list[str]:
    """Marks every started run of the chain as failed whose lease is dead.

    Returns:
        Their ids.
    """
    started = instance.get_run_records(dg.RunsFilter(job_name=CHAIN_JOB, statuses=[dg.DagsterRunStatus.STARTED]))
    if not started:
        return []
    with platform.engine.connect() as connection:
        living = leases.living_runs(connection)
        ended = leases.ended_runs(connection, [record.dagster_run.run_id for record in started])
    failed = []
    for record in started:
        run_id = record.dagster_run.run_id
        old = record.start_time is not None and time.time() - record.start_time > STARTING_SECONDS
        if run_id not in living and (run_id in ended or old):
            instance.add_run_tags(run_id, {KILLED: "true"})
            instance.report_run_failed(
                record.dagster_run, "The process of this run ended without a word. Its files go on with the next run."
            )
            failed.append(run_id)
    return failed
