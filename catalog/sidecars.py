"""Which photos of iCloud wait for their sidecar, and what it is to say.

Belongs here: `sidecar_due` of `icloud_records`. It is the time of the change, not a flag: a change that comes while a
sidecar is being written leaves it due. Beside it stands the day, so that what is due is claimed by an index and not by
reading all that is. Does not belong here: the records themselves (`catalog.icloud`), or the document (`media.xmp`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from catalog.work import WorkQuery

SIDECARS = "icloud_sidecars"

# A photo's leading file, once it is stored. Only one of them, or one record would be claimed twice at once.
_LEAD = """
    SELECT s.id, s.version, s.media_file_id FROM source_files s
    WHERE s.source = r.source AND s.folder = r.name AND s.stem_key = r.name AND s.role = 'lead'
        AND s.gone_at IS NULL AND s.media_file_id IS NOT NULL
    ORDER BY s.id LIMIT 1
"""
_MAKE_DUE = """
    UPDATE icloud_records r SET sidecar_due = clock_timestamp(), sidecar_day = s.partition_date FROM source_files s
    WHERE r.kind = 'asset' AND r.state IN ('live', 'hidden') AND s.source = r.source AND s.folder = r.name
        AND s.stem_key = r.name AND s.role = 'lead' AND s.gone_at IS NULL
"""
_STORED = f"icloud_records r JOIN LATERAL ({_LEAD}) s ON true JOIN media_files m ON m.id = s.media_file_id"


def to_write(sources: Sequence[str]) -> WorkQuery:
    """Returns the photos whose sidecar is due and whose original is here, of the libraries that have sidecars."""
    return WorkQuery(
        stage=SIDECARS,
        table=_STORED,
        alias="r",
        where="r.sidecar_due IS NOT NULL AND r.source = ANY(:sources) AND r.kind = 'asset' "
        "AND r.state IN ('live', 'hidden')",
        date="r.sidecar_day",
        params={"sources": list(sources)},
    )


@dataclass(slots=True)
class Subject:
    """A photo whose sidecar is due.

    Attributes:
        id: Its record.
        source: Its library.
        name: Its record name.
        fields: What iCloud says of it.
        due: Since when; handed back to `written`.
        checksum: Apple's checksum of the leading file.
        source_file_id: The observation of the leading file.
        media_file_id: The content that was kept for it.
        stored_root: Where the original stands.
        stored_path: The same.
        is_second: Whether another photo in iCloud has the very same original, and came first.
        albums: The albums that it is in.
    """

    id: int
    source: str
    name: str
    fields: Mapping[str, Any]
    due: datetime
    checksum: str
    source_file_id: int
    media_file_id: int
    stored_root: str
    stored_path: str
    is_second: bool
    albums: list[str] = field(default_factory=list)


def load(connection: Connection, ids: Sequence[int], sources: Sequence[str]) -> list[Subject]:
    """Returns photos in the order of `ids`, with what iCloud says of them now.

    Args:
        connection: The catalog.
        ids: Their records.
        sources: The libraries that have sidecars: of two with the same original, the one observed first has it.
    """
    rows = connection.execute(
        text(
            "SELECT r.id, r.source, r.name, r.fields, r.sidecar_due, s.version, s.id, m.id, m.stored_root, "
            "m.stored_path, EXISTS (SELECT 1 FROM source_files o WHERE o.media_file_id = m.id "
            "AND o.role = 'lead' AND o.gone_at IS NULL AND o.source = ANY(:sources) AND o.id < s.id) "
            f"FROM {_STORED} WHERE r.id = ANY(:ids) AND r.sidecar_due IS NOT NULL"
        ),
        {"ids": list(ids), "sources": list(sources)},
    )
    found = {row[0]: Subject(*row) for row in rows}
    # Read after `due`: what changes in between is due again, so that it costs a second writing and loses nothing.
    albums = _albums(connection, list(found.values()))
    for subject in found.values():
        subject.albums = albums.get((subject.source, subject.name), [])
    return [found[one] for one in ids if one in found]


def _albums(connection: Connection, subjects: Sequence[Subject]) -> dict[tuple[str, str], list[str]]:
    rows = connection.execute(
        text(
            "SELECT DISTINCT p.source, p.name, a.fields->>'name' AS album "
            "FROM unnest(CAST(:sources AS text[]), CAST(:names AS text[])) AS p (source, name) "
            "JOIN icloud_records r ON r.source = p.source AND r.parent = p.name AND r.kind = 'relation' "
            "AND r.state = 'live' "
            "JOIN icloud_records a ON a.source = r.source AND a.name = r.fields->>'album' AND a.kind = 'album' "
            "AND a.state = 'live' WHERE a.fields->>'name' IS NOT NULL ORDER BY 1, 2, 3"
        ),
        {"sources": [one.source for one in subjects], "names": [one.name for one in subjects]},
    )
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.source, row.name), []).append(row.album)
    return found


def written(connection: Connection, record_id: int, due: datetime) -> None:
    """Records that a photo's sidecar says what iCloud said at a time; what was said since leaves it due."""
    connection.execute(
        text("UPDATE icloud_records SET sidecar_due = NULL WHERE id = :id AND sidecar_due = :due"),
        {"id": record_id, "due": due},
    )


def make_due(connection: Connection, source: str, assets: Iterable[str]) -> int:
    """Has the sidecars of some photos written anew; of deleted ones, and of what was never taken in, they stay.

    Returns:
        How many are due by that.
    """
    result = connection.execute(
        text(f"{_MAKE_DUE} AND r.source = :source AND r.name = ANY(:names)"), {"source": source, "names": list(assets)}
    )
    return result.rowcount


def make_days_due(connection: Connection, sources: Sequence[str], first: date, last: date) -> None:
    """Has every sidecar of some days looked at again."""
    connection.execute(
        text(f"{_MAKE_DUE} AND r.source = ANY(:sources) AND s.partition_date BETWEEN :first AND :last"),
        {"sources": list(sources), "first": first, "last": last},
    )


def assets_in_albums(connection: Connection, source: str, albums: Iterable[str]) -> list[str]:
    """Returns the photos that are in some albums."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT parent FROM icloud_records WHERE source = :source AND kind = 'relation' "
            "AND state = 'live' AND fields->>'album' = ANY(:albums)"
        ),
        {"source": source, "albums": list(albums)},
    )
    return [parent for parent in rows.scalars() if parent is not None]
