"""What `doctor` sees of a phone behind Syncthing, and what `--fix` sets up, with real daemons of both versions."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from resources.pixel import IGNORED
from resources.settings import PixelDestination
from resources.syncthing import Syncthing
from resources.syncthing_topology import NotSetUp, Topology
from tests.conftest import Home
from tests.syncthing_daemons import KEY, Daemon, Pair, wait_until
from tests.syncthing_programs import RELEASES, program

_number = itertools.count(1)


@dataclass
class World:
    """Two daemons, a folder's id that is new to both, and where it goes on each side."""

    pair: Pair
    folder_id: str
    usual: Path
    there: Path

    @property
    def nas(self) -> Daemon:
        return self.pair.nas

    @property
    def here(self) -> Syncthing:
        return self.topology().syncthing

    def topology(self, **given: Any) -> Topology:
        settings = {"url": self.nas.url, "folder_id": self.folder_id, "device_id": self.pair.device, **given}
        return Topology(Syncthing(self.nas.url, SecretStr(KEY)), PixelDestination.model_validate(settings))

    def looks(self, *, after: timedelta = timedelta(), **given: Any) -> dict[str, tuple[str, str]]:
        found = self.topology(**given).look(datetime.now(UTC) + after)
        return {one.what: (one.verdict, one.words) for one in found}

    def set_up(self, **given: Any) -> list[str]:
        return self.topology(**given).set_up(self.usual)

    def accept(self) -> None:
        """Has the folder on the phone, as its person should set it."""
        given = {"type": "sendreceive", "ignoreDelete": True, "fsWatcherDelayS": 1}
        settings = {"id": self.folder_id, "path": str(self.there), "devices": [{"deviceID": self.nas.device}], **given}
        self.pair.phone.put(f"config/folders/{self.folder_id}", settings)

    def folder(self) -> Any:
        return self.nas.get(f"config/folders/{self.folder_id}")

    def arrives(self, name: str) -> None:
        wait_until(self.there.joinpath(name).exists, 60, f"{name} does not reach the phone")


