"""A pause lets nothing start by itself and stops runs under way between two files; what a person starts works."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from jobs.chain import A_PERSON, ASKED_FOR_BY, CHAIN_JOB, COMMAND_LINE, PARENT, RETRY, starts_by_itself
from mediapipe_assets.cli import cli
from pipeline import switches
from pipeline.switches import RunPause
from tests.pipeline.test_discovery import photo
from tests.pipeline.test_stage import Looking, run_stage, states
from tests.test_sensors import Home, home, ranges
from tests.the_catalog import add_observation, engine, migrated, server

__all__ = ["engine", "home", "migrated", "server"]


def asked(home: Home, cursor: str | None = None) -> Any:
    """One tick of the sensor for what a person asks for."""
    with dg.build_sensor_context(
        home.instance,
        cursor=cursor,
        definitions=home.defs,
        sensor_name="asked_run_sensor",
        resources={"platform": home},
    ) as context:
        return home.defs.get_sensor_def("asked_run_sensor").evaluate_tick(context)


def since(engine: Engine) -> datetime | None:
    with engine.connect() as connection:
        return switches.paused_since(connection)


def test_a_pause_counts_from_its_beginning_until_it_is_ended(engine: Engine) -> None:
    assert since(engine) is None and switches.why_paused(engine) is None and not switches.resume(engine)
    began = switches.pause(engine)
    assert since(engine) == began == switches.pause(engine)
    reason = switches.why_paused(engine)
    assert reason is not None and f"{began:%Y-%m-%d %H:%M}" in reason and "mediapipe-assets resume" in reason
    assert switches.resume(engine) and since(engine) is None


def test_while_paused_every_sensor_and_schedule_says_since_when_and_how_it_ends(home: Home, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    home.instance = dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))
    home.tick()
    cursor = home.cursor
    photo(home.photos / "a.jpg", datetime(2024, 5, 17))
    switches.pause(home.platform.engine)
    for tick in (home.tick(), home.scheduled("pending_schedule"), home.scheduled("tier_schedule")):
        assert not tick.run_requests
        assert tick.skip_message == switches.why_paused(home.platform.engine)
    switches.resume(home.platform.engine)
    home.cursor = cursor
    assert ranges(home.tick()) == [("2024-05-17", "2024-05-17")], "what came meanwhile is found when it ends"


def test_a_run_under_way_takes_up_no_file_after_the_pause_and_the_rest_stays_pending(engine: Engine) -> None:
    with engine.begin() as connection:
        rows = [add_observation(connection) for _ in range(20)]
    clock = iter(range(0, 1000, 2))
    paused = RunPause(engine, by_itself=False, clock=lambda: float(next(clock)))

    def do(row: int) -> int:
        if row == rows[2]:
            switches.pause(engine)
        return row

    report = run_stage(engine, Looking(do), paused=paused)
    assert 3 <= report.done < 20 and report.counts == {"seen": report.done}
    assert states(engine).count("pending") == 20 - report.done
    assert report.notes[0][1].startswith("Paused since")
    nothing = run_stage(engine, Looking(), paused=RunPause(engine, by_itself=True))
    assert (nothing.done, nothing.notes[0][1][:12]) == (0, "Paused since")
    assert run_stage(engine, Looking(), paused=RunPause(engine, by_itself=False)).done == 20 - report.done


@pytest.mark.parametrize(
    ("tags", "by_itself"),
    [
        ({}, False),
        ({ASKED_FOR_BY: "folder_sensor"}, True),
        ({ASKED_FOR_BY: A_PERSON}, False),
        ({ASKED_FOR_BY: COMMAND_LINE}, False),
        ({ASKED_FOR_BY: "folder_sensor", PARENT: "x"}, False),
        ({ASKED_FOR_BY: A_PERSON, PARENT: "x", RETRY: "1"}, True),
    ],
)
def test_who_started_a_run_is_read_from_its_tags(tags: dict[str, str], by_itself: bool) -> None:
    assert starts_by_itself(tags) is by_itself


def test_a_run_that_a_person_asks_for_starts_once_over_what_is_pending(home: Home) -> None:
    assert asked(home).skip_message == "Nobody has asked for a run."
    photo(home.photos / "a.jpg", datetime(2024, 5, 17))
    home.tick()
    moment = switches.ask_for_run(home.platform.engine)
    tick = asked(home)
    assert ranges(tick) == [("2024-05-17", "2024-05-17")]
    assert [one.tags[ASKED_FOR_BY] for one in tick.run_requests] == [A_PERSON]
    assert tick.cursor == moment.isoformat()
    assert asked(home, tick.cursor).skip_message == "Nobody has asked for a run."
    (same,) = asked(home).run_requests  # a tick that ended before its cursor was written down
    assert same.run_key == tick.run_requests[0].run_key
    switches.ask_for_run(home.platform.engine)
    home.instance.add_run(
        dg.DagsterRun(job_name=CHAIN_JOB, status=dg.DagsterRunStatus.STARTED, tags=dict(same.tags)),
    )
    assert asked(home, tick.cursor).skip_message == "A run for these days is under way."


def test_asking_during_a_pause_starts_a_run_and_a_pause_after_asking_stops_it(home: Home) -> None:
    photo(home.photos / "a.jpg", datetime(2024, 5, 17))
    home.tick()
    engine = home.platform.engine
    switches.pause(engine)
    switches.ask_for_run(engine)
    assert len(ranges(asked(home))) == 1
    switches.resume(engine)
    assert len(ranges(asked(home))) == 1, "the end of a pause asks for what has waited"
    switches.pause(engine)
    assert asked(home).skip_message == switches.why_paused(engine)


def test_the_command_line_pauses_resumes_and_says_so(
    tmp_path: Path, migrated: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAPIPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDIAPIPE_DATABASE_URL", migrated)

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(cli, arguments, standalone_mode=False)
        assert result.exception is None, result.stderr
        return result.output

    assert '"paused_since": null' in said("status", "--json")
    assert "Paused since" in said("pause") and "Paused since" in said("status")
    assert "It goes on" in said("resume") and "It was not paused" in said("resume")
    assert "Paused since" not in said("status")
