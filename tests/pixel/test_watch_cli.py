"""`mediapipe-assets pixel status` and `pixel watch --once`, as a script reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mediapipe_assets.cli import cli
from resources.pixel import PixelFolder
from tests.conftest import Home
from tests.pixel_watch_world import NAME, PHONE, FakeSyncthing, Watching

KEYS = {
    "connected",
    "last_seen",
    "staged",
    "delivered",
    "freed_on_phone",
    "confirmed",
    "pending",
    "bytes_in_flight",
    "problems",
}


class Phone:
    """A home with a phone, by the four variables that scripts set."""

    def __init__(self, home: Home, fake: FakeSyncthing) -> None:
        self.home, self.fake = home, fake
        self.variables = {
            "MEDIAPIPE_SYNCTHING__URL": "http://127.0.0.1:8384",
            "MEDIAPIPE_SYNCTHING__API_KEY": "the-secret-key",
            "MEDIAPIPE_SYNCTHING__FOLDER_ID": "camera",
            "MEDIAPIPE_SYNCTHING__DEVICE_ID": PHONE,
        }
        self.invoke("pixel", "status")  # makes the catalog

    def invoke(self, *arguments: str, **variables: str) -> Result:
        env = {**self.home._only_ours(), **self.variables, **variables}
        return CliRunner(env=env).invoke(cli, arguments, catch_exceptions=False)

    def json(self, *arguments: str) -> dict[str, Any]:
        result = self.invoke("pixel", *arguments, "--json")
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def place(self, *names: str) -> None:
        with self.home.opened() as platform:
            Watching(platform.engine, self.fake.root, self.fake.syncthing()).place_all(
                {name: name.encode() for name in names}
            )


@pytest.fixture
def phone(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    fake = FakeSyncthing(tmp_path / "nas")
    monkeypatch.setattr(PixelFolder, "of", lambda name, entry: PixelFolder(name, entry, fake.syncthing()))
    return Phone(home, fake)


def test_scripts_read_how_far_everything_came_also_while_syncthing_is_away(phone: Phone) -> None:
    phone.place("a.jpg", "b.jpg", "c.jpg")
    phone.fake.has = {"a.jpg"}
    phone.fake.free("b.jpg")
    phone.fake.edit("c.jpg")
    assert phone.json("status")["delivered"] == 0, "to ask how it stands records nothing"
    found = phone.json("watch", "--once")
    assert set(found) >= KEYS
    assert (found["newly_delivered"], found["newly_freed_on_phone"], found["new_problems"]) == (2, 1, 1)
    assert found["due"] == ["2024-05-17"]
    status = phone.json("status")
    assert set(status) >= KEYS
    assert {name: status[name] for name in KEYS - {"last_seen", "problems"}} == {
        "connected": True,
        "staged": 1,
        "delivered": 2,
        "freed_on_phone": 1,
        "confirmed": 0,
        "pending": 1,
        "bytes_in_flight": 15,
    }
    assert status["problems"] == [{"problem": "it was changed on the phone", "files": 1}]
    phone.fake.away = True
    for command in (["status"], ["watch", "--once"]):
        away = phone.json(*command)
        assert away["connected"] is False and "cannot be reached" in away["syncthing"]
        # Its last sign is that of the look: to ask how it stands records nothing.
        assert away["last_seen"] == found["last_seen"]
        assert (away["staged"], away["delivered"], away["freed_on_phone"]) == (1, 2, 1)
    words = phone.invoke("pixel", "status").stderr
    assert "not connected, last seen" in words and "as it was last known" in words
    assert "✗ 1 files: it was changed on the phone" in words
    assert "backed up" not in words and "the-secret-key" not in words


def test_without_a_phone_the_person_is_told_what_to_set(home: Home) -> None:
    result = CliRunner(env=home._only_ours()).invoke(cli, ["pixel", "status"], standalone_mode=False)
    assert "MEDIAPIPE_SYNCTHING__DEVICE_ID" in str(result.exception)


def test_of_several_phones_one_is_named_and_the_one_called_pixel_is_meant_otherwise(phone: Phone) -> None:
    phone.home.settings(f'[destinations.old]\nkind = "pixel"\nfolder_id = "o"\ndevice_id = "{PHONE}"\n')
    assert phone.json("status")["destination"] == NAME
    assert phone.json("status", "--destination", "old")["destination"] == "old"
    result = CliRunner(env={**phone.home._only_ours(), **phone.variables}).invoke(
        cli, ["pixel", "status", "--destination", "new"], standalone_mode=False
    )
    assert "there is: old, pixel" in str(result.exception)
