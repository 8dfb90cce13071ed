"""The folders that we write to, and the marker in each that says so.

An unmounted disk is an empty folder. Belongs here: making a root at first use, and refusing one that
should have a marker and has none. Does not belong here: sources, where we write nothing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection

from catalog import config
from media.files import ROOT_MARKER, atomic_write, make_folder
from pipeline.failures import RefusedForSafety

MARKER = ROOT_MARKER


def ensure_roots(connection: Connection, roots: Mapping[str, Path]) -> None:
    """Makes new roots and holds known ones against their markers.

    Args:
        connection: The catalog, which remembers every root's marker.
        roots: Name and absolute path of each root.

    Raises:
        RefusedForSafety: A root that was written to before has no marker, or another's.
    """
    known = config.known_roots(connection)
    for name, path in roots.items():
        if name in known:
            _check(name, path, known[name])
        else:
            config.add_root(connection, name, _create(name, path))


def check_roots(connection: Connection, roots: Mapping[str, Path]) -> list[str]:
    """Returns what is wrong with the roots, in words; an empty list when all is well."""
    known = config.known_roots(connection)
    problems = []
    for name, path in roots.items():
        try:
            if name in known:
                _check(name, path, known[name])
        except RefusedForSafety as error:
            problems.append(str(error))
    return problems


def _check(name: str, path: Path, marker_id: str) -> None:
    marker = path / MARKER
    try:
        found = json.loads(marker.read_text())["id"]
    except FileNotFoundError:
        raise RefusedForSafety(
            f"The folder “{name}” at {path} has no marker ({MARKER}), although it was written to before. Is its disk "
            "mounted? If you moved it, move its hidden marker along or set the new place in mediapipe.toml. "
            "Nothing was touched."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedForSafety(f"The marker {marker} cannot be read ({error}). Nothing was touched.") from error
    if found != marker_id:
        raise RefusedForSafety(
            f"The folder “{name}” at {path} belongs to another home: its marker is {found}, not {marker_id}. "
            "Nothing was touched."
        )


def _create(name: str, path: Path) -> str:
    """Writes a marker, or takes over the one that a start before this one wrote and did not get to record."""
    make_folder(path)
    marker = path / MARKER
    if marker.exists():
        try:
            kept = json.loads(marker.read_text())
            marker_id, root = str(kept["id"]), kept["root"]
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedForSafety(f"The marker {marker} cannot be read ({error}). Nothing was touched.") from error
        if root != name:
            raise RefusedForSafety(f"{path} is already in use as “{root}”. Choose another folder for “{name}”.")
        return marker_id
    marker_id = str(uuid.uuid4())
    with atomic_write(marker, f"root-{os.getpid()}") as handle:
        handle.write(json.dumps({"id": marker_id, "root": name}).encode())
    return marker_id
