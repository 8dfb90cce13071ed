"""Who is working: a run's lease is a session-level advisory lock, so that a killed run is known at once.

Belongs here: opening, closing and telling living leases from dead ones. Does not belong here: the
rows that a lease has claimed (`catalog.work`).
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

# First key of the two-key advisory locks; the second key is the lease's id.
LEASE_CLASS = 0x6D70_0002

# A lease lives exactly as long as the session that holds its lock.
LIVING_LEASES = f"""
    SELECT l.objid::bigint FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid = {LEASE_CLASS} AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# A row of `work` that holds nothing beyond its claim: neither a failure nor a time to wait for.
JUST_CLAIMED = "error IS NULL AND attempts = 0 AND not_before IS NULL"


@dataclass(frozen=True, slots=True)
class DeadLease:
    """A lease whose run ended without closing it."""

    id: int
    run_id: str


def open_lease(connection: Connection, run_id: str) -> int:
    """Writes a lease and locks it in this session.

    Args:
        connection: The session that lives as long as the run; the lock is its own.
        run_id: The run that works under this lease.

    Returns:
        The lease's id.
    """
    lease_id: int = connection.execute(
        text("INSERT INTO leases (run_id, host, pid) VALUES (:run_id, :host, :pid) RETURNING id"),
        {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid()},
    ).scalar_one()
    connection.execute(text("SELECT pg_advisory_lock(:class, :id)"), {"class": LEASE_CLASS, "id": lease_id})
    connection.commit()
    return lease_id


def close_lease(connection: Connection, lease_id: int) -> None:
    """Ends a lease in the session that opened it; only the leases of killed runs are remembered."""
    connection.execute(text("UPDATE work SET lease_id = NULL WHERE lease_id = :id"), {"id": lease_id})
    connection.execute(text("DELETE FROM leases WHERE id = :id"), {"id": lease_id})
    connection.execute(text("SELECT pg_advisory_unlock(:class, :id)"), {"class": LEASE_CLASS, "id": lease_id})
    connection.commit()


def dead_leases(connection: Connection) -> list[DeadLease]:
    """Returns the open leases that no living session holds."""
    rows = connection.execute(
        text(f"SELECT id, run_id FROM leases WHERE ended_at IS NULL AND id NOT IN ({LIVING_LEASES}) ORDER BY id")
    )
    return [DeadLease(row.id, row.run_id) for row in rows]


def living_runs(connection: Connection) -> set[str]:
    """Returns the runs that hold a living lease."""
    rows = connection.execute(text(f"SELECT run_id FROM leases WHERE id IN ({LIVING_LEASES})"))
    return {row.run_id for row in rows}


def bury_lease(connection: Connection, lease_id: int) -> None:
    """Marks a dead lease as ended and frees the rows that it had claimed but not failed."""
    connection.execute(text(f"DELETE FROM work WHERE lease_id = :id AND {JUST_CLAIMED}"), {"id": lease_id})
    connection.execute(text("UPDATE work SET lease_id = NULL WHERE lease_id = :id"), {"id": lease_id})
    connection.execute(text("UPDATE leases SET ended_at = now() WHERE id = :id"), {"id": lease_id})


def days_of(connection: Connection, lease_id: int) -> list[date]:
    """Returns the dates at which a lease holds rows."""
    rows = connection.execute(text("SELECT DISTINCT partition_date FROM work WHERE lease_id = :id"), {"id": lease_id})
    return list(rows.scalars())


def ended_runs(connection: Connection, run_ids: list[str]) -> set[str]:
    """Returns those of some runs whose lease was buried: they were killed, and did not end by themselves."""
    rows = connection.execute(
        text(
            "SELECT run_id FROM leases WHERE run_id = ANY(:ids) GROUP BY run_id HAVING bool_and(ended_at IS NOT NULL)"
        ),
        {"ids": run_ids},
    )
    return {row.run_id for row in rows}
