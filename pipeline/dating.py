"""The day of a file that could not be read when it was found.

Belongs here: dating it once it can be read, before it is stored, together with what waits beside it.
Does not belong here: dating what is new (`pipeline.discovery`), or reading dates (`media.capture`).
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from catalog import sources
from catalog.paths import from_text
from catalog.sources import Sibling, SourceFile
from media.capture import CaptureDate, read_capture_date
from media.kinds import Kind
from pipeline.discovery import LEAD_ORDER, DateRules, stands_alone
from resources.folder import is_edit

FIRST_SEEN = "first_seen"


def date_anew(connection: Connection, root: Path, rules: DateRules, file: SourceFile) -> list[int]:
    """Dates a file that has no date but the moment when it was first seen.

    Args:
        connection: The catalog, in a transaction.
        root: The folder of its source.
        rules: How dates become partitions.
        file: The observation.

    Returns:
        The observations that have moved to another day: the file, and what shares its day and waits.

    Raises:
        OSError: The file cannot be read; nothing was changed.
    """
    beside = sources.present_siblings(connection, file.id)
    own = _read(root, rules, file, beside)
    if own.provenance == FIRST_SEEN:
        return []
    lead = min(beside, key=_rank, default=None)
    leads = lead is None or lead.id == file.id
    day, flag = rules.partition(own.local.date())
    if lead is not None and not leads and not stands_alone(Kind(file.kind), own, lead.partition_date):
        day, flag = lead.partition_date, None
    sources.set_capture_date(
        connection, file.id, own.local, own.offset_minutes, own.provenance, flag=flag, partition_date=day
    )
    if day == file.partition_date:
        return []
    moved = [one.id for one in beside if leads and _follows(one, file)]
    sources.move_to_day(connection, moved, day, flag)
    return [file.id, *moved]


def _read(root: Path, rules: DateRules, file: SourceFile, beside: list[Sibling]) -> CaptureDate:
    sidecars = [root / from_text(one.source_id) for one in beside if one.kind == Kind.SIDECAR.value]
    return read_capture_date(
        root / from_text(file.source_id),
        timezone=rules.timezone,
        mtime_ns=file.mtime_ns,
        first_seen=rules.now,
        sidecars=[] if file.kind == Kind.SIDECAR.value else sidecars,
    )


def _rank(one: Sibling) -> tuple[int, bool, str]:
    return LEAD_ORDER[Kind(one.kind)], is_edit(one.source_id), one.source_id


def _follows(one: Sibling, lead: SourceFile) -> bool:
    """Returns whether a sibling has its day from the lead alone; one that is stored follows when it is bundled."""
    return one.id != lead.id and one.waits and one.partition_date == lead.partition_date
