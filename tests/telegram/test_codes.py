"""Apple's codes by Telegram: the question, the reply, every refusal, and a process that waits meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from catalog import twofa
from pipeline import twofa as codes
from pipeline.icloud_account import ask_for_code, enter_code
from services.bot_conversation import six_digits
from services.icloud_standin import Account
from tests.telegram.conftest import MakeBot, TheBot
from tests.telegram_standin import OWNER, STRANGER, Fault, Message, TelegramStandin

QUESTION = "Apple wants a code for “icloud”"


@pytest.fixture
def question(asked: TheBot, telegram: TelegramStandin) -> Iterator[Message]:
    """The bot runs and has asked."""
    with asked.running():
        found = telegram.waits_for(QUESTION)
        telegram.until(lambda: asked.request is not None and asked.request.message_id == found.id)
        yield found


def wrong(account: Account) -> str:
    return "000000" if account.code != "000000" else "111111"


@pytest.mark.parametrize("text", ["123456", "123 456", "123-456", " 123456\n", "123\u00a0456"])
def test_six_digits_are_a_code_however_they_are_parted(text: str) -> None:
    assert six_digits(text) == "123456"


@pytest.mark.parametrize(
    "text", ["12345", "1234567", "my code is 123456", "12 34 56", "/2fa", "", "١٢٣٤٥٦", "123--456"]
)
def test_anything_else_is_none(text: str) -> None:
    assert six_digits(text) is None


def test_a_reply_with_the_code_signs_in_and_leaves_no_trace_in_the_chat(
    question: Message, asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    assert [one["text"] for one in question.buttons] == ["Cancel"]
    code = account.code
    assert code is not None
    reply = telegram.says(f"{code[:3]} {code[3:]}")
    telegram.until(lambda: "Apple took the code" in question.text)
    assert reply in telegram.deleted
    assert not question.buttons
    assert asked.request is None
    assert not any(code in text or code[:3] + " " in text for text in telegram.texts())


def test_who_waits_is_woken_by_the_reply_and_not_by_looking(
    question: Message, asked: TheBot, account: Account, telegram: TelegramStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "POLL_SECONDS", 3_600.0)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(codes.wait_for_code, asked.engine, "icloud")
        time.sleep(0.2)
        assert not waits.done()
        assert account.code is not None
        began = time.monotonic()
        telegram.says(account.code)
        assert waits.result(timeout=60)
    print(f"\nfrom the reply to whoever waits, Apple's answer included: {time.monotonic() - began:.2f} s")


def test_a_wrong_code_is_said_so_and_the_right_one_still_taken(
    question: Message, account: Account, telegram: TelegramStandin
) -> None:
    bad = telegram.says(wrong(account))
    telegram.until(lambda: "did not take this code" in question.text)
    assert "1 of 3" in question.text and wrong(account) not in question.text and question.buttons
    assert account.code is not None
    telegram.says(account.code)
    telegram.until(lambda: "Apple took the code" in question.text)
    assert bad in telegram.deleted


def test_three_wrong_codes_end_it(question: Message, account: Account, telegram: TelegramStandin) -> None:
    for code in [one for one in ("000000", "111111", "222222", "333333") if one != account.code][:3]:
        telegram.says(code)
    telegram.until(lambda: "that was the last try" in question.text)
    assert not question.buttons


def test_a_code_that_was_tried_before_is_refused(
    question: Message, account: Account, telegram: TelegramStandin
) -> None:
    telegram.says(wrong(account))
    telegram.says(wrong(account))
    telegram.waits_for("was used already")
    assert "1 of 3" in question.text


def test_a_code_that_nobody_asked_for_is_deleted_and_refused(bot: TheBot, telegram: TelegramStandin) -> None:
    with bot.running():
        sent = telegram.says("123456")
        telegram.waits_for("Nobody asked for a code")
    assert sent in telegram.deleted


def test_a_code_that_is_older_than_the_question_is_refused(
    asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    assert account.code is not None
    telegram.says(account.code, date=time.time() - 3_600)
    with asked.running():
        telegram.waits_for("older than the question")
    assert asked.request is not None


def test_a_code_that_was_sent_while_the_bot_was_down_arrives_after_it_starts(
    asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    assert account.code is not None
    sent = telegram.says(account.code, date=time.time() + 1)
    with asked.running():
        telegram.waits_for("Apple took the code")
        telegram.until(lambda: sent in telegram.deleted)
    assert asked.request is None


@pytest.mark.parametrize(
    "who", [{"chat": STRANGER}, {"chat": -99, "sender": OWNER}, {"chat": OWNER, "sender": STRANGER}]
)
def test_a_stranger_is_not_heard_and_gets_no_answer(
    who: dict[str, int], question: Message, asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    before = len(telegram.messages)
    assert account.code is not None
    telegram.says(account.code, **who)
    telegram.until(telegram.read)
    assert asked.request is not None and asked.request.wrong_codes == 0
    assert len(telegram.messages) == before and not telegram.deleted


def test_a_stranger_cannot_cancel(question: Message, asked: TheBot, telegram: TelegramStandin) -> None:
    telegram.presses(question, "Cancel", sender=STRANGER)
    telegram.until(telegram.read)
    assert asked.request is not None and not telegram.toasts


def test_a_message_that_is_edited_is_no_answer(
    question: Message, asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    assert account.code is not None
    telegram.says(account.code, edited=True)
    telegram.until(telegram.read)
    assert asked.request is not None


def test_in_a_group_only_those_who_are_named_are_heard(
    make_bot: MakeBot, account: Account, telegram: TelegramStandin
) -> None:
    group = -4_000
    bot = make_bot(MEDIAPIPE_TELEGRAM__CHAT_ID=str(group), MEDIAPIPE_TELEGRAM__SENDERS="5, 6")
    ask_for_code(bot.engine, bot.platform.icloud.accounts["icloud"])
    assert account.code is not None
    with bot.running():
        question = telegram.waits_for(QUESTION)
        telegram.says(account.code, chat=group, sender=7)
        telegram.until(telegram.read)
        assert bot.request is not None
        telegram.says(account.code, chat=group, sender=6)
        telegram.until(lambda: "Apple took the code" in question.text)


def test_cancel_ends_the_request_and_whoever_waits(question: Message, asked: TheBot, telegram: TelegramStandin) -> None:
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(codes.wait_for_code, asked.engine, "icloud")
        telegram.presses(question, "Cancel")
        assert waits.result(timeout=60) is False
    telegram.until(lambda: "Canceled" in question.text)
    assert telegram.toasts == ["Canceled."]


def test_the_question_says_how_it_ended_elsewhere(
    question: Message, asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    assert account.code is not None
    assert enter_code(asked.engine, asked.platform.icloud.accounts["icloud"], account.code)
    telegram.until(lambda: "Apple took the code" in question.text)


def test_what_ended_while_the_bot_was_down_is_said_when_it_is_back(asked: TheBot, telegram: TelegramStandin) -> None:
    with asked.running():
        question = telegram.waits_for(QUESTION)
        telegram.until(lambda: asked.request is not None and asked.request.message_id)
    with asked.engine.begin() as connection:
        twofa.expire(connection, datetime.now(UTC) + timedelta(hours=1))
    with asked.running():
        telegram.until(lambda: "That took too long" in question.text)
    assert len(telegram.messages) == 1


def test_a_request_is_asked_for_once_although_the_bot_starts_anew(asked: TheBot, telegram: TelegramStandin) -> None:
    for _ in range(2):
        with asked.running():
            telegram.until(lambda: asked.request is not None and asked.request.message_id)
    assert len(telegram.messages) == 1


def test_a_message_with_a_code_is_deleted_although_telegram_stumbles(
    question: Message, asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    telegram.faults.append(Fault(502, "deletemessage", times=4))
    assert account.code is not None
    sent = telegram.says(account.code)
    telegram.until(lambda: asked.request is None)
    telegram.until(lambda: sent in telegram.deleted)


def test_a_code_is_in_no_log_and_no_table(
    asked: TheBot, account: Account, telegram: TelegramStandin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert account.code is not None
    code = account.code
    with asked.running():
        question = telegram.waits_for(QUESTION)
        telegram.says(wrong(account))
        telegram.says(code)
        telegram.until(lambda: "Apple took the code" in question.text)
        telegram.says(code)
        telegram.waits_for("Nobody asked")
    lines = [record.getMessage() for record in caplog.records]
    assert any("accepted" in line for line in lines)
    secrets = (code, wrong(account), telegram.token)
    assert not [line for line in lines if any(one in line for one in secrets)]
    tables = [row[0] for row in asked.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'mediapipe'")]
    rows = [str(row[0]) for name in tables for row in asked.rows(f'SELECT t::text FROM "{name}" t')]
    assert rows and not [row for row in rows if any(one in row for one in secrets)]


def test_two_accounts_are_asked_for_one_after_the_other(
    asked: TheBot, account: Account, telegram: TelegramStandin
) -> None:
    now = datetime.now(UTC)
    with asked.engine.begin() as connection:
        twofa.open_request(connection, "second", now, now + timedelta(minutes=10))
    with asked.running():
        telegram.waits_for(QUESTION)
        assert account.code is not None
        telegram.says(account.code)
        telegram.waits_for("Apple wants a code for “second”")


def test_threads_of_the_bot_end_with_it(bot: TheBot, telegram: TelegramStandin) -> None:
    before = threading.active_count()
    with bot.running():
        telegram.until(lambda: "getupdates" in telegram.calls)
    assert threading.active_count() <= before + 2  # the stand-in's own, for connections that are being closed
