"""What tests of the bot start from: a made-up Telegram, a home, and the bot's own loops in a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import twofa
from catalog.twofa import CodeRequest
from pipeline.assembly import Platform
from resources.settings import Settings, load_settings
from services import telegram_bot
from services.icloud_standin import Account
from services.telegram_bot import BotService
from tests.icloud_clients import NAME, PASSWORD, account, icloud
from tests.telegram_standin import OWNER, TelegramStandin
from tests.the_catalog import connection, engine, migrated, server

__all__ = ["account", "connection", "engine", "icloud", "migrated", "server"]


@pytest.fixture
def telegram() -> Iterator[TelegramStandin]:
    with TelegramStandin() as standin:
        yield standin


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the pauses out of what waits for a Telegram or an Apple that stumbles."""
    monkeypatch.setattr(telegram_bot, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(telegram_bot, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(telegram_bot, "SLICE_SECONDS", 0.05)
    monkeypatch.setattr(telegram_bot, "TOKEN_PAUSE", 0.05)
    monkeypatch.setattr("services.bot_chat.PAUSES", (0.0, 0.0))
    monkeypatch.setattr("pipeline.outbox.SETTLED", timedelta(0))
    monkeypatch.setattr("resources.icloud_session._PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr("resources.icloud_session.REQUESTS_A_SECOND", 1e6)


@dataclass
class TheBot:
    """A home with the bot, which runs while a `with` lasts."""

    engine: Engine
    folder: Path
    telegram: TelegramStandin
    environ: dict[str, str]
    overrides: dict[str, Any] = field(default_factory=dict)
    failure: BaseException | None = None

    def load(self) -> Settings:
        return load_settings(self.folder, overrides=self.overrides, environ=self.environ)

    @property
    def platform(self) -> Platform:
        return Platform(self.load(), self.engine)

    @contextlib.contextmanager
    def running(self) -> Iterator[BotService]:
        service = BotService(self.engine, self.load)
        thread = threading.Thread(target=self._run, args=(service,))
        thread.start()
        try:
            yield service
        finally:
            service.stop.set()
            thread.join(30)
            assert not thread.is_alive(), "the bot did not end"
        if self.failure is not None:
            raise self.failure

    def _run(self, service: BotService) -> None:
        try:
            while service.run():
                service = BotService(self.engine, self.load, service.stop)
        except BaseException as error:
            self.failure = error

    def rows(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement)))

    @property
    def request(self) -> CodeRequest | None:
        with self.engine.connect() as connection:
            return twofa.open_request_of(connection, "icloud")


MakeBot = Callable[..., TheBot]


@pytest.fixture
def make_bot(engine: Engine, tmp_path: Path, telegram: TelegramStandin) -> MakeBot:
    """Makes the home; its environment may be told more."""

    def make(**more: str) -> TheBot:
        environ = {
            "MEDIAPIPE_TELEGRAM__BOT_TOKEN": telegram.token,
            "MEDIAPIPE_TELEGRAM__CHAT_ID": str(OWNER),
            "MEDIAPIPE_TELEGRAM__BASE_URL": telegram.url,
            "MEDIAPIPE_ICLOUD__APPLE_ID": NAME,
            "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD,
            "MEDIAPIPE_TIMEZONE": "Europe/Berlin",
        }
        one = TheBot(engine, tmp_path / "home", telegram, environ | more)
        one.platform.prepare()
        return one

    return make


@pytest.fixture
def bot(make_bot: MakeBot) -> TheBot:
    return make_bot()


@pytest.fixture
def asked(bot: TheBot, account: Account) -> TheBot:
    """The same, for whose account Apple has sent a code."""
    from pipeline.icloud_account import ask_for_code

    ask_for_code(bot.engine, bot.platform.icloud.accounts["icloud"])
    return bot
