"""Bad input: a clear message that says what to do, the right exit code, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from catalog.work import Scope
from mediapipe_assets.platform import open_platform
from tests.conftest import Home, Said, copied, results, sha256, temporary_files, tree

FILES = (
    "DCIM/100APPLE/IMG_0003.JPG", "DCIM/100APPLE/IMG_0007.JPG",
    "Camera/IMG_20190714_153012.jpg", "Scans/Dia 1994-08.png",
)  # fmt: skip
START = "2022-09-18"
MARKER = ".mediapipe-root"
AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


def picture(path: Path, seed: int) -> Path:
    """Writes a small JPEG; another seed gives another picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with open(path, "wb") as handle:
        Image.fromarray(pixels).save(handle, "JPEG", quality=90)
    return path


def refused(said: Said, *words: str) -> None:
    """Holds that a command said what is wrong, and nothing but that."""
    assert said.out == ""
    assert "Traceback" not in said.err, said.err
    for word in words:
        assert word in said.err, (word, said.err)


@dataclass
class Filled:
    """A home with a few files, and their source; tests put back what they change."""

    home: Home
    source: Path
    results: dict[str, Any]
    status: Any

    def is_untouched(self) -> None:
        assert results(self.home, times=True) == self.results
        assert self.home.status() == self.status


