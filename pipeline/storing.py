"""Storing: a file that was observed somewhere becomes an original that is kept whole and known by its content.

Belongs here: what every stage of originals shares once it can read a file: looking at it in a worker, step by step
where no worker survives it, and recording it as new, known, moved, come back or rejected. Does not belong here: where
the bytes come from (`pipeline.originals`, `pipeline.icloud_originals`), or what they mean (`media.ingest`).
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from catalog import media, renditions, sources, standing
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.sources import SourceFile
from catalog.standing import IN_SOURCE, KeptContent
from media.files import (
    ORIGINAL_MODE,
    Hashes,
    SourceChanged,
    commit_part,
    fsync_folder,
    hash_file,
    make_folder_below,
    refuse_missing_root,
)
from media.ingest import ingest, look_at_copy
from pipeline import layout
from pipeline.failures import is_task_timeout
from pipeline.run import Run
from pipeline.stage import WORKER_TRIES, Outcome, Stage
from resources.compute import Task, WorkerDied

CHANGED_TRIES = 3
DECODE_TRIES = 2
SLOWEST_READ = 5_000_000  # bytes a second, from a tired NAS over wireless


@dataclass(frozen=True, slots=True)
class SourceRoot:
    """Where a source's files stand, and whether they are copied or left there."""

    path: Path
    copied: bool


class Step(Enum):
    """How much a task asks of a file. A file that no task survives is asked for less, and then for more again."""

    ALL = "read it, and decode the copy while it is written"
    READ = "only read it, until its bytes are whole here"
    DECODE = "decode what is whole here"
    STORE = "take it as it is, without a decode"


@dataclass(slots=True)
class Item:
    """An observation, where its file is, and what else has its size.

    Attributes:
        file: The observation.
        path: The file to read.
        known: The kept contents of its size, by their sums.
        part: The private copy to make; `path` itself for one that was made already, None for a file that stays where
            it is.
        step: What its next task does.
        hashes: Of the bytes that are whole here.
        deaths: How many decodes of them alone were not survived.
        broken: What is wrong with the file, should nothing survive its decode.
    """

    file: SourceFile
    path: Path
    known: dict[str, KeptContent]
    part: Path | None
    step: Step = Step.ALL
    hashes: Hashes | None = None
    deaths: int = 0
    broken: str | None = None


AnItem = TypeVar("AnItem", bound=Item)


