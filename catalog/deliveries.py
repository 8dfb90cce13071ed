"""What goes where, and what proves that it arrived: one state for each destination.

Belongs here: queries on `staging_queue`, `batches` and `deliveries`. Does not belong here: talking
to a destination.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Connection, text

from catalog.work import WorkQuery

# A delivery `d` that counts as a copy: proven, and not only on a phone, unless that phone is one of `phones`.
COUNTS_AS_COPY = (
    "d.state = 'verified' AND NOT EXISTS (SELECT 1 FROM placed_files f WHERE f.delivery_id = d.id "
    "AND (f.freed_at IS NOT NULL OR d.destination <> ALL(CAST(:phones AS text[]))))"
)


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
            " AND EXISTS (SELECT 1 FROM media_files m WHERE m.id = b.media_file_id "
            # Nothing will be decided of what is missing: that it was not delivered is said, not waited for.
            "AND (m.plan_fingerprint IS NOT NULL OR m.missing_since IS NOT NULL))"
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


def to_verify(destination: str, *, replacing: bool) -> WorkQuery:
    """Returns the deliveries of a destination that wait for evidence.

    Args:
        destination: Its name.
        replacing: Also those that are verified, but the file that they replace still stands beside them.
    """
    waiting = in_state(destination, "verified", "uploaded")
    if not replacing:
        return waiting
    old = (
        "d.destination = :destination AND d.state = 'verified' AND d.replaces_path IS NOT NULL "
        "AND (d.replace_after IS NULL OR d.replace_after <= now())"
    )
    return replace(waiting, where=f"(({waiting.where}) OR ({old}))")


_QUEUE_ANEW = "ON CONFLICT (destination, bundle_member_id) DO UPDATE SET queued_at = now()"


def enqueue_members(connection: Connection, destinations: Iterable[str], media_file_id: int) -> None:
    """Tells destinations that the members made of a content have something new to stage.

    What is queued already is queued anew: whoever is staging it then waits for this transaction, or this one for its
    end, and so nothing new is missed between the two.
    """
    connection.execute(
        text(
            "INSERT INTO staging_queue (destination, bundle_member_id, partition_date) "
            "SELECT d.name, b.id, b.partition_date FROM unnest(CAST(:destinations AS text[])) AS d(name), "
            f"bundle_members b WHERE b.media_file_id = :id ORDER BY d.name, b.id {_QUEUE_ANEW}"
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


def lock_deliveries(connection: Connection, destination: str, member_id: int) -> None:
    """Waits for whoever is recording what became of a member's deliveries; afterwards their state holds.

    It comes before `dequeue`, in the order in which evidence is recorded and the member queued anew.
    """
    connection.execute(
        text(
            "SELECT id FROM deliveries WHERE destination = :destination AND bundle_member_id = :id "
            "ORDER BY id FOR NO KEY UPDATE"
        ),
        {"destination": destination, "id": member_id},
    )


def dequeue(connection: Connection, destination: str, member_id: int) -> None:
    """Takes a member from a destination's queue, in the transaction that writes its deliveries.

    It comes before the member is read: whoever queues it anew in the meantime has either committed by then, and what
    is new is read, or waits for this transaction, and the member is due again.
    """
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


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a destination has, or is getting, of a member in one role."""

    id: int
    sha256: str
    state: str
    remote_path: str
    replaces_path: str | None


def find_delivery(connection: Connection, destination: str, member_id: int, role: str) -> Delivered | None:
    """Returns a member's delivery in a role, None when there is none."""
    row = connection.execute(
        text(
            "SELECT id, sha256, state, remote_path, replaces_path FROM deliveries "
            "WHERE destination = :destination AND bundle_member_id = :id AND role = :role"
        ),
        {"destination": destination, "id": member_id, "role": role},
    ).one_or_none()
    return None if row is None else Delivered(*row)


def intend_replacement(connection: Connection, delivery_id: int, values: Mapping[str, object]) -> None:
    """Writes the intent to deliver newer bytes under another name; what it replaces is remembered and stays."""
    connection.execute(
        text(
            "UPDATE deliveries SET replaces_path = remote_path, replaces_sha256 = sha256, replace_after = NULL, "
            "batch_id = :batch_id, sha256 = :sha256, size = :size, remote_path = :remote_path, state = 'staged', "
            "reason = NULL, remote_ids = '{}', evidence = NULL, evidence_at = NULL, changed_at = now() "
            "WHERE id = :id AND state = 'verified' AND replaces_path IS NULL"
        ),
        {**values, "id": delivery_id},
    )


def record_replaced(connection: Connection, delivery_id: int) -> None:
    """Records that what a delivery replaces is gone from its place."""
    connection.execute(
        text(
            "UPDATE deliveries SET replaces_path = NULL, replaces_sha256 = NULL, replace_after = NULL, "
            "changed_at = now() WHERE id = :id"
        ),
        {"id": delivery_id},
    )


