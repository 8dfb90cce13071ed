"""Nothing leaves its place without a proof of exactly its bytes, and what left comes back byte for byte."""

from __future__ import annotations

import copy
import dataclasses
import errno
import hashlib
import os
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import bundles, deliveries, renditions
from media.files import ROOT_MARKER, ContentMismatch, RootAway, place_in_trash
from media.tiers import Plan, Tier
from pipeline import layout, release, trash
from pipeline.assembly import Platform
from pipeline.compress import CompressionStage
from pipeline.deliver import StagedStage, UploadedStage, VerifiedStage
from pipeline.proofs import Candidate, Doomed, KeptFolder, NotProven, SafeDeleteProof, prove
from pipeline.release import ReleaseStage
from pipeline.stage import Stage, StageReport, work_off
from pipeline.trash import NotMoved, find_trashed, move_to_trash, restore, undo_release
from resources.archive import ArchiveFolder, NotReleased
from resources.compute import Task, WorkerDied
from resources.delivery import DeletionProof, Evidence, Intent
from resources.settings import load_settings
from tests.the_catalog import DAY, InlinePool, a_run, add_stored, lease

TODAY = date(2026, 11, 20)
TIERS = (("new", 0, 80), ("old", 365, 50))


@dataclass(frozen=True, slots=True)
class Elsewhere(ArchiveFolder):
    """An archive whose folder counts as another disk, or as the same one, whatever it is."""

    same_disk: bool = False

    def shares_disk_with(self, folder: Path) -> bool:
        return self.same_disk


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def marked(root: Path) -> Path:
    """A root as the start of a run leaves it."""
    put(root / ROOT_MARKER, b"{}")
    return root


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


BYTES = b"a rendition"


def doomed(path: Path, data: bytes = BYTES, role: Any = "rendition", held_by: str | None = None) -> Doomed:
    return Doomed(path, str(path), sha256(data), len(data), role, held_by)


def said_to_be(destination: Any, data: bytes = BYTES, role: Any = "rendition", path: str = "IMG.jpg") -> Candidate:
    return Candidate(destination, Intent("/nowhere", path, sha256(data), len(data), "L1"), role)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return put(tmp_path / "renditions" / "2024" / "IMG.jpg", BYTES)


@pytest.fixture
def archive(tmp_path: Path) -> Elsewhere:
    put(marked(tmp_path / "archive") / "IMG.jpg", BYTES)
    return Elsewhere("archive", tmp_path / "archive")


@pytest.fixture
def proof(file: Path, archive: Elsewhere) -> SafeDeleteProof:
    return prove(doomed(file), [said_to_be(archive)], 1)


def test_a_proof_says_of_what_it_is_and_who_holds_the_copies(proof: SafeDeleteProof, file: Path) -> None:
    assert (proof.sha256, proof.subject, proof.role) == (sha256(BYTES), str(file), "rendition")
    (one,) = proof.copies
    assert (one.destination, one.remote_path) == ("archive", "IMG.jpg")
    assert one.facts == {"sha256": sha256(BYTES), "size": len(BYTES), "read_back": True}
    assert one.at.tzinfo is not None


@pytest.mark.parametrize(
    "forge",
    [
        lambda proof: SafeDeleteProof(proof.sha256, 1, "rendition", "x", (), token=object()),
        lambda proof: SafeDeleteProof(proof.sha256, 1, "rendition", "x", (), token=None),
        lambda proof: DeletionProof(proof.sha256, 1, "rendition", "x"),
        lambda proof: dataclasses.replace(proof, subject="another"),
        lambda proof: setattr(proof, "subject", "another"),
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
    ],
)
def test_a_proof_can_be_neither_forged_nor_changed_nor_kept(
    proof: SafeDeleteProof, forge: Callable[[SafeDeleteProof], Any]
) -> None:
    with pytest.raises((TypeError, ValueError, dataclasses.FrozenInstanceError)):
        forge(proof)


def _changed(archive: Elsewhere) -> Elsewhere:
    put(archive.path / "IMG.jpg", b"A rendition")
    return archive


def _absent(archive: Elsewhere) -> Elsewhere:
    (archive.path / "IMG.jpg").unlink()
    return archive


