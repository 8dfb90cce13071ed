"""The bot's process: it alone fetches what people write, asks for Apple's codes, and sends what the outbox holds.

Belongs here: the loops of the process, how each survives a Telegram or a database that is away, and the process's life.
Does not belong here: what is said (`services.bot_conversation`, `services.bot_commands`), or single calls of the Bot
API (`services.bot_chat`).

Each loop is started again when it fails, at growing distances. What people write is confirmed to Telegram only when it
was dealt with, so nothing is lost with the process. Without a bot's token the process only sends the outbox to the
other channels; then it says no heartbeat, because nobody hears an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from telegram import Bot, Update
from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from catalog import heartbeats
from catalog.engine import open_engine
from catalog.listen import listening
from catalog.migrate import migrate
from catalog.notifications import NOTIFICATIONS_CHANNEL
from catalog.twofa import TWOFA_CHANNEL
from pipeline.alerts import watch_daemon
from pipeline.assembly import Platform
from pipeline.channels import channels_of
from pipeline.icloud_account import Account
from pipeline.outbox import Sender
from pipeline.twofa import Answers
from resources import telegram
from resources.database import database
from resources.icloud_errors import ICloudError
from resources.postgres_access import dump, is_embedded
from resources.settings import Settings, SettingsError, load_settings
from services.bot_chat import Chat
from services.bot_commands import WORDS, Commands
from services.bot_conversation import Conversation
from services.bot_hearing import Hearing

POLL_SECONDS = 50  # how long Telegram keeps a question open while nobody writes
HEARTBEAT_SECONDS = 30.0
LOOK_SECONDS = 5.0  # a notice of the database may be lost with its session
SLICE_SECONDS = 1.0  # the longest that an end has to wait for a loop that waits
FIRST_PAUSE, LONGEST_PAUSE, STEADY_AFTER = 1.0, 30.0, 60.0
TOKEN_PAUSE = 60.0  # after a token that Telegram does not know; the settings are then read again
HEARD = ("message", "callback_query")  # a message that is edited is no answer
DATABASE_ERRORS = (DBAPIError, psycopg2.Error)
T = TypeVar("T")
log = logging.getLogger(__name__)


class NoChannel(Exception):
    """There is nobody to speak to; the message says what to set."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__(
            "No channel is set up. For Telegram set MEDIAPIPE_TELEGRAM__BOT_TOKEN and run mediapipe-assets telegram "
            "setup; for other channels set MEDIAPIPE_NOTIFY__URLS."
        )


