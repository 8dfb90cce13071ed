"""Where each content stands, and which contents no longer stand anywhere.

Belongs here: following an original that is left in its source, taking note that one is gone, and of the
place where it stands again. Does not belong here: looking at a disk (`pipeline.storing`).

A content is missing when the file that it was left in is gone or holds other bytes, and no other file with
its bytes is known. It stays in the catalog with all that was made and delivered of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, Row, text

from catalog.leases import LIVING_LEASES

IN_SOURCE = "source:"  # before a source's name: the root of what is left there
LOOK = "look"  # who says so in a file's history, when no run did


@dataclass(frozen=True, slots=True)
class KeptContent:
    """A content and the file that it should stand in; `missing` when that file is known to be gone."""

    id: int
    sha256: str
    size: int
    root: str
    path: str
    partition_date: date
    missing: bool


_KEPT = "SELECT id, sha256, size, stored_root, stored_path, partition_date, missing_since IS NOT NULL FROM media_files"


def kept_content(connection: Connection, sha256: str) -> KeptContent | None:
    """Returns a content that is known already."""
    row = connection.execute(text(f"{_KEPT} WHERE sha256 = :sha256"), {"sha256": sha256}).one_or_none()
    return None if row is None else KeptContent(*row)


def kept_contents_of_size(connection: Connection, size: int) -> list[KeptContent]:
    """Returns every known content of a size in bytes: the candidates for an exact duplicate."""
    return [KeptContent(*row) for row in connection.execute(text(f"{_KEPT} WHERE size = :size"), {"size": size})]


def load_kept(connection: Connection, media_file_id: int) -> KeptContent:
    """Returns a content."""
    return KeptContent(*connection.execute(text(f"{_KEPT} WHERE id = :id"), {"id": media_file_id}).one())


def stands_at(connection: Connection, media_file_id: int, root: str, path: str) -> None:
    """Records where a content stands now; what failed for want of it is tried again, the library shows it anew."""
    connection.execute(
        text("UPDATE media_files SET stored_root = :root, stored_path = :path, missing_since = NULL WHERE id = :id"),
        {"id": media_file_id, "root": root, "path": path},
    )
    connection.execute(
        text(
            "UPDATE bundle_members SET library_target = NULL WHERE media_file_id = :id AND library_path IS NOT NULL "
            "AND library_target <> :target"
        ),
        {"id": media_file_id, "target": f"{root}/{path}"},
    )
    connection.execute(
        text(
            "DELETE FROM work w WHERE w.error IS NOT NULL "
            f"AND (w.lease_id IS NULL OR w.lease_id NOT IN ({LIVING_LEASES})) AND ("
            "(w.stage = 'compressed_media' AND w.row_id = :id) "
            "OR (w.stage = 'sorted_library' AND w.row_id IN (SELECT id FROM bundle_members WHERE media_file_id = :id)) "
            "OR (w.stage, w.row_id) IN (SELECT d.destination || '/uploaded_media', d.id FROM deliveries d "
            "JOIN bundle_members b ON b.id = d.bundle_member_id WHERE b.media_file_id = :id))"
        ),
        {"id": media_file_id},
    )


def only_one_stands_at(connection: Connection, root: str, path: str, media_file_id: int) -> None:
    """Records that a path of a source holds one content now, whatever it held before."""
    replaced = connection.execute(
        text(
            "SELECT id FROM media_files WHERE stored_root = :root AND stored_path = :path "
            "AND stored_root <> 'originals' AND id <> :id AND missing_since IS NULL"
        ),
        {"root": root, "path": path, "id": media_file_id},
    ).scalars()
    _miss(connection, list(replaced))


def follow_gone(connection: Connection, source_file_ids: Sequence[int]) -> None:
    """Looks for another place for the contents that were left in files which are gone.

    Another file of the same source takes the place of the one that is gone; one of another source is stored anew, as
    that source's mode asks. A content without either is missing.

    Args:
        connection: The catalog, in a transaction.
        source_file_ids: The observations, which are recorded as gone.
    """
    missing: list[int] = []
    for row in _left_by(connection, source_file_ids):
        if row.other is None:
            missing.append(row.id)
        elif row.same_source:
            _settle_as_its_file(connection, row.other)
            stands_at(connection, row.id, f"{IN_SOURCE}{row.source}", row.source_id)
            _say(connection, [row.id], "restored", f"it stands at {row.source_id} now; {row.gone_path} is gone")
        else:
            _store_anew(connection, row.other)
            missing.append(row.id)
    _miss(connection, missing)


def _left_by(connection: Connection, source_file_ids: Sequence[int]) -> Sequence[Row[tuple[object, ...]]]:
    # A duplicate of another size is one of our renditions that came back: it holds other bytes.
    return connection.execute(
        text(
            """
            SELECT DISTINCT ON (m.id) m.id, m.stored_path AS gone_path, o.id AS other, o.source, o.source_id,
                o.source = g.source AS same_source
            FROM source_files g
            JOIN media_files m ON m.id = g.media_file_id AND m.stored_root = 'source:' || g.source
                AND m.stored_path = g.source_id
            LEFT JOIN source_files o ON o.media_file_id = m.id AND o.gone_at IS NULL AND o.size = m.size
                AND o.state IN ('kept', 'duplicate', 'renamed')
            WHERE g.id = ANY(:ids) AND g.gone_at IS NOT NULL AND m.missing_since IS NULL
            ORDER BY m.id, (o.source = g.source) DESC NULLS LAST, o.id
            """
        ),
        {"ids": list(source_file_ids)},
    ).all()


def _settle_as_its_file(connection: Connection, source_file_id: int) -> None:
    """Makes a duplicate the file that its content stands in: it is none any more."""
    connection.execute(
        text("UPDATE source_files SET state = 'renamed' WHERE id = :id AND state = 'duplicate'"), {"id": source_file_id}
    )
    _no_duplicate(connection, source_file_id)


def _store_anew(connection: Connection, source_file_id: int) -> None:
    connection.execute(
        text(
            "UPDATE source_files SET state = 'pending', media_file_id = NULL, reason = NULL, settled_at = NULL "
            "WHERE id = :id"
        ),
        {"id": source_file_id},
    )
    _no_duplicate(connection, source_file_id)


def _no_duplicate(connection: Connection, source_file_id: int) -> None:
    connection.execute(text("DELETE FROM duplicate_files WHERE source_file_id = :id"), {"id": source_file_id})


def _miss(connection: Connection, media_file_ids: Sequence[int]) -> None:
    if not media_file_ids:
        return
    ids = {"ids": list(media_file_ids)}
    connection.execute(text("UPDATE media_files SET missing_since = now() WHERE id = ANY(:ids)"), ids)
    # Nothing can be made of it while it is missing, so that it is no longer due and no failure either.
    connection.execute(
        text(
            "DELETE FROM work WHERE stage = 'compressed_media' AND row_id = ANY(:ids) AND error IS NOT NULL "
            f"AND (lease_id IS NULL OR lease_id NOT IN ({LIVING_LEASES}))"
        ),
        ids,
    )
    _say(connection, media_file_ids, "missing", "the file that it was left in is gone or holds another photo now")


def came_back(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Records that files stand again as they were seen before.

    Args:
        connection: The catalog, in a transaction.
        rows: Observations with `source`, `source_id` and `version`.
    """
    found = connection.execute(
        text(
            "UPDATE media_files m SET missing_since = NULL FROM source_files s "
            "JOIN unnest(CAST(:sources AS text[]), CAST(:paths AS text[]), CAST(:versions AS text[])) "
            "AS r (source, source_id, version) "
            "ON s.source = r.source AND s.source_id = r.source_id AND s.version = r.version "
            "WHERE m.id = s.media_file_id AND m.missing_since IS NOT NULL AND s.size = m.size "
            "AND m.stored_root = 'source:' || s.source AND m.stored_path = s.source_id RETURNING m.id"
        ),
        {
            "sources": [row["source"] for row in rows],
            "paths": [row["source_id"] for row in rows],
            "versions": [row["version"] for row in rows],
        },
    ).scalars()
    _say(connection, list(found), "restored", "the file that it was left in is there again")


def _say(connection: Connection, media_file_ids: Sequence[int], event: str, detail: str) -> None:
    # Not one by one: a folder that was renamed takes many files along.
    connection.execute(
        text(
            "INSERT INTO pipeline_logs (run_id, stage, event, media_file_id, detail) "
            "SELECT :run_id, 'local_folder', :event, id, :detail FROM unnest(CAST(:ids AS bigint[])) AS m (id)"
        ),
        {"run_id": LOOK, "event": event, "detail": detail, "ids": list(media_file_ids)},
    )
