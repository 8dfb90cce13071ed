"""What was observed where: the listing of each source, as the catalog holds it.

Belongs here: queries on `sources` and `source_files`. Does not belong here: listing a folder, or
deciding what is new (`pipeline.discovery`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Connection, text

from catalog.work import WorkQuery


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One observation that waits to be stored."""

    id: int
    source: str
    source_id: str
    version: str
    kind: str
    size: int
    mtime_ns: int
    capture_local: datetime
    capture_offset_minutes: int | None
    capture_provenance: str
    capture_flag: str | None
    partition_date: date


ORIGINALS = "folder_originals"
to_store = WorkQuery(
    stage=ORIGINALS,
    table="source_files s",
    alias="s",
    where="s.state IN ('pending', 'failed')",
    date="s.partition_date",
)


def to_store_from(names: Sequence[str]) -> WorkQuery:
    """Returns the observations that wait, of some sources: those that are switched on and there."""
    return replace(to_store, where=f"{to_store.where} AND s.source = ANY(:sources)", params={"sources": list(names)})


def register_source(connection: Connection, name: str, kind: str, location: str) -> None:
    """Makes a source known."""
    connection.execute(
        text(
            "INSERT INTO sources (name, kind, location) VALUES (:name, :kind, :location) "
            "ON CONFLICT (name) DO UPDATE SET location = EXCLUDED.location"
        ),
        {"name": name, "kind": kind, "location": location},
    )


def record_listing(connection: Connection, name: str, file_count: int) -> None:
    """Remembers that a source was listed whole and is there."""
    connection.execute(
        text("UPDATE sources SET file_count = :n, listed_at = now(), away_since = NULL WHERE name = :name"),
        {"name": name, "n": file_count},
    )


def record_away(connection: Connection, name: str) -> None:
    """Remembers since when a source is away."""
    connection.execute(
        text("UPDATE sources SET away_since = coalesce(away_since, now()) WHERE name = :name"), {"name": name}
    )


def present_files(connection: Connection, source: str) -> list[tuple[int, str, int, int]]:
    """Returns (id, path, size, mtime in ns) of every file that a source held when it was last listed."""
    rows = connection.execute(
        text("SELECT id, source_id, size, mtime_ns FROM source_files WHERE source = :source AND gone_at IS NULL"),
        {"source": source},
    )
    return [(row.id, row.source_id, row.size, row.mtime_ns) for row in rows]


def add_observations(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Records new observations; one that came back is there again."""
    if not rows:
        return
    connection.execute(
        text(
            """
            INSERT INTO source_files (source, source_id, version, folder, stem_key, kind, size, mtime_ns,
                capture_local, capture_offset_minutes, capture_provenance, capture_flag, partition_date)
            VALUES (:source, :source_id, :version, :folder, :stem_key, :kind, :size, :mtime_ns,
                :capture_local, :capture_offset_minutes, :capture_provenance, :capture_flag, :partition_date)
            ON CONFLICT (source, source_id, version) DO UPDATE SET gone_at = NULL,
                state = CASE WHEN source_files.state = 'superseded' THEN 'pending' ELSE source_files.state END
            """
        ),
        list(rows),
    )


def mark_gone(connection: Connection, ids: Iterable[int]) -> int:
    """Records that files are no longer where they were seen. Nothing here is deleted by that.

    Returns:
        How many had never been stored.
    """
    wanted = list(ids)
    if not wanted:
        return 0
    connection.execute(
        text("UPDATE source_files SET gone_at = now() WHERE id = ANY(:ids) AND gone_at IS NULL"), {"ids": wanted}
    )
    connection.execute(
        text("DELETE FROM work WHERE stage = :stage AND row_id = ANY(:ids) AND error IS NOT NULL"),
        {"stage": ORIGINALS, "ids": wanted},
    )
    result = connection.execute(
        text(
            "UPDATE source_files SET state = 'superseded', reason = 'it was gone before it was stored' "
            "WHERE id = ANY(:ids) AND state IN ('pending', 'failed')"
        ),
        {"ids": wanted},
    )
    return result.rowcount


def group_dates(connection: Connection, source: str, groups: Sequence[tuple[str, str]]) -> dict[tuple[str, str], date]:
    """Returns the day of each bundle's lead that was seen before, by (folder, stem key), for halves that come late."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT ON (s.folder, s.stem_key) s.folder, s.stem_key, s.partition_date FROM source_files s "
            "JOIN unnest(CAST(:folders AS text[]), CAST(:stems AS text[])) AS g (folder, stem_key) "
            "ON s.folder = g.folder AND s.stem_key = g.stem_key WHERE s.source = :source AND s.state <> 'superseded' "
            "ORDER BY s.folder, s.stem_key, "
            "(s.kind = 'photo') DESC, (s.kind = 'raw') DESC, (s.kind = 'video') DESC, s.id"
        ),
        {
            "source": source,
            "folders": [folder for folder, _ in groups],
            "stems": [stem for _, stem in groups],
        },
    )
    return {(row.folder, row.stem_key): row.partition_date for row in rows}


