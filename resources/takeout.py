"""A sample of Google Photos as Google Takeout hands it out: a folder, its zip files, or a folder of zip files.

Belongs here: finding the photos and films in it, the JSON beside each, and reading their bytes in blocks. Does not
belong here: comparing them with anything (`pipeline.takeout_confirm`).

A Takeout comes from outside. Nothing of it is ever written under a name of its own, names are only compared and shown,
and a zip file whose figures are impossible for photos is refused before a byte of it is unpacked.

How Google names the JSON (seen in exports of 2018 to 2025): the file's name and, since 2024, `.supplemental-metadata`,
cut together at 46 characters, then `(1)` where the file has one before its ending, then `.json`. An edited copy has no
JSON of its own. The folders' names are in the account's language, so nothing is read from them.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from catalog.paths import name_key, to_text
from media.kinds import Kind, kind_of_name

MOST_JSON = 256 << 10
MOST_MEMBERS = 1_000_000
MOST_BYTES = 100 << 30  # of one member
# Photos and films hardly shrink; deflate itself stops at about 1,030 to 1.
MOST_RATIO = 50
SMALL = 10 << 20  # a member that unpacks to no more is harmless, whatever its ratio
CUT = 46
SUFFIX = ".supplemental-metadata"
_NUMBERED = re.compile(r"^(?P<stem>.*)\((?P<number>\d+)\)$", re.DOTALL)
# What Google appends to an edited copy, by the account's language.
_EDITED = re.compile(
    r"-(?:edited|bearbeitet|modifié|editado|ha editado|modificato|bewerkt|edytowane|redigerad|redigeret|redigert|"
    r"muokattu|editada|upraveno|düzenlendi|編集済み|수정됨|已修改|已編輯|изменено|відредаговано)$",
    re.IGNORECASE,
)
Opener = Callable[[], IO[bytes]]


class TakeoutRefused(Exception):
    """It is no Takeout, or nothing that may be opened; the message says why and what to do."""


class Unreadable(Exception):
    """One file of it cannot be read."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One photo or film of the sample.

    Attributes:
        name: Where it is, to be shown.
        title: The name under which it was uploaded, by its JSON; else its own name.
        size: Its bytes.
        taken: When it was taken, by its JSON; None where that says nothing.
        trashed: Whether it lies in Google Photos' trash.
        edited: Whether it is a copy that was edited in Google Photos, whose original is in the sample too.
        open: Opens its bytes.
    """

    name: str
    title: str
    size: int
    taken: datetime | None
    trashed: bool
    edited: bool
    open: Opener = field(compare=False, repr=False)

    def blocks(self, block: int = 1 << 20) -> Iterator[bytes]:
        """Yields its bytes.

        Raises:
            Unreadable: They cannot be read, or are not those that the zip file promises.
        """
        try:
            with self.open() as handle:
                while data := handle.read(block):
                    yield data
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            # RuntimeError is what zipfile says of a password.
            raise Unreadable(str(error) or type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of any kind: its name, where it is to be shown, its bytes."""

    name: str
    shown: str
    size: int
    open: Opener


