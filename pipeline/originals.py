"""Originals: every observed file is read once, kept whole under its own inode, and known by its content.

Belongs here: the stage `folder_originals`. Does not belong here: finding files (`pipeline.discovery`),
or what a file's bytes mean (`media.ingest`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import media, renditions, sources, work
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.sources import SourceFile
from catalog.work import WorkQuery
from media.files import ORIGINAL_MODE, SourceChanged, commit_part, hash_file, make_folder_below, part_path
from media.ingest import ingest
from pipeline import layout
from pipeline.dating import FIRST_SEEN, date_anew
from pipeline.discovery import DateRules
from pipeline.failures import is_task_timeout
from pipeline.run import Run
from pipeline.stage import Outcome, Stage
from resources.compute import Task, WorkerDied
from resources.folder import is_there

CHANGED_TRIES = 3
SLOWEST_READ = 5_000_000  # bytes a second, from a tired NAS over wireless


@dataclass(frozen=True, slots=True)
class SourceRoot:
    """Where a source's files stand, and whether they are copied or left there."""

    path: Path
    copied: bool


@dataclass(slots=True)
class Item:
    """An observation, where its file is, and what else has its size."""

    file: SourceFile
    path: Path
    known: list[str]
    part: Path | None
    broken: str | None = None
    unreadable: OSError | None = None


