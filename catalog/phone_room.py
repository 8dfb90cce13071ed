"""The room in a phone's folder: what lies there, and which bundles may follow.

Belongs here: queries that put the queue, the deliveries and the folder's files of one phone together. Does not belong
here: how much may lie there (`pipeline.pixel_room`), or how far a file came (`catalog.placed_files`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from sqlalchemy import Connection, text

from catalog.deliveries import in_state, stage_name
from catalog.work import Scope, WorkQuery

LOOKED_AT = 20_000  # of the queue in one go, so that a library that is just coming in costs no run its minutes
# Bytes of a member that the phone has not been told of: once it got one form of it, it gets no other.
_UNTOLD = "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.destination = :destination AND d.bundle_member_id = b.id)"
_SIZE = "CASE WHEN :renditions THEN coalesce(r.size, m.size) ELSE m.size END"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A bundle that has something new for a phone.

    Attributes:
        id: The bundle.
        size: The bytes of all its members that the phone was not told of.
    """

    id: int
    size: int


def lock(connection: Connection, destination: str) -> None:
    """Lets one transaction at a time fill a phone's folder, so that two runs never share the same room."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 3))"), {"name": destination})


def bundles_in_order(
    connection: Connection, destination: str, scope: Scope, *, renditions: bool, decided_only: bool, newest_first: bool
) -> list[Waiting]:
    """Returns the bundles that could be staged for a phone at some days, as many as one look takes.

    Not those of which a file is missing: its bytes would keep the room from others.

    Args:
        connection: The catalog.
        destination: The phone.
        scope: The days.
        renditions: Renditions go there, where there are any.
        decided_only: Wait until the engine has decided about a rendition of every member.
        newest_first: The newest days go first.
    """
    direction = "DESC" if newest_first else "ASC"
    rows = connection.execute(
        text(
            f"""
            WITH due AS (SELECT DISTINCT b.bundle_id, b.partition_date AS day FROM bundle_members b JOIN (
                SELECT q.bundle_member_id FROM staging_queue q
                WHERE q.destination = :destination AND q.partition_date BETWEEN :first AND :last
                ORDER BY q.partition_date {direction}, q.bundle_member_id LIMIT :limit) q ON q.bundle_member_id = b.id)
            SELECT due.bundle_id, coalesce(sum({_SIZE}) FILTER (WHERE {_UNTOLD}), 0) AS size
            FROM due JOIN bundle_members b ON b.bundle_id = due.bundle_id
            JOIN media_files m ON m.id = b.media_file_id LEFT JOIN renditions r ON r.id = m.rendition_id
            GROUP BY due.day, due.bundle_id
            HAVING coalesce(bool_and(m.missing_since IS NULL
                AND (NOT :decided_only OR m.plan_fingerprint IS NOT NULL)) FILTER (WHERE {_UNTOLD}), true)
            ORDER BY due.day {direction}, due.bundle_id
            """
        ),
        {
            "destination": destination,
            "first": scope.first,
            "last": scope.last,
            "limit": LOOKED_AT,
            "renditions": renditions,
            "decided_only": decided_only,
        },
    )
    return [Waiting(row.bundle_id, int(row.size)) for row in rows]


def untold_members(
    connection: Connection, destination: str, bundle_id: int, *, renditions: bool
) -> list[tuple[int, int]]:
    """Returns the members of a bundle that a phone was not told of, each with its bytes."""
    rows = connection.execute(
        text(
            f"SELECT b.id, {_SIZE} AS size FROM bundle_members b JOIN media_files m ON m.id = b.media_file_id "
            f"LEFT JOIN renditions r ON r.id = m.rendition_id WHERE b.bundle_id = :bundle AND {_UNTOLD} ORDER BY b.id"
        ),
        {"destination": destination, "bundle": bundle_id, "renditions": renditions},
    )
    return [(row.id, int(row.size)) for row in rows]


def count_queued(connection: Connection, destination: str) -> int:
    """Counts the bundle members that a phone has yet to be told of, whether there is room for them or not."""
    statement = "SELECT count(*) FROM staging_queue WHERE destination = :destination"
    return int(connection.execute(text(statement), {"destination": destination}).scalar_one())


def to_stage(destination: str, bundles: Sequence[int], *, newest_first: bool) -> WorkQuery:
    """Returns the queued members of the bundles for which there is room."""
    return WorkQuery(
        stage=stage_name(destination, "staged"),
        table="bundle_members b JOIN staging_queue q ON q.bundle_member_id = b.id",
        alias="b",
        where="q.destination = :destination AND b.bundle_id = ANY(CAST(:bundles AS bigint[]))",
        date="q.partition_date",
        params={"destination": destination, "bundles": list(bundles)},
        newest_first=newest_first,
    )


def to_place(destination: str, *, newest_first: bool) -> WorkQuery:
    """Returns what is staged for a phone and has yet to be placed in its folder."""
    return replace(in_state(destination, "uploaded", "staged"), newest_first=newest_first)


def to_verify_or_empty(destination: str, keep_hours: float) -> WorkQuery:
    """Returns what lies in a phone's folder and has not reached it, and what has reached it long enough ago to go."""
    return WorkQuery(
        stage=stage_name(destination, "verified"),
        table="deliveries d JOIN placed_files p ON p.delivery_id = d.id",
        alias="d",
        where="p.destination = :destination AND p.emptied_at IS NULL AND (d.state = 'uploaded' OR (d.state = "
        "'verified' AND p.delivered_at <= now() - make_interval(secs => :keep_seconds)))",
        date="d.partition_date",
        params={"destination": destination, "keep_seconds": keep_hours * 3600},
        order="coalesce(p.delivered_at, '-infinity')",
    )


@dataclass(frozen=True, slots=True)
class InFolder:
    """A file that should lie in a phone's folder.

    Attributes:
        delivery_id: Its delivery.
        path: Where, below the folder.
        size: Its bytes.
        mtime_ns: The time of its last change, as it was placed.
        day: Its day.
    """

    delivery_id: int
    path: str
    size: int
    mtime_ns: int
    day: date


def should_stand(connection: Connection, destination: str) -> list[InFolder]:
    """Returns the files that must lie in a phone's folder, for it does not have them yet; the quota bounds them."""
    rows = connection.execute(
        text(
            "SELECT p.delivery_id, p.path, p.size, p.mtime_ns, d.partition_date FROM placed_files p "
            "JOIN deliveries d ON d.id = p.delivery_id WHERE p.destination = :destination "
            "AND p.delivered_at IS NULL ORDER BY p.delivery_id"
        ),
        {"destination": destination},
    )
    return [InFolder(*row) for row in rows]
