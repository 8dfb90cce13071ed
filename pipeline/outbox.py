"""Sends what the outbox holds: what goes to which channel, when, and in which words.

Belongs here: the sender and the protocol of its channels. Does not belong here: any one channel (`resources`), the
rows (`catalog.notification_sends`), or what a person is told (`pipeline.alerts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Engine

from resources.messages import Message
from resources.settings import Settings


class Channel(Protocol):
    """A way to a person."""

    @property
    def name(self) -> str:
        """Its name in the catalog; says nothing secret."""
        ...

    def send(self, message: Message) -> str | None:
        """Sends a message, and returns only when the other side has taken it.

        It is called in a thread, never twice at the same time, and ends by itself within a minute.

        Returns:
            The other side's number of the message, if it has one.

        Raises:
            TryLater: It did not go out.
            Unanswered: It went out, and nobody knows whether it arrived.
            Unusable: A person must correct a setting first.
        """
        ...


@dataclass
class Sender:
    """Sends what is due. Of all senders on a catalog one works at a time.

    Attributes:
        engine: The catalog.
        settings: Routes, quiet hours and the digest.
        channels: Where to; each has a name of its own.
        now: The clock.
    """

    engine: Engine
    settings: Settings
    channels: Sequence[Channel]
    now: Callable[[], datetime]

    def step(self) -> float:
        """Sends everything that is due by now.

        Returns:
            Seconds until something may be due, half a minute at most: a notice may be lost with its session.
        """
        raise NotImplementedError
