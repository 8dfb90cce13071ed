"""Quiet hours, and the daily digest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from catalog import notification_sends as sends
from resources.messages import TryLater
from tests.the_catalog import add_content
from tests.the_outbox import Clock, FakeChannel, a_sender, settle, tell_one

BERLIN = {"timezone": "Europe/Berlin"}
NIGHT = {**BERLIN, "notify": {"quiet_hours": "22:00-07:00", "digest_hour": -1}}
EVENING = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)  # 21:00 there
HOUR = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock(EVENING)


def arrive(engine: Engine, at: datetime, size: int = 2_000_000) -> None:
    with engine.begin() as connection:
        add_content(connection, created_at=at, size=size)


def test_in_quiet_hours_only_what_is_critical_comes_and_the_rest_in_one_message_after_them(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    channel = FakeChannel()
    sender = a_sender(engine, tmp_path, clock, [channel], **NIGHT)
    clock.go_on(2 * HOUR)  # 23:00
    for number in range(3):
        tell_one(engine, f"error {number}")
    tell_one(engine, "The disk is full", "critical")
    settle(sender, clock)
    assert channel.titles == ["The disk is full"]
    for _ in range(5):
        clock.go_on(HOUR)
        sender.step()
    assert len(channel.taken) == 1
    clock.go_on(3 * HOUR)  # past 7:00
    sender.step()
    assert channel.titles[1:] == ["error 0 – and 2 more"]


def test_what_failed_before_the_quiet_hours_is_not_tried_in_them(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel(troubles=[TryLater("away")])
    sender = a_sender(engine, tmp_path, clock, [channel], **NIGHT)
    clock.go_on(HOUR - 3)  # 21:59:57
    tell_one(engine, "first")
    settle(sender, clock)
    for _ in range(9):
        clock.go_on(HOUR)
        sender.step()
    assert channel.attempts == 1
    clock.go_on(HOUR)
    sender.step()
    assert channel.titles == ["first"]


def test_the_digest_comes_once_a_day_with_the_figures_and_what_mattered_less(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    channel, other = FakeChannel(), FakeChannel("ntfy-1")
    sender = a_sender(engine, tmp_path, clock, [channel, other], **BERLIN)
    sender.step()
    arrive(engine, clock() + timedelta(minutes=5))
    tell_one(engine, "Two photos look alike", "info")
    for _ in range(12):
        sender.step()
        assert channel.taken == []
        clock.go_on(HOUR)
    for _ in range(3):  # 9:00 and after
        sender.step()
        arrive(engine, clock())
        clock.go_on(HOUR)
    (message,) = channel.taken
    assert message.title == "Daily digest, 2026-11-22"
    assert message.body == (
        "Arrived: 1 file, 2.0 MB\nMade smaller: 0, 0.0 MB saved\nDelivered: 0, verified: 0\n"
        "Now failed: 0, pending: 0\n\n• Two photos look alike"
    )
    assert (message.severity, message.count, other.taken) == ("info", 1, [])


def test_a_day_on_which_nothing_happened_is_not_told(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel()
    sender = a_sender(engine, tmp_path, clock, [channel], **BERLIN)
    arrive(engine, clock() - timedelta(days=1))  # before there was anybody to tell
    for _ in range(60):
        sender.step()
        clock.go_on(HOUR)
    assert channel.taken == []
    arrive(engine, clock())
    for _ in range(60):
        clock.go_on(HOUR)
        sender.step()
    assert len(channel.taken) == 1


def test_a_digest_that_was_missed_comes_when_the_sender_is_back(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel()
    a_sender(engine, tmp_path, clock, [channel], **BERLIN).step()
    arrive(engine, clock() + timedelta(minutes=5))
    clock.go_on(60 * HOUR)
    sender = a_sender(engine, tmp_path, clock, [channel], **BERLIN)
    sender.step()
    clock.go_on(60)
    sender.step()
    assert channel.titles == ["Daily digest, 2026-11-24"]


def test_a_digest_that_failed_is_sent_again_and_not_made_again(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channel = FakeChannel(troubles=[TryLater("away")] * 3)
    sender = a_sender(engine, tmp_path, clock, [channel], **BERLIN)
    sender.step()
    arrive(engine, clock() + timedelta(minutes=5))
    clock.go_on(13 * HOUR)
    for _ in range(40):
        sender.step()
        clock.go_on(5)
    assert (channel.titles, channel.attempts) == (["Daily digest, 2026-11-22"], 4)


def test_every_channel_may_get_the_digest_or_none(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    channels = [FakeChannel(), FakeChannel("ntfy-1")]
    a_sender(engine, tmp_path, clock, channels, notify={"digest": "all"}).step()
    tell_one(engine, "Two photos look alike", "info")
    settle(a_sender(engine, tmp_path, clock, channels, notify={"digest": "all"}), clock)
    a_sender(engine, tmp_path, clock, channels, notify={"digest": "urls"}).step()
    clock.go_on(24 * HOUR)
    sender = a_sender(engine, tmp_path, clock, channels, notify={"digest": "urls"})
    sender.step()
    assert [len(channel.taken) for channel in channels] == [0, 1]
    with engine.connect() as connection:
        assert {one.channel: (one.for_digest, one.given_up) for one in sends.backlog(connection)} == {
            "ntfy-1": (0, 0),
            "telegram": (0, 1),
        }


def test_what_is_over_is_forgotten_after_90_days_but_not_what_waits(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    channel, away = FakeChannel(), FakeChannel("ntfy-1", troubles=[TryLater("away")] * 10_000)
    sender = a_sender(engine, tmp_path, clock, [channel, away], notify={"digest_hour": -1})
    tell_one(engine, "sent and over", "warning")
    tell_one(engine, "sent, over, but not everywhere", topic="b")
    tell_one(engine, "holds", "warning", topic="c")
    settle(sender, clock)
    with engine.begin() as connection:
        connection.execute(text("UPDATE notifications SET resolved_at = :at WHERE title <> 'holds'"), {"at": clock()})
    for days, left in ((89, 3), (2, 2), (30, 2)):
        clock.go_on(days * 24 * HOUR)
        sender.step()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM notifications")).scalar_one() == left
