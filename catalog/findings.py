"""What asset checks ask: what is unresolved, and what a run's days hold.

Belongs here: read-only queries, each by an index or within a run's days. Does not belong here: the
judgement (`mediapipe_assets.checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, text

from catalog.deliveries import COUNTS_AS_COPY
from catalog.sidecars import SIDECARS
from catalog.sources import STORING
from catalog.work import Scope


@dataclass(frozen=True, slots=True)
class Named:
    """A file and why it is named."""

    path: str
    reason: str


def _days(scope: Scope) -> dict[str, object]:
    return {"first": scope.first, "last": scope.last}


_OF_SOURCES = "(CAST(:sources AS text[]) IS NULL OR source = ANY(CAST(:sources AS text[])))"


# What is unresolved at any date, for those who need all of it and not a few; parameter `sources`.
FAILED_OBSERVATIONS = f"state = 'failed' AND {_OF_SOURCES}"
DAMAGED = "state = 'damaged' AND acknowledged_at IS NULL"
REJECTED = "state = 'rejected' AND acknowledged_at IS NULL AND gone_at IS NULL"


def observation_counts(connection: Connection, scope: Scope, names: Sequence[str] | None = None) -> dict[str, int]:
    """Counts the observations of some days by their state, of some sources or of all."""
    rows = connection.execute(
        text(
            "SELECT state, count(*) AS n FROM source_files WHERE partition_date BETWEEN :first AND :last "
            f"AND state NOT IN ('superseded', 'renamed') AND {_OF_SOURCES} GROUP BY state"
        ),
        {**_days(scope), "sources": _names(names)},
    )
    return {row.state: row.n for row in rows}


def failed_observations(
    connection: Connection, limit: int, names: Sequence[str] | None = None
) -> tuple[int, list[Named]]:
    """Returns how many observations stand failed at any date, and a few of them; of some sources or of all."""
    where = FAILED_OBSERVATIONS
    given = {"limit": limit, "sources": _names(names)}
    total = connection.execute(text(f"SELECT count(*) FROM source_files WHERE {where}"), given).scalar_one()
    rows = connection.execute(
        text(f"SELECT source_id, reason FROM source_files WHERE {where} ORDER BY id DESC LIMIT :limit"), given
    )
    return int(total), [Named(row.source_id, row.reason) for row in rows]


def _names(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def count_failed_observations(connection: Connection, names: Sequence[str], scope: Scope) -> int:
    """Counts the observations of some sources that stand failed at some days."""
    return int(
        connection.execute(
            text(
                "SELECT count(*) FROM source_files WHERE state = 'failed' AND source = ANY(:sources) "
                "AND partition_date BETWEEN :first AND :last"
            ),
            {"sources": list(names), **_days(scope)},
        ).scalar_one()
    )


def waiting_observations(connection: Connection, names: Sequence[str]) -> int:
    """Counts the observations of some sources that wait to be stored, at any date."""
    statement = "SELECT count(*) FROM source_files WHERE state = 'pending' AND source = ANY(:sources)"
    return int(connection.execute(text(statement), {"sources": list(names)}).scalar_one())


def damaged(connection: Connection, limit: int) -> tuple[int, list[Named]]:
    """Returns how many kept files are damaged and not acknowledged, and a few of them."""
    where = DAMAGED
    total = connection.execute(text(f"SELECT count(*) FROM media_files WHERE {where}")).scalar_one()
    rows = connection.execute(
        text(f"SELECT stored_path, reason FROM media_files WHERE {where} ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    )
    return int(total), [Named(row.stored_path, row.reason) for row in rows]


_PROVEN = (
    "EXISTS (SELECT 1 FROM bundle_members b JOIN deliveries d ON d.bundle_member_id = b.id "
    f"WHERE b.media_file_id = m.id AND d.role = 'original' AND d.sha256 = m.sha256 AND {COUNTS_AS_COPY})"
)

# Parameter `phones`, see `deliveries.COUNTS_AS_COPY`.
MISSING = f"m.missing_since IS NOT NULL AND coalesce(m.acknowledged_at < m.missing_since, true) AND NOT {_PROVEN}"


@dataclass(frozen=True, slots=True)
class Missing:
    """Contents whose originals are gone from where they were left: how many, and those without a proven copy."""

    total: int
    unproven: int
    named: list[Named]


def missing(connection: Connection, limit: int, phones: Sequence[str] = ()) -> Missing:
    """Returns what is known of the contents that are missing at any date; what was acknowledged is only counted.

    Args:
        connection: The catalog.
        limit: How many are named.
        phones: Those phones that count as a copy.
    """
    total = connection.execute(text("SELECT count(*) FROM media_files WHERE missing_since IS NOT NULL")).scalar_one()
    where = MISSING
    given = {"limit": limit, "phones": list(phones)}
    unproven = connection.execute(text(f"SELECT count(*) FROM media_files m WHERE {where}"), given).scalar_one()
    rows = connection.execute(
        text(f"SELECT stored_path, missing_since FROM media_files m WHERE {where} ORDER BY id DESC LIMIT :limit"),
        given,
    )
    reason = "it left its source before a copy of it was proven, or was replaced there; seen on"
    named = [Named(row.stored_path, f"{reason} {row.missing_since:%Y-%m-%d}") for row in rows]
    return Missing(int(total), int(unproven), named)


def rejected(connection: Connection, limit: int) -> tuple[int, list[Named]]:
    """Returns how many files were rejected, are still there and not acknowledged, and a few of them."""
    where = REJECTED
    total = connection.execute(text(f"SELECT count(*) FROM source_files WHERE {where}")).scalar_one()
    rows = connection.execute(
        text(f"SELECT source_id, reason FROM source_files WHERE {where} ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    )
    return int(total), [Named(row.source_id, row.reason) for row in rows]


def acknowledge_rejected(connection: Connection, source_file_id: int) -> bool:
    """Records that a person has seen that a file was rejected; returns whether it was news."""
    result = connection.execute(
        text(
            "UPDATE source_files SET acknowledged_at = now() "
            "WHERE id = :id AND state = 'rejected' AND acknowledged_at IS NULL"
        ),
        {"id": source_file_id},
    )
    return result.rowcount == 1


@dataclass(frozen=True, slots=True)
class StoredOriginal:
    """Where an original should stand, and its size in bytes."""

    media_file_id: int
    day: date
    root: str
    path: str
    size: int


def stored_originals(connection: Connection, scope: Scope, besides: Sequence[int] = ()) -> list[StoredOriginal]:
    """Returns the originals of some days, and of some contents besides; not those known to be missing (`missing`)."""
    query = (
        "SELECT id, partition_date, stored_root, stored_path, size FROM media_files WHERE missing_since IS NULL AND "
    )
    return [StoredOriginal(*row) for row in _at_days_or_of(connection, query, "", scope, besides)]


@dataclass(frozen=True, slots=True)
class MadeRendition:
    """A rendition and its original; the root is empty while that is missing."""

    media_file_id: int
    day: date
    path: str
    size: int
    format: str
    original_root: str
    original_path: str


def renditions_made(connection: Connection, scope: Scope, besides: Sequence[int] = ()) -> list[MadeRendition]:
    """Returns the present renditions of some days, and those of some contents besides."""
    query = (
        "SELECT m.id, m.partition_date, r.path, r.size, m.format, "
        "CASE WHEN m.missing_since IS NULL THEN m.stored_root ELSE '' END, m.stored_path FROM media_files m "
        "JOIN renditions r ON r.id = m.rendition_id WHERE "
    )
    return [MadeRendition(*row) for row in _at_days_or_of(connection, query, "m.", scope, besides)]


def _at_days_or_of(
    connection: Connection, query: str, prefix: str, scope: Scope, besides: Sequence[int]
) -> Sequence[Any]:
    """Returns rows of contents at some days, then those of others; each half is found by its own index."""
    days = f"{query} {prefix}partition_date BETWEEN :first AND :last"
    found = list(connection.execute(text(days), _days(scope)))
    if besides:
        others = f"{query} {prefix}id = ANY(:ids) AND {prefix}partition_date NOT BETWEEN :first AND :last"
        found += connection.execute(text(others), {**_days(scope), "ids": list(besides)})
    return found


def count_verified(connection: Connection, destination: str, scope: Scope) -> int:
    """Counts the verified deliveries of some days."""
    return int(
        connection.execute(
            text(
                "SELECT count(*) FROM deliveries WHERE destination = :d AND state = 'verified' "
                "AND partition_date BETWEEN :first AND :last"
            ),
            {"d": destination, **_days(scope)},
        ).scalar_one()
    )


WITHOUT_EVIDENCE = "destination = :d AND state = 'verified' AND (evidence ->> 'sha256') IS DISTINCT FROM sha256"


def verified_without_evidence(
    connection: Connection, destination: str, limit: int
) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many verified deliveries, at any date, have evidence of other bytes, and a few; an index has them."""
    where = WITHOUT_EVIDENCE
    total = connection.execute(text(f"SELECT count(*) FROM deliveries WHERE {where}"), {"d": destination}).scalar_one()
    rows = connection.execute(
        text(
            "SELECT remote_path, partition_date, evidence ->> 'sha256' AS seen FROM deliveries "
            f"WHERE {where} ORDER BY id DESC LIMIT :limit"
        ),
        {"d": destination, "limit": limit},
    )
    return int(total), [(row.remote_path, f"{row.partition_date}: evidence of {row.seen}") for row in rows]


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """One entry of the sorted library."""

    member_id: int
    path: str


