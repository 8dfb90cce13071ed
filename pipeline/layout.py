"""Where things stand under the roots.

Belongs here: the names of roots, the folder of a date, and the names that originals, renditions, thumbnails
and delivered files get. Does not belong here: writing them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

ORIGINALS = "originals"
RENDITIONS = "renditions"
STAGING = "staging"
LIBRARY = "library"
TRASH = "trash"
THUMBNAILS = "thumbnails"
_DESTINATION = "destination:"

NAME_BYTES = 255  # what ext4, Btrfs, XFS and ZFS allow
EXTENSION_BYTES = 64  # what stands after the last dot and is longer is no extension
HASH_CHARS = 12


def day_folder(day: date) -> str:
    """Returns the folder of a date below a root: `YYYY/MM/DD`."""
    return f"{day:%Y/%m/%d}"


def named_with(name: str, suffix: str, extension: str | None = None) -> str:
    """Returns a name with a suffix before its extension, short enough for any file system.

    Args:
        name: A file name.
        suffix: What goes between its stem and its extension.
        extension: Another extension, with its dot.
    """
    stem, own = os.path.splitext(name)
    if len(os.fsencode(own)) > EXTENSION_BYTES:
        stem, own = name, ""
    tail = suffix + (own if extension is None else extension)
    room = NAME_BYTES - len(os.fsencode(tail))
    return os.fsdecode(_cut(os.fsencode(stem), room)) + tail


def _cut(raw: bytes, room: int) -> bytes:
    if len(raw) <= room:
        return raw
    cut = raw[:room]
    # Not in the middle of a UTF-8 character.
    while cut and raw[len(cut)] & 0xC0 == 0x80:
        cut = cut[:-1]
    return cut


def original_paths(day: date, source_name: str, sha256: str) -> Iterator[str]:
    """Yields the places where an original may stand below its root, without end; the first one that is free is its own.

    Args:
        day: Its partition.
        source_name: The name that it has in its source.
        sha256: Its content hash: the beginning of it marks the name, all of it where that is taken by other bytes.
    """
    for mark in (sha256[:HASH_CHARS], sha256):
        yield f"{day_folder(day)}/{named_with(source_name, f'-{mark}')}"
    for number in itertools.count(2):
        yield f"{day_folder(day)}/{named_with(source_name, f'-{sha256}-{number}')}"


def rendition_path(stored_path: str, fingerprint: str, extension: str, day: date, mark: str = "") -> str:
    """Returns where the rendition of an original stands below its root.

    Args:
        stored_path: The original's path.
        fingerprint: Of the settings that it was made under.
        extension: The rendition's extension with its dot.
        day: Its partition.
        mark: What tells it from another one of that name.
    """
    return f"{day_folder(day)}/{named_with(os.path.basename(stored_path), f'.{fingerprint[:6]}{mark}', extension)}"


def delivered_name(file_name: str, role: str, extension: str | None) -> str:
    """Returns the name of a member at a destination.

    Args:
        file_name: The member's own name, unique on its day.
        role: `original` or `rendition`.
        extension: The rendition's extension with its dot, None for an original.
    """
    if role == "original" or extension is None:
        return file_name
    own = os.path.splitext(file_name)[1]
    same = {".jpeg": ".jpg"}.get(own.lower(), own.lower()) == extension.lower()
    return file_name if same else named_with(file_name, own, extension)


def destination_root(name: str) -> str:
    """Returns the name of the root that a destination's folder is."""
    return f"{_DESTINATION}{name}"


def destination_of(root: str) -> str | None:
    """Returns the destination whose folder a root is, None for one of our own."""
    return root.removeprefix(_DESTINATION) if root.startswith(_DESTINATION) else None


def below(path: Path, root: Path) -> Path | None:
    """Returns a path relative to a root that it is in, by the root's name or by where that really stands."""
    for base in dict.fromkeys((root, root.resolve())):
        if path.is_relative_to(base):
            return path.relative_to(base)
    return None


def folders_of_day(roots: Mapping[str, Path], day: date) -> Iterator[Path]:
    """Yields the folders in which a run leaves temporary files for one date."""
    for name, root in roots.items():
        if destination_of(name) is not None:
            yield root  # a phone's folder has none below
        for tree in ("", ORIGINALS, RENDITIONS):
            yield root / tree / day_folder(day)
