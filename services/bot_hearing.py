"""What becomes of each thing that Telegram brings: a code, a command, a button, or a stranger.

Belongs here: telling these apart. Does not belong here: fetching them (`services.telegram_bot`), or the answers.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import DBAPIError
from telegram import CallbackQuery, Message, Update, User

from resources.redaction import hide
from resources.settings import SettingsError
from services.bot_chat import Chat
from services.bot_commands import Commands
from services.bot_conversation import Conversation, six_digits

COMMAND_SECONDS = 120.0  # a look at a disk that hangs must not keep everything else from being heard
log = logging.getLogger(__name__)


class Hearing:
    """Hears what people write in one chat."""

    def __init__(self, chat: Chat, conversation: Conversation, commands: Commands) -> None:
        """Takes the chat, and who answers in it."""
        self._chat, self._conversation, self._commands = chat, conversation, commands

    async def hear(self, update: Update) -> None:
        """Deals with one update; what is edited or forwarded to a channel is none of ours.

        Raises:
            DBAPIError: The database is away while a code was to be judged; the same update may be heard again.
            TelegramError: An answer could not be sent.
        """
        if update.callback_query is not None:
            await self._hear_button(update.callback_query)
        elif update.message is not None:
            await self._hear_message(update.update_id, update.message)

    async def _hear_button(self, query: CallbackQuery) -> None:
        if query.message is not None and self._is_known(query.message.chat.id, query.from_user):
            await self._conversation.press(query.data or "", query.id)

    async def _hear_message(self, update_id: int, message: Message) -> None:
        if not self._is_known(message.chat.id, message.from_user):
            return
        text = message.text or ""
        if (code := six_digits(text)) is not None:
            hide(code)
            await self._conversation.hear(
                code, sent_at=message.date, update_id=update_id, message_id=message.message_id
            )
        elif text.startswith("/"):
            await self._command(text)
        elif message.chat.id > 0:  # in a group people talk to each other
            await self._chat.say("I understand six digits when Apple wants a code, and commands: /help lists them.")

    async def _command(self, text: str) -> None:
        words = text[1:].split()
        name, argument = (words[0].partition("@")[0].lower() if words else "help"), " ".join(words[1:])
        log.info("Command: /%s", name if name.isalnum() else "?")
        await self._chat.say(await self._answer(name, argument))

    async def _answer(self, name: str, argument: str) -> str:
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._commands.answer, name, argument), COMMAND_SECONDS)
        except TimeoutError:
            return (
                "That takes too long just now; a disk or the database may hang. On the machine: mediapipe-assets doctor"
            )
        except DBAPIError as error:
            log.warning("A command found no database: %s", type(error.orig).__name__)
            return "The database does not answer just now. Try again in a minute."
        except SettingsError:
            return "The settings cannot be used; on the machine, mediapipe-assets config show says what is wrong."

    def _is_known(self, chat_id: int, sender: User | None) -> bool:
        """Returns whether somebody is heard. A stranger gets no answer, which would say that there is somebody."""
        known = self._chat.may_speak(chat_id, sender.id if sender is not None else None)
        if not known:
            log.warning(
                "Somebody else wrote and was not heard: chat %s, sender %s. Heard is chat %s, in a group only "
                "telegram.senders.",
                chat_id,
                sender.id if sender is not None else "unknown",
                self._chat.id,
            )
        return known
