"""Finding a file in the catalog by any path that a person may have in hand.

Belongs here: from a path to a content or an observation. Does not belong here: telling its story
(`catalog.history`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from catalog import history
from catalog.paths import to_text
from media.files import hash_file
from pipeline import layout
from pipeline.assembly import Platform


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to; an observation without a content was rejected, failed, or waits."""

    media_file_id: int | None
    source_file_id: int | None


def find(connection: Connection, platform: Platform, file: Path) -> Found | None:
    """Finds what stands, stood or will stand at a path; by its bytes where the path is unknown.

    Args:
        connection: The catalog.
        platform: The home.
        file: A path, absolute or relative to the working folder or to one of our roots.
    """
    given = Path(os.path.abspath(file.expanduser()))
    for path in dict.fromkeys((given, given.parent.resolve() / given.name, given.resolve())):
        found = _by_place(connection, platform, path)
        if found is not None:
            return found
    if not file.is_absolute() and (found := _below_any_root(connection, platform, str(file))) is not None:
        return found
    if given.is_file():
        content = history.by_sha256(connection, hash_file(str(given))["sha256"])
        return None if content is None else Found(content, None)
    return None


def _by_place(connection: Connection, platform: Platform, path: Path) -> Found | None:
    for name, spec in platform.sources.items():
        if (below := layout.below(path, spec.path)) is not None:
            seen = history.by_source_path(connection, name, to_text(str(below)))
            if seen is not None:
                return Found(*seen)
    for name, root in platform.written_folders.items():
        if (below := layout.below(path, root)) is not None:
            return _below_root(connection, name, to_text(str(below)))
    return None


def _below_any_root(connection: Connection, platform: Platform, path: str) -> Found | None:
    for name in platform.sources:
        if (seen := history.by_source_path(connection, name, to_text(path))) is not None:
            return Found(*seen)
    for name in platform.written_folders:
        if (found := _below_root(connection, name, to_text(path))) is not None:
            return found
    return None


def _below_root(connection: Connection, root: str, path: str) -> Found | None:
    if root == layout.ORIGINALS:
        content = history.by_stored_path(connection, root, path)
    elif root == layout.RENDITIONS:
        content = history.by_rendition_path(connection, path)
    elif root == layout.LIBRARY:
        content = history.by_library_path(connection, path)
    elif (destination := layout.destination_of(root)) is not None:
        content = history.by_remote_path(connection, destination, path)
    else:
        content = None
    return None if content is None else Found(content, None)
