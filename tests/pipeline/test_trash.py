"""A file goes to a trash on a proof of exactly its bytes, and comes back byte for byte."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from media.files import ContentMismatch, RootAway, place_in_trash
from pipeline import trash
from pipeline.proofs import KeptFolder, SafeDeleteProof, prove
from pipeline.trash import NotMoved, find_trashed, move_to_trash, restore
from resources.archive import NotReleased
from tests.proof_files import BYTES, TODAY, Elsewhere, doomed, marked, put, said_to_be


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
