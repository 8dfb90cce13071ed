"""Who uses the embedded server of a home, and who may decide about it.

Each user of the server holds a lease: a file that the kernel keeps locked while its process lives, so that the lease of
a killed holder frees itself. A lock around each decision to start or stop lets any number of processes do this at once.

Belongs here: leases, that lock, and the server that is held without a process. Does not belong here: the server
(`resources.postgres_server`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from media.files import atomic_write, make_folder
from resources.postgres_home import HomeRefused
from resources.postgres_tools import DatabaseUnavailable


class Leases:
    """The leases of one home's server.

    A lease belongs to the process that took it; do not carry the object over a fork.
    """

    def __init__(self, home: Path) -> None:
        """Names the folders; touches nothing."""
        self._home = home
        self._run = home / "run"
        self._folder = self._run / "leases"
        self._held = self._run / "postgres.held"
        self._lease: int | None = None
        self._path: Path | None = None

    def exist(self) -> bool:
        """Says whether anybody ever took one here."""
        return self._run.is_dir()

    @contextlib.contextmanager
    def mutex(self, seconds: float) -> Iterator[None]:
        """Lets nobody else decide about the server meanwhile.

        Args:
            seconds: How long to wait for somebody who does.

        Raises:
            HomeRefused: This account may not use the home.
            DatabaseUnavailable: Somebody else decides for longer.
        """
        handle = self._open_mutex()
        try:
            _lock_within(handle, seconds)
            yield
        finally:
            os.close(handle)

    def take(self) -> None:
        """Takes this process' lease, unless it has it."""
        if self._lease is not None:
            return
        _make_private(self._folder)
        path = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lease"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lease, self._path = handle, path

    def drop(self) -> None:
        """Gives this process' lease back."""
        if self._lease is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._lease)
        self._lease = self._path = None

    def forget_dead(self) -> None:
        """Removes the leases of processes that are gone."""
        for path in self._folder.glob("*.lease"):
            if _is_free(path):
                path.unlink(missing_ok=True)

    def holders(self) -> list[int]:
        """Returns the ids of the living processes that hold a lease."""
        if not self._folder.is_dir():
            return []
        living = (path for path in self._folder.glob("*.lease") if not _is_free(path))
        return sorted({int(path.name.split("-")[0]) for path in living})

    def hold(self) -> None:
        """Keeps the server without a process, until `let_go` or a restart of the machine."""
        with atomic_write(self._held, "postgres") as handle:
            handle.write(_boot_id().encode())

    def let_go(self) -> None:
        """Ends what `hold` began."""
        self._held.unlink(missing_ok=True)

    def is_held(self) -> bool:
        """Says whether `hold` keeps the server."""
        return self._held.is_file() and self._held.read_text(encoding="utf-8") == _boot_id()

    def _open_mutex(self) -> int:
        try:
            _make_private(self._run)
            return os.open(self._run / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (PermissionError, NotADirectoryError) as error:
            raise HomeRefused(
                f"{self._home} cannot be used by this account ({error.strerror}: {error.filename}). "
                "Run this as the person who made this home, or choose another home."
            ) from error


def _make_private(folder: Path) -> None:
    """Creates a folder that only its owner reads; one that is there is left as it is."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def _is_free(lease: Path) -> bool:
    """Says whether nobody alive holds the lease."""
    try:
        handle = os.open(lease, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def _lock_within(handle: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable("Another process has been starting the database for minutes.") from None
        time.sleep(0.01)


def _boot_id() -> str:
    if platform.system() == "Linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return str(int(psutil.boot_time()))
