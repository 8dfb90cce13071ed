"""What a person is told when something is wrong, with which exit code, and that nothing is lost by it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Home, results, tree

Photos = Callable[..., Path]
FEW = (
    "DCIM/100APPLE/IMG_0003.JPG",
    "DCIM/100APPLE/IMG_0008.JPG",
    "DCIM/100APPLE/IMG_0009.JPG",
    "WhatsApp/Media/WhatsApp Images/IMG-20210820-WA0011.jpg",
)


@pytest.fixture
def some(photos: Photos) -> Path:
    return photos(*FEW)


def test_a_missing_source_is_named(home: Home, tmp_path: Path) -> None:
    said = home.cli("run", "--source", tmp_path / "nowhere", expect=1)
    assert "does not exist" in said.err
    assert "nowhere" in said.err
    assert not (home.path / "originals").exists()


def test_a_file_in_place_of_a_source_folder_is_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert "is a file, not a folder" in home.cli("run", "--source", tmp_path / "a.jpg", expect=1).err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_source_is_named(home: Home, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert "cannot be read" in home.cli("run", "--source", closed, expect=1).err


def test_a_source_that_is_suddenly_empty_is_away_and_not_emptied(home: Home, some: Path) -> None:
    home.watch(some)
    home.run(expect=None)
    before, counts = results(home), home.status()
    away = some.with_name("unmounted")
    some.rename(away)
    some.mkdir()
    said = home.cli("run", expect=5)
    assert "suddenly lacks" in said.err
    assert "away_share" in said.err
    assert (results(home), home.status()) == (before, counts)
    some.rmdir()
    away.rename(some)
    assert home.run()["found"] == 0


def test_a_root_without_its_marker_is_not_touched(home: Home, some: Path) -> None:
    home.watch(some)
    home.run(expect=None)
    archive = home.path / "archive"
    archive.rename(home.path / "unmounted")
    archive.mkdir()
    said = home.cli("run", expect=5)
    assert "has no marker" in said.err
    assert "mounted" in said.err
    assert list(archive.iterdir()) == []


def test_an_unknown_setting_in_the_file_names_the_nearest_one(home: Home) -> None:
    home.settings("[compresion]\nmin_saving = 0.2\n")
    said = home.cli("status", expect=2)
    assert "compresion" in said.err
    assert "compression" in said.err.replace("compresion", "")
    assert "mediapipe.toml" in said.err


def test_an_unknown_setting_in_the_environment_names_the_nearest_one(home: Home) -> None:
    said = home.cli("status", expect=2, MEDIAPIPE_COMPRESSION__MIN_SAVNG="0.2")
    assert "MEDIAPIPE_COMPRESSION__MIN_SAVNG" in said.err
    assert "MIN_SAVING" in said.err.upper()


def test_a_database_that_is_down_is_named_without_its_password(home: Home, some: Path) -> None:
    home.watch(some)
    url = "postgresql://me:geheim@127.0.0.1:9/photos"
    said = home.cli("run", expect=1, MEDIAPIPE_DATABASE_URL=url)
    assert "127.0.0.1" in said.err
    assert "geheim" not in said.err + said.out
    assert not (home.path / "originals").exists()


def test_a_fixed_setting_cannot_be_changed_later(home: Home, some: Path) -> None:
    home.watch(some, start="2021-01-01")
    home.run(expect=None)
    home.watch(some, start="2000-01-01")
    assert "start_date" in home.cli("run", expect=5).err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, which holds less than the photos need."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_lack_of_room_is_said_before_anything_is_written(home: Home, some: Path, small_disk: Path) -> None:
    archive = f'[destinations.archive]\nkind = "archive"\npath = "{small_disk}/archive"'
    home.watch(some, archive)
    said = home.cli("run", expect=5)
    assert "Not enough room" in said.err
    assert str(small_disk) in said.err
    assert tree(home.path / "originals").keys() <= {".mediapipe-root"}


def test_a_disk_that_fills_up_in_mid_run_loses_nothing_and_the_next_run_goes_on(
    home: Home, some: Path, small_disk: Path
) -> None:
    archive = f'[destinations.archive]\nkind = "archive"\npath = "{small_disk}/archive"'
    home.watch(some, archive)
    # The estimate is told that there is room, as it would be if another program filled the disk meanwhile.
    site = home.path.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import pipeline.planning as planning\nplanning._free = lambda folder: 1 << 50\n"
    )
    filler = small_disk / "somebody-elses.bin"
    with open(filler, "wb") as handle:
        handle.write(b"x" * 1_700_000)
    said = home.cli("run", expect=1, PYTHONPATH=str(site))
    assert "disk is full" in said.err
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    home.cli("run", "--json", expect=None, PYTHONPATH=str(site))
    counts = home.status()
    assert counts["failed"] == 0
    assert counts["destinations"]["archive"]["verified"] == counts["destinations"]["archive"]["staged"] > 0


def test_names_of_every_kind_are_taken(home: Home, photos: Photos, tmp_path: Path) -> None:
    picture = photos(FEW[0]) / FEW[0]
    odd = tmp_path / "odd"
    deep = odd.joinpath(*["deep"] * 64)
    deep.mkdir(parents=True)
    names = ["line\nbreak.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg", "x" * 251 + ".jpg", os.fsdecode(b"latin-\xe9.jpg")]
    for number, path in enumerate([*(odd / name for name in names), deep / "deep.jpg"]):
        shutil.copy(picture, path)
        with open(path, "ab") as handle:
            handle.write(bytes([number]) * 10)  # each of them another content
    os.symlink(odd, odd / "loop")
    os.symlink("self.jpg", odd / "self.jpg")
    os.mkfifo(odd / "pipe.jpg")
    (odd / "empty.jpg").write_bytes(b"")
    before = tree(odd)
    home.watch(odd)
    report = home.run()
    assert (report["found"], report["kept"], report["rejected"]) == (len(names) + 2, len(names) + 1, 1)
    assert report["destinations"]["archive"]["failed"] == 0
    assert tree(odd) == before
    assert home.run()["found"] == 0
