"""The outbox: what holds is told once, in the transaction of what it tells about."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, Engine, text

from catalog.heartbeats import beat, last_beat, stop_beating
from catalog.listen import listening
from catalog.notifications import NOTIFICATIONS_CHANNEL, Notice, resolve, resolve_under, tell

FULL = Notice("disk:archive", "disk", "error", "The disk of the archive is nearly full")


def _count(connection: Connection) -> int:
    return connection.execute(text("SELECT count(*) FROM notifications")).scalar_one()


def test_the_same_thing_is_told_once_until_it_is_over(connection: Connection) -> None:
    assert tell(connection, FULL)
    assert not tell(connection, FULL)
    assert resolve(connection, FULL.key)
    assert not resolve(connection, FULL.key)
    assert tell(connection, FULL)
    assert _count(connection) == 2


def test_what_begins_alike_is_over_together_but_for_the_one_that_holds(connection: Connection) -> None:
    for key in ("check:a:1", "check:a:2", "check:b:1"):
        tell(connection, Notice(key, "check", "error", "A check failed"))
    assert resolve_under(connection, "check:a:", but="check:a:2") == 1
    held = connection.execute(text("SELECT key FROM notifications WHERE resolved_at IS NULL ORDER BY key"))
    assert list(held.scalars()) == ["check:a:2", "check:b:1"]


def test_a_transaction_that_is_rolled_back_tells_nothing(engine: Engine) -> None:
    with listening(engine, NOTIFICATIONS_CHANNEL) as listener:
        with engine.connect() as connection:
            tell(connection, FULL)
            connection.rollback()
            assert _count(connection) == 0
        assert listener.wait(0.05) == []


def test_a_listener_hears_what_is_committed_elsewhere(engine: Engine) -> None:
    def commit() -> None:
        with engine.begin() as connection:
            tell(connection, FULL)

    with listening(engine, NOTIFICATIONS_CHANNEL) as listener:
        threading.Timer(0.05, commit).start()
        assert listener.wait(30) == [""]
        assert listener.wait(0) == []


def test_a_session_that_listened_is_not_used_again(engine: Engine) -> None:
    with listening(engine, NOTIFICATIONS_CHANNEL):
        pass
    with engine.connect() as connection:
        assert list(connection.execute(text("SELECT pg_listening_channels()"))) == []


def test_a_heartbeat_is_seen_until_it_ends_on_purpose(connection: Connection) -> None:
    assert last_beat(connection, "bot") is None
    beat(connection, "bot")
    beat(connection, "bot")
    assert last_beat(connection, "bot") is not None
    stop_beating(connection, "bot")
    assert last_beat(connection, "bot") is None
