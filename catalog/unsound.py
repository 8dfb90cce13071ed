"""What the looks at the disks found, kept until a later look finds it sound.

Belongs here: queries on `check_findings`. Does not belong here: looking (`pipeline.soundness`), or what a check says of
it (`mediapipe_assets.checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date

from sqlalchemy import Connection, text

from catalog.findings import Named
from catalog.work import Scope

FINDINGS_LOCK = 0x6D70_0006
UNRESOLVED = "check_name = :check AND acknowledged_at IS NULL"


@dataclass(frozen=True, slots=True)
class Found:
    """A content that a check found unsound."""

    media_file_id: int
    partition_date: date
    path: str
    reason: str


def to_look_at_again(connection: Connection, check: str, scope: Scope, limit: int) -> list[int]:
    """Returns the contents that a check found unsound at other days than these, those first that wait the longest."""
    rows = connection.execute(
        text(
            "SELECT media_file_id FROM check_findings WHERE check_name = :check "
            "AND partition_date NOT BETWEEN :first AND :last ORDER BY looked_at, media_file_id LIMIT :limit"
        ),
        {"check": check, "first": scope.first, "last": scope.last, "limit": limit},
    )
    return list(rows.scalars())


def record_look(
    connection: Connection, check: str, scope: Scope, besides: Sequence[int], found: Sequence[Found]
) -> None:
    """Records what a look found, and forgets what it found sound.

    Args:
        connection: The catalog.
        check: The check.
        scope: The days at which everything was looked at.
        besides: The contents that were looked at besides.
        found: What is unsound.
    """
    # Two runs that end at once would otherwise wait for each other's rows in another order.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FINDINGS_LOCK})
    connection.execute(
        text(
            "DELETE FROM check_findings WHERE check_name = :check AND media_file_id <> ALL(CAST(:found AS bigint[])) "
            "AND (partition_date BETWEEN :first AND :last OR media_file_id = ANY(CAST(:besides AS bigint[])))"
        ),
        {
            "check": check,
            "first": scope.first,
            "last": scope.last,
            "besides": list(besides),
            "found": [one.media_file_id for one in found],
        },
    )
    if found:
        connection.execute(
            text(
                "INSERT INTO check_findings AS f (check_name, media_file_id, partition_date, path, reason) "
                "VALUES (:check, :media_file_id, :partition_date, :path, :reason) "
                "ON CONFLICT (check_name, media_file_id) DO UPDATE SET partition_date = EXCLUDED.partition_date, "
                "path = EXCLUDED.path, reason = EXCLUDED.reason, looked_at = now(), "
                "acknowledged_at = CASE WHEN f.reason = EXCLUDED.reason THEN f.acknowledged_at END"
            ),
            [{"check": check, **asdict(one)} for one in found],
        )


def unresolved(connection: Connection, check: str, limit: int) -> tuple[int, list[Named]]:
    """Returns how many contents a check found unsound at any date, and the few that were looked at last."""
    where = UNRESOLVED
    total = connection.execute(
        text(f"SELECT count(*) FROM check_findings WHERE {where}"), {"check": check}
    ).scalar_one()
    rows = connection.execute(
        text(
            f"SELECT path, reason FROM check_findings WHERE {where} ORDER BY looked_at DESC, media_file_id LIMIT :limit"
        ),
        {"check": check, "limit": limit},
    )
    return int(total), [Named(row.path, row.reason) for row in rows]


def acknowledge(connection: Connection, media_file_id: int) -> bool:
    """Records that a person has seen what was found of a content; returns whether it was news."""
    result = connection.execute(
        text("UPDATE check_findings SET acknowledged_at = now() WHERE media_file_id = :id AND acknowledged_at IS NULL"),
        {"id": media_file_id},
    )
    return result.rowcount > 0
