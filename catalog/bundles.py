"""Files that belong together and travel together, and the names under which they are delivered.

Belongs here: queries on `bundles` and `bundle_members`. Does not belong here: deciding what belongs
together (`pipeline.bundling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from catalog.deliveries import COUNTS_AS_COPY
from catalog.paths import name_key, to_text
from catalog.work import WorkQuery

BUNDLING_LOCK = 0x6D70_0003

LIBRARY = "sorted_library"


def to_sort(phones: Sequence[str] = ()) -> WorkQuery:
    """Returns the members that have a proven copy and do not stand in the tree.

    Args:
        phones: Those phones that count as a copy.
    """
    return WorkQuery(
        stage=LIBRARY,
        table="bundle_members b",
        alias="b",
        where=(
            # An entry without a target shows a place that its original has left, and is made anew.
            "(b.library_path IS NULL OR (b.library_path IS NOT NULL AND b.library_target IS NULL)) "
            f"AND EXISTS (SELECT 1 FROM deliveries d WHERE d.bundle_member_id = b.id AND {COUNTS_AS_COPY}) "
            "AND EXISTS (SELECT 1 FROM media_files m WHERE m.id = b.media_file_id AND m.missing_since IS NULL)"
        ),
        date="b.partition_date",
        params={"phones": list(phones)},
    )


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files with one lead and one date."""

    id: int
    lead_media_file_id: int
    kind: str
    name_suffix: str
    partition_date: date


