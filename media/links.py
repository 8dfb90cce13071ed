"""Showing a file at a second place without a second copy.

Belongs here: reflinks and symbolic links that never harm what they show. Does not belong here: hard
links of originals, for a program that writes through one would write into the original.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_REFLINK = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM)


def link_or_clone(target: Path, final: Path, part: Path, how: str) -> str:
    """Makes `final` show the bytes of `target`.

    Args:
        target: The file to show.
        final: Where to show it; its folder exists. What stood there is replaced.
        part: A temporary name in the same folder.
        how: `reflink`, `symlink`, or `auto` for the first that the file system can do.

    Returns:
        What was made: `reflink` or `symlink`.

    Raises:
        OSError: Neither could be made.
    """
    part.unlink(missing_ok=True)
    if how in ("auto", "reflink") and _clone(target, part, required=how == "reflink"):
        os.replace(part, final)
        return "reflink"
    os.symlink(os.path.relpath(target, final.parent), part)
    os.replace(part, final)
    return "symlink"


def _clone(target: Path, part: Path, *, required: bool) -> bool:
    with open(target, "rb") as reader, open(part, "wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError as error:
            part.unlink()
            if required or error.errno not in _NO_REFLINK:
                raise
            return False
    stat = os.stat(target)
    with contextlib.suppress(PermissionError):
        os.utime(part, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return True
