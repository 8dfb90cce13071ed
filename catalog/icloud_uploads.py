"""What has to be known of a photo before it goes to iCloud, and of an upload when it comes back.

Belongs here: those queries, over `bundle_members`, `deliveries` and `icloud_records`, and what the self-test remembers.
Does not belong here: what follows from them (`pipeline.icloud_delivery`, `pipeline.icloud_sync`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from catalog import config

_SELF_TEST = "icloud_self_test"


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What decides whether a bundle member can go to iCloud.

    Attributes:
        role: What it is to its bundle.
        bundle_kind: What the bundle is.
        adjusted: Whether an AAE file of the bundle says how the photo was edited.
        format: The original's.
        rendition_format: The present rendition's, None where the original is kept.
        state: `kept` or `damaged`.
        apple_checksum: The original's, None where it was never computed.
    """

    media_file_id: int
    role: str
    kind: str
    bundle_kind: str
    adjusted: bool
    format: str
    rendition_format: str | None
    state: str
    apple_checksum: str | None


def facts_of(connection: Connection, member_id: int) -> MemberFacts:
    """Returns what is known of a bundle member."""
    row = connection.execute(
        text(
            "SELECT m.id, b.role, m.kind, u.kind AS bundle_kind, EXISTS (SELECT 1 FROM bundle_members o "
            "JOIN media_files x ON x.id = o.media_file_id WHERE o.bundle_id = b.bundle_id AND x.format = 'aae'), "
            "m.format, r.format, m.state, m.apple_checksum FROM bundle_members b JOIN bundles u ON u.id = b.bundle_id "
            "JOIN media_files m ON m.id = b.media_file_id LEFT JOIN renditions r ON r.id = m.rendition_id "
            "WHERE b.id = :id"
        ),
        {"id": member_id},
    ).one()
    return MemberFacts(*row)


def assets_of_content(connection: Connection, source: str, media_file_id: int, checksum: str | None) -> list[str]:
    """Returns the assets of an iCloud library that hold a content, as their original or as any other part."""
    rows = connection.execute(
        text(
            "SELECT name FROM icloud_records WHERE source = :source AND kind = 'asset' AND parent = :checksum "
            "UNION SELECT folder FROM source_files WHERE source = :source AND media_file_id = :id ORDER BY 1"
        ),
        {"source": source, "id": media_file_id, "checksum": checksum},
    )
    return list(rows.scalars())


def is_known_master(connection: Connection, source: str, checksum: str) -> bool:
    """Returns whether a file was ever in an iCloud library, by Apple's checksum of it."""
    found = connection.execute(
        text("SELECT 1 FROM icloud_records WHERE source = :source AND name = :name AND kind = 'master'"),
        {"source": source, "name": checksum},
    ).scalar()
    return found is not None


def asset_of_master(connection: Connection, source: str, master: str) -> str | None:
    """Returns the living asset that stands on a master, None when the changes feed has brought none."""
    return connection.execute(
        text(
            "SELECT name FROM icloud_records WHERE source = :source AND kind = 'asset' AND parent = :master "
            "AND state IN ('live', 'hidden') ORDER BY id LIMIT 1"
        ),
        {"source": source, "master": master},
    ).scalar()


def albums_with(connection: Connection, source: str, assets: Sequence[str]) -> list[str]:
    """Returns the record names of the albums that any of some assets is in."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT a.name FROM icloud_records r JOIN icloud_records a ON a.source = r.source "
            "AND a.name = r.fields->>'album' AND a.kind = 'album' AND a.state = 'live' WHERE r.source = :source "
            "AND r.kind = 'relation' AND r.state = 'live' AND r.parent = ANY(:assets) "
            "AND a.fields->>'name' IS NOT NULL ORDER BY 1"
        ),
        {"source": source, "assets": list(assets)},
    )
    return list(rows.scalars())


def uploaded_masters(connection: Connection, destinations: Sequence[str], masters: Sequence[str]) -> set[str]:
    """Returns those of some masters whose bytes we uploaded, or were about to upload when nobody heard the answer.

    The name is journalled before anything is sent, so that it is known however an upload ended.
    """
    rows = connection.execute(
        text(
            "SELECT remote_ids ->> 'master' AS master FROM deliveries "
            "WHERE remote_ids ->> 'master' = ANY(:masters) AND destination = ANY(:destinations)"
        ),
        {"destinations": list(destinations), "masters": list(masters)},
    )
    tried = {one["master"] for formats in self_tests(connection).values() for one in formats.values()}
    return {row.master for row in rows} | (tried & set(masters))


def doubt_deleted(connection: Connection, destinations: Sequence[str], names: Sequence[str]) -> None:
    """Has uploads proven again of which the changes feed says that they left iCloud; until then they are no copies.

    Args:
        connection: The catalog.
        destinations: Who uploads to that library.
        names: Records that were deleted: assets, and masters that went with the last of theirs.
    """
    connection.execute(
        text(
            "UPDATE deliveries SET state = 'uploaded', reason = 'it was deleted in iCloud', replace_after = NULL, "
            "changed_at = now() WHERE state = 'verified' AND destination = ANY(:destinations) "
            "AND remote_ids ->> 'master' IS NOT NULL "
            "AND (remote_ids ->> 'master' = ANY(:names) OR remote_ids ->> 'asset' = ANY(:names))"
        ),
        {"destinations": list(destinations), "names": list(names)},
    )


def begin_anew(connection: Connection, destination: str, reason: str) -> None:
    """Takes every delivery back to its intent, because the destination is another account's library now."""
    connection.execute(
        text(
            "UPDATE deliveries SET state = 'staged', remote_ids = '{}', evidence = NULL, evidence_at = NULL, "
            "seen_at = NULL, reason = :reason, changed_at = now() WHERE destination = :destination"
        ),
        {"destination": destination, "reason": reason},
    )


@dataclass(frozen=True, slots=True)
class Unseen:
    """An upload that the destination does not show yet."""

    remote_path: str
    reason: str | None
    since: datetime


def unseen_uploads(connection: Connection, destination: str, limit: int) -> tuple[int, list[Unseen]]:
    """Returns how many uploads are acknowledged and not proven, at any date, and the oldest of them."""
    where = "destination = :d AND state = 'uploaded'"
    total = connection.execute(text(f"SELECT count(*) FROM deliveries WHERE {where}"), {"d": destination}).scalar_one()
    rows = connection.execute(
        text(f"SELECT remote_path, reason, changed_at FROM deliveries WHERE {where} ORDER BY changed_at LIMIT :limit"),
        {"d": destination, "limit": limit},
    )
    return int(total), [Unseen(*row) for row in rows]


# --- the self-test -----------------------------------------------------------------------------------------------


def self_tests(connection: Connection) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns what Apple did with a made-up file of each format, by account and format."""
    return config.get_config(connection, _SELF_TEST) or {}


def remember_self_test(connection: Connection, account: str, file_format: str, values: Mapping[str, Any]) -> None:
    """Remembers what Apple did with a format."""
    tests = self_tests(connection)
    tests.setdefault(account, {})[file_format] = dict(values)
    config.set_config(connection, _SELF_TEST, tests)
