"""What stands behind the pipeline's protocols: a folder's listing, a destination's promises, a pool that survives.

`DestinationContract` holds for every destination: a new one joins by a subclass with its own `place` fixture.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as TaskTimeout
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import SecretStr

from media.files import ROOT_MARKER, ContentMismatch, RootAway
from pipeline.destination import Destination
from resources.archive import ArchiveFolder, ForeignFile
from resources.compute import ComputePool, Task, WorkerDied, fitting_workers
from resources.delivery import Acknowledgement, Intent, NotNow
from resources.folder import SourceMissing, is_edit, list_folder, stem_key, takeout_subject
from resources.icloud import ICloud
from resources.icloud_destination import ICloudPhotos
from resources.icloud_errors import NeedsPerson
from resources.icloud_session import AppleSession
from services.icloud_standin import Account
from tests.icloud_clients import NAME, PASSWORD, account, icloud
from tests.the_catalog import DAY, a_root

__all__ = ["account", "icloud"]

BYTES = b"the bytes of a photo"


# ------------------------------------------------------------------ destinations


class Place(Protocol):
    """A destination, and a way past it to what it really holds."""

    destination: Destination

    def put(self, remote_path: str, content: bytes) -> None: ...

    def get(self, remote_path: str) -> bytes | None: ...

    def remove(self, remote_path: str) -> None: ...


class DestinationContract:
    """What every destination must do; the subclass brings the fixture `place`."""

    @pytest.fixture
    def intent(self, place: Place, tmp_path: Path) -> Intent:
        source = tmp_path / "original.jpg"
        source.write_bytes(BYTES)
        path = place.destination.remote_path(DAY, "IMG_1.JPG", "original")
        return Intent(str(source), path, hashlib.sha256(BYTES).hexdigest(), len(BYTES), "L1")

    def test_each_role_has_a_place_of_its_own(self, place: Place) -> None:
        original, rendition = (place.destination.remote_path(DAY, "a.jpg", role) for role in ("original", "rendition"))
        assert original != rendition
        assert original.endswith("a.jpg")
        assert not original.startswith("/")

    def test_what_is_delivered_is_there_whole_and_proven(self, place: Place, intent: Intent) -> None:
        place.destination.prepare()
        said = place.destination.deliver(intent)
        assert not said.recovered
        assert place.get(intent.remote_path) == BYTES
        evidence = place.destination.evidence(acknowledged(intent, said))
        assert evidence.verdict == "verified"
        assert evidence.proves(intent.sha256, intent.size)

    def test_a_crash_between_effect_and_acknowledgement_is_found_out(self, place: Place, intent: Intent) -> None:
        place.destination.deliver(intent)  # the run was killed before it could record this
        again = place.destination.deliver(intent)
        assert again.recovered
        assert place.get(intent.remote_path) == BYTES
        assert place.destination.evidence(acknowledged(intent, again)).verdict == "verified"

    def test_what_is_not_there_is_absent_and_can_be_delivered_again(self, place: Place, intent: Intent) -> None:
        assert place.destination.evidence(intent).verdict == "absent"
        sent = acknowledged(intent, place.destination.deliver(intent))
        place.remove(intent.remote_path)
        lost = place.destination.evidence(sent)
        assert lost.verdict == "absent"
        assert lost.reason
        sent = acknowledged(intent, place.destination.deliver(sent))
        assert place.destination.evidence(sent).verdict == "verified"

    def test_a_source_that_is_no_longer_what_was_promised_is_not_sent(self, place: Place, intent: Intent) -> None:
        Path(intent.source).write_bytes(BYTES[::-1])
        with pytest.raises(ContentMismatch):
            place.destination.deliver(intent)
        assert place.get(intent.remote_path) is None

    def test_a_delivery_never_touches_its_source(self, place: Place, intent: Intent) -> None:
        os.chmod(intent.source, 0o444)
        before = os.stat(intent.source)
        place.destination.deliver(intent)
        after = os.stat(intent.source)
        assert (before.st_ino, before.st_mtime_ns, before.st_nlink, before.st_mode) == (
            after.st_ino, after.st_mtime_ns, after.st_nlink, after.st_mode,
        )  # fmt: skip

    def test_a_glance_finds_nothing_amiss_with_what_is_there(self, place: Place, intent: Intent) -> None:
        place.destination.deliver(intent)
        assert place.destination.glance(intent.remote_path, intent.size) is None

    def test_it_says_where_it_is_and_can_be_closed_at_any_time(self, place: Place, intent: Intent) -> None:
        assert place.destination.place
        place.destination.close()
        said = place.destination.deliver(intent)
        place.destination.close()
        assert place.destination.evidence(acknowledged(intent, said)).verdict == "verified"

    def test_in_a_worker_it_works_or_says_that_it_has_to_be_asked_here(self, place: Place, intent: Intent) -> None:
        import pickle

        destination = pickle.loads(pickle.dumps(place.destination))
        if destination.works_here:
            for ask in (destination.deliver, destination.evidence):
                with pytest.raises(NotNow, match="run alone"):
                    ask(intent)
            return
        destination.deliver(intent)
        assert pickle.loads(pickle.dumps(destination.evidence(intent))).verdict == "verified"


def acknowledged(intent: Intent, said: Acknowledgement) -> Intent:
    """The intent as the catalog gives it after the acknowledgement."""
    return replace(intent, remote_ids=said.remote_ids)


class FolderContract(DestinationContract):
    """What holds where files stand under their paths, and not under their bytes."""

    def test_another_file_at_its_place_is_never_overwritten(self, place: Place, intent: Intent) -> None:
        for foreign in (b"foreign", BYTES[::-1]):  # of another size, and of the same
            place.put(intent.remote_path, foreign)
            with pytest.raises(ForeignFile):
                place.destination.deliver(intent)
            assert place.get(intent.remote_path) == foreign

    @pytest.mark.parametrize("other", [b"", BYTES[:-1], BYTES[::-1], BYTES + b"!"])
    def test_other_bytes_are_never_verified(self, place: Place, intent: Intent, other: bytes) -> None:
        place.destination.deliver(intent)
        place.remove(intent.remote_path)
        place.put(intent.remote_path, other)
        evidence = place.destination.evidence(intent)
        assert evidence.verdict == "unverifiable"
        assert evidence.reason


class FolderPlace:
    def __init__(self, path: Path) -> None:
        self.path = a_root(path)
        self.destination = ArchiveFolder("archive", path)

    def put(self, remote_path: str, content: bytes) -> None:
        target = self.path / remote_path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def get(self, remote_path: str) -> bytes | None:
        target = self.path / remote_path
        return target.read_bytes() if target.exists() else None

    def remove(self, remote_path: str) -> None:
        (self.path / remote_path).unlink()


class TestArchiveFolder(FolderContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        (tmp_path / "archive").mkdir()
        return FolderPlace(tmp_path / "archive")

    def test_a_glance_tells_what_is_gone_short_or_a_link(self, place: FolderPlace, intent: Intent) -> None:
        place.destination.deliver(intent)
        place.put(intent.remote_path, BYTES[:-1])
        assert "bytes instead of" in str(place.destination.glance(intent.remote_path, intent.size))
        place.remove(intent.remote_path)
        assert "no longer at" in str(place.destination.glance(intent.remote_path, intent.size))
        (place.path / intent.remote_path).symlink_to(intent.source)
        assert "no file of its own" in str(place.destination.glance(intent.remote_path, intent.size))
        place.remove(intent.remote_path)
        (place.path / ROOT_MARKER).unlink()
        with pytest.raises(RootAway):
            place.destination.glance(intent.remote_path, intent.size)

    def test_nothing_is_left_behind_by_what_failed(self, place: FolderPlace, intent: Intent) -> None:
        Path(intent.source).write_bytes(BYTES[::-1])
        with pytest.raises(ContentMismatch):
            place.destination.deliver(intent)
        assert [path.name for path in place.path.rglob("*") if path.is_file()] == [ROOT_MARKER]

    def test_a_part_that_a_killed_run_left_does_not_matter(self, place: FolderPlace, intent: Intent) -> None:
        from media.files import part_path

        part = part_path(place.path / intent.remote_path, intent.tag)
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half a")
        os.chmod(part, 0o444)
        place.destination.deliver(intent)
        assert place.get(intent.remote_path) == BYTES
        assert not part.exists()

    @pytest.mark.parametrize(("foreign", "ours"), [(b"foreign", False), (BYTES, True)])
    def test_a_file_that_appears_during_the_copy_is_never_overwritten(
        self, place: FolderPlace, intent: Intent, monkeypatch: pytest.MonkeyPatch, foreign: bytes, ours: bool
    ) -> None:
        from media import files

        def appears(source: Path, part: Path) -> None:
            place.put(intent.remote_path, foreign)

        monkeypatch.setattr(files, "copy_times_and_xattrs", appears)
        if ours:  # another home's run, or a worker that outlived its own, was quicker
            assert place.destination.deliver(intent).recovered
        else:
            with pytest.raises(ForeignFile):
                place.destination.deliver(intent)
        assert place.get(intent.remote_path) == foreign
        assert not list(place.path.rglob("*.part"))

    def test_the_copy_keeps_the_time_of_the_original(self, place: FolderPlace, intent: Intent) -> None:
        os.utime(intent.source, ns=(1, 1_600_000_000_123_456_789))
        place.destination.deliver(intent)
        assert (place.path / intent.remote_path).stat().st_mtime_ns == 1_600_000_000_123_456_789

    def test_a_link_that_leads_nowhere_is_a_foreign_file(self, place: FolderPlace, intent: Intent) -> None:
        target = place.path / intent.remote_path
        target.parent.mkdir(parents=True)
        target.symlink_to("nowhere")
        with pytest.raises(ForeignFile):
            place.destination.deliver(intent)
        assert target.is_symlink()

    def test_it_says_when_it_would_be_lost_together_with_the_originals(
        self, place: FolderPlace, tmp_path: Path
    ) -> None:
        assert place.destination.shares_disk_with(tmp_path)
        assert place.destination.shares_disk_with(Path("/proc"))  # nobody knows on which disk that is
        with pytest.raises(FileNotFoundError):
            place.destination.shares_disk_with(tmp_path / "nowhere")


class ICloudPlace:
    """The library of an account at the stand-in, through the real pyicloud."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.library = account.library()
        self._session = AppleSession(NAME, SecretStr(PASSWORD), folder)
        with contextlib.suppress(NeedsPerson):
            self._session.sign_in()
        sent = self._session.ask_for_code()
        assert self._session.enter_code(account.code, sent)
        self.destination = ICloudPhotos("icloud", NAME, "original", self.session)

    @contextlib.contextmanager
    def session(self) -> Iterator[ICloud]:
        self._session.sign_in()
        yield ICloud(self._session)

    def put(self, remote_path: str, content: bytes) -> None:
        raise NotImplementedError("iCloud knows files by their bytes")

    def get(self, remote_path: str) -> bytes | None:
        found = [asset for asset in self.library.assets if asset.name == os.path.basename(remote_path)]
        assert len(found) <= 1
        return b"".join(found[0].master.original.content.chunks()) if found else None

    def remove(self, remote_path: str) -> None:
        (asset,) = self.library.assets
        self.library.purge(asset)


