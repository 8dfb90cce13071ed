"""What lies in a phone's folder, and how far it came: placed, delivered, freed on the phone, confirmed.

Belongs here: queries on `placed_files`. Does not belong here: asking Syncthing (`resources.syncthing`), what a verdict
is (`resources.pixel`), or moving files (`pipeline.pixel_delivery`).

A verdict is latched: no later answer, and no phone that is away, takes it back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

Confirmed = Literal["hash", "metadata"]
_COLUMNS = (
    "p.delivery_id, p.path, p.size, p.mtime_ns, p.delivered_at, p.facts, p.freed_at, p.problem, d.sha256, "
    "d.partition_date"
)
_FROM = "placed_files p JOIN deliveries d ON d.id = p.delivery_id"


@dataclass(frozen=True, slots=True)
class Placed:
    """One file in a phone's folder.

    Attributes:
        delivery_id: Its delivery.
        path: Where it lies, relative to the folder, as the catalog writes paths.
        size: Its bytes.
        mtime_ns: When it was last changed, as it was placed.
        delivered_at: When the phone was first seen to have it.
        facts: What was seen then.
        freed_at: When it was first seen that the phone deleted it.
        problem: What keeps it from being delivered, in words.
        sha256: The content hash of its bytes.
        partition_date: Its day.
    """

    delivery_id: int
    path: str
    size: int
    mtime_ns: int
    delivered_at: datetime | None
    facts: Mapping[str, Any] | None
    freed_at: datetime | None
    problem: str | None
    sha256: str
    partition_date: date


@dataclass(frozen=True, slots=True)
class Counts:
    """How many files of a destination came how far.

    Attributes:
        staged: Files that lie in the folder and have not reached the phone.
        delivered: Files that reached the phone, however much further they came.
        freed_on_phone: Those of them that the phone has deleted again.
        confirmed: Those of them that a person's sample of Google Photos held.
        in_flight: Bytes that lie in the folder.
        problems: What keeps files from being delivered, each with how many files.
    """

    staged: int
    delivered: int
    freed_on_phone: int
    confirmed: int
    in_flight: int
    problems: Mapping[str, int]


def record_placed(
    connection: Connection, delivery_id: int, destination: str, path: str, size: int, mtime_ns: int
) -> None:
    """Records that a file lies in the folder; one that was placed again begins anew."""
    connection.execute(
        text(
            "INSERT INTO placed_files (delivery_id, destination, path, size, mtime_ns) "
            "VALUES (:id, :destination, :path, :size, :mtime) ON CONFLICT (delivery_id) DO UPDATE SET "
            "path = EXCLUDED.path, size = EXCLUDED.size, mtime_ns = EXCLUDED.mtime_ns, placed_at = now(), "
            "looked_at = NULL, delivered_at = NULL, facts = NULL, freed_at = NULL, problem = NULL, emptied_at = NULL"
        ),
        {"id": delivery_id, "destination": destination, "path": path, "size": size, "mtime": mtime_ns},
    )


def placed(connection: Connection, ids: Sequence[int]) -> dict[int, Placed]:
    """Returns what is known of some deliveries' files, by the delivery."""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM {_FROM} WHERE p.delivery_id = ANY(:ids)"), {"ids": list(ids)}
    )
    return {row.delivery_id: _placed(row) for row in rows}


def undelivered(connection: Connection, destination: str, limit: int) -> list[Placed]:
    """Returns files that have not reached the phone, those first that were not looked at for longest."""
    return _listed(
        connection,
        "p.destination = :destination AND p.delivered_at IS NULL ORDER BY p.looked_at NULLS FIRST, p.delivery_id "
        "LIMIT :limit",
        {"destination": destination, "limit": limit},
    )


def delivered_and_here(connection: Connection, destination: str, limit: int) -> list[Placed]:
    """Returns files that reached the phone, still lie in the folder, and were not seen to be freed there."""
    return _listed(
        connection,
        "p.destination = :destination AND p.delivered_at IS NOT NULL AND p.freed_at IS NULL AND p.emptied_at IS NULL "
        "ORDER BY p.looked_at NULLS FIRST, p.delivery_id LIMIT :limit",
        {"destination": destination, "limit": limit},
    )


def latch_delivered(connection: Connection, delivery_id: int, facts: Mapping[str, Any], *, freed: bool = False) -> bool:
    """Records that the phone has, or had, a file, for good.

    Returns:
        Whether that was new.
    """
    changed = connection.execute(
        text(
            "UPDATE placed_files SET delivered_at = coalesce(delivered_at, now()), "
            "facts = coalesce(facts, CAST(:facts AS jsonb)), looked_at = now(), problem = NULL, "
            "freed_at = CASE WHEN :freed THEN coalesce(freed_at, now()) ELSE freed_at END "
            "WHERE delivery_id = :id AND (delivered_at IS NULL OR (:freed AND freed_at IS NULL))"
        ),
        {"id": delivery_id, "facts": json.dumps(facts), "freed": freed},
    )
    return changed.rowcount > 0