def _no_marker(archive: Elsewhere) -> Elsewhere:
    (archive.path / ROOT_MARKER).unlink()
    return _absent(archive)


def _a_link(archive: Elsewhere) -> Elsewhere:
    (archive.path / "IMG.jpg").unlink()
    (archive.path / "IMG.jpg").symlink_to(archive.path.parent / "renditions" / "2024" / "IMG.jpg")
    return archive


def _same_disk(archive: Elsewhere) -> Elsewhere:
    return dataclasses.replace(archive, same_disk=True)


class Unmounted(Elsewhere):
    __slots__ = ()

    def shares_disk_with(self, folder: Path) -> bool:
        raise FileNotFoundError(2, "No such file or directory", str(self.path))


class Vague(Elsewhere):
    __slots__ = ()

    def evidence(self, intent: Intent) -> Evidence:
        return Evidence("verified", {"listed": True})


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (_changed, "does not hold the bytes"),
        (_absent, "no longer at"),
        (_a_link, "is a link, not a copy"),
        (_same_disk, "on the same disk"),
        (lambda one: Unmounted("archive", one.path), "cannot be looked at now"),
        (_no_marker, "cannot be looked at now"),
        (lambda one: Vague("archive", one.path), "does not show which bytes"),
    ],
)
def test_it_is_not_proven_when_the_copy_is_not_there_now(
    file: Path, archive: Elsewhere, what: Callable[[Elsewhere], Elsewhere], reason: str
) -> None:
    with pytest.raises(NotProven, match=reason):
        prove(doomed(file), [said_to_be(what(archive))], 1)


def test_a_rendition_never_counts_for_an_original(file: Path, archive: Elsewhere) -> None:
    with pytest.raises(NotProven, match="never counts for the original"):
        prove(doomed(file, role="original"), [said_to_be(archive)], 1)
    with pytest.raises(NotProven, match="holds other bytes"):
        prove(doomed(file, b"the original", "original"), [said_to_be(archive, role="original")], 1)


def test_the_file_itself_never_counts(tmp_path: Path, archive: Elsewhere) -> None:
    its_own = doomed(archive.path / "IMG.jpg", held_by="archive")
    with pytest.raises(NotProven, match="the file itself"):
        prove(its_own, [said_to_be(archive)], 1)


def test_two_copies_at_one_destination_are_one(file: Path, archive: Elsewhere, tmp_path: Path) -> None:
    put(archive.path / "again.jpg", BYTES)
    both = [said_to_be(archive), said_to_be(archive, path="again.jpg")]
    with pytest.raises(NotProven, match="1 of 2"):
        prove(doomed(file), both, 2)
    put(marked(tmp_path / "nas") / "IMG.jpg", BYTES)
    proof = prove(doomed(file), [*both, said_to_be(Elsewhere("nas", tmp_path / "nas"))], 2)
    assert [one.destination for one in proof.copies] == ["archive", "nas"]


@dataclass(frozen=True, slots=True)
class Beside(Elsewhere):
    """An archive on one disk with another folder."""

    neighbour: Path = Path()

    def shares_disk_with(self, folder: Path) -> bool:
        return folder == self.neighbour


def test_two_destinations_on_one_disk_are_one_copy(file: Path, archive: Elsewhere, tmp_path: Path) -> None:
    put(marked(tmp_path / "twin") / "IMG.jpg", BYTES)
    put(marked(tmp_path / "nas") / "IMG.jpg", BYTES)
    twin = said_to_be(Beside("twin", tmp_path / "twin", neighbour=archive.path))
    with pytest.raises(NotProven, match="on one disk with “archive”"):
        prove(doomed(file), [said_to_be(archive), twin], 2)
    nas = said_to_be(Elsewhere("nas", tmp_path / "nas"))
    proof = prove(doomed(file), [said_to_be(archive), twin, nas], 2)
    assert [one.destination for one in proof.copies] == ["archive", "nas"]


def test_no_copies_are_never_enough(file: Path, archive: Elsewhere) -> None:
    with pytest.raises(NotProven, match="no other copy"):
        prove(doomed(file), [], 1)
    with pytest.raises(ValueError, match="without a single"):
        prove(doomed(file), [said_to_be(archive)], 0)


