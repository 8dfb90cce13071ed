"""Which files of iCloud lie on this machine already, found by Apple's checksum and size.

Belongs here: queries that put files of a folder and observations of iCloud together. Does not belong here: reading the
folder (`pipeline.icloud_import`), or copying from it (`pipeline.icloud_originals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from catalog.sources import ICLOUD_ORIGINALS, to_store_from
from catalog.work import WorkQuery, give_back

# A role tells that the version is Apple's checksum, and lets the index of those be used.
_IN_ICLOUD = "s.role IS NOT NULL AND s.source = ANY(:sources) AND s.gone_at IS NULL"
_WAITS = "s.state IN ('pending', 'failed')"


@dataclass(frozen=True, slots=True)
class Observed:
    """A file in iCloud.

    Attributes:
        id: Its observation.
        checksum: Apple's.
        size: Bytes.
        waits: Whether its bytes are still to come.
    """

    id: int
    checksum: str
    size: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Amount:
    """How many files, and their bytes; bytes that several of them share count once."""

    files: int
    bytes: int


def to_bring(sources: Sequence[str], asked: list[str]) -> WorkQuery:
    """Returns the observations in some libraries whose bytes are to come.

    Args:
        sources: The libraries.
        asked: Those that Apple can be asked about; of the others only what lies on this machine is due. It is looked at
            anew at each claim, so that whoever holds it may take a library out meanwhile.
    """
    waiting = to_store_from(sources, ICLOUD_ORIGINALS)
    where = f"{waiting.where} AND (s.source = ANY(:asked) OR s.local_path IS NOT NULL)"
    return replace(waiting, where=where, params={**waiting.params, "asked": asked})


def sizes(connection: Connection, sources: Sequence[str]) -> set[int]:
    """Returns every size that a file in some libraries has."""
    rows = connection.execute(
        text(f"SELECT DISTINCT s.size FROM source_files s WHERE {_IN_ICLOUD}"), {"sources": list(sources)}
    )
    return set(rows.scalars())


def with_checksums(
    connection: Connection, sources: Sequence[str], wanted: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], list[Observed]]:
    """Returns the files in some libraries that have some checksums and sizes."""
    # By the checksum alone: with the library in the question too, a planner that has not counted the table yet reads
    # the whole library for each answer.
    rows = connection.execute(
        text(
            f"SELECT s.id, s.version, s.size, {_WAITS} AS waits, s.source, s.gone_at FROM source_files s "
            "WHERE s.role IS NOT NULL AND s.version = ANY(CAST(:checksums AS text[])) ORDER BY s.id"
        ),
        {"checksums": list({checksum for checksum, _ in wanted})},
    )
    asked, found = set(wanted), dict[tuple[str, int], list[Observed]]()
    for row in rows:
        pair = (row.version, row.size)
        if pair in asked and row.source in sources and row.gone_at is None:
            found.setdefault(pair, []).append(Observed(row.id, row.version, row.size, row.waits))
    return found


def set_places(connection: Connection, places: Mapping[int, str]) -> None:
    """Remembers where the bytes of waiting files lie; what failed is due at once, for the reason is gone."""
    connection.execute(
        text(
            "UPDATE source_files s SET local_path = p.path FROM unnest(CAST(:ids AS bigint[]), CAST(:paths AS text[])) "
            f"AS p (id, path) WHERE s.id = p.id AND {_WAITS}"
        ),
        {"ids": list(places), "paths": list(places.values())},
    )
    give_back(connection, ICLOUD_ORIGINALS, list(places), lease_id=0)


def observed(connection: Connection, sources: Sequence[str], *, to_download: bool) -> Amount:
    """Returns what some libraries hold.

    Args:
        connection: The catalog.
        sources: The libraries.
        to_download: Only what waits and has no copy on this machine.
    """
    more = f" AND {_WAITS} AND s.local_path IS NULL" if to_download else ""
    row = connection.execute(
        text(
            "SELECT coalesce(sum(n), 0) AS files, coalesce(sum(size), 0) AS bytes FROM (SELECT count(*) AS n, s.size "
            f"FROM source_files s WHERE {_IN_ICLOUD}{more} GROUP BY s.version, s.size) AS contents"
        ),
        {"sources": list(sources)},
    ).one()
    return Amount(int(row.files), int(row.bytes))