@pytest.fixture(scope="module")
def filled(sample: Path, shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    source = copied(sample, tmp_path_factory.mktemp("filled") / "photos", FILES)
    shared_home.watch(source, start=START)
    assert shared_home.run()["kept"] == len(FILES)
    return Filled(shared_home, source, results(shared_home, times=True), shared_home.status())


@contextlib.contextmanager
def elsewhere(path: Path) -> Iterator[Path]:
    """Moves something out of the way for a while."""
    aside = path.with_name(f"{path.name} aside")
    path.rename(aside)
    try:
        yield aside
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        aside.rename(path)


# --- sources -----------------------------------------------------------------------------------------------------


def test_a_source_that_is_missing_is_named_and_nothing_is_touched(filled: Filled, tmp_path: Path) -> None:
    refused(filled.home.cli("run", "--json", "--source", tmp_path / "nowhere", expect=1), "does not exist", "nowhere")
    assert "nowhere" not in (filled.home.path / "mediapipe.toml").read_text()
    with elsewhere(filled.source):
        refused(filled.home.cli("run", "--json", expect=1), "does not exist", str(filled.source))
    filled.is_untouched()


def test_a_source_that_is_a_file_is_no_source(filled: Filled, tmp_path: Path) -> None:
    refused(filled.home.cli("run", "--source", picture(tmp_path / "a.jpg", 1), expect=1), "is a file, not a folder")
    filled.is_untouched()


def test_a_source_that_is_suddenly_empty_is_taken_for_away(filled: Filled) -> None:
    with elsewhere(filled.source):
        filled.source.mkdir()
        said = filled.home.cli("run", "--json", expect=5)
        refused(said, "suddenly lacks 4 of the 4 files", "Is its disk mounted?", "away_share")
        filled.is_untouched()
    assert filled.home.run()["runs"] == []
    filled.is_untouched()


def test_a_source_that_loses_most_of_its_files_is_taken_for_away(filled: Filled) -> None:
    with elsewhere(filled.source / "DCIM"), elsewhere(filled.source / "Scans") as scans:
        aside = [scans.rename(filled.home.path.parent / "scans"), filled.source / "DCIM aside"]
        aside[1] = aside[1].rename(filled.home.path.parent / "dcim")
        refused(filled.home.cli("run", "--json", expect=5), "suddenly lacks 3 of the 4 files")
        aside[0].rename(scans)
        aside[1].rename(filled.source / "DCIM aside")
    filled.is_untouched()


# --- our own folders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["originals", "archive"])
def test_a_root_without_its_marker_is_refused(filled: Filled, root: str) -> None:
    with elsewhere(filled.home.path / root / MARKER):
        refused(filled.home.cli("run", "--json", expect=5), root, MARKER, "Is its disk mounted?", "Nothing was touched")
    filled.is_untouched()


def test_an_archive_whose_disk_is_not_mounted_is_not_begun_anew(filled: Filled) -> None:
    with elsewhere(filled.home.path / "archive"):
        (filled.home.path / "archive").mkdir()
        refused(filled.home.cli("run", "--json", expect=5), "archive", "Is its disk mounted?")
        assert list((filled.home.path / "archive").iterdir()) == []
    filled.is_untouched()


def test_a_root_of_another_home_is_refused(filled: Filled) -> None:
    marker = filled.home.path / "archive" / MARKER
    before = marker.read_bytes()
    marker.write_text(json.dumps({"id": "somebody else's", "root": "destination:archive"}))
    try:
        refused(filled.home.cli("run", "--json", expect=5), "belongs to another home")
    finally:
        marker.write_bytes(before)


# --- settings and the database -----------------------------------------------------------------------------------


def test_an_unknown_setting_is_an_error_that_names_the_nearest(filled: Filled) -> None:
    file = filled.home.path / "mediapipe.toml"
    before = file.read_text()
    file.write_text(before + "\n[compresion]\nmin_saving = 0.2\n")
    try:
        refused(filled.home.cli("run", "--json", expect=2), "compresion", "compression", str(file))
    finally:
        file.write_text(before)
    said = filled.home.cli("run", "--json", expect=2, MEDIAPIPE_COMPRESSION__MIN_SAVINGS="0.2")
    refused(said, "MEDIAPIPE_COMPRESSION__MIN_SAVINGS", "MEDIAPIPE_COMPRESSION__MIN_SAVING")
    filled.is_untouched()


def test_a_setting_with_a_wrong_value_says_what_is_allowed(filled: Filled) -> None:
    said = filled.home.cli("run", "--json", expect=2, MEDIAPIPE_COMPRESSION__MIN_SAVING="much")
    refused(said, "MEDIAPIPE_COMPRESSION__MIN_SAVING", "must be a number")


def test_a_file_that_is_no_toml_is_an_error_of_usage(filled: Filled) -> None:
    file = filled.home.path / "mediapipe.toml"
    before = file.read_bytes()
    file.write_bytes(b"[sources\n\xff")
    try:
        refused(filled.home.cli("run", "--json", expect=2), str(file), "TOML")
        assert file.read_bytes() == b"[sources\n\xff"
    finally:
        file.write_bytes(before)


def test_a_fixed_setting_cannot_be_changed_later(filled: Filled) -> None:
    said = filled.home.cli("run", "--json", expect=5, MEDIAPIPE_TIMEZONE="Asia/Tokyo")
    refused(said, "timezone", "Asia/Tokyo", "Europe/Berlin", "Nothing was touched")
    filled.is_untouched()


def test_a_database_that_is_down_is_named_without_its_password(home: Home, photos: Callable[..., Path]) -> None:
    home.watch(photos(FILES[0]))
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"postgresql://somebody:s3cr3t-w0rd@127.0.0.1:{port}/photos"
        started = time.monotonic()
        said = home.cli("run", "--json", expect=1, MEDIAPIPE_DATABASE_URL=url)
        assert time.monotonic() - started < 30
        refused(said, "127.0.0.1", str(port))
        shown = home.cli("config", "show", "--json", MEDIAPIPE_DATABASE_URL=url)
    assert "s3cr3t-w0rd" not in said.err + shown.out + shown.err
    assert not any(root for root in results(home).values())
    assert home.run()["kept"] == 1


# --- disks that are full -----------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts small disks of a test's own; skipped where that is not allowed."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        image, folder = tmp_path / f"disk{len(mounted)}", tmp_path / f"mounted{len(mounted)}"
        folder.mkdir()
        with open(image, "wb") as handle:
            handle.truncate(int(size.removesuffix("M")) << 20)
        for command in (["mkfs.ext4", "-q", "-m", "0", "-F", image], ["mount", "-o", "loop", image, folder]):
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("no disk can be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def test_a_lack_of_room_is_said_before_anything_is_written(
    home: Home, photos: Callable[..., Path], disk: Callable[[str], Path]
) -> None:
    small = disk("100M")
    home.watch(photos(*FILES), f"[destinations.archive]\npath = {json.dumps(str(small / 'archive'))}", start=START)
    said = home.cli("run", "--json", expect=5)
    refused(said, "Not enough room, so nothing was written", str(small), "Make room")
    assert not any(root for root in results(home).values())
    assert tree(small / "archive").keys() == {MARKER}


def test_a_run_that_dagster_starts_fails_at_once_for_want_of_room(
    home: Home, photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from jobs.chain import CHAIN_JOB, range_tags
    from mediapipe_assets.definitions import build_defs
    from pipeline.discovery import look

    home.watch(photos(FILES[0]), start=START)
    monkeypatch.setenv("MEDIAPIPE_HOME", str(home.path))
    with open_platform(home.path, prepare=True) as platform:
        (spec,) = platform.sources.values()
        assert look(platform.engine, spec, platform.date_rules()).new == 1
        (day,) = platform.due_dates(aged=False)
        job = build_defs(platform.settings).resolve_job_def(CHAIN_JOB)
        monkeypatch.setattr("pipeline.planning._free", lambda folder: 0)
        ended = job.execute_in_process(
            instance=dg.DagsterInstance.ephemeral(), tags=range_tags(Scope(day, day)), raise_on_error=False
        )
    assert not ended.success
    (failed,) = [event for event in ended.all_events if event.is_step_failure]
    assert failed.step_key == "folder_originals"
    said = failed.step_failure_data.user_failure_data
    assert said is not None and str(said.description).startswith("Not enough room, so nothing was written.")
    assert not any(root for root in results(home).values())


def test_a_disk_that_fills_up_in_the_middle_stops_the_run_and_loses_nothing(
    home: Home, photos: Callable[..., Path], disk: Callable[[str], Path]
) -> None:
    small = disk("700M")
    archive = small / "archive"
    home.watch(photos(*FILES), f"[destinations.archive]\npath = {json.dumps(str(archive))}", start=START)
    process = home.start("run", "--json")
    originals = home.path / "originals"
    while not any(path.suffix in (".JPG", ".png") for path in originals.rglob("*")) and process.poll() is None:
        time.sleep(0.01)
    filler = small / "filler"
    with open(filler, "wb") as handle:
        for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(handle.fileno(), os.fstat(handle.fileno()).st_size, size)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    refused(Said(1, out, err), "disk is full", str(small), "Nothing is lost")
    assert [path for path in archive.rglob("*") if path.is_file() and path.name != MARKER] == []
    assert home.status()["kept"] == len(FILES)
    filler.unlink()
    assert home.run()["destinations"]["archive"]["failed"] == 0
    archived = home.status()["destinations"]["archive"]
    assert archived["verified"] == archived["staged"] == len(FILES) + home.status()["renditions"]
    assert not list(archive.rglob(".mpa-*")) and temporary_files(home) == []


# --- files -------------------------------------------------------------------------------------------------------


def hostile_names() -> list[str]:
    nfc = unicodedata.normalize("NFC", "Zürich.jpg")
    return [
        "with\nnewline.jpg", "with\ttab.jpg", "-rf.jpg", "--json.jpg", "a b  c .jpg", "quote's \"double\".jpg",
        "percent%s%20.jpg", "{year}.jpg", "[a-z]*?.jpg", "back\\slash.jpg", "[bold]markup[/bold].jpg", "$(reboot).jpg",
        os.fsdecode(b"latin1-\xe4\xff.jpg"), nfc, unicodedata.normalize("NFD", nfc), "👨‍👩‍👧.jpg", "x" * 251 + ".jpg",
        "ü" * 125 + ".jpeg", "UPPER.JPG", "upper.jpg", "no date.jpg", ".hidden/visible.jpg", "album.jpg/inside.jpg",
        "/".join(f"d{number}" for number in range(64)) + "/deep.jpg", "CON.jpg", "a:b.jpg", "two.dots.jpg",
    ]  # fmt: skip


def test_hostile_names_are_taken_like_any_other(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    paths = {name: picture(source / name, seed) for seed, name in enumerate(hostile_names())}
    hidden = paths.pop(".hidden/visible.jpg")  # a hidden folder is left alone
    picture(source / "latin" / os.fsdecode(b"\xff\xfe") / "in a folder.jpg", 900)
    paths["folder"] = source / "latin" / os.fsdecode(b"\xff\xfe") / "in a folder.jpg"
    (source / os.fsdecode(b"empty-\xff\n.jpg")).touch()
    home.watch(source, start="2026-01-01")
    report = home.run()
    assert (report["kept"], report["rejected"], report["failed"]) == (len(paths), 1, 0)
    archive = report["destinations"]["archive"]
    assert archive["verified"] == archive["staged"] == len(paths) + report["renditions"]
    found = results(home)
    archived = {what[1] for path, what in found["archive"].items() if path.startswith("originals/")}
    for name, path in paths.items():
        assert sha256(path) in archived, name
    assert sha256(hidden) not in archived
    entries = [path for path, what in found["library"].items() if not str(what[0]).startswith("0o4")]
    assert len(entries) == len(paths)
    for name in (
        "with\nnewline.jpg",
        os.fsdecode(b"latin1-\xe4\xff.jpg"),
        "[bold]markup[/bold].jpg",
        "x" * 251 + ".jpg",
    ):
        assert home.history(paths[name])["sha256"] == sha256(paths[name])
        assert home.cli("history", paths[name]).err
    text_report = home.cli("run", "--redo", "all", "--from", "2026-01-01", "--to", "2027-01-01")
    assert "Traceback" not in text_report.err
    assert home.run()["runs"] == []


def test_what_is_no_file_is_left_alone_and_never_waited_for(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    outside = picture(tmp_path / "outside.jpg", 1)
    picture(source / "a.jpg", 2)
    os.mkfifo(source / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(source):  # its path may have only 108 bytes
        listener.bind("socket.jpg")
    (source / "loop").symlink_to(source)
    (source / "itself.jpg").symlink_to("itself.jpg")
    (source / "nowhere.jpg").symlink_to("not there.jpg")
    (source / "ping.jpg").symlink_to("pong.jpg")
    (source / "pong.jpg").symlink_to("ping.jpg")
    (source / "link.jpg").symlink_to(outside)
    (source / "device.jpg").symlink_to("/dev/zero")
    home.watch(source, start="2026-01-01")
    report = home.cli("run", "--json", seconds=90).json
    assert (report["kept"], report["failed"], report["rejected"]) == (2, 0, 0)
    for path in (home.path / "originals").rglob("*.jpg"):
        assert not path.is_symlink()


def test_empty_files_are_rejected_with_a_reason_and_stay_where_they_are(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    picture(source / "a.jpg", 1)
    for name in ("b.jpg", "c.MOV", "d.heic", "e.aae", "f.dng", "a.xmp"):
        (source / name).touch()
    before = tree(source)
    home.watch(source, start="2026-01-01")
    report = home.run()
    assert (report["found"], report["kept"], report["rejected"], report["failed"]) == (7, 1, 6, 0)
    assert "the file is empty" in home.history(source / "c.MOV")["reason"]
    assert tree(source) == before
    assert home.run()["runs"] == []


def test_a_file_that_changes_while_it_is_read_waits_and_is_taken_whole_later(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    still, moving = picture(source / "still.jpg", 1), picture(source / "moving.jpg", 2)
    with open(moving, "ab") as handle:
        handle.write(os.urandom(40 << 20))
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.002):
            os.utime(moving)

    writer = threading.Thread(target=write)
    home.watch(source, start="2026-01-01")
    writer.start()
    try:
        said = home.cli("run", "--json", expect=None)
        story = home.history(moving)
    finally:
        ended.set()
        writer.join()
    report = said.json
    assert report["kept"] == 1, report
    assert (said.code, report["failed"]) == (3, 1)
    assert "changed while it was read" in story["reason"]
    assert home.history(still)["state"] == "kept"
    assert home.run()["kept"] == 1
    assert home.history(moving)["sha256"] == sha256(moving)
    status = home.status()
    assert (status["found"], status["kept"], status["failed"]) == (2, 2, 0)
    assert temporary_files(home) == []


def test_a_file_that_goes_away_before_it_is_read_fails_no_run_for_good(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    paths = [picture(source / f"{number}.jpg", number) for number in range(3)]
    home.watch(source, start="2026-01-01")
    home.run("--limit", "1")
    with home.opened() as platform, platform.engine.connect() as connection:
        waiting = connection.execute(text("SELECT source_id FROM source_files WHERE state = 'pending'")).scalars().all()
    assert len(waiting) == 2
    (source / waiting[0]).unlink()
    report = home.run()
    assert (report["kept"], report["failed"]) == (1, 0)
    assert home.status()["kept"] == 2
    assert home.run()["runs"] == []
    assert len(paths) == 3


@AS_ROOT
def test_a_file_or_folder_that_may_not_be_read_is_named_and_stops_nothing_else(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    picture(source / "a.jpg", 1)
    secret = picture(source / "secret.jpg", 2)
    os.utime(secret, (1_435_000_000, 1_435_000_000))
    picture(source / "closed" / "b.jpg", 3)
    secret.chmod(0)
    (source / "closed").chmod(0)
    home.watch(source, start="2026-01-01")
    try:
        said = home.cli("run", "--json", expect=3)
        assert (said.json["kept"], said.json["failed"]) == (1, 1)
        assert "not allowed" in home.history(secret)["reason"]
    finally:
        secret.chmod(0o644)
        (source / "closed").chmod(0o755)
    home.cli("run", "--redo", "all", "--from", "2026-01-01", "--to", "2027-01-01")
    home.run()  # it was found today and has its own day now, which is before the run's
    assert home.status()["kept"] == 3
    assert home.history(secret)["capture_date"].startswith("2015-06-22")


@AS_ROOT
def test_a_source_that_may_not_be_read_is_named(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir(mode=0)
    try:
        refused(home.cli("run", "--source", source, expect=1), "cannot be read", str(source))
    finally:
        source.chmod(0o755)
