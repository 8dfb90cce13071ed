"""A folder that Syncthing shares with a phone, as a destination: what its answers mean, and when it may be used.

Belongs here: the verdict on one file, and the refusal of a folder that could cost files. Does not belong here: single
requests (`resources.syncthing`), what reaches the phone when (`pipeline.pixel_delivery`), or what is recorded of a
verdict (`catalog.placed_files`).

A phone that Syncthing counts as complete proves nothing: it is also said before the phone's first index came. The proof
is per file: the phone is among those who hold the newest version whole, that version is the one on this side, and this
side's file is the one that was placed. Syncthing hashes every block, so equal versions are equal bytes.

One thing it cannot tell: Syncthing 2 on this side also counts a phone as a holder of what the phone's own ignore
patterns leave out. The phone's folder must have none.
"""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from catalog.paths import from_text, to_text
from media.files import (
    PART_PREFIX,
    ROOT_MARKER,
    ContentMismatch,
    RootAway,
    fsync_folder,
    hash_file,
    refuse_change,
)
from media.placing import place
from resources.delivery import Acknowledgement, DeletionProof, Deliver, Evidence, Intent, NotNow, OnNewRendition
from resources.settings_pixel import PixelDestination
from resources.syncthing import SHORT, FileInfo, FolderStopped, Syncthing, SyncthingAway, SyncthingRefused

Level = Literal["delivered", "freed_on_phone", "pending", "problem"]
AWAY_SECONDS = 300.0  # how long a file rests while Syncthing does not answer
SENDONLY = "sendonly"
IGNORED = (f"/{ROOT_MARKER}", f"{PART_PREFIX}*")  # what is ours in the folder and no photo
_MARKER = ".stfolder"
_ADDRESS_CHARS = 6_000  # of the paths in one request, before they are quoted
_NAME_BYTES = 240  # Android takes 255
_NOT_ON_ANDROID = dict.fromkeys((*map(ord, '\\:*?"<>|'), *range(32), 127), "_")


class PixelRefused(Exception):
    """The folder is not set up so that files are safe there; nothing is placed. The message says what to do."""


class NotReleased(Exception):
    """A file was to leave the folder without a proof of its own; it was left in its place."""


class PlacedFile(Protocol):
    """A file of the folder as it was when it was placed; `catalog.placed_files.Placed` is one."""

    @property
    def path(self) -> str:
        """Where it lies below the folder, as the catalog writes paths."""
        ...

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    @property
    def mtime_ns(self) -> int:
        """The time of its last change."""
        ...

    @property
    def sha256(self) -> str:
        """The content hash of its bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What one look showed of one file.

    Attributes:
        level: How far it came. `freed_on_phone` is delivered too: the phone had it, and deleted it itself. `pending`
            and `problem` say nothing against an earlier verdict.
        words: What it waits for, or what is wrong; empty when it is delivered.
        facts: What was seen, kept as the proof; empty unless it is delivered.
    """

    level: Level
    words: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arrived(self) -> bool:
        """Whether the phone has the file whole, or had it."""
        return self.level in ("delivered", "freed_on_phone")

    def evidence(self) -> Evidence:
        """Returns the same as a destination says it of a delivery."""
        if self.arrived:
            return Evidence("verified", self.facts)
        return Evidence("pending" if self.level == "pending" else "unverifiable", reason=self.words)


