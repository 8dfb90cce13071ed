"""The section of the phone: an old Pixel that backs photos up, fed by Syncthing.

Belongs here: its fields, and what is allowed. Does not belong here: speaking to Syncthing (`resources.syncthing`), or
what reaches the phone when (`pipeline.pixel_delivery`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from resources.settings_sections import Section

_DEVICE = re.compile(r"[A-Z2-7]{7}(-[A-Z2-7]{7}){7}")


class PixelDestination(Section):
    """A phone that gets photos through a folder of Syncthing's."""

    kind: Literal["pixel"] = Field(default="pixel", description="What the destination is.")
    enabled: bool = Field(default=True, description="Whether anything is delivered there.")
    url: str = Field(default="http://127.0.0.1:8384", description="Address of the Syncthing on this side.")
    api_key: SecretStr | None = Field(
        default=None, description="Its API key, only by environment, `_FILE` or credential."
    )
    folder_id: str = Field(min_length=1, description="Id of the folder that Syncthing shares with the phone.")
    device_id: str = Field(description="The phone's device id, as Syncthing on the phone shows it.")
    folder_path: Path | None = Field(
        default=None,
        description="That folder as this machine sees it, where Syncthing runs elsewhere; else as Syncthing says.",
    )
    deliver: Literal["original", "rendition"] = Field(default="original", description="What is delivered.")
    on_new_rendition: Literal["keep"] = Field(
        default="keep", description="A photo is not sent a second time when it gets a newer rendition."
    )
    order: Literal["oldest", "newest"] = Field(default="oldest", description="Which days go first.")
    quota_gb: float = Field(default=8.0, gt=0, description="Most that lies in the folder at once, in GB.")
    keep_hours: float = Field(
        default=24.0, ge=0, description="Hours that a file stays in the folder after it reached the phone."
    )
    least_free_gb: float = Field(default=2.0, ge=0, description="Free space, in GB, that is left on the folder's disk.")
    counts_as_copy: bool = Field(
        default=False,
        description="Whether a file on the phone counts as a copy when something is to be deleted. Its backup in "
        "Google Photos cannot be proven.",
    )
    watch_seconds: int = Field(default=30, ge=1, le=86_400, description="Seconds between two looks at Syncthing.")
    unseen_hours: float = Field(default=48.0, gt=0, description="Hours without the phone that are told.")
    stuck_hours: float = Field(
        default=12.0, gt=0, description="Hours without progress, while files wait, that are told."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc:
            raise ValueError("must be an address such as http://127.0.0.1:8384")
        return value.rstrip("/")

    @field_validator("device_id")
    @classmethod
    def _device(cls, value: str) -> str:
        shown = value.strip().upper()
        if not _DEVICE.fullmatch(shown):
            raise ValueError("must be a device id as Syncthing shows it: eight groups of seven characters")
        return shown

    @field_validator("folder_path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        expanded = os.path.expanduser(value)
        if not os.path.isabs(expanded):
            raise ValueError("must be an absolute path")
        return Path(os.path.normpath(expanded))

    @property
    def quota(self) -> int:
        """The quota, in bytes."""
        return int(self.quota_gb * 1e9)
