"""A real `up` that feeds a phone: photos reach it by themselves, and nothing is called delivered that is not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from media.files import ROOT_MARKER
from tests.conftest import Home
from tests.icloud_library import jpeg
from tests.syncthing_daemons import FOLDER, KEY, Pair, pair
from tests.syncthing_programs import program
from tests.test_up import free_port

FILES = int(os.environ.get("PIXEL_FILES", "500"))
PATIENCE = 120.0 + FILES / 2
SETTINGS = """
start_date = 2026-05-01
[runs]
sensor_seconds = 2
[compression]
enabled = false
[library]
enabled = false
[destinations.archive]
enabled = false
[destinations.pixel]
watch_seconds = 2
"""
DELIVERED = "SELECT count(*) FROM deliveries WHERE destination = 'pixel' AND state = 'verified'"


@pytest.fixture(params=["1.19", "1.29"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    found = program(request.param)
    if found is None:
        pytest.skip("this Syncthing cannot be had here")
    with pair(found, tmp_path / "syncthing") as both:
        both.wait_connected()
        yield both


class Fed:
    """A home whose photos go to the phone."""

    def __init__(
        self, home: Home, two: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: str = ""
    ) -> None:
        self.home, self.two, self.folder = home, two, folder
        folder.mkdir()
        home.settings(SETTINGS + settings + f'[sources.folder]\npath = "{folder}"\nsettle_seconds = 0\n')
        home.environment = {
            "MEDIAPIPE_SYNCTHING__URL": two.nas.url,
            "MEDIAPIPE_SYNCTHING__API_KEY": KEY,
            "MEDIAPIPE_SYNCTHING__FOLDER_ID": FOLDER,
            "MEDIAPIPE_SYNCTHING__DEVICE_ID": two.device,
        }
        for variable, value in home.environment.items():
            monkeypatch.setenv(variable, value)
        with home.opened() as platform:
            platform.prepare()

    def add(self, count: int, first: int = 0, size: int = 0) -> None:
        """Puts photos into the source."""
        for number in range(first, first + count):
            content = jpeg(number)
            (self.folder / f"IMG_{number:05d}.JPG").write_bytes(content + bytes(max(0, size - len(content))))

    def value(self, query: str) -> Any:
        with self.home.opened() as platform, platform.engine.connect() as connection:
            return connection.execute(text(query)).scalar()

    def until(self, query: str, wanted: Any, seconds: float = PATIENCE) -> float:
        begun = time.monotonic()
        while (found := self.value(query)) != wanted:
            assert time.monotonic() - begun < seconds, f"{query}: {found} in place of {wanted}"
            time.sleep(0.5)
        return time.monotonic() - begun

    def sent(self) -> set[str]:
        """The hashes of what is in the source."""
        return {hashlib.sha256(one.read_bytes()).hexdigest() for one in self.folder.iterdir()}

    def on_phone(self) -> set[str]:
        """The hashes of what is on the phone."""
        return {hashlib.sha256(one).hexdigest() for one in self.two.phone.files().values()}


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_photos_reach_the_phone_by_themselves(
    home: Home, two: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = Fed(home, two, tmp_path / "photos", monkeypatch)
    fed.add(FILES)
    process = home.start("up", "--port", str(free_port()))
    seconds = fed.until(DELIVERED, FILES)
    assert fed.on_phone() == fed.sent(), "every byte of them"
    print(f"\n{FILES} files from the folder to verified on the phone: {seconds:.0f} s")

    fed.add(1, first=FILES)
    fed.until("SELECT count(*) FROM placed_files", FILES + 1)
    seconds = fed.until("SELECT count(*) FROM placed_files WHERE delivered_at IS NOT NULL", FILES + 1)
    print(f"one file from staging to delivered: {seconds:.1f} s, of which at most 2 s are the sensor's interval")
    fed.until(DELIVERED, FILES + 1)

    status = home.cli("pixel", "status", "--json").json
    assert (status["connected"], status["delivered"], status["staged"], status["problems"]) == (True, FILES + 1, 0, [])
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert home.cli("status", "--json").json["failed"] == 0


def lying_in(folder: Path) -> int:
    """The bytes in a folder, of what is just being placed too."""
    total = 0
    for one in folder.rglob("*"):
        if one.relative_to(folder).parts[0].startswith(".st") or one.name == ROOT_MARKER:
            continue  # Syncthing's own, and our mark
        with contextlib.suppress(FileNotFoundError):  # it has just got its name, or left
            total += one.stat().st_size if one.is_file() else 0
    return total


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_a_small_quota_is_never_exceeded_and_everything_arrives_at_last(
    home: Home, two: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota, size, count = 100_000_000, 5_000_000, 200  # 100 MB in flight, 1 GB to deliver
    fed = Fed(home, two, tmp_path / "photos", monkeypatch, "quota_gb = 0.1\nkeep_hours = 0\nleast_free_gb = 0\n")
    fed.add(count, size=size)
    home.start("up", "--port", str(free_port()))
    most, end = 0, time.monotonic() + 900
    while fed.value(DELIVERED) != count:
        assert time.monotonic() < end, fed.value(DELIVERED)
        most = max(most, lying_in(two.nas.folder))
        time.sleep(0.5)
    assert fed.on_phone() == fed.sent()
    assert 0 < most <= quota
    print(f"\nat most {most / 1e6:.0f} MB of {quota / 1e6:.0f} MB lay in the folder while 1 GB was delivered")
