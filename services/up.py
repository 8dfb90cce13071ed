"""`up`: starts the whole platform, keeps it running, and ends it cleanly.

Belongs here: which processes there are, in which order they start and end, and where they say so (`up.json`).
Does not belong here: the life of one process (`processes`), the database server (`resources.postgres`), the words of
the command line.

Order: PostgreSQL, the shared code server, then webserver and daemon as its clients; PostgreSQL ends last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import psutil
import psycopg2

from media.files import atomic_write, make_folder
from resources.postgres import EmbeddedPostgres
from resources.postgres_access import normalise_url, wait_for
from resources.postgres_tools import DatabaseUnavailable
from resources.redaction import redact
from services.processes import ORPHANS_GRACE, Child, Watchdog, end_groups

LOCATION = "mediapipe_assets"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TICK = 0.25
GRACE = 15.0  # what runs in progress get to write down where they are
SLOW_AFTER = 60.0
DATABASE_PATIENCE = 60.0
LINES_PER_TICK = 5
OURS = ("-m", "services.dagster_process")  # as `-m` alone, with secrets kept out of the log
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_KEY_LINE = re.compile(r" - (ERROR|CRITICAL) - |^\w*(Error|Exception): ")
_LOCATIONS = """{ workspaceOrError { ... on PythonError { message } ... on Workspace { locationEntries {
  name locationOrLoadError { __typename ... on PythonError { message } } } } } }"""

# The same database as the catalog: Dagster's tables are in schema public, the catalog's in mediapipe. The address comes
# from the environment, because it may hold a password.
_STORAGE = b"""
storage:
  postgres:
    postgres_url:
      env: MEDIAPIPE_DAGSTER_URL