def lock_bundling(connection: Connection) -> None:
    """Lets one transaction at a time form bundles, so that two halves never miss each other."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": BUNDLING_LOCK})


def bundles_of(connection: Connection, media_file_id: int) -> list[Bundle]:
    """Returns the bundles that a content is a member of, the oldest first."""
    rows = connection.execute(
        text(
            "SELECT b.id, b.lead_media_file_id, b.kind, b.name_suffix, b.partition_date FROM bundles b "
            "JOIN bundle_members bm ON bm.bundle_id = b.id WHERE bm.media_file_id = :id ORDER BY b.id"
        ),
        {"id": media_file_id},
    )
    return [Bundle(*row) for row in rows]


def add_bundle(connection: Connection, lead_media_file_id: int, kind: str, name_suffix: str, day: date) -> Bundle:
    """Writes a bundle without members."""
    row = connection.execute(
        text(
            "INSERT INTO bundles (lead_media_file_id, kind, name_suffix, partition_date) "
            "VALUES (:lead, :kind, :suffix, :day) "
            "RETURNING id, lead_media_file_id, kind, name_suffix, partition_date"
        ),
        {"lead": lead_media_file_id, "kind": kind, "suffix": name_suffix, "day": day},
    ).one()
    return Bundle(*row)


def set_bundle_kind(connection: Connection, bundle_id: int, kind: str) -> None:
    """Says what a bundle has become after a late half joined."""
    connection.execute(text("UPDATE bundles SET kind = :kind WHERE id = :id"), {"id": bundle_id, "kind": kind})


def name_is_free(connection: Connection, day: date, file_name: str, besides: Sequence[int] = ()) -> bool:
    """Returns whether no member of that day has a name that a NAS would take for the same.

    Args:
        connection: The catalog.
        day: The day.
        file_name: The name.
        besides: Contents whose own members do not count.
    """
    taken = connection.execute(
        text(
            "SELECT 1 FROM bundle_members WHERE partition_date = :day AND name_key = :key "
            "AND media_file_id <> ALL(CAST(:besides AS bigint[]))"
        ),
        {"day": day, "key": to_text(name_key(file_name)), "besides": list(besides)},
    ).scalar()
    return taken is None


def add_member(connection: Connection, bundle: Bundle, media_file_id: int, role: str, file_name: str) -> int | None:
    """Adds a content to a bundle under the name that it will be delivered as.

    Returns:
        The member's id; None when it was a member already.
    """
    return connection.execute(
        text(
            "INSERT INTO bundle_members (bundle_id, media_file_id, role, file_name, name_key, partition_date) "
            "VALUES (:bundle, :media, :role, :name, :key, :day) "
            "ON CONFLICT (bundle_id, media_file_id) DO NOTHING RETURNING id"
        ),
        {
            "bundle": bundle.id,
            "media": media_file_id,
            "role": role,
            "name": to_text(file_name),
            "key": to_text(name_key(file_name)),
            "day": bundle.partition_date,
        },
    ).scalar()


def is_member(connection: Connection, bundle_id: int, media_file_id: int) -> bool:
    """Returns whether a content belongs to a bundle."""
    found = connection.execute(
        text("SELECT 1 FROM bundle_members WHERE bundle_id = :bundle AND media_file_id = :media"),
        {"bundle": bundle_id, "media": media_file_id},
    ).scalar()
    return found is not None


@dataclass(frozen=True, slots=True)
class LibraryItem:
    """A member and the copy of it that the sorted library should show."""

    id: int
    media_file_id: int
    kind: str
    role: str
    file_name: str
    partition_date: date
    sha256: str
    stored_root: str
    stored_path: str
    library_path: str | None


def load_library_items(connection: Connection, ids: list[int]) -> list[LibraryItem]:
    """Returns members in the order of `ids`."""
    rows = connection.execute(
        text(
            "SELECT b.id, b.media_file_id, m.kind, b.role, b.file_name, b.partition_date, m.sha256, m.stored_root, "
            "m.stored_path, b.library_path FROM bundle_members b JOIN media_files m ON m.id = b.media_file_id "
            "WHERE b.id = ANY(:ids)"
        ),
        {"ids": ids},
    )
    found = {row.id: LibraryItem(*row) for row in rows}
    return [found[row_id] for row_id in ids if row_id in found]


def set_library(connection: Connection, member_id: int, path: str, target: str) -> None:
    """Records where a member stands in the sorted library, and what it shows there."""
    connection.execute(
        text("UPDATE bundle_members SET library_path = :path, library_target = :target WHERE id = :id"),
        {"id": member_id, "path": path, "target": target},
    )


def forget_library(connection: Connection, member_ids: Sequence[int]) -> None:
    """Has members shown again, because their entries are broken."""
    connection.execute(
        text("UPDATE bundle_members SET library_path = NULL, library_target = NULL WHERE id = ANY(:ids)"),
        {"ids": list(member_ids)},
    )


def forget_library_days(connection: Connection, first: date, last: date) -> None:
    """Has every member of some days shown again; what stands remains until then."""
    connection.execute(
        text(
            "UPDATE bundle_members SET library_path = NULL, library_target = NULL "
            "WHERE library_path IS NOT NULL AND partition_date BETWEEN :first AND :last"
        ),
        {"first": first, "last": last},
    )


def library_path_is_taken(connection: Connection, path: str) -> bool:
    """Returns whether another member stands at a path of the sorted library."""
    return (
        connection.execute(text("SELECT 1 FROM bundle_members WHERE library_path = :path"), {"path": path}).scalar()
        is not None
    )


def bundle_led_by(connection: Connection, media_file_id: int) -> Bundle | None:
    """Returns the bundle whose lead a content is."""
    row = connection.execute(
        text(
            "SELECT id, lead_media_file_id, kind, name_suffix, partition_date FROM bundles "
            "WHERE lead_media_file_id = :id"
        ),
        {"id": media_file_id},
    ).one_or_none()
    return None if row is None else Bundle(*row)


def move_single(connection: Connection, bundle: Bundle, media_file_id: int, role: str) -> bool:
    """Moves a content that stood alone into the bundle of the lead that came later.

    Its name stays: it may have been delivered under it.

    Returns:
        False when it stood in no bundle of its own.
    """
    alone = connection.execute(
        text(
            "SELECT b.id FROM bundles b WHERE b.lead_media_file_id = :media AND NOT EXISTS "
            "(SELECT 1 FROM bundle_members o WHERE o.bundle_id = b.id AND o.media_file_id <> :media "
            "AND o.role <> 'sidecar')"
        ),
        {"media": media_file_id},
    ).scalar()
    if alone is None:
        return False
    connection.execute(
        text(
            "UPDATE bundle_members o SET bundle_id = :bundle, "
            "role = CASE WHEN o.role = 'lead' THEN :role ELSE o.role END "
            "WHERE o.bundle_id = :alone AND NOT EXISTS "
            "(SELECT 1 FROM bundle_members x WHERE x.bundle_id = :bundle AND x.media_file_id = o.media_file_id)"
        ),
        {"bundle": bundle.id, "alone": alone, "role": role},
    )
    connection.execute(
        text(
            "DELETE FROM bundles b WHERE b.id = :alone "
            "AND NOT EXISTS (SELECT 1 FROM bundle_members o WHERE o.bundle_id = b.id)"
        ),
        {"alone": alone},
    )
    return True
