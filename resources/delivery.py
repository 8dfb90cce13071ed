"""What is said between the pipeline and a destination: intent, acknowledgement, evidence, proof.

Belongs here: these values. Does not belong here: who says them (`pipeline.deliver`, and one module for
each destination), or how a proof is made (`pipeline.proofs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Deliver = Literal["original", "rendition", "both"]
OnNewRendition = Literal["keep", "replace"]
DESTINATION_TRASH = ".trash"  # the trash of a destination that is a folder, below that folder
Role = Literal["original", "rendition"]
Verdict = Literal["verified", "pending", "absent", "unverifiable"]


@dataclass(frozen=True, slots=True)
class Intent:
    """One file that is to reach, or has reached, a destination.

    Attributes:
        source: Our own file with these bytes.
        remote_path: Where it goes, relative to the destination.
        sha256: The content hash of the bytes.
        size: Their number.
        tag: Mark of the run, for temporary names.
    """

    source: str
    remote_path: str
    sha256: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a destination said when a file had arrived.

    Attributes:
        remote_ids: The ids that it gave the file, empty where paths are ids.
        recovered: Whether the file was there already, from a run that was killed before it could say so.
    """

    remote_ids: Mapping[str, str] = field(default_factory=dict)
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a destination itself shows of a delivered file.

    Attributes:
        verdict: `verified` only when the destination holds exactly the bytes of the intent.
        facts: What was seen, kept in the catalog as the proof.
        reason: Why it is not verified, in words.
    """

    verdict: Verdict
    facts: Mapping[str, object] = field(default_factory=dict)
    reason: str | None = None


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