class TestICloudPhotos(DestinationContract):
    @pytest.fixture
    def place(self, tmp_path: Path, account: Account) -> Place:
        return ICloudPlace(account, tmp_path / "session")


# ------------------------------------------------------------------ a folder as a source


def paths(root: Path, **given: Any) -> list[str]:
    return sorted(list_folder(root, **given).files["path"].to_list())


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_media_of_any_case_are_listed_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "a.JPG", "b.heic", "c.MoV", "d.DNG", "e.AAE", "f.xmp", "notes.txt", "noextension", "jpg")
    assert paths(tmp_path) == ["a.JPG", "b.heic", "c.MoV", "d.DNG", "e.AAE", "f.xmp"]


def test_what_is_hidden_or_not_finished_is_left_alone(tmp_path: Path) -> None:
    touch(
        tmp_path, ".hidden.jpg", ".trash/a.jpg", "@eaDir/a.jpg", "#recycle/a.jpg", "a.jpg.part", "b.jpg.crdownload",
        "~c.jpg", "d.jpg~", "e.jpg.tmp", ".mediapipe-L1-0.part.jpg", "Thumbs.db", "kept/a.jpg",
    )  # fmt: skip
    assert paths(tmp_path) == ["kept/a.jpg"]


def test_a_json_is_a_sidecar_only_beside_its_photo(tmp_path: Path) -> None:
    long = "a" * 60 + ".jpg"
    touch(
        tmp_path, "a.jpg", "a.jpg.json", "a.jpg.supplemental-metadata.json", "package.json", "gone.jpg.json",
        "other/a.jpg.json", long, long[:46] + ".json",
    )  # fmt: skip
    assert paths(tmp_path) == sorted(
        ["a.jpg", "a.jpg.json", "a.jpg.supplemental-metadata.json", long, long[:46] + ".json"]
    )


