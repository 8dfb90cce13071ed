"""Showing a file at a second place without a second copy.

Belongs here: reflinks and symbolic links that never harm what they show. Does not belong here: hard
links of originals, for a program that writes through one would write into the original.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from media.files import clone_to_part, commit_part


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
        OSError: Neither could be made; what stood there stands still.
    """
    part.unlink(missing_ok=True)
    made = "reflink"
    try:
        if how == "symlink" or not clone_to_part(target, part, required=how == "reflink"):
            os.symlink(os.path.relpath(target, final.parent), part)
            made = "symlink"
        else:
            _date_like(target, part)
        commit_part(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return made


def _date_like(target: Path, part: Path) -> None:
    seen = os.stat(target)
    with contextlib.suppress(PermissionError):
        os.utime(part, ns=(seen.st_atime_ns, seen.st_mtime_ns))
