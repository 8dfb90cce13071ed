"""The one loop that every stage shares.

Belongs here: claiming what is due, keeping the pool busy, committing each result as it comes, and
turning what goes wrong into a row with its reason. Does not belong here: anything that only one
stage does; a stage adds its query, its pure task and its record.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from catalog import work
from catalog.work import WorkQuery
from pipeline.failures import TOO_SLOW, RunStopped, in_words, is_task_timeout, stops_the_run
from pipeline.run import Run
from resources.compute import Task, WorkerDied
from resources.delivery import NotNow

CLAIM_BATCH = 64
TABLE_ROWS = 20
WORKER_TRIES = 3
FAILED = "failed"
PENDING = "pending"
LOST_LEASE = "This run lost its lease, so another run has taken over its files. Run again."
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file at one stage.

    Attributes:
        name: What it is counted as.
        figures: More to add up, for instance bytes.
        note: A line for the table of what is worth a look, None for nothing.
    """

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    note: str | None = None


class Stage(ABC, Generic[Item]):
    """What a stage adds to the loop: its query, its pure task, its record.

    Attributes:
        name: The stage's name, under which it claims and reports.
        too_slow: Why a file failed whose task took too long, and what to do.
    """

    name: str
    too_slow: str = TOO_SLOW
    _thread: ThreadPoolExecutor | None = None

    def begin(self, run: Run) -> None:
        """Gets ready for a run, before anything is claimed; here there is nothing to do."""

    @abstractmethod
    def query(self, run: Run) -> WorkQuery:
        """Returns what is due for this stage."""

    @abstractmethod
    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[Item]:
        """Reads the claimed rows."""

    @abstractmethod
    def row_id(self, item: Item) -> int:
        """Returns the id of the claimed row."""

    @abstractmethod
    def label(self, item: Item) -> str:
        """Returns what a person knows the file as."""

    def task(self, item: Item, run: Run) -> Task | None:
        """Returns the pure work on files; None, as here, where recording is all there is."""
        return None

    def timeout(self, item: Item) -> float:
        """Returns the seconds that the task may take."""
        return 0.0

    def again(self, item: Item, run: Run, result: Any, tries: int) -> Task | None:
        """Returns another task for a result or an error that is not the last word.

        A worker's death says little about its file: the system may have been short of memory, or somebody ended it.
        """
        return self.task(item, run) if isinstance(result, WorkerDied) and tries < WORKER_TRIES else None

    def submit(self, task: Task, item: Item, run: Run) -> Future[Any]:
        """Hands a task to whoever does it: the pool, or the stage's one thread for what only this process can do."""
        if not task.here:
            return run.pool.submit(task, self.timeout(item))
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, self.name)
        return self._thread.submit(task.function, *task.arguments, **task.options)

    def window(self, run: Run) -> int:
        """Returns how many tasks are handed out at once."""
        return 2 * run.pool.workers + 2

    def pause(self) -> str | None:
        """Returns why nothing more is claimed in this run, None while all is well."""
        return None

    def held_up(self) -> str | None:
        """Returns why not all that was due could be done; as here, what ended the claims early."""
        return self.pause()

    def close(self) -> None:
        """Ends what the stage holds open, however the run ends; what is under way in its thread is waited for."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None

    @abstractmethod
    def record(self, connection: Connection, item: Item, result: Any, run: Run) -> Outcome:
        """Writes the result, in the transaction that ends the claim."""

    @abstractmethod
    def failed(self, connection: Connection, item: Item, reason: str, run: Run) -> None:
        """Writes what a failure means for the stage's own rows."""

    def give_up(self, connection: Connection, item: Item, reason: str, run: Run) -> Outcome | None:
        """Writes what becomes of a file at its last failure, for stages that have an answer; None, as here, waits."""
        return None

    def put_off(self, connection: Connection, item: Item, reason: str, run: Run) -> None:
        """Writes why a file has to wait, for stages whose rows say so; here nothing."""
        return None


