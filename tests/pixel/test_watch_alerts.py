"""What is amiss on the way to a phone is told once, and taken back when it is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.pixel_watch_world import NAS, PHONE, FakeSyncthing, Watching
from tests.the_catalog import engine, migrated, server

__all__ = ["engine", "migrated", "server"]


@pytest.fixture
def fake(tmp_path: Path) -> FakeSyncthing:
    return FakeSyncthing(tmp_path / "nas")


@pytest.fixture
def world(engine: Engine, fake: FakeSyncthing) -> Watching:
    return Watching(engine, fake.root, fake.syncthing(), unseen_hours=4, stuck_hours=2)


def body(world: Watching, key: str) -> str:
    return str(world.rows("SELECT body FROM notifications WHERE key = :key ORDER BY id DESC", key=key)[0][0])


def test_a_phone_where_all_is_well_is_told_nothing(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    fake.has = {"a.jpg"}
    assert world.pass_hours(20) == []


def test_a_problem_of_a_file_is_told_once_and_resolved_once(world: Watching, fake: FakeSyncthing) -> None:
    delivery = world.place("a.jpg")
    fake.edit("a.jpg")
    found = world.tick()
    assert [one.key for one in found.told] == [f"pixel:pixel:problem:{delivery}"]
    assert found.problems == 1 and "changed on the phone" in found.told[0].body
    assert world.pass_hours(3) == []
    fake.changed.clear()
    fake.has = {"a.jpg"}
    fake.index_came()
    assert world.tick().delivered == 1
    assert world.told() == []
    assert world.rows("SELECT count(*) FROM notifications")[0][0] == 1


def test_each_file_with_a_problem_is_told_and_a_file_that_was_placed_anew_is_well_again(
    world: Watching, fake: FakeSyncthing
) -> None:
    first, second = world.place("a.jpg"), world.place("b.jpg")
    fake.edit("a.jpg")
    assert len(world.tick().told) == 1
    fake.edit("b.jpg")
    fake.index_came()
    assert [one.key for one in world.tick().told] == [f"pixel:pixel:problem:{second}"]
    world.do("UPDATE placed_files SET problem = NULL, placed_at = now() WHERE delivery_id = :id", id=first)
    fake.changed.pop("a.jpg")
    fake.index_came()
    world.tick()
    assert world.told() == [f"pixel:pixel:problem:{second}"]


def test_a_phone_that_was_not_seen_for_long_is_told_until_it_comes(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    world.tick()
    fake.connected, fake.seen = False, world.now.isoformat()
    assert world.pass_hours(3.9) == []
    assert world.pass_hours(10) == ["pixel:pixel:unseen"]
    assert "Waiting for it: 1 file." in body(world, "pixel:pixel:unseen")
    fake.connected = True
    world.tick(minutes=1)
    assert world.told() == []


def test_a_phone_that_never_came_is_told_too(world: Watching, fake: FakeSyncthing) -> None:
    fake.connected = False
    assert world.pass_hours(6) == ["pixel:pixel:unseen"]
    assert "connected with it never" in body(world, "pixel:pixel:unseen")


def test_after_the_platform_was_down_a_phone_first_gets_the_time_to_show_up(
    world: Watching, fake: FakeSyncthing
) -> None:
    world.tick()
    fake.connected, fake.seen = False, world.now.isoformat()
    assert world.tick(minutes=60 * 24 * 7).told == []
    assert world.tick(minutes=30).told == []
    assert [one.key for one in world.tick(minutes=31).told] == ["pixel:pixel:unseen"]


def test_files_that_wait_while_none_arrives_are_told_until_one_does(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    world.place("b.jpg")
    fake.needed = 10
    assert world.pass_hours(1.9) == []
    world.place("c.jpg")
    fake.needed = 15  # more to do is no progress
    assert world.pass_hours(0.5) == ["pixel:pixel:stuck"]
    assert world.pass_hours(3) == []
    fake.has = {"a.jpg"}
    fake.index_came()
    world.tick()
    assert world.told() == []
    assert world.pass_hours(3) == ["pixel:pixel:stuck"], "the others do not follow"


def test_a_large_file_that_comes_over_slowly_is_progress(world: Watching, fake: FakeSyncthing) -> None:
    world.place("film.mp4")
    fake.needed = 4_000_000
    for _ in range(12):
        assert world.pass_hours(1) == []
        fake.needed -= 1000


def test_a_phone_that_is_not_there_is_not_stuck(world: Watching, fake: FakeSyncthing) -> None:
    world.place("a.jpg")
    world.tick()
    fake.connected, fake.seen = False, world.now.isoformat()
    assert world.pass_hours(3.9) == []


def test_a_file_with_a_problem_is_not_told_as_stuck_as_well(world: Watching, fake: FakeSyncthing) -> None:
    delivery = world.place("a.jpg")
    fake.edit("a.jpg")
    assert world.pass_hours(5) == [f"pixel:pixel:problem:{delivery}"]


def test_a_folder_that_the_phone_has_not_taken_is_told_until_it_does(world: Watching, fake: FakeSyncthing) -> None:
    fake.remote = "notSharing"
    assert world.pass_hours(1) == ["pixel:pixel:folder:shared"]
    fake.remote = "valid"
    world.pass_hours(0.5)
    assert world.told() == []


def test_a_folder_that_could_cost_files_or_is_not_shared_here_is_told(world: Watching, fake: FakeSyncthing) -> None:
    fake.kind = "sendreceive"
    assert world.pass_hours(1) == ["pixel:pixel:folder:setup"]
    assert "Send Only" in body(world, "pixel:pixel:folder:setup")
    fake.kind = "sendonly"
    world.pass_hours(0.5)
    assert world.told() == []
    fake.shared = [NAS]
    assert world.pass_hours(1) == ["pixel:pixel:folder:setup"]
    assert "not shared with the phone" in body(world, "pixel:pixel:folder:setup")
    fake.shared = [NAS, PHONE]
    world.pass_hours(0.5)
    assert world.told() == []


def test_files_that_syncthing_cannot_read_are_named(world: Watching, fake: FakeSyncthing) -> None:
    fake.errors = [{"path": "a.jpg", "error": "permission denied"}]
    fake.event("FolderErrors", folder="camera")
    assert [one.key for one in world.tick().told] == ["pixel:pixel:folder:errors"]
    assert "a.jpg: permission denied" in body(world, "pixel:pixel:folder:errors")
    fake.errors = []
    world.pass_hours(0.5)
    assert world.told() == []


def test_a_short_absence_of_syncthing_is_nothing_to_tell_and_a_long_one_is(
    world: Watching, fake: FakeSyncthing
) -> None:
    world.tick()
    fake.away = True
    assert world.tick(minutes=1).told == [] and world.tick(minutes=14).told == []
    assert [one.key for one in world.tick(minutes=1).told] == ["pixel:pixel:away"]
    assert world.tick(minutes=60 * 24).told == [], "the phone cannot be seen either, which is not its fault"
    fake.away = False
    world.tick()
    assert world.told() == []


def test_a_key_that_syncthing_does_not_take_is_told_at_once(world: Watching, fake: FakeSyncthing) -> None:
    fake.refuses = True
    found = world.tick()
    assert [one.key for one in found.told] == ["pixel:pixel:away"]
    assert "does not take the API key" in found.told[0].body
