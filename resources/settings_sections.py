"""The sections of the settings: every field with its default, its description, and what is allowed.

Belongs here: fields and rules of one section. Does not belong here: rules between sections and loading (`settings.py`).
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import string
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from media.tiers import DEFAULT_TIERS, Plan, Tier

LIBRARY_FIELDS = ("year", "month", "day", "name", "stem", "ext", "kind")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}$")]


class Section(BaseModel):
    """What all sections share: no unknown keys, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RootsSettings(Section):
    """The folders that this platform writes to."""

    originals: Path = Field(
        default=Path("originals"), description="Originals, whole and unchanged. Relative to the home."
    )
    renditions: Path = Field(default=Path("renditions"), description="Smaller renditions, made from originals.")
    staging: Path = Field(default=Path("staging"), description="What is on its way, one folder for each destination.")
    library: Path = Field(default=Path("library"), description="The tree by date for browsing.")
    trash: Path = Field(default=Path("trash"), description="What was replaced or released, until it is emptied.")
    thumbnails: Path = Field(default=Path("thumbnails"), description="Small pictures for the reports.")


class FolderSource(Section):
    """A folder whose photos and videos are taken in. Nothing is ever written there."""

    kind: Literal["folder"] = Field(default="folder", description="What the source is.")
    enabled: bool = Field(default=True, description="Whether the source is looked at.")
    path: Path = Field(description="The folder, absolute or beginning with `~`.")
    mode: Literal["copy", "reference"] = Field(
        default="copy",
        description="`copy`: originals are kept by us (a reflink where possible). `reference`: left in place.",
    )
    include: list[str] = Field(
        default=[], description="Glob patterns on the relative path; empty takes every media file."
    )
    exclude: list[str] = Field(
        default=[], description="Glob patterns on the relative path; what matches is left alone."
    )
    settle_seconds: float = Field(
        default=5,
        ge=0,
        le=86_400,
        description="Seconds for which size and time of a file must hold still before it is taken.",
    )
    away_share: float = Field(
        default=0.5, gt=0, le=1, description="A source that loses more than this share at once is away, not emptied."
    )

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _split_patterns(cls, value: object) -> object:
        return listed_text(value)

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return _absolute_source(value)


class ArchiveDestination(Section):
    """A folder, on another disk or a mount, that holds proven copies by date."""

    kind: Literal["archive"] = Field(default="archive", description="What the destination is.")
    enabled: bool = Field(default=True, description="Whether anything is delivered there.")
    path: Path = Field(
        description="The folder, absolute or relative to the home. The one called `archive` defaults to `archive`."
    )
    deliver: Literal["original", "rendition", "both"] = Field(default="both", description="What is delivered.")
    on_new_rendition: Literal["keep", "replace"] = Field(
        default="keep",
        description="A photo that gets a newer rendition: keep the delivered one, or replace it once proven.",
    )
    recheck_days: int = Field(
        default=30,
        ge=1,
        le=3_650,
        description="Days after which a proven copy is looked at again: whether it is there, with its size.",
    )


class DeduplicationSettings(Section):
    """When two files count as the same, or as nearly the same."""

    enabled: bool = Field(default=True, description="Whether duplicates are looked for.")
    near_threshold: int = Field(
        default=48,
        ge=0,
        le=128,
        description="Bits of 256 by which perceptual hashes may differ to be proposed as a pair.",
    )
    near_correlation: float = Field(
        default=0.98, ge=0, le=1, description="Least correlation of the two small pictures for a proposed pair."
    )


class TierSettings(Section):
    """How photos and videos of one age are made smaller."""

    name: str = Field(min_length=1, max_length=60, description="The tier's name.")
    after_days: int = Field(ge=0, le=36_500, description="Age in days from which the tier holds; the first is 0.")
    jpeg_quality: int = Field(default=0, ge=0, le=100, description="Quality of JPEG renditions; 0 keeps originals.")
    video_crf: int = Field(
        default=0, ge=0, le=63, description="Rate factor of video renditions, lower is better; 0 keeps originals."
    )
    video_codec: Literal["hevc", "av1", "h264"] = Field(default="hevc", description="Codec of video renditions.")
    video_max_edge: int = Field(
        default=0, ge=0, le=16_384, description="Longest edge of a video in pixels; 0 keeps the resolution."
    )
    png_recompress: bool = Field(default=True, description="Whether PNG is compressed again without loss.")


def _default_tiers() -> list[TierSettings]:
    numbers = set(TierSettings.model_fields) - {"name", "after_days"}
    plans = {
        tier: {key: value for key, value in tier.plan.to_dict().items() if key in numbers} for tier in DEFAULT_TIERS
    }
    return [TierSettings(name=tier.name, after_days=tier.after_days, **plan) for tier, plan in plans.items()]