"""

Say = Callable[[str], object]


@dataclass(frozen=True)
class UpInfo:
    """A running `up`, as `up.json` describes it.

    Attributes:
        pid: Its process id.
        create_time: When that process began, because numbers are given again.
        port: The webserver's port.
        url: Where a person opens it.
        code_server_port: Where the shared code server listens, on loopback.
        children: Name and process id of each child that runs.
    """

    pid: int
    create_time: float
    port: int
    url: str
    code_server_port: int
    children: dict[str, int]


class Refused(Exception):
    """`up` does not start; the message says why and what to do."""


def dagster_environment(home: Path, database_url: str) -> dict[str, str]:
    """Returns what every Dagster process of this home has in its environment.

    Args:
        home: The home folder.
        database_url: The database of catalog and Dagster.
    """
    home = home.expanduser().resolve()
    return {
        "DAGSTER_HOME": str(home / "dagster"),
        "MEDIAPIPE_HOME": str(home),
        "MEDIAPIPE_DAGSTER_URL": normalise_url(database_url),
        # 1,000 events on PostgreSQL: 30.6 s one by one, 0.7 s in one batch.
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        "PYTHONUNBUFFERED": "1",
    }


def prepare_dagster_home(home: Path) -> Path:
    """Makes DAGSTER_HOME with the repository's `dagster.yaml` and the storage in PostgreSQL, if it differs.

    Args:
        home: The home folder.

    Returns:
        DAGSTER_HOME.
    """
    folder = home.expanduser().resolve() / "dagster"
    make_folder(folder)
    source = Path(__file__).resolve().parents[1] / "dagster.yaml"
    if not source.is_file():
        raise Refused(f"{source.name} is missing beside the packages; install mediapipe-assets from its checkout.")
    _write_if_changed(folder / "dagster.yaml", source.read_bytes() + _STORAGE)
    return folder


def is_up(home: Path) -> UpInfo | None:
    """Returns the `up` that runs on this home, or None."""
    try:
        content = json.loads(_info_path(home).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    info = UpInfo(**content)
    return info if _is_alive(info) else None


def down(home: Path, timeout: float = 90.0) -> list[str]:
    """Ends `up`, and then an embedded database that is left running.

    Args:
        home: The home folder.
        timeout: Seconds that `up` gets before it is killed (its watchdog then ends its children).

    Returns:
        What was done, in lines for a person.
    """
    home = home.expanduser().resolve()
    lines = _end_up(home, timeout)
    postgres = EmbeddedPostgres(home)
    holders = postgres.holders()
    if postgres.stop():
        users = f"; process {', '.join(map(str, holders))} still used it" if holders else ""
        lines.append(f"Stopped the embedded database{users}.")
    return lines or ["Nothing was running."]


def up(
    home: Path,
    *,
    database_url: str | None,
    host: str,
    port: int,
    module: str = "mediapipe_assets.definitions",
    out: Say = print,
) -> int:
    """Runs the platform until Ctrl-C or SIGTERM.

    Args:
        home: The home folder.
        database_url: A PostgreSQL server's URL, or None for the embedded one.
        host: Where the webserver listens; only this machine's own addresses.
        port: The webserver's port.
        module: The module with the definitions.
        out: Gets the lines for the person; errors go to stderr.

    Returns:
        The exit code: 0 after a clean end, 1 when it does not start.

    Raises:
        HomeRefused: The home's database is not touched (exit code 5).
        DatabaseUnavailable: There is no database to work with.
    """
    home = home.expanduser().resolve()
    make_folder(home)
    try:
        _refuse_other_hosts(host)
        with _only_one(home), _stop_requests() as stop:
            _refuse_taken_port(host, port)
            return _Supervisor(home, database_url, host, port, module, out, stop).run()
    except Refused as error:
        _complain(str(error))
        return 1


class _StopRequest(Event):
    """Set by the first signal; another Ctrl-C after it asks not to wait for anybody."""

    hurry = False


class _Supervisor:
    """The processes of one `up`."""

    def __init__(
        self, home: Path, database_url: str | None, host: str, port: int, module: str, out: Say, stop: _StopRequest
    ) -> None:
        self._home = home
        self._host, self._port = host, port
        self._out, self._stop = out, stop
        self._postgres = EmbeddedPostgres(home) if database_url is None else None
        self._database_url = database_url
        self._module = module
        self._code_server_port = _free_port()
        self._watchdog = Watchdog(home)
        self._children: list[Child] = []
        self._began = time.monotonic()
        self._ready = False
        self._said_slow = False
        self._database_retry = 0.0

    def run(self) -> int:
        self._write_info()
        try:
            self._watchdog.ensure()
            url = self._database()
            self._children = self._plan(url)
            _create_tables_once(url, self._children[0])
            while not self._stop.is_set():
                self._tick()
                self._stop.wait(TICK)
        finally:
            self._end()
        self._out("Everything has ended.")
        return 0

    def _database(self) -> str:
        if self._postgres is not None:
            return self._postgres.acquire()
        assert self._database_url is not None
        wait_for(self._database_url, DATABASE_PATIENCE)
        return normalise_url(self._database_url)

    def _plan(self, url: str) -> list[Child]:
        dagster_home = prepare_dagster_home(self._home)
        workspace = dagster_home / "workspace.yaml"
        _write_if_changed(workspace, _workspace(self._code_server_port).encode())
        env = {**os.environ, **dagster_environment(self._home, url)}
        server = [*OURS, "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(self._code_server_port)]
        commands = {
            "code-server": [*server, "-m", self._module, "--location-name", LOCATION, "--log-level", "warning"],
            "webserver": [*OURS, "dagster_webserver", "-h", self._host, "-p", str(self._port), "-w", str(workspace)],
            "daemon": [*OURS, "dagster._daemon", "run", "-w", str(workspace)],
        }
        children = []
        for name, arguments in commands.items():
            log = self._home / "logs" / f"{name}.log"
            child = Child(name, [sys.executable, *arguments], dagster_home, env, log)
            child.begin_log()
            children.append(child)
        return children

    def _tick(self) -> None:
        self._watchdog.ensure()
        if self._postgres is not None and not self._postgres.is_running():
            self._restart_database(self._postgres)
        for child in self._children:
            self._look_after(child)
            self._repeat_key_lines(child)
        if not self._ready:
            self._look_whether_ready()

    def _restart_database(self, postgres: EmbeddedPostgres) -> None:
        if time.monotonic() < self._database_retry:
            return
        _complain("The database ended; starting it again.")
        try:
            postgres.ensure_running()
        except DatabaseUnavailable as error:
            self._database_retry = time.monotonic() + 10
            _complain(f"{error}\nThe next attempt is in 10 s.")
            return
        _complain("The database runs again; starting the webserver anew.")
        # It alone keeps connections open, and answers once with an error for each dead one.
        webserver = self._child("webserver")
        if webserver.group is not None:
            self._watchdog.forget(webserver.group)
            webserver.end(ORPHANS_GRACE)

    def _child(self, name: str) -> Child:
        return next(child for child in self._children if child.name == name)

    def _look_after(self, child: Child) -> None:
        group = child.group
        code = child.ended()
        if code is not None and group is not None:
            self._watchdog.forget(group)
            _complain(f"{child.name} ended ({_outcome(code)}); starting it again in {child.pause():.0f} s. {child.log}")
            self._write_info()
        if child.group is None and child.pause() == 0 and self._may_start(child):
            self._watchdog.watch(child.start())
            self._write_info()

    def _may_start(self, child: Child) -> bool:
        # Its clients would show an error until they look again, so they wait until it serves.
        return child is self._children[0] or _answers("127.0.0.1", self._code_server_port)

    def _repeat_key_lines(self, child: Child) -> None:
        lines = [_COLOURS.sub("", line) for line in child.new_lines()]
        key = [line for line in lines if _KEY_LINE.search(line)]
        for line in key[:LINES_PER_TICK]:
            _complain(f"[{child.name}] {line}")
        if len(key) > LINES_PER_TICK:
            _complain(f"[{child.name}] {len(key) - LINES_PER_TICK} more in {child.log}")

    def _look_whether_ready(self) -> None:
        seconds = time.monotonic() - self._began
        found = _location_state(self._url()) if _answers(self._host, self._port) else None
        if found is None:
            if seconds > SLOW_AFTER and not self._said_slow:
                self._said_slow = True
                _complain(f"Not ready after {seconds:.0f} s; {self._home / 'logs'} says what the processes are doing.")
            return
        self._ready = True
        if found:
            _complain(f"The definitions do not load: {found}\nCorrect it and press Reload in the browser.")
        self._out(f"{self._url()}  (ready after {seconds:.1f} s; Ctrl-C ends it)")

    def _end(self) -> None:
        groups = [child.group for child in self._children if child.group is not None]
        if groups:
            self._out("Ending; runs in progress write down where they are.")
        if not end_groups(groups, GRACE, self._is_hurried):
            _complain("Not everything ended by itself; the rest was killed.")
        for child in self._children:
            child.reap()
        if self._postgres is not None:
            self._postgres.release()
        _info_path(self._home).unlink(missing_ok=True)
        self._watchdog.dismiss()

    def _is_hurried(self) -> bool:
        for child in self._children:
            child.reap()
        return self._stop.hurry

    def _url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def _write_info(self) -> None:
        children = {child.name: child.group for child in self._children if child.group is not None}
        own = psutil.Process()
        info = UpInfo(own.pid, own.create_time(), self._port, self._url(), self._code_server_port, children)
        with atomic_write(_info_path(self._home), "up") as handle:
            handle.write(json.dumps(dataclasses.asdict(info), indent=2).encode() + b"\n")


# --- one `up` per home ---


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Holds the lock that makes a second `up` on this home impossible, even in the same second."""
    folder = home / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(_already_up(home)) from None
        yield
    finally:
        os.close(handle)


