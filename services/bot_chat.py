"""The one chat that the bot speaks in: saying, editing, deleting, and who may be heard there.

Belongs here: single calls of the Bot API, with patience for a Telegram that stumbles. Does not belong here: what is
said (`services.bot_conversation`, `services.bot_commands`), or fetching what people write (`services.telegram_bot`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.constants import MessageLimit
from telegram.error import BadRequest, NetworkError, RetryAfter

from pipeline.outbox_words import cut
from resources.settings import TelegramSettings
from resources.telegram import NO_PREVIEW, in_words, seconds_of

PAUSES = (1.0, 2.0, 4.0, 8.0)
LONGEST_WAIT = 60.0  # what is asked for beyond that is tried again by whoever wanted it
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Button:
    """A button below a message.

    Attributes:
        label: What it says.
        data: What comes back when it is pressed.
    """

    label: str
    data: str


@dataclass(frozen=True)
class Chat:
    """The chat of the settings.

    Attributes:
        bot: The bot, opened.
        settings: The chat and who may speak in it.
    """

    bot: Bot
    settings: TelegramSettings

    @property
    def id(self) -> int:
        """The chat's number."""
        assert self.settings.chat_id is not None
        return self.settings.chat_id

    def may_speak(self, chat_id: int, sender_id: int | None) -> bool:
        """Returns whether somebody is heard: the person of a private chat; in a group only those of the settings."""
        if chat_id != self.id or sender_id is None:
            return False
        return sender_id == chat_id or sender_id in self.settings.senders

    async def say(self, words: str, button: Button | None = None) -> int:
        """Sends plain words and returns the message's number.

        Raises:
            TelegramError: Telegram did not take it.
        """
        sent = await _patiently(
            lambda: self.bot.send_message(
                self.id,
                cut(words, MessageLimit.MAX_TEXT_LENGTH),
                reply_markup=_keyboard(button),
                link_preview_options=NO_PREVIEW,
            )
        )
        return sent.message_id

    async def edit(self, message_id: int, words: str, button: Button | None = None) -> None:
        """Has a message of ours say something else; one that says so already, or is gone, is left as it is.

        Raises:
            TelegramError: Telegram did not take it.
        """
        try:
            await _patiently(
                lambda: self.bot.edit_message_text(
                    words, chat_id=self.id, message_id=message_id, reply_markup=_keyboard(button)
                )
            )
        except BadRequest as error:
            log.debug("A message was not edited: %s", in_words(error))

    async def delete(self, message_id: int) -> bool:
        """Deletes a message; one that is gone counts as deleted.

        Returns:
            False when the bot may not: in a group it needs to be an administrator.

        Raises:
            TelegramError: Telegram did not answer.
        """
        try:
            await _patiently(lambda: self.bot.delete_message(self.id, message_id))
        except BadRequest as error:
            return "not found" in error.message.casefold()
        return True

    async def acknowledge(self, query_id: str, words: str) -> None:
        """Ends the waiting that a pressed button shows; one pressed long ago waits no more."""
        try:
            await _patiently(lambda: self.bot.answer_callback_query(query_id, words))
        except BadRequest as error:
            log.debug("A button was not acknowledged: %s", in_words(error))


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Tries a call again while Telegram stumbles, for some seconds; one whose answer was lost may be done twice."""
    for pause in PAUSES:
        try:
            return await call()
        except BadRequest:
            raise
        except RetryAfter as error:
            if seconds_of(error) > LONGEST_WAIT:
                raise
            await asyncio.sleep(seconds_of(error))
        except NetworkError:
            await asyncio.sleep(pause)
    return await call()


def _keyboard(button: Button | None) -> InlineKeyboardMarkup | None:
    if button is None:
        return None
    return InlineKeyboardMarkup([[InlineKeyboardButton(button.label, callback_data=button.data)]])
