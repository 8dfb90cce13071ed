"""What tests of the outbox share: a clock that stands, channels that do as they are told, and notices in few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from catalog.notifications import Notice, tell
from pipeline.outbox import Channel, Sender
from resources.messages import TELEGRAM, Message
from resources.settings import Settings, load_settings

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that only moves when it is told to."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def go_on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class FakeChannel:
    """Takes everything, but for the troubles that it was given, one for each attempt; None is no trouble."""

    name: str = TELEGRAM
    troubles: list[Exception | None] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)
    attempts: int = 0

    def send(self, message: Message) -> str | None:
        self.attempts += 1
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        self.taken.append(message)
        return str(len(self.taken))

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.taken]


def settings_with(home: Path, **sections: Any) -> Settings:
    return load_settings(home, overrides=sections, environ={})


def a_sender(engine: Engine, home: Path, clock: Clock, channels: Sequence[Channel], **sections: Any) -> Sender:
    return Sender(engine, settings_with(home, **sections), channels, clock)


def tell_one(engine: Engine, title: str, severity: Any = "error", topic: str = "check", **given: Any) -> None:
    with engine.begin() as connection:
        assert tell(connection, Notice(f"{topic}:{title}", topic, severity, title, **given))


def settle(sender: Sender, clock: Clock, seconds: float = 2.0) -> None:
    """Lets what was told be routed and settle, and sends it."""
    sender.step()
    clock.go_on(seconds)
    sender.step()