def library_entries(connection: Connection, scope: Scope) -> list[LibraryEntry]:
    """Returns the entries of some days."""
    rows = connection.execute(
        text(
            "SELECT id, library_path FROM bundle_members WHERE library_path IS NOT NULL "
            "AND partition_date BETWEEN :first AND :last"
        ),
        _days(scope),
    )
    return [LibraryEntry(row.id, row.library_path) for row in rows]


def names_of(connection: Connection, stage: str, ids: Sequence[int]) -> dict[int, str]:
    """Returns what a person knows the rows of a stage as."""
    if stage.endswith("/staged_media") or stage == "sorted_library":
        query = "SELECT id, file_name AS name FROM bundle_members WHERE id = ANY(:ids)"
    elif "/" in stage:
        query = "SELECT id, remote_path AS name FROM deliveries WHERE id = ANY(:ids)"
    elif stage == "released_media":
        query = "SELECT id, path AS name FROM renditions WHERE id = ANY(:ids)"
    elif stage == SIDECARS:
        query = "SELECT id, name FROM icloud_records WHERE id = ANY(:ids)"
    elif stage in STORING:
        query = "SELECT id, source_id AS name FROM source_files WHERE id = ANY(:ids)"
    else:
        query = "SELECT id, stored_path AS name FROM media_files WHERE id = ANY(:ids)"
    return {row.id: row.name for row in connection.execute(text(query), {"ids": list(ids)})}


