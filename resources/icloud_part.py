"""The temporary file of a download from iCloud, which is hashed as it grows.

It grows as the body comes, a block at a time, so that memory does not grow with the file.

Belongs here: the file on the disk: taking up what an earlier attempt left, and never writing on what is not ours. Does
not belong here: where its bytes come from, and whether they are the right ones (`resources.icloud_download`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from media.apple_checksum import AppleChecksum
from media.files import CHUNK, write_all


class Part:
    """The temporary file, which is hashed as it grows.

    Attributes:
        count: Bytes that stand in it.
        received: Bytes that came from the network, those of discarded attempts included.
        version: What the server calls this state of the file (its ETag).
    """

    def __init__(self, path: Path, file: FileIO, *, vouched: bool) -> None:
        """Takes its path, opened, empty or to be read back, and whether a checksum vouches for it in the end."""
        self.count = 0
        self.received = 0
        self.version = ""
        self._path = path
        self._file = file
        self._vouched = vouched
        self._sum = AppleChecksum()

    def headers(self) -> dict[str, str]:
        """Returns what asks for the rest of it."""
        if not self.count:
            return {}
        headers = {"Range": f"bytes={self.count}-"}
        if not self._vouched and self.version.startswith('"'):
            # No checksum would tell if the file was another one by now.
            headers["If-Range"] = self.version
        return headers

    def write(self, block: bytes) -> None:
        """Adds bytes."""
        write_all(self._file, memoryview(block))
        self._sum.update(block)
        self.count += len(block)

    def begin_again(self) -> None:
        """Throws away all that is in it."""
        self._file.seek(0)
        self._file.truncate()
        self._sum = AppleChecksum()
        self.count = 0

    def checksum(self) -> str:
        """Returns the Apple checksum of what is in it."""
        return self._sum.value()

    def sync(self) -> None:
        """Has the disk hold what is in it.

        Raises:
            OSError: It does not. What the disk refused may still look whole in memory; nobody should resume it, so
                that it is gone.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self._path.unlink(missing_ok=True)
            raise

    def read_back(self) -> None:
        """Hashes what an earlier attempt left in it."""
        buffer = memoryview(bytearray(CHUNK))
        while length := self._file.readinto(buffer):
            self._sum.update(buffer[:length])
            self.count += length


@contextlib.contextmanager
def opened(path: Path, *, resume: bool) -> Iterator[Part]:
    """Opens the temporary file at a path, with what an earlier attempt left in it or empty.

    Args:
        path: Where it is, in a folder that exists.
        resume: Whether what is there may be gone on with, as a checksum will vouch for it.
    """
    left = resume and _is_resumable(path)
    if not left:
        path.unlink(missing_ok=True)
    with open(path, "r+b" if left else "x+b", buffering=0) as file:
        part = Part(path, file, vouched=resume)
        if left:
            part.read_back()
        yield part


def _is_resumable(path: Path) -> bool:
    """Returns whether a part of ours is there, and makes it writable, as a crash may have left it read-only."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return False
    if not found.st_mode & stat.S_IWUSR:
        path.chmod(stat.S_IMODE(found.st_mode) | stat.S_IWUSR)
    return True
