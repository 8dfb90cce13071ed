"""The contents that are kept: one row each.

Belongs here: queries on `media_files`. Does not belong here: where a content was seen
(`catalog.sources`), what was made of it (`catalog.renditions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text

from catalog.work import WorkQuery

DEDUPLICATED = "deduplicated_media"
to_deduplicate = WorkQuery(
    stage=DEDUPLICATED,
    table="media_files m",
    alias="m",
    where="m.deduplicated_at IS NULL",
    date="m.partition_date",
    # Of two files with one name on one day the same one keeps it, whichever was stored first.
    order="m.sha256",
)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One kept content."""

    id: int
    sha256: str
    size: int
    kind: str
    format: str
    stored_root: str
    stored_path: str
    thumbnail_path: str | None
    capture_local: datetime
    partition_date: date
    width: int | None
    height: int | None
    duration_seconds: float | None
    make: str | None
    model: str | None
    content_identifier: str | None
    image_unique_id: str | None
    subsec: str | None
    state: str
    reason: str | None
    plan_fingerprint: str | None
    rendition_id: int | None


_COLUMNS = ", ".join(MediaFile.__dataclass_fields__)

_NEW = (
    "sha256, apple_checksum, phash, size, kind, format, mime, stored_root, stored_path, thumbnail_path, capture_local, "
    "capture_offset_minutes, capture_provenance, capture_flag, partition_date, width, height, orientation, "
    "duration_seconds, make, model, content_identifier, image_unique_id, subsec, has_gps, state, reason"
)
_NEW_VALUES = ", ".join(f":{name.strip()}" for name in _NEW.split(","))


def lock_content(connection: Connection, sha256: str) -> None:
    """Makes every other transaction that stores the same content wait for this one."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:sha256, 1))"), {"sha256": sha256})


def with_apple_checksum(connection: Connection, checksum: str, size: int) -> int | None:
    """Returns the kept content that has Apple's checksum and a size in bytes, None when there is none."""
    found = connection.execute(
        text("SELECT id FROM media_files WHERE size = :size AND apple_checksum = :checksum"),
        {"size": size, "checksum": checksum},
    ).scalars()
    return next(iter(found), None)


def add_content(connection: Connection, values: Mapping[str, object]) -> int:
    """Writes a new content and returns its id."""
    return int(
        connection.execute(
            text(f"INSERT INTO media_files ({_NEW}) VALUES ({_NEW_VALUES}) RETURNING id"), dict(values)
        ).scalar_one()
    )


def load_media(connection: Connection, ids: Sequence[int]) -> list[MediaFile]:
    """Returns contents in the order of `ids`."""
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM media_files WHERE id = ANY(:ids)"), {"ids": list(ids)})
    found = {row.id: MediaFile(*row) for row in rows}
    return [found[row_id] for row_id in ids if row_id in found]


def with_content_identifier(connection: Connection, identifier: str) -> list[int]:
    """Returns the contents that carry a Live Photo's content identifier."""
    return list(
        connection.execute(
            text("SELECT id FROM media_files WHERE content_identifier = :identifier ORDER BY id"),
            {"identifier": identifier},
        ).scalars()
    )


_LOOK = (
    "phash, thumbnail_path, width, height, orientation, duration_seconds, make, model, content_identifier, "
    "image_unique_id, subsec, has_gps, state, reason"
)
_LOOK_VALUES = ", ".join(f"{name.strip()} = :{name.strip()}" for name in _LOOK.split(","))


def record_look(connection: Connection, media_file_id: int, values: Mapping[str, object]) -> None:
    """Writes what another look at a content found; one that turns out to be whole is compared and compressed anew."""
    connection.execute(
        text(
            f"UPDATE media_files SET {_LOOK_VALUES}, "
            "deduplicated_at = CASE WHEN :state = 'damaged' THEN deduplicated_at END, "
            "plan_fingerprint = CASE WHEN :state = 'damaged' THEN plan_fingerprint END WHERE id = :id"
        ),
        {**{name.strip(): values[name.strip()] for name in _LOOK.split(",")}, "id": media_file_id},
    )


def mark_deduplicated(connection: Connection, media_file_id: int) -> None:
    """Records that a content was compared and bundled."""
    connection.execute(text("UPDATE media_files SET deduplicated_at = now() WHERE id = :id"), {"id": media_file_id})


def move_to_date(connection: Connection, media_file_id: int, day: date) -> None:
    """Gives a late half the day of its bundle's lead."""
    connection.execute(
        text("UPDATE media_files SET partition_date = :day WHERE id = :id"), {"id": media_file_id, "day": day}
    )


def perceptual_hashes(connection: Connection) -> tuple[list[int], bytes]:
    """Returns the ids of every content with a perceptual hash, and their hashes, 32 bytes each, in that order."""
    row = connection.execute(
        text(
            "SELECT coalesce(array_agg(id ORDER BY id), '{}') AS ids, "
            "coalesce(string_agg(phash, ''::bytea ORDER BY id), ''::bytea) AS hashes "
            "FROM media_files WHERE phash IS NOT NULL"
        )
    ).one()
    return list(row.ids), bytes(row.hashes)


def phash_of(connection: Connection, media_file_id: int) -> bytes | None:
    """Returns a content's perceptual hash, 32 bytes."""
    value = connection.execute(text("SELECT phash FROM media_files WHERE id = :id"), {"id": media_file_id}).scalar()
    return None if value is None else bytes(value)


def add_duplicate(
    connection: Connection,
    *,
    kind: str,
    kept_media_file_id: int,
    decision: str,
    source_file_id: int | None = None,
    media_file_id: int | None = None,
    distance: int | None = None,
    correlation: float | None = None,
) -> bool:
    """Records that a file is, or may be, a duplicate of a kept one; returns whether that was news."""
    result = connection.execute(
        text(
            "INSERT INTO duplicate_files (kind, source_file_id, media_file_id, kept_media_file_id, distance, "
            "correlation, decision, decided_by) VALUES (:kind, :source_file_id, :media_file_id, :kept, :distance, "
            ":correlation, :decision, 'mediapipe-assets') ON CONFLICT DO NOTHING"
        ),
        {
            "kind": kind,
            "source_file_id": source_file_id,
            "media_file_id": media_file_id,
            "kept": kept_media_file_id,
            "distance": distance,
            "correlation": correlation,
            "decision": decision,
        },
    )
    return result.rowcount == 1


def acknowledge(connection: Connection, media_file_id: int) -> bool:
    """Records that a person has seen that a file is damaged or missing; returns whether it was news."""
    result = connection.execute(
        text(
            "UPDATE media_files SET acknowledged_at = now() WHERE id = :id AND ("
            "(state = 'damaged' AND acknowledged_at IS NULL) "
            "OR (missing_since IS NOT NULL AND coalesce(acknowledged_at < missing_since, true)))"
        ),
        {"id": media_file_id},
    )
    return result.rowcount == 1


def bundle_again(connection: Connection, media_file_id: int) -> None:
    """Has a content looked at once more, because something that belongs to it may have come."""
    connection.execute(text("UPDATE media_files SET deduplicated_at = NULL WHERE id = :id"), {"id": media_file_id})
