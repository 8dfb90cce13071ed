"""The stages with two real Syncthing daemons: what is called delivered is on the phone's disk, byte for byte."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.pixel_folder import SharedFolder
from tests.pixel_world import World
from tests.proof_files import sha256
from tests.syncthing_daemons import wait_until
from tests.the_catalog import DAY, engine, migrated, server

__all__ = ["engine", "migrated", "server"]


@pytest.fixture
def world(engine: Engine, tmp_path: Path, shared: SharedFolder) -> World:
    one = World(engine, tmp_path / "home")
    one.use(shared.pixel(keep_hours=0, least_free_gb=0, quota_gb=1e-5))
    return one


def there(shared: SharedFolder) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in shared.there.iterdir() if not one.name.startswith(".st")}


def until(world: World, shared: SharedFolder, **counted: int) -> None:
    """Runs until so much is counted, and holds each delivery against the phone's disk."""

    def goes_on() -> bool:
        world.time_passes()
        world.run()
        rows = "SELECT p.path, d.sha256 FROM placed_files p JOIN deliveries d ON d.id = p.delivery_id WHERE {}"
        for row in world.rows(rows.format("p.delivered_at IS NOT NULL")):
            assert sha256((shared.there / row.path).read_bytes()) == row.sha256
        found = {name: world.rows(f"SELECT count({name}_at) FROM placed_files")[0][0] for name in counted}
        return found == counted

    wait_until(goes_on, 60, f"it never came to {counted}: {world.rows('SELECT * FROM placed_files')}")


def test_five_times_the_quota_reaches_the_phone_and_leaves_the_folder_again(world: World, shared: SharedFolder) -> None:
    sent = {f"{DAY + timedelta(days=number):%Y%m%d}_IMG_1.JPG": os.urandom(5_000) for number in range(10)}
    for number, data in enumerate(sent.values()):
        world.photo(data, day=DAY + timedelta(days=number))
    until(world, shared, emptied=10)
    assert there(shared) == sent
    assert world.in_folder() == {} and world.failures == []
    assert world.run() == [{}, {}, {}]
    for data in sent.values():
        assert world.original(data).read_bytes() == data


def test_one_file_is_delivered_within_moments_of_being_staged(world: World, shared: SharedFolder) -> None:
    world.photo(b"the first", "IMG_0.JPG")
    until(world, shared, delivered=1)
    world.photo(b"a photo")
    start = time.monotonic()
    until(world, shared, delivered=2)
    assert time.monotonic() - start < 20, "the scan is not asked for, and the watcher is switched off here"


def test_a_phone_that_is_away_lets_files_wait_and_gets_them_when_it_is_back(world: World, shared: SharedFolder) -> None:
    with shared.apart():
        world.photo(b"a photo")
        for _ in range(3):
            world.time_passes()
            world.run()
        assert world.states == ["uploaded"] and there(shared) == {} and world.failures == []
    until(world, shared, emptied=1)


def test_a_touched_file_is_delivered_and_an_exchanged_one_never(world: World, shared: SharedFolder) -> None:
    with shared.apart():
        world.photo(b"touched", "IMG_1.JPG")
        world.photo(b"one thing", "IMG_2.JPG")
        world.run()
        touched, exchanged = (world.folder / f"20240517_IMG_{number}.JPG" for number in (1, 2))
        os.utime(touched, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
        exchanged.unlink()
        exchanged.write_bytes(b"another..")
    until(world, shared, emptied=1)
    assert world.in_folder() == {exchanged.name: b"another.."}
    assert sorted(world.states) == ["uploaded", "verified"]
    exchanged.unlink()
    until(world, shared, emptied=2)
    assert there(shared)[exchanged.name] == b"one thing"


def test_a_syncthing_that_is_down_stops_nothing_and_changes_nothing(world: World, shared: SharedFolder) -> None:
    world.photo(b"a photo", "IMG_1.JPG")
    until(world, shared, delivered=1)
    world.photo(b"another", "IMG_2.JPG")
    shared.nas.stop()
    before = world.in_folder()
    for _ in range(2):
        report = world.place()
        assert report.done == 0 and "cannot be reached" in report.notes[0][1]
        assert world.verify().done == 0
    assert world.in_folder() == before and world.failures == []
    shared.nas.start()
    shared.pair.wait_connected()
    until(world, shared, emptied=2)
    assert set(there(shared).values()) == {b"a photo", b"another"}
