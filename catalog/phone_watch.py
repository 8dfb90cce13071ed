"""What whoever watches a phone asks of the catalog: what waits for it, and what a run would bring further.

Belongs here: the watcher's lock, sums over what waits, and what has become due by looking. Does not belong here:
single files and their verdicts (`catalog.placed_files`), or asking Syncthing (`pipeline.pixel_watch`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

from catalog.deliveries import stage_name
from catalog.work import WorkQuery

# First key of the advisory lock of whoever looks at a phone; the second is the destination's name.
WATCH_CLASS = 0x6D70_0006
Form = Literal["original", "rendition"]


def try_to_watch(session: Connection, destination: str) -> bool:
    """Takes the lock of whoever looks at a phone, for as long as this database session lives; False when it is held."""
    taken = session.execute(
        text("SELECT pg_try_advisory_lock(:class, hashtext(:name))"), {"class": WATCH_CLASS, "name": destination}
    ).scalar_one()
    session.commit()
    return bool(taken)


def stop_watching(session: Connection, destination: str) -> None:
    """Gives that lock back."""
    session.execute(
        text("SELECT pg_advisory_unlock(:class, hashtext(:name))"), {"class": WATCH_CLASS, "name": destination}
    )
    session.commit()


def database_time(connection: Connection) -> datetime:
    """Returns the database's time, by which it is recorded when a file was looked at."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def to_finish(destination: str, keep_hours: float) -> WorkQuery:
    """Returns what a run brings further now: what the phone was seen to have, and what may leave the folder again."""
    return WorkQuery(
        stage=stage_name(destination, "verified"),
        table="deliveries d JOIN placed_files p ON p.delivery_id = d.id",
        alias="d",
        where="p.destination = :destination AND p.emptied_at IS NULL AND p.delivered_at IS NOT NULL "
        "AND (d.state = 'uploaded' OR (d.state = 'verified' "
        "AND p.delivered_at <= now() - make_interval(secs => :keep_seconds)))",
        date="d.partition_date",
        params={"destination": destination, "keep_seconds": keep_hours * 3600},
    )


_MEMBERS = (
    "FROM staging_queue q JOIN bundle_members b ON b.id = q.bundle_member_id "
    "JOIN media_files m ON m.id = b.media_file_id LEFT JOIN renditions r ON r.id = m.rendition_id "
    "WHERE q.destination = :destination"
)
_SIZES = {"original": "m.size", "rendition": "coalesce(r.size, m.size)"}


def last_batch(connection: Connection, destination: str) -> int:
    """Returns the number of the last run's batch that intended anything for a destination, 0 before the first."""
    return int(
        connection.execute(
            text("SELECT coalesce(max(id), 0) FROM batches WHERE destination = :destination"),
            {"destination": destination},
        ).scalar_one()
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has yet to reach a phone, and what is on it.

    Attributes:
        files: Files that have not reached it: those that lie in its folder, and those that wait for room.
        bytes: Their bytes.
        on_phone: Bytes of the files that reached it and were not seen to be deleted there.
    """

    files: int
    bytes: int
    on_phone: int


def waiting(connection: Connection, destination: str, form: Form) -> Waiting:
    """Returns what has yet to reach a phone, and what is on it."""
    row = connection.execute(
        text(
            "SELECT queued.files + sent.files, queued.bytes + sent.bytes, sent.on_phone FROM "
            f"(SELECT count(*) AS files, coalesce(sum({_SIZES[form]}), 0) AS bytes {_MEMBERS}) AS queued, "
            "(SELECT count(*) FILTER (WHERE p.delivered_at IS NULL) AS files, "
            "coalesce(sum(d.size) FILTER (WHERE p.delivered_at IS NULL), 0) AS bytes, "
            "coalesce(sum(d.size) FILTER (WHERE p.delivered_at IS NOT NULL AND p.freed_at IS NULL), 0) AS on_phone "
            "FROM deliveries d LEFT JOIN placed_files p ON p.delivery_id = d.id WHERE d.destination = :destination) "
            "AS sent"
        ),
        {"destination": destination},
    ).one()
    return Waiting(*map(int, row))


def problem_ids(connection: Connection, destination: str) -> set[int]:
    """Returns the deliveries whose files something keeps from being delivered."""
    rows = connection.execute(
        text(
            "SELECT delivery_id FROM placed_files WHERE destination = :destination AND delivered_at IS NULL "
            "AND problem IS NOT NULL"
        ),
        {"destination": destination},
    )
    return set(rows.scalars())
