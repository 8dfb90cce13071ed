"""What is said between the pipeline and a destination: intent, acknowledgement, evidence, proof.

Belongs here: these values. Does not belong here: who says them (`pipeline.deliver`, and one module for
each destination), or how a proof is made (`pipeline.proofs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Deliver = Literal["original", "rendition", "both"]
OnNewRendition = Literal["keep", "replace"]
DESTINATION_TRASH = ".trash"  # the trash of a destination that is a folder, below that folder
Role = Literal["original", "rendition"]
Verdict = Literal["verified", "pending", "absent", "unverifiable"]
PENDING_SECONDS = 900.0  # unless the destination knows better


@dataclass(frozen=True, slots=True)
class Intent:
    """One file that is to reach, or has reached, a destination.

    Attributes:
        source: Our own file with these bytes.
        remote_path: Where it goes, relative to the destination.
        sha256: The content hash of the bytes.
        size: Their number.
        tag: Mark of the run, for temporary names.
        remote_ids: The ids by which the destination knows it, as far as they are journalled.
        seen: Whether the destination has once shown these bytes.
        sent_seconds: How long ago it was acknowledged, None where it never was.
        taken: When it was taken, with its zone, for a destination that dates files itself.
        may_link: Whether another name for our own file may be made there, which an original never allows.
    """

    source: str
    remote_path: str
    sha256: str
    size: int
    tag: str
    remote_ids: Mapping[str, object] = field(default_factory=dict)
    seen: bool = False
    sent_seconds: float | None = None
    taken: datetime | None = None
    may_link: bool = False


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a destination said when a file had arrived.

    Attributes:
        remote_ids: The ids that it gave the file, empty where paths are ids.
        recovered: Whether the file was there already, from a run that was killed before it could say so.
    """

    remote_ids: Mapping[str, object] = field(default_factory=dict)
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a destination itself shows of a delivered file.

    Attributes:
        verdict: `verified` only when the destination holds exactly the bytes of the intent; `pending` when it cannot
            say yet, which is no failure.
        facts: What was seen, kept in the catalog as the proof. `sha256` and `size` name the bytes. A destination that
            shows another checksum of them gives its name as `by` and its value under that name; `sha256` is then that
            of our own file, for which the same checksum was computed.
        reason: Why it is not verified, in words.
        ask_again_seconds: After how long to ask again, when it is pending.
    """

    verdict: Verdict
    facts: Mapping[str, object] = field(default_factory=dict)
    reason: str | None = None
    ask_again_seconds: float = PENDING_SECONDS

    def proves(self, sha256: str, size: int) -> bool:
        """Returns whether this shows that the destination holds exactly these bytes."""
        by = str(self.facts.get("by", "sha256"))
        return (
            self.verdict == "verified"
            and self.facts.get("sha256") == sha256
            and self.facts.get("size") == size
            and bool(self.facts.get(by))
        )


class NotNow(Exception):
    """A destination cannot take or show a file at present, through no fault of the file.

    Attributes:
        reason: Why, in words.
        seconds: After how long to try again.
        stops: Whether the same would be said of any other file, so that a run had better ask for none.
    """

    def __init__(self, reason: str, seconds: float, stops: bool = False) -> None:
        super().__init__(reason, seconds, stops)
        self.reason = reason
        self.seconds = seconds
        self.stops = stops

    def __str__(self) -> str:
        return self.reason


class LeftOut(Exception):
    """A file does not go to a destination, which is no failure: the destination has it, or a person took it away there.

    Attributes:
        reason: Why, in words.
        for_good: Whether it stays so when the destination's settings change.
    """

    def __init__(self, reason: str, for_good: bool = False) -> None:
        super().__init__(reason, for_good)
        self.reason = reason
        self.for_good = for_good

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class DeletionProof:
    """What whoever takes a file away is shown. It is made as a `pipeline.proofs.SafeDeleteProof` and never by itself.

    Attributes:
        sha256: The bytes that may go.
        size: Their number.
        role: `original` or `rendition`; an original never goes in this version.
        subject: The one file that it is a proof for.
    """

    sha256: str
    size: int
    role: Role
    subject: str

    def __post_init__(self, *_: object) -> None:
        """Refuses to be made by hand.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a proof is made by pipeline.proofs.prove alone")
