"""Names under the roots: short enough, whole characters, and never two meanings for one name."""

from __future__ import annotations

import os
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import layout
from tests.the_catalog import DAY, sha

TEXT_NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=255
).filter(lambda name: 0 < len(name.encode()) <= 255)
RAW_NAMES = st.binary(min_size=1, max_size=255).filter(lambda raw: not set(raw) & {0, 0x2F}).map(os.fsdecode)
SUFFIXES = st.sampled_from(["", "-0123456789ab", ".abc123", "-0123456789ab-1234567"])


@given(TEXT_NAMES | RAW_NAMES, SUFFIXES, st.sampled_from([None, ".jpg", ".mp4"]))
@example("a." + "x" * 253, "-0123456789ab", None)
def test_a_name_fits_any_file_system_and_keeps_its_suffix(name: str, suffix: str, extension: str | None) -> None:
    named = layout.named_with(name, suffix, extension)
    assert 0 < len(os.fsencode(named)) <= layout.NAME_BYTES
    assert suffix in named
    assert extension is None or named.endswith(suffix + extension)


@given(TEXT_NAMES, SUFFIXES)
def test_a_name_is_never_cut_in_the_middle_of_a_character(name: str, suffix: str) -> None:
    layout.named_with(name, suffix).encode()  # raises where half a character is left


def test_a_short_name_stays_whole() -> None:
    assert layout.named_with("IMG_0001.JPG", "-abc") == "IMG_0001-abc.JPG"
    assert layout.named_with("IMG_0001.MOV", ".f00", ".mp4") == "IMG_0001.f00.mp4"


def test_an_original_stands_at_the_same_path_each_time() -> None:
    paths = layout.original_paths(DAY, "IMG_0001.JPG", sha(7))
    marks = [sha(7)[:12], sha(7), f"{sha(7)}-2", f"{sha(7)}-3"]
    assert [next(paths) for _ in marks] == [f"2024/05/17/IMG_0001-{mark}.JPG" for mark in marks]


@pytest.mark.parametrize(
    ("name", "role", "extension", "delivered"),
    [
        ("a.JPG", "original", None, "a.JPG"),
        ("a.JPG", "rendition", ".jpg", "a.JPG"),
        ("a.jpeg", "rendition", ".jpg", "a.jpeg"),
        ("a.MOV", "rendition", ".mp4", "a.MOV.mp4"),
        ("a.MOV", "original", ".mp4", "a.MOV"),
    ],
)
def test_a_rendition_of_another_format_says_so_in_its_name(
    name: str, role: str, extension: str | None, delivered: str
) -> None:
    assert layout.delivered_name(name, role, extension) == delivered


def test_a_rendition_of_a_very_long_name_still_fits() -> None:
    name = "v" * 251 + ".MOV"
    delivered = layout.delivered_name(name, "rendition", ".mp4")
    assert len(delivered) <= layout.NAME_BYTES
    assert delivered.endswith(".MOV.mp4")


def test_days_have_folders_of_year_month_and_day() -> None:
    assert layout.day_folder(date(1990, 1, 1)) == "1990/01/01"
