"""A run that fails as a whole is told once, however often it is repeated, until a run over its days succeeds."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from jobs.chain import CHAIN_JOB, KILLED, RANGE_END, RANGE_START
from pipeline.failures import RunStopped
from resources.redaction import hide
from tests.alerts_world import Watched, dagster_on_postgres, watched
from tests.the_catalog import engine, migrated, server

__all__ = ["dagster_on_postgres", "engine", "migrated", "server", "watched"]
RUNS = "run_alerts"
ELSEWHEN = {RANGE_START: "2020-01-01", RANGE_END: "2020-01-01"}
MAY = {RANGE_START: "2024-05-01", RANGE_END: "2024-05-31"}


def breaking(error: Exception) -> Any:
    def do() -> None:
        raise error

    return do


def ended(watched: Watched, error: str | None = None, tags: dict[str, str] | None = None, **given: Any) -> str:
    """A run that has just ended, well or with an error."""
    run = dg.DagsterRun(job_name=CHAIN_JOB, status=dg.DagsterRunStatus.STARTED, tags=MAY | (tags or {}), **given)
    watched.instance.add_run(run)
    if error is None:
        watched.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", CHAIN_JOB), run.run_id)
    else:
        watched.instance.report_run_failed(run, error)
    time.sleep(0.001)  # runs end one after the other
    return run.run_id


def test_a_run_that_fails_is_told_once_with_where_why_and_what_to_do(watched: Watched) -> None:
    watched.fail_file("a.jpg")
    watched.before_checks = breaking(dg.Failure("The disk is full at /photos. Nothing is lost: make room."))
    run_id = watched.run("2024-05-01", "2024-05-17")
    (one,) = watched.news(RUNS)
    assert (one.key, one.topic, one.severity, one.path) == (f"run:{run_id}", "run", "error", f"/runs/{run_id}")
    assert one.title == "A run failed"
    assert one.body.splitlines()[:3] == [
        "Where: folder_originals, over 2024-05-01 to 2024-05-17",
        "The disk is full at /photos. Nothing is lost: make room.",
        "1 file at these days stands failed.",
    ]
    assert "What to do:" in one.body
    assert watched.news(RUNS) == []


def test_an_error_that_nobody_foresaw_is_told_by_its_innermost_cause(watched: Watched) -> None:
    watched.before_checks = breaking(ValueError("no such colour"))
    watched.run()
    (one,) = watched.news(RUNS)
    assert "no such colour" in one.body and "Traceback" not in one.body


def test_an_error_that_no_database_takes_or_that_holds_a_secret_is_told_all_the_same(watched: Watched) -> None:
    hide("s3cr3t-w0rd")
    watched.before_checks = breaking(ValueError("odd \0 name \udcff; password s3cr3t-w0rd; " + "x" * 5000))
    watched.run()
    (one,) = watched.news(RUNS)
    assert "odd" in one.body and "s3cr3t-w0rd" not in one.body and len(one.body) < 1000
    assert watched.news(RUNS) == []


def test_a_run_that_never_reached_an_asset_is_told(watched: Watched) -> None:
    @dg.resource
    def pipeline() -> None:
        raise RunStopped("The archive is not mounted.")

    @dg.asset(required_resource_keys={"pipeline"})
    def one_asset() -> None:
        raise AssertionError("it is never reached")

    dg.materialize([one_asset], resources={"pipeline": pipeline}, instance=watched.instance, raise_on_error=False)
    (one,) = watched.news(RUNS)
    assert "before its first asset" in one.body or "one_asset" in one.body
    assert "The archive is not mounted." in one.body.splitlines(), "and not what the error is called in the program"


def test_what_repeats_a_run_is_not_told_again(watched: Watched) -> None:
    root = ended(watched, "The archive is away.")
    assert [one.key for one in watched.news(RUNS)] == [f"run:{root}"]
    for _ in range(2):
        ended(watched, "The archive is away.", root_run_id=root, parent_run_id=root)
        assert watched.news(RUNS) == []


def test_the_same_failure_at_the_same_days_is_told_once_and_at_others_again(watched: Watched) -> None:
    ended(watched, "/archive has 3.1 GB free; about 7 GB would be written there.")
    assert len(watched.news(RUNS)) == 1
    ended(watched, "/archive has 2.9 GB free; about 7 GB would be written there.")
    assert watched.news(RUNS) == [], "an hour later the schedule tries again"
    ended(watched, "The database went away.")
    ended(watched, "/archive has 2.8 GB free; about 7 GB would be written there.", {**MAY, **ELSEWHEN})
    assert len(watched.news(RUNS)) == 2


def test_one_cause_that_fails_run_after_run_over_other_days_is_told_once_until_a_run_succeeds(
    watched: Watched,
) -> None:
    days = [{RANGE_START: f"2020-01-{day:02}", RANGE_END: f"2020-01-{day:02}"} for day in range(1, 8)]
    for each in days[:2]:
        ended(watched, "The archive is away.", each)
    assert len(watched.news(RUNS)) == 1
    for each in days[2:4]:
        ended(watched, "The archive is away.", each)
        assert watched.news(RUNS) == []
    ended(watched, "The archive is at 7.", days[4])
    assert len(watched.news(RUNS)) == 1, "another reason"
    ended(watched, None, days[5])
    ended(watched, "The archive is away.", days[6])
    assert len(watched.news(RUNS)) == 1, "it was back in between"


def test_a_later_run_of_the_same_days_ends_it_and_a_further_failure_is_told(watched: Watched) -> None:
    first = ended(watched, "The archive is away.")
    watched.tick(RUNS)
    ended(watched, None, {RANGE_START: "2020-01-01", RANGE_END: "2020-12-31"})
    watched.tick(RUNS)
    assert watched.standing() == [f"run:{first}"], "other days say nothing of these"
    ended(watched, None, {RANGE_START: "2024-05-17", RANGE_END: "2024-06-30"})
    assert watched.news(RUNS) == [] and watched.standing() == []
    ended(watched, "The archive is away.")
    assert len(watched.news(RUNS)) == 1


def test_a_run_that_was_killed_is_a_warning(watched: Watched) -> None:
    ended(watched, "The process of this run ended without a word.", {KILLED: "true"})
    (one,) = watched.news(RUNS)
    assert (one.severity, one.title) == ("warning", "A run was ended from outside")


def test_a_failure_and_its_mending_between_two_ticks_leave_nothing_standing(watched: Watched) -> None:
    ended(watched, "The archive is away.")
    ended(watched)
    watched.tick(RUNS)
    assert len(watched.told()) == 1 and watched.standing() == []
    assert watched.news(RUNS) == []


def test_a_tick_that_dies_half_way_or_forgets_its_cursor_tells_nothing_twice(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(watched, "The archive is away.")
    with monkeypatch.context() as broken:
        broken.setattr("sensors.alerts.config.set_config", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watched.tick(RUNS)
    assert watched.told() == [] and len(watched.news(RUNS)) == 1
    ended(watched)
    watched.tick(RUNS)
    watched.do("DELETE FROM system_config WHERE key = 'alerts_seen_runs'")
    assert watched.news(RUNS) == [], "what was told once is never told of the same run again"


def test_a_run_that_outlasts_very_many_others_is_not_missed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.alerts.LATEST_RUNS", 3)
    long = dg.DagsterRun(job_name=CHAIN_JOB, status=dg.DagsterRunStatus.STARTED, tags=MAY)
    watched.instance.add_run(long)
    elsewhere = {RANGE_START: "2020-01-01", RANGE_END: "2020-01-01"}
    for _ in range(5):
        ended(watched, None, elsewhere)
    assert watched.news(RUNS) == []
    watched.instance.report_run_failed(long, "The disk is full.")
    for _ in range(5):
        ended(watched, None, elsewhere)
    assert [one.key for one in watched.news(RUNS)] == [f"run:{long.run_id}"]


def test_failures_of_long_ago_are_no_news_when_a_channel_is_set_up(watched: Watched) -> None:
    ended(watched, "The archive is away.")
    watched.ahead = timedelta(days=2)
    assert watched.news(RUNS) == []


def test_runs_that_a_person_ended_are_not_told(watched: Watched) -> None:
    run = dg.DagsterRun(job_name=CHAIN_JOB, status=dg.DagsterRunStatus.STARTED, tags=MAY)
    watched.instance.add_run(run)
    watched.instance.report_run_canceled(run)
    assert watched.news(RUNS) == []