class CompressionSettings(Section):
    """When and how renditions are made."""

    enabled: bool = Field(
        default=True, description="Whether renditions are made; without them originals are delivered."
    )
    min_saving: float = Field(
        default=DEFAULT_TIERS[0].plan.min_saving,
        ge=0,
        lt=1,
        description="Share that a rendition must save, or it is dropped.",
    )
    tiers: list[TierSettings] = Field(
        default_factory=_default_tiers, min_length=1, description="The age tiers, by `after_days`."
    )

    @field_validator("tiers")
    @classmethod
    def _tiers_in_order(cls, tiers: list[TierSettings]) -> list[TierSettings]:
        days = [tier.after_days for tier in tiers]
        if days[0] != 0:
            raise ValueError(f"the first tier must begin at after_days = 0, not {days[0]}: new files need a tier too")
        if any(later <= earlier for earlier, later in itertools.pairwise(days)):
            raise ValueError(f"after_days must rise from tier to tier, not {', '.join(map(str, days))}")
        if len({tier.name for tier in tiers}) < len(tiers):
            raise ValueError("two tiers have the same name")
        return tiers

    def plan_tiers(self) -> list[Tier]:
        """Returns the tiers as the engine takes them, youngest first."""
        return [
            Tier(
                tier.name,
                tier.after_days,
                Plan(
                    jpeg_quality=tier.jpeg_quality,
                    video_crf=tier.video_crf,
                    video_codec=tier.video_codec,
                    video_max_edge=tier.video_max_edge,
                    png_recompress=tier.png_recompress,
                    min_saving=self.min_saving,
                ),
            )
            for tier in self.tiers
        ]


class LibrarySettings(Section):
    """The tree by date for browsing."""

    enabled: bool = Field(default=True, description="Whether the library is kept.")
    template: str = Field(
        default="{year}/{month}/{day}/{name}",
        description="Path in the library, of " + ", ".join(f"`{{{field}}}`" for field in LIBRARY_FIELDS) + ".",
    )
    link: Literal["auto", "reflink", "symlink"] = Field(
        default="auto", description="How a file appears there; `auto` takes a reflink where possible, else a symlink."
    )

    @field_validator("template")
    @classmethod
    def _known_template(cls, template: str) -> str:
        return _check_template(template)


class ReleaseSettings(Section):
    """What leaves its place once it is proven elsewhere. Off by default, and always by way of a trash."""

    enabled: bool = Field(
        default=False,
        description="Whether renditions that a newer one has replaced go to the trash, each on proof. Never originals.",
    )
    copies: int = Field(
        default=1, ge=1, le=10, description="Proven copies of exactly its bytes that a file needs elsewhere to go."
    )


class TrashSettings(Section):
    """How long what was moved to the trash can be brought back."""

    keep_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Days that a file stays in the trash at least; after that `trash empty` may delete it, "
        "nothing by itself.",
    )


class RunsSettings(Section):
    """When runs start, and how much they take on."""

    pending_minutes: int = Field(
        default=60, ge=1, le=10_080, description="Minutes between runs over whatever is pending."
    )
    tier_hour: int = Field(
        default=3, ge=0, le=23, description="Hour, in `timezone`, of the nightly run over new age tiers."
    )
    sensor_seconds: int = Field(default=30, ge=1, le=86_400, description="Seconds between two looks at the sources.")
    discover_limit: int = Field(default=5_000, ge=1, le=100_000, description="New files recorded in one look, at most.")
    merge_gap_days: int = Field(default=60, ge=0, le=36_500, description="Dates up to so many days apart share a run.")
    max_attempts: int = Field(default=5, ge=1, le=1_000, description="Times that a failing file is tried.")
    backoff_minutes: float = Field(
        default=10, ge=0, le=10_080, description="Minutes before the second try; then doubled."
    )


class ComputeSettings(Section):
    """The pool of workers that decodes and encodes."""

    workers: int = Field(default=0, ge=0, le=512, description="Number of workers; 0 decides by cores and memory.")
    worker_memory_mb: int = Field(default=2_048, ge=256, description="Most memory of one worker, in MiB.")
    task_timeout_seconds: int = Field(default=1_800, ge=1, description="Seconds that one rendition may take.")
    ingest_timeout_seconds: int = Field(
        default=120,
        ge=1,
        description="Seconds that taking in one file may take, beside one more for each 5 MB of its size.",
    )


class WebSettings(Section):
    """Dagster's web UI."""

    host: str = Field(
        default="127.0.0.1", description="Address of the web UI; it has no login, so only this machine's own."
    )
    port: int = Field(default=3_000, ge=1, le=65_535, description="Port of the web UI.")

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if host != "localhost" and not _is_loopback(host):
            raise ValueError(
                "the web UI has no login, so it listens on this machine only: use 127.0.0.1, and reach it from "
                "elsewhere through an SSH tunnel or a proxy that asks for a password"
            )
        return host


def listed_text(value: object) -> object:
    """Returns a text as the list that it stands for, and anything else as it is."""
    # An environment variable is one text; a comma in a file name is rarer than two patterns.
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _absolute_source(path: Path) -> Path:
    expanded = os.path.expanduser(path)
    if not os.path.isabs(expanded):
        raise ValueError("must be an absolute path: what runs in the background has another working folder than you")
    return Path(os.path.normpath(expanded))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_template(template: str) -> str:
    allowed = ", ".join(f"{{{field}}}" for field in LIBRARY_FIELDS)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"is no template ({error}); allowed are {allowed}") from error
    used = [field for _, field, _, _ in parts if field is not None]
    if any(spec or conversion for _, _, spec, conversion in parts) or set(used) - set(LIBRARY_FIELDS):
        raise ValueError(f"may hold only {allowed}")
    if not {"name", "stem"} & set(used):
        raise ValueError("must hold {name} or {stem}, or all files of a day would have one name")
    if template.startswith("/") or {"", ".", ".."} & set(template.split("/")):
        raise ValueError("must be a relative path without empty, '.' or '..' parts")
    return template
