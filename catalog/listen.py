"""Waiting for another process by PostgreSQL's LISTEN: within milliseconds, without asking over and over.

Belongs here: one session that listens. Does not belong here: what is waited for. A notice may be lost with its
session, so whoever waits looks at the tables first, and again after each wait.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine


class Listener:
    """A session that hears what is notified on its channels from now on."""

    def __init__(self, driver: Any) -> None:
        """Takes the driver's connection, which listens already."""
        self._driver = driver

    def wait(self, seconds: float) -> list[str]:
        """Waits until something was notified, at most so long.

        Returns:
            What was said, in order; empty after the time.

        Raises:
            psycopg2.OperationalError: The database is gone.
        """
        if not self._driver.notifies:
            select.select([self._driver], [], [], seconds)
        self._driver.poll()
        heard = [notice.payload for notice in self._driver.notifies]
        self._driver.notifies.clear()
        return heard

    def fileno(self) -> int:
        """Returns the session's socket, for an event loop; `wait(0)` says what came."""
        return int(self._driver.fileno())


@contextlib.contextmanager
def listening(engine: Engine, *channels: str) -> Iterator[Listener]:
    """Opens a session of its own that listens on channels while the block runs."""
    connection = engine.raw_connection()
    try:
        driver: Any = connection.driver_connection
        connection.detach()  # it never goes back to the pool: others would hear what is meant for this one
        driver.autocommit = True
        with driver.cursor() as cursor:
            for channel in channels:
                cursor.execute(f'LISTEN "{channel}"')
        yield Listener(driver)
    finally:
        connection.close()
