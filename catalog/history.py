"""The story of one file.

Belongs here: finding a content by any of its paths or by its hash, and everything that happened to
it, in order. Does not belong here: how it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    at: datetime
    stage: str
    event: str
    detail: str | None
    run_id: str


def by_source_path(connection: Connection, source: str, source_id: str) -> tuple[int | None, int] | None:
    """Returns (content or None, observation) of the newest version seen at a path of a source."""
    row = connection.execute(
        text(
            "SELECT media_file_id, id FROM source_files WHERE source = :source AND source_id = :path "
            "ORDER BY id DESC LIMIT 1"
        ),
        {"source": source, "path": source_id},
    ).one_or_none()
    return None if row is None else (row.media_file_id, row.id)


def by_stored_path(connection: Connection, root: str, path: str) -> int | None:
    """Returns the content whose original stands at a path of a root."""
    return connection.execute(
        text("SELECT id FROM media_files WHERE stored_root = :root AND stored_path = :path"),
        {"root": root, "path": path},
    ).scalar()


def by_rendition_path(connection: Connection, path: str) -> int | None:
    """Returns the content from which a rendition was made."""
    return connection.execute(text("SELECT media_file_id FROM renditions WHERE path = :path"), {"path": path}).scalar()


def by_library_path(connection: Connection, path: str) -> int | None:
    """Returns the content that the sorted library shows at a path."""
    return connection.execute(
        text("SELECT media_file_id FROM bundle_members WHERE library_path = :path"), {"path": path}
    ).scalar()


def by_remote_path(connection: Connection, destination: str, path: str) -> int | None:
    """Returns the content that was delivered to a path of a destination."""
    return connection.execute(
        text(
            "SELECT b.media_file_id FROM deliveries d JOIN bundle_members b ON b.id = d.bundle_member_id "
            "WHERE d.destination = :destination AND d.remote_path = :path"
        ),
        {"destination": destination, "path": path},
    ).scalar()


def by_sha256(connection: Connection, sha256: str) -> int | None:
    """Returns the content that these bytes are, or that they were made from."""
    found = connection.execute(text("SELECT id FROM media_files WHERE sha256 = :s"), {"s": sha256}).scalar()
    if found is not None:
        return int(found)
    return connection.execute(
        text("SELECT media_file_id FROM renditions WHERE sha256 = :s ORDER BY id LIMIT 1"), {"s": sha256}
    ).scalar()


def describe_content(connection: Connection, media_file_id: int) -> dict[str, Any]:
    """Returns what is known of a content, with its rendition, deliveries and observations."""
    media = connection.execute(
        text(
            "SELECT m.sha256, m.size, m.kind, m.format, m.stored_root, m.stored_path, m.capture_local, "
            "m.capture_offset_minutes, m.capture_provenance, m.capture_flag, m.partition_date, m.state, m.reason, "
            "m.missing_since, m.acknowledged_at, m.rendition_id FROM media_files m WHERE m.id = :id"
        ),
        {"id": media_file_id},
    ).one()
    rendition = connection.execute(
        text(
            "SELECT r.outcome, r.path, r.sha256, r.size, r.tier, r.detail FROM renditions r "
            "JOIN media_files m ON m.id = r.media_file_id AND m.plan_fingerprint = r.plan_fingerprint WHERE m.id = :id "
            "AND (r.id = m.rendition_id OR (m.rendition_id IS NULL AND r.outcome = 'kept_original'))"
        ),
        {"id": media_file_id},
    ).one_or_none()
    deliveries = connection.execute(
        text(
            # Of a phone it is said how far the file came, and never that it is proven to be kept there.
            "SELECT d.destination, d.role, CASE WHEN p.delivered_at IS NULL THEN d.state "
            "WHEN p.confirmed_at IS NOT NULL THEN 'sample_confirmed' WHEN p.freed_at IS NOT NULL THEN 'freed_on_phone' "
            "ELSE 'delivered' END AS state, d.remote_path, d.sha256, d.evidence_at, d.reason FROM deliveries d "
            "JOIN bundle_members b ON b.id = d.bundle_member_id LEFT JOIN placed_files p ON p.delivery_id = d.id "
            "WHERE b.media_file_id = :id ORDER BY d.id"
        ),
        {"id": media_file_id},
    ).all()
    observations = connection.execute(
        text("SELECT source, source_id, state, gone_at FROM source_files WHERE media_file_id = :id ORDER BY id"),
        {"id": media_file_id},
    ).all()
    proposals = connection.execute(
        text(
            "SELECT m.stored_path, d.distance, d.correlation, d.decision FROM duplicate_files d "
            "JOIN media_files m ON m.id = CASE WHEN d.media_file_id = :id THEN d.kept_media_file_id "
            "ELSE d.media_file_id END WHERE d.kind <> 'exact' AND (d.media_file_id = :id OR d.kept_media_file_id = :id)"
        ),
        {"id": media_file_id},
    ).all()
    return {
        "media": media._asdict(),
        "rendition": rendition._asdict() if rendition else None,
        "deliveries": [row._asdict() for row in deliveries],
        "observations": [row._asdict() for row in observations],
        "near_duplicates": [row._asdict() for row in proposals],
    }


def describe_observation(connection: Connection, source_file_id: int) -> dict[str, Any]:
    """Returns what is known of an observation that has no content: rejected, failed or still waiting."""
    row = connection.execute(
        text(
            "SELECT source, source_id, state, reason, size, capture_local, capture_offset_minutes, "
            "capture_provenance, capture_flag, partition_date, first_seen_at FROM source_files WHERE id = :id"
        ),
        {"id": source_file_id},
    ).one()
    return dict(row._asdict())


def events_of(connection: Connection, media_file_id: int | None, source_file_id: int | None) -> list[Event]:
    """Returns everything that happened to a content and to each of its observations, in order."""
    rows = connection.execute(
        text(
            "SELECT at, stage, event, detail, run_id FROM pipeline_logs WHERE media_file_id = :media "
            "OR source_file_id = :source OR source_file_id IN "
            "(SELECT id FROM source_files WHERE media_file_id = :media) ORDER BY id"
        ),
        {"media": media_file_id, "source": source_file_id},
    )
    return [Event(*row) for row in rows]
