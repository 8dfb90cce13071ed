"""Who is alive: each long-lived process says so, and the others see when it falls silent.

Belongs here: the rows of `heartbeats`. Does not belong here: what silence means, or whom to tell (`pipeline.alerts`).
"""

from __future__ import annotations

import os
import socket
from datetime import datetime

from sqlalchemy import Connection, text

BOT, SENSORS = "bot", "sensors"  # the bot's process, and the daemon's ticks


def beat(connection: Connection, name: str) -> None:
    """Says that this process is alive."""
    connection.execute(
        text(
            "INSERT INTO heartbeats (name, host, pid) VALUES (:name, :host, :pid) "
            "ON CONFLICT (name) DO UPDATE SET at = now(), host = EXCLUDED.host, pid = EXCLUDED.pid"
        ),
        {"name": name, "host": socket.gethostname(), "pid": os.getpid()},
    )


def stop_beating(connection: Connection, name: str) -> None:
    """Says that it ends on purpose: nobody needs to be told."""
    connection.execute(text("DELETE FROM heartbeats WHERE name = :name"), {"name": name})


def last_beat(connection: Connection, name: str) -> datetime | None:
    """Returns when a process last said so; None when it never ran, or ended on purpose."""
    at: datetime | None = connection.execute(
        text("SELECT at FROM heartbeats WHERE name = :name"), {"name": name}
    ).scalar()
    return at
