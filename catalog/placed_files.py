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
    "p.delivery_id, p.path, p.size, p.mtime_ns, p.placed_at, p.delivered_at, p.facts, p.freed_at, p.problem, "
    "d.sha256, d.partition_date"
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
        placed_at: When it was placed, the last time.
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
    placed_at: datetime
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


def undelivered(connection: Connection, destination: str, limit: int, before: datetime | None = None) -> list[Placed]:
    """Returns files that have not reached the phone, those first that were not looked at for longest.

    Args:
        connection: The catalog.
        destination: The phone's.
        limit: At most so many.
        before: Only those that were not looked at since then.
    """
    return _listed(
        connection,
        "p.destination = :destination AND p.delivered_at IS NULL "
        "AND (p.looked_at IS NULL OR p.looked_at < coalesce(CAST(:before AS timestamptz), 'infinity')) "
        "ORDER BY p.looked_at NULLS FIRST, p.delivery_id LIMIT :limit",
        {"destination": destination, "limit": limit, "before": before},
    )


def delivered_and_here(connection: Connection, destination: str, limit: int) -> list[Placed]:
    """Returns files that reached the phone, still lie in the folder, and were not seen to be freed there."""
    return _listed(
        connection,
        "p.destination = :destination AND p.delivered_at IS NOT NULL AND p.freed_at IS NULL AND p.emptied_at IS NULL "
        "ORDER BY p.looked_at NULLS FIRST, p.delivery_id LIMIT :limit",
        {"destination": destination, "limit": limit},
    )


def lock_placed(connection: Connection, ids: Sequence[int]) -> dict[int, datetime]:
    """Keeps files from being placed anew until the transaction ends; returns when each was placed the last time.

    A verdict holds only for the placing that was looked at.
    """
    rows = connection.execute(
        text(
            "SELECT delivery_id, placed_at FROM placed_files WHERE delivery_id = ANY(:ids) ORDER BY delivery_id "
            "FOR UPDATE"
        ),
        {"ids": list(ids)},
    )
    return {row.delivery_id: row.placed_at for row in rows}


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


# --- what a person's sample of Google Photos held -----------------------------------------------------------------

# Google takes no sidecars.
_SAMPLED = (
    "placed_files p JOIN deliveries d ON d.id = p.delivery_id "
    "JOIN bundle_members b ON b.id = d.bundle_member_id JOIN media_files m ON m.id = b.media_file_id "
    "WHERE p.destination = :destination AND m.kind <> 'sidecar'"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A file of a phone's folder that a sample held.

    Attributes:
        delivery_id: Its delivery.
        partition_date: Its day.
        delivered: Whether it reached the phone.
    """

    delivery_id: int
    partition_date: date
    delivered: bool


@dataclass(frozen=True, slots=True)
class Comparable(Known):
    """A file of a phone's folder, as the JSON of a sample may describe it.

    Attributes:
        path: Where it lies or lay, relative to the folder, as the catalog writes paths.
        name: The name of its photo.
        size: Its bytes.
        capture_local: When it was taken, by the clock there.
        offset_minutes: What that clock was ahead of UTC; None where nothing says so.
        width: Its width in pixels.
        height: Its height.
    """

    path: str
    name: str
    size: int
    capture_local: datetime
    offset_minutes: int | None
    width: int | None
    height: int | None


def placed_sizes(connection: Connection, destination: str) -> set[int]:
    """Returns every size that a file of a phone's folder has or had."""
    rows = connection.execute(text(f"SELECT DISTINCT d.size FROM {_SAMPLED}"), {"destination": destination})
    return set(rows.scalars())


def placed_with_hashes(connection: Connection, destination: str, hashes: Sequence[str]) -> dict[str, list[Known]]:
    """Returns the files with some contents that lie or lay in a phone's folder, by their hash."""
    rows = connection.execute(
        text(
            "SELECT d.sha256, d.id AS delivery_id, d.partition_date, p.delivered_at IS NOT NULL AS delivered "
            f"FROM {_SAMPLED} AND d.sha256 = ANY(CAST(:hashes AS text[])) ORDER BY d.id"
        ),
        {"destination": destination, "hashes": list(set(hashes))},
    )
    found: dict[str, list[Known]] = {}
    for row in rows:
        found.setdefault(row.sha256, []).append(Known(row.delivery_id, row.partition_date, row.delivered))
    return found


def placed_on(connection: Connection, destination: str, days: Sequence[date]) -> list[Comparable]:
    """Returns the files of some days that lie or lay in a phone's folder."""
    rows = connection.execute(
        text(
            "SELECT d.id AS delivery_id, d.partition_date, p.delivered_at IS NOT NULL AS delivered, p.path, "
            "b.file_name AS name, d.size, "
            "m.capture_local, m.capture_offset_minutes AS offset_minutes, "
            "CASE d.role WHEN 'original' THEN m.width ELSE r.width END AS width, "
            "CASE d.role WHEN 'original' THEN m.height ELSE r.height END AS height "
            "FROM placed_files p JOIN deliveries d ON d.id = p.delivery_id "
            "JOIN bundle_members b ON b.id = d.bundle_member_id JOIN media_files m ON m.id = b.media_file_id "
            "LEFT JOIN LATERAL (SELECT width, height FROM renditions r WHERE r.media_file_id = m.id "
            "AND r.sha256 = d.sha256 ORDER BY r.id LIMIT 1) r ON true "
            "WHERE d.destination = :destination AND m.kind <> 'sidecar' AND d.partition_date = ANY(:days) ORDER BY d.id"
        ),
        {"destination": destination, "days": list(days)},
    )
    return [Comparable(**row._mapping) for row in rows]


def record_confirmed(connection: Connection, ids: Sequence[int], by: Confirmed) -> int:
    """Records that a sample of Google Photos held some delivered files; a hash is never replaced by what is weaker.

    Returns:
        How many of them were not confirmed before, or only by what is weaker.
    """
    changed = connection.execute(
        text(
            "UPDATE placed_files SET confirmed_at = now(), confirmed_by = :by WHERE delivery_id = ANY(:ids) "
            "AND delivered_at IS NOT NULL AND (confirmed_by IS NULL OR (confirmed_by = 'metadata' AND :by = 'hash'))"
        ),
        {"ids": list(ids), "by": by},
    )
    return changed.rowcount


def not_among(
    connection: Connection, destination: str, days: tuple[date, date], ids: Sequence[int], limit: int
) -> tuple[int, list[str]]:
    """Returns delivered files of a span of days that are not among some.

    Args:
        connection: The catalog.
        destination: The phone.
        days: The first and the last day.
        ids: Deliveries that a sample held.
        limit: How many are named.

    Returns:
        How many there are, and the paths of the first few.
    """
    rows = connection.execute(
        text(
            f"SELECT p.path, count(*) OVER () AS whole FROM {_SAMPLED} AND p.delivered_at IS NOT NULL "
            "AND d.partition_date BETWEEN :first AND :last AND d.id <> ALL(CAST(:ids AS bigint[])) "
            "ORDER BY d.partition_date, d.id LIMIT :limit"
        ),
        {"destination": destination, "first": days[0], "last": days[1], "ids": list(ids), "limit": limit},
    ).all()
    return (rows[0].whole if rows else 0), [row.path for row in rows]
