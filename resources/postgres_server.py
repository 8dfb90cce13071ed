"""The embedded server's process: making its database in a home, starting it, finding it, stopping it.

Belongs here: one server and its files. Does not belong here: who uses it and when it may be started or stopped
(`resources.postgres`, under the lock of `resources.postgres_leases`), or what makes a home unfit
(`resources.postgres_home`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from media.files import atomic_write, fsync_folder, make_folder
from resources.mounts import mounted
from resources.postgres_access import MARKER, PORT, SUPERUSER, embedded_url, ensure_database
from resources.postgres_home import (
    HomeRefused,
    refuse_missing_database,
    refuse_mount,
    refuse_other_owner,
    refuse_other_version,
)
from resources.postgres_tools import (
    Account,
    DatabaseUnavailable,
    as_account,
    binaries,
    let_account_reach,
    logger,
    run_tool,
    server_account,
    tool_environment,
)

START_TIMEOUT = 300.0  # recovery after a power cut may read all of max_wal_size from a slow disk
BUSY_TIMEOUT = 30.0  # after kill -9 of the server its last children need a moment to let go of the data
STOP_TIMEOUT = 60.0
LOG_LIMIT = 5 << 20
SERVER_LOCK = ".postgres-server"
HIDDEN_TIMEOUT = 3.0  # a server that just ended lets go of its lock in a moment
SOCKET_PATH_LIMIT = 100  # sun_path has 108 bytes on Linux and 104 on macOS
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+-]+")
_BUSY_WORDS = ("pre-existing shared memory block", "is still in use", "could not open lock file")
# A home server's memory is for pictures, not for the database: about 100 MiB with Dagster's connections.
SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    "huge_pages": "off",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "2",
    "autovacuum_max_workers": "2",
    "jit": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "lc_messages": "C",  # the retry below reads the server's words
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    # The statement and the row that failed hold a person's words, and where their photos were taken.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "logging_collector": "off",
}


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says."""

    pid: int
    socket_dir: str
    ready: bool


