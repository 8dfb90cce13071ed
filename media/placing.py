"""Placing a file of ours where another program takes it from: whole, read-only, where nothing stood.

Belongs here: one file, by the cheapest way that keeps its source safe, with its mode and its time. Does not belong
here: which file goes where, and what is recorded of it.

A reflink, else a hard link where the caller allows one, else a copy. Whatever was made is read once and hashed, for
nobody can check it later: what stands there is read by others, and never touched again.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from media.files import (
    ORIGINAL_MODE,
    ContentMismatch,
    clone_to_part,
    copy_to_part,
    hash_file,
    part_path,
    rename_to_new,
)

# Another file system, or one without such links, or too many of them.
_NO_HARD_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


class PlaceTaken(Exception):
    """Another file stands where one of ours should go; it is not overwritten."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A file in its place.

    Attributes:
        mtime_ns: The time of its last change, as it stands there.
        found: Whether it stood there already, from a run that was killed before it could say so.
    """

    mtime_ns: int
    found: bool


def place(
    source: Path, target: Path, sha256: str, size: int, tag: str, mtime_ns: int, *, may_link: bool = False
) -> Placement:
    """Places a file of ours, and never takes the place of what stands there.

    Args:
        source: The file. It is opened for reading only.
        target: Where it goes; its folder exists.
        sha256: The content hash that it must have.
        size: Its bytes.
        tag: Who writes it, see `media.files.part_path`.
        mtime_ns: The time of its last change that it gets; one that is hard linked keeps its own.
        may_link: Whether a hard link is taken where there are no reflinks. Never for an original: whoever writes
            through the link would write into it.

    Raises:
        PlaceTaken: Something else stands there; it was left as it is.
        ContentMismatch: The source does not hold the promised bytes; nothing was placed.
        OSError: Reading or writing failed; nothing is left behind.
    """
    if os.path.lexists(target):
        return _found(target, sha256, size)
    part = part_path(target, tag)
    try:
        if _bring(source, part, sha256, may_link=may_link):
            os.chmod(part, ORIGINAL_MODE)
            os.utime(part, ns=(mtime_ns, mtime_ns))
            _sync(part)
        rename_to_new(part, target)
    except FileExistsError:  # it came while the bytes were copied
        part.unlink(missing_ok=True)
        return _found(target, sha256, size)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Placement(os.lstat(target).st_mtime_ns, found=False)


def _bring(source: Path, part: Path, sha256: str, *, may_link: bool) -> bool:
    """Gives `part` the bytes of `source`, and makes sure of them; returns whether it is a file of its own."""
    part.unlink(missing_ok=True)  # a crash left it
    linked = False
    if not may_link:
        found = copy_to_part(source, part, durable=False)["sha256"]
    elif clone_to_part(source, part) or (linked := _link(source, part)):
        found = hash_file(str(part))["sha256"]
    else:
        found = copy_to_part(source, part, durable=False)["sha256"]
    if found != sha256:
        raise ContentMismatch(f"{source} does not hold the bytes that were recorded for it ({sha256[:12]}…)")
    return not linked


def _link(source: Path, part: Path) -> bool:
    try:
        os.link(source, part, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_HARD_LINK:
            return False
        raise
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _found(target: Path, sha256: str, size: int) -> Placement:
    """Takes over what a killed run placed, known by its bytes; it is not touched, for it may be on its way already."""
    seen = os.lstat(target)
    ours = stat.S_ISREG(seen.st_mode) and seen.st_size == size and hash_file(str(target))["sha256"] == sha256
    if not ours:
        raise PlaceTaken(f"another file stands at {target}; it is not overwritten. Move it away and run again")
    return Placement(seen.st_mtime_ns, found=True)
