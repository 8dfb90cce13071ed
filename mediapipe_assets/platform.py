"""The platform as Dagster resources: thin shells that read the settings and hand out plain objects.

Belongs here: opening the catalog for a run, a check or a tick, and the run config that a person sees
in the Launchpad. Does not belong here: what the objects do (`pipeline.assembly`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from catalog.engine import open_engine
from jobs.chain import starts_by_itself
from jobs.recovery import fail_runs_without_a_lease
from pipeline.assembly import Platform
from pipeline.failures import RefusedForSafety
from pipeline.layout import folders_of_day
from pipeline.run import Run, leased
from pipeline.space import NO_ROOM, estimate
from pipeline.switches import RunPause
from resources.compute import ComputePool, fitting_workers
from resources.database import database
from resources.postgres_access import dump, is_embedded
from resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from catalog.work import Scope
    from pipeline.run import Progress


class Redo(Enum):
    """Whether a run does again what was done or failed before."""

    none = "none"
    failed = "failed"
    all = "all"


def compute_pool(settings: Settings) -> ComputePool:
    """Returns a pool sized to this machine."""
    compute = settings.compute
    return ComputePool(fitting_workers(compute.workers, compute.worker_memory_mb), compute.worker_memory_mb)


@contextlib.contextmanager
def open_platform(
    home: Path | None = None, *, prepare: bool = False, overrides: Mapping[str, object] | None = None
) -> Iterator[Platform]:
    """Opens a home: its settings, its database and its catalog.

    Args:
        home: Its folder, None for the one that the environment names.
        prepare: Also bring the catalog's schema and the roots up to date.
        overrides: Settings of this once, nested like the file.
    """
    settings = load_settings(home, overrides=overrides)
    with database(settings) as url:
        engine = open_engine(url)
        try:
            platform = Platform(settings, engine)
            if prepare:
                platform.prepare(_dumper(platform, url) if is_embedded(url) else None)
            yield platform
        finally:
            engine.dispose()


def _dumper(platform: Platform, url: str) -> Callable[[str], None]:
    def before(revision: str) -> None:
        dump(url, platform.settings.home / "backups" / f"before-migration-from-{revision}.dump")

    return before


class PlatformResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The home's settings and catalog, for checks and sensors."""

    home: str | None = Field(default=None, description="The home's folder; empty for the one of the environment.")

    @contextlib.contextmanager
    def opened(self, *, prepare: bool = False) -> Iterator[Platform]:
        """Yields the platform for as long as the block runs."""
        with open_platform(Path(self.home) if self.home else None, prepare=prepare) as platform:
            yield platform


class PipelineResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What the stages of one run share: the catalog, the run's lease and the pool of workers."""

    redo: Redo = Field(
        default=Redo.failed,
        description="none: leave failed files alone. failed: try them again after their pause, at most "
        "runs.max_attempts times. all: try every failure at once, decide every rendition anew and prove every "
        "delivery of these dates again.",
    )
    dry_run: bool = Field(default=False, description="Only say what each stage would do; nothing is written.")
    limit: int = Field(default=0, ge=0, description="At most so many files at each stage; 0 for all that are due.")

    _platform: Platform = PrivateAttr()
    _pool: ComputePool = PrivateAttr()
    _lease_id: int = PrivateAttr()
    _pause: RunPause = PrivateAttr()
    _room_was_found: bool = PrivateAttr(default=False)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[PipelineResource]:
        """Opens the home, takes the run's lease, and ends the pool whatever happens."""
        run_id = context.run_id or "without-a-run"
        with open_platform(prepare=True) as platform:
            if context.instance is not None:
                fail_runs_without_a_lease(context.instance, platform)
            by_itself = context.run is not None and starts_by_itself(context.run.tags)
            self._pause = RunPause(platform.engine, by_itself=by_itself)
            lease = leased(platform.engine, run_id, platform.written_folders, folders_of_day)
            with lease as lease_id, self.compute(platform.settings) as pool:
                self._platform, self._pool, self._lease_id = platform, pool, lease_id
                yield self

    def compute(self, settings: Settings) -> contextlib.AbstractContextManager[ComputePool]:
        """Returns the pool of a run; it ends with the run."""
        return compute_pool(settings)

    @property
    def platform(self) -> Platform:
        """The opened home."""
        return self._platform

    def refuse_without_room(self, scope: Scope, stages: Collection[str] | None) -> None:
        """Makes sure, once in a run and before it writes anything, that the disks have room for it.

        The command line asks before it starts a run; nobody else does, and PostgreSQL may be on the disk that fills up.

        Args:
            scope: The run's days.
            stages: The stages that it goes through, None for all.

        Raises:
            RefusedForSafety: They have not.
        """
        if self._room_was_found:
            return
        if missing := estimate(self._platform, scope, stages=stages, redo=self.redo.value, limit=self.limit):
            raise RefusedForSafety(NO_ROOM + " ".join(map(str, missing)))
        self._room_was_found = True

    def run(self, run_id: str, scope: Scope, progress: Progress) -> Run:
        """Returns what a stage is given."""
        runs = self._platform.settings.runs
        first = runs.backoff_minutes * 60
        return Run(
            engine=self._platform.engine,
            pool=self._pool,
            run_id=run_id,
            lease_id=self._lease_id,
            scope=scope,
            home=self._platform.home_id,
            redo=self.redo.value,
            limit=self.limit,
            max_attempts=runs.max_attempts,
            backoff_seconds=tuple(first * 2**step for step in range(8)),
            today=self._platform.today,
            progress=progress,
            paused=self._pause,
        )


def home_is_set() -> bool:
    """Returns whether this process's Dagster and the home belong together."""
    return bool(os.environ.get("DAGSTER_HOME")) and bool(os.environ.get("MEDIAPIPE_DAGSTER_URL"))
