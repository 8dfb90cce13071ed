"""A file, an archive that holds a copy of it, and proofs about the two."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from media.files import ROOT_MARKER
from pipeline.proofs import Candidate, Doomed, SafeDeleteProof, prove
from resources.archive import ArchiveFolder
from resources.delivery import Intent

TODAY = date(2026, 11, 20)


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
