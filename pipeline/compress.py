"""Compression: what a file may be at its age, made from the original, or the original kept with a reason.

Belongs here: the stage `compressed_media`, and which tier holds for which days. Does not belong here:
encoders and what they refuse (`media.renditions`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import deliveries, media, renditions
from catalog.logs import log_event
from catalog.media import MediaFile
from catalog.paths import from_text, to_text
from catalog.renditions import TierDates
from catalog.work import WorkQuery
from media.files import ORIGINAL_MODE, commit_part, hash_file, make_folder_below, part_path
from media.renditions import KINDS_LEFT_ALONE, make_rendition
from media.tiers import Tier, tier_for
from pipeline import layout
from pipeline.run import Run
from pipeline.stage import Outcome, Stage
from resources.compute import Task


def tier_dates(tiers: Sequence[Tier], today: date) -> list[TierDates]:
    """Returns each tier with the capture days for which it holds today; together they cover every day once.

    Args:
        tiers: Sorted by age, the first one from 0 days on.
        today: The day that counts as today.
    """
    dates = []
    newest = date.max
    for tier, older in zip(tiers, [*tiers[1:], None], strict=True):
        oldest = date.min if older is None else today - timedelta(days=older.after_days) + timedelta(days=1)
        dates.append(TierDates(tier.plan.fingerprint(), oldest, newest))
        newest = oldest - timedelta(days=1) if older is not None else newest
    return dates


class CompressionStage(Stage[MediaFile]):
    """Decides for every content under today's tiers, and makes the renditions."""

    name = renditions.COMPRESSED

    def __init__(
        self,
        roots: Mapping[str, Path],
        originals: Mapping[str, Path],
        tiers: Sequence[Tier],
        destinations: Sequence[str],
        seconds: float,
    ) -> None:
        """Sets the stage up.

        Args:
            roots: The roots that are written to, by name.
            originals: Where originals stand, by the name of their root; sources left in place included.
            tiers: Sorted by age.
            destinations: Who is told of each new rendition.
            seconds: What one file may take at most.
        """
        self._roots = roots
        self._originals = originals
        self._tiers = tiers
        self._destinations = destinations
        self._seconds = seconds

    def query(self, run: Run) -> WorkQuery:
        """Returns the contents that were not decided under the settings of today."""
        return renditions.to_compress(tier_dates(self._tiers, run.today))

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[MediaFile]:
        """Reads the contents."""
        return media.load_media(connection, ids)

    def row_id(self, item: MediaFile) -> int:
        """Returns the content's id."""
        return item.id

    def label(self, item: MediaFile) -> str:
        """Returns the original's path."""
        return item.stored_path

    def task(self, item: MediaFile, run: Run) -> Task | None:
        """Encodes the original anew, unless it is one that never is."""
        if self._never(item) is not None:
            return None
        part = self._part(item, run)
        make_folder_below(self._roots[layout.RENDITIONS], part.parent)
        original = self._originals[item.stored_root] / from_text(item.stored_path)
        plan = self._tier(item, run).plan
        options = {"sha256": item.sha256, "kind": item.kind, "format": item.format, "plan": plan.to_dict()}
        return Task(make_rendition, (str(original), str(part)), options)

    def timeout(self, item: MediaFile) -> float:
        """Returns the seconds that encoding may take."""
        return self._seconds

    def record(self, connection: Connection, item: MediaFile, result: Any, run: Run) -> Outcome:
        """Gives a rendition its final path, or writes why the original is kept."""
        reason = self._never(item)
        if reason is None and result["outcome"] == "made":
            return self._made(connection, item, result, run)
        return self._kept(connection, item, reason or result["reason"], run)

    def failed(self, connection: Connection, item: MediaFile, reason: str, run: Run) -> None:
        """Removes what was begun; a destination that takes originals too gets that one all the same."""
        self._part(item, run).unlink(missing_ok=True)
        log_event(connection, run_id=run.run_id, stage=self.name, event="failed", media_file_id=item.id, detail=reason)

    def give_up(self, connection: Connection, item: MediaFile, reason: str, run: Run) -> Outcome:
        """Keeps the original with the reason: who takes renditions alone would otherwise never get this photo."""
        said = f"it could not be made smaller at {run.max_attempts} tries: {reason}"
        if renditions.keep_present(connection, item.id, self._tier(item, run).plan.fingerprint()):
            return Outcome("kept_rendition", note=f"the rendition that stands is kept; {said}")
        return replace(self._kept(connection, item, said, run), note=said)

    def _made(self, connection: Connection, item: MediaFile, result: Mapping[str, Any], run: Run) -> Outcome:
        fingerprint = self._tier(item, run).plan.fingerprint()
        same = renditions.path_of_same(connection, item.id, fingerprint, result["sha256"])
        path = self._free_path(connection, item, result, fingerprint) if same is None else from_text(same)
        part, final = self._part(item, run), self._roots[layout.RENDITIONS] / path
        if same is not None and _holds(final, result["sha256"]):
            part.unlink()
        else:
            # What stands there otherwise is damaged, or a killed run left it: no row is about it.
            os.chmod(part, ORIGINAL_MODE)
            commit_part(part, final)
        details = {name: result[name] for name in ("sha256", "size", "width", "height", "format", "detail", "seconds")}
        self._decide(connection, item, run, {"outcome": "made", "path": to_text(path), **details})
        deliveries.enqueue_members(connection, self._destinations, item.id)
        figures = {"bytes_before": float(item.size), "bytes_after": float(result["size"])}
        return Outcome("renditions", figures)

    def _free_path(self, connection: Connection, item: MediaFile, result: Mapping[str, Any], fingerprint: str) -> str:
        """Returns a path that no rendition has: an earlier one is never written over, for it may be on its way."""
        content = f"-{result['sha256'][: layout.HASH_CHARS]}"
        original = from_text(item.stored_path)
        paths = [
            layout.rendition_path(original, fingerprint, result["extension"], item.partition_date, mark)
            for mark in ("", content, f"{content}-{item.id}")
        ]
        return next((path for path in paths if renditions.path_is_free(connection, to_text(path))), paths[-1])

    def _kept(self, connection: Connection, item: MediaFile, reason: str, run: Run) -> Outcome:
        nothing = dict.fromkeys(("path", "sha256", "size", "width", "height", "format"))
        self._decide(connection, item, run, {**nothing, "outcome": "kept_original", "detail": reason, "seconds": 0.0})
        return Outcome("kept_original", {"bytes_before": float(item.size), "bytes_after": float(item.size)})

    def _decide(self, connection: Connection, item: MediaFile, run: Run, values: Mapping[str, object]) -> None:
        tier = self._tier(item, run)
        renditions.record_decision(
            connection,
            {
                **values,
                "media_file_id": item.id,
                "plan_fingerprint": tier.plan.fingerprint(),
                "tier": tier.name,
                "run_id": run.run_id,
            },
        )
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event=str(values["outcome"]),
            media_file_id=item.id,
            detail=str(values["detail"]),
        )

    def _never(self, item: MediaFile) -> str | None:
        if item.state == "damaged":
            return f"a damaged file is kept as it is ({item.reason})"
        return KINDS_LEFT_ALONE.get(item.kind)

    def _tier(self, item: MediaFile, run: Run) -> Tier:
        return tier_for((run.today - item.partition_date).days, self._tiers)

    def _part(self, item: MediaFile, run: Run) -> Path:
        folder = self._roots[layout.RENDITIONS] / layout.day_folder(item.partition_date)
        return part_path(folder / str(item.id), run.tag)


def _holds(final: Path, sha256: str) -> bool:
    """Returns whether exactly these bytes stand at a path."""
    return final.is_file() and not final.is_symlink() and hash_file(str(final))["sha256"] == sha256
