"""Who may speak to an Apple account, and when: one owner at a time, and long silences when Apple asks for them.

Belongs here: the lease of an account's session, the circuit breaker that outlives a restart, and the code in two
steps. Does not belong here: the sign-in itself (`resources.icloud_session`), the requests (`resources.icloud`), or what
the feed says (`pipeline.icloud_sync`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from catalog import icloud, twofa
from catalog.icloud import AccountState
from pipeline.icloud_room import remember_full
from resources.icloud import ICloud
from resources.icloud_errors import Away, ICloudError, NeedsPerson, QuotaFull, SignedInForNothing, Throttled
from resources.icloud_session import AppleSession, CodeSent
from resources.redaction import hide, redact

if TYPE_CHECKING:
    from pydantic import SecretStr

FIRST_SILENCE = timedelta(minutes=15)
LONGEST_SILENCE = timedelta(hours=12)
LONGEST_ASKED = timedelta(days=1)  # what a server names beyond that is a mistake, and would silence us for years
PAUSE_AFTER_NO_ANSWER = timedelta(minutes=2)  # a sign-in that nobody answers is no reason for a login loop
CODE_LIVES = timedelta(minutes=10)
CODE_PAUSE = timedelta(minutes=2)  # a person with two phones should not be flooded
WARN_DAYS = (7, 3, 1)
_WAIT_STEP = 0.2


class AccountBusy(ICloudError):
    """Another process speaks for this account."""

    def __init__(self, account: str) -> None:
        """Takes the account's name."""
        super().__init__(
            f"Another process is signed in to the account “{account}” at the moment; try again in a while."
        )


class LeftAlone(Throttled):
    """Apple is left alone until a time that a person can read."""

    def __init__(self, until: datetime, now: datetime) -> None:
        """Takes until when, and the present moment."""
        super().__init__((until - now).total_seconds())
        self.until = until
        self.args = (
            "Apple asked for fewer requests, or did not answer, so it is left alone until "
            f"{until:%Y-%m-%d %H:%M} UTC. It goes on by itself then; nothing is lost.",
        )