class Takeout:
    """An opened sample; its zip files stay open until it is closed.

    Attributes:
        unreadable: What could not be looked at, with the reason.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Finds out what there is; no photo is read yet.

        Args:
            paths: Folders and zip files; the parts of one export belong together.

        Raises:
            TakeoutRefused: One of them is not there, or may not be opened.
        """
        self.unreadable: list[tuple[str, str]] = []
        self._open = ExitStack()
        self._folders: dict[str, dict[str, _Entry]] = defaultdict(dict)
        self._archives = 0
        try:
            for path in paths:
                self._add(path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the zip files."""
        self._open.close()

    def files(self) -> list[Sampled]:
        """Returns every photo and film, with what its JSON says; what is no photo is passed over."""
        found: list[Sampled] = []
        for _, entries in sorted(self._folders.items()):
            jsons = {name_key(name): entry for name, entry in entries.items() if name.lower().endswith(".json")}
            media = {name: entry for name, entry in sorted(entries.items()) if _is_media(name)}
            stems: dict[str, list[str]] = defaultdict(list)
            for name in media:
                stems[_stem_key(name)].append(name)
            found += [self._sampled(entry, stems, jsons) for entry in media.values()]
        return found

    def _sampled(self, entry: _Entry, stems: Mapping[str, list[str]], jsons: Mapping[str, _Entry]) -> Sampled:
        original = _original_of(entry.name, stems)
        own = self._json(entry.name, jsons) if original is None else {}
        title = own.get("title")
        # An edited copy has none of its own, nor has the film of a Live Photo.
        kin = [original] if original is not None else [one for one in stems[_stem_key(entry.name)] if one != entry.name]
        said = own or next((found for one in kin if (found := self._json(one, jsons))), {})
        return Sampled(
            name=entry.shown,
            title=title if isinstance(title, str) and title else entry.name,
            size=entry.size,
            taken=_taken(said),
            trashed=said.get("trashed") is True,
            edited=original is not None,
            open=entry.open,
        )

    def _json(self, name: str, jsons: Mapping[str, _Entry]) -> dict[str, Any]:
        """Returns what the JSON of a file says, empty where it has none."""
        for wanted in json_names(name):
            entry = jsons.get(name_key(wanted))
            if entry is None:
                continue
            try:
                with entry.open() as handle:
                    said = json.loads(_limited(handle.read(MOST_JSON + 1)))
            except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, RecursionError) as error:
                self.unreadable.append((entry.shown, f"its JSON cannot be read ({error})"))
                continue
            if isinstance(said, dict):
                return said
        return {}

    # ------------------------------------------------------------------ what there is

    def _add(self, path: Path) -> None:
        if path.is_dir():
            self._add_folder(path)
        elif path.is_file():
            self._add_zip(path)
        else:
            raise TakeoutRefused(f"{path} is not there. Give the folder or the zip file of a Google Takeout.")

    def _add_folder(self, root: Path) -> None:
        def amiss(error: OSError) -> None:
            self.unreadable.append((_shown(str(error.filename)), error.strerror or str(error)))

        for base, below, names in os.walk(root, onerror=amiss):
            below.sort()
            for name in sorted(names):
                path = Path(base, name)
                try:
                    status = path.lstat()
                except OSError as error:
                    amiss(error)
                    continue
                if not stat.S_ISREG(status.st_mode):
                    continue  # a link may lead anywhere
                if name.lower().endswith(".zip"):
                    self._add_zip(path)
                else:
                    shown = str(path.relative_to(root))
                    self._put(to_text(shown), status.st_size, _opens_file(path))

    def _add_zip(self, path: Path) -> None:
        try:
            archive = self._open.enter_context(zipfile.ZipFile(path))
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise TakeoutRefused(
                f"{path} is no zip file that can be read ({error}). Download it again; unpack a .tgz first and give "
                "its folder."
            ) from error
        self._archives += 1
        members = [one for one in archive.infolist() if not one.is_dir()]
        _refuse_impossible(path, members)
        for member in members:
            self._put(member.filename, member.file_size, _opens_member(archive, member))

    def _put(self, path: str, size: int, opener: Opener) -> None:
        folder, name = posixpath.split(path)
        # The parts of an export share their folders; two files of one name and folder are of two exports.
        place = folder if name not in self._folders[folder] else f"{folder}\0{self._archives}"
        if name in self._folders[place]:
            self.unreadable.append((_shown(path), "a second file of this name in the same archive"))
            return
        self._folders[place][name] = _Entry(name, _shown(path), size, opener)


def json_names(name: str) -> Iterator[str]:
    """Yields the names that Google may have given the JSON of a file, the likeliest first."""
    stem, ending = posixpath.splitext(name)
    numbered = _NUMBERED.match(stem)
    plain, number = (numbered["stem"] + ending, f"({numbered['number']})") if numbered else (name, "")
    given = dict.fromkeys(
        [
            f"{(plain + SUFFIX)[:CUT]}{number}.json",
            f"{plain[:CUT]}{number}.json",
            f"{(name + SUFFIX)[:CUT]}.json",
            f"{name[:CUT]}.json",
            # Uncut, as some exports of 2026 have it, and before the ending, as those of 2018.
            f"{plain}{SUFFIX}{number}.json",
            f"{plain}{number}.json",
            f"{name}.json",
            f"{stem}.json",
        ]
    )
    yield from given
    # Others cut earlier.
    yield from (f"{plain}{SUFFIX[:length]}{number}.json" for length in range(len(SUFFIX) - 1, 0, -1))


def _original_of(name: str, stems: Mapping[str, list[str]]) -> str | None:
    """Returns the file that an edited copy was made from, None for what is no edited copy."""
    stem, ending = posixpath.splitext(name)
    numbered = _NUMBERED.match(stem)
    plain, number = (numbered["stem"], f"({numbered['number']})") if numbered else (stem, "")
    match = _EDITED.search(plain)
    if match is None:
        return None
    same = stems.get(name_key(plain[: match.start()] + number), [])
    # A HEIC that is edited becomes a JPEG.
    return min(same, key=lambda one: (posixpath.splitext(one)[1].lower() != ending.lower(), one), default=None)


def _limited(raw: bytes) -> bytes:
    if len(raw) > MOST_JSON:
        raise ValueError(f"it is longer than {MOST_JSON} bytes")
    return raw


def _is_media(name: str) -> bool:
    return kind_of_name(name) not in (None, Kind.SIDECAR)


def _stem_key(name: str) -> str:
    return name_key(posixpath.splitext(name)[0])


def _taken(said: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(said["photoTakenTime"]["timestamp"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _refuse_impossible(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:
        raise TakeoutRefused(f"{path} claims to hold {len(members)} files; that is no part of a Takeout.")
    whole = sum(one.file_size for one in members)
    if whole > SMALL + MOST_RATIO * path.stat().st_size:
        raise TakeoutRefused(
            f"{path} claims to unpack to {whole / 1e9:.1f} GB, {whole // max(1, path.stat().st_size)} times its size. "
            "Photos do not shrink like that, so it is not opened."
        )
    for one in members:
        if one.file_size > MOST_BYTES or one.file_size > SMALL + MOST_RATIO * one.compress_size:
            raise TakeoutRefused(
                f"{path} holds {_shown(one.filename)}, which claims to unpack from {one.compress_size} to "
                f"{one.file_size} bytes. No photo does that, so it is not opened."
            )


def _opens_file(path: Path) -> Opener:
    def opener() -> IO[bytes]:
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")

    return opener


def _opens_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Opener:
    def opener() -> IO[bytes]:
        return archive.open(member)

    return opener


def _shown(name: str) -> str:
    """Returns a name without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in to_text(name))