def test_our_own_folder_is_a_witness_by_its_bytes(tmp_path: Path, file: Path) -> None:
    ours = KeptFolder("renditions", tmp_path / "renditions")
    good = said_to_be(ours, path="2024/IMG.jpg")
    assert ours.evidence(good.intent).verdict == "verified"
    assert ours.shares_disk_with(tmp_path)
    put(file, b"other")
    assert ours.evidence(good.intent).verdict == "unverifiable"
    file.unlink()
    assert ours.evidence(good.intent).verdict == "absent"
    file.symlink_to("/dev/null")
    assert ours.evidence(good.intent).verdict == "unverifiable"


# The trash.


def test_a_trashed_file_comes_back_byte_for_byte(tmp_path: Path, file: Path, proof: SafeDeleteProof) -> None:
    marked(tmp_path / "trash")
    os.chmod(file, 0o444)
    before = os.stat(file)
    place = move_to_trash(proof, file, tmp_path / "trash", "2026-11-20/renditions/2024/IMG.jpg")
    assert place == tmp_path / "trash/2026-11-20/renditions/2024/IMG.jpg"
    assert not file.exists()
    roots = {"renditions": tmp_path / "renditions", "trash": tmp_path / "trash"}
    for given in (file, place):
        found = find_trashed(roots, given)
        assert found is not None
        assert (found.path, found.original, found.root) == (place, file, "renditions")
    restore(place, file)
    after = os.stat(file)
    assert file.read_bytes() == BYTES
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
    assert find_trashed(roots, file) is None


def test_between_two_file_systems_the_copy_is_read_back_first(
    tmp_path: Path, file: Path, proof: SafeDeleteProof, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(source: Path, target: Path, before: os.stat_result) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))

    monkeypatch.setattr(trash, "rename_known", across)
    marked(tmp_path / "trash")
    os.chmod(file, 0o444)
    modified = os.stat(file).st_mtime_ns
    place = move_to_trash(proof, file, tmp_path / "trash", "2026-11-20/renditions/2024/IMG.jpg")
    assert place.read_bytes() == BYTES
    assert (os.stat(place).st_mode & 0o777, os.stat(place).st_mtime_ns) == (0o444, modified)
    assert not file.exists()
    restore(place, file)
    assert file.read_bytes() == BYTES
    assert [one for one in tmp_path.rglob("*") if one.is_file() and one.name.startswith(".mpa-")] == []


def test_the_trash_never_overwrites(tmp_path: Path, file: Path, archive: Elsewhere) -> None:
    marked(tmp_path / "trash")
    for number in range(3):
        put(file, BYTES)
        proof = prove(doomed(file), [said_to_be(archive)], 1)
        free = place_in_trash(tmp_path / "trash", "renditions/2024/IMG.jpg", TODAY)
        place = move_to_trash(proof, file, tmp_path / "trash", str(free.relative_to(tmp_path / "trash")))
        assert place.parts[-4] == ("2026-11-20" if not number else f"2026-11-20-{number + 1}")
    roots = {"renditions": tmp_path / "renditions", "trash": tmp_path / "trash"}
    newest = find_trashed(roots, file)
    assert newest is not None
    assert newest.path == place
    put(file, BYTES)
    with pytest.raises(FileExistsError):
        move_to_trash(proof, file, tmp_path / "trash", str(place.relative_to(tmp_path / "trash")))
    assert file.read_bytes() == BYTES
    put(file, b"something new")
    with pytest.raises(NotMoved, match="something stands"):
        restore(place, file)
    assert (file.read_bytes(), place.read_bytes()) == (b"something new", BYTES)


