"""`up`: starts the whole platform, keeps it running, and ends it cleanly.

Belongs here: which processes there are, in which order they start and end, and when all of it refuses to start.
Does not belong here: keeping a process running (`supervisor`), Dagster's own ones (`dagster_services`), where a running
`up` says so (`running`), the database server (`resources.postgres`), the words of the command line.

Order: PostgreSQL, the shared code server, then webserver and daemon as its clients; the bot waits for none of them.
PostgreSQL ends last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from types import FrameType

import psutil
from sqlalchemy.exc import DBAPIError

from catalog import heartbeats
from catalog.engine import open_engine
from media.files import atomic_write, make_folder
from resources.postgres import EmbeddedPostgres
from resources.postgres_access import normalise_url, wait_for
from resources.postgres_tools import DatabaseUnavailable
from resources.redaction import redact
from services.dagster_services import answers, create_tables_once, dagster_services, location_state, workspace_of
from services.processes import Watchdog
from services.running import end_up, is_up, remove_info, write_info
from services.supervisor import Say, Service, Supervisor

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TICK = 0.25
GRACE = 15.0  # what runs in progress get to write down where they are
SLOW_AFTER = 60.0
DATABASE_PATIENCE = 60.0
# The same database as the catalog: Dagster's tables are in schema public, the catalog's in mediapipe. The address comes
# from the environment, because it may hold a password.
_STORAGE = b"""
storage:
  postgres:
    postgres_url:
      env: MEDIAPIPE_DAGSTER_URL
"""


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


def down(home: Path, timeout: float = 90.0) -> list[str]:
    """Ends `up`, and then an embedded database that is left running.

    Args:
        home: The home folder.
        timeout: Seconds that `up` gets before it is killed (its watchdog then ends its children).

    Returns:
        What was done, in lines for a person.
    """
    home = home.expanduser().resolve()
    lines = end_up(home, timeout)
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
    with_bot: bool = False,
    module: str = "mediapipe_assets.definitions",
    out: Say = print,
) -> int:
    """Runs the platform until Ctrl-C or SIGTERM.

    Args:
        home: The home folder.
        database_url: A PostgreSQL server's URL, or None for the embedded one.
        host: Where the webserver listens; only this machine's own addresses.
        port: The webserver's port.
        with_bot: Whether to run the process too that speaks in Telegram and sends alerts.
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
            return _Platform(home, database_url, host, port, with_bot, module, out, stop).run()
    except Refused as error:
        _complain(str(error))
        return 1


class _StopRequest(Event):
    """Set by the first signal; another Ctrl-C after it asks not to wait for anybody."""

    hurry = False


class _Platform:
    """The processes of one `up`."""

    def __init__(
        self,
        home: Path,
        database_url: str | None,
        host: str,
        port: int,
        with_bot: bool,
        module: str,
        out: Say,
        stop: _StopRequest,
    ) -> None:
        self._home = home
        self._host, self._port = host, port
        self._out, self._stop = out, stop
        self._postgres = EmbeddedPostgres(home) if database_url is None else None
        self._database_url = database_url
        self._module, self._with_bot = module, with_bot
        self._code_server_port = _free_port()
        self._watchdog = Watchdog(home)
        self._supervisor = Supervisor(self._watchdog, home / "logs", self._write_info, _complain)
        self._began = time.monotonic()
        self._ready = False
        self._said_slow = False
        self._database_retry = 0.0
        self._catalog: str | None = None

    def run(self) -> int:
        self._write_info()
        try:
            self._watchdog.ensure()
            url = self._database()
            self._catalog = url
            dagster_home = prepare_dagster_home(self._home)
            env = {**os.environ, **dagster_environment(self._home, url)}
            self._supervisor.add(self._services(env, dagster_home), dagster_home)
            create_tables_once(url, dagster_home, env)
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

    def _services(self, env: Mapping[str, str], dagster_home: Path) -> list[Service]:
        """Returns what runs, in the order in which it is started."""
        workspace = dagster_home / "workspace.yaml"
        _write_if_changed(workspace, workspace_of(self._code_server_port).encode())
        services = dagster_services(
            env,
            workspace,
            self._module,
            code_server_port=self._code_server_port,
            host=self._host,
            port=self._port,
        )
        if not self._with_bot:
            return services
        # Its links lead to the web UI that runs here, whatever the settings say.
        bot_env = {**env, "MEDIAPIPE_WEB__PORT": str(self._port)}
        return [*services, Service("bot", ["-m", "mediapipe_assets", "bot"], bot_env)]

    def _tick(self) -> None:
        self._watchdog.ensure()
        if self._postgres is not None and not self._postgres.is_running():
            self._restart_database(self._postgres)
        self._supervisor.look()
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
        self._supervisor.database_restarted()

    def _look_whether_ready(self) -> None:
        seconds = time.monotonic() - self._began
        found = location_state(self._url()) if answers(self._host, self._port) else None
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
        if self._supervisor.groups:
            self._out("Ending; runs in progress write down where they are.")
        if not self._supervisor.end(GRACE, lambda: self._stop.hurry):
            _complain("Not everything ended by itself; the rest was killed.")
        if self._catalog is not None:
            _end_on_purpose(self._catalog)
        if self._postgres is not None:
            self._postgres.release()
        remove_info(self._home)
        self._watchdog.dismiss()

    def _url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def _write_info(self) -> None:
        write_info(self._home, self._port, self._url(), self._code_server_port, self._supervisor.groups)


def _end_on_purpose(url: str) -> None:
    """Says that the sensors are silent from now on because somebody wanted it; a database that is away is not told."""
    engine = open_engine(url)
    with contextlib.suppress(DBAPIError), engine.begin() as connection:
        heartbeats.stop_beating(connection, heartbeats.SENSORS)
    engine.dispose()


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


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_if_changed(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    with atomic_write(path, f"up-{os.getpid()}") as handle:
        handle.write(content)


def _complain(words: str) -> None:
    sys.stderr.write(f"{redact(words)}\n")  # also what other programs logged
