"""The settings of a phone behind Syncthing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resources.settings import Settings, SettingsError, load_settings

DEVICE = "-".join(["ABCDEF2"] * 8)
SHORT = {"MEDIAPIPE_SYNCTHING__FOLDER_ID": "camera", "MEDIAPIPE_SYNCTHING__DEVICE_ID": DEVICE.lower()}


def load(home: Path, environ: dict[str, str] = SHORT, **pixel: Any) -> Settings:
    return load_settings(home, overrides={"destinations": {"pixel": pixel}} if pixel else {}, environ=environ)


def test_the_short_variables_make_the_destination_called_pixel(tmp_path: Path) -> None:
    key = {"MEDIAPIPE_SYNCTHING__API_KEY": "the-key", "MEDIAPIPE_SYNCTHING__URL": "http://nas:8384/"}
    settings = load(tmp_path, {**SHORT, **key})
    pixel = settings.pixels["pixel"]
    assert (pixel.url, pixel.folder_id, pixel.device_id) == ("http://nas:8384", "camera", DEVICE)
    assert pixel.api_key is not None and pixel.api_key.get_secret_value() == "the-key"
    assert pixel.enabled and not pixel.counts_as_copy
    assert "the-key" not in str(settings.masked())


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DEVICE_ID", "ABC", "must be a device id"),
        ("URL", "nas", "must be an address"),
        ("QUOTA_GB", "0", "more than 0"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable(tmp_path: Path, variable: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        load(tmp_path, {**SHORT, f"MEDIAPIPE_SYNCTHING__{variable}": value})
    assert f"MEDIAPIPE_SYNCTHING__{variable}" in str(caught.value)


@pytest.mark.parametrize("place", ["originals", "originals/phone", "archive"])
def test_the_phones_folder_may_not_be_one_that_we_write_to(tmp_path: Path, place: str) -> None:
    with pytest.raises(SettingsError, match="each needs a folder of its own"):
        load(tmp_path, folder_path=str(tmp_path / place))


def test_the_phones_folder_must_be_absolute(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must be an absolute path"):
        load(tmp_path, folder_path="phone")
