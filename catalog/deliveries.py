"""What goes where, and what proves that it arrived: one state for each destination.

Belongs here: queries on `staging_queue`, `batches` and `deliveries`. Does not belong here: talking
to a destination.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text

from catalog.work import WorkQuery


def stage_name(destination: str, step: str) -> str:
    """Returns the stage's name at a destination, for instance `archive/staged_media`."""
    return f"{destination}/{step}_media"


def to_stage(destination: str, *, decided_only: bool) -> WorkQuery:
    """Returns the bundle members that a destination has yet to stage.

    Args:
        destination: Its name.
        decided_only: Wait until the engine has decided about a rendition; for destinations that take
            renditions alone.
    """
    where = "q.destination = :destination"
    if decided_only:
        where += (
            " AND EXISTS (SELECT 1 FROM media_files m WHERE m.id = b.media_file_id AND m.plan_fingerprint IS NOT NULL)"
        )
    return WorkQuery(
        stage=stage_name(destination, "staged"),
        table="bundle_members b JOIN staging_queue q ON q.bundle_member_id = b.id",
        alias="b",
        where=where,
        date="q.partition_date",
        params={"destination": destination},
    )


def in_state(destination: str, step: str, state: str) -> WorkQuery:
    """Returns the deliveries of a destination that stand in a state and wait for a step."""
    return WorkQuery(
        stage=stage_name(destination, step),
        table="deliveries d",
        alias="d",
        where="d.destination = :destination AND d.state = :state AND d.state <> 'verified'",
        date="d.partition_date",
        params={"destination": destination, "state": state},
    )


def enqueue_members(connection: Connection, destinations: Iterable[str], media_file_id: int) -> None:
    """Tells destinations that the members made of a content have something new to stage."""
    connection.execute(
        text(
            "INSERT INTO staging_queue (destination, bundle_member_id, partition_date) "
            "SELECT unnest(CAST(:destinations AS text[])), b.id, b.partition_date FROM bundle_members b "
            "WHERE b.media_file_id = :id ON CONFLICT DO NOTHING"
        ),
        {"destinations": list(destinations), "id": media_file_id},
    )


def enqueue_everything(connection: Connection, destination: str) -> None:
    """Tells a new destination about every member that there is."""
    connection.execute(
        text(
            "INSERT INTO staging_queue (destination, bundle_member_id, partition_date) "
            "SELECT :destination, b.id, b.partition_date FROM bundle_members b ON CONFLICT DO NOTHING"
        ),
        {"destination": destination},
    )


def dequeue(connection: Connection, destination: str, member_id: int) -> None:
    """Takes a member from a destination's queue, in the transaction that writes its deliveries."""
    connection.execute(
        text("DELETE FROM staging_queue WHERE destination = :destination AND bundle_member_id = :id"),
        {"destination": destination, "id": member_id},
    )


@dataclass(frozen=True, slots=True)
class Member:
    """A bundle member with everything that a destination may want of it."""

    id: int
    bundle_id: int
    media_file_id: int
    file_name: str
    partition_date: date
    original_sha256: str
    original_size: int
    rendition_path: str | None
    rendition_sha256: str | None
    rendition_size: int | None


def load_members(connection: Connection, ids: Sequence[int]) -> list[Member]:
    """Returns members in the order of `ids`."""
    rows = connection.execute(
        text(
            "SELECT b.id, b.bundle_id, b.media_file_id, b.file_name, b.partition_date, m.sha256, m.size, "
            "r.path, r.sha256, r.size FROM bundle_members b JOIN media_files m ON m.id = b.media_file_id "
            "LEFT JOIN renditions r ON r.id = m.rendition_id WHERE b.id = ANY(:ids)"
        ),
        {"ids": list(ids)},
    )
    found = {row[0]: Member(*row) for row in rows}
    return [found[row_id] for row_id in ids if row_id in found]


def ensure_batch(connection: Connection, destination: str, run_id: str) -> int:
    """Returns the batch of one run to one destination."""
    return int(
        connection.execute(
            text(
                "INSERT INTO batches (destination, run_id) VALUES (:destination, :run_id) "
                "ON CONFLICT (destination, run_id) DO UPDATE SET run_id = EXCLUDED.run_id RETURNING id"
            ),
            {"destination": destination, "run_id": run_id},
        ).scalar_one()
    )


def delivered_role(connection: Connection, destination: str, member_id: int, role: str) -> str | None:
    """Returns the sha256 that a member's delivery in a role stands for, None when there is none."""
    return connection.execute(
        text(
            "SELECT sha256 FROM deliveries WHERE destination = :destination AND bundle_member_id = :id AND role = :role"
        ),
        {"destination": destination, "id": member_id, "role": role},
    ).scalar()


def remote_path_is_free(connection: Connection, destination: str, remote_path: str) -> bool:
    """Returns whether no delivery of a destination has that path."""
    taken = connection.execute(
        text("SELECT 1 FROM deliveries WHERE destination = :destination AND remote_path = :path"),
        {"destination": destination, "path": remote_path},
    ).scalar()
    return taken is None


