"""What does not go to a destination although it is kept, and why: no failure, but nothing to hide either.

Belongs here: queries on `left_out`. Does not belong here: the rules by which something is left out (`pipeline`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text


def leave_out(
    connection: Connection, destination: str, member_id: int, day: date, reason: str, *, for_good: bool = False
) -> bool:
    """Records that a bundle member does not go to a destination; returns whether that, or the reason, is news.

    Args:
        connection: The catalog.
        destination: Its name.
        member_id: The member.
        day: The member's date.
        reason: Why, in words.
        for_good: Whether it stays so when the destination's settings change.
    """
    result = connection.execute(
        text(
            "INSERT INTO left_out (destination, bundle_member_id, partition_date, reason, for_good) "
            "VALUES (:destination, :id, :day, :reason, :for_good) ON CONFLICT (destination, bundle_member_id) "
            "DO UPDATE SET reason = EXCLUDED.reason, for_good = EXCLUDED.for_good, decided_at = now() "
            "WHERE left_out.reason <> EXCLUDED.reason OR left_out.for_good <> EXCLUDED.for_good"
        ),
        {"destination": destination, "id": member_id, "day": day, "reason": reason, "for_good": for_good},
    )
    return result.rowcount == 1


def left_out_for_good(connection: Connection, destination: str, member_id: int) -> str | None:
    """Returns why a member never goes to a destination again, None when it may."""
    return connection.execute(
        text("SELECT reason FROM left_out WHERE destination = :d AND bundle_member_id = :id AND for_good"),
        {"d": destination, "id": member_id},
    ).scalar()


def take_in(connection: Connection, destination: str, member_id: int) -> None:
    """Records that a member goes to a destination after all."""
    connection.execute(
        text("DELETE FROM left_out WHERE destination = :d AND bundle_member_id = :id"),
        {"d": destination, "id": member_id},
    )


def queue_again(connection: Connection, destination: str) -> None:
    """Has everything that was left out decided anew, because the destination's settings have changed."""
    connection.execute(
        text(
            "INSERT INTO staging_queue (destination, bundle_member_id, partition_date) "
            "SELECT l.destination, b.id, b.partition_date FROM left_out l JOIN bundle_members b "
            "ON b.id = l.bundle_member_id WHERE l.destination = :d AND NOT l.for_good ON CONFLICT DO NOTHING"
        ),
        {"d": destination},
    )


@dataclass(frozen=True, slots=True)
class LeftOutFiles:
    """What is left out of a destination.

    Attributes:
        reasons: How many files, by reason, the commonest first.
        named: A few of them, with name and reason.
    """

    reasons: Mapping[str, int]
    named: list[tuple[str, str]]

    @property
    def count(self) -> int:
        """How many files."""
        return sum(self.reasons.values())


def left_out_of(connection: Connection, destination: str, limit: int = 20) -> LeftOutFiles:
    """Returns what is left out of a destination, at any date."""
    reasons = connection.execute(
        text("SELECT reason, count(*) AS n FROM left_out WHERE destination = :d GROUP BY 1 ORDER BY n DESC, reason"),
        {"d": destination},
    )
    named = connection.execute(
        text(
            "SELECT b.file_name, l.reason FROM left_out l JOIN bundle_members b ON b.id = l.bundle_member_id "
            "WHERE l.destination = :d ORDER BY l.decided_at DESC, b.id DESC LIMIT :limit"
        ),
        {"d": destination, "limit": limit},
    )
    return LeftOutFiles({row.reason: row.n for row in reasons}, [(row.file_name, row.reason) for row in named])


def counts(connection: Connection) -> dict[str, int]:
    """Counts what is left out, by destination."""
    rows = connection.execute(text("SELECT destination, count(*) AS n FROM left_out GROUP BY 1"))
    return {row.destination: row.n for row in rows}
