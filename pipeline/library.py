"""The sorted library: a tree by date over the best verified copy, to browse and never to keep.

Belongs here: the stage `sorted_library`. Does not belong here: originals; nothing is moved for it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import bundles, findings
from catalog.bundles import LibraryItem
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.work import WorkQuery
from media.files import make_folder_below, part_path, refuse_missing_root
from media.links import link_or_clone
from pipeline import layout, soundness
from pipeline.run import Run
from pipeline.stage import Outcome, Stage


class LibraryStage(Stage[LibraryItem]):
    """Shows every member of a bundle that has a verified copy."""

    name = bundles.LIBRARY

    def __init__(
        self, root: Path, originals: Mapping[str, Path], template: str, link: str, phones: Sequence[str] = ()
    ) -> None:
        """Sets the stage up.

        Args:
            root: The library's root.
            originals: Where originals stand, by the name of their root.
            template: Path below the root, with `{year} {month} {day} {name} {stem} {ext} {kind}`.
            link: `auto`, `reflink` or `symlink`.
            phones: Those phones that count as a copy.
        """
        self._root = root
        self._originals = originals
        self._template = template
        self._link = link
        self._phones = phones

    def begin(self, run: Run) -> None:
        """Has the broken entries of the run's days shown again: an original may have moved, or an entry gone."""
        with run.engine.connect() as connection:
            entries = findings.library_entries(connection, run.scope)
        if not entries:
            return
        refuse_missing_root(self._root)  # on a disk that is away every entry would look broken
        if broken := soundness.broken_entries(entries, self._root):
            with run.engine.begin() as connection:
                bundles.forget_library(connection, [one.member_id for one, _ in broken])

    def query(self, run: Run) -> WorkQuery:
        """Returns the members that are verified somewhere and not shown yet."""
        return bundles.to_sort(self._phones)

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[LibraryItem]:
        """Reads the members."""
        return bundles.load_library_items(connection, list(ids))

    def row_id(self, item: LibraryItem) -> int:
        """Returns the member's id."""
        return item.id

    def label(self, item: LibraryItem) -> str:
        """Returns its name."""
        return item.file_name

    def record(self, connection: Connection, item: LibraryItem, result: Any, run: Run) -> Outcome:
        """Links the original into the tree."""
        target = self._originals[item.stored_root] / from_text(item.stored_path)
        if not target.exists():
            raise FileNotFoundError(errno.ENOENT, "the original is gone", str(target))  # a link would lead nowhere
        if item.library_path is not None:
            return self._show_anew(connection, item, from_text(item.library_path), target, run)
        path = self._path(item, from_text(item.file_name))
        if bundles.library_path_is_taken(connection, to_text(path)) or _is_foreign(self._root / path, target):
            path = self._path(
                item, layout.named_with(from_text(item.file_name), f"-{item.sha256[: layout.HASH_CHARS]}")
            )
        final = self._root / path
        if _is_foreign(final, target):
            raise FileExistsError(errno.EEXIST, "another file stands there and is not overwritten", str(final))
        return self._show(connection, item, path, target, run)

    def _show_anew(self, connection: Connection, item: LibraryItem, path: str, target: Path, run: Run) -> Outcome:
        """Lets an entry show the place to which its original has moved; a clone has its bytes and stays."""
        if os.path.lexists(self._root / path) and not (self._root / path).is_symlink():
            bundles.set_library(connection, item.id, to_text(path), f"{item.stored_root}/{item.stored_path}")
            return Outcome("sorted")
        return self._show(connection, item, path, target, run)

    def _show(self, connection: Connection, item: LibraryItem, path: str, target: Path, run: Run) -> Outcome:
        final = self._root / path
        make_folder_below(self._root, final.parent)
        link_or_clone(target, final, part_path(final, run.tag), self._link)
        bundles.set_library(connection, item.id, to_text(path), f"{item.stored_root}/{item.stored_path}")
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event="sorted",
            media_file_id=item.media_file_id,
            detail=to_text(path),
        )
        return Outcome("sorted")

    def failed(self, connection: Connection, item: LibraryItem, reason: str, run: Run) -> None:
        """Adds a line to the file's history."""
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event="failed",
            media_file_id=item.media_file_id,
            detail=reason,
        )

    def _path(self, item: LibraryItem, name: str) -> str:
        stem, extension = os.path.splitext(name)
        return self._template.format(
            year=f"{item.partition_date:%Y}",
            month=f"{item.partition_date:%m}",
            day=f"{item.partition_date:%d}",
            name=name,
            stem=stem,
            ext=extension.lstrip("."),
            kind=item.kind,
        )


def _is_foreign(final: Path, target: Path) -> bool:
    """Returns whether somebody's own file stands where an entry should go; links and what a killed run made are not."""
    if final.is_symlink() or not final.exists():
        return False
    there, ours = os.stat(final), os.stat(target)
    return (there.st_size, there.st_mtime_ns) != (ours.st_size, ours.st_mtime_ns)