@pytest.fixture(scope="module", params=sorted(RELEASES))
def daemons(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    found = program(request.param)
    if found is None:
        pytest.skip(f"Syncthing {request.param} cannot be had here")
    base = tmp_path_factory.mktemp("daemons")
    both = [Daemon(found, base / f"{name}-home", base / name) for name in ("nas", "phone")]
    try:
        for one in both:
            one.prepare()
            one.start()
        both[1].knows(both[0])
        yield Pair(*both)
    finally:
        for one in both:
            one.stop()


@pytest.fixture
def world(daemons: Pair, tmp_path: Path) -> World:
    """Each test has a folder of its own; the first one begins without the phone on this side."""
    (tmp_path / "staging").mkdir()
    (tmp_path / "phone").mkdir()
    return World(daemons, f"pixel-{next(_number)}", tmp_path / "staging" / "pixel", tmp_path / "phone")


def test_from_nothing_doctor_says_what_is_missing_and_fix_sets_it_up_once(world: World) -> None:
    looks = world.looks()
    assert looks["Syncthing"][0] == "ok"
    assert "does not know the device" in looks["phone"][1]
    assert looks["folder"] == (
        "problem",
        f"Syncthing has no folder {world.folder_id}; `mediapipe-assets doctor --fix` does it",
    )

    done = world.set_up()
    assert [words.split(maxsplit=1)[0] for words in done] == ["Added", "Made", "Put"]
    folder = world.folder()
    assert (folder["type"], folder["path"]) == ("sendonly", str(world.usual))
    assert (folder["fsWatcherEnabled"], folder["ignorePerms"], folder["ignoreDelete"]) == (True, True, False)
    assert {one["deviceID"] for one in folder["devices"]} == {world.nas.device, world.pair.device}
    assert (world.usual / ".stignore").read_text().split() == list(IGNORED)

    world.pair.wait_connected()
    looks = world.looks(least_free_gb=0, quota_gb=0.001)
    assert {what for what, (verdict, _) in looks.items() if verdict == "problem"} <= {"sharing"}
    assert looks["folder's path"] == ("ok", str(world.usual))
    assert looks["folder's type"][0] == looks["folder's .stignore"][0] == looks["folder's room"][0] == "ok"
    assert looks["phone"] == ("ok", "connected")
    before = world.folder()
    assert world.set_up() == []
    assert world.folder() == before


def test_what_is_ours_and_no_photo_never_reaches_the_phone(world: World) -> None:
    world.set_up()
    world.accept()
    (world.usual / "2024").mkdir()
    for name in (".mediapipe-root", ".mpa-run-0123.part", "2024/.mpa-run-0123.part", "2024/a.jpg"):
        (world.usual / name).write_bytes(b"bytes")
    world.pair.wait_connected()
    world.here.scan(world.folder_id)
    world.arrives("2024/a.jpg")
    assert world.here.completion(world.folder_id, world.pair.device).need_items == 0
    found = {str(one.relative_to(world.there)) for one in world.there.rglob("*.*")}
    assert {name for name in found if not name.startswith(".stfolder")} == {"2024/a.jpg"}


def test_a_phone_that_keeps_what_left_the_folder_is_seen_to_ignore_deletions(world: World) -> None:
    world.set_up()
    world.accept()
    world.pair.wait_connected()
    (world.usual / "a.jpg").write_bytes(b"bytes")
    here = world.here
    here.scan(world.folder_id)
    world.arrives("a.jpg")
    wait_until(
        lambda: (found := here.file(world.folder_id, "a.jpg")) is not None and bool(found.holders), 30, "no proof"
    )
    assert world.looks()["phone's folder"][0] == "warning"
    assert "Ignore Delete on" in world.looks()["phone's folder"][1]
    (world.usual / "a.jpg").unlink()
    here.scan(world.folder_id)
    assert world.looks()["phone's folder"] == ("ok", "keeps 1 files that left the folder here, as it should")
    assert (world.there / "a.jpg").exists()


def test_a_phone_that_has_not_accepted_the_folder_is_told_where_syncthing_can_know(world: World) -> None:
    world.set_up()
    world.pair.wait_connected()
    newer = "v1.19" not in world.here.version()
    world.pair.phone.stop(signal.SIGKILL)
    world.pair.phone.start()
    wait_until(lambda: world.looks()["sharing"][0] == ("problem" if newer else "ok"), 60, "the sharing is not told")
    assert not newer or "has not accepted the folder" in world.looks()["sharing"][1]


def test_a_phone_out_of_sight_is_a_matter_of_how_long(world: World) -> None:
    world.set_up()
    world.pair.wait_connected()
    world.pair.phone.stop(signal.SIGKILL)
    wait_until(lambda: world.looks()["phone"][1] != "connected", 30, "it stays connected")
    verdict, words = world.looks()["phone"]
    assert (verdict, "last seen" in words) == ("ok", True)
    assert world.looks(after=timedelta(hours=49))["phone"][0] == "warning"
    world.pair.phone.start()


def test_somebodys_folder_keeps_its_type_without_fix_and_all_its_other_settings_with_it(world: World) -> None:
    mine = world.usual.with_name("mine")
    settings = {"id": world.folder_id, "path": str(mine), "type": "sendreceive", "rescanIntervalS": 77, "label": "Mine"}
    world.nas.put(f"config/folders/{world.folder_id}", settings)
    wait_until((mine / ".stfolder").exists, 30, "the folder is not made")
    looks = world.looks()
    assert looks["folder's type"][0] == looks["sharing"][0] == "problem"
    assert "a deletion on the phone could delete files here" in looks["folder's type"][1]
    assert world.folder()["type"] == "sendreceive"

    (mine / ".stignore").write_text("!*.jpg\n*.tmp\n")
    done = world.set_up()
    assert f"Changed the folder {world.folder_id} from sendreceive to sendonly." in done
    folder = world.folder()
    assert (folder["type"], folder["rescanIntervalS"], folder["label"]) == ("sendonly", 77, "Mine")
    assert folder["path"] == str(mine)
    assert world.here.ignores(world.folder_id) == [*IGNORED, "!*.jpg", "*.tmp"]
    assert not world.usual.exists()


def test_a_folder_whose_disk_is_away_stays_without_a_marker(world: World) -> None:
    world.set_up()
    shutil.rmtree(world.usual / ".stfolder")
    looks = world.looks()
    assert looks["folder's path"][0] == "problem"
    assert "folder's room" not in looks
    world.set_up()
    assert not (world.usual / ".stfolder").exists()

    shutil.rmtree(world.usual)
    assert world.looks()["folder's path"][0] == "problem"


def test_a_folder_that_is_seen_elsewhere_must_carry_syncthings_marker(world: World, tmp_path: Path) -> None:
    world.set_up()
    other = tmp_path / "other"
    assert "is not there" in world.looks(folder_path=str(other))["folder's path"][1]
    other.mkdir()
    assert "so it is not the folder of Syncthing" in world.looks(folder_path=str(other))["folder's path"][1]
    (tmp_path / "view").symlink_to(world.usual)
    assert world.looks(folder_path=str(tmp_path / "view"))["folder's path"][0] == "ok"


def test_a_new_folder_never_takes_in_what_lies_there_nor_an_empty_mount_point(world: World, tmp_path: Path) -> None:
    place = tmp_path / "photos"
    with pytest.raises(NotSetUp, match="Mount its disk"):
        world.set_up(folder_path=str(place))
    place.mkdir()
    (place / "private.jpg").write_bytes(b"mine")
    with pytest.raises(NotSetUp, match="all that is in it would be sent to the phone"):
        world.set_up(folder_path=str(place))
    assert world.here.folder(world.folder_id) is None
    assert os.listdir(place) == ["private.jpg"]


def test_an_id_that_is_mistyped_or_that_of_this_side_changes_nothing(world: World) -> None:
    wrong = world.pair.device[:-1] + ("A" if world.pair.device[-1] != "A" else "B")
    with pytest.raises(NotSetUp, match="check digits"):
        world.set_up(device_id=wrong)
    with pytest.raises(NotSetUp, match="the Syncthing on this side"):
        world.set_up(device_id=world.nas.device)
    assert "is the id of the Syncthing on this side" in world.looks(device_id=world.nas.device)["phone"][1]
    assert world.here.folder(world.folder_id) is None
    assert not world.usual.exists()


def test_a_wrong_key_and_a_daemon_that_is_away_are_told_in_words(world: World) -> None:
    pixel = world.topology().pixel
    wrong = list(Topology(Syncthing(world.nas.url, SecretStr("not-the-key")), pixel).look(datetime.now(UTC)))
    assert [one.verdict for one in wrong] == ["problem"]
    assert "does not take the API key" in wrong[0].words
    away = list(Topology(Syncthing("http://127.0.0.1:9", SecretStr(KEY)), pixel).look(datetime.now(UTC)))
    assert "cannot be reached" in away[0].words


def test_elsewhere_a_folder_cannot_be_made_and_the_words_say_what_to_do(world: World) -> None:
    pixel = world.topology(url=world.nas.url.replace("127.0.0.1", "nas.example")).pixel
    with pytest.raises(NotSetUp, match="Make it there as Send Only"):
        Topology(Syncthing(world.nas.url, SecretStr(KEY)), pixel).set_up(world.usual)
    assert not world.usual.exists()


@pytest.mark.parametrize("daemons", ["1.29"], indirect=True)
def test_doctor_fix_does_it_from_the_command_line_with_four_settings(world: World, home: Home) -> None:
    home.environment = {
        "MEDIAPIPE_SYNCTHING__URL": world.nas.url,
        "MEDIAPIPE_SYNCTHING__API_KEY": KEY,
        "MEDIAPIPE_SYNCTHING__FOLDER_ID": world.folder_id,
        "MEDIAPIPE_SYNCTHING__DEVICE_ID": world.pair.device,
    }
    said = home.cli("doctor", "--fix", "--json", expect=None)
    looks = {one["what"]: one for one in said.json}
    assert "Made the folder" in looks["destination pixel: set up"]["words"]
    assert looks["destination pixel: folder's path"]["words"] == str(home.path / "syncthing" / "pixel")
    assert "Ignore Delete" in looks["destination pixel: step 3 on the phone"]["words"]
    first = looks["destination pixel: step 1 on the phone"]
    assert world.nas.device in first["words"]
    assert first["verdict"] == "step", "nobody has done it yet, so it is not ok"
    assert KEY not in said.out + said.err


def test_a_paused_phone_and_a_paused_folder_are_told_and_stay_paused(world: World) -> None:
    world.set_up()
    device = f"config/devices/{world.pair.device}"
    for what in (device, f"config/folders/{world.folder_id}"):
        world.nas.put(what, {**world.nas.get(what), "paused": True})
    looks = world.looks()
    assert "resume it in Syncthing's web page" in looks["phone"][1]
    assert "resume it in Syncthing's web page" in looks["folder"][1]
    assert world.set_up() == []
    assert world.folder()["paused"] and world.nas.get(device)["paused"]
    world.nas.put(device, {**world.nas.get(device), "paused": False})
