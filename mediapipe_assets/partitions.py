"""The one partitions definition: the day on which a photo was taken.

Belongs here: days as partitions, and what a run's tags say about its days. Does not belong here:
how a photo gets its day (`media.capture`, `pipeline.discovery`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import dagster as dg

from catalog.work import Scope
from jobs.chain import RANGE_END, RANGE_START

PARTITION = "dagster/partition"


def capture_days(start: date) -> dg.DailyPartitionsDefinition:
    """Returns the partitions from `start` to tomorrow: a photo from Auckland is in tomorrow already."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=2)


def scope_of(tags: Mapping[str, str]) -> Scope | None:
    """Returns the days that a run's tags name, None for a run without days."""
    first = tags.get(RANGE_START) or tags.get(PARTITION)
    last = tags.get(RANGE_END) or tags.get(PARTITION)
    if first is None or last is None:
        return None
    return Scope(date.fromisoformat(first), date.fromisoformat(last))
