"""What an answer of Syncthing's means, without Syncthing."""

import pickle
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from resources.pixel import Level, PixelFolder, verdict
from resources.settings_pixel import PixelDestination
from resources.syncthing import FileInfo, FileState, Syncthing
from tests.pixel_folder import Placed

PHONE = "PHONEAA-2222222-3333333-4444444-5555555-6666666-7777777-AAAAAAA"
OTHER = PHONE.replace("PHONEAA", "OTHERAA")
DAY = date(2024, 2, 29)
PLACED = Placed("a.jpg", 7, 1_500, "00" * 32)
HERE = FileState(deleted=False, invalid=False, modified_by="NASAAAA", size=7, version=("NASAAAA:5",), modified_ns=1_500)
BY_PHONE = replace(HERE, modified_by="PHONEAA", version=("NASAAAA:5", "PHONEAA:6"))
WHOLE = FileInfo(HERE, HERE, (PHONE,))


@pytest.mark.parametrize(
    ("info", "level", "words"),
    [
        (WHOLE, "delivered", ""),
        (replace(WHOLE, holders=(OTHER, PHONE)), "delivered", ""),
        (replace(WHOLE, holders=(OTHER,)), "pending", "not have it yet"),
        (replace(WHOLE, holders=()), "pending", "not connected"),
        (None, "pending", "not seen it"),
        (replace(WHOLE, here=replace(HERE, version=(), size=0)), "pending", "not seen it"),
        (replace(WHOLE, here=replace(HERE, invalid=True)), "pending", "leaves it out"),
        (replace(WHOLE, everywhere=replace(HERE, invalid=True)), "pending", "not have it"),
        (replace(WHOLE, here=replace(HERE, size=8)), "problem", "on this side"),
        (replace(WHOLE, here=replace(HERE, modified_ns=1_501)), "problem", "on this side"),
        (replace(WHOLE, here=replace(HERE, deleted=True)), "problem", "taken out"),
        (replace(WHOLE, everywhere=BY_PHONE), "problem", "changed on the phone"),
        (replace(WHOLE, everywhere=replace(BY_PHONE, modified_by="OTHERAA")), "problem", "another device"),
        (replace(WHOLE, everywhere=replace(BY_PHONE, deleted=True)), "freed_on_phone", ""),
        (replace(WHOLE, everywhere=replace(BY_PHONE, deleted=True), holders=()), "freed_on_phone", ""),
        (
            replace(WHOLE, everywhere=replace(BY_PHONE, deleted=True, modified_by="OTHERAA")),
            "problem",
            "another device",
        ),
        # It deleted what it had under that name, and never had this version.
        (replace(WHOLE, everywhere=replace(BY_PHONE, deleted=True, version=("PHONEAA:6",))), "problem", "not known"),
        (replace(WHOLE, everywhere=replace(BY_PHONE, deleted=True, version=("NASAAAA:4", "PHONEAA:6"))), "problem", ""),
    ],
)
def test_each_answer_has_one_meaning(info: FileInfo | None, level: Level, words: str) -> None:
    look = verdict(info, PHONE, PLACED)
    assert look.level == level
    assert words in look.words
    assert bool(look.words) is not look.arrived


_versions = st.sampled_from([(), ("NASAAAA:5",), ("NASAAAA:6",), ("NASAAAA:5", "PHONEAA:6"), ("PHONEAA:6",)])
_states = st.builds(
    FileState,
    deleted=st.booleans(),
    invalid=st.booleans(),
    modified_by=st.sampled_from(["NASAAAA", "PHONEAA", "OTHERAA"]),
    size=st.sampled_from([7, 8]),
    version=_versions,
    modified_ns=st.sampled_from([1_500, 1_501]),
)
_infos = st.builds(FileInfo, _states, _states, st.sampled_from([(), (PHONE,), (OTHER,), (OTHER, PHONE)]))


# Hypothesis found it: a deletion whose version is ours followed from nothing that the phone had.
@example(
    FileInfo(
        replace(HERE, version=("PHONEAA:6",), deleted=True, modified_by="PHONEAA"),
        replace(HERE, version=("PHONEAA:6",)),
        (),
    )
)
@given(_infos)
def test_nothing_is_delivered_unless_the_phone_holds_the_version_of_the_very_file_that_was_placed(
    info: FileInfo,
) -> None:
    look = verdict(info, PHONE, PLACED)
    if look.level == "delivered":
        assert PHONE in info.holders
        assert info.everywhere.version == info.here.version != ()
        assert not (info.everywhere.deleted or info.here.deleted or info.everywhere.invalid or info.here.invalid)
    if look.arrived:
        assert (info.here.size, info.here.modified_ns) == (PLACED.size, PLACED.mtime_ns)
        assert look.evidence().proves(PLACED.sha256, PLACED.size)
    if look.level == "freed_on_phone":
        assert info.everywhere.deleted
        assert info.everywhere.modified_by == "PHONEAA"
        assert "NASAAAA:5" in info.everywhere.version or "NASAAAA:6" in info.everywhere.version


def test_what_is_pending_or_wrong_proves_nothing() -> None:
    for info in (None, replace(WHOLE, holders=()), replace(WHOLE, everywhere=BY_PHONE)):
        look = verdict(info, PHONE, PLACED)
        assert look.facts == {}
        assert not look.evidence().proves(PLACED.sha256, PLACED.size)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("IMG_0001.HEIC", "20240229_IMG_0001.HEIC"),
        ("a:b?c*.jpg", "20240229_a_b_c_.jpg"),
        ("u\u0308.jpg", "20240229_\u00fc.jpg"),
        ("\udcff.jpg", "20240229_\ufffd.jpg"),
        (".hidden.jpg", "20240229_.hidden.jpg"),
        ("ends in a dot.", "20240229_ends in a dot"),
    ],
)
def test_every_name_becomes_one_that_android_takes(name: str, there: str) -> None:
    assert folder().remote_path(DAY, name, "original") == there


def test_a_long_name_keeps_its_day_its_mark_and_its_extension() -> None:
    path = folder().remote_path(DAY, "ü" * 120 + "-0123abcd.jpg", "original")
    assert len(path.encode()) <= 240
    assert path.startswith("20240229_")
    assert path.endswith("-0123abcd.jpg")


def test_it_may_be_sent_to_a_worker() -> None:
    there = pickle.loads(pickle.dumps(folder()))
    assert (there.name, there.settings) == ("pixel", folder().settings)


def folder() -> PixelFolder:
    settings = PixelDestination(folder_id="f", device_id=PHONE)
    return PixelFolder("pixel", settings, Syncthing(settings.url, SecretStr("")))
