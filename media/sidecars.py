"""A sidecar beside an original: ours is kept up to date, anybody else's is never touched.

Belongs here: its name, and the one task that writes it. Does not belong here: what it says (`media.xmp`), or which
photos have one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Literal

from media.files import atomic_write
from media.xmp import HEAD, is_ours

EXTENSION = ".xmp"
NAME_BYTES = 255
Written = Literal["written", "unchanged", "not_ours"]


def sidecar_of(original: Path) -> Path:
    """Returns where the sidecar of an original stands: its whole name and `.xmp`, as digiKam and darktable look for it.

    A name without room for that is cut, with a mark of the whole of it, so that two of them never meet.
    """
    name = os.fsencode(original.name)
    if len(name) + len(EXTENSION) > NAME_BYTES:
        mark = f"~{hashlib.sha256(name).hexdigest()[:12]}".encode()
        room = NAME_BYTES - len(mark) - len(EXTENSION)
        name = name[:room].decode("utf-8", "ignore").encode() + mark
    return original.with_name(os.fsdecode(name) + EXTENSION)


def write_sidecar(path: str, document: bytes, *, tag: str) -> Written:
    """Writes a sidecar, unless it says the same already or somebody else's stands there.

    Args:
        path: Where it goes, in a folder that is there.
        document: All of it.
        tag: Who writes it, see `media.files.part_path`.

    Returns:
        What was done; `not_ours` leaves what stands there as it is.

    Raises:
        OSError: It cannot be written. What stood there stands there still.
    """
    target = Path(path)
    if os.path.lexists(target):
        there = _content(target, len(document) + 1)
        if there is None or not is_ours(there[:HEAD]):
            return "not_ours"
        if there == document:
            return "unchanged"
    with atomic_write(target, tag) as handle:
        handle.write(document)
    return "written"


def _content(path: Path, most: int) -> bytes | None:
    """Returns the first bytes of a file, None for what is none, a link among them."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return os.pread(handle, max(most, HEAD), 0)
    finally:
        os.close(handle)
