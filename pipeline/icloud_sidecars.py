"""Sidecars: what iCloud knows of a photo, beside its original, and again when it says something else.

Belongs here: the stage `icloud_sidecars`. A sidecar is derived data: no row of its own, never delivered, written over
when the words change in iCloud. Does not belong here: what changed (`pipeline.icloud_sync`), or the document
(`media.xmp`).

There is one for each photo, beside the file that leads it. Nothing is written into a source, so an original that is
left in its folder has none. Of two photos with the same original, in two libraries or in one, the one that was observed
first has the sidecar. A photo that is deleted in iCloud keeps the one that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import sidecars
from catalog.logs import log_event
from catalog.paths import from_text
from catalog.sidecars import SIDECARS, Subject
from catalog.work import WorkQuery
from media.files import make_folder_below
from media.sidecars import sidecar_of, write_sidecar
from media.xmp import Words, document
from pipeline import layout
from pipeline.discovery import DateRules
from pipeline.icloud_sync import assembled, capture_date
from pipeline.run import Run
from pipeline.stage import Outcome, Stage
from resources.compute import Task
from resources.icloud_records import Asset

WRITE_SECONDS = 120.0  # a NAS that has to wake up first
_NOT_OURS = "a sidecar of that name is there that is not ours; it was left as it is"


@dataclass(frozen=True, slots=True)
class Item:
    """A photo, and the sidecar that it is to have; None for one that has none."""

    subject: Subject
    document: bytes | None


class ICloudSidecarsStage(Stage[Item]):
    """Writes the sidecars of photos whose words changed."""

    name = SIDECARS

    def __init__(self, originals: Path, libraries: Sequence[str], rules: DateRules) -> None:
        """Sets the stage up.

        Args:
            originals: The root of originals.
            libraries: The sources that have sidecars.
            rules: Which zone holds where iCloud gives none.
        """
        self._originals = originals
        self._libraries = list(libraries)
        self._rules = rules

    def query(self, run: Run) -> WorkQuery:
        """Returns the photos whose sidecar is due."""
        return sidecars.to_write(self._libraries)

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[Item]:
        """Reads what iCloud says of the photos."""
        subjects = sidecars.load(connection, ids, self._libraries)
        assets: dict[tuple[str, str], Asset] = {}
        for source in {one.source for one in subjects}:
            names = [one.name for one in subjects if one.source == source]
            assets |= {(source, asset.name): asset for asset in assembled(connection, source, names)[0]}
        return [Item(one, self._document(one, assets.get((one.source, one.name)))) for one in subjects]

    def _document(self, subject: Subject, asset: Asset | None) -> bytes | None:
        if asset is None or subject.is_second or subject.stored_root != layout.ORIGINALS:
            return None
        return document(words_of(subject, asset, self._rules))

    def row_id(self, item: Item) -> int:
        """Returns the id of the photo's record."""
        return item.subject.id

    def label(self, item: Item) -> str:
        """Returns the original's path."""
        return item.subject.stored_path

    def task(self, item: Item, run: Run) -> Task | None:
        """Writes the sidecar; where there is to be none, recording that is all."""
        if item.document is None:
            return None
        target = sidecar_of(self._originals / from_text(item.subject.stored_path))
        make_folder_below(self._originals, target.parent)
        return Task(write_sidecar, (str(target), item.document), {"tag": run.tag})

    def timeout(self, item: Item) -> float:
        """Returns the seconds that writing may take."""
        return WRITE_SECONDS

    def record(self, connection: Connection, item: Item, result: Any, run: Run) -> Outcome:
        """Records that nothing is due any more, unless iCloud has said something new meanwhile."""
        sidecars.written(connection, item.subject.id, item.subject.due)
        if result is None:
            return Outcome("of_another_photo" if item.subject.is_second else "left_in_place")
        if result == "written":
            self._log(connection, run, item, "sidecar", None)
        return Outcome(result, note=_NOT_OURS if result == "not_ours" else None)

    def failed(self, connection: Connection, item: Item, reason: str, run: Run) -> None:
        """Tells the photo's history; the sidecar stays due."""
        self._log(connection, run, item, "failed", reason)

    def _log(self, connection: Connection, run: Run, item: Item, event: str, detail: str | None) -> None:
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event=event,
            source_file_id=item.subject.source_file_id,
            media_file_id=item.subject.media_file_id,
            detail=detail,
        )


def words_of(subject: Subject, asset: Asset, rules: DateRules) -> Words:
    """Returns what a photo's sidecar says; a date only where iCloud itself gives one."""
    taken = capture_date(asset, rules) if asset.taken is not None else None
    return Words(
        record=asset.name,
        checksum=subject.checksum,
        title=asset.title,
        caption=asset.caption,
        albums=subject.albums,
        favourite=asset.favourite,
        hidden=asset.hidden,
        location=asset.location,
        taken=taken.local if taken else None,
        offset_minutes=taken.offset_minutes if taken else None,
    )
