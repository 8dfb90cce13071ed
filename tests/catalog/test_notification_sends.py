"""The rows that say what goes where: who may send, what is left, and the figures of a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from catalog import notification_sends as sends
from catalog.day import DayCounts, day_counts
from catalog.logs import log_event
from catalog.notification_sends import MAYBE_SENT, Route
from catalog.notifications import Notice, Severity, tell
from tests.the_catalog import add_content, sha

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ALL = ("info", "warning", "error", "critical")


def add(connection: Connection, title: str, severity: Severity = "error") -> None:
    tell(connection, Notice(title, "check", severity, title))


def test_one_session_sends_at_a_time_and_a_session_that_ends_lets_the_next_one(engine: Engine) -> None:
    with sends.only_sender(engine) as first:
        assert first is not None
        with sends.only_sender(engine) as second:
            assert second is None
    assert _may_send(engine)
    with pytest.raises(RuntimeError), sends.only_sender(engine) as third:
        assert third is not None
        raise RuntimeError
    while not _may_send(engine):
        pass  # the server notices a moment later; pytest's own limit of time holds


def _may_send(engine: Engine) -> bool:
    with sends.only_sender(engine) as session:
        return session is not None


def test_each_notification_is_routed_once_to_each_channel_that_wants_it(connection: Connection) -> None:
    routes = [Route("telegram", ("error", "critical"), LATER), Route("mail", ("critical",), None)]
    for title, severity in (("a", "info"), ("b", "error"), ("c", "critical")):
        add(connection, title, severity)
    for _ in range(2):
        sends.route(connection, routes, NOW)
    found = {
        name: [(one.title, one.digest, one.due_at) for one in sends.waiting(connection, name)]
        for name in ("telegram", "mail")
    }
    assert found == {
        "telegram": [("a", True, LATER), ("b", False, NOW), ("c", False, NOW)],
        "mail": [("c", False, NOW)],
    }


def test_a_row_that_is_marked_may_have_been_sent_until_it_is_known(connection: Connection) -> None:
    add(connection, "a")
    sends.route(connection, [Route("telegram", ALL, None)], NOW)
    (row,) = sends.waiting(connection, "telegram")
    assert (row.maybe_sent, row.attempts) == (False, 0)
    sends.mark(connection, [row.id])
    (row,) = sends.waiting(connection, "telegram")
    assert (row.maybe_sent, row.attempts) == (True, 1)
    sends.record_failed(connection, [row.id], "it is away", LATER)
    (row,) = sends.waiting(connection, "telegram")
    assert (row.maybe_sent, row.error, row.due_at) == (False, "it is away", LATER)
    sends.record_sent(connection, [row.id], "17", NOW)
    assert sends.waiting(connection, "telegram") == []


def test_the_backlog_names_what_waits_since_when_and_the_last_error(connection: Connection) -> None:
    for title, severity in (("a", "error"), ("b", "error"), ("c", "info")):
        add(connection, title, severity)
    sends.route(connection, [Route("telegram", ("error",), LATER), Route("mail", ("error",), None)], NOW)
    first, second, _ = sends.waiting(connection, "telegram")
    sends.record_sent(connection, [first.id], None, NOW)
    sends.record_failed(connection, [second.id], f"{MAYBE_SENT}no answer", LATER)
    mail, telegram = sends.backlog(connection)
    assert (mail.channel, mail.waiting, mail.for_digest, mail.error, mail.last_sent) == ("mail", 2, 0, None, None)
    assert (telegram.waiting, telegram.for_digest, telegram.next_try) == (1, 1, LATER)
    assert (telegram.error, telegram.last_sent) == (f"{MAYBE_SENT}no answer", NOW)


def test_what_is_handed_over_is_due_at_once_and_only_where_it_has_not_been(connection: Connection) -> None:
    for title in ("a", "b"):
        add(connection, title)
    sends.route(connection, [Route("wrong", ALL, None), Route("well", ALL, None)], NOW)
    sends.record_sent(connection, [row.id for row in sends.waiting(connection, "well")], None, NOW)
    rows = sends.waiting(connection, "wrong")
    sends.record_failed(connection, [row.id for row in rows], "unusable: wrong", NOW + timedelta(days=1))
    sends.hand_over(connection, ["well", "new"], ["well", "new"], LATER)
    assert [(row.title, row.due_at, row.error) for row in sends.waiting(connection, "new")] == [
        ("a", LATER, None),
        ("b", LATER, None),
    ]
    assert sends.waiting(connection, "well") == sends.waiting(connection, "wrong") == []


def test_nothing_is_handed_over_while_there_is_nobody_to_take_it(connection: Connection) -> None:
    add(connection, "a")
    sends.route(connection, [Route("wrong", ALL, None)], NOW)
    sends.hand_over(connection, ["telegram"], [], NOW)
    assert len(sends.waiting(connection, "wrong")) == 1


def test_a_day_counts_what_happened_in_it_and_nothing_before_or_after(connection: Connection) -> None:
    since = NOW - timedelta(days=1)
    for at in (since, NOW, NOW + timedelta(seconds=1)):
        content = add_content(connection, created_at=at, size=1000)
        connection.execute(
            text(
                "INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, sha256, "
                "size, detail, run_id, created_at) VALUES (:id, 'plan', 'old', 1, 'made', :path, :sha, 300, '', 'r', "
                ":at)"
            ),
            {"id": content, "path": f"{content}.jpg", "sha": sha(content), "at": at},
        )
        for event in ("uploaded original", "found rendition", "staged original", "verified original"):
            log_event(connection, run_id="r", stage="archive/uploaded_media", event=event, media_file_id=content)
        log_event(connection, run_id="r", stage="folder_originals", event="found it", media_file_id=content)
        connection.execute(
            text("UPDATE pipeline_logs SET at = :at WHERE media_file_id = :id"), {"at": at, "id": content}
        )
    counts = day_counts(connection, since, NOW)
    assert counts == DayCounts(arrived=1, arrived_bytes=1000, renditions=1, saved_bytes=700, delivered=2, verified=1)
    assert not counts.is_empty
    assert day_counts(connection, since - timedelta(days=9), since - timedelta(days=8)).is_empty
