"""Why a run failed, from what Dagster wrote down of it.

Belongs here: finding the sentence that a person can use among a run's events. Does not belong here: whom to tell
(`sensors.alerts`), or the sentences themselves (`pipeline.failures`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError

OF_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
# Errors of ours say in a sentence what is wrong; only those that nobody foresaw need their kind.
_OURS = re.compile(r"^(?:catalog|jobs|media|mediapipe_assets|pipeline|resources|services)(?:\.\w+)+: ")


def why_it_failed(events: Sequence[dg.DagsterEvent]) -> str:
    """Returns the reason in the person's words where the run gave one, else the innermost error.

    Args:
        events: Of the run, in order.
    """
    for event in events:
        data = event.event_specific_data
        if event.is_failure and (failure := getattr(data, "user_failure_data", None)) is not None:
            return str(failure.description)
    for event in events:
        if (error := getattr(event.event_specific_data, "error", None)) is not None:
            return _OURS.sub("", str(_innermost(error).message).strip())
    said = next((event.message for event in events if event.is_failure and event.message), None)
    return said or "The run failed; see its page in the web UI."


def failed_steps(events: Sequence[dg.DagsterEvent]) -> list[str]:
    """Returns the assets whose steps failed, by their names."""
    return [event.step_key.replace("__", "/") for event in events if event.is_step_failure and event.step_key]


def only_checks_failed(events: Sequence[dg.DagsterEvent]) -> bool:
    """Returns whether nothing but checks that block ended the run."""
    errors = [getattr(event.event_specific_data, "error", None) for event in events if event.is_step_failure]
    return bool(errors) and all(
        error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__ for error in errors
    )


def _innermost(error: Any) -> Any:
    while error.cause is not None:
        error = error.cause
    return error
