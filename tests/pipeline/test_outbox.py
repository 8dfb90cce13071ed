"""The sender: what goes where, in which order, and what it does when a channel does not take it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from catalog import notification_sends as sends
from catalog.notifications import Severity
from pipeline.outbox import BUSY_SECONDS, LOOK_SECONDS, Sender
from resources.messages import TELEGRAM, Message, TryLater, Unanswered, Unusable
from tests.the_outbox import Clock, FakeChannel, a_sender, settle, tell_one

AWAY = TryLater("it is away")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _step(sender: Sender) -> None:
    """Sends what is due as soon as the session of a sender that was killed has ended."""
    while sender.step() == BUSY_SECONDS:
        pass


def test_a_single_notice_keeps_its_own_words_and_gets_a_link(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel()
    tell_one(engine, "A run failed", body="Two files; start it again", path="/runs/7")
    settle(a_sender(engine, tmp_path, clock, [channel]), clock)
    assert channel.taken == [
        Message("A run failed", "Two files; start it again", "error", "http://127.0.0.1:3000/runs/7")
    ]
    with engine.connect() as connection:
        sent = connection.execute(text("SELECT state, remote_id, attempts, error FROM notification_sends")).one()
    assert tuple(sent) == ("sent", "1", 1, None)


def test_a_burst_of_500_is_one_message_with_a_count_and_a_sample(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel()
    sender = a_sender(engine, tmp_path, clock, [channel])
    for number in range(500):
        tell_one(engine, f"File {number} failed", body="Look at it")
    settle(sender, clock)
    (message,) = channel.taken
    assert message.title == "File 0 failed – and 499 more"
    assert message.count == 500
    assert "• File 4 failed\nLook at it\n\n… and 495 more" in message.body
    assert "File 5" not in message.body


def test_a_message_waits_until_nothing_more_comes_but_ten_seconds_at_most(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    channel = FakeChannel()
    sender = a_sender(engine, tmp_path, clock, [channel])
    for second in range(11):
        assert channel.taken == []
        tell_one(engine, f"At {second}")
        assert sender.step() <= 2 or second == 10
        clock.go_on(1)
    assert [message.count for message in channel.taken] == [11]


def test_topics_are_told_apart_and_in_the_order_in_which_they_began(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    channel = FakeChannel()
    for title, topic in (("a", "run"), ("b", "check"), ("c", "run"), ("d", "disk")):
        tell_one(engine, title, topic=topic)
    settle(a_sender(engine, tmp_path, clock, [channel]), clock)
    assert channel.titles == ["a – and 1 more", "b", "d"]


@pytest.mark.parametrize(
    ("least", "at_once"),
    [("info", ["info", "warning", "error", "critical"]), ("error", ["error", "critical"]), ("never", [])],
)
def test_what_matters_less_than_the_settings_ask_is_not_told_at_once(
    engine: Engine, tmp_path: Path, clock: Clock, least: str, at_once: list[str]
) -> None:
    telegram, mail = FakeChannel(), FakeChannel("mailto-1")
    severities: tuple[Severity, ...] = ("info", "warning", "error", "critical")
    for severity in severities:
        tell_one(engine, severity, severity, topic=severity)
    settle(a_sender(engine, tmp_path, clock, [telegram, mail], telegram={"least": least}), clock)
    assert telegram.titles == at_once
    assert mail.titles == ["error", "critical"]
    with engine.connect() as connection:
        waiting = {one.channel: (one.waiting, one.for_digest) for one in sends.backlog(connection)}
    assert waiting == {TELEGRAM: (0, 4 - len(at_once)), "mailto-1": (0, 0)}


def test_a_channel_that_fails_waits_as_a_whole_and_the_others_go_on(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    ill, well = FakeChannel(troubles=[AWAY, AWAY]), FakeChannel("ntfy-1")
    sender = a_sender(engine, tmp_path, clock, [ill, well])
    tell_one(engine, "first", topic="a")
    settle(sender, clock)
    tell_one(engine, "second", topic="b")
    settle(sender, clock)
    assert (ill.taken, ill.attempts, well.titles) == ([], 1, ["first", "second"])
    clock.go_on(3)  # five seconds after the first attempt
    assert sender.step() == 10  # twice as long after the second
    assert (ill.taken, ill.attempts) == ([], 2)
    clock.go_on(10)
    sender.step()
    assert ill.titles == ["first", "second"]


def test_the_pause_that_a_channel_asks_for_is_kept(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel(troubles=[TryLater("too many", seconds=17)])
    sender = a_sender(engine, tmp_path, clock, [channel])
    tell_one(engine, "first")
    settle(sender, clock)
    clock.go_on(16.9)
    assert 0.05 <= sender.step() <= 0.11
    assert channel.attempts == 1
    clock.go_on(0.1)
    sender.step()
    assert channel.titles == ["first"]


def test_an_hour_away_loses_nothing_repeats_nothing_and_keeps_the_order(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    channel = FakeChannel(troubles=[AWAY] * 1000)
    sender = a_sender(engine, tmp_path, clock, [channel])
    for minute in range(60):
        tell_one(engine, f"minute {minute}", topic=f"topic {minute}")
        sender.step()
        clock.go_on(60)
    assert channel.attempts < 25
    channel.troubles.clear()
    clock.go_on(300)  # the longest pause
    sender.step()
    assert channel.titles == [f"minute {minute}" for minute in range(60)]
    clock.go_on(3600)
    sender.step()
    assert len(channel.taken) == 60


def test_a_message_without_an_answer_is_repeated_and_says_so(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel(troubles=[Unanswered("no answer"), AWAY])
    sender = a_sender(engine, tmp_path, clock, [channel])
    tell_one(engine, "first", body="What it is")
    settle(sender, clock)
    clock.go_on(59)
    sender.step()
    assert channel.attempts == 1
    for _ in range(2):  # that it may have arrived is not forgotten over the failure that comes between
        clock.go_on(60)
        sender.step()
    assert channel.taken[0].body == (
        "Perhaps you have had this already: the last attempt to send it was not answered.\n\nWhat it is"
    )


def test_a_sender_that_was_killed_leaves_a_mark_and_the_next_one_repeats_with_a_word(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    class Killed(BaseException):
        pass

    class Deadly(FakeChannel):
        def send(self, message: Message) -> str | None:
            super().send(message)
            raise Killed

    killed, after = Deadly(), FakeChannel()
    tell_one(engine, "first")
    with pytest.raises(Killed):
        settle(a_sender(engine, tmp_path, clock, [killed]), clock)
    _step(a_sender(engine, tmp_path, clock, [after]))
    assert after.titles == ["first"]
    assert after.taken[0].body.startswith("Perhaps you have had this already")


def test_what_was_taken_while_the_catalog_was_away_is_recorded_later_and_not_repeated(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    class Cutting(FakeChannel):
        def send(self, message: Message) -> str | None:
            with engine.connect() as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                        "AND objid = :key AND granted"
                    ),
                    {"key": sends.SENDER_LOCK},
                )
            return super().send(message)

    channel = Cutting()
    sender = a_sender(engine, tmp_path, clock, [channel])
    tell_one(engine, "first")
    sender.step()
    clock.go_on(2)
    with pytest.raises(Exception, match=r"terminat|closed|connection"):
        sender.step()
    clock.go_on(3600)
    _step(sender)
    sender.step()
    assert channel.titles == ["first"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM notification_sends")).scalar_one() == "sent"


def test_an_unusable_channel_is_said_once_tried_slowly_and_at_once_by_a_new_sender(
    engine: Engine, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Unusable("Telegram does not know this token")
    channel = FakeChannel(troubles=[wrong, wrong, wrong])
    sender = a_sender(engine, tmp_path, clock, [channel])
    tell_one(engine, "first")
    with caplog.at_level(logging.INFO):
        settle(sender, clock)
        for _ in range(119):
            clock.go_on(60)
            sender.step()
    assert channel.attempts == 2
    assert [record.message for record in caplog.records if record.name == "pipeline.outbox"] == [
        "Messages to telegram wait and are not lost: Telegram does not know this token"
    ]
    with engine.connect() as connection:
        (status,) = sends.backlog(connection)
    assert (status.waiting, status.error) == (1, "unusable: Telegram does not know this token")
    corrected = FakeChannel()
    a_sender(engine, tmp_path, clock, [corrected]).step()
    assert corrected.titles == ["first"]
    assert corrected.taken[0].body == ""


def test_a_mistake_in_one_channel_does_not_silence_the_others(
    engine: Engine, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broken, well = FakeChannel(troubles=[ValueError("what it held")]), FakeChannel("ntfy-1")
    tell_one(engine, "first")
    settle(a_sender(engine, tmp_path, clock, [broken, well]), clock)
    assert (broken.titles, well.titles) == ([], ["first"])
    with engine.connect() as connection:
        error = next(one.error for one in sends.backlog(connection) if one.channel == TELEGRAM)
    assert error is not None and "mistake of this program (ValueError)" in error and "what it held" not in error
    assert any(record.exc_info for record in caplog.records)


def test_while_one_sender_sends_another_one_does_not(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(FakeChannel):
        def send(self, message: Message) -> str | None:
            entered.set()
            assert leave.wait(30)
            return super().send(message)

    slow, other = Slow(), FakeChannel()
    first, second = (a_sender(engine, tmp_path, clock, [one]) for one in (slow, other))
    tell_one(engine, "first")
    first.step()
    clock.go_on(2)
    working = threading.Thread(target=first.step)
    working.start()
    assert entered.wait(30)
    assert second.step() == BUSY_SECONDS
    leave.set()
    working.join(30)
    second.step()
    assert (slow.titles, other.titles) == (["first"], [])


def test_a_corrected_address_gets_what_the_wrong_one_could_not_send_and_nobody_gets_it_twice(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    wrong, well = FakeChannel("ntfy-1", [Unusable("wrong")] * 9), FakeChannel("json-1")
    tell_one(engine, "first")
    settle(a_sender(engine, tmp_path, clock, [wrong, well]), clock)
    corrected = FakeChannel("ntfy-2")
    a_sender(engine, tmp_path, clock, [corrected, well]).step()
    assert (corrected.titles, well.titles) == (["first"], ["first"])
    with engine.connect() as connection:
        assert {one.channel: one.given_up for one in sends.backlog(connection)} == {
            "ntfy-1": 1,
            "ntfy-2": 0,
            "json-1": 0,
        }


def test_what_waits_for_telegram_goes_to_nobody_else_while_the_bot_has_no_token(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    telegram, other = FakeChannel(troubles=[AWAY]), FakeChannel("ntfy-1")
    tell_one(engine, "first", "warning")
    settle(a_sender(engine, tmp_path, clock, [telegram]), clock)
    settle(a_sender(engine, tmp_path, clock, [other]), clock)
    clock.go_on(60)
    a_sender(engine, tmp_path, clock, [telegram, other]).step()
    assert (telegram.titles, other.titles) == (["first"], [])


def test_without_a_channel_what_is_told_stays_for_the_first_one(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    tell_one(engine, "first")
    assert a_sender(engine, tmp_path, clock, []).step() == LOOK_SECONDS
    channel = FakeChannel()
    settle(a_sender(engine, tmp_path, clock, [channel]), clock)
    assert channel.titles == ["first"]
