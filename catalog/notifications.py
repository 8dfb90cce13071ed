"""The outbox: what a person should be told, written in the transaction of what it tells about.

Belongs here: telling, and taking back what no longer holds. Does not belong here: which channel gets what and when
(`catalog.notification_sends`), or the words of an alert (`pipeline.alerts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

# The PostgreSQL channel that wakes the sender.
NOTIFICATIONS_CHANNEL = "mediapipe_notifications"
Severity = Literal["info", "warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should be told once.

    Attributes:
        key: What it is about, in a form that is the same each time; no second one is told while the first holds.
        topic: What may be told together in one message, such as `check` or `run`.
        severity: How much it matters.
        title: One line.
        body: What, where, how many files, and what to do. No secret, and no place where a photo was taken.
        path: Where in the web UI more is to be seen, such as `/runs/…`.
    """

    key: str
    topic: str
    severity: Severity
    title: str
    body: str = ""
    path: str | None = None


def tell(connection: Connection, notice: Notice) -> bool:
    """Writes a notice into the outbox; whoever sends them is woken when the transaction commits.

    Returns:
        Whether it is new; False while the same one still holds.
    """
    added = connection.execute(
        text(
            "INSERT INTO notifications (key, topic, severity, title, body, path) "
            "VALUES (:key, :topic, :severity, :title, :body, :path) "
            "ON CONFLICT (key) WHERE resolved_at IS NULL DO NOTHING RETURNING id"
        ),
        {
            "key": notice.key,
            "topic": notice.topic,
            "severity": notice.severity,
            "title": notice.title,
            "body": notice.body,
            "path": notice.path,
        },
    ).scalar()
    if added is None:
        return False
    connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": NOTIFICATIONS_CHANNEL})
    return True


def resolve(connection: Connection, key: str) -> bool:
    """Marks what was told as over, so that it is told again when it comes back.

    Returns:
        Whether there was something that held.
    """
    return _resolve(connection, "key = :key", {"key": key}) > 0


def resolve_under(connection: Connection, prefix: str, *, but: str | None = None) -> int:
    """Marks everything as over whose key begins with a prefix.

    Args:
        connection: The catalog.
        prefix: How the keys begin.
        but: The one key that still holds.

    Returns:
        How many there were.
    """
    return _resolve(
        connection,
        "starts_with(key, :prefix) AND key IS DISTINCT FROM CAST(:but AS text)",
        {"prefix": prefix, "but": but},
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Something that was told and still holds."""

    key: str
    at: datetime
    body: str


def standing(connection: Connection, prefix: str) -> list[Standing]:
    """Returns everything that still holds and whose key begins with a prefix, the oldest first."""
    rows = connection.execute(
        text(
            "SELECT key, at, body FROM notifications WHERE resolved_at IS NULL AND starts_with(key, :prefix) "
            "ORDER BY id"
        ),
        {"prefix": prefix},
    )
    return [Standing(*row) for row in rows]


def was_told(connection: Connection, key: str) -> bool:
    """Returns whether something was ever told, also when it is over."""
    return (
        connection.execute(text("SELECT 1 FROM notifications WHERE key = :key LIMIT 1"), {"key": key}).first()
        is not None
    )


def unresolved(connection: Connection, limit: int) -> tuple[int, list[tuple[datetime, str, str]]]:
    """Returns how many notices hold, and of the newest of them when, by which title and how they were told."""
    total: int = connection.execute(text("SELECT count(*) FROM notifications WHERE resolved_at IS NULL")).scalar_one()
    rows = connection.execute(
        text("SELECT at, title, body FROM notifications WHERE resolved_at IS NULL ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    )
    return total, [(row.at, row.title, row.body) for row in rows]


def _resolve(connection: Connection, which: str, values: dict[str, str | None]) -> int:
    return connection.execute(
        text(f"UPDATE notifications SET resolved_at = now() WHERE resolved_at IS NULL AND {which}"), values
    ).rowcount