@pytest.mark.parametrize(
    ("name", "siblings", "subject"),
    [
        ("a.jpg.json", {"a.jpg"}, "a.jpg"),
        ("a.jpg.suppl.json", {"a.jpg"}, "a.jpg"),
        ("a.jpg.supplemental-metadata(1).json", {"a.jpg"}, "a.jpg"),
        ("a.jpg.json", {"b.jpg"}, None),
        ("a.json", {"a.jpg"}, None),
        ("a.xmp.json", {"a.xmp"}, None),
        ("readme.md", {"readme"}, None),
    ],
)
def test_a_takeout_json_names_its_subject(name: str, siblings: set[str], subject: str | None) -> None:
    assert takeout_subject(name, siblings) == subject


def test_include_and_exclude_are_patterns_on_the_relative_path(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "trip/b.jpg", "trip/private/c.jpg", "trip/d.mov")
    assert paths(tmp_path, include=["trip/*"]) == ["trip/b.jpg", "trip/d.mov", "trip/private/c.jpg"]
    assert paths(tmp_path, include=["trip/*"], exclude=["*private*", "*.mov"]) == ["trip/b.jpg"]


def test_links_to_folders_are_not_followed_and_links_to_files_are(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "real" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to("real", target_is_directory=True)
    (tmp_path / "folder.jpg").symlink_to("real", target_is_directory=True)
    (tmp_path / "b.jpg").symlink_to("real/a.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    assert paths(tmp_path) == ["b.jpg", "real/a.jpg"]


def test_what_only_looks_like_a_photo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert paths(tmp_path) == []


def test_a_missing_folder_and_a_file_in_its_place_are_said_in_words(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(SourceMissing, match="does not exist"):
        list_folder(tmp_path / "nowhere")
    with pytest.raises(SourceMissing, match="is a file"):
        list_folder(tmp_path / "a.jpg")


def test_the_digest_changes_with_names_sizes_and_times_only(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.jpg")
    first = list_folder(tmp_path).digest
    touch(tmp_path, "notes.txt")
    assert list_folder(tmp_path).digest == first
    os.utime(tmp_path / "a.jpg", (1, 1))
    second = list_folder(tmp_path).digest
    (tmp_path / "a.jpg").rename(tmp_path / "c.jpg")
    assert len({first, second, list_folder(tmp_path).digest}) == 3


def test_a_name_that_is_no_text_is_listed(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))).write_bytes(b"x")
    listing = list_folder(tmp_path)
    (path,) = listing.files["path"].to_list()
    path.encode()  # no lone surrogate, which neither polars nor PostgreSQL takes


def test_files_that_belong_together_share_a_stem() -> None:
    for name in (
        "IMG_0007.HEIC", "img_0007.mov", "IMG_0007.AAE", "IMG_E0007.HEIC", "IMG_0007.HEIC.xmp", "IMG_0007-edited.jpg",
        "IMG_0007 (bearbeitet).jpg", "IMG_0007.HEIC.supplemental-metadata.json", "IMG_0007.HEIC.json",
        "IMG_0007.HEIC.supplemental-metadata(1).json",
    ):  # fmt: skip
        assert stem_key(f"trip/{name}") == "img_0007", name
    assert stem_key("IMG_0008.HEIC") != stem_key("IMG_0007.HEIC")
    assert stem_key("IMG_0007(1).JPG") != stem_key("IMG_0007.JPG")


@pytest.mark.parametrize("pattern", ["Z\u00fcrich/*.jpg", "Zu\u0308rich/*.jpg", "Z\u00dcRICH/*.JPG"])
@pytest.mark.parametrize("name", ["Z\u00fcrich/IMG_1.JPG", "Zu\u0308rich/IMG_1.jpg"])
def test_patterns_mean_the_name_however_it_is_written(tmp_path: Path, pattern: str, name: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(b"a")
    assert len(list_folder(tmp_path, include=[pattern]).files) == 1
    assert len(list_folder(tmp_path, exclude=[pattern]).files) == 0


def test_edits_are_known_by_their_names() -> None:
    assert all(map(is_edit, ["IMG_E0007.HEIC", "a/IMG_0007-edited.jpg", "IMG_0007 (bearbeitet).JPG"]))
    assert not any(map(is_edit, ["IMG_0007.HEIC", "IMG_EXAM.jpg", "edited.jpg", "edited/IMG_0007.jpg"]))


# ------------------------------------------------------------------ the pool


@pytest.fixture(scope="module")
def pool() -> Iterator[ComputePool]:
    with ComputePool(2, 512) as pool:
        yield pool


def test_a_task_brings_back_its_result_or_its_own_error(pool: ComputePool) -> None:
    assert pool.submit(Task(divmod, (7, 2)), 30).result(30) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(Task(divmod, (7, 0)), 30).result(30)


def test_options_reach_the_function(pool: ComputePool) -> None:
    assert pool.submit(Task(sorted, ([1, 3, 2],), {"reverse": True}), 30).result(30) == [3, 2, 1]


def test_a_worker_that_is_killed_fails_its_own_task_alone(pool: ComputePool) -> None:
    doomed = pool.submit(Task(signal.raise_signal, (signal.SIGKILL,)), 30)
    others = [pool.submit(Task(divmod, (number, 1)), 30) for number in range(20)]
    with pytest.raises(WorkerDied, match="exit code -9"):
        doomed.result(30)
    assert [other.result(30) for other in others] == [(number, 0) for number in range(20)]


def test_a_pool_that_is_closed_ends_its_tasks_as_any_pool_would() -> None:
    with ComputePool(1, 512) as own:
        lost = [own.submit(Task(time.sleep, (60,)), 90) for _ in range(3)]
    for one in lost:
        with pytest.raises(WorkerDied):
            one.result(30)


def test_a_task_that_takes_too_long_ends_alone(pool: ComputePool) -> None:
    slow = pool.submit(Task(time.sleep, (60,)), 0.3)
    quick = pool.submit(Task(divmod, (7, 2)), 30)
    start = time.monotonic()
    with pytest.raises(TaskTimeout):
        slow.result(30)
    assert time.monotonic() - start < 20
    assert quick.result(30) == (3, 1)


def test_a_task_that_wants_too_much_memory_fails_and_its_worker_goes_on(pool: ComputePool) -> None:
    with pytest.raises(MemoryError):
        pool.submit(Task(bytearray, (1 << 30,)), 30).result(30)
    assert pool.submit(Task(divmod, (7, 2)), 30).result(30) == (3, 1)


def test_a_pool_that_was_closed_starts_again_when_it_is_asked() -> None:
    pool = ComputePool(1, 512)
    pool.close()
    assert pool.submit(Task(divmod, (7, 2)), 30).result(30) == (3, 1)
    pool.close()


def test_the_number_of_workers_is_the_wanted_one_or_what_the_machine_carries() -> None:
    assert fitting_workers(7, 1024) == 7
    assert 1 <= fitting_workers(0, 1024) <= len(os.sched_getaffinity(0))
    assert fitting_workers(0, 1 << 30) == 1
