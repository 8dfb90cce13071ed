"""Originals: every observed file is read once, kept whole under its own inode, and known by its content.

Belongs here: the stage `folder_originals`: which files of a folder are due, dating those that could not be read
earlier, and looking again at what was called damaged. Does not belong here: finding files (`pipeline.discovery`), or
what storing one means (`pipeline.storing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import media, sources, standing, work
from catalog.media import MediaFile
from catalog.paths import from_text
from catalog.sources import SourceFile
from catalog.standing import IN_SOURCE, KeptContent
from catalog.work import WorkQuery
from media.files import ContentMismatch, part_path
from pipeline import layout
from pipeline.dating import FIRST_SEEN, date_anew
from pipeline.discovery import DateRules
from pipeline.run import Run
from pipeline.stage import Outcome
from pipeline.storing import Item, SourceRoot, StoringStage
from resources.compute import Task
from resources.folder import is_there


@dataclass(slots=True)
class FolderItem(Item):
    """An observation in a folder.

    Attributes:
        damaged: The content that was called damaged, for a file that is kept and looked at again.
        unreadable: Why its date could not be read.
    """

    damaged: MediaFile | None = None
    unreadable: OSError | None = None


class OriginalsStage(StoringStage[FolderItem]):
    """Stores what was observed in folders, out of their reach, or leaves it where it stands."""

    name = sources.ORIGINALS
    too_slow = (
        "it was too slow to read: its disk or mount is slow or busy. It is tried again; raise "
        "compute.ingest_timeout_seconds if it is always so slow"
    )

    def __init__(
        self, roots: Mapping[str, Path], folders: Mapping[str, SourceRoot], seconds: float, rules: DateRules
    ) -> None:
        """Sets the stage up.

        Args:
            roots: The roots that are written to, by name.
            folders: The sources, by name; files of a source that is not among them wait.
            seconds: What one file may take at most, beside the time that its bytes take to read.
            rules: How the date of a file that could not be read when it was found becomes a partition.
        """
        super().__init__(roots, folders, seconds)
        self._rules = rules

    def query(self, run: Run) -> WorkQuery:
        """Returns the observations that wait, of the sources that are there: an unmounted disk fails no file.

        A run that does everything again also looks at what was called damaged: a later version may read it.
        """
        present = [name for name, root in self._folders.items() if is_there(root.path)]
        if run.redo != "all":
            return sources.to_store_from(present)
        roots = [layout.ORIGINALS, *(f"{IN_SOURCE}{name}" for name in present)]
        return sources.to_store_or_look_at_again(present, roots, run.run_id)

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[FolderItem]:
        """Reads the observations and the contents that have their sizes."""
        files = sources.load_source_files(connection, ids)
        unreadable: dict[int, OSError] = {}
        if undated := [file for file in files if file.capture_provenance == FIRST_SEEN and file.media_file_id is None]:
            moved, unreadable = self._date_anew(undated, run)
            files = sources.load_source_files(connection, [one for one in ids if one not in moved])
        kept = media.load_media(connection, [file.media_file_id for file in files if file.media_file_id is not None])
        damaged = {one.id: one for one in kept}
        items = []
        for file in files:
            if file.media_file_id is not None:
                item = self._item_to_look_at_again(file, damaged[file.media_file_id])
            else:
                item = self._item_to_store(file, standing.kept_contents_of_size(connection, file.size), run)
                item.unreadable = unreadable.get(file.id)
            items.append(item)
        return items

    def _item_to_store(self, file: SourceFile, known: Sequence[KeptContent], run: Run) -> FolderItem:
        root = self._folders[file.source]
        folder = self._roots[layout.ORIGINALS] / layout.day_folder(file.partition_date)
        part = part_path(folder / str(file.id), run.tag) if root.copied else None
        held = {one.sha256: one for one in known if not one.missing}
        return FolderItem(file, root.path / from_text(file.source_id), held, part)

    def _item_to_look_at_again(self, file: SourceFile, damaged: MediaFile) -> FolderItem:
        source = damaged.stored_root.removeprefix(IN_SOURCE)
        root = self._roots[layout.ORIGINALS] if damaged.stored_root == layout.ORIGINALS else self._folders[source].path
        return FolderItem(file, root / from_text(damaged.stored_path), {}, None, damaged=damaged)

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
                    there = date_anew(connection, self._folders[file.source].path, self._rules, file)
                    work.give_back(connection, self.name, there, run.lease_id)
                moved.update(there)
            except OSError as error:
                unreadable[file.id] = error
        return moved, unreadable

    def task(self, item: FolderItem, run: Run) -> Task | None:
        """Reads, copies, hashes and looks at the file, or does that part of it which its step says.

        Raises:
            OSError: Its date could not be read just now.
        """
        if item.unreadable is not None:
            raise item.unreadable
        return super().task(item, run)

    def record(self, connection: Connection, item: FolderItem, result: Any, run: Run) -> Outcome:
        """Stores a new observation; of a content that was called damaged, writes what is known now."""
        if item.damaged is not None and result["outcome"] != "changed":
            return self._looked_again(connection, item, item.damaged, result, run)
        return super().record(connection, item, result, run)

    def failed(self, connection: Connection, item: FolderItem, reason: str, run: Run) -> None:
        """Leaves the observation as failed, with its reason; what is kept stays kept."""
        if item.damaged is not None:
            self._log(connection, run, item, "failed", item.damaged.id, reason)
            return
        super().failed(connection, item, reason, run)

    def _looked_again(
        self, connection: Connection, item: FolderItem, damaged: MediaFile, result: Mapping[str, Any], run: Run
    ) -> Outcome:
        """Writes what is known now of a content that was called damaged."""
        if result.get("sha256") != damaged.sha256:
            raise ContentMismatch(
                f"{item.path} no longer holds the bytes that were recorded for it ({damaged.sha256[:12]}…); "
                "`mediapipe-assets history FILE` names the copies that were verified"
            )
        damage = item.broken or result.get("damage")
        row = self._row(item, result, damaged.stored_root, damaged.stored_path, damage)
        row["thumbnail_path"] = row["thumbnail_path"] or damaged.thumbnail_path
        media.record_look(connection, damaged.id, row)
        self._log(connection, run, item, "looked at again", damaged.id, damage or "it is whole after all")
        return Outcome("still_damaged" if damage else "whole_after_all", note=damage)
