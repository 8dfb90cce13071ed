"""What the sender promises, whatever the channels do: everything arrives once, in order, on each of them."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import Engine, text

from catalog.notifications import Notice, tell
from resources.messages import Message, TryLater, Unanswered, Unusable
from tests.the_outbox import Clock, FakeChannel, a_sender

TROUBLES = some.sampled_from(
    [None, None, TryLater("away"), TryLater("too many", 40), Unanswered("no answer"), Unusable("a wrong token")]
)
# What happens, one after the other: a notice of a topic, or some time that goes by, or another process that takes over.
HAPPENINGS = some.lists(
    some.tuples(some.just("tell"), some.sampled_from("abc"))
    | some.tuples(some.just("wait"), some.sampled_from([1, 3, 30, 600]))
    | some.tuples(some.just("restart"), some.just(0)),
    min_size=1,
    max_size=12,
)
_home = itertools.count()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=HAPPENINGS, one=some.lists(TROUBLES, max_size=5), other=some.lists(TROUBLES, max_size=5))
def test_every_notice_arrives_exactly_once_on_each_channel_and_in_order(
    engine: Engine,
    tmp_path: Path,
    happenings: list[tuple[str, str | int]],
    one: list[Exception | None],
    other: list[Exception | None],
) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE notifications, notification_sends RESTART IDENTITY"))
    clock, channels = Clock(), [FakeChannel("telegram", [*one]), FakeChannel("ntfy-1", [*other])]
    home = tmp_path / str(next(_home))
    sender = a_sender(engine, home, clock, channels)
    told: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for number, (what, value) in enumerate(happenings):
        if what == "tell":
            told[str(value)].append(f"N{number}")
            with engine.begin() as connection:
                tell(connection, Notice(f"N{number}", str(value), "error", "A check failed", f"N{number}"))
        elif what == "wait":
            clock.go_on(float(value))
        else:
            sender = a_sender(engine, home, clock, channels)
        sender.step()
    for _ in range(12):  # troubles end
        clock.go_on(3600)
        sender.step()
    for channel in channels:
        assert _sorted_by_topic(channel.taken, told) == told
        assert _begins(channel.taken) == sorted(_begins(channel.taken))


def _numbers(message: Message) -> list[int]:
    return [int(word[1:]) for word in message.body.split() if word[0] == "N" and word[1:].isdigit()]


def _begins(taken: list[Message]) -> list[int]:
    return [_numbers(message)[0] for message in taken]


def _sorted_by_topic(taken: list[Message], told: dict[str, list[str]]) -> dict[str, list[str]]:
    topic_of = {name: topic for topic, names in told.items() for name in names}
    found: dict[str, list[str]] = {topic: [] for topic in told}
    for message in taken:
        names = [f"N{number}" for number in _numbers(message)]
        # A long one names a sample and counts the rest, which came in the order of the outbox.
        hidden = message.count - len(names)
        topic = topic_of[names[0]]
        begin = len(found[topic]) + len(names)
        found[topic] += [*names, *told[topic][begin : begin + hidden]]
    return found