@dataclass(slots=True)
class StageReport:
    """What a stage did in one run."""

    stage: str
    counts: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Files that were worked on, failures and those that have to wait included."""
        return sum(self.counts.values())

    def add(self, label: str, outcome: Outcome) -> None:
        """Counts one file."""
        self.counts[outcome.name] += 1
        self.figures.update(outcome.figures)
        if outcome.note and len(self.notes) < TABLE_ROWS:
            self.notes.append((label, outcome.note))

    def add_failure(self, label: str, reason: str) -> None:
        """Counts one file that failed."""
        self.counts[FAILED] += 1
        if len(self.failures) < TABLE_ROWS:
            self.failures.append((label, reason))

    def add_pending(self, label: str, reason: str) -> None:
        """Counts one file that has to wait, which is no failure."""
        self.add(label, Outcome(PENDING, note=reason))

    def metrics(self) -> dict[str, float]:
        """Returns every figure by its name, for the catalog."""
        return {**self.figures, **self.counts, "seconds": round(self.seconds, 3)} if self.done else {}


def work_off(stage: Stage[Item], run: Run) -> StageReport:
    """Works on everything that is due for a stage at the run's dates.

    Returns:
        What was done.

    Raises:
        RunStopped: The disk is full, the database is away, or the like; what was finished is recorded.
    """
    report = StageReport(stage.name)
    start = time.monotonic()
    query = stage.query(run)
    if run.redo == "all":
        with run.engine.begin() as connection:
            work.forget_failures(connection, stage.name, run.scope)
    with _stopped_in_words():
        stage.begin(run)
    with run.engine.connect() as connection:
        total = work.count_due(connection, query, run.scope)
    if total:
        total = min(total, run.limit) if run.limit else total
        results = contextlib.closing(_worked(stage, run, _claimed(stage, query, run)))
        with _stopped_in_words(), contextlib.closing(stage), run.engine.connect() as session, results as worked:
            for item, result in worked:
                _settle(stage, run, session, item, result, report)
                run.progress(stage.name, report.done, total, time.monotonic() - start)
    if (reason := (run.paused() if total else None) or stage.held_up()) is not None:
        report.notes.insert(0, (stage.name, reason))
    report.seconds = time.monotonic() - start
    return report


@contextlib.contextmanager
def _stopped_in_words() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if (stop := stops_the_run(error)) is None or stop is error:
            raise
        raise stop from error


def _claimed(stage: Stage[Item], query: WorkQuery, run: Run) -> Iterator[Item]:
    left = run.limit or None
    while (left is None or left > 0) and _why_paused(stage, run) is None:
        with run.engine.begin() as connection:
            ids = work.claim(connection, query, run.scope, run.rules, min(CLAIM_BATCH, left or CLAIM_BATCH))
        if not ids:
            return
        left = None if left is None else left - len(ids)
        with run.engine.connect() as connection:
            items = stage.load(connection, ids, run)
        for item in items:
            if run.paused() is not None:  # what was claimed already is given back with the run's lease
                return
            yield item


def _why_paused(stage: Stage[Item], run: Run) -> str | None:
    return stage.pause() or run.paused()


def _worked(stage: Stage[Item], run: Run, items: Iterator[Item]) -> Generator[tuple[Item, Any], None, None]:
    """Yields each item with its task's result, or with the exception that it ended in, as they come."""
    flying: dict[Future[Any], tuple[Item, int]] = {}
    try:
        yield from _fly(stage, run, items, flying)
    finally:
        # A run that ends before its time takes its tasks along: the lease that covers them is about to end.
        if flying:
            run.pool.close()


def _fly(
    stage: Stage[Item], run: Run, items: Iterator[Item], flying: dict[Future[Any], tuple[Item, int]]
) -> Iterator[tuple[Item, Any]]:
    window = stage.window(run)
    exhausted = False
    while flying or not exhausted:
        while not exhausted and len(flying) < window:
            item = next(items, None)
            if item is None:
                exhausted = True
                break
            try:
                task = stage.task(item, run)
            except Exception as error:  # the file's failure too, for instance a folder that cannot be made
                yield item, error
                continue
            if task is None:
                yield item, None
            else:
                flying[stage.submit(task, item, run)] = (item, 1)
        if not flying:
            continue
        done, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in done:
            item, tries = flying.pop(future)
            result = _result_of(future)
            if (task := stage.again(item, run, result, tries)) is None:
                yield item, result
            else:
                flying[stage.submit(task, item, run)] = (item, tries + 1)


def _result_of(future: Future[Any]) -> Any:
    try:
        return future.result()
    except Exception as error:  # the file's failure, which becomes its row
        return error


def _settle(stage: Stage[Item], run: Run, session: Connection, item: Item, result: Any, report: StageReport) -> None:
    label = stage.label(item)
    try:
        if isinstance(result, BaseException):
            raise result
        with session.begin():
            _end_claim(stage, run, session, item)
            outcome = stage.record(session, item, result, run)
        report.add(label, outcome)
    except NotNow as later:
        with session.begin():
            if not work.defer(session, stage.name, stage.row_id(item), run.lease_id, later.seconds):
                raise RunStopped(LOST_LEASE) from later
            stage.put_off(session, item, later.reason, run)
        report.add_pending(label, later.reason)
    except Exception as error:
        if (stop := stops_the_run(error)) is not None:
            raise stop from error
        _settle_failure(stage, run, session, item, error, report)


def _settle_failure(
    stage: Stage[Item], run: Run, session: Connection, item: Item, error: Exception, report: StageReport
) -> None:
    reason, given_up = stage.too_slow if is_task_timeout(error) else in_words(error), None
    with session.begin():
        attempts = work.fail(session, stage.name, stage.row_id(item), run.lease_id, reason, run.backoff_seconds)
        if not attempts:
            raise RunStopped(LOST_LEASE) from error
        stage.failed(session, item, reason, run)
        if attempts >= run.max_attempts and (given_up := stage.give_up(session, item, reason, run)) is not None:
            _end_claim(stage, run, session, item)
    if given_up is not None:
        report.add(stage.label(item), given_up)
    else:
        report.add_failure(stage.label(item), reason)


def _end_claim(stage: Stage[Item], run: Run, session: Connection, item: Item) -> None:
    if not work.finish(session, stage.name, stage.row_id(item), run.lease_id):
        raise RunStopped(LOST_LEASE)
