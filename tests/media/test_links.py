"""What shows a file at a second place takes its name as every other file: whole, and durably."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media import files
from media.files import part_path
from media.links import link_or_clone


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "originals" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"the photo")
    os.utime(path, ns=(1, 2_000_000_000))
    return path


@pytest.fixture
def final(tmp_path: Path) -> Path:
    path = tmp_path / "library" / "a.jpg"
    path.parent.mkdir()
    return path


def show(target: Path, final: Path, how: str = "auto") -> str:
    return link_or_clone(target, final, part_path(final, "L1"), how)


@pytest.fixture
def no_reflinks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def refuse(code: int) -> None:
        def ioctl(*_: Any) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(files.fcntl, "ioctl", ioctl)

    return refuse


def test_where_there_are_no_reflinks_a_relative_link_is_made(
    target: Path, final: Path, no_reflinks: Callable[[int], None]
) -> None:
    no_reflinks(errno.EOPNOTSUPP)
    assert show(target, final) == "symlink"
    assert os.readlink(final) == "../originals/a.jpg"
    assert show(target, final, "symlink") == "symlink"
    assert [path.name for path in final.parent.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(("how", "code"), [("reflink", errno.EOPNOTSUPP), ("auto", errno.ENOSPC)])
def test_what_stood_there_stands_still_when_nothing_can_be_made(
    target: Path, final: Path, no_reflinks: Callable[[int], None], how: str, code: int
) -> None:
    final.write_bytes(b"before")
    no_reflinks(code)
    with pytest.raises(OSError, match=os.strerror(code)):
        show(target, final, how)
    assert final.read_bytes() == b"before"
    assert [path.name for path in final.parent.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("can", [True, False])
def test_the_name_is_made_durable(
    target: Path, final: Path, no_reflinks: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, can: bool
) -> None:
    if can:
        # As a file system with reflinks does it.
        monkeypatch.setattr(files.fcntl, "ioctl", lambda to, _, source: os.write(to, os.pread(source, 100, 0)))
    else:
        no_reflinks(errno.EXDEV)
    synced: list[str] = []
    fsync = os.fsync

    def remember(handle: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", remember)
    assert show(target, final) == ("reflink" if can else "symlink")
    part = part_path(final, "L1").name
    assert synced == ([part, "library"] if can else ["library"])
    assert final.read_bytes() == b"the photo"
    assert not can or final.stat().st_mtime_ns == 2_000_000_000
