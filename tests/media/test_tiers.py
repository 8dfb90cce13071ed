"""Plans, their fingerprints, and which tier is due at which age."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.tiers import DEFAULT_TIERS, KeepOriginal, Plan, refuse_small_saving, tier_for

PLAN = Plan(85, 24, "hevc", 0, True, 0.1)


def test_a_plan_survives_the_way_to_a_worker_and_back() -> None:
    assert Plan.from_dict(PLAN.to_dict()) == PLAN


def test_every_number_of_a_plan_changes_its_fingerprint() -> None:
    others = [
        replace(PLAN, jpeg_quality=84),
        replace(PLAN, video_crf=25),
        replace(PLAN, video_codec="av1"),
        replace(PLAN, video_max_edge=1920),
        replace(PLAN, png_recompress=False),
        replace(PLAN, min_saving=0.2),
    ]
    prints = {plan.fingerprint() for plan in [PLAN, *others]}
    assert len(prints) == 7
    assert all(len(text) == 12 and set(text) <= set("0123456789abcdef") for text in prints)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jpeg_quality", 101),
        ("jpeg_quality", -1),
        ("video_crf", 52),
        ("video_codec", "vp9"),
        ("video_max_edge", -2),
        ("min_saving", 1.0),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Plan.from_dict({**PLAN.to_dict(), field: value})


def test_a_plan_with_an_unknown_or_missing_field_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly"):
        Plan.from_dict({**PLAN.to_dict(), "jpg_quality": 80})
    with pytest.raises(ValueError, match="exactly"):
        Plan.from_dict({"jpeg_quality": 80})


def test_a_file_has_the_last_tier_whose_age_it_has_reached() -> None:
    names = [tier_for(age, DEFAULT_TIERS).name for age in (-5, 0, 364, 365, 1824, 1825, 40_000)]
    assert names == ["fresh"] * 3 + ["after a year"] * 2 + ["after five years"] * 2


def test_the_order_of_the_tiers_does_not_matter() -> None:
    assert tier_for(400, DEFAULT_TIERS[::-1]) == tier_for(400, DEFAULT_TIERS)


def test_tiers_that_leave_fresh_files_out_are_refused() -> None:
    with pytest.raises(ValueError, match="0 days"):
        tier_for(3, DEFAULT_TIERS[1:])


def test_older_tiers_are_never_finer_than_younger_ones() -> None:
    qualities = [tier.plan.jpeg_quality for tier in DEFAULT_TIERS]
    assert qualities == sorted(qualities, reverse=True)


@pytest.mark.parametrize(("before", "after", "share"), [(100, 100, 0.0), (100, 101, 0.0), (100, 91, 0.1)])
def test_a_rendition_that_saves_nothing_or_too_little_is_refused(before: int, after: int, share: float) -> None:
    with pytest.raises(KeepOriginal):
        refuse_small_saving(before, after, share)


def test_a_rendition_that_saves_exactly_enough_is_taken() -> None:
    refuse_small_saving(1000, 900, 0.1)