def test_only_a_proof_of_this_file_and_these_bytes_moves_it(
    tmp_path: Path, file: Path, archive: Elsewhere, proof: SafeDeleteProof
) -> None:
    other = put(tmp_path / "renditions/other.jpg", BYTES)
    with pytest.raises(NotMoved, match="the proof is of"):
        move_to_trash(proof, other, tmp_path / "trash", "2026-11-20/renditions/other.jpg")
    with pytest.raises(TypeError):
        move_to_trash(object(), file, tmp_path / "trash", "2026-11-20/renditions/IMG.jpg")  # type: ignore[arg-type]
    put(archive.path / "original.jpg", BYTES)
    original = prove(doomed(file, role="original"), [said_to_be(archive, role="original", path="original.jpg")], 1)
    with pytest.raises(NotMoved, match="originals stay"):
        move_to_trash(original, file, tmp_path / "trash", "2026-11-20/renditions/IMG.jpg")
    put(file, b"changed since")
    with pytest.raises(ContentMismatch):
        move_to_trash(proof, file, tmp_path / "trash", "2026-11-20/renditions/IMG.jpg")
    put(file, BYTES)
    with pytest.raises(RootAway):
        move_to_trash(proof, file, tmp_path / "trash", "2026-11-20/renditions/IMG.jpg")
    assert file.exists()
    assert other.exists()
    assert not (tmp_path / "trash").exists()


def test_a_link_is_not_taken_for_the_file(tmp_path: Path, file: Path, proof: SafeDeleteProof) -> None:
    elsewhere = file.rename(tmp_path / "elsewhere.jpg")
    file.symlink_to(elsewhere)
    with pytest.raises(NotMoved, match="no file of its own"):
        move_to_trash(proof, file, tmp_path / "trash", "2026-11-20/renditions/IMG.jpg")
    assert elsewhere.exists()


def test_what_is_in_no_trash_is_not_found(tmp_path: Path, file: Path) -> None:
    roots = {"renditions": tmp_path / "renditions", "trash": tmp_path / "trash", "destination:a": tmp_path / "archive"}
    assert find_trashed(roots, file) is None
    assert find_trashed(roots, tmp_path / "trash" / "2026-11-20") is None
    there = put(tmp_path / "archive/.trash/2026-11-20/renditions/2024/IMG.jpg", BYTES)
    found = find_trashed(roots, tmp_path / "archive/renditions/2024/IMG.jpg")
    assert found is not None
    assert (found.path, found.root) == (there, "destination:a")


# Through the stages.


class Home:
    """A home with one photo, made smaller by tiers, and one archive."""

    def __init__(self, engine: Engine, folder: Path, *, same_disk: bool = False, replace: bool = False) -> None:
        self.engine = engine
        self.roots = {name: folder / name for name in (layout.ORIGINALS, layout.RENDITIONS, layout.TRASH)}
        for root in self.roots.values():
            marked(root)
        self.archive = Elsewhere(
            "archive", folder / "archive", "both", "replace" if replace else "keep", same_disk=same_disk
        )
        marked(self.archive.path)
        self.original = put(self.roots[layout.ORIGINALS] / "2024/05/17/IMG_1.JPG", _jpeg())
        self.today = DAY
        data = self.original.read_bytes()
        with engine.begin() as connection:
            self.content = add_stored(
                connection, "IMG_1.JPG", sha256=sha256(data), size=len(data), stored_path="2024/05/17/IMG_1.JPG"
            )
            bundle = bundles.add_bundle(connection, self.content, "single", "", DAY)
            bundles.add_member(connection, bundle, self.content, "lead", "IMG_1.JPG")
            connection.execute(text("UPDATE media_files SET deduplicated_at = now()"))
            deliveries.enqueue_members(connection, ["archive"], self.content)

    def work(self, stage: Stage[Any], **given: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(stage, a_run(self.engine, lease_id, today=self.today, **given))

    def compress(self, **given: Any) -> StageReport:
        tiers = [Tier(name, days, Plan(quality, 0, "hevc", 0, True, 0.05)) for name, days, quality in TIERS]
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(CompressionStage(self.roots, originals, tiers, ["archive"], 60), **given)

    def deliver(self) -> list[StageReport]:
        """Delivers what is due, and looks once more, as the next run does, for what was replaced."""
        return [self.stage(), self.upload(), self.verify(), self.verify()]

    def stage(self) -> StageReport:
        return self.work(StagedStage(self.archive, compressing=True))

    def upload(self) -> StageReport:
        return self.work(UploadedStage(self.archive, self._originals, self.roots))

    def verify(self) -> StageReport:
        roots = {**self.roots, "destination:archive": self.archive.path}
        return self.work(VerifiedStage(self.archive, self._originals, roots))

    @property
    def _originals(self) -> dict[str, Path]:
        return {layout.ORIGINALS: self.roots[layout.ORIGINALS]}

    def release(self, copies: int = 1) -> StageReport:
        return self.work(ReleaseStage(self.roots, {"archive": self.archive}, copies))

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)).all())

    def made(self) -> list[Path]:
        return [
            self.roots[layout.RENDITIONS] / row.path for row in self.rows("SELECT path FROM renditions ORDER BY id")
        ]

    def age(self) -> tuple[Path, bytes]:
        """Makes and delivers both renditions; returns the first, which the second has replaced."""
        self.compress()
        self.deliver()
        self.today += timedelta(days=730)
        self.compress()
        self.deliver()
        first, second = self.made()
        assert second.exists()
        return first, first.read_bytes()


