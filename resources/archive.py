"""A folder on another disk or a mount, as a destination.

Belongs here: how files are laid out there, copied there, and read back. Does not belong here: what
is due, and what is recorded (`pipeline.deliver`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from media.files import copy_verified, hash_file
from resources.delivery import Acknowledgement, Deliver, Evidence, Intent, OnNewRendition

TREES = {"original": "originals", "rendition": "renditions"}


class ForeignFile(Exception):
    """Another file stands where one of ours should go; it is not overwritten."""


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

    def prepare(self) -> None:
        """Needs nothing beyond its marker, which every root has."""

    def remote_path(self, day: date, name: str, role: str) -> str:
        """Returns `originals/YYYY/MM/DD/name` or `renditions/…`."""
        return f"{TREES[role]}/{day:%Y/%m/%d}/{name}"

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns whether both stand on one file system."""
        return os.stat(self.path).st_dev == os.stat(folder).st_dev

    def deliver(self, intent: Intent) -> Acknowledgement:
        """Copies a file there atomically.

        Raises:
            ForeignFile: Something else stands at its path.
            OSError: Reading or writing failed; nothing is left behind.
        """
        target = self.path / intent.remote_path
        if os.path.lexists(target):
            self._refuse_foreign(target, intent)
            return Acknowledgement(recovered=True)
        copy_verified(intent.source, str(target), intent.sha256, intent.tag)
        return Acknowledgement()

    def evidence(self, intent: Intent) -> Evidence:
        """Reads the copy back from the disk, not from memory, and hashes it."""
        target = self.path / intent.remote_path
        try:
            found = hash_file(str(target), cold=True)
        except FileNotFoundError:
            return Evidence("absent", reason=f"the copy is no longer at {target}")
        facts = {"sha256": found["sha256"], "size": found["size"], "read_back": True}
        if found["sha256"] != intent.sha256:
            return Evidence("unverifiable", facts, f"the copy at {target} does not hold the bytes that were delivered")
        return Evidence("verified", facts)

    def _refuse_foreign(self, target: Path, intent: Intent) -> None:
        same = target.is_file() and target.stat().st_size == intent.size
        if not same or hash_file(str(target))["sha256"] != intent.sha256:
            raise ForeignFile(f"another file stands at {target}; it is not overwritten. Move it away and run again")
