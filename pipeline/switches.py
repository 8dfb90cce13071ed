"""What a person switches for the whole platform: a pause, and a run that is asked for.

Belongs here: the two values in `system_config`, and what a pause means for a run under way. Does not belong here: who
skips because of it (`sensors`, `jobs`), or the words of the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from catalog import config

PAUSED_AT, RUN_ASKED_AT = "paused_at", "run_asked_at"
RESUME = "`mediapipe-assets resume`, or /resume in Telegram, ends the pause."
LOOK_SECONDS = 1.0  # how often a run under way looks whether it is to stop


def pause(engine: Engine) -> datetime:
    """Lets nothing start by itself any more, and runs under way take up no new file.

    Returns:
        Since when, which is not now when it was paused before.
    """
    with engine.begin() as connection:
        since = paused_since(connection)
        if since is None:
            since = _now(connection)
            config.set_config(connection, PAUSED_AT, since.isoformat())
    return since


def resume(engine: Engine) -> bool:
    """Ends the pause, and asks for a run over what has waited for its end.

    Returns:
        Whether there was one.
    """
    with engine.begin() as connection:
        if paused_since(connection) is None:
            return False
        config.set_config(connection, PAUSED_AT, None)
        _ask(connection)
    return True


def paused_since(connection: Connection) -> datetime | None:
    """Returns since when nothing starts by itself, None while it does."""
    return _moment(config.get_config(connection, PAUSED_AT))


def ask_for_run(engine: Engine) -> datetime:
    """Asks for a run over whatever is pending; a sensor starts it within seconds, also during a pause.

    Returns:
        When it was asked for.
    """
    with engine.begin() as connection:
        return _ask(connection)


def run_asked_at(connection: Connection) -> datetime | None:
    """Returns when a person last asked for a run."""
    return _moment(config.get_config(connection, RUN_ASKED_AT))


def pause_in_words(since: datetime) -> str:
    """Returns what a pause is, for whoever wonders why nothing happens."""
    return f"Paused since {since:%Y-%m-%d %H:%M} UTC. {RESUME}"


def why_paused(engine: Engine) -> str | None:
    """Returns why nothing starts by itself, None while it does."""
    with engine.connect() as connection:
        since = paused_since(connection)
    return None if since is None else pause_in_words(since)


class RunPause:
    """Whether a run is to take up no more files, because a person asked for a pause.

    A run that a person starts during a pause works: it minds only a pause that comes after its start.
    """

    def __init__(self, engine: Engine, *, by_itself: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the catalog, whether no person started the run, and the clock that spaces the looks."""
        self._engine, self._clock = engine, clock
        self._next_look = float("-inf")
        self._reason: str | None = None
        with engine.connect() as connection:
            self._borne = None if by_itself else paused_since(connection)

    def __call__(self) -> str | None:
        """Returns why nothing more is taken up, None while all is well."""
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_SECONDS
            with self._engine.connect() as connection:
                since = paused_since(connection)
            self._reason = None if since is None or since == self._borne else pause_in_words(since)
        return self._reason


def _ask(connection: Connection) -> datetime:
    now = _now(connection)
    config.set_config(connection, RUN_ASKED_AT, now.isoformat())
    return now


def _now(connection: Connection) -> datetime:
    """Returns the database's time, for runs are recorded by it."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
