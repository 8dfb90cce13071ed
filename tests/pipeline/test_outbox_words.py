"""The words of a message, and their length."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from catalog.notification_sends import DIGEST, MAYBE_SENT, Waiting
from pipeline.outbox_words import cut, message_of
from tests.the_outbox import START

WEB = "http://127.0.0.1:3000"
ROW = Waiting(1, "check", "error", "A check failed", "3 files", "/runs/1", START, START, False, 0, None)
TELEGRAM_TAKES = 4096

rows = some.builds(
    Waiting,
    id=some.integers(1, 9),
    topic=some.sampled_from(["check", DIGEST]),
    severity=some.sampled_from(["info", "warning", "error", "critical"]),
    title=some.text(max_size=5000),
    body=some.text(max_size=9000),
    path=some.none() | some.text(max_size=5000),
    routed_at=some.just(START),
    due_at=some.just(START + timedelta(hours=1)),
    digest=some.booleans(),
    attempts=some.integers(0, 3),
    error=some.sampled_from([None, "away", f"{MAYBE_SENT}no answer"]),
)


def several(**given: Any) -> list[Waiting]:
    return [replace(ROW, id=number, **{**given, "body": f"{number} files"}) for number in range(1, 8)]


@given(some.lists(rows, min_size=1, max_size=20), some.booleans())
def test_a_message_is_never_longer_than_a_messenger_takes(found: list[Waiting], digest: bool) -> None:
    message = message_of([replace(row, digest=digest) for row in found], WEB)
    parts = [message.title, message.body, message.link or ""]
    assert sum(len(part.encode("utf-16-le", "replace")) // 2 for part in parts) + 4 <= TELEGRAM_TAKES


def test_a_cut_text_says_so_and_stays_whole_characters() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert cut("a📷📷", 4) == "a📷…"  # a picture counts twice


def test_the_same_words_many_times_are_counted() -> None:
    message = message_of(several(), WEB)
    assert message.title == "7 × A check failed"
    assert message.body.split("\n\n") == [*(f"{number} files" for number in range(1, 6)), "… and 2 more"]
    assert (message.count, message.link) == (7, f"{WEB}/runs/1")


def test_many_that_lead_to_different_pages_lead_to_the_one_above_if_there_is_one() -> None:
    assert message_of([ROW, replace(ROW, path="/runs/2")], WEB).link == f"{WEB}/runs"
    assert message_of([ROW, replace(ROW, path="/assets/2")], WEB).link is None
    assert message_of([ROW, replace(ROW, path=None)], WEB).link is None


def test_the_worst_of_many_says_how_much_they_matter() -> None:
    assert message_of([replace(ROW, severity="info"), ROW, replace(ROW, severity="warning")], WEB).severity == "error"


def test_a_digest_has_the_day_first_and_then_what_was_told_less_loudly() -> None:
    day = replace(ROW, id=9, topic=DIGEST, severity="info", title="Daily digest", body="Arrived: 3 files", path=None)
    told = [replace(ROW, title="A photo looks like another"), replace(ROW, title="A photo looks like another")]
    message = message_of([replace(row, digest=True) for row in (*told, ROW, day)], WEB)
    assert (message.title, message.count) == ("Daily digest", 3)
    assert message.body == "Arrived: 3 files\n\n• A photo looks like another (2 times)\n• A check failed"