def wait_to_replace(connection: Connection, delivery_id: int, hours: float) -> None:
    """Leaves what a delivery replaces where it stands, to be asked about again later."""
    connection.execute(
        text("UPDATE deliveries SET replace_after = now() + make_interval(secs => :seconds) WHERE id = :id"),
        {"id": delivery_id, "seconds": hours * 3600},
    )


def enqueue_if_outdated(connection: Connection, delivery_id: int) -> None:
    """Tells a destination of a delivery's member again when there is a newer rendition than the delivered one."""
    connection.execute(
        text(
            "INSERT INTO staging_queue (destination, bundle_member_id, partition_date) "
            "SELECT d.destination, b.id, b.partition_date FROM deliveries d "
            "JOIN bundle_members b ON b.id = d.bundle_member_id JOIN media_files m ON m.id = b.media_file_id "
            "JOIN renditions r ON r.id = m.rendition_id "
            f"WHERE d.id = :id AND d.role = 'rendition' AND r.sha256 <> d.sha256 {_QUEUE_ANEW}"
        ),
        {"id": delivery_id},
    )


def other_copies(
    connection: Connection, delivery_id: int
) -> tuple[str | None, list[tuple[str, str, Mapping[str, object]]]]:
    """Returns who else holds the bytes that a delivery replaces.

    Returns:
        The path of the rendition that stands in `renditions/`, None when none does; and destination, path and ids of
        each delivery of them elsewhere.
    """
    rendition = connection.execute(
        text(
            "SELECT r.path FROM deliveries d JOIN bundle_members b ON b.id = d.bundle_member_id "
            "JOIN renditions r ON r.media_file_id = b.media_file_id AND r.sha256 = d.replaces_sha256 "
            "WHERE d.id = :id AND r.retired_at IS NULL LIMIT 1"
        ),
        {"id": delivery_id},
    ).scalar()
    rows = connection.execute(
        text(
            "SELECT o.destination, o.remote_path, o.remote_ids FROM deliveries d JOIN deliveries o "
            "ON o.bundle_member_id = d.bundle_member_id AND o.sha256 = d.replaces_sha256 AND o.role = d.role "
            "AND o.destination <> d.destination WHERE d.id = :id ORDER BY o.id"
        ),
        {"id": delivery_id},
    )
    return rendition, [(row.destination, row.remote_path, row.remote_ids) for row in rows]


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
    rendition_trash_path: str | None
    replaces_path: str | None
    replaces_sha256: str | None
    remote_ids: Mapping[str, object]
    seen: bool
    age_seconds: float
    capture_local: datetime
    capture_offset_minutes: int | None


_DELIVERY = (
    "SELECT d.id, d.destination, d.bundle_member_id, b.media_file_id, d.role, d.sha256, d.size, d.remote_path, "
    "d.state, d.partition_date, m.stored_root, m.stored_path, "
    "r.path, r.trash_path, d.replaces_path, d.replaces_sha256, d.remote_ids, d.evidence_at IS NOT NULL, "
    "extract(epoch FROM now() - d.changed_at)::float8, m.capture_local, m.capture_offset_minutes "
    "FROM deliveries d JOIN bundle_members b ON b.id = d.bundle_member_id JOIN media_files m ON m.id = b.media_file_id "
    # Of several with the same bytes one that stands in its place; one that was released is read from the trash.
    "LEFT JOIN LATERAL (SELECT x.path, CASE WHEN x.retired_at IS NOT NULL THEN x.trash_path END AS trash_path "
    "FROM renditions x WHERE x.media_file_id = m.id AND x.sha256 = d.sha256 ORDER BY x.retired_at NULLS FIRST LIMIT 1) "
    "r ON true "
)


def load_deliveries(connection: Connection, ids: Sequence[int]) -> list[Delivery]:
    """Returns deliveries in the order of `ids`."""
    rows = connection.execute(text(f"{_DELIVERY} WHERE d.id = ANY(:ids)"), {"ids": list(ids)})
    found = {row[0]: Delivery(*row) for row in rows}
    return [found[row_id] for row_id in ids if row_id in found]


def journal_ids(connection: Connection, delivery_id: int, remote_ids: Mapping[str, object]) -> None:
    """Writes down the ids under which bytes are about to be sent, so that they are found if nobody hears the answer."""
    connection.execute(
        text("UPDATE deliveries SET remote_ids = remote_ids || CAST(:ids AS jsonb) WHERE id = :id"),
        {"id": delivery_id, "ids": json.dumps(remote_ids)},
    )


