"""Progress on a terminal: a bar for a person, plain lines for a log.

Belongs here: showing how far a stage has come. Does not belong here: counting it (`pipeline.stage`).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mediapipe_assets.platform import PipelineResource, compute_pool
from pipeline.run import Run
from resources.compute import ComputePool
from resources.settings import Settings

if TYPE_CHECKING:
    from catalog.work import Scope
    from pipeline.run import Progress as Callback

PLAIN_SECONDS = 10.0


class Display:
    """Shows how far each stage has come over all runs of one command."""

    def __init__(self, console: Console) -> None:
        """Takes the console to show it on; a bar is drawn only where it is a terminal."""
        self._console = console
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._before: dict[str, int] = {}
        self._now: dict[str, tuple[int, int]] = {}
        self._said = time.monotonic()

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<24}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        else:
            self._say_all()

    def runs(self, done: int, total: int) -> None:
        """Shows how many ranges of days are done; what the stages did in the last one is added up."""
        for stage, (finished, _) in self._now.items():
            self._before[stage] = self._before.get(stage, 0) + finished
        self._now.clear()
        if total > 1:
            self._draw("ranges of days", done, total, "")

    def show(self, stage: str, done: int, total: int, seconds: float) -> None:
        """Shows that a stage has done so many of so many files of the present range."""
        self._now[stage] = (done, total)
        before = self._before.get(stage, 0)
        self._draw(stage, before + done, before + total, f"{done / seconds:.1f}/s" if seconds > 0 else "")

    def _draw(self, name: str, done: int, total: int, rate: str) -> None:
        if self._bar is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=total, rate=rate)
            self._bar.update(self._tasks[name], completed=done, total=max(done, total), rate=rate)
        elif time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"{name}: {done} of {total} {rate}", highlight=False, soft_wrap=True)

    def _say_all(self) -> None:
        for stage in {**self._before, **self._now}:
            done = self._before.get(stage, 0) + self._now.get(stage, (0, 0))[0]
            self._console.print(f"{stage}: {done}", highlight=False, soft_wrap=True)


_display = Display(Console(file=sys.stderr))


def progress_display() -> Display:
    """Returns this process's display."""
    return _display


_pools: list[ComputePool] = []


@contextlib.contextmanager
def one_pool(settings: Settings) -> Iterator[None]:
    """Lets every run of one command share a pool: starting workers takes longer than a small run."""
    with compute_pool(settings) as pool:
        _pools.append(pool)
        try:
            yield
        finally:
            _pools.remove(pool)


class TerminalPipelineResource(PipelineResource):
    """The pipeline's resource in a process that has a person before it."""

    @contextlib.contextmanager
    def compute(self, settings: Settings) -> Iterator[ComputePool]:
        """Yields the pool of the command, which outlives a run that ends well."""
        pool = _pools[-1]
        try:
            yield pool
        except BaseException:
            pool.close()  # no worker may write once the lease is given back
            raise

    def run(self, run_id: str, scope: Scope, progress: Callback) -> Run:
        """Returns what a stage is given, with progress on the terminal beside the run's own log."""

        def both(stage: str, done: int, total: int, seconds: float) -> None:
            progress(stage, done, total, seconds)
            _display.show(stage, done, total, seconds)

        return super().run(run_id, scope, both)