def _jpeg() -> bytes:
    import io

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(7).integers(0, 255, (60, 80, 3), dtype="uint8")
    picture = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=97)
    return out.getvalue()


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Home:
    return Home(engine, tmp_path / "home")


def test_a_superseded_rendition_goes_to_the_trash_on_proof_and_comes_back(home: Home) -> None:
    first, data = home.age()
    report = home.release()
    assert report.counts == {"released": 1}
    assert not first.exists()
    assert home.made()[1].exists()
    assert home.original.exists()
    (row,) = home.rows("SELECT trash_path, retired_at FROM renditions WHERE retired_at IS NOT NULL")
    place = home.roots[layout.TRASH] / row.trash_path
    assert place.read_bytes() == data
    (log,) = home.rows("SELECT detail FROM pipeline_logs WHERE stage = 'released_media'")
    assert row.trash_path in log.detail
    assert "proven at archive: renditions/" in log.detail
    assert home.release().done == 0

    found = find_trashed(home.roots, first)
    assert found is not None
    undo_release(home.engine, found)
    assert first.read_bytes() == data
    assert home.rows("SELECT 1 FROM renditions WHERE retired_at IS NOT NULL OR trash_path IS NOT NULL") == []
    assert home.release().done == 0  # what a person brought back is not moved away again
    with home.engine.begin() as connection:
        renditions.ask_again_for_proof(connection, date(1900, 1, 1), date(2100, 1, 1))
    assert home.release().done == 0


def test_undo_changes_nothing_where_something_stands(home: Home) -> None:
    first, _ = home.age()
    home.release()
    put(first, b"something else")
    found = find_trashed(home.roots, first)
    assert found is not None
    with pytest.raises(NotMoved, match="something stands"):
        undo_release(home.engine, found)
    assert first.read_bytes() == b"something else"
    assert home.rows("SELECT count(*) FROM renditions WHERE retired_at IS NOT NULL")[0][0] == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda copy: copy.write_bytes(b"changed"), "does not hold the bytes"),
        (lambda copy: copy.unlink(), "no longer at"),
    ],
)
def test_without_a_proof_it_waits_says_why_and_is_asked_about_again_later(
    home: Home, spoil: Callable[[Path], Any], reason: str
) -> None:
    first, data = home.age()
    (row,) = home.rows("SELECT remote_path FROM deliveries WHERE role = 'rendition'")
    spoil(home.archive.path / row.remote_path)
    report = home.release()
    assert report.counts == {"waiting": 1}
    assert reason in report.notes[0][1]
    assert report.failures == []
    assert first.read_bytes() == data
    assert home.release().done == 0
    put(home.archive.path / row.remote_path, data)
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE renditions SET release_after = now() - interval '1 s'"))
    assert home.release().counts == {"released": 1}


def test_a_copy_on_the_same_disk_releases_nothing(engine: Engine, tmp_path: Path) -> None:
    home = Home(engine, tmp_path / "home", same_disk=True)
    first, _ = home.age()
    report = home.release()
    assert report.counts == {"waiting": 1}
    assert "same disk" in report.notes[0][1]
    assert first.exists()


def test_more_copies_than_there_are_release_nothing(home: Home) -> None:
    first, _ = home.age()
    assert home.release(copies=2).counts == {"waiting": 1}
    assert first.exists()


def test_the_present_rendition_and_the_original_are_never_due(home: Home) -> None:
    home.compress()
    home.deliver()
    assert home.release().done == 0
    assert home.made()[0].exists()


