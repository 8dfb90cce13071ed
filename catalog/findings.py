"""What asset checks ask: what is unresolved, and what a run's days hold.

Belongs here: read-only queries, each by an index or within a run's days. Does not belong here: the
judgement (`mediapipe_assets.checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from catalog.work import Scope


@dataclass(frozen=True, slots=True)
class Named:
    """A file and why it is named."""

    path: str
    reason: str


def _days(scope: Scope) -> dict[str, object]:
    return {"first": scope.first, "last": scope.last}


def observation_counts(connection: Connection, scope: Scope) -> dict[str, int]:
    """Counts the observations of some days by their state."""
    rows = connection.execute(
        text(
            "SELECT state, count(*) AS n FROM source_files WHERE partition_date BETWEEN :first AND :last "
            "AND state NOT IN ('superseded', 'renamed') GROUP BY state"
        ),
        _days(scope),
    )
    return {row.state: row.n for row in rows}


def failed_observations(connection: Connection, limit: int) -> tuple[int, list[Named]]:
    """Returns how many observations stand failed at any date, and a few of them."""
    total = connection.execute(text("SELECT count(*) FROM source_files WHERE state = 'failed'")).scalar_one()
    rows = connection.execute(
        text("SELECT source_id, reason FROM source_files WHERE state = 'failed' ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    )
    return int(total), [Named(row.source_id, row.reason) for row in rows]


def waiting_observations(connection: Connection) -> int:
    """Counts the observations that wait to be stored, at any date."""
    return int(connection.execute(text("SELECT count(*) FROM source_files WHERE state = 'pending'")).scalar_one())


def damaged(connection: Connection, limit: int) -> tuple[int, list[Named]]:
    """Returns how many kept files are damaged and not acknowledged, and a few of them."""
    where = "state = 'damaged' AND acknowledged_at IS NULL"
    total = connection.execute(text(f"SELECT count(*) FROM media_files WHERE {where}")).scalar_one()
    rows = connection.execute(
        text(f"SELECT stored_path, reason FROM media_files WHERE {where} ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    )
    return int(total), [Named(row.stored_path, row.reason) for row in rows]


_PROVEN = (
    "EXISTS (SELECT 1 FROM bundle_members b JOIN deliveries d ON d.bundle_member_id = b.id "
    "WHERE b.media_file_id = m.id AND d.role = 'original' AND d.state = 'verified' AND d.sha256 = m.sha256)"
)


@dataclass(frozen=True, slots=True)
class Missing:
    """Contents whose originals are gone from where they were left: how many, and those without a proven copy."""

    total: int
    unproven: int
    named: list[Named]


def missing(connection: Connection, limit: int) -> Missing:
    """Returns what is known of the contents that are missing at any date; what was acknowledged is only counted."""
    total = connection.execute(text("SELECT count(*) FROM media_files WHERE missing_since IS NOT NULL")).scalar_one()
    where = f"m.missing_since IS NOT NULL AND coalesce(m.acknowledged_at < m.missing_since, true) AND NOT {_PROVEN}"
    unproven = connection.execute(text(f"SELECT count(*) FROM media_files m WHERE {where}")).scalar_one()
    rows = connection.execute(
        text(f"SELECT stored_path, missing_since FROM media_files m WHERE {where} ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    )
    reason = "it left its source before a copy of it was proven, or was replaced there; seen on"
    named = [Named(row.stored_path, f"{reason} {row.missing_since:%Y-%m-%d}") for row in rows]
    return Missing(int(total), int(unproven), named)


def rejected(connection: Connection, limit: int) -> tuple[int, list[Named]]:
    """Returns how many files were rejected, are still there and not acknowledged, and a few of them."""
    where = "state = 'rejected' AND acknowledged_at IS NULL AND gone_at IS NULL"
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

    root: str
    path: str
    size: int


def stored_originals(connection: Connection, scope: Scope) -> list[StoredOriginal]:
    """Returns the originals of some days, without those that are known to be missing (see `missing`)."""
    rows = connection.execute(
        text(
            "SELECT stored_root, stored_path, size FROM media_files WHERE missing_since IS NULL "
            "AND partition_date BETWEEN :first AND :last"
        ),
        _days(scope),
    )
    return [StoredOriginal(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class MadeRendition:
    """A rendition and its original; the root is empty while that is missing."""

    path: str
    size: int
    format: str
    original_root: str
    original_path: str


def renditions_made(connection: Connection, scope: Scope) -> list[MadeRendition]:
    """Returns the present renditions of some days."""
    rows = connection.execute(
        text(
            "SELECT r.path, r.size, m.format, CASE WHEN m.missing_since IS NULL THEN m.stored_root ELSE '' END, "
            "m.stored_path FROM media_files m "
            "JOIN renditions r ON r.id = m.rendition_id WHERE m.partition_date BETWEEN :first AND :last"
        ),
        _days(scope),
    )
    return [MadeRendition(*row) for row in rows]


def verified_without_evidence(
    connection: Connection, destination: str, scope: Scope | None
) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many deliveries of some days are verified, and those whose evidence is of other bytes."""
    if scope is None:
        return 0, []
    rows = connection.execute(
        text(
            "SELECT remote_path, sha256, evidence ->> 'sha256' AS seen FROM deliveries WHERE destination = :d "
            "AND state = 'verified' AND partition_date BETWEEN :first AND :last"
        ),
        {"d": destination, **_days(scope)},
    ).all()
    bad = [(row.remote_path, f"evidence of {row.seen}") for row in rows if row.seen != row.sha256]
    return len(rows), bad


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """One entry of the sorted library."""

    path: str


def library_entries(connection: Connection, scope: Scope) -> list[LibraryEntry]:
    """Returns the entries of some days."""
    rows = connection.execute(
        text(
            "SELECT library_path FROM bundle_members WHERE library_path IS NOT NULL "
            "AND partition_date BETWEEN :first AND :last"
        ),
        _days(scope),
    )
    return [LibraryEntry(row.library_path) for row in rows]


def names_of(connection: Connection, stage: str, ids: Sequence[int]) -> dict[int, str]:
    """Returns what a person knows the rows of a stage as."""
    if stage.endswith("/staged_media") or stage == "sorted_library":
        query = "SELECT id, file_name AS name FROM bundle_members WHERE id = ANY(:ids)"
    elif "/" in stage:
        query = "SELECT id, remote_path AS name FROM deliveries WHERE id = ANY(:ids)"
    elif stage == "released_media":
        query = "SELECT id, path AS name FROM renditions WHERE id = ANY(:ids)"
    elif stage == "folder_originals":
        query = "SELECT id, source_id AS name FROM source_files WHERE id = ANY(:ids)"
    else:
        query = "SELECT id, stored_path AS name FROM media_files WHERE id = ANY(:ids)"
    return {row.id: row.name for row in connection.execute(text(query), {"ids": list(ids)})}
