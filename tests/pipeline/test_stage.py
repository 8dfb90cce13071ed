"""The loop that every stage shares: one bad file costs one file, and only what is ours is recorded."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from catalog import sources, work
from catalog.work import WorkQuery
from pipeline.failures import RunStopped, in_words
from pipeline.layout import folders_of_day
from pipeline.run import Run
from pipeline.stage import Outcome, Stage, StageReport, work_off
from resources.compute import Task
from resources.delivery import NotNow
from tests.the_catalog import a_run, add_observation, lease


class Looking(Stage[int]):
    """A stage that does something with each waiting observation and then calls it rejected."""

    name = sources.ORIGINALS
    too_slow = "it was too slow"

    def __init__(self, do: Callable[[int], Any] = lambda row: row, prepare: Callable[[int], None] = lambda row: None):
        self.do, self.prepare, self.tries = do, prepare, 1

    def begin(self, run: Run) -> None:
        pass

    def query(self, run: Run) -> WorkQuery:
        return sources.to_store

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[int]:
        return ids

    def row_id(self, item: int) -> int:
        return item

    def label(self, item: int) -> str:
        return f"file {item}"

    def task(self, item: int, run: Run) -> Task | None:
        self.prepare(item)
        return Task(self.do, (item,))

    def timeout(self, item: int) -> float:
        return 1.0

    def again(self, item: int, run: Run, result: Any, tries: int) -> Task | None:
        return Task(self.do, (item,)) if isinstance(result, Exception) and tries < self.tries else None

    def record(self, connection: Connection, item: int, result: Any, run: Run) -> Outcome:
        sources.settle(connection, item, "rejected", reason="seen")
        return Outcome("seen", {"bytes": 2.0})

    def failed(self, connection: Connection, item: int, reason: str, run: Run) -> None:
        sources.settle(connection, item, "failed", reason=reason)

    def give_up(self, connection: Connection, item: int, reason: str, run: Run) -> Outcome | None:
        return None

    def put_off(self, connection: Connection, item: int, reason: str, run: Run) -> None:
        """Writes nothing."""


class Effortless(Looking):
    """The same without work for a pool."""

    def task(self, item: int, run: Run) -> Task | None:
        return None


@pytest.fixture
def rows(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return [add_observation(connection) for _ in range(5)]


def states(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT state FROM source_files ORDER BY id")).scalars())


def work_rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT row_id, attempts, error FROM work ORDER BY row_id")).all())


def run_stage(engine: Engine, stage: Looking, **given: Any) -> StageReport:
    with lease(engine) as lease_id:
        return work_off(stage, a_run(engine, lease_id, **given))


def breaking(row: int, error: Exception) -> Callable[[int], int]:
    def do(item: int) -> int:
        if item == row:
            raise error
        return item

    return do


@pytest.mark.parametrize("kind", [Looking, Effortless])
def test_everything_that_is_due_is_worked_on_once_and_a_second_run_does_nothing(
    engine: Engine, rows: list[int], kind: type[Looking]
) -> None:
    report = run_stage(engine, kind())
    assert (report.done, report.counts, report.figures) == (5, {"seen": 5}, {"bytes": 10.0})
    assert states(engine) == ["rejected"] * 5
    assert work_rows(engine) == []
    again = run_stage(engine, kind())
    assert (again.done, again.metrics()) == (0, {})


def test_one_file_that_fails_stops_no_other(engine: Engine, rows: list[int]) -> None:
    report = run_stage(engine, Looking(breaking(rows[1], ValueError("no picture"))))
    assert report.counts == {"seen": 4, "failed": 1}
    assert report.failures == [(f"file {rows[1]}", "ValueError: no picture")]
    assert states(engine) == ["rejected", "failed", "rejected", "rejected", "rejected"]
    assert work_rows(engine) == [(rows[1], 1, "ValueError: no picture")]


def test_a_file_whose_task_cannot_even_be_made_stops_no_other(engine: Engine, rows: list[int]) -> None:
    report = run_stage(engine, Looking(prepare=breaking(rows[1], KeyError("source:gone"))))
    assert report.counts == {"seen": 4, "failed": 1}
    assert states(engine)[1] == "failed"


def test_a_file_that_cannot_be_worked_on_now_is_pending_and_stops_no_other(engine: Engine, rows: list[int]) -> None:
    report = run_stage(engine, Looking(breaking(rows[1], NotNow("ask later", 3600))))
    assert report.counts == {"seen": 4, "pending": 1}
    assert (report.failures, report.notes) == ([], [(f"file {rows[1]}", "ask later")])
    assert states(engine)[1] == "pending"
    assert work_rows(engine) == [(rows[1], 0, None)]
    assert run_stage(engine, Looking()).done == 0


def test_putting_off_under_a_lost_lease_is_not_recorded_either(engine: Engine, rows: list[int]) -> None:
    with pytest.raises(RunStopped, match="lost its lease"):
        run_stage(engine, Looking(_stolen(engine, NotNow("ask later", 3600))))
    assert _reasons(engine)[0] == "the other run's"


def test_a_full_disk_stops_the_run_and_keeps_what_was_finished(engine: Engine, rows: list[int]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/originals")
    with pytest.raises(RunStopped, match="The disk is full at /originals"):
        run_stage(engine, Looking(breaking(rows[3], full)))
    assert states(engine)[3] == "pending"
    assert "failed" not in states(engine)


def test_a_disk_that_is_full_before_the_task_is_made_stops_the_run_too(engine: Engine, rows: list[int]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/originals")
    with pytest.raises(RunStopped, match="The disk is full"):
        run_stage(engine, Looking(prepare=breaking(rows[3], full)))


def test_a_disk_that_went_away_stops_the_run(engine: Engine, rows: list[int]) -> None:
    with pytest.raises(RunStopped, match="went away"):
        run_stage(engine, Looking(breaking(rows[0], OSError(errno.ESTALE, "Stale file handle", "/nas"))))


def test_what_a_run_that_stops_had_claimed_is_due_again_at_once(engine: Engine, rows: list[int]) -> None:
    from pipeline.run import leased

    with pytest.raises(RunStopped), leased(engine, "stops", {}, folders_of_day) as lease_id:
        work_off(Looking(breaking(rows[0], RunStopped("enough"))), a_run(engine, lease_id))
    assert work_rows(engine) == []
    run_stage(engine, Looking())
    assert states(engine) == ["rejected"] * 5


def _stolen(engine: Engine, then: Exception | None = None) -> Callable[[int], int]:
    """Lets another run take a row over and finish it while this one works on it."""

    def do(item: int) -> int:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM work WHERE row_id = :row"), {"row": item})
            sources.settle(connection, item, "rejected", reason="the other run's")
        if then is not None:
            raise then
        return item

    return do


def test_a_result_under_a_lost_lease_is_not_recorded(engine: Engine, rows: list[int]) -> None:
    with pytest.raises(RunStopped, match="lost its lease"):
        run_stage(engine, Looking(_stolen(engine)))
    assert _reasons(engine)[0] == "the other run's"


def test_a_failure_under_a_lost_lease_is_not_recorded_either(engine: Engine, rows: list[int]) -> None:
    with pytest.raises(RunStopped, match="lost its lease"):
        run_stage(engine, Looking(_stolen(engine, ValueError("late"))))
    assert _reasons(engine)[0] == "the other run's"


def _reasons(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT reason FROM source_files ORDER BY id")).scalars())


def test_the_limit_counts_work_and_not_what_is_listed(engine: Engine, rows: list[int]) -> None:
    seen = []
    for _ in range(3):
        report = run_stage(engine, Looking(), limit=2)
        seen.append(report.done)
    assert seen == [2, 2, 1]
    assert set(states(engine)) == {"rejected"}


def test_the_limit_is_not_eaten_up_by_failures_that_wait(engine: Engine, rows: list[int]) -> None:
    run_stage(engine, Looking(breaking(rows[0], ValueError("no"))), limit=1)
    assert run_stage(engine, Looking(), limit=4).counts == {"seen": 4}


def test_redo_all_meets_a_failure_again_at_once_and_only_once(engine: Engine, rows: list[int]) -> None:
    stage = Looking(breaking(rows[0], ValueError("no")))
    run_stage(engine, stage)
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET lease_id = NULL"))
    assert run_stage(engine, stage).done == 0  # it waits
    assert run_stage(engine, stage, redo="all").counts == {"failed": 1}


def test_a_stage_may_try_another_task_before_it_gives_up(engine: Engine, rows: list[int]) -> None:
    tried: list[int] = []

    def do(item: int) -> int:
        tried.append(item)
        if tried.count(item) < 2:
            raise ValueError("not yet")
        return item

    stage = Looking(do)
    stage.tries = 2
    assert run_stage(engine, stage).counts == {"seen": 5}


def test_a_database_that_goes_away_stops_the_run_in_words(engine: Engine, rows: list[int]) -> None:
    def do(item: int) -> int:
        with engine.begin() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND application_name = 'mediapipe-assets' AND datname IS NOT NULL"
                )
            )
        return item

    from pipeline.run import leased

    with pytest.raises(RunStopped, match="database went away"), leased(engine, "run", {}, folders_of_day) as lease_id:
        run = a_run(engine, lease_id)
        work_off(Looking(do), run)


def test_progress_is_told_after_each_file_and_counts_what_the_limit_allows(engine: Engine, rows: list[int]) -> None:
    told: list[tuple[str, int, int]] = []
    run_stage(engine, Looking(), limit=3, progress=lambda stage, done, total, _: told.append((stage, done, total)))
    assert told == [(sources.ORIGINALS, done, 3) for done in (1, 2, 3)]


def test_a_network_read_that_timed_out_is_not_taken_for_a_task_that_took_too_long() -> None:
    from concurrent.futures import TimeoutError as TaskTimeout

    assert "took too long" in in_words(TaskTimeout("Task timeout", 3))
    read = OSError(errno.ETIMEDOUT, "Connection timed out", "/nas/a.jpg")
    assert in_words(read) == "Connection timed out at /nas/a.jpg"


def test_counting_what_is_due_includes_failures(engine: Engine, rows: list[int]) -> None:
    run_stage(engine, Looking(breaking(rows[0], ValueError("no"))))
    with engine.connect() as connection:
        assert work.count_due(connection, sources.to_store) == 1