def add_intent(connection: Connection, values: Mapping[str, object]) -> None:
    """Writes the intent to deliver: the first of the three records of a remote effect."""
    connection.execute(
        text(
            "INSERT INTO deliveries (destination, bundle_member_id, role, batch_id, sha256, size, remote_path, state, "
            "partition_date) VALUES (:destination, :bundle_member_id, :role, :batch_id, :sha256, :size, :remote_path, "
            "'staged', :partition_date)"
        ),
        dict(values),
    )
    connection.execute(
        text("UPDATE batches SET file_count = file_count + 1, byte_count = byte_count + :size WHERE id = :batch_id"),
        {"size": values["size"], "batch_id": values["batch_id"]},
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """One file on its way to, or at, one destination."""

    id: int
    destination: str
    bundle_member_id: int
    media_file_id: int
    role: str
    sha256: str
    size: int
    remote_path: str
    state: str
    partition_date: date
    stored_root: str
    stored_path: str
    rendition_path: str | None


_DELIVERY = (
    "SELECT d.id, d.destination, d.bundle_member_id, b.media_file_id, d.role, d.sha256, d.size, d.remote_path, "
    "d.state, d.partition_date, m.stored_root, m.stored_path, "
    "(SELECT r.path FROM renditions r WHERE r.media_file_id = m.id AND r.sha256 = d.sha256 LIMIT 1) "
    "FROM deliveries d JOIN bundle_members b ON b.id = d.bundle_member_id JOIN media_files m ON m.id = b.media_file_id "
)


def load_deliveries(connection: Connection, ids: Sequence[int]) -> list[Delivery]:
    """Returns deliveries in the order of `ids`."""
    rows = connection.execute(text(f"{_DELIVERY} WHERE d.id = ANY(:ids)"), {"ids": list(ids)})
    found = {row[0]: Delivery(*row) for row in rows}
    return [found[row_id] for row_id in ids if row_id in found]


def acknowledge_delivery(connection: Connection, delivery_id: int, remote_ids: Mapping[str, object]) -> None:
    """Records that the effect happened: the third of the three records."""
    connection.execute(
        text(
            "UPDATE deliveries SET state = 'uploaded', reason = NULL, remote_ids = CAST(:ids AS jsonb), "
            "changed_at = now() WHERE id = :id"
        ),
        {"id": delivery_id, "ids": json.dumps(remote_ids)},
    )


def record_evidence(connection: Connection, delivery_id: int, evidence: Mapping[str, object]) -> None:
    """Records what the destination itself showed: the delivery is verified."""
    connection.execute(
        text(
            "UPDATE deliveries SET state = 'verified', reason = NULL, evidence = CAST(:evidence AS jsonb), "
            "evidence_at = now(), changed_at = now() WHERE id = :id"
        ),
        {"id": delivery_id, "evidence": json.dumps(evidence)},
    )


def send_again(connection: Connection, delivery_id: int, reason: str) -> None:
    """Takes a delivery back to its intent because the destination no longer has it."""
    connection.execute(
        text("UPDATE deliveries SET state = 'staged', reason = :reason, changed_at = now() WHERE id = :id"),
        {"id": delivery_id, "reason": reason},
    )


def doubt_evidence(connection: Connection, destination: str, first: date, last: date) -> None:
    """Has every delivery of some days proven again; until then they are uploaded, not verified."""
    connection.execute(
        text(
            "UPDATE deliveries SET state = 'uploaded', changed_at = now() WHERE destination = :destination "
            "AND state = 'verified' AND partition_date BETWEEN :first AND :last"
        ),
        {"destination": destination, "first": first, "last": last},
    )


@dataclass(frozen=True, slots=True)
class Open:
    """A delivery that is not verified."""

    remote_path: str
    state: str
    reason: str | None
    changed_at: datetime


def open_deliveries(connection: Connection, destination: str, limit: int = 20) -> tuple[int, list[Open]]:
    """Returns how many deliveries of a destination are not verified, at any date, and the oldest few."""
    total = connection.execute(
        text("SELECT count(*) FROM deliveries WHERE destination = :d AND state <> 'verified'"), {"d": destination}
    ).scalar_one()
    rows = connection.execute(
        text(
            "SELECT d.remote_path, d.state, coalesce(w.error, d.reason) AS reason, d.changed_at FROM deliveries d "
            "LEFT JOIN work w ON w.row_id = d.id AND w.stage = d.destination || '/' || "
            "CASE d.state WHEN 'staged' THEN 'uploaded' ELSE 'verified' END || '_media' AND w.error IS NOT NULL "
            "WHERE d.destination = :d AND d.state <> 'verified' ORDER BY d.changed_at LIMIT :limit"
        ),
        {"d": destination, "limit": limit},
    )
    return int(total), [Open(*row) for row in rows]
