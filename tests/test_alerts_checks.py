"""A failed check is told once for each set of failing files, and again after it has passed; on PostgreSQL."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlalchemy import Engine

from media.files import ROOT_MARKER
from pipeline import switches
from sensors import alerts
from tests.alerts_world import Watched, dagster_on_postgres, watched
from tests.the_catalog import engine, migrated, server

__all__ = ["dagster_on_postgres", "engine", "migrated", "server", "watched"]
CHECKS = "check_alerts"
ACCOUNTED = "check:folder_originals:every_found_file_is_accounted_for:"


def test_a_check_that_fails_at_one_day_is_told_once_with_what_where_how_many_and_what_to_do(watched: Watched) -> None:
    watched.fail_file("DCIM/a.jpg", "the disk gave an error")
    run_id = watched.run("2024-05-17")
    (one,) = watched.news(CHECKS)
    assert one.key.startswith(ACCOUNTED) and len(one.key) == len(ACCOUNTED) + 32
    assert (one.topic, one.severity, one.path) == ("check", "error", f"/runs/{run_id}")
    assert one.title == "Check failed: every found file is accounted for – 1 file"
    assert "folder_originals" in one.body and "2024-05-17" in one.body
    assert "• DCIM/a.jpg: the disk gave an error" in one.body and "What to do: Failed files are tried" in one.body
    assert watched.news(CHECKS) == []


def test_a_run_over_a_range_tells_once_and_names_its_days(watched: Watched) -> None:
    watched.fail_file("a.jpg")
    watched.run("2024-05-01", "2024-05-17")
    (one,) = watched.news(CHECKS)
    assert "2024-05-01 to 2024-05-17" in one.body
    assert watched.news(CHECKS) == []


def test_the_same_files_again_are_not_told_and_a_new_one_is(watched: Watched) -> None:
    watched.fail_file("a.jpg")
    watched.run()
    assert len(watched.news(CHECKS)) == 1
    for _ in range(2):
        watched.run("2024-05-18")  # at whatever day: a check looks at all of them
        assert watched.news(CHECKS) == []
    watched.fail_file("b.jpg")
    watched.run()
    (one,) = watched.news(CHECKS)
    assert "2 files" in one.title and "b.jpg" in one.body
    watched.do("UPDATE source_files SET state = 'superseded' WHERE source_id = 'b.jpg'")
    watched.run()
    assert watched.news(CHECKS) == [], "the first set was told, and the check has not passed since"


def test_two_failures_between_two_ticks_are_both_told(watched: Watched) -> None:
    watched.run()
    assert watched.news(CHECKS) == []
    watched.fail_file("a.jpg")
    watched.run()
    watched.fail_file("b.jpg")
    watched.run()
    assert len(watched.news(CHECKS)) == 2


def test_what_was_mended_is_told_again_when_it_comes_back(watched: Watched) -> None:
    row = watched.fail_file("a.jpg")
    watched.run()
    (first,) = watched.news(CHECKS)
    watched.mend()
    watched.run()
    assert watched.news(CHECKS) == [] and watched.standing() == []
    watched.do("UPDATE source_files SET state = 'failed', reason = 'again' WHERE id = :id", id=row)
    watched.run()
    (second,) = watched.news(CHECKS)
    assert second.key == first.key


def test_a_check_that_failed_and_passed_between_two_ticks_leaves_nothing_standing(watched: Watched) -> None:
    watched.run()
    watched.tick(CHECKS)
    watched.fail_file("a.jpg")
    watched.run()
    watched.mend()
    watched.run()
    watched.tick(CHECKS)
    assert len(watched.told()) == 1 and watched.standing() == []


def test_a_check_that_blocks_gives_one_alert_and_not_another_one_for_its_run(watched: Watched) -> None:
    marker = watched.platform.roots["originals"] / ROOT_MARKER
    watched.before_checks = marker.unlink
    run = watched.instance.get_run_by_id(watched.run())
    assert run is not None and run.status == dg.DagsterRunStatus.FAILURE
    (one,) = [*watched.news(CHECKS), *watched.news("run_alerts")]
    assert one.key.startswith("check:folder_originals:roots_have_their_markers:") and one.severity == "error"


def test_500_failures_at_once_are_one_alert_with_a_count_and_a_sample(watched: Watched) -> None:
    for number in range(500):
        watched.fail_file(f"{number}.jpg")
    watched.run()
    (one,) = watched.news(CHECKS)
    assert "500 files" in one.title and "… and 495 more" in one.body and len(one.body) < 1000


def test_a_file_beyond_those_that_a_check_names_makes_another_set(watched: Watched) -> None:
    first = watched.fail_file("first.jpg")
    for number in range(30):
        watched.fail_file(f"{number}.jpg")
    watched.run()
    assert len(watched.news(CHECKS)) == 1
    watched.do("UPDATE source_files SET state = 'superseded' WHERE id = :id", id=first)
    watched.fail_file("another.jpg", capture_provenance="name")
    watched.run()
    assert len(watched.news(CHECKS)) == 1


def test_a_warning_is_told_as_one(watched: Watched) -> None:
    watched.do(
        "INSERT INTO sources (name, kind, location) VALUES ('photos', 'folder', '/photos') ON CONFLICT DO NOTHING"
    )
    row = watched.fail_file("notes.jpg")
    watched.do("UPDATE source_files SET state = 'rejected', reason = 'no picture' WHERE id = :id", id=row)
    watched.run()
    (one,) = watched.news(CHECKS)
    assert (one.severity, "no file was rejected" in one.title) == ("warning", True)


def test_files_that_only_wait_for_their_turn_are_not_told(watched: Watched, engine: Engine) -> None:
    row = watched.fail_file("a.jpg")
    watched.do("UPDATE source_files SET state = 'pending', reason = NULL WHERE id = :id", id=row)
    run_id = watched.run()
    failed = watched.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("folder_originals"), "every_found_file_is_accounted_for"), limit=1
    )
    assert (failed[0].run_id, failed[0].status.value) == (run_id, "FAILED")
    assert watched.news(CHECKS) == []


def test_a_tick_that_dies_half_way_tells_nothing_twice_and_loses_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.fail_file("a.jpg")
    watched.run()
    with monkeypatch.context() as broken:
        broken.setattr("sensors.alerts.config.set_config", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watched.tick(CHECKS)
    assert watched.told() == []
    assert len(watched.news(CHECKS)) == 1
    watched.cursors.clear()  # somebody resets the sensor in the web UI
    assert watched.news(CHECKS) == []


def test_what_fails_when_a_channel_is_set_up_is_told_and_what_is_long_mended_is_not(watched: Watched) -> None:
    watched.fail_file("a.jpg")
    watched.run()
    watched.mend()
    watched.run()
    assert watched.news(CHECKS) == []
    watched.fail_file("b.jpg")
    watched.run()
    assert len(watched.news(CHECKS)) == 1


def test_old_evaluations_that_come_into_view_are_no_news(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.alerts.HISTORY", 2)
    monkeypatch.setattr("sensors.alerts.LATE_SECONDS", 0.0)
    watched.fail_file("a.jpg")
    old = watched.run()
    watched.mend()
    later = [watched.run() for _ in range(2)]
    watched.tick(CHECKS)
    for run_id in later:
        watched.instance.delete_run(run_id)
    assert watched.instance.get_run_by_id(old) is not None
    assert watched.news(CHECKS) == []


def test_alerts_are_on_with_a_channel_and_not_there_without_one(watched: Watched) -> None:
    names = ["check_alerts", "run_alerts", "health_alerts"]
    found = alerts.alert_sensors(watched.settings)
    assert [one.name for one in found] == names
    assert {one.default_status for one in found} == {dg.DefaultSensorStatus.RUNNING}
    silent = watched.settings.model_copy(update={"notify": watched.settings.notify.model_copy(update={"urls": None})})
    assert alerts.alert_sensors(silent) == []


def test_alerts_go_on_during_a_pause(watched: Watched) -> None:
    switches.pause(watched.engine)
    watched.fail_file("a.jpg")
    watched.run()
    assert len(watched.news(CHECKS)) == 1
