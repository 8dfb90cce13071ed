"""What the command line asks for, without a home of its own."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from mediapipe_assets.cli.run import Wishes, _due
from pipeline.discovery import DateRules

RULES = DateRules("UTC", date(2020, 1, 1), datetime(2026, 3, 1, 12, tzinfo=UTC))


def due(first: date, last: date, **given: Any) -> list[date]:
    platform = SimpleNamespace(due_dates=lambda **_: [date(2024, 5, 17)], date_rules=lambda: RULES)
    wishes = {"sources": (), "destination": None, "dry_run": False, "redo": "all", "limit": 0, "as_json": False}
    return _due(platform, Wishes(first=first, last=last, **{**wishes, **given}))


def test_doing_everything_again_covers_every_day_that_was_asked_for() -> None:
    days = due(date(2024, 1, 1), date(2024, 12, 31))
    assert (len(days), days[0], days[-1]) == (366, date(2024, 1, 1), date(2024, 12, 31))


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (date(1990, 1, 1), date(2020, 1, 2), [date(2020, 1, 1), date(2020, 1, 2)]),
        (date(2026, 2, 28), date(2030, 1, 1), [date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 2)]),
        (date(1990, 1, 1), date(1991, 1, 1), []),
    ],
)
def test_days_that_no_run_can_have_are_not_asked_for(first: date, last: date, found: list[date]) -> None:
    assert due(first, last) == found


def test_otherwise_only_what_is_due_is_asked_for() -> None:
    assert due(date(2024, 1, 1), date(2024, 12, 31), redo="failed") == [date(2024, 5, 17)]