class Server:
    """The PostgreSQL server of one home folder.

    Attributes:
        home: The home folder.
        data: The folder of its data.
        log: Its log.
    """

    def __init__(self, home: Path) -> None:
        """Names the folders; touches nothing."""
        self.home = home
        self.data = home / "database"
        self.log = home / "logs" / "postgres.log"
        self._marker = home / MARKER
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Starts the server if it does not run, and returns the URL of the database.

        Raises:
            HomeRefused: Starting here could lose something.
            DatabaseUnavailable: The server did not start.
        """
        postmaster = self.postmaster()
        if postmaster is not None and not postmaster.ready:
            # Its starter was killed while it waited; the server goes on by itself.
            postmaster = self._wait_until_ready(None)
        if postmaster is None:
            self._prepare()
            postmaster = self._launch()
        url = embedded_url(postmaster.socket_dir)
        ensure_database(url)
        return url

    def _prepare(self) -> None:
        refuse_mount(self.home, mounted())
        make_folder(self.log.parent)
        account = server_account()
        if account is not None:
            let_account_reach(self.home)
            let_account_reach(binaries())
        if self._marker.is_file():
            refuse_missing_database(self.home, self.data, self._marker)
        elif not (self.data / "PG_VERSION").is_file():
            self._create(account)
        if not self._marker.is_file():
            self._write_marker()
        refuse_other_version(self.data)
        refuse_other_owner(self.data, account)

    def _create(self, account: Account | None) -> None:
        """Runs initdb beside its final place, so that a killed one leaves no half database."""
        if self.data.is_dir() and any(self.data.iterdir()):
            raise HomeRefused(
                f"{self.data} holds files but no database (PG_VERSION is missing). Nothing was changed. "
                "Restore the folder from a backup, move it away, or choose another home."
            )
        unfinished = self.home / "database.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if account is not None:
            os.chown(unfinished, account.uid, account.gid)
        run_tool(
            "initdb",
            # The built-in collation sorts alike on every machine: a home may be moved without broken indexes.
            [
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                "-U",
                SUPERUSER,
                "-D",
                str(unfinished),
            ],
            account,
        )
        if self.data.is_dir():
            self.data.rmdir()
        unfinished.rename(self.data)
        fsync_folder(self.home)

    def _write_marker(self) -> None:
        content = {"id": str(uuid.uuid4()), "created": datetime.now(UTC).isoformat(timespec="seconds")}
        with atomic_write(self._marker, "postgres") as handle:
            handle.write(f"{json.dumps(content)}\n".encode())

    def _launch(self) -> Postmaster:
        deadline = time.monotonic() + BUSY_TIMEOUT
        lock = self._lock_for_server(deadline)
        try:
            self._remove_stale_pid_file(deadline)
            while True:
                process = self._spawn(lock)
                try:
                    postmaster = self._wait_until_ready(process)
                except BaseException:
                    process.send_signal(signal.SIGINT)  # Ctrl-C while it starts leaves no server behind
                    raise
                if postmaster is not None:
                    return postmaster
                words = _tail(self.log)
                if not any(word in words for word in _BUSY_WORDS) or time.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        f"The database in {self.data} did not start. Its last words, from {self.log}:\n{words}"
                    )
                time.sleep(0.2)
        finally:
            os.close(lock)  # the server has it now, for as long as one of its processes lives

    def _lock_for_server(self, deadline: float) -> int:
        """Returns a locked file for the server to inherit.

        A server in another container has no number here and no memory that could be seen: PostgreSQL itself would take
        its pid file for a dead one's, and two servers on one folder destroy it. A lock is seen wherever the folder is.

        Raises:
            HomeRefused: A server that cannot be seen holds it.
        """
        handle = os.open(self.home / SERVER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for_lock(handle, deadline)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _wait_for_lock(self, handle: int, deadline: float) -> None:
        hidden_since = time.monotonic()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._parts_are_seen():  # of a killed one, about to end
                    hidden_since = time.monotonic()
            if time.monotonic() - hidden_since > HIDDEN_TIMEOUT:
                raise HomeRefused(
                    f"A database server works on {self.data} that cannot be seen from here, for instance in another "
                    "container that has the same home. A second one would destroy the catalog, so nothing was touched. "
                    "End it there (mediapipe-assets down), or work there."
                )
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"Parts of an earlier database server still run on {self.data}; try again.")
            time.sleep(0.05)

    def _parts_are_seen(self) -> bool:
        return any(_is_server(process.pid, self.data) for process in psutil.process_iter())

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        """Starts the server itself, not pg_ctl: that one passes paths through a shell. It inherits the lock."""
        settings = dict(SERVER_SETTINGS)
        settings["unix_socket_directories"] = str(self._socket_dir())
        command = [str(binaries() / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        _rotate(self.log)
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=tool_environment(),
                start_new_session=True,  # Ctrl-C of the starter is not for the server
                pass_fds=(lock,),
                **as_account(server_account()),
            )
        # Reaps it whenever it ends: a zombie would look like a running server to others.
        threading.Thread(target=self._process.wait, name="postgres-reaper", daemon=True).start()
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes] | None) -> Postmaster | None:
        """Returns the ready server, or None when it ended before; `process` is it when we started it."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            postmaster = self.postmaster()
            if postmaster is not None and postmaster.ready and (process is None or postmaster.pid == process.pid):
                return postmaster
            if process is not None and process.poll() is not None:
                return None
            if process is None and postmaster is None:
                return None
            time.sleep(0.01)
        raise DatabaseUnavailable(
            f"The database in {self.data} is not ready after {START_TIMEOUT:.0f} s. See {self.log}; "
            "recovery after a power cut can take longer: try again in some minutes."
        )

    def _socket_dir(self) -> Path:
        """Returns the data folder, or a private one elsewhere when its path does not fit a socket."""
        name = f".s.PGSQL.{PORT}"
        if _fits(self.data / name):
            return self.data
        at = self.data.stat()
        # Device and inode make it this folder's own, even for a copy of a home.
        digest = hashlib.sha256(f"{self.data}|{at.st_dev}|{at.st_ino}".encode(errors="surrogateescape")).hexdigest()
        for base in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  # short; what is made below it is private
            folder = base / f"mediapipe-{at.st_uid}-{digest[:16]}"
            if _fits(folder / name):
                _make_socket_dir(folder, at.st_uid, at.st_gid)
                return folder
        raise HomeRefused(
            f"No folder with a short enough path for the database's socket; set TMPDIR (home: {self.home})"
        )

    # --- what runs ---

    def postmaster(self) -> Postmaster | None:
        """Returns the living server of this home, never another process that got its number."""
        content = _read_pid_file(self.data)
        if content is None or not _is_server(content.pid, self.data):
            return None
        return content

    def _remove_stale_pid_file(self, deadline: float) -> None:
        """Removes a file that names a dead server, once none of its children is left.

        PostgreSQL does this itself unless the number lives on: as a zombie that no init reaps, or, after a restart of
        a container, as another process of the same account.
        """
        content = _read_pid_file(self.data)
        if content is None or not psutil.pid_exists(content.pid):
            return
        while self._parts_are_seen():
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"Parts of an earlier database server still run on {self.data}; try again.")
            time.sleep(0.1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    # --- stop ---

    def stop(self) -> bool:
        """Stops the server; returns False when none ran.

        Raises:
            DatabaseUnavailable: It cannot be stopped.
        """
        postmaster = self.postmaster()
        if postmaster is None:
            return False
        process = psutil.Process(postmaster.pid)
        # Fast (rolls back and writes a checkpoint), immediate (recovery at the next start), and at last the hard way.
        for sign, patience in ((signal.SIGINT, STOP_TIMEOUT), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sign)
            if _wait_gone(process, patience):
                self._remove_own_socket_dir(postmaster)
                return True
            logger.warning("the database did not end within %.0f s after %s", patience, sign.name)
        raise DatabaseUnavailable(f"The database server (process {postmaster.pid}) cannot be stopped; see {self.log}")

    def _remove_own_socket_dir(self, postmaster: Postmaster) -> None:
        folder = Path(postmaster.socket_dir)
        if folder != self.data and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _read_pid_file(data: Path) -> Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise HomeRefused(f"The database in {data} belongs to another account; run this as that account.") from error
    if not lines or not lines[0].strip().isdigit():
        return None
    ready = len(lines) >= 8 and lines[7].strip() == "ready"
    return Postmaster(int(lines[0]), lines[4].strip() if len(lines) > 4 else "", ready)


def _is_server(pid: int, data: Path) -> bool:
    """Says whether the process is a PostgreSQL process that works in `data`; a zombie is none."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name() and process.cwd() == str(data)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False  # another account's process cannot be the server of our folder


def _wait_gone(process: psutil.Process, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def _fits(socket: Path) -> bool:
    # Commas and quotes would be read as a list of folders.
    return len(os.fsencode(socket)) <= SOCKET_PATH_LIMIT and _PLAIN_PATH.fullmatch(str(socket)) is not None


def _make_socket_dir(folder: Path, uid: int, gid: int) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, gid)
    at = folder.lstat()
    if not stat.S_ISDIR(at.st_mode) or at.st_uid != uid or at.st_mode & 0o077:
        raise HomeRefused(f"{folder}, where the database's socket would be, belongs to somebody else; remove it.")


def _rotate(log: Path) -> None:
    if log.is_file() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