def test_one_that_is_still_on_its_way_waits(home: Home) -> None:
    home.compress()
    home.stage()
    home.today += timedelta(days=730)
    home.compress()
    report = home.release()
    assert report.counts == {"waiting": 1}
    assert "still on its way" in report.notes[0][1]
    home.upload()
    assert home.verify().counts == {"verified": 2}


@pytest.mark.parametrize("killed", ["before the move", "after the move"])
def test_a_run_that_was_killed_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    first, data = home.age()

    class Killed(BaseException):
        pass

    def die(*arguments: Any) -> Any:
        if killed == "after the move":
            real(*arguments)
        raise Killed

    real = release.move_to_trash
    with monkeypatch.context() as patched:
        patched.setattr(release, "move_to_trash", die)
        with pytest.raises(Killed):
            home.release()
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))  # as the start of the next run does
    assert first.exists() == (killed == "before the move")
    home.today += timedelta(days=1)
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data
    assert not first.exists()


class DyingPool(InlinePool):
    """A pool whose worker dies once, right after it has done its task, or right before."""

    def __init__(self, *, after: bool) -> None:
        self.deaths, self._after = 1, after

    def submit(self, task: Task, timeout: float) -> Future[Any]:
        if not self.deaths:
            return InlinePool.submit(self, task, timeout)
        self.deaths -= 1
        if self._after:
            InlinePool.submit(self, task, timeout).result()
        future: Future[Any] = Future()
        future.set_exception(WorkerDied("killed"))
        return future


@pytest.mark.parametrize("after", [False, True], ids=["before the move", "after the move"])
def test_a_worker_that_dies_over_a_move_is_tried_again_and_its_file_is_found(home: Home, after: bool) -> None:
    first, data = home.age()
    pool = DyingPool(after=after)
    report = home.work(ReleaseStage(home.roots, {"archive": home.archive}, 1), pool=pool)
    assert (report.counts, pool.deaths) == ({"released": 1}, 0)
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data
    assert not first.exists()
    assert len(list(home.roots[layout.TRASH].rglob("*.jpg"))) == 1


def test_a_move_that_is_taken_up_on_another_day_goes_to_the_place_that_was_written_down(home: Home) -> None:
    _, data = home.age()
    with home.engine.begin() as connection:
        superseded = connection.execute(text("SELECT id FROM renditions WHERE superseded_at IS NOT NULL")).scalar_one()
        renditions.intend_release(connection, superseded, "2026-01-01/renditions/a.jpg")  # and the run was killed
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert row.trash_path == "2026-01-01/renditions/a.jpg"
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data


def test_a_place_in_the_trash_that_was_taken_meanwhile_is_left_to_who_took_it(home: Home) -> None:
    _, data = home.age()
    put(home.roots[layout.TRASH] / "2026-01-01/renditions/a.jpg", b"somebody else's")
    with home.engine.begin() as connection:
        superseded = connection.execute(text("SELECT id FROM renditions WHERE superseded_at IS NOT NULL")).scalar_one()
        renditions.intend_release(connection, superseded, "2026-01-01/renditions/a.jpg")
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data
    assert (home.roots[layout.TRASH] / "2026-01-01/renditions/a.jpg").read_bytes() == b"somebody else's"


def test_a_rendition_that_is_nowhere_is_a_failure_and_not_released(home: Home) -> None:
    first, _ = home.age()
    first.unlink()
    assert home.release().counts == {"failed": 1}
    assert home.rows("SELECT 1 FROM renditions WHERE retired_at IS NOT NULL") == []


def test_a_copy_that_is_lost_after_the_release_is_sent_again_from_the_trash(home: Home) -> None:
    _, data = home.age()
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT remote_path FROM deliveries WHERE role = 'rendition'")
    copy_there = home.archive.path / row.remote_path
    copy_there.unlink()
    with home.engine.begin() as connection:
        deliveries.doubt_evidence(connection, "archive", DAY, DAY)
    home.verify()
    home.upload()
    home.verify()
    assert copy_there.read_bytes() == data
    assert {row.state for row in home.rows("SELECT state FROM deliveries")} == {"verified"}


