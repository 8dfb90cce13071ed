"""What the catalog knows of bytes that stand in a trash.

Belongs here: queries on renditions and deliveries by their bytes, and forgetting what is deleted. Does not belong here:
looking at the trash (`pipeline.emptying`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from catalog.findings import StoredOriginal


@dataclass(frozen=True, slots=True)
class Origin:
    """What the bytes of a rendition were made from.

    Attributes:
        original: Where that stands.
        sha256: Its content hash.
    """

    original: StoredOriginal
    sha256: str


def is_original(connection: Connection, sha256: str) -> bool:
    """Returns whether these bytes are a kept content."""
    found = connection.execute(text("SELECT 1 FROM media_files WHERE sha256 = :s"), {"s": sha256}).scalar()
    return found is not None


def origins_of(connection: Connection, sha256: str) -> list[Origin]:
    """Returns the contents from which a rendition with these bytes was made; an empty list when it is none of ours."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT m.id, m.partition_date, m.stored_root, m.stored_path, m.size, m.sha256 FROM renditions r "
            "JOIN media_files m ON m.id = r.media_file_id WHERE r.sha256 = :s ORDER BY m.id"
        ),
        {"s": sha256},
    )
    return [Origin(StoredOriginal(*row[:5]), row[5]) for row in rows]


@dataclass(frozen=True, slots=True)
class Copy:
    """A delivery of the same bytes that was verified once."""

    destination: str
    remote_path: str
    role: str
    remote_ids: Mapping[str, Any]


def copies_of(connection: Connection, sha256: str) -> list[Copy]:
    """Returns the deliveries that are said to hold bytes."""
    rows = connection.execute(
        text(
            "SELECT destination, remote_path, role, remote_ids FROM deliveries "
            "WHERE sha256 = :s AND state = 'verified' ORDER BY id"
        ),
        {"s": sha256},
    )
    return [Copy(*row) for row in rows]


def still_wanted(connection: Connection, sha256: str) -> str | None:
    """Returns why bytes in a trash are needed still, in words; None when nothing waits for them."""
    waiting = connection.execute(
        text("SELECT destination FROM deliveries WHERE sha256 = :s AND state <> 'verified' ORDER BY id LIMIT 1"),
        {"s": sha256},
    ).scalar()
    if waiting is not None:
        return f"it is still on its way to “{waiting}”"
    lying = connection.execute(
        text(
            "SELECT d.destination FROM deliveries d JOIN placed_files p ON p.delivery_id = d.id "
            "WHERE d.sha256 = :s AND p.emptied_at IS NULL ORDER BY d.id LIMIT 1"
        ),
        {"s": sha256},
    ).scalar()
    if lying is not None:  # what lies in the folder leaves it only while ours can be read
        return f"it lies in the folder of “{lying}” still"
    moving = connection.execute(
        text(
            "SELECT 1 FROM renditions WHERE sha256 = :s AND trash_path IS NOT NULL AND retired_at IS NULL "
            "UNION ALL SELECT 1 FROM deliveries WHERE replaces_sha256 = :s LIMIT 1"
        ),
        {"s": sha256},
    ).scalar()
    return None if moving is None else "the move there has not been recorded to its end; run once, then try again"


def forget_trashed(connection: Connection, paths: Sequence[str]) -> None:
    """Records that renditions are no longer in our trash, before they are deleted there."""
    connection.execute(
        text("UPDATE renditions SET trash_path = NULL WHERE trash_path = ANY(:paths) AND retired_at IS NOT NULL"),
        {"paths": list(paths)},
    )
