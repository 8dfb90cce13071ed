"""The bot's commands: short, true, and without a folder or a secret in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from catalog import heartbeats, icloud, twofa
from catalog.notifications import Notice, tell
from pipeline import switches
from services.bot_commands import WORDS, Commands
from services.bot_looks import ago, without_folders
from services.icloud_standin import Account
from tests.icloud_clients import PASSWORD
from tests.telegram.conftest import TheBot
from tests.telegram_standin import TelegramStandin
from tests.the_catalog import add_observation, add_stored

Say = Callable[..., str]


@pytest.fixture
def say(bot: TheBot) -> Say:
    """Gives a command and returns what is said."""
    commands = Commands(lambda: bot.platform)
    return lambda name, argument="": commands.answer(name, argument)


def test_every_command_answers_in_its_chat(bot: TheBot, account: Account, telegram: TelegramStandin) -> None:
    with bot.running():
        for name in WORDS:
            telegram.says(f"/{name}@mediapipe_bot")
        telegram.until(lambda: len(telegram.messages) > len(WORDS))  # and the question for a code
    assert all(telegram.texts())
    assert not any(PASSWORD in text or telegram.token in text for text in telegram.texts())


def test_the_help_names_every_command(say: Say) -> None:
    assert all(f"/{name} " in say("help") for name in WORDS)
    assert "no command of mine" in say("dance") and "/help" in say("dance")
    assert "Hello" in say("start")


def test_status_says_what_the_library_holds(bot: TheBot, say: Say) -> None:
    with bot.engine.begin() as connection:
        add_stored(connection, "a.jpg", size=2_000_000)
        add_observation(connection, state="pending")
        add_observation(connection, state="failed", reason="broken", source="photos")
    said = say("status")
    assert "2 files found, 1 more wait" in said
    assert "1 kept (2.0 MB)" in said
    assert "1 failed" in said
    assert "archive: nothing yet" in said


def test_summary_says_what_was_done_today(bot: TheBot, say: Say) -> None:
    with bot.engine.begin() as connection:
        add_stored(connection, "a.jpg", size=2_000_000)
    assert "Arrived: 1 file, 2.0 MB" in say("summary")


def test_health_says_how_the_parts_are(bot: TheBot, say: Say) -> None:
    assert "Daemon: not running" in say("health")
    with bot.engine.begin() as connection:
        heartbeats.beat(connection, heartbeats.SENSORS)
        icloud.set_account(connection, "icloud", needs="code", needs_detail="run this")
    said = say("health")
    assert "Daemon: last heard of" in said and "mediapipe-assets up" not in said
    assert "“icloud”: wants a code; /2fa" in said
    assert "GB free" in said
    now = datetime.now(UTC)
    with bot.engine.begin() as connection:
        twofa.open_request(connection, "icloud", now, now + timedelta(minutes=10))
    assert "“icloud”: wants a code; reply here" in say("health")
    assert "nothing waits" in said


def test_health_names_a_folder_that_is_away(bot: TheBot, say: Say) -> None:
    bot.platform.roots["library"].rename(bot.folder / "elsewhere")
    assert "Away: the folder of library" in say("health")


def test_pause_resume_and_run_are_switches(bot: TheBot, say: Say) -> None:
    assert "Nothing was paused" in say("resume")
    say("pause")
    with bot.engine.connect() as connection:
        assert switches.paused_since(connection) is not None
    assert "Paused" in say("status") and "Paused" in say("health")
    assert "The daemon" not in say("resume")
    assert "mediapipe-assets up" in say("run")
    with bot.engine.begin() as connection:
        assert switches.run_asked_at(connection) is not None
        assert switches.paused_since(connection) is None
        heartbeats.beat(connection, heartbeats.SENSORS)
    assert "starts within a minute" in say("run")


def test_logs_name_what_failed_without_its_folder(bot: TheBot, say: Say) -> None:
    assert "No problems" in say("logs")
    with bot.engine.begin() as connection:
        add_observation(
            connection,
            state="failed",
            source_id="Home in Berlin/52.5200,13.4050/IMG_1.JPG",
            reason="reading is not allowed at /mnt/Home in Berlin/52.5200,13.4050/IMG_1.JPG; check the owner",
        )
        tell(connection, Notice("k", "disk", "error", "The disk of the archive is nearly full"))
        tell(connection, Notice("r", "run", "error", "A run failed", "Where: originals\n/mnt/Berlin/x is away.\nWhat"))
    said = say("logs")
    assert "The disk of the archive is nearly full" in said
    assert "1 file not stored" in said and "IMG_1.JPG" in said and "check the owner" in said
    assert "A run failed\n  Where: originals\n  x is away.\n" in said
    assert "52.5200" not in said and "Berlin" not in said


@pytest.mark.parametrize(
    "words, left",
    [
        ("gone at /mnt/nas/a b/IMG_1.JPG", "gone at IMG_1.JPG"),
        ("gone at sub/IMG_1.JPG now", "gone at IMG_1.JPG now"),
        ("it is 3 KB", "it is 3 KB"),
        ("gone at “/mnt/a, b/52.1,13.4/IMG_1.JPG”; look", "gone at “IMG_1.JPG”; look"),
        ("from ~/a/b.jpg to /c/d.jpg", "from d.jpg"),
        ("run /2fa", "run /2fa"),
    ],
)
def test_folders_are_cut_off(words: str, left: str) -> None:
    assert without_folders(words) == left


@pytest.mark.parametrize("seconds, words", [(3, "3 s"), (60, "1 minute"), (7_300, "2 hours"), (2 * 86_400, "2 days")])
def test_a_span_is_told_in_its_largest_unit(seconds: int, words: str) -> None:
    assert ago(timedelta(seconds=seconds)) == words


def test_2fa_has_apple_send_a_code_which_is_then_asked_for(
    bot: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    with bot.running():
        telegram.says("/2fa")
        telegram.waits_for("Apple has sent a code")
        question = telegram.waits_for("Apple wants a code")
        assert account.code is not None
        telegram.says(account.code)
        telegram.until(lambda: "Apple took the code" in question.text)
        telegram.says("/2fa")
        telegram.waits_for("no code is needed")


def test_2fa_for_an_account_that_is_not_there_names_those_that_are(bot: TheBot, say: Say) -> None:
    assert say("2fa", "another") == "There is no account “another”. Say for which account: /2fa icloud"


def test_other_words_are_answered_with_what_is_understood(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        telegram.says("hello")
        telegram.waits_for("/help lists them")
