"""What the chain has not brought to its end: files that failed, files that wait.

Belongs here: looking over all stages at once, for the reports. Does not belong here: what one stage asks
(`catalog.work`), or the words (`mediapipe_assets.cli.report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from catalog import findings, sources, work
from catalog.work import ALL_DAYS, Left, Scope, WorkQuery
from pipeline.assembly import Platform


@dataclass(frozen=True, slots=True)
class FailedFiles:
    """The files that stand failed, each counted once however many stages failed it.

    Attributes:
        not_stored: Observed files that could not be stored.
        contents: Stored contents that a later stage failed.
        at: How many rows stand failed at each stage.
    """

    not_stored: int
    contents: frozenset[int]
    at: Mapping[str, int]

    @property
    def count(self) -> int:
        """The number of files."""
        return self.not_stored + len(self.contents)

    def at_destination(self, name: str) -> int:
        """Returns how many deliveries to a destination stand failed."""
        return sum(count for stage, count in self.at.items() if stage.startswith(f"{name}/"))


def failed_files(
    platform: Platform, connection: Connection, scope: Scope = ALL_DAYS, destination: str | None = None
) -> FailedFiles:
    """Returns the files that stand failed.

    Args:
        platform: The home.
        connection: Its catalog.
        scope: At these days alone.
        destination: Among the destinations only this one.
    """
    contents: set[int] = set()
    at = {}
    for query in platform.queries(aged=True):
        place, _, step = query.stage.partition("/")
        if step and destination is not None and place != destination:
            continue
        rows = work.failed_rows(connection, query, scope)
        at[query.stage] = len(rows)
        contents |= findings.contents_of(connection, query.stage, rows) if rows else set()
    not_stored = findings.count_failed_observations(connection, [*platform.sources, *platform.icloud.sources], scope)
    return FailedFiles(not_stored, frozenset(contents), at)


def left_over(platform: Platform, connection: Connection) -> list[Left]:
    """Returns every stage at which something is left, at any date, in the order of the chain."""
    attempts = platform.settings.runs.max_attempts
    queries = [_of_all_sources(platform, query) for query in platform.queries(aged=True)]
    found = [work.left_over(connection, query, attempts) for query in queries]
    return [one for one in found if one.waiting or one.failed]


def _of_all_sources(platform: Platform, query: WorkQuery) -> WorkQuery:
    """Returns the query with the files of folders that are away: they wait, although no run can take them now."""
    if query.stage != sources.ORIGINALS:
        return query
    return sources.to_store_from(list(platform.settings.folder_sources))
