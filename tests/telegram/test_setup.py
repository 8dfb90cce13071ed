"""`telegram setup` and `bot` on the command line."""

from __future__ import annotations

import re
import signal
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mediapipe_assets.cli import telegram as commands
from resources.settings import load_settings
from tests.conftest import Home
from tests.telegram_standin import OWNER, STRANGER, TOKEN, Fault, TelegramStandin


class Setup:
    """The command in a thread, while the test is the person with the phone."""

    def __init__(self, home: Path, telegram: TelegramStandin) -> None:
        self.home, self.telegram = home, telegram
        self.lines: list[str] = []
        self.result: Result | None = None

    def start(self, wait: float = 30) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(wait,))
        thread.start()
        return thread

    def _run(self, wait: float) -> None:
        self.result = CliRunner().invoke(commands.telegram, ["setup", "--wait", str(wait)])

    def run(self, wait: float = 0.0) -> Result:
        thread = self.start(wait)
        thread.join(60)
        assert self.result is not None
        return self.result

    @property
    def nonce(self) -> str:
        found = self.telegram.until(lambda: re.search(r"t\.me/mediapipe_bot\?start=(\S+)", "\n".join(self.lines)))
        return str(found[1])

    @property
    def written(self) -> dict[str, object]:
        file = self.home / "mediapipe.toml"
        return tomllib.loads(file.read_text())["telegram"] if file.exists() else {}


@pytest.fixture
def setup(tmp_path: Path, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    one = Setup(tmp_path / "home", telegram)
    monkeypatch.setenv("MEDIAPIPE_HOME", str(one.home))
    monkeypatch.setenv("MEDIAPIPE_TELEGRAM__BASE_URL", telegram.url)
    monkeypatch.setenv("MEDIAPIPE_TELEGRAM__BOT_TOKEN", TOKEN)
    monkeypatch.setattr(commands, "say", one.lines.append)
    monkeypatch.setattr(commands, "PAUSE_SECONDS", 0.01)
    yield one


def test_the_chat_of_whoever_opens_the_address_is_remembered(setup: Setup, telegram: TelegramStandin) -> None:
    thread = setup.start()
    telegram.says(f"/start {setup.nonce}")
    thread.join(30)
    assert setup.result is not None and setup.result.exit_code == 0, setup.result
    assert setup.written == {"chat_id": OWNER}
    assert load_settings(setup.home).telegram.chat_id == OWNER
    assert "Hello" in telegram.texts()[0]
    assert telegram.read()
    assert not any(TOKEN in line for line in setup.lines)


def test_who_does_not_know_the_address_is_not_taken(setup: Setup, telegram: TelegramStandin) -> None:
    thread = setup.start()
    nonce = setup.nonce
    telegram.says("/start", chat=STRANGER)
    telegram.says("/start wrong", chat=STRANGER)
    telegram.says("hello", chat=STRANGER)
    telegram.until(telegram.read)
    telegram.says(f"/start {nonce}")
    thread.join(30)
    assert setup.written == {"chat_id": OWNER}
    assert not telegram.texts(STRANGER)


def test_a_plain_start_is_taken_when_the_person_at_the_terminal_agrees(
    setup: Setup, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(commands, "_agreed", lambda question: asked.append(question) or True)
    telegram.says("/start")
    assert setup.run(20).exit_code == 0
    assert setup.written == {"chat_id": OWNER}
    assert "Person 4711" in asked[0]


def test_in_a_group_who_set_it_up_may_give_orders(setup: Setup, telegram: TelegramStandin) -> None:
    thread = setup.start()
    telegram.says(f"/start@mediapipe_bot {setup.nonce}", chat=-12, sender=OWNER)
    thread.join(30)
    assert setup.written == {"chat_id": -12, "senders": [OWNER]}


def test_what_a_person_wrote_in_the_settings_stays(setup: Setup, telegram: TelegramStandin) -> None:
    setup.home.mkdir()
    file = setup.home / "mediapipe.toml"
    file.write_text('# mine\n[telegram]\nleast = "info"  # all\n')
    thread = setup.start()
    telegram.says(f"/start {setup.nonce}")
    thread.join(30)
    assert file.read_text().startswith('# mine\n[telegram]\nleast = "info"  # all\n')
    assert setup.written == {"least": "info", "chat_id": OWNER}


def test_nobody_who_starts_it_in_time_changes_nothing(setup: Setup) -> None:
    result = setup.run(0.2)
    assert result.exit_code == 1 and "Nobody pressed Start in time" in result.output
    assert not setup.written


def test_a_wrong_token_is_said_without_repeating_it(setup: Setup, telegram: TelegramStandin) -> None:
    telegram.token = "1:another"
    result = setup.run()
    assert result.exit_code == 1 and "does not know this bot token" in result.output
    assert TOKEN not in result.output


def test_another_program_that_polls_is_named(setup: Setup, telegram: TelegramStandin) -> None:
    telegram.faults.append(Fault(409, "getupdates"))
    said = setup.run(5).output
    assert "Another program fetches this bot's messages" in said
    assert "end `mediapipe-assets up`" in said, "it may be this installation's own"


def test_a_webhook_is_taken_away_only_when_the_person_agrees(
    setup: Setup, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    telegram.webhook = "https://example.com/secret-path"
    assert "Nothing was changed" in setup.run().output
    assert telegram.webhook and not any("secret-path" in line for line in setup.lines)
    monkeypatch.setattr(commands, "_agreed", lambda question: True)
    setup.run(0.1)
    assert not telegram.webhook


def test_a_telegram_that_stumbles_meanwhile_is_waited_for(setup: Setup, telegram: TelegramStandin) -> None:
    telegram.faults.append(Fault(502, "getupdates", times=2))
    thread = setup.start()
    telegram.says(f"/start {setup.nonce}")
    thread.join(30)
    assert setup.written == {"chat_id": OWNER}


def test_a_chat_that_the_environment_overrules_is_said(
    setup: Setup, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAPIPE_TELEGRAM__CHAT_ID", "5")
    thread = setup.start()
    telegram.says(f"/start {setup.nonce}")
    thread.join(30)
    assert setup.result is not None and "environment counts more" in setup.result.output


def test_without_a_token_it_says_how_to_get_one(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDIAPIPE_TELEGRAM__BOT_TOKEN")
    assert "@BotFather" in setup.run().output


def test_the_bot_runs_in_the_foreground_until_it_is_told_to_end(home: Home, telegram: TelegramStandin) -> None:
    home.environment = {
        "MEDIAPIPE_TELEGRAM__BASE_URL": telegram.url,
        "MEDIAPIPE_TELEGRAM__BOT_TOKEN": TOKEN,
        "MEDIAPIPE_TELEGRAM__CHAT_ID": str(OWNER),
    }
    process = home.start("bot")
    telegram.says("/help")
    telegram.until(lambda: telegram.texts(), seconds=90)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == ""
    assert "The bot has ended." in err and TOKEN not in err
    assert telegram.read()


def test_the_bot_without_a_channel_says_what_to_set(home: Home) -> None:
    said = home.cli("bot", expect=2)
    assert "telegram setup" in said.err and "MEDIAPIPE_NOTIFY__URLS" in said.err
