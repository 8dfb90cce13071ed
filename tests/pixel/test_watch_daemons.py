"""One look at a phone through two real daemons, of the version of Debian 12 and that of Debian 13."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from pipeline.pixel_watch import Watched
from resources.syncthing import Syncthing
from tests.pixel_watch_world import Watching
from tests.syncthing_daemons import FOLDER, KEY, Pair, pair, wait_until
from tests.syncthing_programs import program
from tests.the_catalog import engine, migrated, server

__all__ = ["engine", "migrated", "server"]
MANY = 2_000


@pytest.fixture(params=["1.19", "1.29"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def daemons(version: str, tmp_path: Path) -> Iterator[Pair]:
    found = program(version)
    if found is None:
        pytest.skip(f"no Syncthing {version} can be had here")
    with pair(found, tmp_path) as two:
        two.wait_connected()
        yield two


@pytest.fixture
def world(engine: Engine, daemons: Pair) -> Watching:
    return watching(engine, daemons)


def watching(engine: Engine, two: Pair, **given: Any) -> Watching:
    syncthing = Syncthing(two.nas.url, SecretStr(KEY))
    given = {"url": two.nas.url, "api_key": SecretStr(KEY), "folder_id": FOLDER, **given}
    return Watching(engine, two.nas.folder, syncthing, two.device, **given)


def until(world: Watching, delivered: int, seconds: float = 90) -> list[Watched]:
    """Looks again and again until so many files are latched."""
    looks = []
    end = time.monotonic() + seconds
    while len(world.delivered()) < delivered:
        assert time.monotonic() < end, (len(world.delivered()), looks[-1:])
        looks.append(world.tick())
        time.sleep(0.1)
    return looks


def idle(world: Watching) -> Watched:
    """Looks until nothing is new: what has just happened may still be told in pieces."""
    end = time.monotonic() + 30
    while (found := world.tick()).asked:
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def test_a_phone_that_was_away_all_the_time_gets_everything_when_it_comes_also_over_restarts(
    world: Watching, daemons: Pair
) -> None:
    daemons.phone.stop()
    files = {f"IMG_{number}.jpg": f"photo {number}".encode() * 1000 for number in range(20)}
    world.place_all(files)
    world.folder.scan(["IMG_0.jpg", "IMG_1.jpg"])
    world.tick()
    wait_until(lambda: not world.tick().connected, 30, "the phone is still there")
    assert world.delivered() == [] and world.told() == []
    daemons.nas.stop(signal.SIGKILL)
    away = world.tick(minutes=1)
    assert away.away is not None and world.delivered() == []
    daemons.nas.start()
    assert world.tick().away is None
    daemons.phone.start()
    until(world, len(files))
    assert daemons.phone.files() == files
    # The daemon counts its events anew: nothing of it may be missed.
    daemons.nas.stop()
    daemons.nas.start()
    world.place("later.jpg", b"later")
    until(world, len(files) + 1)
    assert daemons.phone.files()["later.jpg"] == b"later"
    assert idle(world).news is False
    # What is latched stays, whoever is away.
    before = world.rows("SELECT path, delivered_at, facts FROM placed_files ORDER BY path")
    daemons.phone.stop()
    for _ in range(3):
        world.tick(minutes=16)
    daemons.nas.stop()
    world.tick(minutes=16)
    assert world.rows("SELECT path, delivered_at, facts FROM placed_files ORDER BY path") == before


def test_what_is_deleted_or_changed_on_the_phone_is_told_apart(world: Watching, daemons: Pair) -> None:
    ids = world.place_all({f"{name}.jpg": name.encode() * 500 for name in ("freed", "kept", "late", "edited")})
    until(world, 4)
    idle(world)
    (daemons.phone.folder / "freed.jpg").unlink()
    daemons.phone.post("db/scan", folder=FOLDER)
    wait_until(lambda: world.tick().freed > 0 or world.freed() != [], 30, "the deletion is not seen")
    assert world.freed() == ["freed.jpg"] and len(world.delivered()) == 4
    assert (world.root / "freed.jpg").exists() and world.told() == []
    # A file that is changed on the phone before anybody saw it there.
    world.do("UPDATE placed_files SET delivered_at = NULL, facts = NULL WHERE path = 'edited.jpg'")
    (daemons.phone.folder / "edited.jpg").write_bytes(b"rotated by an app")
    daemons.phone.post("db/scan", folder=FOLDER)
    key = f"pixel:pixel:problem:{ids['edited.jpg']}"
    wait_until(lambda: world.tick() and world.told() == [key], 30, "the change is not told")
    assert "edited.jpg" not in world.delivered()
    assert (world.root / "edited.jpg").read_bytes() == b"edited" * 500, "nothing comes back from the phone"
    world.tick(minutes=16)
    assert world.rows("SELECT count(*) FROM notifications")[0][0] == 1, "it is told once"
    # Touched here: it counts as another file, which is sent again and is not the one that was placed.
    world.do("UPDATE placed_files SET delivered_at = NULL, facts = NULL WHERE path = 'late.jpg'")
    (world.root / "late.jpg").touch()
    daemons.nas.post("db/scan", folder=FOLDER)
    world.tick(minutes=16)
    assert f"pixel:pixel:problem:{ids['late.jpg']}" in world.told() and "late.jpg" not in world.delivered()


def test_two_thousand_files_between_two_looks_are_all_found(world: Watching, daemons: Pair) -> None:
    world.tick()
    files = {f"{number:04}.jpg": f"photo {number}".encode() for number in range(MANY)}
    world.place_all(files)
    daemons.nas.post("db/scan", folder=FOLDER)
    # However many events that makes, and whether the daemon still has them all.
    wait_until(lambda: len(list(daemons.phone.folder.glob("*.jpg"))) == MANY, 120, "they do not arrive")
    looks = until(world, MANY)
    assert sum(one.delivered for one in looks) == MANY
    assert daemons.phone.files() == files
    assert idle(world).asked == 0


def test_a_phone_that_never_took_the_folder_gets_nothing_whatever_syncthing_counts(
    engine: Engine, version: str, tmp_path: Path
) -> None:
    found = program(version)
    if found is None:
        pytest.skip(f"no Syncthing {version} can be had here")
    with pair(found, tmp_path, shared=False) as two:
        two.wait_connected()
        world = watching(engine, two)
        world.place("a.jpg")
        world.folder.scan(["a.jpg"])
        assert two.nas.get("db/completion", folder=FOLDER, device=two.device)["completion"] == 100
        told = ["pixel:pixel:folder:shared"] if version == "1.29" else []  # 1.19 cannot say
        wait_until(lambda: world.tick(minutes=1) and world.told() == told, 30, "that is not told")
        world.pass_hours(13)
        assert world.delivered() == []
        assert world.told() == [*told, "pixel:pixel:stuck"]
        two.phone.shares(two.nas, "sendreceive", ignoreDelete=True)
        until(world, 1)
        world.tick(minutes=16)
        assert world.told() == []