class NoCodeAwaited(ICloudError):
    """A code was handed in that nobody had asked for: which says nothing about the sign-in."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__("No code is awaited. Run: mediapipe-assets icloud login")


@dataclass(frozen=True, slots=True)
class Account:
    """An Apple account, as the settings describe it.

    Attributes:
        name: The name of the source that signs in with it.
        apple_id: The Apple ID.
        password: Its password, None to live on the session that is there.
        folder: Where its session's files are kept.
        trust_days: After how many days Apple's trust is expected to end.
        page_size: Records in one answer of the changes feed.
    """

    name: str
    apple_id: str
    password: SecretStr | None
    folder: Path
    trust_days: int = 60
    page_size: int = 200


def utc_now() -> datetime:
    """Returns the present moment, with its zone."""
    return datetime.now(UTC)


@contextlib.contextmanager
def owned(
    engine: Engine, account: Account, *, wait_seconds: float = 0.0, now: Callable[[], datetime] = utc_now
) -> Iterator[AppleSession]:
    """Holds the lease of an account's session, and yields it, not yet signed in.

    What Apple says about the account while the block runs is remembered.

    Args:
        engine: The catalog.
        account: Whose session.
        wait_seconds: How long to wait for another process that holds it.
        now: The clock.

    Raises:
        AccountBusy: Another process holds it.
        LeftAlone: Apple asked for fewer requests, and that time has not passed.
    """
    with engine.connect() as lease:
        _take_lease(lease, account.name, wait_seconds)
        try:
            with engine.connect() as connection:
                state = icloud.account_state(connection, account.name)
            if state.throttled_until is not None and state.throttled_until > now():
                raise LeftAlone(state.throttled_until, now())
            try:
                yield AppleSession(account.apple_id, account.password, account.folder)
            except ICloudError as error:
                remember(engine, account.name, error, now())
                raise
        finally:
            icloud.disown(lease, account.name)


@contextlib.contextmanager
def signed_in(
    engine: Engine, account: Account, *, wait_seconds: float = 0.0, now: Callable[[], datetime] = utc_now
) -> Iterator[ICloud]:
    """Like `owned`, and yields a client that Apple has accepted. No code is ever sent by this.

    Raises:
        NeedsPerson: Apple wants something that only a person can do.
    """
    with engine.connect() as connection:
        _refuse_hopeless(icloud.account_state(connection, account.name))
    with owned(engine, account, wait_seconds=wait_seconds, now=now) as session:
        with engine.connect() as connection:  # whoever was waited for may have learnt it just now
            _refuse_hopeless(icloud.account_state(connection, account.name))
        try:
            session.sign_in()
        except Away:
            _leave_alone(engine, account.name, now(), PAUSE_AFTER_NO_ANSWER, None)
            raise
        with engine.begin() as connection:
            icloud.set_account(
                connection, account.name, needs=None, needs_detail=None, signed_in_at=now(), throttled_until=None
            )
        yield ICloud(session, page_size=account.page_size)
        with engine.begin() as connection:
            icloud.calm_down(connection, account.name)


def _refuse_hopeless(state: AccountState) -> None:
    """Never signs in by itself while a person is needed: each such try sends a code, and a few lock an account."""
    if state.needs is not None:
        raise NeedsPerson(state.needs, state.needs_detail)  # type: ignore[arg-type]


def ask_for_code(
    engine: Engine, account: Account, *, renew: bool = False, now: Callable[[], datetime] = utc_now
) -> CodeSent | None:
    """Signs in as far as possible, and has Apple send a code where one is needed.

    A code that was sent a moment ago is not sent again: whoever waits for one gets the same.

    Args:
        engine: The catalog.
        account: Whose session.
        renew: Ask for a code although Apple still trusts this machine, so that the trust lasts from now on.
        now: The clock.

    Returns:
        Where the code was sent; None when the session is trusted and no code is needed.

    Raises:
        NeedsPerson: Something else than a code is needed.
    """
    with owned(engine, account, wait_seconds=30.0, now=now) as session:
        if renew and _code_under_way(engine, account, now()) is None:
            session.forget_trust()
        try:
            session.sign_in()
        except NeedsPerson as error:
            if error.need not in ("code", "security_key"):
                raise
            if error.need == "security_key":
                session.touch_security_key()
                _signed_in_by_person(engine, account, now())
                return None
        else:
            with engine.begin() as connection:
                icloud.set_account(
                    connection, account.name, needs=None, needs_detail=None, signed_in_at=now(), throttled_until=None
                )
                twofa.end_of_account(connection, account.name, "accepted")
            return None
        if (earlier := _code_under_way(engine, account, now())) is not None:
            with engine.begin() as connection:
                _open_request(connection, account.name, now())
            return earlier
        sent = session.ask_for_code()
        with engine.begin() as connection:
            icloud.set_account(
                connection,
                account.name,
                needs="code",
                needs_detail=str(NeedsPerson("code")),
                code_asked_at=now(),
                code_by=sent.by,
                code_phone=sent.phone,
            )
            _open_request(connection, account.name, now())
        return sent


def _open_request(connection: Connection, account: str, now: datetime) -> None:
    """Asks for the code that Apple sent last, for as long as it lives."""
    sent_at = icloud.account_state(connection, account).code_asked_at
    twofa.open_request(connection, account, now, (sent_at or now) + CODE_LIVES)


def _code_under_way(engine: Engine, account: Account, now: datetime) -> CodeSent | None:
    """Returns where a code went that Apple sent a moment ago and nobody has handed in yet."""
    with engine.connect() as connection:
        state = icloud.account_state(connection, account.name)
    if state.code_asked_at is None or state.code_by is None or now - state.code_asked_at >= CODE_PAUSE:
        return None
    return CodeSent(state.code_by, state.code_phone)  # type: ignore[arg-type]


def enter_code(engine: Engine, account: Account, code: str, *, now: Callable[[], datetime] = utc_now) -> bool:
    """Hands a code in, in whatever process it was typed. The code itself is kept nowhere.

    Returns:
        Whether Apple took it.

    Raises:
        NoCodeAwaited: No code was asked for, or it was too long ago.
    """
    hide(code)
    with owned(engine, account, wait_seconds=30.0, now=now) as session:
        with engine.connect() as connection:
            state = icloud.account_state(connection, account.name)
        if state.code_by is None or state.code_asked_at is None or now() - state.code_asked_at > CODE_LIVES:
            raise NoCodeAwaited
        if not session.enter_code(code, CodeSent(state.code_by, state.code_phone)):  # type: ignore[arg-type]
            return False
        _signed_in_by_person(engine, account, now())
        return True


def _signed_in_by_person(engine: Engine, account: Account, now: datetime) -> None:
    with engine.begin() as connection:
        icloud.set_account(
            connection,
            account.name,
            needs=None,
            needs_detail=None,
            signed_in_at=now,
            trusted_at=now,
            code_asked_at=None,
            code_by=None,
            code_phone=None,
            throttled_until=None,
            throttled_count=0,
        )
        twofa.end_of_account(connection, account.name, "accepted")


def trusted_since(engine: Engine, account: Account, moment: datetime) -> bool:
    """Returns whether a person signed in after a moment, in whatever process."""
    with engine.connect() as connection:
        trusted_at = icloud.account_state(connection, account.name).trusted_at
    return trusted_at is not None and trusted_at > moment


def trust_ends(state: AccountState, trust_days: int) -> datetime | None:
    """Returns when Apple's trust is likely to end, None where no code was ever entered here."""
    return None if state.trusted_at is None else state.trusted_at + timedelta(days=trust_days)


