"""The sections of iCloud: an account that photos come from, and one that they are sent back to.

Belongs here: their fields, and the rules between them. Does not belong here: which other kinds of sources and
destinations there are (`settings_kinds.py`), signing in, or anything that Apple answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from resources.settings_sections import Section, listed_text

FORMATS = ("jpeg", "heic", "png", "mov", "mp4")


class ICloudSource(Section):
    """An iCloud photo library whose photos and videos are taken in. Nothing is deleted there."""

    kind: Literal["icloud"] = Field(default="icloud", description="What the source is.")
    enabled: bool = Field(default=True, description="Whether the source is looked at.")
    # Before apple_id, which may be left out when this one is given.
    account: str = Field(
        default="",
        description="Name of another iCloud source whose sign-in this one uses; for a shared library.",
    )
    apple_id: str = Field(default="", validate_default=True, description="The Apple account, by its address.")
    password: SecretStr | None = Field(
        default=None,
        description="The account's password, only by environment, `_FILE` or credential. A session that Apple still "
        "trusts needs none.",
    )
    library: Literal["personal", "shared"] = Field(default="personal", description="Which library of the account.")
    downloads: int = Field(default=4, ge=1, le=16, description="Downloads at once.")
    sidecars: bool = Field(
        default=True, description="Whether an XMP sidecar with what iCloud knows is put beside each original."
    )
    sync_minutes: int = Field(default=30, ge=5, le=10_080, description="Minutes between two looks at the library.")
    trust_days: int = Field(
        default=60, ge=1, le=365, description="Days after which Apple is expected to ask for a code again."
    )
    page_size: int = Field(default=200, ge=10, le=200, description="Records asked for at once in a listing.")

    @field_validator("account", mode="before")
    @classmethod
    def _trimmed(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @field_validator("apple_id")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        address = value.strip()
        if not address and not info.data.get("account"):
            raise PydanticKnownError("missing")
        if address and not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise ValueError("must be the address of an Apple account, such as name@example.com")
        return address

    @field_validator("password")
    @classmethod
    def _empty_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value() else None


class ICloudDestination(Section):
    """An iCloud photo library that photos are sent to."""

    kind: Literal["icloud"] = Field(default="icloud", description="What the destination is.")
    enabled: bool = Field(default=False, description="Whether anything is delivered there.")
    account: str = Field(default="icloud", description="Name of the iCloud source whose sign-in is used.")
    deliver: Literal["original", "rendition"] = Field(default="rendition", description="What is delivered.")
    on_new_rendition: Literal["keep"] = Field(
        default="keep", description="A photo is not sent a second time when it gets a newer rendition."
    )
    accept: list[str] = Field(
        default=["jpeg"],
        min_length=1,
        description="Formats that are uploaded, of "
        + ", ".join(f"`{one}`" for one in FORMATS)
        + "; by default those that Apple's web upload is known to take. `mediapipe-assets icloud self-test` tries one.",
    )
    missing_only: bool = Field(
        default=True,
        description="Send only what iCloud lacks: what came from there goes back only where its rendition replaces it.",
    )

    @field_validator("accept", mode="before")
    @classmethod
    def _split_formats(cls, value: object) -> object:
        return listed_text(value)

    @field_validator("accept")
    @classmethod
    def _known_formats(cls, value: list[str]) -> list[str]:
        if set(value) - set(FORMATS):
            raise ValueError(f"may hold only {', '.join(FORMATS)}")
        return list(dict.fromkeys(value))


def account_of(name: str, source: ICloudSource) -> str:
    """Returns the name of the source whose sign-in a source uses; its own, unless it says another."""
    return source.account or name


def icloud_problems(sources: Mapping[str, ICloudSource], destinations: Mapping[str, ICloudDestination]) -> list[str]:
    """Returns what does not fit together, each with the keys that are concerned."""
    return [
        *_sources_without_sign_in(sources),
        *_destinations_without_sign_in(sources, destinations),
        *_libraries_taken_in_twice(sources),
        *_archive_is_no_icloud(destinations),
    ]


def _sources_without_sign_in(sources: Mapping[str, ICloudSource]) -> Iterator[str]:
    for name, source in sources.items():
        if not source.account:
            continue
        key = f"sources.{name}"
        for field in ("apple_id", "password"):
            if getattr(source, field):
                yield f"{key}.{field} and {key}.account are both set: with `account`, another source's sign-in is used"
        if not _signs_in(sources.get(source.account)):
            yield _no_sign_in(f"{key}.account", source.account, sources)


def _destinations_without_sign_in(
    sources: Mapping[str, ICloudSource], destinations: Mapping[str, ICloudDestination]
) -> Iterator[str]:
    for name, destination in destinations.items():
        if destination.enabled and not _signs_in(sources.get(destination.account)):
            yield _no_sign_in(f"destinations.{name}.account", destination.account, sources)


def _libraries_taken_in_twice(sources: Mapping[str, ICloudSource]) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for name, source in sources.items():
        owner: Any = sources.get(account_of(name, source))
        if not source.enabled or not _signs_in(owner):
            continue
        library = (owner.apple_id.casefold(), source.library)
        first = seen.setdefault(library, name)
        if first != name:
            yield (
                f"sources.{first} and sources.{name} are both the {source.library} library of {owner.apple_id}: each "
                "photo would be taken in twice; keep one of them"
            )


def _archive_is_no_icloud(destinations: Mapping[str, ICloudDestination]) -> Iterator[str]:
    # It would take the place of the archive that is there by default, which only an archive may do.
    if "archive" in destinations:
        yield 'destinations.archive.kind = "icloud": only an archive may be called archive; choose another name'


def _signs_in(source: ICloudSource | None) -> bool:
    return source is not None and bool(source.apple_id) and not source.account


def _no_sign_in(key: str, account: str, sources: Mapping[str, ICloudSource]) -> str:
    names = [name for name, source in sources.items() if _signs_in(source)]
    there = f"there is {', '.join(names)}" if names else "none is set; MEDIAPIPE_ICLOUD__APPLE_ID makes one"
    return f'{key} = "{account}": must be the name of an iCloud source with an apple_id of its own; {there}'
