"""What reaches a phone's folder and the phone, and what is recorded of it, with a phone that does what a test wants."""

from __future__ import annotations

import os
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from catalog.work import Scope
from pipeline.failures import RefusedForSafety
from pipeline.pixel_delivery import remembered_folders
from tests.pixel_world import World
from tests.the_catalog import DAY, engine, migrated, server

__all__ = ["engine", "migrated", "server"]
NAME = "20240517_IMG_1.JPG"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


def test_a_photo_is_staged_placed_and_delivered_byte_for_byte(world: World) -> None:
    world.photo(b"a photo")
    assert world.run() == [{"members": 1}, {"uploaded": 1}, {"pending": 1}]
    assert world.in_folder() == {NAME: b"a photo"}
    assert world.phone.scanned == [NAME]
    assert world.states == ["uploaded"]
    world.phone.sync()
    world.time_passes()
    assert world.run() == [{}, {}, {"delivered": 1}]
    assert world.states == ["verified"]
    (evidence,) = world.rows("SELECT evidence ->> 'by' AS by, evidence ->> 'sha256' = sha256 AS same FROM deliveries")
    assert tuple(evidence) == ("syncthing", True)


def test_a_second_run_does_nothing(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    before = {path: os.stat(path) for path in world.folder.iterdir()}
    assert world.run() == [{}, {}, {}]
    assert {path: os.stat(path) for path in world.folder.iterdir()} == before


def test_what_is_placed_is_a_read_only_file_of_its_own_dated_by_the_capture(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    there, original = os.stat(world.folder / NAME), os.stat(world.original(b"a photo"))
    assert there.st_ino != original.st_ino and original.st_nlink == there.st_nlink == 1
    assert there.st_mode & 0o777 == 0o444
    taken = datetime(2024, 5, 17, 12, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert there.st_mtime_ns == int(taken.timestamp()) * 10**9
    (placed,) = world.rows("SELECT mtime_ns, size FROM placed_files")
    assert (placed.mtime_ns, placed.size) == (there.st_mtime_ns, 7)


def test_a_rendition_goes_where_the_phone_takes_those_and_is_not_sent_again_when_it_ages(
    engine: Engine, tmp_path: Path
) -> None:
    world = World(engine, tmp_path, deliver="rendition")
    member = world.photo(b"the original")
    made = world.rendition(member, b"smaller")
    world.deliver()
    assert list(world.in_folder().values()) == [b"smaller"]
    assert made.read_bytes() == b"smaller"
    world.rendition(member, b"even less")
    assert world.stage().figures["staged"] == 0
    assert len(world.states) == 1


def test_a_phone_that_takes_renditions_waits_until_it_is_decided_whether_there_is_one(
    engine: Engine, tmp_path: Path
) -> None:
    world = World(engine, tmp_path, deliver="rendition")
    world.compressing = True
    first, _ = world.bundle([("IMG_1.JPG", b"photo"), ("IMG_1.MOV", b"film")])
    world.rendition(first, b"small")
    assert world.stage().done == 0, "its other half is not decided"
    world.change("UPDATE media_files SET plan_fingerprint = 'kept'")
    assert world.stage().figures["staged"] == 2


def test_while_syncthing_is_away_rows_wait_and_nothing_changes(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.phone.away = True
    before = world.rows("SELECT * FROM deliveries")
    report = world.place()
    assert report.done == 0 and "Syncthing does not answer" in report.notes[0][1]
    assert world.in_folder() == {} and world.failures == [] and world.rows("SELECT 1 FROM work") == []
    world.phone.away = False
    assert world.place().counts == {"uploaded": 1}
    world.phone.sync()
    world.phone.away = True
    assert world.verify().done == 0
    assert world.states == ["uploaded"] and world.rows("SELECT 1 FROM work") == []
    world.phone.away = False
    assert world.verify().counts == {"delivered": 1}
    assert [row.remote_path for row in before] == [NAME]


def test_syncthing_that_goes_away_between_two_looks_costs_no_verdict(world: World) -> None:
    for number in range(3):
        world.photo(b"photo %d" % number, f"IMG_{number}.JPG")
    world.stage()
    world.place()
    world.phone.sync()
    look, seen = type(world.pixel).look, []

    class Leaving(type(world.pixel)):  # type: ignore[misc]
        __slots__ = ()

        def look(self, placed: object) -> object:
            seen.append(placed)
            self.phone.away = len(seen) > 1
            return look(self, placed)  # type: ignore[arg-type]

    was, world.pixel = world.pixel, Leaving("pixel", world.settings, world.pixel.syncthing, phone=world.phone)
    report = world.verify()
    assert report.counts["delivered"] == 1 and not report.failures
    world.pixel, world.phone.away = was, False
    world.time_passes()
    assert world.verify().counts["delivered"] == 2


def test_a_latched_verdict_outlives_a_phone_that_is_offline(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    world.change("UPDATE placed_files SET delivered_at = now(), facts = '{}'")  # by the watch
    world.phone.connected = False
    world.change(
        "UPDATE placed_files p SET facts = jsonb_build_object('by', 'syncthing', 'syncthing', 'A:1', "
        "'sha256', d.sha256, 'size', d.size) FROM deliveries d WHERE d.id = p.delivery_id"
    )
    assert world.verify().counts == {"delivered": 1}
    assert world.phone.asked == 0


def test_what_was_latched_without_proof_of_exactly_its_bytes_is_not_called_delivered(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    world.change('UPDATE placed_files SET delivered_at = now(), facts = \'{"by": "syncthing", "size": 7}\'')
    report = world.verify()
    assert report.counts == {"failed": 1} and "exactly the bytes" in report.failures[0][1]
    assert world.states == ["uploaded"]


def test_what_the_phone_freed_counts_as_delivered(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    world.phone.sync()
    world.phone.freed.add(NAME)
    assert world.verify().counts == {"delivered": 1}
    assert world.rows("SELECT freed_at IS NOT NULL FROM placed_files") == [(True,)]


def test_a_problem_is_recorded_waits_and_ends_when_it_is_over(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    world.phone.problems[NAME] = "it was changed on the phone"
    report = world.verify()
    assert report.counts == {"pending": 1} and world.failures == []
    assert world.rows("SELECT problem FROM placed_files") == [("it was changed on the phone",)]
    world.phone.problems.clear()
    world.phone.sync()
    world.time_passes()
    assert world.verify().counts == {"delivered": 1}
    assert world.rows("SELECT problem FROM placed_files") == [(None,)]


def test_a_file_that_was_touched_is_delivered_under_its_new_time(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    os.utime(world.folder / NAME, ns=(5, 5))
    world.phone.sync()
    assert world.verify().counts == {"delivered": 1}
    assert world.rows("SELECT mtime_ns FROM placed_files") == [(5,)]
    assert world.phone.scanned == [NAME, NAME]


def test_a_file_whose_bytes_were_changed_in_the_folder_is_never_delivered(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    (world.folder / NAME).unlink()
    (world.folder / NAME).write_bytes(b"a forge")
    world.phone.sync()
    for _ in range(2):  # nor is it taken for what was placed when it is looked at again
        world.time_passes()
        assert world.verify().counts == {"pending": 1}
    assert world.phone.asked == 0
    (problem,) = world.rows("SELECT problem FROM placed_files")
    assert "Move it away" in problem[0]
    (world.folder / NAME).rename(world.folder.parent / "aside")
    world.time_passes()
    assert world.run() == [{}, {}, {"absent": 1}]
    assert world.place().counts == {"uploaded": 1}
    assert world.in_folder() == {NAME: b"a photo"}
    world.phone.sync()
    assert world.verify().counts == {"delivered": 1}


def test_the_bytes_of_a_rotten_original_are_never_placed(world: World) -> None:
    world.photo(b"a photo")
    rotten = world.original(b"a photo")
    rotten.chmod(0o644)
    rotten.write_bytes(b"a phot0")
    world.stage()
    report = world.place()
    assert report.counts == {"failed": 1} and "bytes that were recorded" in report.failures[0][1]
    assert world.in_folder() == {}


def test_a_run_over_some_days_touches_no_others(world: World) -> None:
    days = [DAY + timedelta(days=number) for number in range(4)]
    for number, day in enumerate(days):
        world.photo(b"photo %d" % number, day=day)
    scope = Scope(days[1], days[2])
    assert world.stage(scope=scope).figures["staged"] == 2
    world.place(scope=scope)
    assert sorted(world.in_folder()) == ["20240518_IMG_1.JPG", "20240519_IMG_1.JPG"]
    world.phone.sync()
    assert world.verify(scope=Scope(days[1], days[1])).counts == {"delivered": 1}
    assert world.verify(scope=Scope(days[3], days[3])).done == 0


@pytest.mark.parametrize(("order", "first"), [("oldest", date(2024, 5, 17)), ("newest", date(2024, 5, 19))])
def test_the_days_go_in_the_order_of_the_settings(engine: Engine, tmp_path: Path, order: str, first: date) -> None:
    world = World(engine, tmp_path, quota=10, order=order)
    for number in range(3):
        world.photo(b"photo %03d" % number, day=DAY + timedelta(days=number))
    report = world.stage()
    assert [row.partition_date for row in world.rows("SELECT partition_date FROM deliveries")] == [first]
    assert "2 files wait for room" in report.notes[0][1]
    assert world.place(limit=1).counts == {"uploaded": 1}


def test_two_photos_of_one_name_and_day_both_reach_the_phone(world: World) -> None:
    world.photo(b"one", "IMG_1.JPG")
    world.photo(b"two", "IMG:1.JPG")
    world.photo(b"three", "IMG*1.JPG")
    world.stage()
    assert world.place().counts == {"uploaded": 3}
    assert sorted(world.in_folder().values()) == [b"one", b"three", b"two"]


def test_nothing_is_placed_in_a_folder_whose_disk_is_away(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    with world.engine.connect() as connection:
        assert remembered_folders(connection) == {"pixel": world.folder}
    (world.folder / ".mediapipe-root").unlink()
    world.photo(b"another", "IMG_2.JPG")
    world.stage()
    with pytest.raises(RefusedForSafety, match="has no marker"):
        world.place()
    assert list(world.in_folder()) == [NAME]


def test_little_room_on_the_folders_disk_lets_files_wait(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, least_free_gb=1e9)
    world.photo(b"a photo")
    world.stage()
    report = world.place()
    assert report.done == 0 and "are to stay free (least_free_gb)" in report.notes[0][1]
    assert world.in_folder() == {}
