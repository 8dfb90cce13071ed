"""Deletion takes a proof, and only a copy that is there now, with exactly these bytes, makes one."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from media.files import ROOT_MARKER
from pipeline.proofs import KeptFolder, NotProven, SafeDeleteProof, prove
from resources.delivery import DeletionProof, Evidence, Intent
from tests.proof_files import BYTES, Elsewhere, doomed, marked, put, said_to_be, sha256


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
