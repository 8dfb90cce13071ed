"""The folders that we write to, and the marker in each that says so.

An unmounted disk is an empty folder. Belongs here: making a root at first use, and refusing one that
should have a marker and has none. Does not belong here: sources, where we write nothing.
"""

from __future__ import annotations

import contextlib
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
        roots: Name and absolute path of each root, the originals first: by their marker others know whose they are.

    Raises:
        RefusedForSafety: A root that was written to before has no marker, or another's.
    """
    known = config.known_roots(connection)
    for name, path in roots.items():
        home = known.get(config.HOME_ROOT)
        if name in known:
            if "home" not in _check(name, path, known[name], home) and home is not None:
                with contextlib.suppress(OSError):  # a disk that refuses writing stops whoever has to write there
                    _write(path, name, known[name], home)
        else:
            known[name] = _create(name, path, home)
            config.add_root(connection, name, known[name])


def check_roots(connection: Connection, roots: Mapping[str, Path]) -> list[str]:
    """Returns what is wrong with the roots, in words; an empty list when all is well."""
    known = config.known_roots(connection)
    problems = []
    for name, path in roots.items():
        try:
            if name in known:
                _check(name, path, known[name], known.get(config.HOME_ROOT))
        except RefusedForSafety as error:
            problems.append(str(error))
    return problems


def _check(name: str, path: Path, marker_id: str, home: str | None) -> dict[str, str]:
    try:
        kept = _read(path)
    except FileNotFoundError:
        raise RefusedForSafety(
            f"The folder “{name}” at {path} has no marker ({MARKER}), although it was written to before. Is its disk "
            "mounted? If you moved it, move its hidden marker along or set the new place in mediapipe.toml. "
            "Nothing was touched."
        ) from None
    if kept["id"] != marker_id:
        raise RefusedForSafety(
            f"The folder “{name}” at {path} belongs to another home: its marker is {kept['id']}, not {marker_id}. "
            "Nothing was touched."
        )
    _refuse_foreign(
        path,
        kept,
        home,
        "Two homes that write to one folder get in each other's way. Give this one another destination with a folder "
        "of its own in mediapipe.toml.",
    )
    return kept


def _read(path: Path) -> dict[str, str]:
    """Returns what a root's marker says."""
    marker = path / MARKER
    try:
        kept = json.loads(marker.read_text())
        return {**kept, "id": str(kept["id"]), "root": kept["root"]}
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedForSafety(f"The marker {marker} cannot be read ({error}). Nothing was touched.") from error


def _refuse_foreign(path: Path, kept: Mapping[str, str], home: str | None, what_to_do: str) -> None:
    """Refuses a root that another home writes to: two that do not know of each other would be in each other's way."""
    if home is not None and kept.get("home", home) != home:
        raise RefusedForSafety(
            f"The folder {path} (“{kept['root']}”) belongs to another home: its marker names {kept['home']}, and this "
            f"one is {home}. {what_to_do} Nothing was touched."
        )


def _own_folder(name: str, path: Path) -> str:
    destination = name.removeprefix("destination:")
    setting = f"roots.{name}" if destination == name else f"destinations.{destination}.path"
    return (
        f"Give each home a folder of its own: set {setting} in mediapipe.toml. Only if the other home is gone for "
        f"good, delete {path / MARKER}: the files there stay, and none is overwritten."
    )


def _create(name: str, path: Path, home: str | None) -> str:
    """Writes a marker, or takes over the one that a start before this one wrote and did not get to record."""
    make_folder(path)
    if (path / MARKER).exists():
        kept = _read(path)
        if kept["root"] != name:
            raise RefusedForSafety(f"{path} is already in use as “{kept['root']}”. Choose another folder for “{name}”.")
        _refuse_foreign(path, kept, kept["id"] if name == config.HOME_ROOT else home, _own_folder(name, path))
        return kept["id"]
    marker_id = str(uuid.uuid4())
    _write(path, name, marker_id, marker_id if name == config.HOME_ROOT else home)
    return marker_id


def _write(path: Path, name: str, marker_id: str, home: str | None) -> None:
    with atomic_write(path / MARKER, f"root-{os.getpid()}") as handle:
        handle.write(json.dumps({"id": marker_id, "root": name, **({"home": home} if home else {})}).encode())
