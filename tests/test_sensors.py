"""What asks for runs, over a real home: what is new leads to few, merged runs, once."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from catalog import leases
from jobs.chain import CHAIN_JOB, RANGE_END, RANGE_START
from jobs.recovery import fail_runs_without_a_lease
from mediapipe_assets.definitions import build_defs
from pipeline.assembly import Platform
from resources.settings import load_settings
from tests.pipeline.test_discovery import photo
from tests.the_catalog import engine, lease, migrated, server

__all__ = ["engine", "migrated", "server"]


class Home:
    """A home whose catalog is the session's, and whose clock is a minute ahead, so that files have settled."""

    def __init__(self, folder: Path, engine: Engine, **overrides: Any) -> None:
        self.photos = folder / "photos"
        self.photos.mkdir()
        sources = {"photos": {"kind": "folder", "path": str(self.photos)}}
        self.settings = load_settings(folder / "home", overrides={"sources": sources, **overrides}, environ={})
        self.ahead = timedelta(minutes=1)
        self.platform = Platform(self.settings, engine, lambda: datetime.now(UTC) + self.ahead)
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.defs = build_defs(self.settings)
        self.platform.prepare()

    @contextlib.contextmanager
    def opened(self, *, prepare: bool = False) -> Iterator[Platform]:
        yield self.platform

    def tick(self) -> Any:
        """One tick of the folder sensor, with the cursor of the last one."""
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            definitions=self.defs,
            sensor_name="folder_sensor",
            resources={"platform": self},
        ) as context:
            found = self.defs.get_sensor_def("folder_sensor").evaluate_tick(context)
        self.cursor = found.cursor
        return found

    def scheduled(self, name: str) -> Any:
        repository = self.defs.get_repository_def()
        with dg.build_schedule_context(
            self.instance, datetime.now(UTC), resources={"platform": self}, repository_def=repository
        ) as context:
            return repository.get_schedule_def(name).evaluate_tick(context)

    def start_run(self, first: str, last: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> str:
        run = dg.DagsterRun(job_name=CHAIN_JOB, status=status, tags={RANGE_START: first, RANGE_END: last})
        self.instance.add_run(run)
        return run.run_id

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status


@pytest.fixture
def home(tmp_path: Path, engine: Engine) -> Home:
    return Home(tmp_path, engine)


def ranges(tick: Any) -> list[tuple[str, str]]:
    return [(one.tags[RANGE_START], one.tags[RANGE_END]) for one in tick.run_requests]


def test_what_is_new_is_asked_for_in_merged_ranges(home: Home) -> None:
    for day in (datetime(2020, 1, 1), datetime(2020, 2, 20), datetime(2024, 5, 17)):
        photo(home.photos / f"{day:%Y-%m-%d}.jpg", day)
    tick = home.tick()
    assert ranges(tick) == [("2020-01-01", "2020-02-20"), ("2024-05-17", "2024-05-17")]
    assert {one.tags["mediapipe/asked_for_by"] for one in tick.run_requests} == {"folder_sensor"}
    assert [one.asset_key.to_user_string() for one in tick.asset_events] == ["local_folder"]
    assert tick.asset_events[0].metadata["new"].value == 3


def test_a_run_that_is_under_way_is_not_asked_for_twice(home: Home) -> None:
    photo(home.photos / "a.jpg")
    (asked,) = ranges(home.tick())
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED):
        run_id = home.start_run(*asked, status=status)
        tick = home.tick()
        assert ranges(tick) == []
        assert tick.skip_message.startswith("A run for these days is under way")
        home.instance.delete_run(run_id)
    assert ranges(home.tick()) == [asked]  # it ended, and the days are still due


def test_days_beside_the_run_under_way_are_asked_for_at_once(home: Home) -> None:
    home.start_run("2024-05-01", "2024-05-31")
    photo(home.photos / "a.jpg", datetime(2024, 5, 17))
    photo(home.photos / "b.jpg", datetime(2020, 1, 1))
    assert ranges(home.tick()) == [("2020-01-01", "2020-01-01")]


def test_an_idle_tick_says_so_and_changes_no_cursor(home: Home, engine: Engine) -> None:
    assert home.tick().skip_message == "Nothing is new."
    cursor = home.cursor
    assert home.tick().skip_message == "Nothing is new."
    assert home.cursor == cursor


def test_files_still_being_written_are_named_as_the_reason(home: Home) -> None:
    home.ahead = timedelta(0)
    photo(home.photos / "a.jpg")
    assert home.tick().skip_message == "1 files are still being written."
    home.ahead = timedelta(minutes=1)
    assert len(ranges(home.tick())) == 1


def test_a_folder_that_is_missing_is_named_and_the_sensor_goes_on(home: Home) -> None:
    photo(home.photos / "a.jpg")
    home.tick()
    shutil.rmtree(home.photos)
    message = home.tick().skip_message
    assert "does not exist" in message
    assert str(home.photos) in message
    home.photos.mkdir()
    assert "taken for away" in home.tick().skip_message


def test_without_a_folder_the_reason_says_what_to_run(tmp_path: Path, engine: Engine) -> None:
    home = Home(tmp_path, engine, sources={})
    assert home.tick().skip_message == "No folder is watched. Run: mediapipe-assets run --source DIR"