def _already_up(home: Path) -> str:
    info = is_up(home)
    where = f" at {info.url} (process {info.pid})" if info is not None else ""
    return f"It runs already{where}. End it with: mediapipe-assets down"


def _is_alive(info: UpInfo) -> bool:
    try:
        process = psutil.Process(info.pid)
        return abs(process.create_time() - info.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end_up(home: Path, timeout: float) -> list[str]:
    info = is_up(home)
    if info is None:
        return []
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGTERM)
    if _wait_until(lambda: not _is_alive(info), timeout):
        return [f"Ended the platform at {info.url}."]
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGKILL)
    _wait_until(lambda: not any(map(psutil.pid_exists, info.children.values())), 15)
    return [f"Killed the platform at {info.url}: it did not end within {timeout:.0f} s."]


def _info_path(home: Path) -> Path:
    return home.expanduser().resolve() / "run" / "up.json"


# --- what is refused ---


def _refuse_other_hosts(host: str) -> None:
    if host not in LOOPBACK:
        raise Refused(
            f"The web page has no login, so it is not opened to the network at {host}: anybody there could start and "
            "delete things. Leave it at 127.0.0.1 and reach it from elsewhere through SSH "
            "(ssh -L 3000:127.0.0.1:3000 this-machine) or a reverse proxy that asks for a password."
        )


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise Refused(f"This account may not open port {port}; choose one above 1023, as in --port 3000.") from None
        except OSError:
            raise Refused(
                f"Port {port} is taken{_taker(port)}. End that program, or choose another port, "
                f"as in --port {port + 1}."
            ) from None


