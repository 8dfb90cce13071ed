"""What the catalog itself remembers about the installation: fixed values and the roots' markers.

Belongs here: reading and writing `system_config` and `roots`. Does not belong here: settings that a
person may change at any time (`resources.settings`).
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, text

START_LOCK = 0x6D70_0004
HOME_ROOT = "originals"  # the root whose marker is the home's own


def get_config(connection: Connection, key: str) -> Any:
    """Returns a remembered value, None when there is none."""
    return connection.execute(text("SELECT value FROM system_config WHERE key = :key"), {"key": key}).scalar()


def fix_config(connection: Connection, key: str, value: Any) -> Any:
    """Remembers a value once and for all.

    Returns:
        What is remembered: the first value that was ever given.
    """
    connection.execute(
        text("INSERT INTO system_config (key, value) VALUES (:key, CAST(:value AS jsonb)) ON CONFLICT DO NOTHING"),
        {"key": key, "value": json.dumps(value)},
    )
    return get_config(connection, key)


def set_config(connection: Connection, key: str, value: Any) -> None:
    """Remembers a value in place of the one before."""
    connection.execute(
        text(
            "INSERT INTO system_config (key, value) VALUES (:key, CAST(:value AS jsonb)) "
            "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()"
        ),
        {"key": key, "value": json.dumps(value)},
    )


def lock_start(connection: Connection) -> None:
    """Lets one transaction at a time get the roots ready: of two first starts one writes the markers."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": START_LOCK})


def known_roots(connection: Connection) -> dict[str, str]:
    """Returns the marker id of every root that was ever written to, by the root's name."""
    return {row.name: row.marker_id for row in connection.execute(text("SELECT name, marker_id FROM roots"))}


def home_id(connection: Connection) -> str:
    """Returns what tells this home from others in short, empty before its first start.

    It is taken from the marker of its originals, which move with it and outlive the catalog.
    """
    return known_roots(connection).get(HOME_ROOT, "")[:8]


def add_root(connection: Connection, name: str, marker_id: str) -> None:
    """Remembers a root and its marker."""
    connection.execute(
        text("INSERT INTO roots (name, marker_id) VALUES (:name, :marker_id)"), {"name": name, "marker_id": marker_id}
    )
