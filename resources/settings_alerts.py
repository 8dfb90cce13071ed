"""The sections of what a person is told: the Telegram bot, every other channel, and when something is worth a message.

Belongs here: their fields, and what is allowed. Does not belong here: sending (`resources.telegram`,
`resources.apprise_channels`), or what is told (`pipeline.alerts`).
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from resources.settings_sections import Section, listed_text

SEVERITIES = ("info", "warning", "error", "critical")
Severity = Literal["info", "warning", "error", "critical"]
NEVER = "never"


class TelegramSettings(Section):
    """The bot that asks for Apple's codes, tells what is wrong, and answers commands."""

    bot_token: SecretStr | None = Field(
        default=None, description="The bot's token, as @BotFather gave it; only by environment, `_FILE` or credential."
    )
    chat_id: int | None = Field(
        default=None, description="The one chat that the bot speaks with; `mediapipe-assets telegram setup` finds it."
    )
    senders: list[int] = Field(
        default=[], description="In a group: the ids of those who may give orders. Empty: nobody in a group may."
    )
    base_url: str = Field(default="https://api.telegram.org", description="Another Bot API server.")
    least: Literal["info", "warning", "error", "critical", "never"] = Field(
        default="warning", description="What is told at once in Telegram; what is less goes into the daily digest."
    )

    @property
    def is_connected(self) -> bool:
        """Whether there is a bot, and a chat for it to speak in."""
        return self.bot_token is not None and self.chat_id is not None

    @field_validator("bot_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not (token := value.get_secret_value().strip()):
            return None
        if not re.fullmatch(r"\d+:[A-Za-z0-9_-]{20,}", token):
            raise ValueError("is no bot token; @BotFather gives one like 123456789:AbC…")
        return SecretStr(token)

    @field_validator("senders", mode="before")
    @classmethod
    def _split_senders(cls, value: object) -> object:
        return listed_text(value)

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc:
            raise ValueError("must be an address such as https://api.telegram.org")
        return value.rstrip("/")


class NotifySettings(Section):
    """Every other channel, and when messages come."""

    urls: SecretStr | None = Field(
        default=None,
        description="Apprise addresses of other channels, separated by commas: mailto://, ntfy://, discord:// and so "
        "on. They hold passwords: only by environment, `_FILE` or credential.",
    )
    least: Literal["info", "warning", "error", "critical", "never"] = Field(
        default="error", description="What is told at once in these channels; what is less goes into the daily digest."
    )
    quiet_hours: str = Field(
        default="", description="Hours, in `timezone`, in which only what is critical comes, such as 22:00-07:00."
    )
    digest_hour: int = Field(
        default=9, ge=-1, le=23, description="Hour, in `timezone`, of the daily digest; -1 sends none."
    )
    digest: Literal["all", "telegram", "urls"] = Field(
        default="telegram", description="Which channels get the daily digest."
    )
    stalled_hours: int = Field(
        default=12, ge=1, le=8_760, description="Hours without any finished file, while some wait, that are told."
    )
    least_free_gb: float = Field(
        default=5.0, ge=0, description="Free space, in GB, on a disk that we write to, below which it is told."
    )

    @property
    def addresses(self) -> list[str]:
        """The Apprise addresses, one each. They are secrets."""
        if self.urls is None:
            return []
        # A comma within an address is not followed by a scheme.
        found = re.split(r",\s*(?=[a-zA-Z][a-zA-Z0-9+.-]*://)", self.urls.get_secret_value())
        return [one.strip() for one in found if one.strip()]

    @field_validator("quiet_hours")
    @classmethod
    def _hours(cls, value: str) -> str:
        if value and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value.strip()):
            raise ValueError("must be two times such as 22:00-07:00")
        return value.strip()