class OriginalsStage(Stage[Item]):
    """Stores what was observed: one read computes every hash while it copies."""

    name = sources.ORIGINALS

    def __init__(
        self, roots: Mapping[str, Path], source_roots: Mapping[str, SourceRoot], seconds: float, rules: DateRules
    ) -> None:
        """Sets the stage up.

        Args:
            roots: The roots that are written to, by name.
            source_roots: The sources, by name; files of a source that is not among them wait.
            seconds: What one file may take at most, beside the time that its bytes take to read.
            rules: How the date of a file that could not be read when it was found becomes a partition.
        """
        self._roots = roots
        self._sources = source_roots
        self._seconds = seconds
        self._rules = rules

    def query(self, run: Run) -> WorkQuery:
        """Returns the observations that wait, of the sources that are there: an unmounted disk fails no file."""
        return sources.to_store_from([name for name, root in self._sources.items() if is_there(root.path)])

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[Item]:
        """Reads the observations and the contents that have their sizes."""
        files = sources.load_source_files(connection, ids)
        unreadable: dict[int, OSError] = {}
        if undated := [file for file in files if file.capture_provenance == FIRST_SEEN]:
            moved, unreadable = self._date_anew(undated, run)
            files = sources.load_source_files(connection, [one for one in ids if one not in moved])
        items = []
        for file in files:
            root = self._sources[file.source]
            folder = self._roots[layout.ORIGINALS] / layout.day_folder(file.partition_date)
            known = media.contents_of_size(connection, file.size)
            part = part_path(folder / str(file.id), run.tag) if root.copied else None
            item = Item(file, root.path / from_text(file.source_id), known, part)
            item.unreadable = unreadable.get(file.id)
            items.append(item)
        return items

    def _date_anew(self, undated: Sequence[SourceFile], run: Run) -> tuple[set[int], dict[int, OSError]]:
        """Dates what could not be read when it was found; what moves to another day is due there, not here.

        Returns:
            What has moved, and what still cannot be read: it is not stored under a day that is none of its own.
        """
        moved: set[int] = set()
        unreadable: dict[int, OSError] = {}
        for file in undated:
            try:
                with run.engine.begin() as connection:
                    there = date_anew(connection, self._sources[file.source].path, self._rules, file)
                    work.give_back(connection, self.name, there, run.lease_id)
                moved.update(there)
            except OSError as error:
                unreadable[file.id] = error
        return moved, unreadable

    def row_id(self, item: Item) -> int:
        """Returns the observation's id."""
        return item.file.id

    def label(self, item: Item) -> str:
        """Returns the file's path in its source."""
        return item.file.source_id

    def task(self, item: Item, run: Run) -> Task | None:
        """Reads, copies, hashes and looks at the file.

        Raises:
            OSError: Its date could not be read just now.
        """
        if item.unreadable is not None:
            raise item.unreadable
        if item.part is not None:
            make_folder_below(self._roots[layout.ORIGINALS], item.part.parent)
        options = {
            "known": item.known,
            "thumbnail": str(self._thumbnail(item)),
            "tag": run.tag,
            "decode": item.broken is None,
        }
        return Task(ingest, (str(item.path), str(item.part) if item.part else None), options)

    def timeout(self, item: Item) -> float:
        """Returns the seconds that reading and one decode may take."""
        return self._seconds + item.file.size / SLOWEST_READ

    def again(self, item: Item, run: Run, result: Any, tries: int) -> Task | None:
        """Tries a file again that changed under the read, and one that its decoder did not survive without decoding."""
        if isinstance(result, Mapping) and result["outcome"] == "changed" and tries < CHANGED_TRIES:
            return self.task(item, run)
        if (another := super().again(item, run, result, tries)) is not None:
            return another
        too_slow = is_task_timeout(result)
        if (too_slow or isinstance(result, WorkerDied | MemoryError)) and item.broken is None:
            what = "took too long" if too_slow else "crashed or ran out of memory"
            item.broken = f"decoding it {what}, so it is taken for damaged"
            return self.task(item, run)
        return None

    def record(self, connection: Connection, item: Item, result: Any, run: Run) -> Outcome:
        """Gives a new content its final path and row; of a known one, remembers where it was seen."""
        if result["outcome"] == "changed":
            raise SourceChanged(result["reason"])
        if result["outcome"] == "rejected":
            return self._reject(connection, item, result["reason"], run)
        media.lock_content(connection, result["sha256"])
        kept = media.find_content(connection, result["sha256"])
        ours = kept or renditions.is_our_rendition(connection, result["sha256"])
        if ours is not None:
            return self._duplicate(connection, item, ours, kept is None, run)
        return self._keep(connection, item, result, run)

    def failed(self, connection: Connection, item: Item, reason: str, run: Run) -> None:
        """Leaves the observation as failed, with its reason."""
        self._discard(item)
        sources.settle(connection, item.file.id, "failed", reason=reason)
        self._log(connection, run, item, "failed", None, reason)

    def _reject(self, connection: Connection, item: Item, reason: str, run: Run) -> Outcome:
        sources.settle(connection, item.file.id, "rejected", reason=reason)
        self._log(connection, run, item, "rejected", None, reason)
        return Outcome("rejected", note=reason)

    def _duplicate(self, connection: Connection, item: Item, kept: int, rendition: bool, run: Run) -> Outcome:
        self._discard(item)
        if sources.kept_observation_is_gone(connection, kept) and not rendition:
            sources.settle(connection, item.file.id, "renamed", media_file_id=kept)
            if item.part is None:
                media.left_in_place_at(connection, kept, f"source:{item.file.source}", item.file.source_id)
            self._log(connection, run, item, "renamed", kept, None)
            self._bundle_siblings(connection, item)
            return Outcome("renamed")
        sources.settle(connection, item.file.id, "duplicate", media_file_id=kept)
        media.add_duplicate(
            connection, kind="exact", source_file_id=item.file.id, kept_media_file_id=kept, decision="merged"
        )
        note = "one of our own renditions came back" if rendition else "the same content is kept already"
        self._log(connection, run, item, "duplicate", kept, note)
        # A sidecar that came with the duplicate may complete the kept one's bundle.
        media.bundle_again(connection, kept)
        self._bundle_siblings(connection, item)
        return Outcome("duplicates")

    def _bundle_siblings(self, connection: Connection, item: Item) -> None:
        """Lets a photo find the sidecar of its name, whose bytes may be kept for another photo already."""
        if item.file.kind == "sidecar":  # Apple writes the same AAE for every photo with the same filter
            for sibling in sources.siblings_of(connection, item.file.id):
                media.bundle_again(connection, sibling)

    def _keep(self, connection: Connection, item: Item, result: Mapping[str, Any], run: Run) -> Outcome:
        file = item.file
        if item.part is None:
            root, stored = f"source:{file.source}", file.source_id
        else:
            root, name = layout.ORIGINALS, os.path.basename(from_text(file.source_id))
            path = layout.original_path(file.partition_date, name, result["sha256"])
            if _is_taken(self._roots[root] / path, result["sha256"]):
                path = layout.original_path(file.partition_date, name, result["sha256"], whole_hash=True)
            os.chmod(item.part, ORIGINAL_MODE)
            commit_part(item.part, self._roots[root] / path)
            stored = to_text(path)
        damage = item.broken or result.get("damage")
        kept = media.add_content(connection, self._row(item, result, root, stored, damage))
        sources.settle(connection, file.id, "kept", media_file_id=kept)
        self._log(connection, run, item, "damaged" if damage else "kept", kept, damage)
        figures = {"bytes": float(result["size"]), "kept": 1.0, "damaged": 1.0 if damage else 0.0}
        return Outcome("stored", figures, note=damage)

    def _row(
        self, item: Item, result: Mapping[str, Any], root: str, stored: str, damage: str | None
    ) -> dict[str, object]:
        file = item.file
        phash = result.get("phash")
        known = {
            name: result.get(name)
            for name in (
                "sha256", "apple_checksum", "size", "kind", "format", "mime", "width", "height", "orientation",
                "duration_seconds", "make", "model", "content_identifier", "image_unique_id", "subsec",
            )
        }  # fmt: skip
        return {
            **known,
            "phash": bytes.fromhex(phash) if phash else None,
            "stored_root": root,
            "stored_path": stored,
            "thumbnail_path": self._thumbnail_path(item) if result.get("thumbnail") else None,
            "capture_local": file.capture_local,
            "capture_offset_minutes": file.capture_offset_minutes,
            "capture_provenance": file.capture_provenance,
            "capture_flag": file.capture_flag,
            "partition_date": file.partition_date,
            "has_gps": bool(result.get("has_gps")),
            "state": "damaged" if damage else "kept",
            "reason": damage,
        }

    def _thumbnail_path(self, item: Item) -> str:
        return f"{layout.day_folder(item.file.partition_date)}/{item.file.id}.jpg"

    def _thumbnail(self, item: Item) -> Path:
        return self._roots[layout.THUMBNAILS] / self._thumbnail_path(item)

    def _discard(self, item: Item) -> None:
        if item.part is not None:
            item.part.unlink(missing_ok=True)

    def _log(
        self, connection: Connection, run: Run, item: Item, event: str, kept: int | None, detail: str | None
    ) -> None:
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event=event,
            source_file_id=item.file.id,
            media_file_id=kept,
            detail=detail,
        )


def _is_taken(final: Path, sha256: str) -> bool:
    """Returns whether other bytes stand at a path: an original is never written over, whatever its name says."""
    return final.exists() and hash_file(str(final))["sha256"] != sha256
