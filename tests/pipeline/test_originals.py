"""Storing originals: each content once, whichever name it comes under, and what fails says why."""

from __future__ import annotations

import errno
import stat
from concurrent.futures import TimeoutError as TaskTimeout
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from media.files import ROOT_MARKER
from pipeline.deduplicate import DeduplicationStage
from pipeline.originals import OriginalsStage, SourceRoot
from pipeline.stage import WORKER_TRIES, StageReport, work_off
from resources.compute import WorkerDied
from tests.pipeline.test_discovery import look_at, photo
from tests.the_catalog import a_root, a_run, lease


class Library:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self.engine = engine
        self.photos = folder / "photos"
        self.roots = {"originals": a_root(folder / "originals"), "thumbnails": folder / "thumbnails"}
        self.photos.mkdir()

    def stage(self, copied: bool = True) -> OriginalsStage:
        return OriginalsStage(self.roots, {"photos": SourceRoot(self.photos, copied)}, 30.0)

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


def again(library: Library, result: Exception) -> Any:
    photo(library.photos / "a.jpg")
    look_at(library.engine, library.photos)
    stage = library.stage()
    with lease(library.engine) as lease_id, library.engine.connect() as connection:
        run = a_run(library.engine, lease_id)
        (item,) = stage.load(connection, [1], run)
        task = stage.again(item, run, result, WORKER_TRIES)
        assert stage.again(item, run, result, WORKER_TRIES + 1) is None
        return task and task.options["decode"]


@pytest.mark.parametrize("error", [TaskTimeout("Task timeout", 3), WorkerDied("exit code -9"), MemoryError()])
def test_a_file_that_its_decoder_does_not_survive_is_stored_without_decoding(library: Library, error: Any) -> None:
    assert again(library, error) is False


@pytest.mark.parametrize("code", [errno.ETIMEDOUT, errno.EIO, errno.EACCES])
def test_a_read_that_failed_says_nothing_about_the_file(library: Library, code: int) -> None:
    assert again(library, OSError(code, "the mount", "/nas/a.jpg")) is None


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
