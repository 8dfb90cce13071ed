"""`run --destination NAME`: a destination to which nothing goes is refused, with what to write where."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mediapipe_assets.cli import USAGE, cli
from tests.conftest import Home

ICLOUD = '[sources.icloud]\napple_id = "a@example.com"\n'
SWITCH = "MEDIAPIPE_DESTINATIONS__ICLOUD__ENABLED"


def refused(home: Home, tmp_path: Path, settings: str, *arguments: str, **environment: str) -> str:
    """Returns what is said about settings with which a run is refused, before anything is opened or written."""
    photos = tmp_path / "photos"
    photos.mkdir(exist_ok=True)
    home.watch(photos, settings)
    before = sorted(home.path.iterdir())
    env = {"MEDIAPIPE_HOME": str(home.path), "COLUMNS": "500", **environment}
    result: Result = CliRunner(env=env).invoke(cli, ["run", *arguments])
    assert (result.exit_code, result.stdout) == (USAGE, "")
    assert sorted(home.path.iterdir()) == before
    return " ".join(result.stderr.split())


@pytest.mark.parametrize("settings", ["[destinations.icloud]\n", "[destinations.icloud]\nenabled = false\n"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_one_that_is_switched_off_says_how_to_switch_it_on(
    home: Home, tmp_path: Path, settings: str, more: tuple[str, ...]
) -> None:
    said = refused(home, tmp_path, ICLOUD + settings, "--destination", "icloud", *more)
    assert "the destination icloud is switched off" in said
    assert f"enabled = true below [destinations.icloud] in {home.path / 'mediapipe.toml'}" in said


def test_one_that_a_variable_switches_off_names_the_variable(home: Home, tmp_path: Path) -> None:
    settings = f"{ICLOUD}[destinations.icloud]\nenabled = true\n"
    said = refused(home, tmp_path, settings, "--destination", "icloud", **{SWITCH: "false"})
    assert f"To switch it on: {SWITCH}=true" in said and "mediapipe.toml" not in said


def test_an_archive_that_is_switched_off_is_refused_as_well(home: Home, tmp_path: Path) -> None:
    said = refused(home, tmp_path, "[destinations.archive]\nenabled = false\n", "--destination", "archive")
    assert "the destination archive is switched off" in said


def test_one_that_there_is_not_names_those_that_there_are_and_how_to_make_it(home: Home, tmp_path: Path) -> None:
    said = refused(home, tmp_path, f"{ICLOUD}[destinations.icloud]\n", "--destination", "pixel")
    assert "there is no destination called pixel; there is: " in said
    assert "archive" in said and "icloud (switched off)" in said
    assert f"[destinations.pixel] in {home.path / 'mediapipe.toml'}" in said


def test_the_whole_command_ends_with_2(home: Home, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    home.watch(tmp_path / "photos", f"{ICLOUD}[destinations.icloud]\n")
    said = home.cli("run", "--destination", "icloud", expect=USAGE)
    assert said.out == "" and "Traceback" not in said.err and "switched off" in said.err
    assert not (home.path / "database").exists()
