"""Days and disks: which days a tier and a run cover, and what finds no room."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from media.tiers import DEFAULT_TIERS, Plan, Tier, tier_for
from pipeline.compress import tier_dates
from pipeline.planning import MOST_DAYS, RESERVE_BYTES, merge_dates, shortages

TODAY = date(2026, 2, 28)
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))


def tiers_at(ages: set[int]) -> list[Tier]:
    # Each tier has a quality of its own, so that its fingerprint names it.
    plans = enumerate(sorted({0, *ages}))
    return [Tier(f"from {age}", age, Plan(90 - number, 0, "hevc", 0, True, 0.1)) for number, age in plans]


@given(st.sets(st.integers(0, 36_500), max_size=6), DAYS, st.lists(st.dates(), max_size=20))
@example({1}, TODAY, [TODAY, TODAY - timedelta(days=1), date.min, date.max])
def test_tiers_cover_every_day_once_and_agree_with_the_engine(ages: set[int], today: date, days: list[date]) -> None:
    tiers = tiers_at(ages)
    ranges = tier_dates(tiers, today)
    edges = [edge for one in ranges for edge in (one.first, one.last)]
    for day in [*days, *edges]:
        holding = [one.fingerprint for one in ranges if one.first <= day <= one.last]
        assert holding == [tier_for((today - day).days, tiers).plan.fingerprint()]


def test_the_default_tiers_change_on_the_day_that_the_settings_say() -> None:
    fresh, year, _ = tier_dates(DEFAULT_TIERS, TODAY)
    assert year.last == TODAY - timedelta(days=365)
    assert fresh.first == TODAY - timedelta(days=364)


@given(st.lists(DAYS, max_size=30), st.integers(0, 90))
def test_merged_ranges_cover_every_day_in_order_without_overlap(days: list[date], gap: int) -> None:
    ranges = merge_dates(days, gap)
    assert all(any(one.first <= day <= one.last for one in ranges) for day in days)
    assert all(one.first <= one.last and {one.first, one.last} <= set(days) for one in ranges)
    for earlier, later in itertools.pairwise(ranges):
        assert (later.first - earlier.last).days > gap or (later.first - earlier.first).days >= MOST_DAYS
        assert later.first > earlier.last
    inside = sorted(set(days))
    for one in ranges:
        mine = [day for day in inside if one.first <= day <= one.last]
        assert all((b - a).days <= max(gap, 0) for a, b in itertools.pairwise(mine))


def test_no_days_make_no_ranges() -> None:
    assert merge_dates([], 60) == []


def test_writes_to_one_disk_are_added_up_and_a_reserve_stays_free(tmp_path: Path) -> None:
    disk = tmp_path.stat().st_dev
    writes = [(tmp_path / "originals" / "not yet there", 600), (tmp_path, 400)]
    assert shortages(writes, {disk: 1000 + RESERVE_BYTES}) == []
    (lacking,) = shortages(writes, {disk: 999 + RESERVE_BYTES})
    assert (lacking.needed, lacking.free) == (1000, 999 + RESERVE_BYTES)
    assert str(tmp_path) in str(lacking)


def test_nothing_to_write_needs_no_room(tmp_path: Path) -> None:
    assert shortages([(tmp_path, 0)], {tmp_path.stat().st_dev: 0}) == []


def test_the_system_is_asked_where_no_figures_are_given(tmp_path: Path) -> None:
    assert shortages([(tmp_path, 1)]) == []
    assert len(shortages([(tmp_path, 1 << 60)])) == 1


def test_a_library_of_many_years_is_taken_a_year_at_a_time() -> None:
    days = [date(2010, 1, 1) + timedelta(days=number) for number in range(3000)]
    scopes = merge_dates(days, 60)
    assert all((one.last - one.first).days < MOST_DAYS for one in scopes)
    assert [scopes[0].first, scopes[-1].last, len(scopes)] == [days[0], days[-1], 9]
