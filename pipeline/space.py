"""How much room a run would need, told before anything is written.

Belongs here: the estimate, stage by stage and disk by disk. Does not belong here: what to do about a lack of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from catalog import work
from catalog.deliveries import stage_name
from catalog.renditions import COMPRESSED
from catalog.sources import ICLOUD_ORIGINALS, ORIGINALS, STORING
from catalog.work import ALL_DAYS, ClaimRules, Redo, Scope, WorkQuery
from pipeline import layout
from pipeline.assembly import Platform
from pipeline.destination import Destination
from pipeline.planning import Shortage, shortages

NO_ROOM = "Not enough room, so nothing was written. "
# The largest share of an original that a rendition may have, and a little for thumbnails and the catalog.
RENDITION_SHARE = 0.9
THUMBNAIL_BYTES = 40_000
CATALOG_BYTES = 10_000

_COPIED = "CASE WHEN s.source = ANY(:copied) THEN s.size ELSE 0 END"
_COMPRESSED_SOME_DAY = "CASE WHEN s.kind IN ('photo', 'video') THEN s.size ELSE 0 END"
_DECIDED_BEFORE = "EXISTS (SELECT 1 FROM renditions x WHERE x.media_file_id = m.id)"
_FIRST_RENDITION = (
    f"CASE WHEN m.kind IN ('photo', 'video') AND m.state <> 'damaged' AND NOT {_DECIDED_BEFORE} THEN m.size ELSE 0 END"
)
# An older tier's rendition is no larger than the present one; an original that was kept will most likely be again.
_NEXT_RENDITION = "coalesce((SELECT x.size FROM renditions x WHERE x.id = m.rendition_id), 0)"
_HAS_ORIGINAL = "d.role = 'original'"
_HAS_RENDITION = {"keep": "d.role = 'rendition'", "replace": "d.role = 'rendition' AND d.sha256 = r.sha256"}


def estimate(
    platform: Platform,
    scope: Scope = ALL_DAYS,
    *,
    stages: Collection[str] | None = None,
    redo: Redo = "failed",
    limit: int = 0,
    unrecorded: tuple[int, int] = (0, 0),
) -> list[Shortage]:
    """Returns the disks on which a run would find no room.

    Args:
        platform: The home.
        scope: The run's days.
        stages: The stages that it goes through, None for all: one that only proves or tidies up needs no room.
        redo: Whether it takes failures.
        limit: It works on at most so many files at each stage; 0 for all.
        unrecorded: Number and bytes of files that a look found and did not record.
    """
    with platform.engine.connect() as connection:
        rules = ClaimRules(lease_id=0, redo=redo, max_attempts=platform.settings.runs.max_attempts)
        queries = {
            query.stage: query for query in platform.queries(aged=True) if stages is None or query.stage in stages
        }
        return shortages(_Estimate(connection, queries, scope, rules, limit).writes(platform, unrecorded))


@dataclass(frozen=True, slots=True)
class _Estimate:
    connection: Connection
    queries: Mapping[str, WorkQuery]
    scope: Scope
    rules: ClaimRules
    limit: int

    def writes(self, platform: Platform, unrecorded: tuple[int, int]) -> list[tuple[Path, int]]:
        new_files, new_bytes = unrecorded if ORIGINALS in self.queries else (0, 0)
        copied = [name for name, spec in platform.sources.items() if spec.copied]
        files, stored = self._due(ORIGINALS, "s.size")
        downloads, downloaded = self._due(ICLOUD_ORIGINALS, "s.size")
        files, stored = files + downloads + new_files, stored + downloaded + new_bytes
        originals = self._due(ORIGINALS, _COPIED, copied=copied)[1] + downloaded + (new_bytes if copied else 0)
        compressing = COMPRESSED in self.queries
        coming = sum(self._due(stage, _COMPRESSED_SOME_DAY)[1] for stage in STORING) + new_bytes if compressing else 0
        first = int(RENDITION_SHARE * (coming + self._due(COMPRESSED, _FIRST_RENDITION)[1]))
        following = self._due(COMPRESSED, _NEXT_RENDITION)[1]
        writes = [
            (platform.roots[layout.ORIGINALS], originals),
            (platform.roots[layout.RENDITIONS], first + following),
            (platform.roots[layout.THUMBNAILS], files * THUMBNAIL_BYTES),
            (platform.settings.home, files * CATALOG_BYTES),
        ]
        for name, destination in platform.destinations.items():
            if (root := platform.roots.get(layout.destination_root(name))) is not None:  # else it is no disk of ours
                writes.append((root, self._delivered(destination, stored, first, following)))
        return writes

    def _delivered(self, destination: Destination, stored: int, first: int, following: int) -> int:
        """Returns the bytes that uploading writes: what is staged, what waits for that, and what comes in this run."""
        uploaded, staged = stage_name(destination.name, "uploaded"), stage_name(destination.name, "staged")
        if uploaded not in self.queries:
            return 0
        size = self._due(uploaded, "d.size")[1]
        if staged not in self.queries:
            return size
        size += self._due(staged, _queued(destination))[1] + stored
        size += first if destination.deliver_what == "both" else 0
        replaced = destination.on_new_rendition == "replace" and destination.deliver_what != "original"
        return size + (following if replaced else 0)

    def _due(self, stage: str, size: str, **more: object) -> tuple[int, int]:
        query = self.queries.get(stage)
        if query is None:
            return 0, 0
        query = replace(query, params={**query.params, **more})
        return work.due_volume(self.connection, query, size, self.scope, self.rules, self.limit)


def _queued(destination: Destination) -> str:
    """Returns the SQL of the bytes that a queued member has and the destination was not told of."""
    has_rendition = _HAS_RENDITION[destination.on_new_rendition]
    original, rendition = _undelivered("m.size", _HAS_ORIGINAL), _undelivered("coalesce(r.size, 0)", has_rendition)
    either = _undelivered(
        "coalesce(r.size, m.size)", "true" if destination.on_new_rendition == "keep" else has_rendition
    )
    return {"original": original, "rendition": either, "both": f"{original} + {rendition}"}[destination.deliver_what]


def _undelivered(size: str, has_it: str) -> str:
    return (
        f"coalesce((SELECT {size} FROM media_files m LEFT JOIN renditions r ON r.id = m.rendition_id "
        "WHERE m.id = b.media_file_id AND NOT EXISTS (SELECT 1 FROM deliveries d "
        f"WHERE d.destination = q.destination AND d.bundle_member_id = b.id AND {has_it})), 0)"
    )