def test_a_rendition_that_becomes_the_present_one_again_is_not_due(home: Home) -> None:
    home.age()
    home.today = DAY
    home.compress()
    assert home.rows("SELECT tier FROM renditions WHERE superseded_at IS NULL") == [("new",)]
    assert home.release().counts == {"waiting": 1}  # now it is the other one, which was never delivered
    assert all(path.exists() for path in home.made())


def test_nothing_is_released_with_the_default_settings(engine: Engine, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    assert (settings.release.enabled, settings.release.copies) == (False, 1)
    assert settings.destinations["archive"].on_new_rendition == "keep"
    platform = Platform(settings, engine)
    with pytest.raises(KeyError):
        platform.stage("released_media")
    assert "released_media" not in [query.stage for query in platform.queries(aged=True)]
    on = load_settings(tmp_path, overrides={"release": {"enabled": True}}, environ={})
    assert isinstance(Platform(on, engine).stage("released_media"), ReleaseStage)


def test_with_keep_an_aged_photo_is_delivered_once(home: Home) -> None:
    first, data = home.age()
    assert len(home.rows("SELECT 1 FROM deliveries")) == 2
    assert [path.read_bytes() for path in home.archive.path.glob("renditions/*/*/*/*")] == [data]
    assert first.exists()


# Replacement at a destination.


@pytest.fixture
def replacing(engine: Engine, tmp_path: Path) -> Home:
    return Home(engine, tmp_path / "home", replace=True)


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeptFolder, "shares_disk_with", lambda self, folder: False)


def archived(home: Home) -> dict[str, bytes]:
    """What the archive holds of renditions, its trash included."""
    found = home.archive.path.glob("**/renditions/**/*.*")
    return {str(path.relative_to(home.archive.path)): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.usefixtures("other_disk")
def test_a_newer_rendition_takes_the_place_of_the_older_once_it_is_proven(replacing: Home) -> None:
    home = replacing
    first, data = home.age()
    second = home.made()[1].read_bytes()
    new_name = f"renditions/2024/05/17/IMG_1-{sha256(second)[:12]}.JPG"
    day = home.today.isoformat()
    assert archived(home) == {new_name: second, f".trash/{day}/renditions/2024/05/17/IMG_1.JPG": data}
    (row,) = home.rows("SELECT * FROM deliveries WHERE role = 'rendition'")
    assert (row.remote_path, row.sha256, row.state) == (new_name, sha256(second), "verified")
    assert (row.replaces_path, row.replaces_sha256) == (None, None)
    assert first.read_bytes() == data  # it was the proof
    (log,) = home.rows("SELECT detail FROM pipeline_logs WHERE event = 'replaced'")
    assert ".trash/" in log.detail
    assert "proven at renditions: " in log.detail
    assert not any(report.done for report in home.deliver())
    found = find_trashed(
        {**home.roots, "destination:archive": home.archive.path}, home.archive.path / "renditions/2024/05/17/IMG_1.JPG"
    )
    assert found is not None
    undo_release(home.engine, found)
    assert archived(home)["renditions/2024/05/17/IMG_1.JPG"] == data


def test_on_one_disk_both_stay_and_the_reason_is_told(replacing: Home) -> None:
    home = replacing
    home.compress()
    home.deliver()
    home.today += timedelta(days=730)
    home.compress()
    home.stage()
    home.upload()
    assert home.verify().counts == {"verified": 1}
    report = home.verify()
    assert report.counts == {"waiting": 1}
    assert "on the same disk" in report.notes[0][1]
    assert len(archived(home)) == 2
    assert not (home.archive.path / ".trash").exists()
    assert home.verify().done == 0


@pytest.mark.usefixtures("other_disk")
@pytest.mark.parametrize("killed", ["staged", "copied", "uploaded", "verified", "moved"])
def test_a_replacement_that_was_killed_anywhere_is_finished_by_the_next_run(
    replacing: Home, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    home = replacing
    home.compress()
    home.deliver()
    (old,) = home.made()
    data = old.read_bytes()
    home.today += timedelta(days=730)
    home.compress()

    class Killed(BaseException):
        pass

    def dying(real: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def die(*arguments: Any) -> Any:
            if after:
                real(*arguments)
            raise Killed

        return die

    home.stage()
    with monkeypatch.context() as patched:
        if killed == "copied":
            patched.setattr(Elsewhere, "deliver", dying(ArchiveFolder.deliver, after=True))
        if killed == "verified":
            patched.setattr(Elsewhere, "release", dying(ArchiveFolder.release, after=False))
        if killed == "moved":
            patched.setattr(Elsewhere, "release", dying(ArchiveFolder.release, after=True))
        if killed == "uploaded":
            home.upload()
        if killed == "copied":
            with pytest.raises(Killed):
                home.upload()
        if killed in ("verified", "moved"):
            home.upload()
            home.verify()
            with pytest.raises(Killed):
                home.verify()
    in_place = home.archive.path / "renditions/2024/05/17/IMG_1.JPG"
    assert in_place.exists() == (killed != "moved")
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))  # as the start of the next run does
    home.deliver()
    second = home.made()[1].read_bytes()
    assert sorted(archived(home).values(), key=len) == sorted([second, data], key=len)
    assert not in_place.exists()
    (row,) = home.rows("SELECT state, sha256, replaces_path FROM deliveries WHERE role = 'rendition'")
    assert tuple(row) == ("verified", sha256(second), None)
    assert not any(report.done for report in home.deliver())


@pytest.mark.usefixtures("other_disk")
@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ("local changed", "holds other bytes"),
        ("local gone", "nothing stands at"),
        ("new one gone", "the new rendition is not proven now"),
    ],
)
def test_without_a_proof_the_older_stays_beside_the_newer(replacing: Home, spoilt: str, reason: str) -> None:
    home = replacing
    home.compress()
    home.deliver()
    (old,) = home.made()
    data = old.read_bytes()
    home.today += timedelta(days=730)
    home.compress()
    home.stage()
    home.upload()
    home.verify()
    if spoilt == "local changed":
        os.chmod(old, 0o644)
        old.write_bytes(b"changed")
    elif spoilt == "local gone":
        old.unlink()
    else:
        (there,) = [path for path, held in archived(home).items() if held != data]
        (home.archive.path / there).unlink()
    report = home.verify()
    assert report.counts == {"waiting": 1}
    assert reason in report.notes[0][1]
    assert archived(home)["renditions/2024/05/17/IMG_1.JPG"] == data
    (row,) = home.rows("SELECT replaces_path FROM deliveries WHERE role = 'rendition'")
    assert row.replaces_path == "renditions/2024/05/17/IMG_1.JPG"


