"""One recorded Dagster run inside this process.

Belongs here: creating a run that the UI shows like any other, and executing it here. Does not belong
here: which days it covers (`mediapipe_assets.cli.run`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from jobs.chain import CHAIN_JOB
from jobs.failures import why_it_failed
from pipeline.failures import RunStopped

LOCATION = "mediapipe_assets"
REPOSITORY = "__repository__"


def execute_chain(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    tags: Mapping[str, str],
    run_config: Mapping[str, Any],
    selection: Sequence[dg.AssetKey],
) -> str:
    """Executes the chain in this process as a run of the instance.

    Args:
        definitions: What `build_defs` made.
        instance: Where the run is recorded.
        tags: The run's tags, its days among them.
        run_config: As in the Launchpad.
        selection: The assets to materialize.

    Returns:
        The run's id.

    Raises:
        RunStopped: The run failed as a whole; the message says why.
        KeyboardInterrupt: Ctrl-C or SIGTERM, which Dagster takes for a failure of the step.
    """
    job = definitions.resolve_job_def(CHAIN_JOB).get_subset(asset_selection=set(selection))
    run = instance.create_run_for_job(
        job,
        run_config=run_config,
        tags=tags,
        asset_selection=frozenset(selection),
        remote_job_origin=_origin(),
    )
    result = execute_run(InMemoryJob(job), run, instance)
    if not result.success:
        if _interrupted(result):
            raise KeyboardInterrupt
        raise RunStopped(why_it_failed(result.all_events))
    return run.run_id


def _origin() -> RemoteJobOrigin:
    """Says where the UI finds the job, so that it shows the run beside its assets and can run it again."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="mediapipe_assets.definitions"), LOCATION
    )
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, REPOSITORY), CHAIN_JOB)


def _interrupted(result: dg.JobExecutionResult) -> bool:
    errors = [getattr(event.event_specific_data, "error", None) for event in result.all_events]
    while errors:
        error = errors.pop()
        if error is not None:
            if error.cls_name == DagsterExecutionInterruptedError.__name__:
                return True
            errors.append(error.cause)
    return False
