"""Telegram's Bot API, through python-telegram-bot: a bot with our timeouts and certificates, and the channel of alerts.

Belongs here: opening a bot, what its errors mean in words, and sending a message. Does not belong here: what the bot
says and hears (`services.telegram_bot`), or when an alert is sent (`pipeline.outbox`).

The library's own log would tell the token, which is in every address, and the codes, which are in messages. So it is
silent: each error is put into words of ours, which hold neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
import os
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
from telegram import Bot, LinkPreviewOptions
from telegram.constants import ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)
from telegram.request import HTTPXRequest

from resources.http import ca_bundle
from resources.messages import TELEGRAM, Message, TryLater, Unanswered, Unusable
from resources.settings_alerts import TelegramSettings

CONNECT_SECONDS, ANSWER_SECONDS, SEND_SECONDS = 10.0, 20.0, 50.0
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
_MARKS = {"info": "ℹ️", "warning": "⚠️", "error": "❌", "critical": "🚨"}
# What may have reached Telegram although no answer came back.
_UNANSWERED = (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError)


def keep_out_of_logs() -> None:
    """Silences the library and the requests below it, in this process."""
    for name in ("telegram", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextlib.asynccontextmanager
async def opened(settings: TelegramSettings) -> AsyncIterator[Bot]:
    """Yields a bot for as long as the block runs. It asks Telegram nothing by itself, so Telegram may be away."""
    assert settings.bot_token is not None
    keep_out_of_logs()
    requests = (_request(settings.base_url, 4), _request(settings.base_url, 1))
    try:
        yield Bot(
            settings.bot_token.get_secret_value(),
            base_url=f"{settings.base_url}/bot",
            base_file_url=f"{settings.base_url}/file/bot",
            request=requests[0],
            get_updates_request=requests[1],
        )
    finally:
        for request in requests:
            await request.shutdown()


def _request(base_url: str, connections: int) -> HTTPXRequest:
    options: dict[str, Any] = {"trust_env": not _is_here(base_url)}  # a proxy knows another loopback than ours
    if isinstance(bundle := ca_bundle(), str):
        folder = os.path.isdir(bundle)
        options["verify"] = ssl.create_default_context(
            cafile=None if folder else bundle, capath=bundle if folder else None
        )
    return HTTPXRequest(
        connection_pool_size=connections,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        write_timeout=CONNECT_SECONDS,
        pool_timeout=ANSWER_SECONDS,
        httpx_kwargs=options,
    )


def _is_here(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def in_words(error: TelegramError) -> str:
    """Returns what an error means and what to do, without any secret: the library's own words may hold the token."""
    if isinstance(error, InvalidToken):
        return (
            "Telegram does not know this bot token. Copy it again from @BotFather into MEDIAPIPE_TELEGRAM__BOT_TOKEN, "
            "or into the file that MEDIAPIPE_TELEGRAM__BOT_TOKEN_FILE names."
        )
    if isinstance(error, Conflict):
        return (
            "Another program fetches this bot's messages too, or a webhook is set for it. A bot belongs to one "
            "installation: end the other one, or make a bot of its own for it with @BotFather."
        )
    if isinstance(error, Forbidden):
        return "The bot may not write to its chat: it was blocked there, or taken out of the group. Let it in again."
    if isinstance(error, ChatMigrated):
        return f"The group has a new number. Set telegram.chat_id to {error.new_chat_id} in mediapipe.toml."
    if isinstance(error, RetryAfter):
        return f"Telegram asks to wait for {seconds_of(error):.0f} s."
    if isinstance(error, BadRequest):
        return f"Telegram refused it: {error.message}."
    if isinstance(error, TimedOut):
        return "Telegram did not answer in time."
    if isinstance(error.__cause__, httpx.HTTPError):
        return f"Telegram cannot be reached ({type(error.__cause__).__name__})."
    return "Telegram has a trouble of its own."  # 502 and the like


def seconds_of(error: RetryAfter) -> float:
    """Returns how long Telegram wants to be left alone."""
    wait = error.retry_after
    return float(wait) if isinstance(wait, int) else wait.total_seconds()


def is_no_chat(error: TelegramError) -> bool:
    """Returns whether the chat is one that the bot cannot write to, so that a person has to do something."""
    return isinstance(error, Forbidden | ChatMigrated) or (
        isinstance(error, BadRequest) and "chat not found" in error.message.casefold()
    )


def escaped(words: str) -> str:
    """Returns plain words as Telegram's HTML."""
    return html.escape(words, quote=False)


class TelegramChannel:
    """Alerts as messages of the bot."""

    name = TELEGRAM

    def __init__(self, settings: TelegramSettings) -> None:
        """Takes the section of the settings, with a token and a chat."""
        self._settings = settings

    def send(self, message: Message) -> str | None:
        """See `pipeline.outbox.Channel`."""
        try:
            return asyncio.run(self._send(message))
        except TimeoutError:
            raise Unanswered("Telegram did not answer in time.") from None
        except RetryAfter as error:
            raise TryLater(in_words(error), seconds_of(error)) from None
        except InvalidToken as error:
            raise Unusable(in_words(error)) from None
        except TelegramError as error:
            if is_no_chat(error):
                chat = f" The chat is {self._settings.chat_id}; mediapipe-assets telegram setup finds the right one."
                raise Unusable(in_words(error) + chat) from None
            if isinstance(error, NetworkError) and isinstance(error.__cause__, _UNANSWERED):
                raise Unanswered(in_words(error)) from None
            raise TryLater(in_words(error)) from None

    async def _send(self, message: Message) -> str:
        assert self._settings.chat_id is not None
        async with asyncio.timeout(SEND_SECONDS), opened(self._settings) as bot:
            sent = await bot.send_message(
                self._settings.chat_id,
                as_html(message),
                parse_mode=ParseMode.HTML,
                link_preview_options=NO_PREVIEW,
                disable_notification=message.severity == "info",
            )
        return str(sent.message_id)


def as_html(message: Message) -> str:
    """Returns a message in Telegram's HTML; Telegram measures it without the marks, and so it fits."""
    # An address on this machine is shown, not linked: Telegram makes no link of one.
    title = f"{_MARKS[message.severity]} <b>{escaped(message.title)}</b>"
    return "\n".join(part for part in (title, escaped(message.body), escaped(message.link or "")) if part)
