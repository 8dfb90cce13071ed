"""One run: its lease, its dates and what it works with.

Belongs here: opening and closing a run's lease, and cleaning up after runs that were killed. Does
not belong here: the stages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from catalog import config, leases, work
from catalog.leases import DeadLease
from catalog.work import ClaimRules, Redo, Scope
from media.files import PART_PREFIX, PART_SUFFIX
from resources.compute import Task


class Pool(Protocol):
    """What the stage loop knows of a compute cluster."""

    workers: int

    def submit(self, task: Task, timeout: float) -> Future[Any]:
        """Hands a task to a worker; the future fails with TimeoutError after `timeout` seconds."""
        ...

    def close(self) -> None:
        """Ends every worker before it returns; a later task starts new ones."""
        ...


Progress = Callable[[str, int, int, float], None]


def no_progress(stage: str, done: int, total: int, seconds: float) -> None:
    """Says nothing."""


def never_paused() -> str | None:
    """Is never paused."""
    return None


@dataclass(frozen=True, slots=True)
class Run:
    """What every stage of a run is given.

    Attributes:
        engine: The catalog.
        pool: Where tasks run.
        run_id: The run's id, as Dagster knows it.
        lease_id: Its lease.
        scope: Its dates.
        home: What tells this home from others in the names of temporary files, see `config.home_id`.
        redo: Whether failures, or everything, is done again.
        limit: At most so many files a stage; 0 for all.
        max_attempts: After so many failures a file waits for a person.
        backoff_seconds: How long a failure is left alone, by number of attempts.
        today: The day that counts as today.
        progress: Called with (stage, done, total, seconds since the stage began).
        paused: Returns why the run takes up no more files, None while it does.
    """

    engine: Engine
    pool: Pool
    run_id: str
    lease_id: int
    scope: Scope
    home: str = ""
    redo: Redo = "failed"
    limit: int = 0
    max_attempts: int = 5
    backoff_seconds: tuple[float, ...] = (60.0, 600.0, 3600.0)
    today: date = field(default_factory=date.today)
    progress: Progress = no_progress
    paused: Callable[[], str | None] = never_paused

    @property
    def rules(self) -> ClaimRules:
        """Under which rules this run claims rows."""
        return ClaimRules(self.lease_id, self.redo, self.max_attempts)

    @property
    def tag(self) -> str:
        """The mark of this run in the names of its temporary files."""
        return part_tag(self.lease_id, self.home)


def part_tag(lease_id: int, home: str = "") -> str:
    """Returns the mark of a lease in the names of temporary files.

    Args:
        lease_id: The lease; its number means nothing to another home's catalog.
        home: The home, for two of them may write to one disk.
    """
    return f"{home}-L{lease_id}" if home else f"L{lease_id}"


FoldersOf = Callable[[Mapping[str, Path], date], Iterator[Path]]


@contextlib.contextmanager
def leased(engine: Engine, run_id: str, roots: Mapping[str, Path], folders_of: FoldersOf) -> Iterator[int]:
    """Holds a lease for as long as the block runs.

    What it had claimed and not finished is given back, and what was half written is removed: a run that is told to
    stop leaves no more behind than one that ends by itself.

    Args:
        engine: The catalog.
        run_id: The run.
        roots: Every root that runs write to.
        folders_of: Gives the folders in which a run writes for one date.

    Yields:
        The lease's id.
    """
    with engine.connect() as session:
        lease_id = leases.open_lease(session, run_id)
        try:
            yield lease_id
        finally:
            # The session may be gone with the database; its lock then is too, and the next run cleans up.
            with contextlib.suppress(SQLAlchemyError):
                session.rollback()
                with contextlib.suppress(OSError):  # a disk that went away may be what ends this run
                    _remove_parts(session, lease_id, roots, folders_of)
                work.release(session, lease_id)
                leases.close_lease(session, lease_id)


def clean_up_after_dead_runs(engine: Engine, roots: Mapping[str, Path], folders_of: FoldersOf) -> list[DeadLease]:
    """Frees what killed runs had claimed and removes the temporary files that they left.

    Args:
        engine: The catalog.
        roots: Every root that runs write to.
        folders_of: Gives the folders in which a run writes for one date.

    Returns:
        The leases that were buried; their runs have failed.
    """
    with engine.begin() as connection:
        dead = leases.dead_leases(connection)
    for lease in dead:
        with engine.begin() as connection:
            _remove_parts(connection, lease.id, roots, folders_of)
            leases.bury_lease(connection, lease.id)
    return dead


def _remove_parts(connection: Connection, lease_id: int, roots: Mapping[str, Path], folders_of: FoldersOf) -> None:
    tag = part_tag(lease_id, config.home_id(connection))
    for day in leases.days_of(connection, lease_id):
        for folder in folders_of(roots, day):
            _sweep(folder, tag)


def _sweep(folder: Path, tag: str) -> None:
    for part in folder.glob(f"{PART_PREFIX}{tag}-*{PART_SUFFIX}*"):
        part.unlink(missing_ok=True)