def _taker(port: int) -> str:
    try:
        listening = [entry for entry in psutil.net_connections("tcp") if entry.status == psutil.CONN_LISTEN]
        pids = [entry.pid for entry in listening if entry.laddr and entry.laddr.port == port and entry.pid]
        return f" by {psutil.Process(pids[0]).name()} (process {pids[0]})" if pids else ""
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return ""  # who it is would only have been a help


# --- small parts ---


@contextlib.contextmanager
def _stop_requests() -> Iterator[_StopRequest]:
    request = _StopRequest()

    def ask(sign: int, _frame: FrameType | None) -> None:
        request.hurry = request.hurry or (request.is_set() and sign == signal.SIGINT)
        request.set()

    before = {sign: signal.signal(sign, ask) for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield request
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _create_tables_once(url: str, like: Child) -> None:
    """Lets one process make Dagster's tables; three that start on an empty database get in each other's way."""
    plain = url.replace("+psycopg2", "", 1)
    with contextlib.closing(psycopg2.connect(plain)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.runs') IS NOT NULL AND to_regclass('public.event_logs') IS NOT NULL")
        if cursor.fetchone() == (True,):
            return
    code = "from dagster import DagsterInstance; DagsterInstance.get().dispose()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=like.folder, env=dict(like.env), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DatabaseUnavailable(f"Dagster cannot make its tables: {done.stderr.strip()[-2000:]}")


def _workspace(port: int) -> str:
    return (
        "# Written by `mediapipe-assets up`: webserver and daemon share one code server.\n"
        "load_from:\n"
        f"  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {LOCATION}}}\n"
    )


def _location_state(url: str) -> str | None:
    """Returns "" when the code location is loaded, its error when it is not, None while the answer is not there."""
    body = json.dumps({"query": _LOCATIONS}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            found: dict[str, Any] = json.load(response)["data"]["workspaceOrError"]
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    if "message" in found:
        return str(found["message"]).strip()
    for entry in found["locationEntries"]:
        loaded = entry["locationOrLoadError"]
        if entry["name"] == LOCATION and loaded is not None:
            return str(loaded.get("message", "")).strip()
    return None


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _outcome(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"


def _write_if_changed(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    with atomic_write(path, f"up-{os.getpid()}") as handle:
        handle.write(content)


def _wait_until(happened: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _complain(words: str) -> None:
    sys.stderr.write(f"{redact(words)}\n")  # also what other programs logged
