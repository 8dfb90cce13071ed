"""The room in an iCloud account, as its last upload told: while it is full, it is asked less and less often.

Belongs here: that pause, which outlives a restart, its words, and its end when a person wants it. Does not belong here:
the silence that Apple asks for and the sign-in (`pipeline.icloud_account`), uploads (`pipeline.icloud_delivery`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine

from catalog import icloud
from resources.delivery import NotNow

FIRST_PAUSE = timedelta(hours=1)
LONGEST_PAUSE = timedelta(days=1)


def pause(count: int) -> timedelta:
    """Returns for how long a full account is sent nothing, by how often in a row it was found full before."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * float(2 ** min(count, 10)))


def remember_full(engine: Engine, account: str, now: datetime) -> None:
    """Writes down that an account has no room left, so that the next process knows before it asks."""
    with engine.begin() as connection:
        count = icloud.account_state(connection, account).full_count
        icloud.set_account(connection, account, full_until=now + pause(count), full_count=count + 1)


@dataclass(frozen=True, slots=True)
class Room:
    """Whether photos that go to a destination find room there.

    Attributes:
        engine: The catalog.
        account: The account's name.
        destination: The destination's.
        now: The clock.
    """

    engine: Engine
    account: str
    destination: str
    now: Callable[[], datetime]

    def lacking(self) -> NotNow | None:
        """Returns why nothing is sent now, None while nothing speaks against it."""
        with self.engine.connect() as connection:
            until = icloud.account_state(connection, self.account).full_until
        if until is None or until <= self.now():
            return None
        words = (
            f"iCloud has no room left, so nothing is uploaded until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC. Make "
            f"room there or buy more; to try at once: mediapipe-assets run --destination {self.destination}"
        )
        return NotNow(words, (until - self.now()).total_seconds(), stops=True)

    def found(self, connection: Connection) -> None:
        """Forgets that the account was full, for it took a photo; unless it was found full a moment ago."""
        icloud.forget_full(connection, self.account, self.now())

    def ask_at_once(self) -> None:
        """Ends the pause: a person says so, who may have made room."""
        with self.engine.begin() as connection:
            icloud.forget_full(connection, self.account)