@dataclass
class BotService:
    """The loops of the process, over one database and one set of settings.

    Attributes:
        engine: The catalog.
        load: Reads the settings as they are now.
        stop: Asks for the end, from any thread; what is in hand is brought to its end.
        now: The clock.
    """

    engine: Engine
    load: Callable[[], Settings]
    stop: threading.Event = field(default_factory=threading.Event)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _again: bool = False  # whether a person has corrected the settings
    _refused: bool = False  # whether Telegram does not know the token
    _offset: int | None = None
    _said: dict[str, str] = field(default_factory=dict)

    @property
    def _ending(self) -> bool:
        return self.stop.is_set() or self._again

    def run(self) -> bool:
        """Runs until `stop` is set, or until it should begin anew.

        Returns:
            Whether to begin anew, because a person has corrected the settings.

        Raises:
            NoChannel: The settings name none.
        """
        self._settings = self.load()
        if not self._settings.tells_somebody:
            raise NoChannel
        asyncio.run(self._main())
        return self._again

    async def _main(self) -> None:
        # It keeps in mind what the catalog has yet to hear, so it outlives the loop that it works in.
        sender = Sender(self.engine, self._settings, channels_of(self._settings), self.now)
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "outbox": partial(asyncio.to_thread, self._send, sender),
            "heartbeat": self._beat,
        }
        async with contextlib.AsyncExitStack() as stack:
            if self._settings.telegram.is_connected:
                bot = await stack.enter_async_context(telegram.opened(self._settings.telegram))
                loops |= self._loops_of(bot)
            await asyncio.gather(*(self._kept(name, loop) for name, loop in loops.items()))
        if self._settings.telegram.is_connected and not self._refused:
            with contextlib.suppress(*DATABASE_ERRORS), self.engine.begin() as connection:
                heartbeats.stop_beating(connection, heartbeats.BOT)

    def _loops_of(self, bot: Bot) -> dict[str, Callable[[], Awaitable[None]]]:
        chat = Chat(bot, self._settings.telegram)
        answers = Answers(self.engine, self._account, self.now)
        conversation = Conversation(self.engine, chat, answers, self._settings.timezone, self.now)
        hearing = Hearing(chat, conversation, Commands(self._platform))
        return {
            "Telegram": partial(self._hear, bot, hearing),
            "codes": partial(self._watch, conversation),
        }

    def _platform(self) -> Platform:
        return Platform(self.load(), self.engine, self.now)

    def _account(self, name: str) -> Account:
        found = self._platform().icloud.accounts.get(name)
        if found is None:
            raise ICloudError(f"The account “{name}” is no longer in the settings.")
        return found

    # ------------------------------------------------------------------ the loops

    async def _hear(self, bot: Bot, hearing: Hearing) -> None:
        """Fetches what people write, and deals with it in order."""
        seconds = 0  # the first answer comes at once, and says whether all is well
        while not self._ending:
            updates = await self._unless_ending(
                bot.get_updates(offset=self._offset, timeout=seconds, allowed_updates=HEARD)
            )
            self._refused = False
            self._recovered("Telegram")
            for update in updates or ():
                await self._hear_one(hearing, update)
                self._offset = update.update_id + 1
            if seconds == 0:
                await bot.set_my_commands(list(WORDS.items()))
                seconds = POLL_SECONDS
        if self._offset is not None:
            # Confirms what was dealt with, so that it is not brought again at the next start.
            with contextlib.suppress(TelegramError):
                await bot.get_updates(offset=self._offset, timeout=0, limit=1, allowed_updates=HEARD)

    async def _hear_one(self, hearing: Hearing, update: Update) -> None:
        try:
            await hearing.hear(update)
        except DATABASE_ERRORS:
            raise  # it is not confirmed, and so heard again
        except TelegramError as error:
            log.warning("An answer could not be sent. %s", telegram.in_words(error))
        except Exception:
            log.exception("Something that was written could not be dealt with; it is passed over")

    async def _unless_ending(self, asked: Awaitable[T]) -> T | None:
        """Waits for an answer, or for the end."""
        answer = asyncio.ensure_future(asked)
        while not answer.done() and not self._ending:
            await asyncio.wait([answer], timeout=SLICE_SECONDS)
        if answer.done():
            return answer.result()
        answer.cancel()
        await asyncio.wait([answer])
        return None

    async def _watch(self, conversation: Conversation) -> None:
        """Keeps the messages about codes true, within moments of each change."""
        with contextlib.ExitStack() as stack:
            ear = await asyncio.to_thread(stack.enter_context, listening(self.engine, TWOFA_CHANNEL))
            due = 0.0
            while not self._ending:
                if time.monotonic() >= due:
                    await conversation.settle()
                    self._recovered("codes")
                    due = time.monotonic() + LOOK_SECONDS
                if await asyncio.to_thread(ear.wait, SLICE_SECONDS):
                    due = 0.0

    async def _beat(self) -> None:
        """Says that somebody hears answers, as long as that is so, and looks whether the daemon lives."""
        while not self._ending:
            await asyncio.to_thread(self._say_alive)
            self._recovered("heartbeat")
            await self._sleep(HEARTBEAT_SECONDS)

    def _say_alive(self) -> None:
        with self.engine.begin() as connection:
            if self._settings.telegram.is_connected and not self._refused:
                heartbeats.beat(connection, heartbeats.BOT)
            watch_daemon(connection, self.now())

    def _send(self, sender: Sender) -> None:
        """Sends the outbox, woken by whoever writes into it."""
        with listening(self.engine, NOTIFICATIONS_CHANNEL) as ear:
            due = 0.0
            while not self._ending:
                if time.monotonic() >= due:
                    due = time.monotonic() + sender.step()
                    self._recovered("outbox")
                if ear.wait(max(0.0, min(SLICE_SECONDS, due - time.monotonic()))):
                    due = 0.0

    # ------------------------------------------------------------------ going on whatever happens

    async def _kept(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Runs a loop until the end is asked for, and starts it again when it fails."""
        pause = FIRST_PAUSE
        while not self._ending:
            began = time.monotonic()
            try:
                await loop()
                continue
            except InvalidToken as error:
                self._troubled(name, telegram.in_words(error))
                await self._doubt_the_token()
                continue
            except RetryAfter as error:
                self._troubled(name, telegram.in_words(error))
                await self._sleep(telegram.seconds_of(error))
                continue
            except Conflict as error:
                self._troubled(name, f"{telegram.in_words(error)} Until then each of the two hears only a part.")
            except TelegramError as error:
                self._troubled(name, f"{telegram.in_words(error)} It is tried again and again; nothing is lost.")
            except DATABASE_ERRORS:
                self._troubled(name, "The database does not answer. It is tried again and again; nothing is lost.")
            except Exception:
                log.exception("%s: this should not happen; starting again", name)
            if time.monotonic() - began > STEADY_AFTER:
                pause = FIRST_PAUSE
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _doubt_the_token(self) -> None:
        """Waits, and begins anew when a person has corrected the token meanwhile."""
        self._refused = True
        await self._sleep(TOKEN_PAUSE)
        try:
            settings = self.load()
        except SettingsError as error:
            self._troubled("settings", str(error))
            return
        if settings.telegram != self._settings.telegram:
            self._again = True

    def _troubled(self, name: str, words: str) -> None:
        if self._said.get(name) != words:
            self._said[name] = words
            log.error("%s: %s", name, words)

    def _recovered(self, name: str) -> None:
        if self._said.pop(name, None) is not None:
            log.info("%s: works again.", name)

    async def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(SLICE_SECONDS, left))


def serve(home: Path, out: Callable[[str], object]) -> None:
    """Runs the bot of a home until Ctrl-C or SIGTERM.

    Args:
        home: The home folder.
        out: Gets the lines for the person.

    Raises:
        NoChannel: The settings name none.
        SettingsError: The settings cannot be used.
        DatabaseUnavailable: There is no database to work with.
    """
    stop = threading.Event()
    again = True
    with _set_by_signals(stop):
        while again and not stop.is_set():
            settings = load_settings(home)
            with _catalog(settings) as engine:
                again = BotService(engine, partial(load_settings, home), stop).run()
    out("The bot has ended.")


@contextlib.contextmanager
def _catalog(settings: Settings) -> Iterator[Engine]:
    """Opens the catalog, up to date; the folders are left alone: one that is away is a reason to tell, not to end."""
    with database(settings) as url:
        engine = open_engine(url)

        def before(revision: str) -> None:
            dump(url, settings.home / "backups" / f"before-migration-from-{revision}.dump")

        try:
            migrate(engine, before if is_embedded(url) else None)
            yield engine
        finally:
            engine.dispose()


@contextlib.contextmanager
def _set_by_signals(stop: threading.Event) -> Iterator[None]:
    """Has Ctrl-C and SIGTERM set the event; a second Ctrl-C waits for nothing."""

    def ask(sign: int, _frame: FrameType | None) -> None:
        if stop.is_set() and sign == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {sign: signal.signal(sign, ask) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
