"""The conversation about Apple's codes: asking for one, hearing it, and saying what came of it.

Belongs here: the message of each request and what becomes of it. Does not belong here: which answers are good ones
(`pipeline.twofa`), or who is heard at all (`services.bot_chat`).

A request's message says what its row says, whoever changed it: this bot, `icloud code` in another process, or time.
No code is ever repeated.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from telegram.error import TelegramError

from catalog import twofa
from catalog.twofa import CodeRequest
from pipeline.twofa import MOST_WRONG, Answer, Answers, Verdict, cancel
from resources.icloud_errors import ICloudError
from resources.telegram import in_words
from services.bot_chat import Button, Chat

CANCEL = "cancel:"
LOOK_BACK = timedelta(days=1)  # messages of requests that ended while the bot was down are put right
_DIGITS = re.compile(r"\s*(\d{3})[\s\u00a0-]?(\d{3})\s*", re.ASCII)
# What the message of the request shows by itself.
_SHOWN = {Verdict.ACCEPTED, Verdict.WRONG, Verdict.TOO_MANY, Verdict.EXPIRED}
_ENDINGS = {
    "accepted": f"✅ {Verdict.ACCEPTED.value}",
    "canceled": "Canceled. /2fa asks Apple for a new code.",
    "expired": Verdict.EXPIRED.value,
    "refused": Verdict.TOO_MANY.value,
}
log = logging.getLogger(__name__)


def six_digits(text: str) -> str | None:
    """Returns the code that a message is, however its digits are parted; None when it is something else."""
    found = _DIGITS.fullmatch(text)
    return None if found is None else found[1] + found[2]


class Conversation:
    """The conversation in one chat."""

    def __init__(self, engine: Engine, chat: Chat, answers: Answers, zone: str, now: Callable[[], datetime]) -> None:
        """Takes the catalog, the chat, the judge of answers, the person's time zone and the clock."""
        self._engine, self._chat, self._answers = engine, chat, answers
        self._zone, self._now = ZoneInfo(zone), now
        self._shown: dict[int, str] = {}  # what each request's message is known to say
        self._to_delete: set[int] = set()
        self._settling = asyncio.Lock()

    async def hear(self, code: str, *, sent_at: datetime, update_id: int, message_id: int) -> None:
        """Hands a code in that somebody sent who may; the message that holds it is deleted meanwhile.

        Raises:
            DBAPIError: The database is away; the same message may be handed in again.
            TelegramError: What came of it could not be told.
        """
        deleting = asyncio.create_task(self._delete(message_id))
        try:
            verdict, request = await asyncio.to_thread(
                self._answers.judge, Answer(code, sent_at, update_id, message_id)
            )
        except ICloudError as error:
            await self._chat.say(str(error))
            return
        finally:
            await deleting
        log.info("A code was sent: %s", verdict.name.lower())
        await self.settle()
        shown = verdict in _SHOWN and request is not None and request.message_id is not None
        heard_twice = verdict is Verdict.USED and request is None
        if not shown and not heard_twice:
            await self._chat.say(verdict.value)

    async def press(self, data: str, query_id: str) -> None:
        """Hears a button."""
        request_id = data.removeprefix(CANCEL)
        canceled = request_id.isdigit() and await asyncio.to_thread(cancel, self._engine, int(request_id))
        await self._chat.acknowledge(query_id, "Canceled." if canceled else "It has ended already.")
        await self.settle()

    async def settle(self) -> None:
        """Asks for what is not yet asked for, and has each message say how its request stands.

        Raises:
            DBAPIError: The database is away.
            TelegramError: Telegram is away; what is left is done by the next call.
        """
        async with self._settling:
            for message_id in list(self._to_delete):
                await self._delete_now(message_id)
            announced, waiting = await asyncio.to_thread(self._look)
            for request in announced:
                await self._show(request)
            if waiting is not None:
                await self._ask(waiting)

    def _look(self) -> tuple[list[CodeRequest], CodeRequest | None]:
        """Returns the requests that have a message, and the one to ask for now: one at a time, or codes mix up."""
        with self._engine.begin() as connection:
            twofa.expire(connection, self._now())
            announced = twofa.announced_since(connection, self._now() - LOOK_BACK)
            first = next(iter(twofa.open_requests(connection)), None)
        return announced, first if first is not None and first.message_id is None else None

    async def _ask(self, request: CodeRequest) -> None:
        words = self._words(request)
        message_id = await self._chat.say(words, _button(request))
        self._shown[request.id] = words
        await asyncio.to_thread(self._remember, request.id, message_id)
        log.info("Asked for a code for the account %s", request.account)

    def _remember(self, request_id: int, message_id: int) -> None:
        with self._engine.begin() as connection:
            twofa.set_message(connection, request_id, message_id)

    async def _show(self, request: CodeRequest) -> None:
        words = self._words(request)
        if self._shown.get(request.id) == words:
            return
        assert request.message_id is not None
        await self._chat.edit(request.message_id, words, _button(request))
        self._shown[request.id] = words

    def _words(self, request: CodeRequest) -> str:
        if request.state != "open":
            return f"“{request.account}”: {_ENDINGS[request.state]}"
        until = request.expires_at.astimezone(self._zone)
        words = (
            f"🔐 Apple wants a code for “{request.account}”: your iPhone, iPad or Mac shows it, or it comes as a text "
            f"message. Reply with the six digits, until {until:%H:%M}. Your reply is deleted at once."
        )
        if request.wrong_codes:
            words += f"\n\n{Verdict.WRONG.value} ({request.wrong_codes} of {MOST_WRONG} tries)"
        return words

    async def _delete(self, message_id: int) -> None:
        self._to_delete.add(message_id)
        try:
            await self._delete_now(message_id)
        except TelegramError as error:
            log.warning("A message with a code is not deleted yet; it is tried again. %s", in_words(error))

    async def _delete_now(self, message_id: int) -> None:
        deleted = await self._chat.delete(message_id)
        self._to_delete.discard(message_id)
        if not deleted:
            await self._chat.say(
                "I may not delete your message with the code. Delete it yourself, and make me an administrator of "
                "this group so that I may the next time."
            )


def _button(request: CodeRequest) -> Button | None:
    return Button("Cancel", f"{CANCEL}{request.id}") if request.state == "open" else None
