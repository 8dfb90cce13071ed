"""What was observed where: the listing of each source, as the catalog holds it.

Belongs here: queries on `sources` and `source_files`. Does not belong here: listing a folder, or
deciding what is new (`pipeline.discovery`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Connection, text

from catalog import standing
from catalog.work import WorkQuery


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One observation; `media_file_id` is None while it waits to be stored."""

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
    media_file_id: int | None
    local_path: str | None


ORIGINALS = "folder_originals"
ICLOUD_ORIGINALS = "icloud_originals"
STORING = (ORIGINALS, ICLOUD_ORIGINALS)  # the stages that work on observations
to_store = WorkQuery(
    stage=ORIGINALS,
    table="source_files s",
    alias="s",
    where="s.state IN ('pending', 'failed')",
    date="s.partition_date",
)


def to_store_from(names: Sequence[str], stage: str = ORIGINALS) -> WorkQuery:
    """Returns the observations that wait, of some sources: those that are switched on and there."""
    where = f"{to_store.where} AND s.source = ANY(:sources)"
    return replace(to_store, stage=stage, where=where, params={"sources": list(names)})


def to_store_or_look_at_again(names: Sequence[str], roots: Sequence[str], run_id: str) -> WorkQuery:
    """Returns what waits, and the observations that damaged contents were kept from.

    Args:
        names: The sources that are switched on and there.
        roots: The roots in which contents can be read.
        run_id: The run that asks; what it has looked at itself is not due a second time.
    """
    again = (
        "s.state = 'kept' AND s.media_file_id IN (SELECT m.id FROM media_files m WHERE m.state = 'damaged' "
        "AND m.missing_since IS NULL AND m.stored_root = ANY(:roots) AND NOT EXISTS (SELECT 1 FROM pipeline_logs l "
        "WHERE l.media_file_id = m.id AND l.run_id = :run_id AND l.stage = :look_stage))"
    )
    waiting = to_store_from(names)
    params = {**waiting.params, "roots": list(roots), "run_id": run_id, "look_stage": ORIGINALS}
    return replace(waiting, where=f"(({waiting.where}) OR ({again}))", params=params)


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
            INSERT INTO source_files (source, source_id, version, folder, stem_key, kind, size, mtime_ns, role,
                capture_local, capture_offset_minutes, capture_provenance, capture_flag, partition_date)
            VALUES (:source, :source_id, :version, :folder, :stem_key, :kind, :size, :mtime_ns, :role,
                :capture_local, :capture_offset_minutes, :capture_provenance, :capture_flag, :partition_date)
            ON CONFLICT (source, source_id, version) DO UPDATE SET gone_at = NULL,
                state = CASE WHEN source_files.state = 'superseded' THEN 'pending' ELSE source_files.state END
            """
        ),
        [{"role": None, **row} for row in rows],
    )
    standing.came_back(connection, rows)


def mark_gone(connection: Connection, ids: Iterable[int]) -> int:
    """Records that files are no longer where they were seen. Nothing here is deleted by that.

    A content that was left in one of them is followed to another file with its bytes, or is missing from now on.

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
        text("DELETE FROM work WHERE stage = ANY(:stages) AND row_id = ANY(:ids) AND error IS NOT NULL"),
        {"stages": list(STORING), "ids": wanted},
    )
    standing.follow_gone(connection, wanted)
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


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file that shares a folder and a stem with another; `waits` while it is not stored."""

    id: int
    source_id: str
    kind: str
    partition_date: date
    waits: bool


def present_siblings(connection: Connection, source_file_id: int) -> list[Sibling]:
    """Returns what stands beside an observation under its stem, itself included."""
    rows = connection.execute(
        text(
            "SELECT s.id, s.source_id, s.kind, s.partition_date, s.state IN ('pending', 'failed') FROM source_files o "
            "JOIN source_files s ON s.source = o.source AND s.folder = o.folder AND s.stem_key = o.stem_key "
            "WHERE o.id = :id AND s.gone_at IS NULL AND s.state <> 'superseded' ORDER BY s.id"
        ),
        {"id": source_file_id},
    )
    return [Sibling(*row) for row in rows]


def set_capture_date(
    connection: Connection,
    source_file_id: int,
    local: datetime,
    offset_minutes: int | None,
    provenance: str,
    *,
    flag: str | None,
    partition_date: date,
) -> None:
    """Dates an observation that waits to be stored."""
    connection.execute(
        text(
            "UPDATE source_files SET capture_local = :local, capture_offset_minutes = :offset, "
            "capture_provenance = :provenance, capture_flag = :flag, partition_date = :day "
            "WHERE id = :id AND state IN ('pending', 'failed')"
        ),
        {
            "id": source_file_id,
            "local": local,
            "offset": offset_minutes,
            "provenance": provenance,
            "flag": flag,
            "day": partition_date,
        },
    )


def move_to_day(connection: Connection, ids: Sequence[int], day: date, flag: str | None) -> None:
    """Gives observations that wait to be stored the day of their lead."""
    connection.execute(
        text(
            "UPDATE source_files SET partition_date = :day, capture_flag = :flag "
            "WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('pending', 'failed')"
        ),
        {"ids": list(ids), "day": day, "flag": flag},
    )


def load_source_files(connection: Connection, ids: Sequence[int]) -> list[SourceFile]:
    """Returns observations in the order of `ids`."""
    rows = connection.execute(
        text(
            "SELECT id, source, source_id, version, kind, size, mtime_ns, capture_local, capture_offset_minutes, "
            "capture_provenance, capture_flag, partition_date, media_file_id, local_path FROM source_files "
            "WHERE id = ANY(:ids)"
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


def declared_roles(connection: Connection, source: str, folder: str, stem_key: str) -> dict[int, str]:
    """Returns what each stored file of a group is to it, where the source itself says so, by content."""
    rows = connection.execute(
        text(
            "SELECT media_file_id, role FROM source_files WHERE source = :source AND folder = :folder "
            "AND stem_key = :stem_key AND media_file_id IS NOT NULL AND role IS NOT NULL ORDER BY id"
        ),
        {"source": source, "folder": folder, "stem_key": stem_key},
    )
    return {row.media_file_id: row.role for row in rows}


def is_kept_from_another(connection: Connection, media_file_id: int) -> bool:
    """Returns whether a content has an observation that it was kept from, there or gone."""
    found = connection.execute(
        text("SELECT 1 FROM source_files WHERE media_file_id = :id AND state = 'kept'"), {"id": media_file_id}
    ).scalar()
    return found is not None


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


def waiting(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Returns those of some observations whose bytes are still to come."""
    rows = connection.execute(
        text("SELECT id FROM source_files WHERE id = ANY(:ids) AND state IN ('pending', 'failed')"), {"ids": list(ids)}
    )
    return set(rows.scalars())


def siblings_of(connection: Connection, source_file_id: int) -> list[int]:
    """Returns the contents that share an observation's folder and stem."""
    return list(
        connection.execute(
            text(
                "SELECT DISTINCT s.media_file_id FROM source_files o JOIN source_files s ON s.source = o.source "
                "AND s.folder = o.folder AND s.stem_key = o.stem_key WHERE o.id = :id AND s.media_file_id IS NOT NULL"
            ),
            {"id": source_file_id},
        ).scalars()
    )
