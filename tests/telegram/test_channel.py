"""The channel of alerts: what each answer of Telegram means for a message, in words without a secret."""

from __future__ import annotations

import socket

import pytest
from telegram.error import BadRequest, ChatMigrated, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter

from resources.messages import Message, TryLater, Unanswered, Unusable
from resources.settings_alerts import TelegramSettings
from resources.telegram import TelegramChannel, as_html, in_words
from tests.telegram_standin import OWNER, TOKEN, Fault, TelegramStandin

ALERT = Message("It failed", "what to do", "error", "http://127.0.0.1:3000/runs/1")


def channel(url: str, chat: int = OWNER) -> TelegramChannel:
    return TelegramChannel(TelegramSettings.model_validate({"bot_token": TOKEN, "chat_id": chat, "base_url": url}))


def test_a_message_that_is_taken_has_a_number(telegram: TelegramStandin) -> None:
    assert channel(telegram.url).send(ALERT) == str(telegram.messages[0].id)
    assert telegram.texts() == ["❌ <b>It failed</b>\nwhat to do\nhttp://127.0.0.1:3000/runs/1"]


def test_the_longest_message_of_the_outbox_is_taken_however_much_of_it_is_escaped(telegram: TelegramStandin) -> None:
    channel(telegram.url).send(Message("&" * 200, "<" * 3_400, "critical", "h" * 300))
    assert len(telegram.texts()[0]) > 4_096


def test_a_telegram_that_asks_for_patience_says_for_how_long(telegram: TelegramStandin) -> None:
    telegram.faults.append(Fault(429, retry_after=37))
    with pytest.raises(TryLater) as later:
        channel(telegram.url).send(ALERT)
    assert later.value.seconds == 37


@pytest.mark.parametrize("status", [500, 502])
def test_a_telegram_in_trouble_is_tried_later(status: int, telegram: TelegramStandin) -> None:
    telegram.faults.append(Fault(status))
    with pytest.raises(TryLater, match="trouble of its own"):
        channel(telegram.url).send(ALERT)


def test_a_line_that_is_dead_is_tried_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(TryLater, match="cannot be reached"):
            channel(f"http://127.0.0.1:{unused.getsockname()[1]}").send(ALERT)


def test_of_an_answer_that_was_lost_nobody_knows_whether_it_arrived(telegram: TelegramStandin) -> None:
    telegram.faults.append(Fault(0, after=True))
    with pytest.raises(Unanswered):
        channel(telegram.url).send(ALERT)
    assert len(telegram.messages) == 1


def test_a_token_that_is_not_known_needs_a_person_and_is_not_shown(telegram: TelegramStandin) -> None:
    telegram.token = "1:another"
    with pytest.raises(Unusable, match="does not know this bot token") as found:
        channel(telegram.url).send(ALERT)
    assert TOKEN not in str(found.value) and TOKEN not in repr(found.value.__cause__)


def test_a_chat_that_is_closed_needs_a_person(telegram: TelegramStandin) -> None:
    telegram.closed_chats.add(5)
    with pytest.raises(Unusable, match="The chat is 5; mediapipe-assets telegram setup"):
        channel(telegram.url, chat=5).send(ALERT)


def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    assert channel(telegram.url).send(ALERT)


def test_a_proxy_of_the_environment_is_used_for_any_other(
    telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy is asked for the whole address; the stand-in knows no such path and says that there is no such token.
    monkeypatch.setenv("HTTP_PROXY", telegram.url)
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(Unusable):
        channel("http://telegram.example").send(ALERT)
    assert telegram.calls


@pytest.mark.parametrize(
    "error, words",
    [
        (InvalidToken(f"The token `{TOKEN}` was rejected by the server."), "@BotFather"),
        (Conflict("terminated by other getUpdates request"), "Another program"),
        (Forbidden("bot was kicked"), "Let it in again"),
        (ChatMigrated(-100), "telegram.chat_id to -100"),
        (RetryAfter(5), "5 s"),
        (BadRequest("Chat not found"), "Chat not found"),
        (NetworkError(f"Unknown error in HTTP implementation: /bot{TOKEN}"), "trouble of its own"),
    ],
)
def test_every_error_has_words_of_ours(error: Exception, words: str) -> None:
    assert words in in_words(error)  # type: ignore[arg-type]
    assert TOKEN not in in_words(error)  # type: ignore[arg-type]


def test_a_message_without_body_or_link_is_its_title() -> None:
    assert as_html(Message("A & B", "", "info")) == "ℹ️ <b>A &amp; B</b>"
