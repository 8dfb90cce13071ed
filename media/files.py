"""How this platform writes files: temporary name in the same folder, fsync, rename, fsync of the folder.

Belongs here: the one atomic write, hashing while copying, and what a copy keeps beside the bytes
(times, extended attributes). Does not belong here: what the bytes mean.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import BinaryIO, TypedDict

from media.apple_checksum import AppleChecksum

PART_PREFIX = ".mpa-"
PART_SUFFIX = ".part"
ROOT_MARKER = ".mediapipe-root"
CHUNK = 1 << 20
ORIGINAL_MODE = 0o444
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
# Another file system, or one without shared extents.
_NO_REFLINK = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM)
_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_NOREPLACE = 1  # linux/fs.h


class Hashes(TypedDict):
    """The hashes of one file's bytes, all from a single read."""

    sha256: str
    apple_checksum: str
    size: int


class SourceChanged(Exception):
    """The file changed while it was read; the copy is not to be trusted."""


class RootAway(Exception):
    """A folder that we write to lacks its marker: its disk is no longer mounted."""


class ContentMismatch(Exception):
    """The bytes read are not the bytes that the catalog promised."""


class Hasher:
    """Computes every identity of a stream of bytes in one pass."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._apple = AppleChecksum()
        self._size = 0

    def update(self, chunk: bytes | memoryview) -> None:
        """Adds bytes to every hash."""
        self._sha256.update(chunk)
        self._apple.update(chunk)
        self._size += len(chunk)

    def hashes(self) -> Hashes:
        """Returns what was computed so far."""
        return {"sha256": self._sha256.hexdigest(), "apple_checksum": self._apple.value(), "size": self._size}


def part_path(final: Path, tag: str) -> Path:
    """Returns the temporary name of `final`: same folder, hidden, and recognisable after a crash.

    Args:
        final: Where the file will stand once it is whole.
        tag: Who writes it; two writers never share a tag and a final name.
    """
    digest = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]
    return final.with_name(f"{PART_PREFIX}{tag}-{digest}{PART_SUFFIX}")


def fsync_folder(folder: Path) -> None:
    """Makes a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems refuse to sync a folder; the rename is then theirs to keep.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Creates `folder` and its parents, each made durable in its own parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def make_folder_below(root: Path, folder: Path) -> None:
    """Creates `folder` below a root of ours, but never on the empty mount point of a disk that went away.

    Args:
        root: A root with its marker.
        folder: A folder below it.

    Raises:
        RootAway: The folder is missing and so is the root's marker.
    """
    if folder.is_dir():
        return
    refuse_missing_root(root)
    make_folder(folder)


def refuse_missing_root(root: Path) -> None:
    """Makes sure that a root of ours carries its marker.

    Raises:
        RootAway: It does not.
    """
    if not (root / ROOT_MARKER).is_file():
        raise RootAway(f"The folder {root} has lost its marker ({ROOT_MARKER}): its disk seems to be away. Mount it")


def commit_part(part: Path, final: Path) -> None:
    """Gives a whole, synced temporary file its final name, durably.

    Args:
        part: A file that `part_path` named, already flushed to disk.
        final: Its final path, in the same folder. An existing file there is replaced.
    """
    os.replace(part, final)
    fsync_folder(final.parent)