@dataclass(frozen=True, slots=True)
class _Standing:
    """A file of the folder as it stands there now."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


def verdict(info: FileInfo | None, device: str, placed: PlacedFile) -> Look:
    """Returns what Syncthing's answer about a file means.

    Args:
        info: What it knows of the file, None when it knows nothing.
        device: The phone.
        placed: The file as it was placed.
    """
    if info is None or not info.here.version:
        return Look("pending", "Syncthing on this side has not seen it yet")
    here, newest, phone = info.here, info.everywhere, device[:SHORT]
    if here.deleted:
        return Look("problem", "it was taken out of the folder on this side before the phone was seen to have it")
    if (here.size, here.modified_ns) != (placed.size, placed.mtime_ns):
        return Look("problem", "it was changed in the folder on this side after it was placed there")
    if here.invalid:
        return Look("pending", "Syncthing on this side leaves it out for now; see the folder's ignore patterns")
    if newest.deleted and newest.modified_by == phone and _follows(newest.version, here.version):
        return Look("freed_on_phone", facts=_facts("freed_on_phone", here.version, device, placed))
    who = "on the phone" if newest.modified_by == phone else "by another device that shares the folder"
    if newest.deleted:
        return Look("problem", f"it was deleted {who}, and it is not known whether the phone had it")
    if newest.version != here.version:
        return Look("problem", f"it was changed {who}")
    if device in info.holders and not newest.invalid:
        return Look("delivered", facts=_facts("delivered", here.version, device, placed))
    return Look("pending", "the phone does not have it yet, or is not connected")


def _facts(level: Level, version: Sequence[str], device: str, placed: PlacedFile) -> dict[str, Any]:
    return {
        "by": "syncthing",
        "syncthing": ",".join(version),
        "sha256": placed.sha256,
        "size": placed.size,
        "device": device,
        "level": level,
    }


def _follows(later: Sequence[str], earlier: Sequence[str]) -> bool:
    """Returns whether a version vector came out of another one, so that its device had had that one."""
    known = {who: int(count) for who, _, count in (one.rpartition(":") for one in later)}
    vector = ((who, int(count)) for who, _, count in (one.rpartition(":") for one in earlier))
    return tuple(later) != tuple(earlier) and all(known.get(who, -1) >= count for who, count in vector)


@dataclass(frozen=True, slots=True)
class PixelFolder:
    """The folder on this side. It is picklable, and any worker may ask Syncthing.

    Attributes:
        name: Its name in the settings.
        settings: Its section.
        syncthing: The Syncthing on this side.
    """

    name: str
    settings: PixelDestination
    syncthing: Syncthing

    @classmethod
    def of(cls, name: str, settings: PixelDestination) -> PixelFolder:
        """Returns it as the settings describe it; nobody is asked yet.

        Args:
            name: Its name in the settings.
            settings: Its section.
        """
        return cls(name, settings, Syncthing(settings.url, settings.api_key or SecretStr("")))

    @property
    def deliver_what(self) -> Deliver:
        """Originals or renditions."""
        return self.settings.deliver

    @property
    def on_new_rendition(self) -> OnNewRendition:
        """A photo is not sent a second time."""
        return self.settings.on_new_rendition

    @property
    def works_here(self) -> bool:
        """Returns False: any worker can ask Syncthing."""
        return False

    @property
    def path(self) -> Path | None:
        """Returns None: its copies are on the phone, and what lies in the folder is on the way there."""
        return None

    @property
    def place(self) -> str:
        """The phone, by the folder."""
        return f"the phone that shares Syncthing's folder {self.settings.folder_id}"

    @property
    def counts_as_copy(self) -> bool:
        """Whether the owner wants a file on the phone to count."""
        return self.settings.counts_as_copy

    def close(self) -> None:
        """Closes the connections."""
        self.syncthing.close()

    def remote_path(self, day: date, name: str, role: str) -> str:
        """Returns a name in one flat folder, which Android takes.

        Flat, because Google Photos backs up folder by folder: each one below would have to be switched on by hand.
        """
        kept = unicodedata.normalize("NFC", os.fsencode(name).decode(errors="replace")).translate(_NOT_ON_ANDROID)
        stem, extension = os.path.splitext(kept.rstrip(". "))
        room = _NAME_BYTES - len(extension.encode())
        # What tells it from another file of that name stands at the end.
        tail = f"{day:%Y%m%d}_{stem}".encode()
        cut = tail if len(tail) <= room else tail[:9] + tail[len(tail) - room + 9 :]
        return cut.decode(errors="ignore") + extension

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns False: the copies are on the phone."""
        return False

    def glance(self, remote_path: str, size: int) -> str | None:
        """Returns None: what has left the folder is gone for a good reason, and a verdict stands for good."""
        return None

    # ------------------------------------------------------------------ whether it may be used

    def folder(self) -> Path:
        """Returns where the folder is on this machine: as the settings say, else as Syncthing says.

        Raises:
            NotNow: Syncthing is away, and the settings do not say it.
            PixelRefused: Syncthing has no such folder.
        """
        return self._place_of(self._known_folder()) if self.settings.folder_path is None else self.settings.folder_path

    def prepare(self) -> None:
        """Makes sure that files are safe in the folder, and that Syncthing leaves out what is no photo.

        Raises:
            PixelRefused: It is not set up so; with what to do.
            RootAway: Its disk is away.
            NotNow: Syncthing does not answer, which stops nothing but this destination.
        """
        known = self._known_folder()
        if known["type"] != SENDONLY:
            raise PixelRefused(
                f"Syncthing's folder {self.settings.folder_id} is {known['type']}, so what is deleted on the phone "
                "could be deleted here. Set it to Send Only, or let `mediapipe-assets doctor --fix` do it. Nothing was "
                "placed."
            )
        self._refuse_unshared(known)
        self._root(known)
        self._leave_out_what_is_no_photo()

    def _refuse_unshared(self, known: Mapping[str, Any]) -> None:
        device = self.settings.device_id
        with self._asking():
            if self.syncthing.device(device) is None:
                raise PixelRefused(
                    f"Syncthing does not know the phone {device}. Add it in its web page, or let `mediapipe-assets "
                    "doctor --fix` do it."
                )
        if device not in {one["deviceID"] for one in known["devices"]}:
            raise PixelRefused(
                f"Syncthing's folder {self.settings.folder_id} is not shared with the phone. Share it in its web page, "
                "or let `mediapipe-assets doctor --fix` do it."
            )

    def _leave_out_what_is_no_photo(self) -> None:
        with self._asking():
            lines = self.syncthing.ignores(self.settings.folder_id)
            if missing := [one for one in IGNORED if one not in lines]:
                # The first pattern that fits counts, and a person's own may let everything through.
                self.syncthing.put_ignores(self.settings.folder_id, [*missing, *lines])

    def _known_folder(self) -> Mapping[str, Any]:
        with self._asking():
            known = self.syncthing.folder(self.settings.folder_id)
        if known is None:
            raise PixelRefused(
                f"Syncthing at {self.settings.url} has no folder {self.settings.folder_id}. Correct "
                f"destinations.{self.name}.folder_id, or let `mediapipe-assets doctor --fix` make the folder."
            )
        return known

    def _root(self, known: Mapping[str, Any]) -> Path:
        """Returns where the folder is, and never an empty mount point in its place."""
        root = self._place_of(known)
        marker = root / str(known.get("markerName") or _MARKER)
        if not os.path.lexists(marker):
            raise RootAway(
                f"{root} has no {marker.name}, so it is not the folder {self.settings.folder_id} that Syncthing has at "
                f"{known['path']}. Mount its disk, or set destinations.{self.name}.folder_path to where it is here"
            )
        return root

    def _place_of(self, known: Mapping[str, Any]) -> Path:
        return self.settings.folder_path or Path(os.path.expanduser(known["path"]))

    # ------------------------------------------------------------------ what the phone has

    def look(self, placed: PlacedFile) -> Look:
        """Asks Syncthing about a file.

        Raises:
            NotNow: Syncthing does not answer, or does not take the key.
            SyncthingError: It refuses anything else.
        """
        try:
            with self._asking():
                info = self.syncthing.file(self.settings.folder_id, from_text(placed.path))
        except FolderStopped as stopped:
            return Look("pending", str(stopped))
        return verdict(info, self.settings.device_id, placed)

    def evidence(self, intent: Intent) -> Evidence:
        """Shows a copy as a witness for a deletion; how far a delivery came, `look` tells.

        It counts only where the owner has set so, while the phone has the file, and while the file in the folder, which
        Syncthing compares it with, holds exactly these bytes.

        Raises:
            NotNow: Syncthing does not answer.
        """
        if not self.settings.counts_as_copy:
            return Evidence("unverifiable", reason="a phone does not count as a copy (counts_as_copy is false)")
        target = self.folder() / intent.remote_path
        try:
            before = os.lstat(target)
            whole = stat.S_ISREG(before.st_mode) and hash_file(str(target), cold=True)["sha256"] == intent.sha256
        except FileNotFoundError:
            return Evidence("unverifiable", reason="it has left the folder, so Syncthing cannot show it any more")
        if not whole:
            return Evidence("unverifiable", reason=f"{target} holds other bytes")
        path = to_text(intent.remote_path)
        look = self.look(_Standing(path, before.st_size, before.st_mtime_ns, intent.sha256))
        if look.level == "freed_on_phone":
            return Evidence("unverifiable", reason="the phone has deleted it since")
        return look.evidence()

    def scan(self, paths: Sequence[str]) -> None:
        """Has files looked at now, in few requests; without it Syncthing's own watcher finds them a little later.

        Args:
            paths: Below the folder, as the catalog writes them.

        Raises:
            NotNow: Syncthing does not answer.
        """
        for some in _few_requests([from_text(path) for path in paths]):
            with self._asking():
                self.syncthing.scan(self.settings.folder_id, some)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Makes of a Syncthing that is away, or takes no key, a `NotNow`: no file failed, nothing else need wait."""
        try:
            yield
        except (SyncthingAway, SyncthingRefused) as error:
            raise NotNow(str(error), AWAY_SECONDS, stops=True) from error

    # ------------------------------------------------------------------ placing and taking away

    def deliver(self, intent: Intent) -> Acknowledgement:
        """Places a file in the folder, whole and never to change, or finds that a killed run did.

        Returns:
            What was placed: `mtime_ns` tells it from what it may be changed to.

        Raises:
            PlaceTaken: Something else stands at its path.
            ContentMismatch: Our file no longer holds the promised bytes.
            RootAway: The folder's disk is away.
            NotNow: Syncthing does not answer.
        """
        return self.place_in(self._root(self._known_folder()), intent)

    def place_in(self, root: Path, intent: Intent) -> Acknowledgement:
        """Does the same where the folder is known; see `deliver`.

        Args:
            root: The folder, looked at by `prepare`.
            intent: The file.
        """
        at, source, mtime_ns = root / intent.remote_path, Path(intent.source), _mtime_ns(intent)
        placed = place(source, at, intent.sha256, intent.size, intent.tag, mtime_ns, may_link=intent.may_link)
        return Acknowledgement({"mtime_ns": placed.mtime_ns}, placed.found)

    def release(self, proof: DeletionProof, remote_path: str, day: date) -> str:
        """Takes a file out of the folder; the phone keeps its own, and ours stands where it was made from.

        Args:
            proof: Made for this file, just now.
            remote_path: The file.
            day: The day that it belongs to.

        Returns:
            Where it still is: with the phone.

        Raises:
            NotReleased: The proof is of something else.
            ContentMismatch: The file does not hold the bytes of the proof; it was left in its place.
            OSError: The file system refused; it was left in its place.
        """
        if not isinstance(proof, DeletionProof) or proof.subject != f"{self.name}:{remote_path}":
            raise NotReleased(f"there is no proof for {remote_path}")
        target = self.folder() / remote_path
        before = os.lstat(target)
        if not stat.S_ISREG(before.st_mode) or hash_file(str(target))["sha256"] != proof.sha256:
            raise ContentMismatch(f"{target} does not hold the bytes that were placed; it was left in its place")
        refuse_change(target, before)
        target.unlink()
        fsync_folder(target.parent)
        return self.place


def _few_requests(paths: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    for path in paths:
        if some and sum(map(len, some)) + len(path) > _ADDRESS_CHARS:
            yield some
            some = []
        some.append(path)
    if some:
        yield some


def _mtime_ns(intent: Intent) -> int:
    """Returns the time that a file gets: when it was taken, else that of ours."""
    if intent.taken is None:
        return os.stat(intent.source).st_mtime_ns
    return max(int(intent.taken.timestamp()), 0) * 1_000_000_000