@pytest.mark.usefixtures("other_disk")
def test_a_rendition_that_is_newer_still_waits_its_turn_and_then_goes(replacing: Home) -> None:
    home = replacing
    home.compress()
    home.stage()  # the first is on its way
    home.today += timedelta(days=730)
    home.compress()
    home.deliver()  # it arrives; nothing is replaced under way
    assert len(archived(home)) == 1
    home.deliver()
    assert [path.startswith(".trash") for path in sorted(archived(home))] == [True, False]


def test_the_archive_takes_only_a_proof_of_this_file(archive: Elsewhere, file: Path, proof: SafeDeleteProof) -> None:
    with pytest.raises(NotReleased):
        archive.release(proof, "IMG.jpg", TODAY)
    ours = KeptFolder("renditions", file.parent)
    its_own = dataclasses.replace(doomed(archive.path / "IMG.jpg"), subject="archive:IMG.jpg")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(KeptFolder, "shares_disk_with", lambda self, folder: False)
        good = prove(its_own, [said_to_be(ours)], 1)
        original = prove(dataclasses.replace(its_own, role="original"), [said_to_be(ours, role="original")], 1)
    with pytest.raises(NotReleased, match="originals stay"):
        archive.release(original, "IMG.jpg", TODAY)
    put(archive.path / "IMG.jpg", b"changed")
    with pytest.raises(ContentMismatch):
        archive.release(good, "IMG.jpg", TODAY)
    put(archive.path / "IMG.jpg", BYTES)
    assert archive.release(good, "IMG.jpg", TODAY) == ".trash/2026-11-20/IMG.jpg"
    assert (archive.path / ".trash/2026-11-20/IMG.jpg").read_bytes() == BYTES
