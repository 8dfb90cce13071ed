"""One look at a phone: what calls for asking about files, what is latched, and what never is taken back."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog import leases, phone_watch, placed_files, work
from catalog.deliveries import in_state
from catalog.work import ALL_DAYS
from pipeline import pixel_watch
from tests.pixel_watch_world import NAME, PHONE, FakeSyncthing, Watching
from tests.the_catalog import engine, lease, migrated, rules, server

__all__ = ["engine", "migrated", "server"]
VERIFIED = "pixel/verified_media"


@pytest.fixture
def fake(tmp_path: Path) -> FakeSyncthing:
    return FakeSyncthing(tmp_path / "nas")


@pytest.fixture
def world(engine: Engine, fake: FakeSyncthing) -> Watching:
    return Watching(engine, fake.root, fake.syncthing())


def test_what_the_phone_has_is_latched_with_its_proof_and_what_it_lacks_waits(
    world: Watching, fake: FakeSyncthing
) -> None:
    world.place("a.jpg")
    world.place("b.jpg")
    fake.has = {"a.jpg"}
    found = world.tick()
    assert (found.connected, found.asked, found.delivered, found.freed) == (True, 2, 1, 0)
    assert world.delivered() == ["a.jpg"]
    (facts,) = world.rows("SELECT facts FROM placed_files WHERE delivered_at IS NOT NULL")[0]
    assert facts["by"] == "syncthing" and facts["device"] == PHONE and facts["level"] == "delivered"


def test_an_idle_look_asks_about_no_file_and_writes_nothing(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    world.tick()
    kept = world.rows("SELECT value, updated_at FROM system_config WHERE key = 'watch:pixel'")
    fake.asked.clear()
    for _ in range(5):
        found = world.tick(minutes=1)
        assert (found.news, found.asked, found.connected) == (False, 0, True)
    assert set(fake.asked) == {"system/status", "events", "system/connections"}
    assert world.rows("SELECT value, updated_at FROM system_config WHERE key = 'watch:pixel'") == kept


@pytest.mark.parametrize("connected", [True, False])
def test_without_news_files_are_asked_about_every_quarter_of_an_hour(
    world: Watching, fake: FakeSyncthing, connected: bool
) -> None:
    world.place("a.jpg")
    fake.connected = connected
    world.tick()
    assert [world.tick(minutes=5).asked for _ in range(6)] == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("RemoteIndexUpdated", {"device": PHONE, "folder": "camera"}),
        ("DeviceConnected", {"id": PHONE}),
        ("FolderErrors", {"folder": "camera"}),
        ("PendingFoldersChanged", {"added": []}),
        ("Starting", {}),
    ],
)
def test_an_event_of_the_phone_or_the_folder_is_looked_into_once(
    world: Watching, fake: FakeSyncthing, kind: str, data: dict[str, Any]
) -> None:
    world.place("a.jpg")
    world.tick()
    fake.has = {"a.jpg"}
    fake.event(kind, **data)
    assert world.tick().delivered == 1
    assert world.tick().asked == 0


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("RemoteIndexUpdated", {"device": "another", "folder": "camera"}),
        ("RemoteIndexUpdated", {"device": PHONE, "folder": "music"}),
        ("DeviceConnected", {"id": "another"}),
        ("DeviceDisconnected", {"id": PHONE}),
        ("FolderErrors", {"folder": "music"}),
    ],
)
def test_what_concerns_others_asks_about_no_file(
    world: Watching, fake: FakeSyncthing, kind: str, data: dict[str, Any]
) -> None:
    world.place("a.jpg")
    world.tick()
    fake.event(kind, **data)
    assert world.tick().asked == 0


def test_events_that_the_buffer_no_longer_holds_are_noticed(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    world.tick()
    for _ in range(1002):  # one of the first was the phone's
        fake.event("DeviceConnected", id="another")
    fake.has = {"a.jpg"}
    assert world.tick().delivered == 1


def test_a_restart_of_the_daemon_begins_the_events_anew(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    for _ in range(5):
        fake.index_came()
    world.tick()
    fake.restart()
    fake.has = {"a.jpg"}
    assert world.tick().delivered == 1
    world.place("b.jpg")
    fake.has.add("b.jpg")
    fake.index_came()  # its number is 1: below the last one before the restart
    assert world.tick().delivered == 1


# ------------------------------------------------------------------ latched for good


def test_what_is_latched_stays_though_the_phone_is_away_and_everything_else_fails(
    world: Watching, fake: FakeSyncthing
) -> None:
    world.place("a.jpg")
    fake.has = {"a.jpg"}
    world.tick()
    facts = world.rows("SELECT delivered_at, facts FROM placed_files")
    for change in ("connected", "has", "edit", "gone"):
        fake.connected = change != "connected"
        fake.has = set()
        if change == "edit":
            fake.edit("a.jpg")
        if change == "gone":
            (world.root / "a.jpg").unlink()
        fake.index_came()
        found = world.tick()
        assert (found.delivered, found.problems) == (0, 0)
        assert world.rows("SELECT delivered_at, facts FROM placed_files") == facts
    assert world.told() == []


def test_what_the_phone_deleted_counts_as_delivered_also_when_nobody_saw_it_there(
    world: Watching, fake: FakeSyncthing
) -> None:
    world.place("a.jpg")
    world.place("b.jpg")
    fake.has = {"a.jpg"}
    fake.free("b.jpg")
    found = world.tick()
    assert (found.delivered, found.freed) == (2, 1)
    fake.free("a.jpg")
    fake.index_came()
    found = world.tick()
    assert (found.delivered, found.freed) == (0, 1)
    assert world.delivered() == world.freed() == ["a.jpg", "b.jpg"]


def test_a_verdict_on_a_file_that_was_placed_anew_meanwhile_does_not_count(
    world: Watching, fake: FakeSyncthing, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = world.place("a.jpg")
    fake.has = {"a.jpg"}
    real = type(world.folder).look

    def look(folder: Any, placed: Any) -> Any:
        found = real(folder, placed)
        with world.engine.begin() as connection:
            placed_files.record_placed(connection, delivery, NAME, "a.jpg", 5, 7)  # a run, between look and record
        return found

    monkeypatch.setattr(type(world.folder), "look", look)
    assert world.tick().delivered == 0
    assert world.delivered() == []


def test_what_was_put_off_or_failed_is_due_at_once_when_it_arrived(world: Watching, fake: FakeSyncthing) -> None:
    waits, failed, other = (world.place(name) for name in ("a.jpg", "b.jpg", "c.jpg"))
    query = in_state(NAME, "verified", "uploaded")
    with lease(world.engine) as lease_id, world.engine.begin() as connection:
        assert work.claim(connection, query, ALL_DAYS, rules(lease_id), 9) == [waits, failed, other]
        for one in (waits, other):
            work.defer(connection, VERIFIED, one, lease_id, 900)
        for _ in range(5):
            work.fail(connection, VERIFIED, failed, lease_id, "it was changed", [900])
    with world.engine.connect() as connection:
        assert work.due_dates(connection, query, rules(0)) == []
    fake.has = {"a.jpg", "b.jpg"}
    world.tick()
    with lease(world.engine) as lease_id, world.engine.begin() as connection:
        assert work.claim(connection, query, ALL_DAYS, rules(lease_id), 9) == [waits, failed]


def test_a_run_that_has_a_file_in_hand_keeps_it_and_another_finds_it_afterwards(
    world: Watching, fake: FakeSyncthing
) -> None:
    world.place("a.jpg")
    fake.has = {"a.jpg"}
    query = in_state(NAME, "verified", "uploaded")
    with world.engine.connect() as session:
        lease_id = leases.open_lease(session, "run")
        with world.engine.begin() as connection:
            (row,) = work.claim(connection, query, ALL_DAYS, rules(lease_id), 9)
            work.defer(connection, VERIFIED, row, lease_id, 900)
        world.tick()
        with world.engine.connect() as connection:
            assert work.due_dates(connection, query, rules(0)) == []
        leases.close_lease(session, lease_id)
    with world.engine.connect() as connection:
        assert len(work.due_dates(connection, query, rules(0))) == 1


# ------------------------------------------------------------------ bounded


def test_a_look_asks_for_a_bounded_time_and_the_next_one_goes_on(world: Watching, fake: FakeSyncthing) -> None:
    for number in range(10):
        world.place(f"{number}.jpg")
    fake.has = {f"{number}.jpg" for number in range(10)}
    seconds = count()
    found = world.tick(clock=lambda: float(next(seconds)))  # each file takes a second
    assert 0 < found.asked < 10 and found.delivered == found.asked
    looks = [found]
    while looks[-1].asked:
        again = count()
        looks.append(world.tick(clock=lambda again=again: float(next(again))))  # type: ignore[misc]
        assert len(looks) < 9
    assert world.delivered() == sorted(fake.has)
    assert sum(one.delivered for one in looks) == 10


def test_at_most_so_many_files_are_asked_about_and_each_has_its_turn(
    world: Watching, fake: FakeSyncthing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_watch, "MOST_FILES", 3)
    for number in range(7):
        world.place(f"{number}.jpg")
    assert [world.tick().asked for _ in range(4)] == [3, 3, 1, 0]
    fake.has = {"6.jpg"}
    fake.index_came()
    assert [world.tick().delivered for _ in range(3)] == [0, 0, 1]


def test_of_what_arrived_only_as_much_is_asked_about_as_there_is_time_for(
    world: Watching, fake: FakeSyncthing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_watch, "MOST_ARRIVED", 2)
    fake.has = {f"{number}.jpg" for number in range(5)}
    for name in fake.has:
        world.place(name)
    world.tick()
    for name in fake.has:
        fake.free(name)
    freed = []
    for _ in range(3):
        fake.index_came()
        freed.append(world.tick().freed)
    assert freed == [2, 2, 1]


# ------------------------------------------------------------------ Syncthing away, and others who look


def test_while_syncthing_is_away_everything_stays_as_it_was_known(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    fake.has = {"a.jpg"}
    world.tick()
    seen = world.now
    fake.away = True
    found = world.tick(minutes=1)
    assert found.away is not None and "cannot be reached" in found.away
    assert (found.connected, found.last_seen, found.delivered) == (False, seen, 0)
    assert world.delivered() == ["a.jpg"]
    assert not world.tick(minutes=1).news, "it is away still"
    fake.away = False
    assert world.tick(minutes=1).news
    assert world.tick().away is None


def test_what_was_asked_before_syncthing_went_away_counts(
    world: Watching, fake: FakeSyncthing, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.place("a.jpg")
    world.place("b.jpg")
    fake.has = {"a.jpg", "b.jpg"}
    answer = fake._file

    def file(name: str) -> Any:
        fake.away = True  # from the next question on
        return answer(name)

    monkeypatch.setattr(fake, "_file", file)
    found = world.tick()
    assert found.away is not None and found.delivered == 1
    fake.away = False
    assert world.tick().delivered == 1
    assert world.delivered() == ["a.jpg", "b.jpg"]


def test_of_two_looks_at_once_one_does_nothing_and_says_so(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    world.tick()
    fake.has = {"a.jpg"}
    fake.index_came()
    fake.asked.clear()
    with world.engine.connect() as other:
        assert phone_watch.try_to_watch(other, NAME)
        found = world.tick()
        assert found.busy and found.connected and found.asked == 0 and not fake.asked
        phone_watch.stop_watching(other, NAME)
    assert world.tick().delivered == 1


def test_last_seen_is_when_the_phone_was_last_connected(world: Watching, fake: FakeSyncthing) -> None:
    fake.connected = False
    assert world.tick().last_seen is None
    fake.connected = True
    assert world.tick(minutes=1).last_seen == world.now
    assert world.tick(minutes=1).last_seen == world.now
    gone = world.now + timedelta(minutes=3)
    fake.connected, fake.seen = False, gone.isoformat()
    assert [world.tick(minutes=20).last_seen for _ in range(3)] == [gone] * 3
