"""What the phone has had long enough leaves the folder, on a proof of our own file; no kill loses anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.pixel_delivery import PixelUploadedStage, PixelVerifiedStage
from tests.pixel_world import World
from tests.the_catalog import DAY, engine, migrated, server

__all__ = ["engine", "migrated", "server"]
NAME = "20240517_IMG_1.JPG"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


def days_pass(world: World) -> None:
    world.change("UPDATE placed_files SET delivered_at = delivered_at - interval '2 days'")


def test_a_delivered_file_stays_for_its_time_and_then_leaves_while_the_phone_keeps_it(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    assert world.verify().done == 0
    assert NAME in world.in_folder()
    days_pass(world)
    world.phone.scanned.clear()
    assert world.verify().counts == {"emptied": 1}
    assert world.in_folder() == {} and world.phone.scanned == [NAME]
    assert world.phone.files == {NAME: b"a photo"}
    assert world.original(b"a photo").read_bytes() == b"a photo"
    assert world.states == ["verified"]
    assert world.run() == [{}, {}, {}]


def test_what_is_not_latched_never_leaves(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    world.change("UPDATE placed_files SET placed_at = now() - interval '1 year'")
    for _ in range(3):
        world.time_passes()
        assert world.verify().counts == {"pending": 1}
    assert NAME in world.in_folder()


def gone(original: Path) -> None:
    original.unlink()


def rotten(original: Path) -> None:
    original.chmod(0o644)
    original.write_bytes(b"a phot0")


@pytest.mark.parametrize("harm", [gone, rotten])
def test_while_our_own_file_is_missing_or_rotten_the_staged_one_stays(
    world: World, harm: Callable[[Path], None]
) -> None:
    world.photo(b"a photo")
    world.deliver()
    days_pass(world)
    harm(world.original(b"a photo"))
    report = world.verify()
    assert report.counts == {"pending": 1} and "stays in the folder" in report.notes[0][1]
    assert world.in_folder() == {NAME: b"a photo"} and world.failures == []


def test_a_file_that_was_exchanged_in_the_folder_is_not_taken_away(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    days_pass(world)
    (world.folder / NAME).unlink()
    (world.folder / NAME).write_bytes(b"somebody's")
    assert world.verify().counts == {"pending": 1}
    assert world.in_folder() == {NAME: b"somebody's"}


def test_the_oldest_days_leave_first(world: World) -> None:
    for number in range(3):
        world.photo(b"photo %d" % number, day=DAY + timedelta(days=number))
    world.deliver()
    days_pass(world)
    assert world.verify(limit=1).counts == {"emptied": 1}
    assert sorted(world.in_folder()) == ["20240518_IMG_1.JPG", "20240519_IMG_1.JPG"]


def test_nothing_leaves_while_syncthing_is_away(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    days_pass(world)
    world.phone.away = True
    assert world.verify().done == 0
    assert NAME in world.in_folder()


def test_a_rendition_leaves_on_the_proof_of_the_rendition_also_from_the_trash(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, deliver="rendition")
    members = [world.photo(b"original %d" % number, f"IMG_{number}.JPG") for number in range(2)]
    made = [world.rendition(member, b"small %d" % member) for member in members]
    world.deliver()
    made[1].rename(world.roots["trash"] / "released.jpg")
    world.change(f"UPDATE renditions SET retired_at = now(), trash_path = 'released.jpg' WHERE path = '{made[1].name}'")
    days_pass(world)
    assert world.verify().counts == {"emptied": 2}
    assert made[0].read_bytes() == b"small 1"
    assert (world.roots["trash"] / "released.jpg").read_bytes() == b"small 2"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("late", [False, True])
def test_a_kill_between_placing_and_recording_leaves_no_second_file_and_loses_none(world: World, late: bool) -> None:
    world.photo(b"a photo")
    world.stage()
    record = PixelUploadedStage.record

    class Dying(PixelUploadedStage):
        def record(self, connection: Any, item: Any, result: Any, run: Any) -> Any:
            if late:
                record(self, connection, item, result, run)
            raise Killed

    originals = {"originals": world.roots["originals"]}
    with pytest.raises(Killed):
        world.work(Dying(world.pixel, originals, world.roots, "UTC"))
    assert world.states == ["staged"] and world.rows("SELECT 1 FROM placed_files") == []
    stood = os.stat(world.folder / NAME)
    world.change("DELETE FROM work")
    assert world.place().counts == {"uploaded": 1}
    assert world.in_folder() == {NAME: b"a photo"}
    stands = os.stat(world.folder / NAME)
    assert (stands.st_ino, stands.st_mtime_ns) == (stood.st_ino, stood.st_mtime_ns), (
        "it may be on its way already, so it is not touched"
    )
    assert world.rows("SELECT mtime_ns FROM placed_files") == [(stood.st_mtime_ns,)]


def test_a_kill_between_emptying_and_recording_is_found_by_the_next_run(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    days_pass(world)

    class Dying(PixelVerifiedStage):
        def record(self, connection: Any, item: Any, result: Any, run: Any) -> Any:
            raise Killed

    with pytest.raises(Killed):
        world.work(Dying(world.pixel, {"originals": world.roots["originals"]}, world.roots))
    assert world.in_folder() == {} and world.rows("SELECT emptied_at FROM placed_files") == [(None,)]
    world.change("DELETE FROM work")
    assert world.verify().counts == {"emptied": 1}
    assert world.run() == [{}, {}, {}]


def test_a_foreign_file_at_the_place_is_never_overwritten(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    (world.folder / NAME).write_bytes(b"a guest")
    report = world.place()
    assert report.counts == {"failed": 1} and "it is not overwritten" in report.failures[0][1]
    assert world.in_folder() == {NAME: b"a guest"}
    (world.folder / NAME).unlink()
    world.time_passes()
    assert world.place().counts == {"uploaded": 1}
    assert world.in_folder() == {NAME: b"a photo"}


def test_a_full_disk_leaves_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.photo(b"a photo")
    world.stage()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("media.files._pump", full)
    with pytest.raises(Exception, match="disk is full"):
        world.place()
    assert world.in_folder() == {}
