"""The checksum by which iCloud Photos knows a file, computed here from the file's bytes.

Belongs here: the checksum, and how its printed form looks. Does not belong here: asking iCloud for the one it has.

A download is proven to equal Apple's copy when both values agree, and an upload is proven to have arrived. Apple marks
the kind of a checksum by its first byte; a value that starts with another kind can't be compared with this one.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

_KIND = b"\x01"
_SALT = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0"
_CHUNK = 1 << 20


class AppleChecksum:
    """Computes the checksum of bytes that come in pieces."""

    def __init__(self) -> None:
        self._digest = hashlib.sha1(_SALT, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Adds the next bytes of the file."""
        self._digest.update(data)

    def value(self) -> str:
        """Returns the checksum of all bytes so far, in the 28 characters that iCloud shows."""
        return base64.b64encode(_KIND + self._digest.digest()).decode("ascii")


def apple_checksum(path: Path) -> str:
    """Returns the checksum of a file, which is read in pieces."""
    checksum = AppleChecksum()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum.update(chunk)
    return checksum.value()


def is_comparable(value: str) -> bool:
    """Tells whether a checksum that iCloud reports is of the kind that is computed here.

    Another kind proves nothing, neither that two files are equal nor that they differ.
    """
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        return False
    return len(raw) == 21 and raw.startswith(_KIND)
