"""The chain over the sample library, as a person runs it: what it finds, keeps, delivers, proves and says.

Hazards of the earlier system that are held here, in its words:

- "the dedupe step found every file already known", "re-copied every file at each run": `..._second_run_...`
- "two IMG_0001.JPG became one output": the sample library has two IMG_0003.JPG, see `..._counts_...`
- "a 7-byte partial output was taken as up to date": tests/test_kill.py
- "the same N for ever": `..._limit_counts_work_...`
- "compressed copies came back in": `..._renditions_that_come_back_...`
- "verification read one byte, or compared file names": `..._not_verified_by_name_...`
- "a failed upload simulated success": `..._not_verified_by_name_...` and tests/test_bad_input.py
- "mtime dropped": `..._originals_...`; EXIF, orientation, formats: tests/media and tests/test_corpus.py
- "8 of 8 .JPG not matched": the sample library has both cases
- "Live Photo halves treated as strangers": `..._late_half_...`
- "the completion message always said all successful": the exit codes here and in tests/test_bad_input.py
- "two runs at once": tests/test_kill.py and `..._runs_at_once_...`
- "codes and tokens in logs": the password of the database, in tests/test_bad_input.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from catalog import findings
from media.sample import SampleExpectation, expected
from tests.conftest import Home, Said, copied, processes_of, results, sha256, temporary_files, tree

APPLE, CAMERA = "DCIM/100APPLE", "Camera"
FOUR = (f"{APPLE}/IMG_0003.JPG", f"{CAMERA}/IMG_20190714_153012.jpg", "Scans/Negativ 1988.tif", f"{APPLE}/IMG_0005.PNG")
LIVE = (f"{APPLE}/IMG_0002.HEIC", f"{APPLE}/IMG_0002.MOV")
REPORT = {
    "found", "kept", "duplicates", "rejected", "damaged", "failed", "renditions", "bytes_before", "bytes_after",
    "seconds", "files_per_minute", "destinations",
}  # fmt: skip
DESTINATION = {"staged", "uploaded", "verified", "pending", "left_out", "failed", "bytes"}


@dataclass
class Library:
    """The sample library after a run, and what it was before."""

    home: Home
    source: Path
    expected: SampleExpectation
    before: dict[str, tuple[object, ...]]
    said: Said

    @property
    def report(self) -> Any:
        return self.said.json

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.home.opened() as platform, platform.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query)).mappings()]


@pytest.fixture(scope="module")
def library(sample: Path, shared_home: Home) -> Iterator[Library]:
    before = tree(sample)
    # Older photos share one date: a run for every few years of the sample's would only take longer.
    shared_home.watch(sample, start="2021-08-14")
    shared_home.settings((shared_home.path / "mediapipe.toml").read_text() + "[runs]\nmerge_gap_days = 120\n")
    said = shared_home.cli("run", "--json")
    with shared_home.opened():  # the database stays up while the tests look
        yield Library(shared_home, sample, expected(sample), before, said)


def test_the_counts_are_those_of_the_sample_library(library: Library) -> None:
    report, wanted = library.report, library.expected
    assert set(report) >= REPORT
    for name in ("found", "kept", "duplicates", "rejected", "damaged", "failed"):
        assert report[name] == getattr(wanted, name), name
    assert report["found"] == report["kept"] + report["duplicates"] + report["rejected"] + report["failed"]
    assert report["near_duplicates"] == len(wanted.near_duplicate_pairs)
    archive = report["destinations"]["archive"]
    assert set(archive) == DESTINATION
    assert archive["staged"] == archive["uploaded"] == archive["verified"] == report["kept"] + report["renditions"]
    assert 0 < report["bytes_after"] < report["bytes_before"]


def test_status_says_the_same_as_the_run(library: Library) -> None:
    status = library.home.cli("status", "--json").json
    assert set(status) >= REPORT | {"pending"}
    for name in ("found", "kept", "duplicates", "rejected", "damaged", "failed", "renditions", "near_duplicates"):
        assert status[name] == library.report[name], name
    assert status["pending"] == 0
    assert status["destinations"] == library.report["destinations"]
    assert status["bytes_before"] == library.report["bytes_before"]
    assert status["bytes_after"] == library.report["bytes_after"]


def test_the_exact_duplicates_are_those_of_the_sample_library(library: Library) -> None:
    rows = library.rows(
        "SELECT d.source_id AS copy, k.source_id AS kept FROM source_files d JOIN source_files k "
        "ON k.media_file_id = d.media_file_id AND k.state = 'kept' WHERE d.state = 'duplicate'"
    )
    assert {frozenset((row["copy"], row["kept"])) for row in rows} == library.expected.duplicate_pairs


def test_the_bundles_are_those_of_the_sample_library(library: Library) -> None:
    rows = library.rows(
        "SELECT bm.bundle_id, b.kind, s.source_id, bm.role, bm.partition_date FROM bundle_members bm "
        "JOIN bundles b ON b.id = bm.bundle_id JOIN source_files s ON s.media_file_id = bm.media_file_id "
        "AND s.state = 'kept'"
    )
    bundles: dict[int, set[str]] = {}
    dates: dict[int, set[object]] = {}
    for row in rows:
        bundles.setdefault(row["bundle_id"], set()).add(row["source_id"])
        dates.setdefault(row["bundle_id"], set()).add(row["partition_date"])
    found = {frozenset(names) for names in bundles.values() if len(names) > 1}
    assert found == {members for kind in library.expected.bundles.values() for members in kind}
    assert all(len(days) == 1 for days in dates.values()), "a bundle is spread over dates"


def test_every_archived_file_has_the_bytes_of_its_original_or_rendition(library: Library) -> None:
    home = library.home.path
    rows = library.rows(
        "SELECT d.role, d.sha256, d.remote_path, d.state, m.sha256 AS original, m.stored_path, r.sha256 AS rendition, "
        "r.path, d.evidence->>'sha256' AS evidence FROM deliveries d JOIN bundle_members b "
        "ON b.id = d.bundle_member_id JOIN media_files m ON m.id = b.media_file_id "
        "LEFT JOIN renditions r ON r.id = m.rendition_id"
    )
    delivered = set()
    for row in rows:
        own = (
            home / "originals" / row["stored_path"] if row["role"] == "original" else home / "renditions" / row["path"]
        )
        copy = home / "archive" / row["remote_path"]
        assert sha256(copy) == sha256(own) == row["sha256"] == row["evidence"] == row[row["role"]]
        assert row["state"] == "verified"
        assert copy.stat().st_mtime_ns == own.stat().st_mtime_ns
        delivered.add(row["remote_path"])
    standing = {path for path in tree(home / "archive") if (home / "archive" / path).is_file()}
    assert standing - {".mediapipe-root"} == delivered, "something stands in the archive that the catalog does not know"


def test_originals_are_private_read_only_and_keep_bytes_and_time(library: Library) -> None:
    sources: dict[str, set[int]] = {}
    for path in library.source.rglob("*"):
        if path.is_file():
            sources.setdefault(sha256(path), set()).add(path.stat().st_mtime_ns)
    stored = [path for path in (library.home.path / "originals").rglob("*") if path.is_file()]
    stored = [path for path in stored if path.name != ".mediapipe-root"]
    assert len(stored) == library.expected.kept
    for path in stored:
        seen = path.lstat()
        assert seen.st_mode & 0o777 == 0o444, path
        assert seen.st_nlink == 1, path
        assert seen.st_mtime_ns in sources[sha256(path)], path


def test_the_source_is_unchanged_to_the_byte_and_second(library: Library) -> None:
    assert tree(library.source) == library.before


def test_the_sorted_library_shows_every_kept_file(library: Library) -> None:
    root = library.home.path / "library"
    entries = [path for path in root.rglob("*") if not path.is_dir() and path.name != ".mediapipe-root"]
    assert len(entries) == library.expected.kept
    originals = Counter(
        sha256(path)
        for path in (library.home.path / "originals").rglob("*")
        if path.is_file() and path.name != ".mediapipe-root"
    )
    assert Counter(sha256(path) for path in entries) == originals
    for path in entries:
        year, month, day = path.relative_to(root).parts[:3]
        assert (len(year), len(month), len(day)) == (4, 2, 2)


def test_a_second_run_does_nothing_and_says_so_within_10_seconds(library: Library) -> None:
    before = results(library.home, times=True)
    started = time.monotonic()
    said = library.home.cli("run", "--json")
    assert time.monotonic() - started < 10
    report = said.json
    assert report["found"] == report["renditions"] == 0
    assert report["runs"] == []
    assert set(report["destinations"]["archive"].values()) == {0}
    assert "Nothing to do" in library.home.cli("run").err
    assert results(library.home, times=True) == before
    assert library.home.cli("status", "--json").json["found"] == library.expected.found


def test_stdout_holds_json_alone_and_nothing_where_none_was_asked_for(library: Library) -> None:
    assert json.loads(library.said.out)["found"] == library.expected.found
    assert library.said.out.count("\n") == 1
    for command in (("run",), ("status",), ("history", library.source / APPLE / "IMG_0003.JPG")):
        said = library.home.cli(*command)
        assert said.out == ""
        assert said.err.strip()


def test_history_tells_one_story_by_every_path_of_a_file(library: Library) -> None:
    source = library.source / APPLE / "IMG_0003.JPG"
    story = library.home.history(source)
    home = library.home.path
    assert story["sha256"] == sha256(source)
    assert story["rendition_sha256"] == sha256(home / "renditions" / story["rendition"])
    assert story["partition"] == "2021-08-14"
    assert story["capture_date"].startswith("2021-08-14T09:30:00")
    assert (story["provenance"], story["capture_offset_minutes"]) == ("exif_offset", -420)
    assert story["state"] == "kept"
    events = [event["event"] for event in story["events"]]
    assert (events[0], events[-1]) == ("kept", "sorted")
    assert {"duplicate", "bundled", "made", "staged original", "uploaded original", "verified rendition"} <= set(events)
    assert [event["at"] for event in story["events"]] == sorted(event["at"] for event in story["events"])
    archived = {one["role"]: home / "archive" / one["path"] for one in story["deliveries"]}
    others = (
        home / story["original"],
        home / "renditions" / story["rendition"],
        archived["original"],
        archived["rendition"],
        library.source / "Downloads/IMG_0003 (1).JPG",
    )
    for path in others:
        assert library.home.history(path) == story, path


def test_history_of_a_rejected_file_gives_the_reason(library: Library) -> None:
    (name,) = library.expected.rejected_paths
    story = library.home.history(library.source / name)
    assert story["state"] == "rejected"
    assert story["sha256"] is None
    assert "no photo" in story["reason"]


def test_history_of_a_stranger_is_an_error_that_says_so(library: Library, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.jpg"
    stranger.write_bytes(b"never seen")
    said = library.home.cli("history", "--json", stranger, expect=1)
    assert said.out == ""
    assert "not in the catalog" in said.err
    assert "Traceback" not in said.err


def test_acknowledging_a_damaged_and_a_rejected_file_ends_their_warnings(library: Library) -> None:
    def warned() -> tuple[int, int]:
        with library.home.opened() as platform, platform.engine.connect() as connection:
            return findings.damaged(connection, 20)[0], findings.rejected(connection, 20)[0]

    assert warned() == (1, 1)
    (damaged,), (rejected,) = library.expected.damaged_paths, library.expected.rejected_paths
    library.home.cli("acknowledge", library.source / damaged)
    assert warned() == (0, 1)
    library.home.cli("acknowledge", library.source / rejected)
    assert warned() == (0, 0)
    assert "neither" in library.home.cli("acknowledge", library.source / APPLE / "IMG_0003.JPG").err
    assert library.home.cli("status", "--json").json["damaged"] == 1


def test_usage_errors_end_with_2(library: Library, tmp_path: Path) -> None:
    for arguments in (
        ("run", "--nonsense"),
        ("run", "--from", "2020-02-01", "--to", "2020-01-01"),
        ("run", "--from", "yesterday"),
        ("run", "--limit", "-1"),
        ("run", "--destination", "nowhere"),
        ("run", "--sample", "--source", str(tmp_path)),
        ("nonsense",),
    ):
        said = library.home.cli(*arguments, expect=2)
        assert said.out == "" and "Traceback" not in said.err, arguments


# --- what changes in a source ------------------------------------------------------------------------------------


def test_a_rename_is_no_duplicate_and_a_replaced_file_is_a_new_version(home: Home, photos: Callable[..., Path]) -> None:
    source = photos(*FOUR)
    home.watch(source)
    assert home.run()["kept"] == len(FOUR)
    before = results(home)
    (source / APPLE / "IMG_0003.JPG").rename(source / "Holiday.JPG")
    report = home.run()
    assert (report["renamed"], report["duplicates"], report["kept"]) == (1, 0, 0)
    assert results(home) == before
    assert home.history(source / "Holiday.JPG")["sha256"] == sha256(source / "Holiday.JPG")

    old = sha256(source / FOUR[3])
    shutil.copy2(source / FOUR[1], source / "other.tmp")
    with open(source / "other.tmp", "ab") as handle:
        handle.write(b"\0")
    os.replace(source / "other.tmp", source / FOUR[3])
    report = home.run()
    assert (report["kept"], report["duplicates"]) == (1, 0)
    assert home.history(source / FOUR[3])["sha256"] == sha256(source / FOUR[3]) != old
    after = results(home)
    assert all(set(before[root].items()) <= set(after[root].items()) for root in before), "the old version went away"
    status = home.status()
    assert status["kept"] == len(FOUR) + 1
    assert status["found"] == status["kept"] + status["duplicates"] + status["rejected"] + status["failed"]


def test_the_late_half_of_a_live_photo_joins_its_bundle(home: Home, photos: Callable[..., Path], sample: Path) -> None:
    source = photos(LIVE[1])
    home.watch(source)
    home.run()
    copied(sample, source, LIVE[:1])
    assert home.run()["kept"] == 1
    with home.opened() as platform, platform.engine.connect() as connection:
        bundles = connection.execute(text("SELECT kind FROM bundles")).scalars().all()
        members = connection.execute(text("SELECT role, partition_date::text FROM bundle_members ORDER BY 1")).all()
    assert bundles == ["live_photo"]
    assert [tuple(row) for row in members] == [("lead", "2021-07-03"), ("live_video", "2021-07-03")]
    assert home.status()["destinations"]["archive"]["failed"] == 0


def test_renditions_that_come_back_are_recognised_and_not_compressed_again(
    home: Home, photos: Callable[..., Path]
) -> None:
    source = photos(FOUR[1])
    home.watch(source)
    home.run()
    rendition = next(path for path in (home.path / "renditions").rglob("*.jpg"))
    shutil.copy(rendition, source / "from the cloud.jpg")
    report = home.run()
    assert (report["kept"], report["duplicates"], report["renditions"]) == (0, 1, 0)
    assert home.history(source / "from the cloud.jpg")["sha256"] == sha256(source / FOUR[1])


def test_a_copy_is_not_verified_by_name_and_one_that_is_gone_is_sent_again(
    home: Home, photos: Callable[..., Path]
) -> None:
    source = photos(FOUR[0], FOUR[3])
    home.watch(source)
    home.run()
    story = home.history(source / FOUR[0])
    archived = {one["role"]: home.path / "archive" / one["path"] for one in story["deliveries"]}
    good = archived["original"].read_bytes()
    os.chmod(archived["original"], 0o644)
    archived["original"].write_bytes(good[:-1] + b"!")
    archived["rendition"].unlink()
    said = home.cli("run", "--json", "--redo", "all", "--from", "2021-08-01", "--to", "2021-08-31", expect=3)
    assert said.json["destinations"]["archive"]["failed"] == 1
    assert archived["original"].read_bytes() == good[:-1] + b"!", "a foreign file was overwritten"
    states = {one["role"]: one["state"] for one in home.history(source / FOUR[0])["deliveries"]}
    assert states["original"] != "verified"
    home.cli("run", "--json", expect=None)
    states = {one["role"]: one["state"] for one in home.history(source / FOUR[0])["deliveries"]}
    assert states["rendition"] == "verified"
    assert archived["rendition"].exists()


# --- options -----------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(home: Home, photos: Callable[..., Path]) -> None:
    source = photos(*FOUR)
    home.watch(source)
    report = home.cli("run", "--dry-run", "--json").json
    assert report["sources"]["photos"]["new"] == len(FOUR)
    assert not any(path for root in results(home).values() for path in root)
    home.run("--limit", "1")
    before, status = results(home, times=True), home.status()
    said = home.cli("run", "--dry-run")
    assert "nothing was written" in said.err
    assert (results(home, times=True), home.status()) == (before, status)


def test_a_dry_run_over_a_new_folder_leaves_it_unwatched_and_a_new_home_unstarted(
    home: Home, photos: Callable[..., Path]
) -> None:
    folders = [photos(FOUR[0], folder=f"{number}/photos") for number in "12"]
    sources = [word for folder in folders for word in ("--source", str(folder))]
    said = home.cli("run", "--dry-run", "--json", *sources)
    assert {name: one["new"] + one["still_written"] for name, one in said.json["sources"].items()} == {
        "photos": 1, "photos_2": 1,
    }  # fmt: skip
    assert not (home.path / "mediapipe.toml").exists()
    assert not list(home.path.rglob(".mediapipe-root"))

    home.watch(folders[0])
    before = (home.path / "mediapipe.toml").read_bytes()
    with home.opened():
        assert home.run()["kept"] == 1, "the time zone was fixed by a dry run"
        said = home.cli("run", "--dry-run", *sources)
        assert "nothing was written" in said.err
        assert "photos_2: 1 files, " in said.err
    assert (home.path / "mediapipe.toml").read_bytes() == before


def test_from_and_to_take_only_photos_of_these_days(home: Home, photos: Callable[..., Path]) -> None:
    source = photos(*FOUR)
    home.watch(source, start="2010-01-01")
    assert home.run("--from", "2021-08-14", "--to", "2021-08-14")["kept"] == 1
    assert home.history(source / FOUR[0])["state"] == "kept"
    status = home.status()
    assert (status["found"], status["pending"]) == (1, 3)
    assert home.run("--to", "2019-12-31")["kept"] == 2


def test_the_limit_counts_work_and_not_listing(home: Home, photos: Callable[..., Path]) -> None:
    source = photos(*FOUR)
    home.watch(source, start="2021-11-20")
    kept = []
    for _ in range(2):
        home.run("--limit", "2")
        kept.append(home.status()["kept"])
    assert kept == [2, 4]


def test_one_destination_alone_can_be_asked_for(home: Home, photos: Callable[..., Path], tmp_path: Path) -> None:
    source = photos(*FOUR[:2])
    other = tmp_path / "nas"
    more = f'[destinations.archive]\n[destinations.nas]\nkind = "archive"\npath = {json.dumps(str(other))}\n'
    home.watch(source, more + 'deliver = "original"\n', start="2021-08-14")
    report = home.run("--destination", "nas")
    assert report["destinations"]["nas"]["verified"] == 2
    assert report["destinations"]["archive"]["verified"] == 0
    assert home.run()["destinations"]["archive"]["verified"] == 2 + report["renditions"]
    assert not (other / "renditions").exists()


def test_a_source_left_in_place_is_read_and_never_copied(home: Home, photos: Callable[..., Path]) -> None:
    source = photos(*FOUR[:2])
    before = tree(source)
    home.watch(source, start="2021-08-14")
    home.settings((home.path / "mediapipe.toml").read_text() + 'mode = "reference"\n')
    report = home.run()
    assert report["kept"] == 2
    assert not results(home)["originals"]
    assert report["destinations"]["archive"]["verified"] == 2 + report["renditions"]
    assert tree(source) == before


def test_the_first_source_is_remembered_and_files_just_written_are_waited_for(
    home: Home, photos: Callable[..., Path]
) -> None:
    source = photos(FOUR[0])
    said = home.cli("run", "--source", source, "--json")
    assert said.json["kept"] == 1, "a file that was written just now has to be waited for"
    assert str(source) in (home.path / "mediapipe.toml").read_text()
    assert home.run()["runs"] == []


# --- what happens to an archive -----------------------------------------------------------------------------------


def test_a_copy_that_went_missing_long_ago_and_an_archive_on_an_empty_disk_are_filled_again(
    home: Home, photos: Callable[..., Path], tmp_path: Path
) -> None:
    home.watch(photos(FOUR[0]), start="2021-08-14")
    verified = home.run()["destinations"]["archive"]["verified"]
    before = results(home)["archive"]
    with home.opened() as platform, platform.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET seen_at = now() - interval '31 days'"))
    next((home.path / "archive/originals").rglob("*.JPG")).unlink()
    home.run()  # finds it
    assert home.status()["destinations"]["archive"]["pending"] == 1
    assert home.run()["destinations"]["archive"]["verified"] == 1
    assert results(home)["archive"] == before
    assert home.run()["runs"] == []

    empty = tmp_path / "new disk"
    empty.mkdir()
    shutil.move(home.path / "archive/.mediapipe-root", empty)
    home.settings(
        (home.path / "mediapipe.toml").read_text() + f"[destinations.archive]\npath = {json.dumps(str(empty))}\n"
    )
    status = home.status()["destinations"]["archive"]
    assert (status["verified"], status["pending"]) == (0, verified)
    home.run()
    assert home.run()["destinations"]["archive"]["verified"] == verified
    assert {name: what for name, what in tree(empty, times=False).items() if name != ".mediapipe-root"} == before


# --- beside another run, and its end ----------------------------------------------------------------------------


def test_runs_at_once_do_nothing_twice(home: Home, photos: Callable[..., Path], sample: Path) -> None:
    names = [str(path.relative_to(sample)) for path in sorted((sample / "Eight ways up").glob("*.jpg"))]
    source = photos(*names, *FOUR)
    home.watch(source, start="2021-11-20")
    # In a fresh home, so that they also meet while the database, its tables and the roots are made.
    processes = [home.start("run", "--json") for _ in range(3)]
    ended = [(*process.communicate(timeout=200), process.returncode) for process in processes]
    assert [code for *_, code in ended] == [0, 0, 0], [err for _, err, code in ended if code]
    reports = [json.loads(out) for out, *_ in ended]
    assert sum(report["kept"] for report in reports) == len(names) + len(FOUR)
    home.run()
    status = home.status()
    assert (status["kept"], status["failed"], status["pending"]) == (len(names) + len(FOUR), 0, 0)
    with home.opened() as platform, platform.engine.connect() as connection:
        twice = connection.execute(
            text(
                "SELECT stage, event, media_file_id FROM pipeline_logs WHERE media_file_id IS NOT NULL "
                "AND event <> 'bundled' GROUP BY 1, 2, 3 HAVING count(*) > 1"
            )
        ).all()
    assert twice == []
    assert temporary_files(home) == []


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.prove), signal.SIGTERM])
def test_an_interrupted_run_ends_within_10_seconds_and_leaves_no_process(
    home: Home, photos: Callable[..., Path], how: signal.Signals
) -> None:
    source = photos(*FOUR, f"{CAMERA}/VID_20200808_120000.mp4", f"{APPLE}/IMG_0004.MOV")
    home.watch(source, start="2021-11-20")
    process = home.start("run", "--json")
    deadline = time.monotonic() + 60
    while not any((home.path / "originals").rglob("*.JPG")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert out == ""
    assert "Nothing is lost" in err
    assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, [one.cmdline()[:4] for one in left]
    home.run()
    assert home.status()["kept"] == 6
    assert temporary_files(home) == []
