"""What is amiss with the platform itself is told once, and taken back when it is over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from catalog import heartbeats, icloud, twofa, work
from catalog.logs import log_event
from pipeline import alerts, health, switches
from pipeline.health import Disk
from pipeline.planning import Shortage
from tests.alerts_world import Watched, dagster_on_postgres, watched
from tests.the_catalog import add_observation, engine, lease, migrated, server

__all__ = ["dagster_on_postgres", "engine", "migrated", "server", "watched"]
HEALTH = "health_alerts"
MINUTES = timedelta(minutes=1)


@pytest.fixture
def waiting(watched: Watched) -> Watched:
    """A home in which a file waits."""
    with watched.engine.begin() as connection:
        add_observation(connection)
    return watched


@pytest.fixture
def with_icloud(tmp_path: Path, engine: Engine, dagster_on_postgres: dg.DagsterInstance) -> Watched:
    """A home whose photos come from iCloud alone; one waits to be downloaded."""
    sources = {"icloud": {"kind": "icloud", "apple_id": "me@example.com"}}
    home = Watched(tmp_path, engine, dagster_on_postgres, sources=sources)
    with engine.begin() as connection:
        add_observation(connection, source="icloud")
    return home


def pass_time(home: Watched, hours: int, *, off: int = 0) -> None:
    """Lets some hours pass, in which somebody looks at each, and before them some with the machine switched off."""
    last = home.platform.now() + timedelta(hours=1 if not off else 0)
    home.ahead += timedelta(hours=off)
    for _ in range(hours):
        home.ahead += timedelta(hours=1)
        with home.engine.begin() as connection:
            health.look_for_progress(home.platform, connection, last)
        last = home.platform.now() + timedelta(hours=1)


def finish_one(home: Watched, event: str = "kept") -> None:
    with home.engine.begin() as connection:
        log_event(connection, run_id="run", stage="folder_originals", event=event)
    home.do(
        "UPDATE pipeline_logs SET at = now() + :ahead WHERE id = (SELECT max(id) FROM pipeline_logs)", ahead=home.ahead
    )


def test_a_home_where_all_is_well_is_told_nothing_and_the_sensors_say_that_they_live(watched: Watched) -> None:
    assert watched.tick(HEALTH).skip_message == "All is well."
    with watched.engine.connect() as connection:
        assert heartbeats.last_beat(connection, heartbeats.SENSORS) is not None
    pass_time(watched, 30)
    assert watched.told() == []


def test_the_sensor_looks_at_everything_by_itself(waiting: Watched) -> None:
    waiting.tick(HEALTH)
    waiting.ahead = timedelta(hours=13)
    waiting.do("UPDATE heartbeats SET at = now() + interval '12 hours 59 minutes'")
    assert [one.key for one in waiting.news(HEALTH)] == ["stalled"]


# ------------------------------------------------------------------ nothing is finished


def test_files_that_wait_for_hours_while_none_is_finished_are_told_once(waiting: Watched) -> None:
    pass_time(waiting, 12)
    assert waiting.told() == []
    pass_time(waiting, 4)
    (one,) = waiting.told()
    assert (one.key, one.severity, one.path) == ("stalled", "error", "/runs")
    assert "1 file waits" in one.body and "folder_originals" in one.body
    finish_one(waiting, "failed")
    pass_time(waiting, 1)
    assert waiting.standing() == ["stalled"], "a failure is no end"
    finish_one(waiting)
    pass_time(waiting, 1)
    assert waiting.standing() == []
    pass_time(waiting, 13)
    assert len(waiting.told()) == 2


def test_what_a_run_has_in_hand_for_hours_counts_as_waiting(waiting: Watched) -> None:
    with lease(waiting.engine) as lease_id:
        query = waiting.platform.queries(aged=False)[0]
        with waiting.engine.begin() as connection:
            rules = work.ClaimRules(lease_id, "failed", 5)
            assert len(work.claim(connection, query, work.ALL_DAYS, rules, 10)) == 1
        pass_time(waiting, 13)
    assert waiting.standing() == ["stalled"]


def test_files_that_came_a_moment_ago_do_not_wait_for_hours(watched: Watched) -> None:
    pass_time(watched, 20)
    with watched.engine.begin() as connection:
        add_observation(connection)
    pass_time(watched, 11)
    assert watched.told() == []


@pytest.mark.parametrize("attempts", [1, 5])
def test_what_failed_and_waits_for_its_time_or_a_person_stalls_nothing(waiting: Watched, attempts: int) -> None:
    waiting.do(
        "INSERT INTO work (stage, row_id, partition_date, attempts, error, not_before) SELECT 'folder_originals', id, "
        "partition_date, :attempts, 'it is broken', now() + make_interval(days => 6 - :attempts * 2) FROM source_files",
        attempts=attempts,
    )
    pass_time(waiting, 20)
    assert waiting.told() == []


def test_a_pause_and_a_machine_that_was_off_stall_nothing(waiting: Watched) -> None:
    pass_time(waiting, 11)
    switches.pause(waiting.engine)
    pass_time(waiting, 20)
    switches.resume(waiting.engine)
    pass_time(waiting, 11)
    pass_time(waiting, 11, off=30)
    assert waiting.told() == []
    pass_time(waiting, 2)
    assert waiting.standing() == ["stalled"]


# ------------------------------------------------------------------ Apple


def test_what_waits_for_a_person_or_for_apple_stalls_nothing_and_is_told_in_its_own_way(with_icloud: Watched) -> None:
    with with_icloud.engine.begin() as connection:
        icloud.set_account(connection, "icloud", needs="code", needs_detail="Apple wants a code. Run: … icloud login")
    with_icloud.tick(HEALTH)
    pass_time(with_icloud, 20)
    (one,) = with_icloud.told()
    assert (one.key, one.severity) == ("icloud:icloud:needs", "critical")
    assert "Apple wants a code. Run: … icloud login" in one.body
    with with_icloud.engine.begin() as connection:
        later = with_icloud.platform.now() + timedelta(days=1)
        icloud.set_account(connection, "icloud", needs=None, needs_detail=None, throttled_until=later)
    with_icloud.tick(HEALTH)
    pass_time(with_icloud, 20)
    assert with_icloud.standing() == [] and len(with_icloud.told()) == 1
    pass_time(with_icloud, 20)
    assert with_icloud.standing() == ["stalled"]


def test_while_the_bot_asks_for_a_code_nobody_is_told_beside_it_that_one_is_wanted(with_icloud: Watched) -> None:
    now = with_icloud.platform.now()
    with with_icloud.engine.begin() as connection:
        icloud.set_account(connection, "icloud", needs="code", needs_detail="Apple wants a code.")
        asked = twofa.open_request(connection, "icloud", now, now + timedelta(minutes=10))
    with_icloud.tick(HEALTH)
    assert with_icloud.told() == []
    with with_icloud.engine.begin() as connection:
        twofa.end(connection, asked, "expired")
    with_icloud.tick(HEALTH)
    assert [one.key for one in with_icloud.told()] == ["icloud:icloud:needs"]


def test_the_end_of_apples_trust_is_told_7_3_and_1_days_before_and_taken_back_by_a_code(with_icloud: Watched) -> None:
    with with_icloud.engine.begin() as connection:
        icloud.set_account(connection, "icloud", trusted_at=with_icloud.platform.now())
    with_icloud.do("DELETE FROM source_files")
    told = {}
    for day in (0, 52, 53, 54, 56, 57, 58, 59, 61):
        with_icloud.ahead = timedelta(days=day)
        for one in with_icloud.news(HEALTH):
            told[day] = one.key
    assert told == {53: "icloud:icloud:trust:7", 57: "icloud:icloud:trust:3", 59: "icloud:icloud:trust:1"}
    assert with_icloud.standing() == ["icloud:icloud:trust:1"]
    assert {one.severity for one in with_icloud.told()} == {"warning"}
    with with_icloud.engine.begin() as connection:
        icloud.set_account(connection, "icloud", trusted_at=with_icloud.platform.now())
    assert with_icloud.news(HEALTH) == [] and with_icloud.standing() == []


# ------------------------------------------------------------------ processes


def test_a_bot_that_falls_silent_is_told_and_one_that_never_ran_or_ended_on_purpose_is_not(watched: Watched) -> None:
    assert watched.news(HEALTH) == []
    with watched.engine.begin() as connection:
        heartbeats.beat(connection, heartbeats.BOT)
    assert watched.news(HEALTH) == []
    watched.ahead = 4 * MINUTES
    (one,) = watched.news(HEALTH)
    assert (one.key, one.severity) == ("bot:silent", "error") and watched.news(HEALTH) == []
    watched.ahead = timedelta()
    assert watched.news(HEALTH) == [] and watched.standing() == [], "it beats again"
    watched.ahead = 4 * MINUTES
    with watched.engine.begin() as connection:
        heartbeats.stop_beating(connection, heartbeats.BOT)
    assert watched.news(HEALTH) == []


def test_the_bot_tells_when_the_daemon_falls_silent(watched: Watched) -> None:
    def look(ahead: timedelta) -> bool:
        with watched.engine.begin() as connection:
            return alerts.watch_daemon(connection, watched.platform.now() + ahead)

    assert not look(timedelta(days=1)), "it has never run"
    watched.tick(HEALTH)
    assert not look(4 * MINUTES) and watched.told() == []
    assert look(6 * MINUTES) and look(7 * MINUTES)
    (one,) = watched.told()
    assert (one.key, one.severity) == ("daemon:silent", "error")
    watched.tick(HEALTH)
    assert not look(timedelta()) and watched.standing() == []


# ------------------------------------------------------------------ disks


def free(home: Watched, monkeypatch: pytest.MonkeyPatch, **gigabytes: float) -> list[Any]:
    """What is told when so much is free on some disks."""
    disks = [Disk(name, [name], number, int(size * 1e9)) for number, (name, size) in enumerate(gigabytes.items())]
    monkeypatch.setattr(health, "disks_of", lambda _: disks)
    return home.news(HEALTH)


def test_a_disk_that_fills_up_is_told_once_until_there_is_room_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free(watched, monkeypatch, originals=5.1, nas=100) == []
    (one,) = free(watched, monkeypatch, originals=4.9, nas=100)
    assert (one.key, one.severity) == ("disk:originals", "warning") and "4.9 GB free" in one.title
    for size in (5.1, 4.9, 5.5, 4.0):
        assert free(watched, monkeypatch, originals=size, nas=100) == [], "about the limit it is neither over nor new"
    (other,) = free(watched, monkeypatch, originals=4.0, nas=1)
    assert other.key == "disk:nas"
    assert free(watched, monkeypatch, originals=6.1, nas=1) == [] and watched.standing() == ["disk:nas"]
    assert len(free(watched, monkeypatch, originals=4.9, nas=1)) == 1


def test_folders_of_one_disk_are_one_disk(watched: Watched) -> None:
    (disk,) = health.disks_of(watched.platform)
    assert disk.name == "originals" and {"originals", "renditions", "destination:archive", "home"} <= set(disk.folders)
    assert disk.free > 0


def test_a_run_that_would_be_refused_for_want_of_room_is_told_before_it_is(
    waiting: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = [Shortage(waiting.platform.roots["originals"], 7 * 10**9, 10**9)]
    monkeypatch.setattr(health, "estimate", lambda _: lacking)
    (one,) = [one for one in waiting.news(HEALTH) if one.key.startswith("room:")]
    assert (one.key, one.severity) == ("room:originals", "error") and "7.0 GB would be written" in one.body
    lacking.clear()
    waiting.ahead += timedelta(minutes=5)
    assert waiting.news(HEALTH) == [] and "room:originals" in waiting.standing(), "it is looked for every ten minutes"
    waiting.ahead += timedelta(minutes=6)
    waiting.tick(HEALTH)
    assert "room:originals" not in waiting.standing()
