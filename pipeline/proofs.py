"""The proof that a file may leave its place: as many verified copies of exactly its bytes, seen just now.

Belongs here: the only way to make a `SafeDeleteProof`, and what counts as a copy. Does not belong here:
moving anything (`pipeline.trash`), or which files are worth moving (`pipeline.release`).

An original never leaves `originals/` in this version: later tiers are made from it. A proof about an
original can be made, and says how well it is covered, but `pipeline.trash` and every destination refuse it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, Protocol

from media.files import RootAway, hash_file
from resources.delivery import DeletionProof, Evidence, Intent, NotNow, Role
from resources.mounts import same_disk

# Less than a day: the nightly run asks again for what was not proven.
HOURS_BETWEEN_QUESTIONS = 20.0
_TOKEN = object()


class NotProven(Exception):
    """There are too few verified copies; the message says of each known one why it does not count."""


class Witness(Protocol):
    """What may hold a copy and can show it now; every destination is one."""

    @property
    def name(self) -> str:
        """Its name in the settings, or of the root."""
        ...

    @property
    def path(self) -> Path | None:
        """Its folder on this machine, None for what has none."""
        ...

    @property
    def works_here(self) -> bool:
        """Whether it can be asked in the run's own process alone."""
        ...

    @property
    def counts_as_copy(self) -> bool:
        """Whether what it holds counts as a copy at all."""
        ...

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns whether it would be lost together with `folder`."""
        ...

    def evidence(self, intent: Intent) -> Evidence:
        """Looks at what is there now."""
        ...


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """One of our own roots as a witness: a file that stands there, hashed now.

    Attributes:
        name: The root's name.
        path: The root.
    """

    name: str
    path: Path

    @property
    def works_here(self) -> bool:
        """Returns False: any worker can read it."""
        return False

    @property
    def counts_as_copy(self) -> bool:
        """Returns True: it is read and hashed."""
        return True

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns whether both stand on one disk, or may."""
        return same_disk(self.path, folder)

    def evidence(self, intent: Intent) -> Evidence:
        """Reads the file from the disk, not from memory, and hashes it."""
        target = self.path / intent.remote_path
        try:
            if not stat.S_ISREG(os.lstat(target).st_mode):
                return Evidence("unverifiable", reason=f"{target} is no file of its own")
            found = hash_file(str(target), cold=True)
        except FileNotFoundError:
            return Evidence("absent", reason=f"nothing stands at {target}")
        facts = {"sha256": found["sha256"], "size": found["size"], "read_back": True}
        if found["sha256"] != intent.sha256:
            return Evidence("unverifiable", facts, f"{target} holds other bytes")
        return Evidence("verified", facts)


@dataclass(frozen=True, slots=True)
class Doomed:
    """The file that is to leave its place.

    Attributes:
        path: Where it stands.
        subject: What the proof is for, in a form that the one who moves the file can compare: the absolute path
            of a file of ours, `destination:remote path` at a destination.
        sha256: Its bytes, as the catalog has them.
        size: Their number.
        role: `original` or `rendition`.
        held_by: The destination that it stands at, None for a file of ours.
    """

    path: Path
    subject: str
    sha256: str
    size: int
    role: Role
    held_by: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A copy that is said to exist.

    Attributes:
        witness: Who can show it.
        intent: What it is asked for.
        role: What it was delivered as.
    """

    witness: Witness
    intent: Intent
    role: Role


@dataclass(frozen=True, slots=True)
class ProvenCopy:
    """A copy that was seen.

    Attributes:
        destination: Who holds it.
        remote_path: Where.
        facts: What was seen of it.
        at: When.
    """

    destination: str
    remote_path: str
    facts: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True)
class SafeDeleteProof(DeletionProof):
    """That one file may leave its place. Only `prove` makes one; it is neither copied, stored nor sent.

    Attributes:
        copies: The copies that were seen, each at another destination.
    """

    copies: tuple[ProvenCopy, ...]
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        """Refuses whoever is not the verifier.

        Raises:
            TypeError: It was made by hand.
        """
        if token is not _TOKEN:
            raise TypeError("a SafeDeleteProof is made by pipeline.proofs.prove alone, from fresh evidence")

    def __reduce__(self) -> NoReturn:
        """Refuses to be copied or pickled, which would go past the verifier and let evidence grow old."""
        raise TypeError("a SafeDeleteProof is not copied or sent: where one is needed, it is proven anew")


def prove(doomed: Doomed, candidates: Sequence[Candidate], copies_needed: int) -> SafeDeleteProof:
    """Asks everyone who is said to hold a copy, now, and makes a proof when enough of them show it.

    Not counted are: the file itself, whatever would be lost together with it, a rendition for an original, other bytes,
    what a phone holds unless its owner says so, and a second copy at the same destination, or on the same disk as one
    that counts.

    Args:
        doomed: The file that is to leave its place.
        candidates: The copies that the catalog knows of.
        copies_needed: How many must be verified, at least one.

    Raises:
        NotProven: Too few were; the reason names each.
        ValueError: No copy was asked for.
    """
    if copies_needed < 1:
        raise ValueError("a file never leaves its place without a single proven copy")
    copies: dict[str, ProvenCopy] = {}
    holders: list[Witness] = []
    reasons = []
    for one in candidates:
        if len(copies) == copies_needed:
            break
        if one.witness.name in copies:
            continue
        seen = _seen(doomed, one, holders)
        if isinstance(seen, ProvenCopy):
            copies[seen.destination] = seen
            holders.append(one.witness)
        else:
            reasons.append(f"“{one.witness.name}”: {seen}")
    if len(copies) < copies_needed:
        said = "; ".join(dict.fromkeys(reasons)) or "no other copy of exactly these bytes is known"
        raise NotProven(f"{len(copies)} of {copies_needed} copies proven ({said})")
    return SafeDeleteProof(
        doomed.sha256, doomed.size, doomed.role, doomed.subject, tuple(copies.values()), token=_TOKEN
    )


def _seen(doomed: Doomed, one: Candidate, holders: Sequence[Witness]) -> ProvenCopy | str:
    """Returns the copy as it was seen, or why it does not count beside those of `holders`."""
    if one.role != doomed.role:
        return f"it holds the {one.role}, which never counts for the {doomed.role}"
    if one.intent.sha256 != doomed.sha256:
        return "it holds other bytes"
    if one.witness.name == doomed.held_by:
        return "this is the file itself"
    if not one.witness.counts_as_copy:
        return "it is a phone, whose backup nobody can prove (counts_as_copy is false)"
    try:
        if one.witness.shares_disk_with(doomed.path.parent):
            return "it is on the same disk, as far as can be told"
        for other in holders:
            if other.path is not None and one.witness.shares_disk_with(other.path):
                return f"it is on one disk with “{other.name}”, so both are one copy"
        evidence = one.witness.evidence(one.intent)
    except NotNow as later:
        return f"it cannot be looked at now ({later})"
    except OSError as error:
        return f"it cannot be looked at now ({error.strerror or error})"
    except RootAway as error:
        return f"it cannot be looked at now ({error})"
    if evidence.verdict != "verified":
        return evidence.reason or f"it is {evidence.verdict}"
    if not evidence.proves(doomed.sha256, doomed.size):
        return "it does not show which bytes it holds"
    return ProvenCopy(one.witness.name, one.intent.remote_path, dict(evidence.facts), datetime.now(UTC))