def test_more_than_one_look_takes_is_taken_by_the_next_ones(tmp_path: Path, engine: Engine) -> None:
    home = Home(tmp_path, engine, runs={"discover_limit": 2})
    for number in range(3):
        photo(home.photos / f"{number}.jpg", datetime(2024, 1, 1 + number), shade=number)
    assert ranges(home.tick()) == [("2024-01-01", "2024-01-02")]
    assert ranges(home.tick()) == [("2024-01-01", "2024-01-03")]


def test_the_cursor_is_small_and_readable(home: Home) -> None:
    photo(home.photos / "a.jpg")
    home.tick()
    assert home.cursor is not None
    assert set(json.loads(home.cursor)) == {"digests", "due"}
    assert len(home.cursor) < 200


def test_a_schedule_takes_up_what_is_left_and_says_when_nothing_is(home: Home, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    home.instance = dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))  # a schedule's context wants one on disk
    assert home.scheduled("pending_schedule").skip_message == "Nothing is due."
    photo(home.photos / "a.jpg", datetime(2024, 5, 17))
    home.tick()
    for name in ("pending_schedule", "tier_schedule"):
        assert ranges(home.scheduled(name)) == [("2024-05-17", "2024-05-17")]
    home.start_run("2024-05-17", "2024-05-17")
    assert home.scheduled("pending_schedule").skip_message == "A run for these days is under way."


def test_a_run_that_just_failed_as_a_whole_is_not_asked_for_again_at_once(home: Home) -> None:
    photo(home.photos / "a.jpg")
    (asked,) = ranges(home.tick())
    home.start_run(*asked, status=dg.DagsterRunStatus.FAILURE)  # its archive is not mounted, say
    tick = home.tick()
    assert ranges(tick) == []
    assert "failed less than 15 minutes ago" in tick.skip_message


def test_a_run_that_was_killed_goes_on_at_once(home: Home, engine: Engine) -> None:
    photo(home.photos / "a.jpg")
    (asked,) = ranges(home.tick())
    run_id = home.start_run(*asked)
    _kill(home, engine, run_id)
    assert ranges(home.tick()) == [asked]
    assert home.status(run_id) == dg.DagsterRunStatus.FAILURE


def test_a_schedule_finds_a_run_whose_process_was_killed(home: Home, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    home.instance = dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))
    photo(home.photos / "a.jpg", datetime(2024, 5, 17))
    home.tick()
    run_id = home.start_run("2024-05-17", "2024-05-17")
    with lease(engine, run_id):
        assert ranges(home.scheduled("pending_schedule")) == []
    _kill(home, engine, run_id)
    assert ranges(home.scheduled("pending_schedule")) == [("2024-05-17", "2024-05-17")]


# ------------------------------------------------------------------ runs that ended without a word


def test_a_run_whose_lease_died_is_marked_as_failed(home: Home, engine: Engine) -> None:
    run_id = home.start_run("2024-05-17", "2024-05-17")
    with lease(engine, run_id):
        assert fail_runs_without_a_lease(home.instance, home.platform) == []  # it lives
    _kill(home, engine, run_id)
    assert fail_runs_without_a_lease(home.instance, home.platform) == [run_id]
    assert home.status(run_id) == dg.DagsterRunStatus.FAILURE
    assert fail_runs_without_a_lease(home.instance, home.platform) == []


def _kill(home: Home, engine: Engine, run_id: str) -> None:
    """Lets a run have a lease and lose it with its process; the next start finds that."""
    session = engine.connect()
    leases.open_lease(session, run_id)
    session.invalidate()
    deadline = time.monotonic() + 10
    while run_id not in home.platform.clean_up():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_that_has_given_its_lease_back_and_is_about_to_say_so_is_left_alone(home: Home, engine: Engine) -> None:
    run_id = home.start_run("2024-05-17", "2024-05-17")
    with lease(engine, run_id):
        pass
    assert fail_runs_without_a_lease(home.instance, home.platform) == []


def test_a_run_that_has_only_just_started_is_left_alone(home: Home) -> None:
    run_id = home.start_run("2024-05-17", "2024-05-17")
    assert fail_runs_without_a_lease(home.instance, home.platform) == []
    assert home.status(run_id) == dg.DagsterRunStatus.STARTED


def test_a_run_that_was_tried_again_and_lives_is_left_alone(home: Home, engine: Engine) -> None:
    run_id = home.start_run("2024-05-17", "2024-05-17")
    _kill(home, engine, run_id)
    with lease(engine, run_id):
        assert fail_runs_without_a_lease(home.instance, home.platform) == []


def test_runs_of_other_jobs_and_runs_that_ended_are_left_alone(home: Home, engine: Engine) -> None:
    home.instance.add_run(dg.DagsterRun(job_name="another", status=dg.DagsterRunStatus.STARTED))
    done = home.start_run("2024-05-17", "2024-05-17", dg.DagsterRunStatus.SUCCESS)
    _kill(home, engine, done)
    assert fail_runs_without_a_lease(home.instance, home.platform) == []
