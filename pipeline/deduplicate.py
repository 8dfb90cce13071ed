"""Deduplication: every content once, bundles formed, pairs that look alike proposed.

Belongs here: the stage `deduplicated_media`. Exact duplicates are recognised when they are stored
(`pipeline.storing`); here nothing is merged and nothing is deleted. Does not belong here: what
belongs together (`pipeline.bundling`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Connection

from catalog import bundles, deliveries, media
from catalog.logs import log_event
from catalog.media import MediaFile
from catalog.paths import from_text
from catalog.work import WorkQuery
from media.perceptual import luma_correlation
from pipeline import layout
from pipeline.bundling import form_bundles
from pipeline.run import Run
from pipeline.stage import Outcome, Stage


class DeduplicationStage(Stage[MediaFile]):
    """Forms bundles and proposes near duplicates."""

    name = media.DEDUPLICATED

    def __init__(
        self,
        roots: Mapping[str, Path],
        destinations: Sequence[str],
        *,
        near: bool,
        threshold: int,
        correlation: float,
    ) -> None:
        """Sets the stage up.

        Args:
            roots: The roots that are written to, by name.
            destinations: Who is told of each new member.
            near: Whether near duplicates are looked for.
            threshold: Bits of 256 by which two hashes may differ.
            correlation: How alike the small grey pictures must be, 0 to 1.
        """
        self._roots = roots
        self._destinations = destinations
        self._near = near
        self._threshold = threshold
        self._correlation = correlation
        self._index: PerceptualIndex | None = None

    def query(self, run: Run) -> WorkQuery:
        """Returns the contents that were not compared yet."""
        return media.to_deduplicate

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[MediaFile]:
        """Reads the contents."""
        return media.load_media(connection, ids)

    def row_id(self, item: MediaFile) -> int:
        """Returns the content's id."""
        return item.id

    def label(self, item: MediaFile) -> str:
        """Returns the original's path."""
        return item.stored_path

    def record(self, connection: Connection, item: MediaFile, result: Any, run: Run) -> Outcome:
        """Bundles the content and writes what looks like it."""
        bundles.lock_bundling(connection)
        name = os.path.basename(from_text(item.stored_path))
        for member in form_bundles(connection, item, name):
            deliveries.enqueue_members(connection, self._destinations, member)
        proposals = self._propose(connection, item) if self._near else 0
        media.mark_deduplicated(connection, item.id)
        log_event(connection, run_id=run.run_id, stage=self.name, event="bundled", media_file_id=item.id)
        return Outcome("compared", {"near_duplicates": float(proposals)})

    def failed(self, connection: Connection, item: MediaFile, reason: str, run: Run) -> None:
        """Adds a line to the file's history."""
        log_event(connection, run_id=run.run_id, stage=self.name, event="failed", media_file_id=item.id, detail=reason)

    def _propose(self, connection: Connection, item: MediaFile) -> int:
        phash = media.phash_of(connection, item.id)
        if phash is None or item.kind != "photo":
            return 0
        if self._index is None:
            self._index = PerceptualIndex(*media.perceptual_hashes(connection))
        near = self._index.near(phash, self._threshold)
        others = media.load_media(connection, [other for other in near if other != item.id])
        mine = {bundle.id for bundle in bundles.bundles_of(connection, item.id)}
        proposed = 0
        for other in others:
            together = mine & {bundle.id for bundle in bundles.bundles_of(connection, other.id)}
            if other.kind != "photo" or together or different_shots(item, other):
                continue
            likeness = self._likeness(item, other)
            if likeness is not None and likeness >= self._correlation:
                kept, copy = better_first(item, other)
                proposed += media.add_duplicate(
                    connection,
                    kind="near",
                    media_file_id=copy.id,
                    kept_media_file_id=kept.id,
                    distance=near[other.id],
                    correlation=likeness,
                    decision="proposed",
                )
        return proposed

    def _likeness(self, one: MediaFile, other: MediaFile) -> float | None:
        if one.thumbnail_path is None or other.thumbnail_path is None:
            return None
        root = self._roots[layout.THUMBNAILS]
        try:
            with Image.open(root / one.thumbnail_path) as first, Image.open(root / other.thumbnail_path) as second:
                return luma_correlation(first, second)
        except OSError:
            return None  # thumbnails can be made anew; without them nothing is proposed


class PerceptualIndex:
    """Every perceptual hash of the catalog, compared by brute force.

    At 100,000 hashes of 256 bits a query takes about 0.3 ms, and it misses nothing.
    """

    def __init__(self, ids: Sequence[int], hashes: bytes) -> None:
        """Takes the ids and their hashes, 32 bytes each, in the same order."""
        self._ids = np.asarray(ids, dtype=np.int64)
        self._hashes = np.frombuffer(hashes, dtype=np.uint64).reshape(-1, 4)

    def near(self, phash: bytes, threshold: int) -> dict[int, int]:
        """Returns the ids whose hashes differ by at most `threshold` bits, with the difference."""
        query = np.frombuffer(phash, dtype=np.uint64)
        distance = np.bitwise_count(self._hashes ^ query).sum(axis=1)
        hits = np.flatnonzero(distance <= threshold)
        return {int(self._ids[hit]): int(distance[hit]) for hit in hits}


def different_shots(one: MediaFile, other: MediaFile) -> bool:
    """Returns whether the camera itself says that two pictures that look alike were taken twice."""
    if not one.model or (one.make, one.model) != (other.make, other.model):
        return False
    pairs = (
        (one.image_unique_id, other.image_unique_id),
        (one.content_identifier, other.content_identifier),
        (one.subsec, other.subsec),
    )
    if any(mine and theirs and mine != theirs for mine, theirs in pairs):
        return True
    return one.capture_local != other.capture_local


def better_first(one: MediaFile, other: MediaFile) -> tuple[MediaFile, MediaFile]:
    """Orders two pictures that look alike: more pixels, then richer metadata, then known for longer."""

    def merit(file: MediaFile) -> tuple[int, int, int, int]:
        rich = sum(value is not None for value in (file.make, file.image_unique_id, file.content_identifier))
        return ((file.width or 0) * (file.height or 0), rich, file.size, -file.id)

    return (one, other) if merit(one) >= merit(other) else (other, one)
