"""A phone through the command line: whole runs with a real Syncthing, and with one that is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Home
from tests.pixel_folder import SharedFolder
from tests.pixel_world import DEVICE
from tests.syncthing_daemons import KEY, free_port, wait_until


def section(url: str, folder: str, device: str) -> str:
    return (
        f'[destinations.pixel]\nenabled = true\nurl = "{url}"\nfolder_id = "{folder}"\ndevice_id = "{device}"\n'
        "keep_hours = 0\nleast_free_gb = 0\n[library]\nenabled = true\n"
    )


@pytest.fixture
def photo(tmp_path: Path, sample: Path) -> Path:
    found = sorted(sample.rglob("*.jpg"))[0]
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "IMG_1.jpg").write_bytes(found.read_bytes())
    return folder / "IMG_1.jpg"


def test_a_syncthing_that_is_away_stops_no_other_destination(home: Home, photo: Path) -> None:
    home.watch(photo.parent, section(f"http://127.0.0.1:{free_port()}", "camera", DEVICE))
    said = home.cli("run", MEDIAPIPE_SYNCTHING__API_KEY=KEY)
    assert "What goes there waits" in said.err
    status = home.status()["destinations"]
    assert status["archive"]["verified"] >= 1
    assert (status["pixel"]["staged"], status["pixel"]["delivered"], status["pixel"]["failed"]) == (1, 0, 0)
    assert "verified" not in status["pixel"]


@pytest.mark.parametrize("two_daemons", ["1.29"], indirect=True)
def test_a_run_delivers_to_the_phone_and_says_no_more_than_that(home: Home, photo: Path, shared: SharedFolder) -> None:
    home.watch(photo.parent, section(shared.nas.url, shared.folder_id, shared.pair.device))
    report = home.run("--destination", "pixel", MEDIAPIPE_SYNCTHING__API_KEY=KEY)["destinations"]["pixel"]
    assert (report["staged"], report["uploaded"], report["failed"]) == (1, 1, 0) and "verified" not in report
    wait_until(lambda: any(shared.there.glob("*.jpg")), 60, "the scan was not asked for")
    with home.opened() as platform, platform.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE mediapipe.work SET not_before = now()")
    again = home.run("--destination", "pixel", MEDIAPIPE_SYNCTHING__API_KEY=KEY)["destinations"]["pixel"]
    assert report["delivered"] + again["delivered"] == 1
    said = home.cli("status", MEDIAPIPE_SYNCTHING__API_KEY=KEY).err.splitlines()
    assert "1 of 1 delivered to the phone, 0 failed" in next(line for line in said if line.startswith("pixel "))
    (delivery,) = (one for one in home.history(photo)["deliveries"] if one["destination"] == "pixel")
    assert delivery["state"] == "delivered"
    (there,) = shared.there.glob("*.jpg")
    assert there.read_bytes() == photo.read_bytes()


@pytest.mark.parametrize("two_daemons", ["1.29"], indirect=True)
def test_a_folder_that_is_not_send_only_refuses_the_run_before_anything_is_placed(
    home: Home, photo: Path, shared: SharedFolder
) -> None:
    shared.share_here("sendreceive")
    home.watch(photo.parent, section(shared.nas.url, shared.folder_id, shared.pair.device))
    said = home.cli("run", expect=None, MEDIAPIPE_SYNCTHING__API_KEY=KEY)
    assert said.code == 5 and "Send Only" in said.err
    assert not any(shared.here.glob("*.jpg"))