def withdraw_intent(connection: Connection, delivery_id: int) -> None:
    """Takes back the intent to deliver something: it turned out that it does not go there."""
    connection.execute(text("DELETE FROM deliveries WHERE id = :id AND state = 'staged'"), {"id": delivery_id})


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
            "evidence_at = now(), seen_at = now(), changed_at = now() WHERE id = :id"
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
            "UPDATE deliveries SET state = 'uploaded', replace_after = NULL, changed_at = now() "
            "WHERE destination = :destination AND state = 'verified' AND partition_date BETWEEN :first AND :last"
        ),
        {"destination": destination, "first": first, "last": last},
    )


def doubt_everything(connection: Connection, destination: str, reason: str) -> None:
    """Has every delivery of a destination proven again, and says why."""
    connection.execute(text(f"{_DOUBT} AND destination = :destination"), {"destination": destination, "reason": reason})


def doubt_delivery(connection: Connection, delivery_id: int, reason: str) -> None:
    """Has one delivery proven again, and says why."""
    connection.execute(text(f"{_DOUBT} AND id = :id"), {"id": delivery_id, "reason": reason})


_DOUBT = (
    "UPDATE deliveries SET state = 'uploaded', reason = :reason, replace_after = NULL, changed_at = now() "
    "WHERE state = 'verified'"
)


@dataclass(frozen=True, slots=True)
class LastSeen:
    """A verified delivery that nobody has looked at for a while."""

    id: int
    remote_path: str
    size: int
    partition_date: date


def longest_unseen(connection: Connection, destination: str, days: int, limit: int) -> list[LastSeen]:
    """Returns the verified deliveries of a destination that were seen longest ago, and before so many days."""
    rows = connection.execute(
        text(
            "SELECT id, remote_path, size, partition_date FROM deliveries WHERE destination = :destination "
            "AND state = 'verified' AND seen_at < now() - make_interval(days => :days) "
            "ORDER BY seen_at, id LIMIT :limit"
        ),
        {"destination": destination, "days": days, "limit": limit},
    )
    return [LastSeen(*row) for row in rows]


def mark_seen(connection: Connection, ids: Sequence[int]) -> None:
    """Records that deliveries were found in their places; their evidence is as old as it was."""
    connection.execute(text("UPDATE deliveries SET seen_at = now() WHERE id = ANY(:ids)"), {"ids": list(ids)})


def say_why_it_waits(connection: Connection, delivery_id: int, reason: str) -> bool:
    """Writes why a delivery has to wait; returns whether that is news."""
    result = connection.execute(
        text("UPDATE deliveries SET reason = :reason WHERE id = :id AND reason IS DISTINCT FROM :reason"),
        {"id": delivery_id, "reason": reason},
    )
    return result.rowcount == 1


# What is not verified, beside the failure of the step that it waits for.
_OPEN = (
    "FROM deliveries d LEFT JOIN work w ON w.row_id = d.id AND w.error IS NOT NULL AND w.stage = d.destination || '/' "
    "|| CASE d.state WHEN 'staged' THEN 'uploaded' ELSE 'verified' END || '_media' WHERE d.state <> 'verified'"
)
# Sent and not proven, for a reason; what could not be sent is a failure of the stage before. Parameter `d`.
UNPROVEN = f"SELECT d.id {_OPEN} AND d.destination = :d AND w.error IS NOT NULL AND d.state <> 'staged'"


@dataclass(frozen=True, slots=True)
class Open:
    """A delivery that is not verified: `failed`, or it is pending."""

    remote_path: str
    state: str
    reason: str | None
    failed: bool
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class OpenDeliveries:
    """The deliveries of a destination that are not verified, at any date.

    Attributes:
        failed: How many failed.
        pending: How many only wait.
        listed: A few of them, failures first, then the oldest.
    """

    failed: int
    pending: int
    listed: list[Open]


def open_deliveries(connection: Connection, destination: str, limit: int = 20) -> OpenDeliveries:
    """Returns what is not verified at a destination."""
    counts = connection.execute(
        text(f"SELECT count(w.error) AS failed, count(*) AS total {_OPEN} AND d.destination = :d"), {"d": destination}
    ).one()
    rows = connection.execute(
        text(
            "SELECT d.remote_path, d.state, coalesce(w.error, d.reason), w.error IS NOT NULL, d.changed_at "
            f"{_OPEN} AND d.destination = :d ORDER BY w.error IS NULL, d.changed_at LIMIT :limit"
        ),
        {"d": destination, "limit": limit},
    )
    return OpenDeliveries(counts.failed, counts.total - counts.failed, [Open(*row) for row in rows])


def pending_deliveries(connection: Connection) -> dict[str, int]:
    """Counts the deliveries that are neither verified nor failed, by destination."""
    rows = connection.execute(
        text(f"SELECT d.destination, count(*) AS n {_OPEN} AND w.error IS NULL GROUP BY d.destination")
    )
    return {row.destination: row.n for row in rows}
