"""The protocol that every destination speaks.

Belongs here: what the stages ask of a destination. Does not belong here: any one destination
(`resources`), or what is recorded of the answers (`pipeline.deliver`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Protocol

from resources.delivery import Acknowledgement, DeletionProof, Deliver, Evidence, Intent, OnNewRendition


class Destination(Protocol):
    """A place that holds copies. It is picklable: `deliver`, `evidence` and `release` run in a worker.

    One that `works_here` holds a session that only the run's own process may use; a copy of it that was sent to a
    worker answers that it cannot be asked there.
    """

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def path(self) -> Path | None:
        """Its folder on this machine, None for what has none."""
        ...

    @property
    def deliver_what(self) -> Deliver:
        """Which of a file's two forms it takes."""
        ...

    @property
    def on_new_rendition(self) -> OnNewRendition:
        """What happens when a photo that was delivered gets a newer rendition."""
        ...

    @property
    def place(self) -> str:
        """What a person knows it as: a folder, an account."""
        ...

    @property
    def works_here(self) -> bool:
        """Whether it works in the run's own process alone, one file at a time."""
        ...

    @property
    def counts_as_copy(self) -> bool:
        """Whether what it holds counts as a copy when something else is to be deleted."""
        ...

    def close(self) -> None:
        """Ends the session that it may hold; the next question opens another."""
        ...

    def prepare(self) -> None:
        """Makes sure that it can be written to, at the start of every run.

        Raises:
            RunStopped: It cannot, with what to do; or an error that `pipeline.failures` makes one of.
        """
        ...

    def remote_path(self, day: date, name: str, role: str) -> str:
        """Returns where a file of a day belongs."""
        ...

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns whether it would be lost together with `folder`."""
        ...

    def deliver(self, intent: Intent) -> Acknowledgement:
        """Brings a file there, or finds that a killed run already did; raises `NotNow` when that has to wait."""
        ...

    def evidence(self, intent: Intent) -> Evidence:
        """Looks at what is there now; `pending`, or `NotNow` raised, when it cannot say yet."""
        ...

    def glance(self, remote_path: str, size: int) -> str | None:
        """Returns what is wrong with a delivered file without reading it, None when nothing is or it cannot be told."""
        ...

    def release(self, proof: DeletionProof, remote_path: str, day: date) -> str:
        """Moves one of its files to its own trash and returns where that is; refuses without a proof of this file."""
        ...