def rename_to_new(source: Path, target: Path) -> None:
    """Gives a file another name, durably, and never takes the place of what stands there.

    Args:
        source: The file.
        target: Its new path on the same file system; its folder exists.

    Raises:
        FileExistsError: Something stands at `target`; nothing was changed.
        OSError: Among others EXDEV, when the two are on different file systems; nothing was changed.
    """
    if not _rename_exclusively(source, target) and not _link_exclusively(source, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.rename(source, target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def rename_known(source: Path, target: Path, before: os.stat_result) -> None:
    """Gives a file that was looked at another name, and takes it back when it was another file by then.

    Args:
        source: The file.
        target: Its new path, see `rename_to_new`.
        before: The file's status when it was looked at.

    Raises:
        SourceChanged: Another file had taken its name; it has that name again.
        OSError: As `rename_to_new`.
    """
    rename_to_new(source, target)
    if os.lstat(target).st_ino != before.st_ino:
        rename_to_new(target, source)
        raise SourceChanged(f"{source} was replaced by another file just now; it was left in its place")


def place_in_trash(trash_root: Path, relative: str, day: date) -> Path:
    """Returns the place that a file of a day would get in a trash now: one where nothing stands.

    Args:
        trash_root: The trash.
        relative: The path that is kept below the folder of the day.
        day: The day on which it is moved.
    """
    for number in itertools.count(1):
        folder = day.isoformat() if number == 1 else f"{day.isoformat()}-{number}"
        if not os.path.lexists(place := trash_root / folder / relative):
            return place
    raise AssertionError


def _rename_exclusively(source: Path, target: Path) -> bool:
    """Renames where the kernel can refuse an existing target; returns False where it cannot."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False  # a C library without it
    if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False  # a file system without it
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def _link_exclusively(source: Path, target: Path) -> bool:
    """Renames by a second name, which no system puts over another file; returns False where there are no such links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        # A server that answers too late is asked twice, and finds the link that it has just made.
        if not os.path.samestat(os.lstat(source), os.lstat(target)):
            raise
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EMLINK):
            return False
        raise
    os.unlink(source)
    return True


@contextlib.contextmanager
def atomic_write(final: Path, tag: str) -> Iterator[BinaryIO]:
    """Opens `final` for writing so that its path is always whole.

    Args:
        final: Where the bytes go.
        tag: Who writes it, see `part_path`.

    Yields:
        A binary file. When the block ends well, its bytes are synced and take the final name; when it
        raises, nothing is left behind.
    """
    make_folder(final.parent)
    part = part_path(final, tag)
    part.unlink(missing_ok=True)
    try:
        with open(part, "xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        commit_part(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def hash_file(path: str, cold: bool = False) -> Hashes:
    """Reads a file once and returns its hashes.

    Args:
        path: The file.
        cold: Ask the kernel to forget its cached pages first, so that the read-back proves what the
            disk or the mount holds and not what was just written to memory.

    Raises:
        OSError: The file cannot be read.
    """
    hasher = Hasher()
    with open(path, "rb", buffering=0) as handle:
        if cold:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        _pump(handle, hasher, None)
    return hasher.hashes()


def copy_to_part(source: Path, part: Path, *, durable: bool = True) -> Hashes:
    """Copies `source` to a private inode at `part`, hashing in the same read.

    A reflink is taken where the file system can; the bytes are then read once for the hashes.

    Args:
        source: The file to copy. It is opened for reading only.
        part: The temporary name to write. What a crash left there is replaced.
        durable: Sync the bytes to disk before returning.

    Returns:
        The hashes of exactly the bytes that stand at `part`.

    Raises:
        SourceChanged: Size, mtime or inode of the source changed while it was read.
        OSError: The source cannot be read or the target cannot be written.
    """
    hasher = Hasher()
    # A part that a crash left may be read-only already, which would refuse to be opened for writing; and a
    # new inode is what makes the copy private, whatever the name pointed to.
    part.unlink(missing_ok=True)
    with open(source, "rb", buffering=0) as reader:
        before = os.fstat(reader.fileno())
        with open(part, "xb", buffering=0) as writer:
            if _reflink(reader, writer) is None:
                with open(part, "rb", buffering=0) as clone:
                    _pump(clone, hasher, None)
            else:
                _pump(reader, hasher, writer)
            if durable:
                os.fsync(writer.fileno())
        refuse_change(source, before, os.fstat(reader.fileno()))
    hashes = hasher.hashes()
    # A mount that goes away in the middle may end a read early without an error.
    if hashes["size"] != before.st_size:
        raise SourceChanged(f"{source} gave {hashes['size']} of its {before.st_size} bytes")
    return hashes


def clone_to_part(source: Path, part: Path, *, required: bool = False) -> bool:
    """Gives `part` the bytes of `source` without a second copy of them, durably, where the file system can.

    Args:
        source: The file. It is opened for reading only.
        part: The temporary name to write; nothing stands there.
        required: Raise where it cannot.

    Returns:
        False when it cannot; nothing is then left at `part`.

    Raises:
        OSError: The source cannot be read, the disk is full, or a reflink was required.
    """
    with open(source, "rb", buffering=0) as reader, open(part, "xb", buffering=0) as writer:
        try:
            if (refusal := _reflink(reader, writer)) is None:
                os.fsync(writer.fileno())
                return True
            if required or refusal.errno not in _NO_REFLINK:
                raise refusal
        except OSError:
            part.unlink()
            raise
    part.unlink()
    return False


def refuse_change(source: Path, before: os.stat_result, after: os.stat_result | None = None) -> None:
    """Raises `SourceChanged` when a file is no longer what it was before it was read.

    Args:
        source: The path that was read.
        before: Its status before the first byte was read.
        after: The status of the open file after the last byte, where there is one.
    """
    try:
        now = os.stat(source)
    except FileNotFoundError as error:
        raise SourceChanged(f"{source} went away while it was read") from error
    if any(_version(before) != _version(later) for later in (after or now, now)):
        raise SourceChanged(f"{source} changed while it was read")


def copy_verified(source: str, final: str, sha256: str, tag: str) -> Hashes:
    """Copies a file of ours to its final path and refuses bytes other than the promised ones.

    It never takes the place of what stands there, even when that has come while the bytes were copied.

    Args:
        source: The file to copy.
        final: Where the copy goes, written atomically; its parent folders are made.
        sha256: The content hash that the catalog holds for the source.
        tag: Who writes it, see `part_path`.

    Returns:
        The hashes of the copy.

    Raises:
        ContentMismatch: The source no longer holds the promised bytes; nothing was written.
        FileExistsError: Something stands at `final`; it was left as it is.
        OSError: Reading or writing failed; nothing was left behind.
    """
    target = Path(final)
    make_folder(target.parent)
    part = part_path(target, tag)
    try:
        hashes = copy_to_part(Path(source), part)
        if hashes["sha256"] != sha256:
            raise ContentMismatch(f"{source} does not hold the bytes that were recorded for it ({sha256[:12]}…)")
        copy_times_and_xattrs(Path(source), part)
        rename_to_new(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return hashes


def copy_times_and_xattrs(source: Path, target: Path) -> None:
    """Gives `target` the modification time and the user extended attributes of `source`."""
    for name in _xattr_names(source):
        with _xattr_refusals_ignored():
            os.setxattr(target, name, os.getxattr(source, name))
    stat = os.stat(source)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _xattr_names(path: Path) -> list[str]:
    try:
        return [name for name in os.listxattr(path) if name.startswith("user.")]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return []
        raise


@contextlib.contextmanager
def _xattr_refusals_ignored() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # The target's file system holds no such attributes, or too few of them: the bytes matter more.
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG, errno.ENODATA):
            raise


def _pump(reader: BinaryIO, hasher: Hasher, writer: BinaryIO | None) -> None:
    buffer = memoryview(bytearray(CHUNK))
    while count := reader.readinto(buffer):  # type: ignore[attr-defined]  # raw files have readinto
        chunk = buffer[:count]
        hasher.update(chunk)
        if writer is not None:
            write_all(writer, chunk)


def write_all(writer: BinaryIO, chunk: memoryview) -> None:
    """Writes every byte of `chunk` to a file without a buffer, which may take fewer at a time."""
    while chunk:
        chunk = chunk[writer.write(chunk) :]


def _reflink(reader: BinaryIO, writer: BinaryIO) -> OSError | None:
    """Makes one file share the other's extents, or returns why the file system does not."""
    try:
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError as error:
        return error
    return None


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
