"""What goes through a channel, and how a channel says that it did not get through.

Belongs here: the message and the three failures that every channel knows. Does not belong here: any one channel
(`resources.telegram`, `resources.apprise_channels`), or what is sent when (`pipeline.outbox`).
"""

from __future__ import annotations

from dataclasses import dataclass

from resources.settings_alerts import Severity

TELEGRAM = "telegram"  # the name of that channel, whatever its token


@dataclass(frozen=True, slots=True)
class Message:
    """What a person gets, in plain text; a channel escapes it as it must.

    Title, body and link together stay below what the shortest of the usual messengers takes (4,096 characters).

    Attributes:
        title: One line.
        body: The rest; may be empty.
        severity: How much the worst of it matters.
        link: The page of the web UI that shows more.
        count: How many notices are told in it.
    """

    title: str
    body: str
    severity: Severity
    link: str | None = None
    count: int = 1


class TryLater(Exception):
    """The message did not go out, and may go out later: the channel is away, or wants fewer messages.

    Attributes:
        reason: In words, without any secret.
        seconds: How long the channel asks to wait; None when it does not say.
    """

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.seconds = reason, seconds


class Unanswered(Exception):
    """The message went out and no answer came, so that nobody knows whether it arrived.

    Attributes:
        reason: In words, without any secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unusable(Exception):
    """The channel takes nothing before a person has corrected a setting, such as a wrong token.

    Attributes:
        reason: What to correct, in words, without any secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
