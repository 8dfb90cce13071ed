"""The checksum by which iCloud Photos knows a file, computed here from the file's bytes.

Belongs here: the checksum, and how its printed form looks. Does not belong here: asking iCloud for the one it has.

A download is proven to equal Apple's copy when both values agree, and an upload is proven to have arrived. Apple marks
the kind of a checksum by its first byte; a value that starts with another kind can't be compared with this one.
"""

from __future__ import annotations

import binascii
import hashlib
import os

_BLOCK = 1 << 20
_KIND = b"\x01"
_LENGTH = 21  # bytes: the kind and a SHA-1; 28 characters when printed
# The two salts before a file's bytes; known from comparing whole files with what Apple said of them.
_SALT = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0"


class AppleChecksum:
    """Computes the checksum of bytes that come in pieces: base64(0x01 + SHA-1(salts + bytes))."""

    def __init__(self) -> None:
        self._sha1 = hashlib.sha1(_SALT, usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Adds the next bytes of the file."""
        self._sha1.update(data)

    def value(self) -> str:
        """Returns the checksum of all bytes so far, as iCloud prints it."""
        return binascii.b2a_base64(_KIND + self._sha1.digest(), newline=False).decode("ascii")


def apple_checksum(path: str | os.PathLike[str]) -> str:
    """Returns the checksum of a file, which is read once and never held whole.

    Raises:
        OSError: It cannot be read.
    """
    whole = AppleChecksum()
    with open(path, "rb", buffering=0) as file:
        buffer = memoryview(bytearray(_BLOCK))
        while count := file.readinto(buffer):
            whole.update(buffer[:count])
    return whole.value()


def is_comparable(value: str) -> bool:
    """Tells whether a checksum that iCloud reports is of the kind that is computed here.

    Another kind proves nothing, neither that two files are equal nor that they differ.
    """
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return False
    return len(raw) == _LENGTH and raw.startswith(_KIND)