class StoringStage(Stage[AnItem]):
    """Stores what was observed: one read computes every hash, and the copy of it gets its final place."""

    def __init__(self, roots: Mapping[str, Path], folders: Mapping[str, SourceRoot], seconds: float) -> None:
        """Sets the stage up.

        Args:
            roots: The roots that are written to, by name.
            folders: The sources that are folders, by name: what was left there is kept already.
            seconds: What one file may take at most, beside the time that its bytes take to read.
        """
        self._roots = roots
        self._folders = folders
        self._seconds = seconds

    def row_id(self, item: AnItem) -> int:
        """Returns the observation's id."""
        return item.file.id

    def label(self, item: AnItem) -> str:
        """Returns the file's path in its source."""
        return item.file.source_id

    def task(self, item: AnItem, run: Run) -> Task | None:
        """Reads, copies, hashes and looks at the file, or does that part of it which its step says."""
        look = {"thumbnail": str(self._thumbnail(item)), "tag": run.tag, "decode": item.step in (Step.ALL, Step.DECODE)}
        if item.part is not None and item.hashes is not None:
            return Task(look_at_copy, (str(item.part), item.path.name, item.hashes), look)
        if item.part is not None:
            make_folder_below(self._roots[layout.ORIGINALS], item.part.parent)
        part = str(item.part) if item.part not in (None, item.path) else None
        return Task(ingest, (str(item.path), part), {"known": list(item.known), **look})

    def timeout(self, item: AnItem) -> float:
        """Returns the seconds that reading and one decode may take."""
        seconds = self._seconds + item.file.size / SLOWEST_READ
        # Where there is no copy, the decoder reads the file once more from where it stands; that it was just read
        # whole within its time says how long this takes at most.
        return seconds + self._seconds if item.part is None and item.step is Step.DECODE else seconds

    def again(self, item: AnItem, run: Run, result: Any, tries: int) -> Task | None:
        """Tries a file again that changed under the read, and takes one step by step that no task survived.

        A file is called damaged only when its bytes were whole here and a decode of them alone was not survived
        twice. A disk that is slow, or a machine that has too much to do, says nothing about the file.
        """
        if isinstance(result, Mapping):
            return self._after(item, run, result, tries)
        too_slow = is_task_timeout(result)
        if not (too_slow or isinstance(result, WorkerDied | MemoryError)):
            return None
        if item.step is Step.ALL:
            if isinstance(result, WorkerDied) and tries < WORKER_TRIES:
                return self.task(item, run)
            if too_slow and _was_still_read(item):
                return None
            item.step = Step.READ
        elif item.step is Step.DECODE:
            item.deaths += 1
            if item.deaths >= DECODE_TRIES:
                what = "took too long" if too_slow else "crashed or ran out of memory"
                item.broken = f"decoding it {what}, so it is taken for damaged"
                item.step = Step.STORE
        else:
            return None
        return self.task(item, run)

    def _after(self, item: AnItem, run: Run, result: Mapping[str, Any], tries: int) -> Task | None:
        if result["outcome"] == "changed" and tries < CHANGED_TRIES:
            return self.task(item, run)
        if result["outcome"] == "duplicate" and item.known and not self._is_held(item, result["sha256"]):
            item.known = {}  # what we kept of it is gone, so that these bytes are wanted
            return self.task(item, run)
        if result["outcome"] != "stored" or item.step is not Step.READ:
            return None
        item.hashes = {"sha256": result["sha256"], "apple_checksum": result["apple_checksum"], "size": result["size"]}
        item.step = Step.DECODE
        return self.task(item, run)

    def _is_held(self, item: AnItem, sha256: str) -> bool:
        try:
            return self._stands(item.known[sha256])
        except OSError:
            return True  # it cannot be told just now; recording says so

    def _stands(self, kept: KeptContent) -> bool:
        """Returns whether the file of a kept content stands where the catalog says, with its size.

        Raises:
            RootAway: The disk of our originals is away, which says nothing about the file.
            OSError: An original cannot be looked at just now, likewise.
        """
        try:
            if kept.missing or (path := self._path_of(kept)) is None:
                return False
            found = os.stat(path)
        except OSError as error:
            if kept.root != layout.ORIGINALS:
                return False  # out of our sight; a copy that can be read is worth more
            refuse_missing_root(self._roots[layout.ORIGINALS])
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        return stat.S_ISREG(found.st_mode) and found.st_size == kept.size

    def _path_of(self, kept: KeptContent) -> Path | None:
        if kept.root == layout.ORIGINALS:
            return self._roots[layout.ORIGINALS] / from_text(kept.path)
        source = self._folders.get(kept.root.removeprefix(IN_SOURCE))
        return None if source is None else source.path / from_text(kept.path)

    def record(self, connection: Connection, item: AnItem, result: Any, run: Run) -> Outcome:
        """Gives a new content its final path and row; of a known one, remembers where it was seen."""
        if result["outcome"] == "changed":
            raise SourceChanged(result["reason"])
        if result["outcome"] == "rejected":
            return self._reject(connection, item, result["reason"], run)
        media.lock_content(connection, result["sha256"])
        if (kept := standing.kept_content(connection, result["sha256"])) is not None:
            return self._known(connection, item, kept, result, run)
        ours = renditions.is_our_rendition(connection, result["sha256"])
        if ours is not None and self._is_needless(connection, ours, result["sha256"]):
            return self._duplicate(connection, item, ours, "one of our own renditions came back", run)
        return self._keep(connection, item, result, run)

    def _is_needless(self, connection: Connection, made_of: int, sha256: str) -> bool:
        """Returns whether a rendition that came back is not the last that is left of its photo."""
        if self._stands(standing.load_kept(connection, made_of)):
            return True
        found = renditions.standing_rendition(connection, sha256)
        if found is None or layout.RENDITIONS not in self._roots:
            return False
        path = self._roots[layout.RENDITIONS] / from_text(found[0])
        return path.is_file() and path.stat().st_size == found[1]

    def failed(self, connection: Connection, item: AnItem, reason: str, run: Run) -> None:
        """Leaves the observation as failed, with its reason."""
        self._discard(item)
        sources.settle(connection, item.file.id, "failed", reason=reason)
        self._log(connection, run, item, "failed", None, reason)

    def _reject(self, connection: Connection, item: AnItem, reason: str, run: Run) -> Outcome:
        sources.settle(connection, item.file.id, "rejected", reason=reason)
        self._log(connection, run, item, "rejected", None, reason)
        return Outcome("rejected", note=reason)

    def _known(
        self, connection: Connection, item: AnItem, kept: KeptContent, result: Mapping[str, Any], run: Run
    ) -> Outcome:
        """Records another sight of a content: under a new name, a second time, or as all that is left of it."""
        left = kept.root != layout.ORIGINALS and item.part is None
        moved = sources.kept_observation_is_gone(connection, kept.id)
        if not self._stands(kept) and not (left and moved):
            return self._restore(connection, item, kept, result, run)
        if not moved:
            return self._duplicate(connection, item, kept.id, "the same content is kept already", run)
        self._discard(item)
        sources.settle(connection, item.file.id, "renamed", media_file_id=kept.id)
        if left:
            standing.stands_at(connection, kept.id, f"{IN_SOURCE}{item.file.source}", item.file.source_id)
        self._log(connection, run, item, "renamed", kept.id, None)
        self._bundle_siblings(connection, item)
        return Outcome("renamed")

    def _restore(
        self, connection: Connection, item: AnItem, kept: KeptContent, result: Mapping[str, Any], run: Run
    ) -> Outcome:
        """Lets the file that was just read stand for a content whose own file is missing or has another size."""
        if item.part is None:
            root, stored = f"{IN_SOURCE}{item.file.source}", item.file.source_id
        else:
            if result["outcome"] != "stored":
                raise SourceChanged(f"what was kept of it went away while {item.path} was read; it is taken next time")
            its_own = kept.path if kept.root == layout.ORIGINALS else None
            root, stored = layout.ORIGINALS, self._commit(item, item.part, kept.partition_date, kept.sha256, its_own)
        moved = sources.kept_observation_is_gone(connection, kept.id)
        standing.stands_at(connection, kept.id, root, stored)
        detail = f"its file was missing from {kept.root}/{kept.path}; it stands at {root}/{stored} now"
        if moved:
            state = "renamed" if sources.is_kept_from_another(connection, kept.id) else "kept"
            sources.settle(connection, item.file.id, state, media_file_id=kept.id)
        else:
            self._settle_as_duplicate(connection, item, kept.id)
        self._log(connection, run, item, "restored", kept.id, detail)
        media.bundle_again(connection, kept.id)
        self._bundle_siblings(connection, item)
        return Outcome("restored", {"bytes": float(kept.size)}, note=detail)

    def _duplicate(self, connection: Connection, item: AnItem, kept: int, note: str, run: Run) -> Outcome:
        self._discard(item)
        self._settle_as_duplicate(connection, item, kept)
        self._log(connection, run, item, "duplicate", kept, note)
        # A sidecar that came with the duplicate may complete the kept one's bundle.
        media.bundle_again(connection, kept)
        self._bundle_siblings(connection, item)
        return Outcome("duplicates")

    def _settle_as_duplicate(self, connection: Connection, item: AnItem, kept: int) -> None:
        sources.settle(connection, item.file.id, "duplicate", media_file_id=kept)
        media.add_duplicate(
            connection, kind="exact", source_file_id=item.file.id, kept_media_file_id=kept, decision="merged"
        )

    def _bundle_siblings(self, connection: Connection, item: AnItem) -> None:
        """Lets a photo find the sidecar of its name, whose bytes may be kept for another photo already."""
        if item.file.kind == "sidecar":  # Apple writes the same AAE for every photo with the same filter
            for sibling in sources.siblings_of(connection, item.file.id):
                media.bundle_again(connection, sibling)

    def _keep(self, connection: Connection, item: AnItem, result: Mapping[str, Any], run: Run) -> Outcome:
        file = item.file
        if item.part is None:
            root, stored = f"{IN_SOURCE}{file.source}", file.source_id
        else:
            root, stored = layout.ORIGINALS, self._commit(item, item.part, file.partition_date, result["sha256"])
        damage = item.broken or result.get("damage")
        kept = media.add_content(connection, self._row(item, result, root, stored, damage))
        standing.only_one_stands_at(connection, root, stored, kept)
        sources.settle(connection, file.id, "kept", media_file_id=kept)
        self._log(connection, run, item, "damaged" if damage else "kept", kept, damage)
        figures = {"bytes": float(result["size"]), "kept": 1.0, "damaged": 1.0 if damage else 0.0}
        return Outcome("stored", figures, note=damage)

    def _commit(self, item: AnItem, part: Path, day: date, sha256: str, its_own: str | None = None) -> str:
        """Gives a copy its final path and returns it: a path at which no other bytes stand.

        Args:
            item: The observation.
            part: Its copy.
            day: The day of the content.
            sha256: Its sum.
            its_own: The path that it had before, taken again when it is free.
        """
        root, name = self._roots[layout.ORIGINALS], os.path.basename(from_text(item.file.source_id))
        own = [] if its_own is None else [from_text(its_own)]
        places = itertools.chain(own, layout.original_paths(day, name, sha256))
        path = next(path for path in places if not _is_taken(root / path, sha256))
        make_folder_below(root, (root / path).parent)
        os.chmod(part, ORIGINAL_MODE)
        commit_part(part, root / path)
        if part.parent != (root / path).parent:
            fsync_folder(part.parent)
        return to_text(path)

    def _row(
        self, item: AnItem, result: Mapping[str, Any], root: str, stored: str, damage: str | None
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

    def _thumbnail_path(self, item: AnItem) -> str:
        return f"{layout.day_folder(item.file.partition_date)}/{item.file.id}.jpg"

    def _thumbnail(self, item: AnItem) -> Path:
        return self._roots[layout.THUMBNAILS] / self._thumbnail_path(item)

    def _discard(self, item: AnItem) -> None:
        if item.part is not None:
            item.part.unlink(missing_ok=True)

    def _log(
        self, connection: Connection, run: Run, item: AnItem, event: str, kept: int | None, detail: str | None
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


def _was_still_read(item: Item) -> bool:
    """Returns whether a copy that was ended had not all bytes yet: then it was the reading that took so long."""
    if item.part is None:
        return False
    try:
        return item.part.stat().st_size < item.file.size
    except FileNotFoundError:
        return True


def _is_taken(final: Path, sha256: str) -> bool:
    """Returns whether other bytes stand at a path: an original is never written over, whatever its name says."""
    return final.exists() and hash_file(str(final))["sha256"] != sha256
