"""The channels that the settings name.

Belongs here: which there are. Does not belong here: what goes to which and when (`pipeline.outbox`).
"""

from __future__ import annotations

from pipeline.outbox import Channel
from resources.apprise_channels import apprise_channels
from resources.settings import Settings
from resources.telegram import TelegramChannel


def channels_of(settings: Settings) -> list[Channel]:
    """Returns every channel that is configured, Telegram first if its token and its chat are known."""
    channels: list[Channel] = []
    if settings.telegram.is_connected:
        channels.append(TelegramChannel(settings.telegram))
    return [*channels, *apprise_channels(settings.notify)]
