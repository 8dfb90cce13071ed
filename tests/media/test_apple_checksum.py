"""Apple's checksum: the same in pieces as in one, and never compared with a value of another kind."""

from __future__ import annotations

import base64
import hashlib

import pytest

from media.apple_checksum import AppleChecksum, is_comparable


def of(*pieces: bytes) -> str:
    checksum = AppleChecksum()
    for piece in pieces:
        checksum.update(piece)
    return checksum.value()


def test_it_is_the_salted_sha1_behind_its_kind_in_28_characters() -> None:
    salted = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0a photo"
    assert of(b"a photo") == base64.b64encode(b"\x01" + hashlib.sha1(salted).digest()).decode()
    assert len(of(b"")) == 28


def test_pieces_of_any_kind_add_up_to_the_whole() -> None:
    assert of(b"a ", bytearray(b"pho"), memoryview(b"to")) == of(b"a photo")  # type: ignore[arg-type]


def test_asking_for_the_value_in_between_changes_nothing() -> None:
    checksum = AppleChecksum()
    checksum.update(b"a ")
    checksum.value()
    checksum.update(b"photo")
    assert checksum.value() == of(b"a photo")


@pytest.mark.parametrize("value", ["AeFBBYsTaK2qkoE8rGNy/XYzd9Tu", "Adpdvs6rQuulplInynP1T9Y0d81t"])
def test_what_icloud_shows_can_be_compared(value: str) -> None:
    assert is_comparable(value)


@pytest.mark.parametrize(
    "value",
    [
        "AuFBBYsTaK2qkoE8rGNy/XYzd9Tu",  # another kind
        "AeFBBYsTaK2qkoE8rGNy/XYzd9Q=",  # too short
        "AeFBBYsTaK2qkoE8rGNy/XYzd9TuAAAA",  # too long
        "AeFBBYsTaK2qkoE8rGNy_XYzd9Tu",  # letters of an address
        "AeFBBYsTaK2qkoE8rGNy/XYzd9Tu\n",
        "Ä" * 28,
        "",
    ],
)
def test_what_is_of_another_form_cannot(value: str) -> None:
    assert not is_comparable(value)
