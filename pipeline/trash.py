"""The trash: where a file of ours goes on proof, and how it comes back.

Belongs here: moving one file there and back, and finding it again. Does not belong here: whether it may
go (`pipeline.proofs`), or emptying the trash (`pipeline.emptying`).

Below the trash there is a folder for each day, in it the name of the root and the path that the file had:
`trash/2026-11-20/renditions/2024/05/17/IMG_1.jpg`. A second one of that name and day has the day `2026-11-20-2`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from catalog import renditions
from catalog.logs import log_event
from catalog.paths import to_text
from media.files import (
    ContentMismatch,
    copy_verified,
    fsync_folder,
    hash_file,
    make_folder,
    make_folder_below,
    part_path,
    refuse_change,
    rename_known,
    rename_to_new,
)
from pipeline import layout
from pipeline.proofs import SafeDeleteProof
from pipeline.roots import MARKER
from resources.delivery import DESTINATION_TRASH

TAG = "trash"


class NotMoved(Exception):
    """A file was left where it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Trashed:
    """A file in a trash.

    Attributes:
        path: Where it is.
        root: The root that it came from.
        relative: Its path below that root.
        original: Where it stood.
    """

    path: Path
    root: str
    relative: str
    original: Path


def move_to_trash(proof: SafeDeleteProof, path: Path, trash_root: Path, place: str) -> Path:
    """Moves a kept file to the trash. No other function of the platform takes one away.

    Args:
        proof: Made for this file, just now.
        path: The file.
        trash_root: The trash.
        place: Where it goes below that, see `media.files.place_in_trash`.

    Returns:
        Where it is now.

    Raises:
        TypeError: `proof` is none.
        NotMoved: The proof is of another file, or the file is an original.
        ContentMismatch: The file does not hold the bytes of the proof; it was left in its place.
        RootAway: The trash has lost its marker, so its disk seems to be away.
        SourceChanged: It changed while it was looked at; it was left in its place.
        FileExistsError: Something stands where it was to go; both were left in their places.
        OSError: The file system refused; it was left in its place.
    """
    if not isinstance(proof, SafeDeleteProof):
        raise TypeError("only a SafeDeleteProof moves a file to the trash")
    if proof.role == "original":
        raise NotMoved(f"{path} is an original; originals stay")
    if proof.subject != str(path):
        raise NotMoved(f"the proof is of {proof.subject}, not of {path}")
    before = _hold_against(path, proof.sha256)
    target = trash_root / place
    make_folder_below(trash_root, target.parent)
    _move(path, target, proof.sha256, before)
    return target


def restore(trashed: Path, original_path: Path) -> None:
    """Brings a file back from a trash to where it stood.

    Args:
        trashed: Where it is.
        original_path: Where it stood; its folder is made when it is gone.

    Raises:
        NotMoved: Something stands there, or there is no file in the trash.
        OSError: The file system refused; the file is in the trash still.
    """
    try:
        before = os.lstat(trashed)
    except FileNotFoundError:
        raise NotMoved(f"there is no {trashed}") from None
    if not stat.S_ISREG(before.st_mode):
        raise NotMoved(f"{trashed} is no file")
    _refuse_taken(original_path)
    make_folder(original_path.parent)
    _move(trashed, original_path, hash_file(str(trashed))["sha256"], before)


def undo_release(engine: Engine, trashed: Trashed) -> None:
    """Brings a file back and records it, so that no run moves it away again.

    The record comes first: a kill between the two leaves the file in the trash, where the same command finds it.

    Args:
        engine: The catalog.
        trashed: What `find_trashed` found.

    Raises:
        NotMoved: Something stands at its place; nothing was changed.
    """
    _refuse_taken(trashed.original)
    ours = trashed.root == layout.RENDITIONS
    with engine.begin() as connection:
        content = renditions.bring_back(connection, to_text(trashed.relative)) if ours else None
        log_event(
            connection,
            run_id="undo",
            stage=renditions.RELEASED,
            event="brought back",
            media_file_id=content,
            detail=f"{to_text(str(trashed.path))} → {to_text(str(trashed.original))}",
        )
    restore(trashed.path, trashed.original)


def find_trashed(roots: Mapping[str, Path], file: Path) -> Trashed | None:
    """Finds a file in a trash by its path there, or by the path that it had; of several, what went there last.

    Args:
        roots: The roots that are written to, by name.
        file: An absolute path.
    """
    for path in dict.fromkeys((file, file.parent.resolve() / file.name)):
        for trash_root, root in trashes(roots):
            if (below := layout.below(path, trash_root)) is not None and len(below.parts) > 1:
                return _trashed(roots, root, path, Path(*below.parts[1:]))
        for trash_root, root in trashes(roots):
            if (found := _by_former_path(roots, trash_root, root, path)) is not None:
                return found
    return None


def trashes(roots: Mapping[str, Path]) -> Iterator[tuple[Path, str | None]]:
    """Yields each trash with the root that it belongs to; in our own, the root's name stands in the path."""
    yield roots[layout.TRASH], None
    for name, path in roots.items():
        if layout.destination_of(name) is not None:
            yield path / DESTINATION_TRASH, name


def _trashed(roots: Mapping[str, Path], root: str | None, path: Path, below: Path) -> Trashed | None:
    if root is None:
        root, below = below.parts[0], Path(*below.parts[1:])
    if root not in roots or not below.parts or below.name == MARKER:
        return None
    return Trashed(path, root, str(below), roots[root] / below)


def _by_former_path(roots: Mapping[str, Path], trash_root: Path, root: str | None, path: Path) -> Trashed | None:
    days = sorted((one for one in _entries(trash_root) if one.is_dir()), key=_age, reverse=True)
    for name in [root] if root is not None else [name for name in roots if layout.destination_of(name) is None]:
        below = layout.below(path, roots[name])
        if below is None or not below.parts:
            continue
        for day in days:
            place = day / below if root is not None else day / name / below
            if place.is_file() and not place.is_symlink():
                return Trashed(place, name, str(below), path)
    return None


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _age(day_folder: Path) -> tuple[str, int]:
    name = day_folder.name
    number = name[10:].removeprefix("-")
    return name[:10], int(number) if number.isdigit() else 1


def _refuse_taken(place: Path) -> None:
    if os.path.lexists(place):
        raise NotMoved(f"something stands at {place}; it is not overwritten. Move it away first")


def _hold_against(path: Path, sha256: str) -> os.stat_result:
    """Returns the status of a file whose bytes are the expected ones."""
    before = os.lstat(path)
    if not stat.S_ISREG(before.st_mode):
        raise NotMoved(f"{path} is no file of its own")
    if hash_file(str(path))["sha256"] != sha256:
        raise ContentMismatch(f"{path} no longer holds the bytes that were recorded for it; it was left in its place")
    refuse_change(path, before)
    return before


def _move(path: Path, target: Path, sha256: str, before: os.stat_result) -> None:
    """Moves a file, by its name alone where one file system holds both places."""
    try:
        rename_known(path, target, before)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = part_path(target, TAG)
        part.unlink(missing_ok=True)  # a kill left it
        copy_verified(str(path), str(part), sha256, TAG)
        os.chmod(part, stat.S_IMODE(before.st_mode))
        if hash_file(str(part), cold=True)["sha256"] != sha256:
            raise ContentMismatch(f"the copy at {part} cannot be read back; {path} was left in its place") from None
        rename_to_new(part, target)
        refuse_change(path, before)
        path.unlink()
        fsync_folder(path.parent)
