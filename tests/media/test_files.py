"""Writing files: whole or not at all, private, durable, and honest about what was read."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from media import files


def parts_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(files.PART_PREFIX)]


def test_a_hash_is_of_the_bytes_and_apples_is_salted(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * (files.CHUNK + 5))
    content = path.read_bytes()
    salted = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0" + content
    assert files.hash_file(str(path)) == files.hash_file(str(path), cold=True) == {
        "sha256": hashlib.sha256(content).hexdigest(),
        "apple_checksum": base64.b64encode(b"\x01" + hashlib.sha1(salted).digest()).decode(),
        "size": len(content),
    }  # fmt: skip


def test_an_atomic_write_makes_its_folders_and_replaces_the_old_file(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b" / "c.txt"
    for content in (b"old", b"new"):
        with files.atomic_write(final, "test") as handle:
            handle.write(content)
    assert final.read_bytes() == b"new"
    assert parts_in(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    final = tmp_path / "c.txt"
    final.write_bytes(b"old")
    with pytest.raises(RuntimeError), files.atomic_write(final, "test") as handle:
        handle.write(b"half of the n")
        raise RuntimeError("power cut")
    assert final.read_bytes() == b"old"
    assert parts_in(tmp_path) == []


def test_a_killed_writer_leaves_no_final_file_and_the_next_one_succeeds(tmp_path: Path) -> None:
    final = tmp_path / "c.txt"
    program = (
        "import os, sys; from pathlib import Path; from media.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1]), 'test') as handle:\n"
        "    handle.write(b'half'); handle.flush(); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(final)], check=False).returncode == 9
    assert not final.exists()
    assert len(parts_in(tmp_path)) == 1
    with files.atomic_write(final, "test") as handle:
        handle.write(b"whole")
    assert final.read_bytes() == b"whole"
    assert parts_in(tmp_path) == []


def test_a_copy_is_a_private_inode_with_the_promised_hashes(tmp_path: Path) -> None:
    source, part = tmp_path / "source", tmp_path / "part"
    source.write_bytes(os.urandom(3_000_000))
    assert files.copy_to_part(source, part) == files.hash_file(str(source)) == files.hash_file(str(part))
    assert os.stat(source).st_ino != os.stat(part).st_ino
    source.write_bytes(b"changed later")
    assert os.stat(part).st_size == 3_000_000


def test_a_read_only_part_that_a_crash_left_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    source, part, other = tmp_path / "source", tmp_path / "part", tmp_path / "other"
    source.write_bytes(b"new")
    other.write_bytes(b"somebody else's")
    part.hardlink_to(other)
    other.chmod(files.ORIGINAL_MODE)
    files.copy_to_part(source, part)
    assert (part.read_bytes(), other.read_bytes()) == (b"new", b"somebody else's")


def test_a_source_that_gives_more_or_fewer_bytes_than_it_has_is_not_trusted(tmp_path: Path) -> None:
    # The kernel's own files say that they hold nothing and give something: a read that does not fit its size.
    if not Path("/proc/version").exists():
        pytest.skip("needs a file whose size is not what it says")
    with pytest.raises(files.SourceChanged):
        files.copy_to_part(Path("/proc/version"), tmp_path / "part")


def test_every_kind_of_change_of_a_source_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    before = os.stat(path)
    files.refuse_change(path, before)
    os.utime(path, ns=(0, before.st_mtime_ns + 1))
    with pytest.raises(files.SourceChanged, match="changed"):
        files.refuse_change(path, before)
    (tmp_path / "b").write_bytes(b"4321")
    os.utime(tmp_path / "b", ns=(0, before.st_mtime_ns))
    os.replace(tmp_path / "b", path)
    with pytest.raises(files.SourceChanged, match="changed"):
        files.refuse_change(path, before)
    path.unlink()
    with pytest.raises(files.SourceChanged, match="went away"):
        files.refuse_change(path, before)


def test_a_verified_copy_refuses_bytes_that_were_not_promised(tmp_path: Path) -> None:
    source, final = tmp_path / "source", tmp_path / "far" / "final"
    source.write_bytes(b"rotten")
    with pytest.raises(files.ContentMismatch):
        files.copy_verified(str(source), str(final), hashlib.sha256(b"sound").hexdigest(), "test")
    assert not final.exists()
    assert parts_in(tmp_path) == []


def test_a_verified_copy_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    source, final = tmp_path / "source", tmp_path / "final"
    source.write_bytes(b"sound")
    final.write_bytes(b"foreign")
    with pytest.raises(FileExistsError):
        files.copy_verified(str(source), str(final), hashlib.sha256(b"sound").hexdigest(), "test")
    assert final.read_bytes() == b"foreign"
    assert parts_in(tmp_path) == []


def no_rename(source: Path, target: Path) -> bool:
    """A file system whose rename cannot refuse what stands there."""
    return False


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("can", ["refuse", "link", "neither"])
def test_a_rename_never_takes_the_place_of_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can: str
) -> None:
    if can != "refuse":
        monkeypatch.setattr(files, "_rename_exclusively", no_rename)
    if can == "neither":
        monkeypatch.setattr(os, "link", no_links)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"ours")
    target.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        files.rename_to_new(source, target)
    assert source.read_bytes() == b"ours"
    target.unlink()
    inode = source.stat().st_ino
    files.rename_to_new(source, target)
    assert (target.read_bytes(), target.stat().st_ino, target.stat().st_nlink) == (b"ours", inode, 1)
    assert not source.exists()


def test_without_an_exclusive_rename_a_file_that_appears_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"ours")

    def appears(*_: object) -> bool:
        target.write_bytes(b"foreign")
        return False

    monkeypatch.setattr(files, "_rename_exclusively", appears)
    monkeypatch.setattr(os.path, "lexists", lambda path: False)  # the look came before it
    with pytest.raises(FileExistsError):
        files.rename_to_new(source, target)
    assert target.read_bytes() == b"foreign"


def test_a_link_that_a_server_made_and_did_not_get_to_say_so_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"ours")
    target.hardlink_to(source)
    monkeypatch.setattr(files, "_rename_exclusively", no_rename)
    files.rename_to_new(source, target)
    assert target.read_bytes() == b"ours"
    assert not source.exists()


def test_a_verified_copy_keeps_times_and_attributes(tmp_path: Path) -> None:
    source, final = tmp_path / "source", tmp_path / "far" / "final"
    source.write_bytes(b"sound")
    os.utime(source, ns=(10**18, 10**18 + 123_456_789))
    try:
        os.setxattr(source, "user.note", b"keep me")
    except OSError:
        pytest.skip("this file system holds no attributes")
    files.copy_verified(str(source), str(final), hashlib.sha256(b"sound").hexdigest(), "test")
    assert os.stat(final).st_mtime_ns == 10**18 + 123_456_789
    assert os.getxattr(final, "user.note") == b"keep me"


def test_two_writers_of_one_name_have_two_parts_beside_it(tmp_path: Path) -> None:
    one, two = (files.part_path(tmp_path / ("ä" * 120 + ".jpg"), tag) for tag in ("one", "two"))
    assert one != two
    assert one.parent == two.parent == tmp_path
    assert all(len(os.fsencode(path.name)) < 255 and path.name.startswith(files.PART_PREFIX) for path in (one, two))
