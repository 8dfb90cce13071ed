"""The code that Apple wants, between the process that needs it and the person who has it.

Belongs here: which answers are good ones, and waiting for one. Does not belong here: how a person is asked
(`services.telegram_bot`, the command line), or what Apple says to a code (`pipeline.icloud_account`).

Whoever has the code hands it to Apple in their own process, so it is written down nowhere; who waits is told by
PostgreSQL that the request has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import Engine

from catalog import heartbeats, icloud, twofa
from catalog.listen import listening
from catalog.twofa import CodeRequest
from pipeline.icloud_account import Account, NoCodeAwaited, ask_for_code, enter_code, utc_now
from resources.icloud_errors import ICloudError, NeedsPerson
from resources.redaction import hide

MOST_WRONG = 3  # codes in one request; Apple locks an account after some more
BOT_SILENCE = timedelta(seconds=90)
POLL_SECONDS = 5.0  # a notice can be lost with its session


class Verdict(Enum):
    """What came of an answer; the value is what a person is told."""

    ACCEPTED = "Apple took the code. Signed in."
    WRONG = "Apple did not take this code. Look at it once more and send it again."
    TOO_MANY = "Apple did not take the code three times; that was the last try. /2fa asks Apple for a new one."
    NOT_ASKED = "Nobody asked for a code. /2fa asks Apple for one."
    OLDER = "This code is older than the question, so it is not used. Send the one that Apple shows now."
    EXPIRED = "That took too long; the code is no longer good. /2fa asks Apple for a new one."
    USED = "This code was used already. Send the one that Apple shows now."
    BUSY = "Another code is being tried just now."


@dataclass(frozen=True, slots=True)
class Answer:
    """A code that a person sent.

    Attributes:
        code: Six digits.
        sent_at: When it was sent, by the messenger's clock.
        update_id: The messenger's number of it.
        message_id: The message's number in its chat; they rise.
    """

    code: str = field(repr=False)
    sent_at: datetime
    update_id: int
    message_id: int


@dataclass
class Answers:
    """Judges answers, in the one process that hears them.

    Attributes:
        engine: The catalog.
        account: Finds an account by its name.
        now: The clock.
    """

    engine: Engine
    account: Callable[[str], Account]
    now: Callable[[], datetime] = utc_now
    _tried: set[tuple[int, str]] = field(default_factory=set, repr=False)

    def judge(self, answer: Answer) -> tuple[Verdict, CodeRequest | None]:
        """Hands a code to Apple, if it answers an open request.

        Returns:
            What came of it, and the request that it was meant for.

        Raises:
            ICloudError: Apple is away, or wants something else by now.
        """
        hide(answer.code)
        now = self.now()
        with self.engine.begin() as connection:
            if twofa.has_answered(connection, answer.update_id):
                return Verdict.USED, None
            expired = twofa.expire(connection, now)
            request = next(iter(twofa.open_requests(connection)), None)
            if request is None:
                late = twofa.request(connection, expired[0]) if expired else None
                return (Verdict.EXPIRED if late else Verdict.NOT_ASKED), late
        if _is_older(answer, request):
            return Verdict.OLDER, request
        if (request.id, answer.code) in self._tried:
            return Verdict.USED, request
        return self._hand_in(answer, request), request

    def _hand_in(self, answer: Answer, request: CodeRequest) -> Verdict:
        with self.engine.begin() as held:
            if not twofa.hold(held, request.id):
                return Verdict.BUSY
            self._tried.add((request.id, answer.code))
            try:
                accepted = enter_code(self.engine, self.account(request.account), answer.code, now=self.now)
            except NoCodeAwaited:
                return Verdict.EXPIRED
            except ICloudError:
                # Apple may not have seen it, so the same one may be sent again.
                self._tried.discard((request.id, answer.code))
                raise
            twofa.set_update(held, request.id, answer.update_id)
            if accepted:
                return Verdict.ACCEPTED
            if twofa.count_wrong(held, request.id) < MOST_WRONG:
                return Verdict.WRONG
            twofa.end(held, request.id, "refused")
            return Verdict.TOO_MANY


def cancel(engine: Engine, request_id: int) -> bool:
    """Ends a request that nobody wants to answer; the process that waits goes on without.

    Returns:
        Whether it was still open.
    """
    with engine.begin() as connection:
        return twofa.end(connection, request_id, "canceled")


def ask_person(
    engine: Engine, account: Account, error: ICloudError, *, now: Callable[[], datetime] = utc_now
) -> datetime | None:
    """Has Apple send a code to a person whom the bot asks for it, once for each time that the trust ended.

    Nobody is asked when no bot is there to hear the answer, nor again when an earlier question went unanswered: a
    person asks for another code when it suits them.

    Args:
        engine: The catalog.
        account: Whose session; nobody may hold it.
        error: What Apple answered.
        now: The clock.

    Returns:
        Until when the answer may come; None when nobody is asked.

    Raises:
        ICloudError: Apple sends none.
    """
    if not isinstance(error, NeedsPerson) or error.need != "code":
        return None
    with engine.begin() as connection:
        twofa.expire(connection, now())
        beat = heartbeats.last_beat(connection, heartbeats.BOT)
        request = twofa.open_request_of(connection, account.name)
        trusted = icloud.account_state(connection, account.name).trusted_at
        asked = twofa.was_asked_since(connection, account.name, trusted)
    if beat is None or now() - beat > BOT_SILENCE:
        return None
    if request is None and not asked:
        ask_for_code(engine, account, now=now)
        with engine.connect() as connection:
            request = twofa.open_request_of(connection, account.name)
    return None if request is None else request.expires_at


def wait_for_code(
    engine: Engine,
    account: str,
    *,
    stopped: Callable[[], bool] = lambda: False,
    now: Callable[[], datetime] = utc_now,
) -> bool:
    """Waits until the open request of an account has ended, which is ten minutes at most.

    Args:
        engine: The catalog.
        account: The account's name.
        stopped: Whether the run is ending, so that nobody waits any more; looked at every few seconds.
        now: The clock.

    Returns:
        Whether Apple took a code.
    """
    with listening(engine, twofa.TWOFA_CHANNEL) as listener, engine.connect() as connection:
        asked = twofa.open_request_of(connection, account)
        connection.rollback()
        while asked is not None and asked.state == "open" and not stopped():
            left = (asked.expires_at - now()).total_seconds()
            if left <= 0:
                twofa.expire(connection, now())
                connection.commit()
                return False
            listener.wait(min(left, POLL_SECONDS))
            asked = twofa.request(connection, asked.id)
            connection.rollback()
        return asked is not None and asked.state == "accepted"


def _is_older(answer: Answer, request: CodeRequest) -> bool:
    """Returns whether a code was sent before it was asked for, and so answers something else.

    The messenger's clock is another one than ours, so the order of messages tells first; of a code that came before
    the bot could ask, as it was down, only the clock tells.
    """
    if request.message_id is not None and answer.message_id > request.message_id:
        return False
    return answer.sent_at < request.asked_at.replace(microsecond=0)