def load_source_files(connection: Connection, ids: Sequence[int]) -> list[SourceFile]:
    """Returns observations in the order of `ids`."""
    rows = connection.execute(
        text(
            "SELECT id, source, source_id, version, kind, size, mtime_ns, capture_local, capture_offset_minutes, "
            "capture_provenance, capture_flag, partition_date FROM source_files WHERE id = ANY(:ids)"
        ),
        {"ids": list(ids)},
    )
    found = {row.id: SourceFile(*row) for row in rows}
    return [found[row_id] for row_id in ids if row_id in found]


def settle(
    connection: Connection,
    source_file_id: int,
    state: str,
    *,
    media_file_id: int | None = None,
    reason: str | None = None,
) -> None:
    """Records what became of an observation; one that failed because it was gone meanwhile is no failure to mend."""
    connection.execute(
        text(
            "UPDATE source_files SET state = CASE WHEN :state = 'failed' AND gone_at IS NOT NULL "
            "THEN 'superseded' ELSE :state END, media_file_id = :media_file_id, reason = :reason, "
            "settled_at = now() WHERE id = :id"
        ),
        {"id": source_file_id, "state": state, "media_file_id": media_file_id, "reason": reason},
    )


def kept_observation_is_gone(connection: Connection, media_file_id: int) -> bool:
    """Returns whether every observation that a content was kept from has left its source."""
    present = connection.execute(
        text(
            "SELECT count(*) FROM source_files WHERE media_file_id = :id AND gone_at IS NULL "
            "AND state IN ('kept', 'renamed')"
        ),
        {"id": media_file_id},
    ).scalar_one()
    return int(present) == 0


def observations_of(connection: Connection, media_file_ids: Sequence[int]) -> list[tuple[int, str, str, str, str]]:
    """Returns (content, source, folder, stem key, path) of every observation of some contents."""
    rows = connection.execute(
        text(
            "SELECT media_file_id, source, folder, stem_key, source_id FROM source_files "
            "WHERE media_file_id = ANY(:ids) ORDER BY id"
        ),
        {"ids": list(media_file_ids)},
    )
    return [(row.media_file_id, row.source, row.folder, row.stem_key, row.source_id) for row in rows]


def siblings(connection: Connection, source: str, folder: str, stem_key: str) -> list[tuple[int, str]]:
    """Returns (content, path) of the stored files that share a folder and a stem."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT media_file_id, source_id FROM source_files WHERE source = :source AND folder = :folder "
            "AND stem_key = :stem_key AND media_file_id IS NOT NULL ORDER BY source_id, media_file_id"
        ),
        {"source": source, "folder": folder, "stem_key": stem_key},
    )
    return [(row.media_file_id, row.source_id) for row in rows]
