"""PostgreSQL: the server that this platform brings along, shared by every process that works on a home.

Belongs here: when it is started and stopped: with its first user, and after its last. Does not belong here: its process
(`resources.postgres_server`), who its users are (`resources.postgres_leases`), speaking to any server
(`resources.postgres_access`), tables and queries (`catalog`), settings, Dagster.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

from resources.postgres_access import embedded_url
from resources.postgres_leases import Leases
from resources.postgres_server import START_TIMEOUT, STOP_TIMEOUT, Server


class EmbeddedPostgres:
    """The PostgreSQL server of one home folder, shared by every process that works on it.

    Each user of the server holds a lease, and the last living holder stops the server.

    A lease belongs to the process that took it; do not carry the object over a fork.
    """

    def __init__(self, home: Path) -> None:
        """Names the folders; touches nothing.

        Args:
            home: The home folder. It is created by the first `acquire`.
        """
        self.home = Path(home).expanduser().resolve()
        self._server = Server(self.home)
        self._leases = Leases(self.home)
        self.data = self._server.data
        self.log = self._server.log
        self._count = 0

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
            url = self._server.start()
            self._leases.take()
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
                self._leases.drop()
            if stop_if_last:
                self._stop_if_unused()

    def ensure_running(self) -> str:
        """Starts the server again if it died under the leases of its users; returns the URL."""
        with self._mutex():
            return self._server.start()

    def hold(self) -> str:
        """Starts the server without a lease, to stay until `stop` or a restart of the machine; returns the URL."""
        with self._mutex():
            url = self._server.start()
            self._leases.hold()
        return url

    def stop(self) -> bool:
        """Stops the server whoever uses it; ask `holders` before to say who that was.

        Returns:
            False when no server ran.
        """
        if not self._leases.exist():
            return False
        with self._mutex():
            self._leases.let_go()
            return self._server.stop()

    def stop_if_unused(self) -> bool:
        """Stops a server that a killed holder left behind.

        Returns:
            True when a server was stopped; False when none ran, or somebody holds it.
        """
        if not self._leases.exist():
            return False
        with self._mutex():
            return self._stop_if_unused()

    def is_running(self) -> bool:
        """Says whether the server of this home runs and takes connections."""
        postmaster = self._server.postmaster()
        return postmaster is not None and postmaster.ready

    def url(self) -> str | None:
        """Returns the URL of the running server's database, or None when none runs; takes no lease."""
        postmaster = self._server.postmaster()
        return embedded_url(postmaster.socket_dir) if postmaster is not None and postmaster.ready else None

    def pid(self) -> int | None:
        """Returns the server's process id, or None when none runs."""
        postmaster = self._server.postmaster()
        return postmaster.pid if postmaster is not None else None

    def holders(self) -> list[int]:
        """Returns the ids of the living processes that hold a lease."""
        return self._leases.holders()

    def is_held(self) -> bool:
        """Says whether `hold` keeps the server until `stop`; a restart of the machine ends that."""
        return self._leases.is_held()

    def _mutex(self) -> contextlib.AbstractContextManager[None]:
        return self._leases.mutex(START_TIMEOUT + STOP_TIMEOUT)

    def _stop_if_unused(self) -> bool:
        self._leases.forget_dead()
        return False if self.holders() or self.is_held() else self._server.stop()
