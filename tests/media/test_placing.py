"""A file of ours is placed whole, read-only, where nothing stood, and its source is safe."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from media import placing
from media.files import ContentMismatch
from media.placing import Placement, PlaceTaken, place

DATA = b"a photo" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
TAKEN = 1_500_000_000_000_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "original.jpg"
    path.write_bytes(DATA)
    path.chmod(0o444)
    os.utime(path, ns=(7, 7))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "IMG_1.JPG"


def placed(source: Path, target: Path, **given: Any) -> Placement:
    return place(source, target, SHA, len(DATA), "L1", TAKEN, **given)


def test_an_original_is_never_hard_linked(source: Path, target: Path) -> None:
    assert placed(source, target) == Placement(TAKEN, found=False)
    there, ours = os.stat(target), os.stat(source)
    assert there.st_ino != ours.st_ino and ours.st_nlink == 1
    assert stat.S_IMODE(there.st_mode) == 0o444 and there.st_mtime_ns == TAKEN
    assert target.read_bytes() == DATA and ours.st_mtime_ns == 7
    assert list(target.parent.iterdir()) == [target]


def test_a_rendition_is_hard_linked_where_there_are_no_reflinks_and_keeps_its_own_time(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "clone_to_part", lambda *_: False)
    assert placed(source, target, may_link=True) == Placement(7, found=False)
    assert os.stat(target).st_ino == os.stat(source).st_ino
    target.unlink()
    assert source.read_bytes() == DATA


def test_where_there_are_neither_a_rendition_is_copied(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(placing, "clone_to_part", lambda *_: False)
    monkeypatch.setattr(os, "link", no_links)
    # Renaming falls back on links too, where the kernel cannot refuse an existing target; it can here.
    assert placed(source, target, may_link=True) == Placement(TAKEN, found=False)
    assert os.stat(target).st_ino != os.stat(source).st_ino and target.read_bytes() == DATA


@pytest.mark.parametrize("may_link", [False, True])
def test_other_bytes_than_the_recorded_ones_are_not_placed(source: Path, target: Path, may_link: bool) -> None:
    source.chmod(0o644)
    source.write_bytes(DATA[:-1] + b"X")
    with pytest.raises(ContentMismatch, match="bytes that were recorded"):
        placed(source, target, may_link=may_link)
    assert list(target.parent.iterdir()) == [] and source.read_bytes()[-1:] == b"X"


def test_what_a_killed_run_placed_is_taken_over_untouched(source: Path, target: Path) -> None:
    target.write_bytes(DATA)
    os.utime(target, ns=(9, 9))
    assert placed(source, target) == Placement(9, found=True)
    assert os.stat(target).st_mtime_ns == 9


@pytest.mark.parametrize("size", [3, len(DATA)])
def test_a_foreign_file_is_never_overwritten(source: Path, target: Path, size: int) -> None:
    target.write_bytes(b"f" * size)
    with pytest.raises(PlaceTaken, match="it is not overwritten"):
        placed(source, target)
    assert target.read_bytes() == b"f" * size


def test_a_link_is_no_file_of_ours_even_to_the_same_bytes(source: Path, target: Path) -> None:
    target.symlink_to(source)
    with pytest.raises(PlaceTaken):
        placed(source, target)
    assert target.is_symlink()


def test_a_foreign_file_that_comes_while_the_bytes_are_copied_is_not_overwritten(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring = placing._bring

    def then_a_guest(*arguments: Any, **options: Any) -> bool:
        target.write_bytes(b"a guest")
        return bring(*arguments, **options)

    monkeypatch.setattr(placing, "_bring", then_a_guest)
    with pytest.raises(PlaceTaken):
        placed(source, target)
    assert target.read_bytes() == b"a guest" and list(target.parent.iterdir()) == [target]


def test_what_an_earlier_kill_left_half_written_is_replaced(source: Path, target: Path) -> None:
    part = placing.part_path(target, "L1")
    part.write_bytes(b"half")
    part.chmod(0o444)
    placed(source, target)
    assert list(target.parent.iterdir()) == [target] and target.read_bytes() == DATA