def looked_at(connection: Connection, ids: Sequence[int]) -> None:
    """Records that some files were looked at and nothing new was seen; a problem that they had is over."""
    connection.execute(
        text("UPDATE placed_files SET looked_at = now(), problem = NULL WHERE delivery_id = ANY(:ids)"),
        {"ids": list(ids)},
    )


def record_problem(connection: Connection, delivery_id: int, words: str) -> bool:
    """Records what keeps a file from being delivered.

    Returns:
        Whether that was new.
    """
    changed = connection.execute(
        text(
            "UPDATE placed_files p SET looked_at = now(), problem = :words FROM placed_files before "
            "WHERE p.delivery_id = :id AND before.delivery_id = p.delivery_id AND p.delivered_at IS NULL "
            "RETURNING before.problem IS DISTINCT FROM :words"
        ),
        {"id": delivery_id, "words": words},
    )
    return bool(changed.scalar())


def record_emptied(connection: Connection, delivery_id: int) -> None:
    """Records that a file left the folder after it had reached the phone."""
    connection.execute(
        text("UPDATE placed_files SET emptied_at = now() WHERE delivery_id = :id AND delivered_at IS NOT NULL"),
        {"id": delivery_id},
    )


def in_flight(connection: Connection, destination: str) -> int:
    """Returns the bytes that lie in the folder, or will as soon as what is intended is placed."""
    return int(
        connection.execute(
            text(
                # Two sums, each by its index: what was delivered long ago is not looked at.
                "SELECT (SELECT coalesce(sum(p.size), 0) FROM placed_files p "
                "WHERE p.destination = :destination AND p.emptied_at IS NULL) "
                "+ (SELECT coalesce(sum(d.size), 0) FROM deliveries d LEFT JOIN placed_files p "
                "ON p.delivery_id = d.id AND p.emptied_at IS NULL WHERE d.destination = :destination "
                "AND d.state = 'staged' AND d.state <> 'verified' AND p.delivery_id IS NULL)"
            ),
            {"destination": destination},
        ).scalar_one()
    )


def counts(connection: Connection, destination: str) -> Counts:
    """Returns how many files came how far."""
    row = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE delivered_at IS NULL) AS staged, count(delivered_at) AS delivered, "
            "count(freed_at) AS freed, count(confirmed_at) AS confirmed, "
            "coalesce(sum(size) FILTER (WHERE emptied_at IS NULL), 0) AS bytes "
            "FROM placed_files WHERE destination = :destination"
        ),
        {"destination": destination},
    ).one()
    problems = connection.execute(
        text(
            "SELECT problem, count(*) FROM placed_files WHERE destination = :destination AND problem IS NOT NULL "
            "GROUP BY problem ORDER BY count(*) DESC, problem"
        ),
        {"destination": destination},
    )
    found = {words: int(count) for words, count in problems}
    return Counts(row.staged, row.delivered, row.freed, row.confirmed, int(row.bytes), found)


WITH_PROBLEMS = "SELECT delivery_id AS id FROM placed_files WHERE destination = :d AND problem IS NOT NULL"


def with_problems(connection: Connection, destination: str, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many files something keeps from being delivered, and a few of them, each with what it is."""
    where = "destination = :d AND problem IS NOT NULL"
    return _named(connection, where, "problem", limit, {"d": destination})


def stuck(connection: Connection, destination: str, hours: float, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many files have waited for a phone for so many hours in which it took none, and a few of them."""
    since = "now() - make_interval(secs => :seconds)"
    where = (
        f"destination = :d AND delivered_at IS NULL AND placed_at < {since} AND NOT EXISTS "
        f"(SELECT 1 FROM placed_files n WHERE n.destination = :d AND n.delivered_at >= {since})"
    )
    words = "to_char(placed_at AT TIME ZONE 'UTC', '\"it has waited for the phone since\" YYYY-MM-DD HH24:MI \"UTC\"')"
    return _named(connection, where, words, limit, {"d": destination, "seconds": hours * 3600})


def _named(
    connection: Connection, where: str, words: str, limit: int, given: Mapping[str, Any]
) -> tuple[int, list[tuple[str, str]]]:
    total = connection.execute(text(f"SELECT count(*) FROM placed_files WHERE {where}"), given).scalar_one()
    rows = connection.execute(
        text(f"SELECT path, {words} AS words FROM placed_files WHERE {where} ORDER BY placed_at LIMIT :limit"),
        {**given, "limit": limit},
    )
    return int(total), [(row.path, row.words) for row in rows]


def _listed(connection: Connection, where: str, values: Mapping[str, Any]) -> list[Placed]:
    return [_placed(row) for row in connection.execute(text(f"SELECT {_COLUMNS} FROM {_FROM} WHERE {where}"), values)]


def _placed(row: Row[Any]) -> Placed:
    return Placed(**row._mapping)
