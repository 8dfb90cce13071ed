"""Quiet hours and the hour of the digest, by the clock on the wall, also when it is put forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.outbox_times import QuietHours, last_digest_hour, next_digest_hour, pause, unanswered_pause

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours.read("22:00-07:00", BERLIN)
NOON_REST = QuietHours.read("12:30-14:00", BERLIN)


def berlin(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("quiet", "now", "until"),
    [
        (NIGHT, "2026-11-21 21:59", None),
        (NIGHT, "2026-11-21 22:00", "2026-11-22 07:00"),
        (NIGHT, "2026-11-22 06:59", "2026-11-22 07:00"),
        (NIGHT, "2026-11-22 07:00", None),
        (NIGHT, "2026-03-28 23:00", "2026-03-29 07:00"),  # the night that lacks an hour
        (NIGHT, "2026-10-24 23:00", "2026-10-25 07:00"),  # the night that has one more
        (NOON_REST, "2026-11-21 12:29", None),
        (NOON_REST, "2026-11-21 12:30", "2026-11-21 14:00"),
        (NOON_REST, "2026-11-21 14:00", None),
        (QuietHours.read("", BERLIN), "2026-11-21 00:00", None),
    ],
)
def test_quiet_lasts_from_its_first_moment_to_its_last(quiet: QuietHours, now: str, until: str | None) -> None:
    assert quiet.until(berlin(now)) == (until and berlin(until))


@pytest.mark.parametrize(
    ("hour", "now", "last", "next_one"),
    [
        (9, "2026-11-21 08:59", "2026-11-20 09:00", "2026-11-21 09:00"),
        (9, "2026-11-21 09:00", "2026-11-21 09:00", "2026-11-22 09:00"),
        (9, "2026-03-28 10:00", "2026-03-28 09:00", "2026-03-29 09:00"),  # 23 hours later
        (9, "2026-10-24 10:00", "2026-10-24 09:00", "2026-10-25 09:00"),  # 25 hours later
        (2, "2026-03-29 12:00", "2026-03-29 03:00", "2026-03-30 02:00"),  # a day without that hour
        (2, "2026-10-25 12:00", "2026-10-25 02:00", "2026-10-26 02:00"),  # a day that has it twice: the first
    ],
)
def test_the_hour_of_the_digest_is_that_of_the_clock_on_the_wall(hour: int, now: str, last: str, next_one: str) -> None:
    found = last_digest_hour(hour, BERLIN, berlin(now)), next_digest_hour(hour, BERLIN, berlin(now))
    assert found == (berlin(last), berlin(next_one))


@given(
    hour=some.integers(0, 23),
    minutes=some.integers(0, 3 * 365 * 24 * 60),
    zone=some.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
)
def test_there_is_one_digest_for_each_day_and_none_is_left_out(hour: int, minutes: int, zone: str) -> None:
    where, now = ZoneInfo(zone), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    last, coming = last_digest_hour(hour, where, now), next_digest_hour(hour, where, now)
    assert last <= now < coming
    assert last_digest_hour(hour, where, coming) == coming
    assert last_digest_hour(hour, where, coming - timedelta(microseconds=1)) == last
    assert (coming.astimezone(where).date() - last.astimezone(where).date()).days == 1


def test_pauses_grow_to_their_longest_and_stay_there() -> None:
    assert [pause(attempt).total_seconds() for attempt in (1, 2, 3, 7, 8, 100_000)] == [5, 10, 20, 300, 300, 300]
    assert [unanswered_pause(attempt).total_seconds() for attempt in (1, 2, 7, 100_000)] == [60, 120, 3600, 3600]
