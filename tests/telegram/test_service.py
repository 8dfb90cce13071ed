"""The bot's process: what it survives, what it says then, and that nothing is lost or sent twice."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from catalog import heartbeats, twofa
from catalog.notifications import Notice, tell
from services.telegram_bot import BotService, NoChannel
from tests.telegram.conftest import MakeBot, TheBot
from tests.telegram_standin import TOKEN, Fault, Refusal, TelegramStandin


def told(bot: TheBot, *titles: str) -> None:
    for title in titles:
        with bot.engine.begin() as connection:
            tell(connection, Notice(title, title, "error", title, "look at it"))


def last_beat(bot: TheBot) -> datetime | None:
    with bot.engine.connect() as connection:
        return heartbeats.last_beat(connection, heartbeats.BOT)


def waits(bot: TheBot) -> int:
    return len(bot.rows("SELECT 1 FROM notification_sends WHERE state = 'due'"))


def test_what_is_told_is_sent_at_once_and_in_order(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        told(bot, "first", "second")
        telegram.waits_for("second")
    assert [one.splitlines()[0] for one in telegram.texts()] == ["❌ <b>first</b>", "❌ <b>second</b>"]


def test_what_is_told_is_shown_as_it_is_written(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        told(bot, "a < b & <i>c</i>")
        assert "a &lt; b &amp; &lt;i&gt;c&lt;/i&gt;" in telegram.waits_for("look at it").text


def test_while_telegram_is_away_nothing_is_lost_and_then_each_comes_once_and_in_order(
    bot: TheBot, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.outbox.pause", lambda attempt: timedelta(seconds=0.1))
    monkeypatch.setattr("pipeline.outbox.unanswered_pause", lambda attempt: timedelta(seconds=0.1))
    telegram.away = True
    with bot.running():
        told(bot, "first", "second")
        telegram.until(lambda: bot.rows("SELECT 1 FROM notification_sends WHERE attempts > 1"))
        telegram.away = False
        telegram.waits_for("second")
        telegram.says("/help")
        telegram.waits_for("/status")
    titles = [one.splitlines()[0] for one in telegram.texts()]
    assert [one for one in titles if "<b>" in one] == ["❌ <b>first</b>", "❌ <b>second</b>"]


@pytest.mark.parametrize(
    "fault", [Fault(429, "sendmessage", retry_after=1), Fault(502, "sendmessage", times=2), Fault(500, "sendmessage")]
)
def test_a_telegram_that_stumbles_gets_the_message_once(
    fault: Fault, bot: TheBot, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.outbox.pause", lambda attempt: timedelta(seconds=0.1))
    telegram.faults.append(Fault(**vars(fault)))
    with bot.running():
        told(bot, "first")
        telegram.waits_for("first")
        telegram.until(lambda: waits(bot) == 0)
    assert len(telegram.messages) == 1


@pytest.mark.parametrize(
    "fault", [Fault(502, times=3), Fault(429, retry_after=1), Fault(409, "getupdates", times=2), Fault(0, times=2)]
)
def test_commands_are_heard_again_after_a_trouble(fault: Fault, bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        telegram.until(lambda: telegram.commands)
        telegram.faults.append(Fault(**vars(fault)))
        telegram.says("/help")
        telegram.waits_for("/status")


def test_another_program_that_polls_is_named_and_the_bot_goes_on(
    bot: TheBot, telegram: TelegramStandin, caplog: pytest.LogCaptureFixture
) -> None:
    with bot.running():
        caplog.set_level(logging.INFO)

        def said() -> bool:
            with contextlib.suppress(Refusal):  # the bot asks again, and ends this one in turn
                telegram.answer(TOKEN, "getupdates", {"timeout": "0.2"})
            return "Another program fetches this bot's messages" in caplog.text

        telegram.until(said)
        telegram.says("/help")
        telegram.waits_for("/status")
    assert "works again" in caplog.text


def test_a_webhook_is_named(bot: TheBot, telegram: TelegramStandin, caplog: pytest.LogCaptureFixture) -> None:
    telegram.webhook = "https://example.com/hook"
    with bot.running():
        telegram.until(lambda: any("webhook" in one.getMessage() for one in caplog.records))
    assert telegram.webhook


def test_a_wrong_token_is_named_and_nothing_waits_for_a_bot_that_hears_nothing(
    bot: TheBot, telegram: TelegramStandin, caplog: pytest.LogCaptureFixture
) -> None:
    telegram.token = "1:another"
    with bot.running():
        telegram.until(lambda: any("does not know this bot token" in one.getMessage() for one in caplog.records))
        with bot.engine.begin() as connection:
            heartbeats.stop_beating(connection, heartbeats.BOT)
        told(bot, "first")
        telegram.until(lambda: bot.rows("SELECT 1 FROM notification_sends WHERE error IS NOT NULL"))
    assert last_beat(bot) is None
    assert not any(TOKEN in one.getMessage() for one in caplog.records)
    assert not any(TOKEN in str(row) for row in bot.rows("SELECT * FROM notification_sends"))
    telegram.token = TOKEN
    with bot.running():
        telegram.waits_for("first")


def test_a_token_that_is_corrected_is_taken_up_without_a_restart(bot: TheBot, telegram: TelegramStandin) -> None:
    bot.environ["MEDIAPIPE_TELEGRAM__BOT_TOKEN"] = "987654321:" + "wrong-token_" * 3
    with bot.running():
        told(bot, "first")
        telegram.until(lambda: telegram.calls.count("getupdates") >= 2)
        bot.environ["MEDIAPIPE_TELEGRAM__BOT_TOKEN"] = TOKEN
        telegram.waits_for("first")
        telegram.says("/help")
        telegram.waits_for("/status")


def test_a_chat_that_is_closed_is_named_and_nothing_is_lost(bot: TheBot, telegram: TelegramStandin) -> None:
    telegram.closed_chats.add(4711)
    with bot.running():
        told(bot, "first")
        telegram.until(lambda: bot.rows("SELECT 1 FROM notification_sends WHERE error LIKE '%was blocked%'"))
    telegram.closed_chats.clear()
    with bot.running():
        telegram.waits_for("first")


def test_the_bot_says_that_it_is_alive_and_that_it_ends_on_purpose(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        telegram.until(lambda: last_beat(bot))
    assert last_beat(bot) is None


def test_what_was_dealt_with_is_not_brought_again(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        telegram.says("/help")
        telegram.waits_for("/status")
    assert telegram.read()


def test_what_a_dead_database_kept_from_being_heard_is_heard_when_it_is_back(
    bot: TheBot, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, times = twofa.has_answered, iter(range(2))

    def away(connection: Connection, update_id: int) -> bool:
        if next(times, None) is not None:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return asked(connection, update_id)

    monkeypatch.setattr("catalog.twofa.has_answered", away)
    with bot.running():
        sent = telegram.says("123456")
        telegram.waits_for("Nobody asked for a code")
    assert sent in telegram.deleted and len(telegram.messages) == 1


def test_every_part_of_the_bot_outlives_the_sessions_of_the_database(bot: TheBot, telegram: TelegramStandin) -> None:
    end = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND application_name = 'mediapipe-assets'"
    )
    with bot.running():
        telegram.until(lambda: telegram.commands and last_beat(bot))
        with bot.engine.begin() as connection:
            connection.execute(end)
        told(bot, "first")
        telegram.waits_for("first")
        now = datetime.now(UTC)
        with bot.engine.begin() as connection:
            twofa.open_request(connection, "icloud", now, now + timedelta(minutes=10))
        telegram.waits_for("Apple wants a code")


def test_a_mistake_in_one_answer_does_not_end_the_bot(
    bot: TheBot, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("services.bot_commands._status", fails)
    with bot.running():
        telegram.says("/status")
        telegram.says("/help")
        telegram.waits_for("/status")
    assert any("passed over" in one.getMessage() for one in caplog.records)


def test_the_daemon_is_watched_by_the_bot(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.engine.begin() as connection:
        heartbeats.beat(connection, heartbeats.SENSORS)
        connection.execute(text("UPDATE heartbeats SET at = now() - interval '1 day'"))
    with bot.running():
        telegram.waits_for("Nothing watches your photos")


def test_the_menu_shows_every_command(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        telegram.until(lambda: telegram.commands)
    assert telegram.commands == ["status", "summary", "health", "run", "pause", "resume", "2fa", "logs", "help"]


def test_without_a_channel_there_is_nothing_to_run(make_bot: MakeBot) -> None:
    bot = make_bot(MEDIAPIPE_TELEGRAM__CHAT_ID="")
    with pytest.raises(NoChannel, match="telegram setup"):
        BotService(bot.engine, bot.load).run()


def test_without_a_bot_the_other_channels_are_served_and_nobody_waits_for_codes(
    make_bot: MakeBot, telegram: TelegramStandin
) -> None:
    bot = make_bot(MEDIAPIPE_TELEGRAM__CHAT_ID="", MEDIAPIPE_NOTIFY__URLS="json://127.0.0.1:9/none")
    with bot.running():
        told(bot, "first")
        telegram.until(lambda: bot.rows("SELECT 1 FROM notification_sends WHERE error IS NOT NULL"))
    assert not telegram.calls and last_beat(bot) is None


def test_no_log_line_holds_the_token(bot: TheBot, telegram: TelegramStandin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    telegram.faults += [Fault(502, times=2), Fault(401, "getupdates"), Fault(404, "getupdates")]
    with bot.running():
        told(bot, "first")
        telegram.says("/help")
        telegram.waits_for("/status")
    assert caplog.records
    assert not [one for one in caplog.records if TOKEN in f"{one.getMessage()}{one.exc_text}"]
