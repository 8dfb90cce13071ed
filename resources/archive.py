"""A folder on another disk or a mount, as a destination.

Belongs here: how files are laid out there, copied there, and read back. Does not belong here: what
is due, and what is recorded (`pipeline.deliver`).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from media.files import (
    ContentMismatch,
    copy_verified,
    hash_file,
    make_folder,
    make_folder_below,
    place_in_trash,
    refuse_change,
    refuse_missing_root,
    rename_known,
)
from resources.delivery import (
    DESTINATION_TRASH,
    Acknowledgement,
    DeletionProof,
    Deliver,
    Evidence,
    Intent,
    OnNewRendition,
)
from resources.mounts import same_disk

TREES = {"original": "originals", "rendition": "renditions"}


class ForeignFile(Exception):
    """Another file stands where one of ours should go; it is not overwritten."""


class NotReleased(Exception):
    """A file was to be moved away without a proof of its own; it was left in its place."""


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """Originals and renditions in two trees by date.

    Attributes:
        name: Its name in the settings.
        path: The folder, absolute.
        deliver_what: `original`, `rendition` or `both`.
        on_new_rendition: `keep` or `replace`.
    """

    name: str
    path: Path
    deliver_what: Deliver = "both"
    on_new_rendition: OnNewRendition = "keep"

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.path)

    @property
    def works_here(self) -> bool:
        """Returns False: any worker can write there."""
        return False

    @property
    def counts_as_copy(self) -> bool:
        """Returns True: it is read back and hashed."""
        return True

    def close(self) -> None:
        """Holds nothing open."""

    def prepare(self) -> None:
        """Needs nothing beyond its marker, which every root has.

        Raises:
            RootAway: It has none, so its disk is not mounted.
        """
        refuse_missing_root(self.path)

    def remote_path(self, day: date, name: str, role: str) -> str:
        """Returns `originals/YYYY/MM/DD/name` or `renditions/…`."""
        return f"{TREES[role]}/{day:%Y/%m/%d}/{name}"

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns whether both stand on one disk, or may."""
        return same_disk(self.path, folder)

    def deliver(self, intent: Intent) -> Acknowledgement:
        """Copies a file there atomically.

        Raises:
            ForeignFile: Something else stands at its path.
            RootAway: The folder's disk is no longer mounted.
            OSError: Reading or writing failed; nothing is left behind.
        """
        target = self.path / intent.remote_path
        make_folder_below(self.path, target.parent)
        if os.path.lexists(target):
            self._refuse_foreign(target, intent)
            return Acknowledgement(recovered=True)
        try:
            copy_verified(intent.source, str(target), intent.sha256, intent.tag)
        except FileExistsError:  # it came while the bytes were copied
            self._refuse_foreign(target, intent)
            return Acknowledgement(recovered=True)
        return Acknowledgement()

    def evidence(self, intent: Intent) -> Evidence:
        """Reads the copy back from the disk, not from memory, and hashes it."""
        target = self.path / intent.remote_path
        if target.is_symlink():
            return Evidence("unverifiable", reason=f"{target} is a link, not a copy")
        try:
            found = hash_file(str(target), cold=True)
        except FileNotFoundError:
            refuse_missing_root(self.path)  # a disk that is away has lost nothing
            return Evidence("absent", reason=f"the copy is no longer at {target}")
        facts = {"sha256": found["sha256"], "size": found["size"], "read_back": True}
        if found["sha256"] != intent.sha256:
            return Evidence("unverifiable", facts, f"the copy at {target} does not hold the bytes that were delivered")
        return Evidence("verified", facts)

    def glance(self, remote_path: str, size: int) -> str | None:
        """Returns what is wrong with a delivered file by its place and size alone, None when nothing is.

        Raises:
            RootAway: The folder's disk is no longer mounted.
            OSError: It cannot be looked at.
        """
        target = self.path / remote_path
        try:
            seen = os.lstat(target)
        except (FileNotFoundError, NotADirectoryError):
            refuse_missing_root(self.path)
            return f"the copy is no longer at {target}"
        if not stat.S_ISREG(seen.st_mode):
            return f"what stands at {target} is no file of its own"
        return None if seen.st_size == size else f"the copy at {target} has {seen.st_size} bytes instead of {size}"

    def release(self, proof: DeletionProof, remote_path: str, day: date) -> str:
        """Moves one of its files to its own trash, on the same disk.

        Args:
            proof: Made for this file, just now.
            remote_path: The file.
            day: The day that names the folder in the trash.

        Returns:
            Where it is now, relative to the destination.

        Raises:
            NotReleased: The proof is of something else, or of an original.
            ContentMismatch: The file does not hold the bytes of the proof; it was left in its place.
            OSError: The file system refused; it was left in its place.
        """
        if not isinstance(proof, DeletionProof) or proof.subject != f"{self.name}:{remote_path}":
            raise NotReleased(f"there is no proof for {remote_path}")
        if proof.role == "original":
            raise NotReleased(f"{remote_path} is an original; originals stay")
        target = self.path / remote_path
        before = os.lstat(target)
        if not stat.S_ISREG(before.st_mode) or hash_file(str(target))["sha256"] != proof.sha256:
            raise ContentMismatch(f"{target} does not hold the bytes that were delivered; it was left in its place")
        refuse_change(target, before)
        place = place_in_trash(self.path / DESTINATION_TRASH, remote_path, day)
        make_folder(place.parent)
        rename_known(target, place, before)
        return str(place.relative_to(self.path))

    def _refuse_foreign(self, target: Path, intent: Intent) -> None:
        same = target.is_file() and not target.is_symlink() and target.stat().st_size == intent.size
        if not same or hash_file(str(target))["sha256"] != intent.sha256:
            raise ForeignFile(f"another file stands at {target}; it is not overwritten. Move it away and run again")
