"""A folder of photos on this machine or on a mount, as a source.

Belongs here: listing it in bulk, which names are left alone, and what a file's name says about its
kind and its siblings. Does not belong here: what is new (`pipeline.discovery`), or reading a file's
bytes (`media`).
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from catalog.paths import name_key, to_text
from media.kinds import Kind, kind_of_name

# Names under which browsers, cameras, sync programs and editors keep what is not finished.
IN_PROGRESS = re.compile(
    r"(?:^\.|^~|~$|^Thumbs\.db$|\.(?:part|partial|crdownload|download|tmp|temp|filepart|icloud|swp|lock)$)",
    re.IGNORECASE,
)
# Folders of NAS systems and desktops that hold thumbnails, versions and deleted files, not photos.
LEFT_ALONE = frozenset({"@eadir", "#recycle", "#snapshot", "lost+found", "$recycle.bin", "system volume information"})
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_TAKEOUT = re.compile(r"^(?P<media>.+?)(?:\.supplemental-metadata|\.supp[a-z.-]*)?(?:\(\d+\))?\.json$", re.IGNORECASE)
_EDITED = re.compile(r"^IMG_E(\d+)$", re.IGNORECASE)
_EDITED_WORD = re.compile(r"[-_ (]+(?:edited|bearbeitet|modifié|editado)\)?$", re.IGNORECASE)


class SourceMissing(Exception):
    """A source cannot be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds at one moment.

    Attributes:
        files: Columns `path` (relative, as the catalog stores it), `size` (bytes), `mtime_ns`, `ctime_ns`, `kind`.
        digest: The same for the same files; a tick compares it before it asks the catalog.
        unreadable: Folders that could not be entered and files that could not be looked at, with the reason.
    """

    files: pl.DataFrame
    digest: str
    unreadable: list[tuple[str, str]] = field(default_factory=list)


_SCHEMA = {"path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64, "ctime_ns": pl.Int64, "kind": pl.String}


def list_folder(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Listing:
    """Lists every photo, video and sidecar below a folder. Nothing is opened.

    Args:
        root: The folder.
        include: Glob patterns on the relative path; when given, only what matches one is taken. Upper and lower
            case, and the two ways to write an umlaut, are the same here.
        exclude: Glob patterns on the relative path; what matches one is left alone.

    Raises:
        SourceMissing: The folder is not there or cannot be read.
    """
    entries = list_names(root)
    unreadable: list[tuple[str, str]] = []
    rows = list(_walk(str(root), "", unreadable)) if entries else []
    rows = [row for row in rows if _wanted(row[0], include, exclude)]
    rows.sort()
    files = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return Listing(files, _digest(rows), unreadable)


def _walk(root: str, relative: str, unreadable: list[tuple[str, str]]) -> Iterator[tuple[str, int, int, int, str]]:
    folders = [relative]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = list(scan)
        except OSError as error:
            unreadable.append((to_text(folder), error.strerror or str(error)))
            continue
        names = {entry.name for entry in entries}
        for entry in entries:
            if IN_PROGRESS.search(entry.name) or entry.name.lower() in LEFT_ALONE:
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif (kind := _kind(entry.name, names)) is not None:
                try:
                    found = entry.stat()
                except OSError as error:
                    # Gone since the folder was read, or a link that leads nowhere or to itself; else out of sight.
                    if error.errno not in _NOTHING_THERE:
                        unreadable.append((to_text(path), error.strerror or str(error)))
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield to_text(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, kind.value


def _kind(name: str, siblings: set[str]) -> Kind | None:
    kind = kind_of_name(name)
    if kind is Kind.SIDECAR and name.lower().endswith(".json"):
        # Any program may leave a JSON; it is a sidecar only beside the file that it describes.
        return kind if takeout_subject(name, siblings) is not None else None
    return kind


def takeout_subject(name: str, siblings: set[str]) -> str | None:
    """Returns the file beside a Takeout JSON that it describes, None when there is none.

    Google cuts the JSON's name at 46 characters, so that the file's name may be longer.
    """
    match = _TAKEOUT.match(name)
    if match is None:
        return None
    subject = match["media"]
    if subject in siblings and kind_of_name(subject) not in (None, Kind.SIDECAR):
        return subject
    if len(subject) < 46:
        return None
    longer = sorted(other for other in siblings if other.startswith(subject) and other != name)
    return next((other for other in longer if kind_of_name(other) not in (None, Kind.SIDECAR)), None)


def _wanted(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    # A Mac writes names decomposed, a camera in capitals; the person who writes a pattern sees neither.
    name = name_key(path)
    if include and not any(fnmatch.fnmatchcase(name, name_key(pattern)) for pattern in include):
        return False
    return not any(fnmatch.fnmatchcase(name, name_key(pattern)) for pattern in exclude)


def _digest(rows: list[tuple[str, int, int, int, str]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path, size, mtime_ns, _, _ in rows:
        digest.update(f"{path}\0{size}\0{mtime_ns}\n".encode())
    return digest.hexdigest()


def folder_of(path: str) -> str:
    """Returns the folder part of a relative path."""
    return os.path.dirname(path)


def stem_key(path: str) -> str:
    """Returns what the names of files that belong together share, within one folder.

    `IMG_0007.HEIC`, `IMG_0007.MOV`, `IMG_0007.AAE`, `IMG_E0007.HEIC`, `IMG_0007.HEIC.xmp`,
    `IMG_0007-edited.jpg` and `IMG_0007.HEIC.supplemental-metadata.json` all share `img_0007`.
    """
    name = os.path.basename(path)
    if kind_of_name(name) is Kind.SIDECAR:
        match = _TAKEOUT.match(name)
        name = match["media"] if match else os.path.splitext(name)[0]
        stem = os.path.splitext(name)[0] if kind_of_name(name) is not None else name
    else:
        stem = os.path.splitext(name)[0]
    stem = _EDITED.sub(r"IMG_\1", _EDITED_WORD.sub("", stem))
    return unicodedata.normalize("NFC", stem).casefold()


def is_edit(path: str) -> bool:
    """Returns whether a name says that the file is the edited version of another."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return bool(_EDITED.match(stem) or _EDITED_WORD.search(stem))


def is_there(root: Path) -> bool:
    """Returns whether a source's folder holds anything: a mount point without its mount is an empty folder."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def list_names(root: Path) -> list[str]:
    """Returns the names in a source's folder.

    Raises:
        SourceMissing: It is not there, is no folder, or cannot be read.
    """
    try:
        return os.listdir(root)
    except FileNotFoundError:
        raise SourceMissing(f"The source folder {root} does not exist. Is its disk mounted, its name right?") from None
    except NotADirectoryError:
        raise SourceMissing(f"The source {root} is a file, not a folder.") from None
    except OSError as error:
        raise SourceMissing(
            f"The source folder {root} cannot be read ({error.strerror}). Check its rights and its mount."
        ) from error