def contents_of(connection: Connection, stage: str, ids: Sequence[int]) -> set[int]:
    """Returns the contents that the rows of a stage stand for; observations that are not stored stand for none."""
    if stage.endswith("/staged_media") or stage == "sorted_library":
        query = "SELECT media_file_id FROM bundle_members WHERE id = ANY(:ids)"
    elif "/" in stage:
        query = (
            "SELECT b.media_file_id FROM deliveries d JOIN bundle_members b ON b.id = d.bundle_member_id "
            "WHERE d.id = ANY(:ids)"
        )
    elif stage == "released_media":
        query = "SELECT media_file_id FROM renditions WHERE id = ANY(:ids)"
    elif stage == SIDECARS:
        query = (
            "SELECT s.media_file_id FROM icloud_records r JOIN source_files s ON s.source = r.source "
            "AND s.folder = r.name AND s.stem_key = r.name AND s.role = 'lead' AND s.media_file_id IS NOT NULL "
            "WHERE r.id = ANY(:ids)"
        )
    elif stage in STORING:
        return set()
    else:
        query = "SELECT id FROM media_files WHERE id = ANY(:ids)"
    return set(connection.execute(text(query), {"ids": list(ids)}).scalars())


def how_stored(connection: Connection, run_ids: Sequence[str], contents: Sequence[int]) -> dict[int, str]:
    """Returns those of some contents that some runs stored, each with `kept` or `damaged`."""
    rows = connection.execute(
        text(
            "SELECT media_file_id, event FROM pipeline_logs WHERE media_file_id = ANY(:contents) "
            "AND run_id = ANY(:runs) AND stage = ANY(:stages) AND event IN ('kept', 'damaged')"
        ),
        {"contents": list(contents), "runs": list(run_ids), "stages": list(STORING)},
    )
    return {row.media_file_id: row.event for row in rows}


def count_damaged(connection: Connection, contents: Sequence[int]) -> int:
    """Counts the damaged ones among some contents."""
    return int(
        connection.execute(
            text("SELECT count(*) FROM media_files WHERE id = ANY(:ids) AND state = 'damaged'"), {"ids": list(contents)}
        ).scalar_one()
    )
