"""Which notification goes to which channel, and what came of it.

Belongs here: the rows of `notification_sends`, who may send, and what is left. Does not belong here: telling
(`catalog.notifications`), or when a row is due and in which words it goes out (`pipeline.outbox`).

A row is marked before its message leaves and recorded right after the channel has taken it. A row that is found with
its mark belongs to a sender that ended in between: nobody knows whether that message arrived.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from catalog.notifications import Severity

# The advisory lock of whoever sends; it ends with its session, so that a killed sender holds up nobody.
SENDER_LOCK = 0x6D70_0006
# How an error begins, for what must be known of it later.
MAYBE_SENT = "perhaps sent: "
UNUSABLE = "unusable: "
DIGEST = "digest"  # the topic of the summary of a day


@dataclass(frozen=True, slots=True)
class Route:
    """What goes to one channel.

    Attributes:
        channel: Its name.
        at_once: The severities that are told as they come.
        digest_at: When the rest is told; None when it is not told there.
    """

    channel: str
    at_once: Sequence[str]
    digest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification that has yet to go to a channel."""

    id: int
    topic: str
    severity: Severity
    title: str
    body: str
    path: str | None
    routed_at: datetime
    due_at: datetime
    digest: bool
    attempts: int
    error: str | None

    @property
    def maybe_sent(self) -> bool:
        """Whether an earlier attempt may have arrived."""
        return (self.error or "").startswith(MAYBE_SENT)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How one channel stands.

    Attributes:
        channel: Its name.
        waiting: Notifications that have yet to go there at once.
        for_digest: Those that wait for the daily digest.
        oldest: Since when the oldest of the first kind waits.
        next_try: When a failed one is tried again.
        error: Why the last attempt failed, if it did.
        last_sent: When something last arrived.
        given_up: Those that never went, as the channel was taken out of the settings.
    """

    channel: str
    waiting: int
    for_digest: int
    oldest: datetime | None
    next_try: datetime | None
    error: str | None
    last_sent: datetime | None
    given_up: int


@contextlib.contextmanager
def only_sender(engine: Engine) -> Iterator[Connection | None]:
    """Opens a session in which nobody else sends, for as long as the block runs; None while another one does."""
    with engine.connect() as session:
        session.detach()  # closed and not pooled: at the latest the lock ends with it, whatever happens
        taken = session.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": SENDER_LOCK}).scalar_one()
        session.commit()
        yield session if taken else None
        # At once: the server notices only some time later that a session has ended.
        session.execute(text("SELECT pg_advisory_unlock_all()"))
        session.commit()


def route(connection: Connection, routes: Sequence[Route], now: datetime) -> None:
    """Writes down where each new notification goes."""
    new = connection.execute(
        text("UPDATE notifications SET routed_at = :now WHERE routed_at IS NULL RETURNING id"), {"now": now}
    ).scalars()
    ids = list(new)
    if not ids:
        return
    for one in routes:
        connection.execute(
            text(
                "INSERT INTO notification_sends (notification_id, channel, due_at, digest) "
                "SELECT id, :channel, CASE WHEN severity = ANY(:at_once) THEN :now ELSE :digest_at END, "
                "severity <> ALL(:at_once) FROM notifications WHERE id = ANY(:ids) "
                "AND (severity = ANY(:at_once) OR CAST(:digest_at AS timestamptz) IS NOT NULL) ORDER BY id"
            ),
            {
                "channel": one.channel,
                "at_once": list(one.at_once),
                "now": now,
                "digest_at": one.digest_at,
                "ids": ids,
            },
        )


def hand_over(connection: Connection, channels: Sequence[str], replaceable: Sequence[str], now: datetime) -> None:
    """Gives what waits for channels that are no longer there to those that are: one with a corrected address is new.

    Args:
        connection: The catalog, in a transaction.
        channels: The names of all channels, also of those that keep their name while they are away.
        replaceable: Those among them that may stand for one that is gone.
        now: The present moment.
    """
    if not replaceable:
        return
    values = {"channels": list(channels), "replaceable": list(replaceable), "now": now}
    connection.execute(
        text(
            "INSERT INTO notification_sends (notification_id, channel, due_at, digest) "
            # A pause belongs to the channel that failed, the hour of a digest to all.
            "SELECT s.notification_id, c.name, CASE WHEN s.digest AND s.error IS NULL THEN s.due_at ELSE :now END, "
            "s.digest FROM notification_sends s "
            "CROSS JOIN unnest(CAST(:replaceable AS text[])) AS c (name) "
            "WHERE s.state = 'due' AND s.channel <> ALL(:channels) ON CONFLICT (notification_id, channel) DO NOTHING"
        ),
        values,
    )
    _give_up(connection, "channel <> ALL(:channels)", values, "the channel is no longer in the settings")


def drop_digest(connection: Connection, channels: Sequence[str]) -> None:
    """Gives up what waits for the daily digest in channels that get none any more."""
    _give_up(
        connection, "digest AND channel = ANY(:channels)", {"channels": list(channels)}, "no daily digest goes here"
    )


def _give_up(connection: Connection, which: str, values: dict[str, object], reason: str) -> None:
    connection.execute(
        text(f"UPDATE notification_sends SET state = 'given_up', error = :reason WHERE state = 'due' AND {which}"),
        {**values, "reason": reason},
    )


def retry_unusable(connection: Connection, now: datetime) -> None:
    """Makes due what waits for a person to correct a setting; a sender that starts has read the settings anew."""
    connection.execute(
        text("UPDATE notification_sends SET due_at = :now WHERE state = 'due' AND due_at > :now AND error LIKE :like"),
        {"now": now, "like": f"%{UNUSABLE}%"},
    )


def waiting(connection: Connection, channel: str) -> list[Waiting]:
    """Returns what has yet to go to a channel, oldest first."""
    rows = connection.execute(
        text(
            "SELECT s.id, n.topic, n.severity, n.title, n.body, n.path, n.routed_at, s.due_at, s.digest, s.attempts, "
            "s.error FROM notification_sends s JOIN notifications n ON n.id = s.notification_id "
            "WHERE s.state = 'due' AND s.channel = :channel ORDER BY n.id"
        ),
        {"channel": channel},
    )
    return [Waiting(*row) for row in rows]


def mark(connection: Connection, ids: Sequence[int]) -> None:
    """Writes down that a message with these rows is about to leave."""
    connection.execute(
        text("UPDATE notification_sends SET attempts = attempts + 1, error = :error WHERE id = ANY(:ids)"),
        {"ids": list(ids), "error": f"{MAYBE_SENT}the sender ended while it was being sent"},
    )


def record_sent(connection: Connection, ids: Sequence[int], remote_id: str | None, now: datetime) -> None:
    """Writes down that a channel has taken a message with these rows."""
    connection.execute(
        text(
            "UPDATE notification_sends SET state = 'sent', sent_at = :now, remote_id = :remote_id, error = NULL "
            "WHERE id = ANY(:ids)"
        ),
        {"ids": list(ids), "remote_id": remote_id, "now": now},
    )


def record_failed(connection: Connection, ids: Sequence[int], error: str, due_at: datetime) -> None:
    """Writes down why a message with these rows did not go through, and when it is tried again."""
    connection.execute(
        text("UPDATE notification_sends SET error = :error, due_at = :due_at WHERE id = ANY(:ids) AND state = 'due'"),
        {"ids": list(ids), "error": error, "due_at": due_at},
    )


def last_digest(connection: Connection) -> datetime | None:
    """Returns when a day was last summed up, with or without a message."""
    at: datetime | None = connection.execute(
        text("SELECT max(routed_at) FROM notifications WHERE topic = :topic"), {"topic": DIGEST}
    ).scalar()
    return at


def has_for_digest(connection: Connection, now: datetime) -> bool:
    """Returns whether something waits for the digest of now."""
    return bool(
        connection.execute(
            text("SELECT EXISTS (SELECT 1 FROM notification_sends WHERE state = 'due' AND digest AND due_at <= :now)"),
            {"now": now},
        ).scalar_one()
    )


def add_digest(connection: Connection, title: str, body: str, channels: Sequence[str], now: datetime) -> None:
    """Writes the summary of a day into the outbox; without a channel only that the day was summed up."""
    added = connection.execute(
        text(
            "INSERT INTO notifications (at, key, topic, severity, title, body, routed_at, resolved_at) "
            "VALUES (:now, :key, :topic, 'info', :title, :body, :now, :now) RETURNING id"
        ),
        {"now": now, "key": f"{DIGEST}:{now.isoformat()}", "topic": DIGEST, "title": title, "body": body},
    ).scalar_one()
    connection.execute(
        text(
            "INSERT INTO notification_sends (notification_id, channel, due_at, digest) "
            "SELECT :id, name, :now, true FROM unnest(CAST(:channels AS text[])) AS c (name)"
        ),
        {"id": added, "channels": list(channels), "now": now},
    )


def backlog(connection: Connection) -> list[Backlog]:
    """Returns how each channel stands that anything ever went to."""
    rows = connection.execute(
        text(
            "SELECT s.channel, count(*) FILTER (WHERE s.state = 'due' AND NOT s.digest), "
            "count(*) FILTER (WHERE s.state = 'due' AND s.digest), "
            "min(n.at) FILTER (WHERE s.state = 'due' AND NOT s.digest), "
            "max(s.due_at) FILTER (WHERE s.state = 'due' AND s.error IS NOT NULL), "
            "(array_agg(s.error ORDER BY n.id DESC) FILTER (WHERE s.state = 'due' AND s.error IS NOT NULL))[1], "
            "max(s.sent_at), count(*) FILTER (WHERE s.state = 'given_up') "
            "FROM notification_sends s JOIN notifications n ON n.id = s.notification_id "
            "GROUP BY s.channel ORDER BY s.channel"
        )
    )
    return [Backlog(*row) for row in rows]


def delete_old(connection: Connection, before: datetime) -> int:
    """Deletes notifications that were over before a moment and have nowhere left to go.

    Returns:
        How many there were.
    """
    old = connection.execute(
        text(
            "SELECT n.id FROM notifications n WHERE n.resolved_at < :before AND n.routed_at IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM notification_sends s WHERE s.notification_id = n.id AND s.state = 'due')"
        ),
        {"before": before},
    ).scalars()
    ids = {"ids": list(old)}
    connection.execute(text("DELETE FROM notification_sends WHERE notification_id = ANY(:ids)"), ids)
    return connection.execute(text("DELETE FROM notifications WHERE id = ANY(:ids)"), ids).rowcount
