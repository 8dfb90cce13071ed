"""Storing originals: each content once, whichever name it comes under, and what fails says why."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TaskTimeout
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog.work import Scope
from media.capture import read_capture_date
from media.files import ROOT_MARKER
from media.ingest import ingest
from pipeline import dating, discovery
from pipeline.deduplicate import DeduplicationStage
from pipeline.originals import OriginalsStage
from pipeline.stage import StageReport, work_off
from pipeline.storing import SourceRoot
from resources.compute import Task, WorkerDied
from tests.pipeline.test_discovery import TAKEN, later, look_at, photo
from tests.the_catalog import InlinePool, a_root, a_run, lease


class Library:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self.engine = engine
        self.photos = folder / "photos"
        self.roots = {"originals": a_root(folder / "originals"), "thumbnails": folder / "thumbnails"}
        self.photos.mkdir()

    def stage(self, copied: bool = True) -> OriginalsStage:
        return OriginalsStage(self.roots, {"photos": SourceRoot(self.photos, copied)}, 30.0, later())

    def store(self, copied: bool = True) -> StageReport:
        look_at(self.engine, self.photos)
        with lease(self.engine) as lease_id:
            return work_off(self.stage(copied), a_run(self.engine, lease_id))

    def rows(self, columns: str, table: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY id"))]

    def originals(self) -> list[Path]:
        return sorted(
            path for path in self.roots["originals"].rglob("*") if path.is_file() and path.name != ROOT_MARKER
        )


@pytest.fixture
def library(tmp_path: Path, engine: Engine) -> Library:
    return Library(tmp_path, engine)


def test_an_original_is_private_whole_and_read_only(library: Library) -> None:
    source = photo(library.photos / "a.jpg")
    assert library.store().counts == {"stored": 1}
    (original,) = library.originals()
    assert original.read_bytes() == source.read_bytes()
    status = original.stat()
    assert (status.st_nlink, stat.S_IMODE(status.st_mode)) == (1, 0o444)
    assert status.st_ino != source.stat().st_ino


def test_one_content_under_two_names_is_kept_once_and_a_second_run_changes_nothing(library: Library) -> None:
    photo(library.photos / "a.jpg")
    photo(library.photos / "b.jpg")
    assert library.store().counts == {"stored": 1, "duplicates": 1}
    before = library.rows("state, media_file_id", "source_files")
    assert library.store().done == 0
    assert library.rows("state, media_file_id", "source_files") == before
    assert len(library.originals()) == 1


def test_two_contents_of_one_name_are_both_kept(library: Library) -> None:
    photo(library.photos / "a" / "IMG_1.JPG", shade=1)
    photo(library.photos / "b" / "IMG_1.JPG", shade=2)
    assert library.store().counts == {"stored": 2}
    assert len(library.originals()) == 2


def test_a_rename_is_no_duplicate_and_no_second_original(library: Library) -> None:
    source = photo(library.photos / "a.jpg")
    library.store()
    source.rename(library.photos / "b.jpg")
    assert library.store().counts == {"renamed": 1}
    assert len(library.originals()) == 1


def test_an_original_left_in_its_source_is_followed_to_its_new_name(library: Library) -> None:
    source = photo(library.photos / "a.jpg")
    library.store(copied=False)
    assert library.rows("stored_root, stored_path", "media_files") == [("source:photos", "a.jpg")]
    source.rename(library.photos / "b.jpg")
    assert library.store(copied=False).counts == {"renamed": 1}
    assert library.rows("stored_root, stored_path", "media_files") == [("source:photos", "b.jpg")]


def test_a_file_that_went_between_the_look_and_the_read_fails_alone(library: Library) -> None:
    photo(library.photos / "a.jpg")
    photo(library.photos / "b.jpg", shade=2)
    look_at(library.engine, library.photos)
    (library.photos / "a.jpg").unlink()
    with lease(library.engine) as lease_id:
        report = work_off(library.stage(), a_run(library.engine, lease_id))
    assert report.counts == {"stored": 1, "failed": 1}
    assert [state for (state,) in library.rows("state", "source_files")] == ["failed", "kept"]


# ------------------------------------------------------------------ files that no task survives

LATE = TaskTimeout("Task timeout", 3)
DIED = WorkerDied("exit code -9")


class Frail(InlinePool):
    """A pool in which some tasks end in another way.

    Args:
        end: Given a task, returns the error that it ends in, None for one that is done.
        written: What part of the copy a task that ended so has written before.
    """

    def __init__(self, end: Callable[[Task], BaseException | None], written: float = 1.0) -> None:
        self.end, self.written = end, written
        self.done: list[tuple[str, bool]] = []

    def submit(self, task: Task, timeout: float) -> Future[Any]:
        self.done.append((task.function.__name__, task.options["decode"]))
        if (error := self.end(task)) is None:
            return super().submit(task, timeout)
        if task.function is ingest and task.arguments[1] is not None:
            content = Path(task.arguments[0]).read_bytes()
            Path(task.arguments[1]).unlink(missing_ok=True)
            Path(task.arguments[1]).write_bytes(content[: int(self.written * len(content))])
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


def store_with(library: Library, pool: Frail, copied: bool = True, **given: Any) -> StageReport:
    look_at(library.engine, library.photos)
    with lease(library.engine) as lease_id:
        return work_off(library.stage(copied), replace(a_run(library.engine, lease_id, **given), pool=pool))


def decoding(error: BaseException) -> Callable[[Task], BaseException | None]:
    return lambda task: error if task.options["decode"] else None


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("error", [LATE, DIED, MemoryError()])
def test_a_file_that_its_decoder_does_not_survive_twice_is_stored_whole_and_called_damaged(
    library: Library, error: Any, copied: bool
) -> None:
    source = photo(library.photos / "a.jpg")
    pool = Frail(decoding(error))
    assert store_with(library, pool, copied).counts == {"stored": 1}
    ((state, reason),) = library.rows("state, reason", "media_files")
    assert state == "damaged"
    assert reason.startswith("decoding it")
    assert [path.read_bytes() for path in library.originals()] == ([source.read_bytes()] if copied else [])
    look = "look_at_copy" if copied else "ingest"
    assert pool.done[-4:] == [("ingest", False), (look, True), (look, True), (look, False)]
    assert list(library.roots["originals"].rglob(".mpa-*")) == []


def test_a_worker_that_is_killed_once_with_a_file_that_was_whole_here_says_nothing_about_it(library: Library) -> None:
    photo(library.photos / "a.jpg")
    ends = iter([LATE, None, DIED])
    assert store_with(library, Frail(lambda _: next(ends, None))).counts == {"stored": 1}
    assert library.rows("state", "media_files") == [("kept",)]


@pytest.mark.parametrize("written", [0.0, 0.5, 1.0])
def test_a_file_that_is_slow_to_read_is_tried_again_later_and_never_called_damaged(
    library: Library, written: float
) -> None:
    photo(library.photos / "a.jpg")
    report = store_with(library, Frail(lambda _: LATE, written))
    assert report.counts == {"failed": 1}
    ((_, reason),) = report.failures
    assert "slow to read" in reason
    assert "compute.ingest_timeout_seconds" in reason
    assert library.rows("state, reason", "source_files") == [("failed", reason)]
    assert (library.originals(), library.rows("attempts", "work, (SELECT 1 AS id) AS one")) == ([], [(1,)])


def test_a_file_that_is_slow_to_read_where_it_stays_is_never_called_damaged_either(library: Library) -> None:
    photo(library.photos / "a.jpg")
    report = store_with(library, Frail(lambda _: LATE), copied=False)
    assert report.counts == {"failed": 1}
    assert "slow to read" in report.failures[0][1]


def test_a_machine_that_kills_every_worker_calls_no_file_damaged(library: Library) -> None:
    photo(library.photos / "a.jpg")
    report = store_with(library, Frail(lambda _: DIED))
    assert report.counts == {"failed": 1}
    assert "tried again" in report.failures[0][1]
    assert library.rows("state", "media_files") == []


@pytest.mark.parametrize("code", [errno.ETIMEDOUT, errno.EIO, errno.EACCES])
def test_a_read_that_failed_says_nothing_about_the_file(library: Library, code: int) -> None:
    photo(library.photos / "a.jpg")
    pool = Frail(lambda _: OSError(code, "the mount", "/nas/a.jpg"))
    assert store_with(library, pool).counts == {"failed": 1}
    assert len(pool.done) == 1


@pytest.mark.parametrize("copied", [True, False])
def test_a_run_that_does_everything_again_looks_once_more_at_what_was_called_damaged(
    library: Library, copied: bool
) -> None:
    photo(library.photos / "a.jpg")
    photo(library.photos / "b.jpg", shade=9)
    whole = (library.photos / "b.jpg").read_bytes()
    (library.photos / "b.jpg").write_bytes(whole[:-20])
    store_with(library, Frail(decoding(DIED)), copied)
    before = library.originals()
    assert library.rows("state", "media_files") == [("damaged",), ("damaged",)]
    assert library.store(copied).done == 0
    with library.engine.begin() as connection:
        connection.execute(text("UPDATE media_files SET deduplicated_at = now(), plan_fingerprint = 'f'"))
        connection.execute(text("UPDATE pipeline_logs SET run_id = 'earlier'"))
    report = store_with(library, Frail(lambda _: None), copied, redo="all")
    assert report.counts == {"whole_after_all": 1, "still_damaged": 1}
    rows = library.rows("state, deduplicated_at IS NULL, plan_fingerprint IS NULL, width IS NULL", "media_files")
    assert sorted(rows) == [("damaged", False, False, True), ("kept", True, True, False)]
    assert library.rows("state", "source_files") == [("kept",), ("kept",)]
    assert library.originals() == before


def test_an_original_that_has_other_bytes_by_now_is_not_called_whole(library: Library) -> None:
    photo(library.photos / "a.jpg")
    store_with(library, Frail(decoding(DIED)))
    (original,) = library.originals()
    size = original.stat().st_size
    original.chmod(0o644)
    original.write_bytes(photo(library.photos / "b.jpg", shade=9).read_bytes()[:size])
    (library.photos / "b.jpg").unlink()
    with library.engine.begin() as connection:
        connection.execute(text("UPDATE pipeline_logs SET run_id = 'earlier'"))
    report = store_with(library, Frail(lambda _: None), redo="all")
    assert report.counts == {"failed": 1}
    assert "no longer holds the bytes" in report.failures[0][1]
    assert library.rows("state", "media_files") == [("damaged",)]
    assert library.rows("state", "source_files") == [("kept",)]


# ------------------------------------------------------------------ days


def hide(monkeypatch: pytest.MonkeyPatch, module: Any, *names: str) -> None:
    """Has some files refuse to be read, as a mount does for a moment."""

    def read(path: Path, **given: Any) -> Any:
        if path.name in names:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_capture_date(path, **given)

    monkeypatch.setattr(module, "read_capture_date", read)


def days(library: Library, table: str) -> list[Any]:
    return library.rows("partition_date, capture_local, capture_provenance", table)


LONG_AGO = datetime(2015, 7, 4, 12, 30)


def test_a_photo_that_could_not_be_read_when_it_was_found_gets_its_own_day_before_it_is_stored(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(library.photos / "a.jpg", LONG_AGO)
    with monkeypatch.context() as patch:
        hide(patch, discovery, "a.jpg")
        look_at(library.engine, library.photos)
    ((found, _, provenance),) = days(library, "source_files")
    assert provenance == "first_seen"
    with lease(library.engine) as lease_id:  # a run over the day that it was found moves it, and leaves it to its own
        assert work_off(library.stage(), a_run(library.engine, lease_id, scope=Scope(found, found))).done == 0
    wanted = [(LONG_AGO.date(), LONG_AGO, "exif")]
    assert (days(library, "source_files"), library.rows("row_id AS id", "work")) == (wanted, [])
    assert library.store().counts == {"stored": 1}
    assert days(library, "source_files") == days(library, "media_files") == wanted
    assert [path.parent.relative_to(library.roots["originals"]) for path in library.originals()] == [Path("2015/07/04")]


def test_what_waits_beside_a_photo_that_could_not_be_read_moves_with_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(library.photos / "IMG_1.jpg", LONG_AGO)
    photo(library.photos / "IMG_2.jpg")
    (library.photos / "IMG_1.AAE").write_bytes(b"<plist/>")
    with monkeypatch.context() as patch:
        hide(patch, discovery, "IMG_1.jpg")
        look_at(library.engine, library.photos)
    library.store()
    day = LONG_AGO.date()
    assert sorted(library.rows("source_id, partition_date", "source_files")) == [
        ("IMG_1.AAE", day), ("IMG_1.jpg", day), ("IMG_2.jpg", TAKEN.date()),
    ]  # fmt: skip
    assert sorted(row[0] for row in days(library, "media_files")) == [day, day, TAKEN.date()]


def test_a_video_that_could_not_be_read_keeps_the_day_of_its_still(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(library.photos / "IMG_1.jpg", None)
    (library.photos / "IMG_1.MOV").write_bytes(b"no date in it")
    for name, moment in (("IMG_1.jpg", 1_400_000_000), ("IMG_1.MOV", 1_500_000_000)):
        os.utime(library.photos / name, (moment, moment))
    with monkeypatch.context() as patch:
        hide(patch, discovery, "IMG_1.MOV")
        look_at(library.engine, library.photos)
    library.store()
    assert {day for day, _, _ in days(library, "source_files")} == {date(2014, 5, 13)}
    assert {provenance for _, _, provenance in days(library, "source_files")} == {"file_time"}


def test_a_photo_that_still_cannot_be_read_is_not_stored_under_a_day_that_is_none(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(library.photos / "a.jpg", LONG_AGO)
    hide(monkeypatch, discovery, "a.jpg")
    hide(monkeypatch, dating, "a.jpg")
    assert library.store().counts == {"failed": 1}
    (reason,) = (row[0] for row in library.rows("reason", "source_files"))
    assert "not allowed" in reason
    assert library.originals() == []


def test_a_photo_that_has_no_date_at_all_keeps_the_day_on_which_it_was_first_seen(library: Library) -> None:
    photo(library.photos / "a.jpg", None)
    os.utime(library.photos / "a.jpg", (0, 0))
    look_at(library.engine, library.photos)
    before = days(library, "source_files")
    with library.engine.begin() as connection:
        connection.execute(text("UPDATE source_files SET partition_date = partition_date - 9"))
    assert library.store().counts == {"stored": 1}
    assert days(library, "source_files") == [(before[0][0] - timedelta(days=9), *before[0][1:])]


# ------------------------------------------------------------------ sidecars


def bundles_of(library: Library) -> list[set[str]]:
    """Forms the bundles of what is due, and returns the names of the members of each."""
    stage = DeduplicationStage(library.roots, [], near=False, threshold=0, correlation=1.0)
    with lease(library.engine) as lease_id:
        work_off(stage, a_run(library.engine, lease_id))
    found: dict[int, set[str]] = {}
    for bundle, name in library.rows("bundle_id, file_name", "bundle_members"):
        found.setdefault(bundle, set()).add(name.partition("-")[0])
    return list(found.values())


@pytest.mark.parametrize("copied", [True, False])
def test_a_late_sidecar_with_bytes_that_are_known_joins_the_photo_of_its_own_name(
    library: Library, copied: bool
) -> None:
    photo(library.photos / "IMG_1.jpg", shade=1)
    photo(library.photos / "IMG_2.jpg", shade=2)
    edit = b'<?xml version="1.0"?><plist><dict/></plist>'
    (library.photos / "IMG_1.AAE").write_bytes(edit)
    library.store(copied)
    assert bundles_of(library) == [{"IMG_1.jpg", "IMG_1.AAE"}, {"IMG_2.jpg"}]
    (library.photos / "IMG_2.AAE").write_bytes(edit)
    assert library.store(copied).counts == {"duplicates": 1}
    first, second = bundles_of(library)
    assert first == {"IMG_1.jpg", "IMG_1.AAE"}
    assert len(second) == 2


def test_a_sidecar_that_was_renamed_joins_the_photo_of_its_new_name(library: Library) -> None:
    photo(library.photos / "IMG_1.jpg", shade=1)
    photo(library.photos / "IMG_2.jpg", shade=2)
    sidecar = library.photos / "IMG_1.AAE"
    sidecar.write_bytes(b'<?xml version="1.0"?><plist><dict/></plist>')
    library.store()
    bundles_of(library)
    sidecar.rename(library.photos / "IMG_2.AAE")
    assert library.store().counts == {"renamed": 1}
    assert len(bundles_of(library)[1]) == 2