def trust_step(state: AccountState, trust_days: int, now: datetime) -> int | None:
    """Returns which of the warnings before the end of the trust is due: 7, 3 or 1 days before; None earlier."""
    ends = trust_ends(state, trust_days)
    return None if ends is None else next((days for days in sorted(WARN_DAYS) if ends - now <= timedelta(days)), None)


def trust_warning(state: AccountState, trust_days: int, now: datetime) -> str | None:
    """Returns a warning in the last days of the trust, counted as 7, 3 and 1 days before; None earlier."""
    ends = trust_ends(state, trust_days)
    if ends is None:
        return None
    if trust_step(state, trust_days, now) is None:
        return None
    left = (ends - now) / timedelta(days=1)
    when = "any day now" if left <= 0 else f"in about {max(1, round(left))} day{'s' if round(left) > 1 else ''}"
    return (
        f"Apple's trust in this machine is likely to end {when}. Run: mediapipe-assets icloud login --renew, while a "
        "phone is at hand."
    )


def _take_lease(session: Connection, name: str, wait_seconds: float) -> None:
    end = time.monotonic() + wait_seconds
    while not icloud.try_to_own(session, name):
        if time.monotonic() >= end:
            raise AccountBusy(name)
        time.sleep(_WAIT_STEP)


def remember(engine: Engine, name: str, error: ICloudError, now: datetime) -> None:
    """Writes what an error says about the account, so that the next process knows before it asks."""
    if isinstance(error, NeedsPerson):
        with engine.begin() as connection:
            icloud.set_account(connection, name, needs=error.need, needs_detail=redact(str(error)))
    if isinstance(error, Throttled) and not isinstance(error, LeftAlone):
        _leave_alone(engine, name, now, FIRST_SILENCE, error.retry_after)
    if isinstance(error, QuotaFull):
        remember_full(engine, name, now)
    if isinstance(error, SignedInForNothing):
        _leave_alone(engine, name, now, PAUSE_AFTER_NO_ANSWER, None)


def _leave_alone(engine: Engine, name: str, now: datetime, first: timedelta, retry_after: float | None) -> None:
    with engine.begin() as connection:
        count = icloud.account_state(connection, name).throttled_count
        until = now + silence(count, retry_after, first)
        icloud.set_account(connection, name, throttled_until=until, throttled_count=count + 1)


def silence(count: int, retry_after: float | None, first: timedelta = FIRST_SILENCE) -> timedelta:
    """Returns how long Apple is left alone: as long as it says, up to a day, and twice as long each time in a row.

    Args:
        count: How often in a row Apple had asked for that before.
        retry_after: Seconds that Apple named.
        first: How long the first time.
    """
    own = min(LONGEST_SILENCE, first * float(2 ** min(count, 10)))
    if retry_after is None:
        return own
    return max(own, timedelta(seconds=min(retry_after, LONGEST_ASKED.total_seconds())))
