"""Near duplicates: what may be proposed, which of two is kept, and an index that misses nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from media.perceptual import hamming
from pipeline.deduplicate import PerceptualIndex, better_first, different_shots
from tests.pipeline.test_bundling import content
from tests.the_catalog import NOON

PHONE: dict[str, Any] = {"make": "Apple", "model": "iPhone 12"}
HASHES = st.binary(min_size=32, max_size=32)


def flipped(phash: bytes, bits: set[int]) -> bytes:
    value = int.from_bytes(phash, "big")
    for bit in bits:
        value ^= 1 << bit
    return value.to_bytes(32, "big")


@given(HASHES, st.lists(st.sets(st.integers(0, 255), max_size=70), min_size=1, max_size=8), st.integers(0, 128))
def test_the_index_finds_what_comparing_one_by_one_finds(query: bytes, changes: list[set[int]], threshold: int) -> None:
    hashes = [flipped(query, bits) for bits in changes]
    ids = list(range(100, 100 + len(hashes)))
    naive = {one: hamming(query.hex(), phash.hex()) for one, phash in zip(ids, hashes, strict=True)}
    expected = {one: distance for one, distance in naive.items() if distance <= threshold}
    assert PerceptualIndex(ids, b"".join(hashes)).near(query, threshold) == expected


def test_an_index_of_nothing_finds_nothing() -> None:
    assert PerceptualIndex([], b"").near(bytes(32), 256) == {}


def shots(first: dict[str, Any], second: dict[str, Any]) -> bool:
    one, two = content("a.jpg", 1, **{**PHONE, **first}), content("b.jpg", 2, **{**PHONE, **second})
    assert different_shots(one, two) == different_shots(two, one)
    return different_shots(one, two)


def test_one_camera_at_two_moments_took_two_pictures() -> None:
    assert shots({}, {"capture_local": NOON + timedelta(seconds=1)})


def test_a_burst_differs_in_the_fraction_of_its_second_or_its_id() -> None:
    assert shots({"subsec": "10"}, {"subsec": "35"})
    assert shots({"image_unique_id": "A"}, {"image_unique_id": "B"})
    assert shots({"content_identifier": "A"}, {"content_identifier": "B"})


def test_the_same_moment_of_the_same_camera_may_be_a_copy() -> None:
    assert not shots({}, {})
    assert not shots({"subsec": "10"}, {"subsec": None})


def test_without_a_camera_or_with_another_one_nothing_is_ruled_out() -> None:
    later = NOON + timedelta(hours=1)
    assert not shots({"model": None}, {"model": None, "capture_local": later})
    assert not shots({}, {"model": "Pixel", "capture_local": later})


FIGURES = st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(1, 3))


@given(st.lists(FIGURES, min_size=2, max_size=2))
def test_which_of_two_is_better_does_not_depend_on_who_asks(files: list[tuple[int, int, bool, int]]) -> None:
    one, two = (
        content("a.jpg", number, width=width, height=height, make="Apple" if rich else None, size=size)
        for number, (width, height, rich, size) in enumerate(files, 1)
    )
    assert better_first(one, two) == better_first(two, one)


def test_more_pixels_then_richer_metadata_then_more_bytes_then_known_for_longer() -> None:
    small = content("a.jpg", 1, width=10, height=10, size=99, **PHONE)
    large = content("b.jpg", 2, width=20, height=10, size=1)
    assert better_first(small, large) == (large, small)
    rich = content("c.jpg", 3, width=10, height=10, **PHONE)
    plain = content("d.jpg", 4, width=10, height=10, size=99)
    assert better_first(plain, rich) == (rich, plain)
    first, second = content("e.jpg", 5), content("f.jpg", 6)
    assert better_first(second, first) == (first, second)
