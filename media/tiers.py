"""How far a file may shrink at which age: plans, tiers, and which tier is due.

Belongs here: the numbers that an engine is given (`Plan`), their fingerprint, the age rule, and the two answers an
engine can give (`Made`, or `KeepOriginal` with its reason). Does not belong here: pixels, settings objects, clocks.
Today is always passed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

ENGINE_VERSION = 1  # raise it when the same plan would give other bytes: the renditions are then due again
HIGHEST_CRF = {"hevc": 51, "av1": 63, "h264": 51}  # the codecs that a plan may name, and their scales


class KeepOriginal(Exception):
    """The engine's answer that the original is to be delivered as it is; the message says why, in plain words."""


@dataclass(frozen=True, slots=True)
class Made:
    """What an engine wrote to the part, already verified by re-opening it.

    Attributes:
        format: The format's name, for example "jpeg".
        extension: The file's final extension with its dot.
        width: Stored width in pixels, before any orientation is applied.
        height: Stored height in pixels, likewise.
        detail: What was done, in plain words.
    """

    format: str
    extension: str
    width: int
    height: int
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be done to a file: pure numbers, the same on every machine.

    Attributes:
        jpeg_quality: libjpeg's quality, 1 to 100; 0 keeps originals.
        video_crf: Constant rate factor of the video encoder, lower is better; 0 keeps originals.
        video_codec: "hevc" (plays on everything of the last ten years), "av1" or "h264".
        video_max_edge: Longest edge of a video in pixels; 0 keeps the resolution.
        png_recompress: Deflate PNG again, without loss.
        min_saving: The share of the original's bytes that a rendition must save to be worth a file, 0 to 1.
    """

    jpeg_quality: int
    video_crf: int
    video_codec: str
    video_max_edge: int
    png_recompress: bool
    min_saving: float

    def __post_init__(self) -> None:
        if not 0 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}, but must be 0 (keep) to 100")
        if self.video_codec not in HIGHEST_CRF:
            raise ValueError(f"video_codec is {self.video_codec!r}, but must be one of {', '.join(HIGHEST_CRF)}")
        if not 0 <= self.video_crf <= HIGHEST_CRF[self.video_codec]:
            highest = HIGHEST_CRF[self.video_codec]
            raise ValueError(f"video_crf is {self.video_crf}, but must be 0 (keep) to {highest} for {self.video_codec}")
        if self.video_max_edge < 0:
            raise ValueError(f"video_max_edge is {self.video_max_edge}, but must be 0 (keep) or more")
        if not 0 <= self.min_saving < 1:
            raise ValueError(f"min_saving is {self.min_saving}, but must be 0 or more and below 1")

    def fingerprint(self) -> str:
        """Returns 12 hex characters that change whenever this plan or the engine would give other bytes."""
        text = json.dumps({"engine": ENGINE_VERSION, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as plain values, to be sent to a worker."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Returns the plan that `to_dict` gave.

        Raises:
            ValueError: A value is missing, unknown, or out of its range.
        """
        names = {field.name for field in fields(cls)}
        if names != set(values):
            raise ValueError(f"a plan has exactly {sorted(names)}, not {sorted(values)}")
        return cls(
            jpeg_quality=int(values["jpeg_quality"]),
            video_crf=int(values["video_crf"]),
            video_codec=str(values["video_codec"]),
            video_max_edge=int(values["video_max_edge"]),
            png_recompress=bool(values["png_recompress"]),
            min_saving=float(values["min_saving"]),
        )


@dataclass(frozen=True)
class Tier:
    """A plan and the age from which it holds.

    Attributes:
        name: What a person calls it.
        after_days: Age of the capture date in days from which the plan holds.
        plan: What may then be done.
    """

    name: str
    after_days: int
    plan: Plan


# Few and large steps, because every one is a new file to deliver; each rendition is made from the original all the
# same, so nothing adds up. Measured on phone photos at full resolution, turbo progressive, SSIMULACRA2 mean and worst
# of 512-pixel crops: 88 gives 88.1 / 85.3, 82 gives 84.8 / 80.6, 76 gives 82.3 / 76.9 (as much as the usual rule "80 %
# of the edge at quality 90", which has 82.1 / 75.3 and fewer pixels). Above 80 a difference is hard to see side by
# side. Videos of the last year are the ones still being edited: they are left alone. x265 fast at CRF 26 has
# a higher VMAF than x264 fast at CRF 28 (86.5 against 82.4 on a phone's 1080p).
DEFAULT_TIERS: tuple[Tier, ...] = (
    Tier("fresh", 0, Plan(88, 0, "hevc", 0, True, 0.10)),
    Tier("after a year", 365, Plan(82, 24, "hevc", 0, True, 0.10)),
    Tier("after five years", 5 * 365, Plan(76, 26, "hevc", 0, True, 0.10)),
)


def refuse_small_saving(before: int, after: int, min_saving: float) -> None:
    """Refuses a rendition that is not worth a file of its own.

    Args:
        before: Bytes of the original.
        after: Bytes of the rendition.
        min_saving: See `Plan`. A rendition that saves nothing at all is always refused.

    Raises:
        KeepOriginal: It saves too little.
    """
    if after >= before:
        raise KeepOriginal("the smaller version would not have been smaller")
    if before - after < min_saving * before:
        raise KeepOriginal(f"the smaller version would have saved only {100 * (before - after) / before:.1f} %")


def tier_for(age_days: int, tiers: Sequence[Tier]) -> Tier:
    """Returns the last tier whose age has been reached.

    Args:
        age_days: Whole days since the capture date; a date in the future counts as today.
        tiers: In any order.

    Raises:
        ValueError: No tier begins at 0 days, so a fresh file would have none.
    """
    age = max(0, age_days)
    reached = [tier for tier in tiers if tier.after_days <= age]
    if not reached:
        raise ValueError("no tier begins at 0 days")
    return max(reached, key=lambda tier: tier.after_days)
