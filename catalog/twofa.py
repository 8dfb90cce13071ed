"""Codes that Apple wants from a person: who was asked, until when, and how it ended. The code itself is in no table.

Belongs here: the rows of `twofa_requests`, and waking who waits. Does not belong here: handing a code to Apple
(`pipeline.icloud_account`), or what makes an answer good (`pipeline.twofa`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

# The PostgreSQL channel on which every change of a request is told, by its id.
TWOFA_CHANNEL = "mediapipe_twofa"
# First key of the advisory lock of whoever hands in an answer; the second is the request's id.
REQUEST_CLASS = 0x6D70_0005
Ending = Literal["accepted", "canceled", "expired", "refused"]
_COLUMNS = "id, account, asked_at, expires_at, state, wrong_codes, message_id"


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """One request for a code.

    Attributes:
        id: Its number.
        account: The account that Apple wants it for.
        asked_at: When Apple was asked to send one.
        expires_at: When it is too late for an answer.
        state: `open`, or how it ended.
        wrong_codes: Codes that Apple did not take.
        message_id: The message that asks a person, None while none does.
    """

    id: int
    account: str
    asked_at: datetime
    expires_at: datetime
    state: str
    wrong_codes: int
    message_id: int | None


def open_request(connection: Connection, account: str, asked_at: datetime, expires_at: datetime) -> int:
    """Asks for a code; an account has one open request at a time, and who asks again gets the same.

    It then stays open for as long as the newest code lives.

    Returns:
        The request's id.
    """
    expire(connection, asked_at)
    connection.execute(
        text(
            "INSERT INTO twofa_requests (account, asked_at, expires_at) VALUES (:account, :asked, :expires) "
            "ON CONFLICT (account) WHERE state = 'open' DO UPDATE "
            "SET expires_at = greatest(twofa_requests.expires_at, excluded.expires_at)"
        ),
        {"account": account, "asked": asked_at, "expires": expires_at},
    )
    found = open_request_of(connection, account)
    assert found is not None
    _wake(connection, found.id)
    return found.id


def open_request_of(connection: Connection, account: str) -> CodeRequest | None:
    """Returns the open request of an account."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM twofa_requests WHERE account = :account AND state = 'open'"),
        {"account": account},
    ).first()
    return None if row is None else _request(row)


def open_requests(connection: Connection) -> list[CodeRequest]:
    """Returns all open requests, the oldest first."""
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM twofa_requests WHERE state = 'open' ORDER BY id"))
    return [_request(row) for row in rows]


def was_asked_since(connection: Connection, account: str, moment: datetime | None) -> bool:
    """Returns whether a code was asked for after a moment, or ever."""
    found = connection.execute(
        text(
            "SELECT 1 FROM twofa_requests WHERE account = :account "
            "AND asked_at > coalesce(CAST(:moment AS timestamptz), '-infinity') LIMIT 1"
        ),
        {"account": account, "moment": moment},
    )
    return found.first() is not None


def announced_since(connection: Connection, moment: datetime) -> list[CodeRequest]:
    """Returns the requests since a moment that a message asks for, however they stand, the oldest first."""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM twofa_requests WHERE message_id IS NOT NULL AND asked_at >= :moment ORDER BY id"),
        {"moment": moment},
    )
    return [_request(row) for row in rows]


def request(connection: Connection, request_id: int) -> CodeRequest | None:
    """Returns a request as it stands now."""
    row = connection.execute(text(f"SELECT {_COLUMNS} FROM twofa_requests WHERE id = :id"), {"id": request_id}).first()
    return None if row is None else _request(row)


def hold(connection: Connection, request_id: int) -> bool:
    """Keeps others from answering an open request until the transaction ends.

    The row itself stays free: whoever signs in meanwhile ends it in a transaction of their own.

    Returns:
        Whether it is ours; False when it has ended, or when another answer is just being handed in.
    """
    held: bool = connection.execute(
        text("SELECT pg_try_advisory_xact_lock(:class, :id)"), {"class": REQUEST_CLASS, "id": request_id}
    ).scalar_one()
    found = request(connection, request_id) if held else None
    return found is not None and found.state == "open"


def end(connection: Connection, request_id: int, ending: Ending) -> bool:
    """Ends a request that is open.

    Returns:
        Whether it was.
    """
    return _end(connection, "id = :id", {"id": request_id}, ending) == [request_id]


def end_of_account(connection: Connection, account: str, ending: Ending) -> None:
    """Ends the open request of an account, if there is one."""
    _end(connection, "account = :account", {"account": account}, ending)


def expire(connection: Connection, now: datetime) -> list[int]:
    """Ends the requests whose time has passed, and returns their ids."""
    return _end(connection, "expires_at <= :now", {"now": now}, "expired")


def count_wrong(connection: Connection, request_id: int) -> int:
    """Counts a code that Apple did not take, and returns how many there were for this request."""
    count: int = connection.execute(
        text("UPDATE twofa_requests SET wrong_codes = wrong_codes + 1 WHERE id = :id RETURNING wrong_codes"),
        {"id": request_id},
    ).scalar_one()
    return count


def set_message(connection: Connection, request_id: int, message_id: int) -> None:
    """Remembers the message that asks a person."""
    connection.execute(
        text("UPDATE twofa_requests SET message_id = :message WHERE id = :id"),
        {"id": request_id, "message": message_id},
    )


def set_update(connection: Connection, request_id: int, update_id: int) -> None:
    """Remembers which update of Telegram answered."""
    connection.execute(
        text("UPDATE twofa_requests SET answered_update = :update WHERE id = :id"),
        {"id": request_id, "update": update_id},
    )


def has_answered(connection: Connection, update_id: int) -> bool:
    """Returns whether an update has answered a request before."""
    return (
        connection.execute(
            text("SELECT 1 FROM twofa_requests WHERE answered_update = :update"), {"update": update_id}
        ).first()
        is not None
    )


def _end(connection: Connection, which: str, values: dict[str, Any], ending: Ending) -> list[int]:
    ended = connection.execute(
        text(
            f"UPDATE twofa_requests SET state = :ending, ended_at = now() WHERE state = 'open' AND {which} RETURNING id"
        ),
        {**values, "ending": ending},
    )
    ids = sorted(ended.scalars())
    for one in ids:
        _wake(connection, one)
    return ids


def _wake(connection: Connection, request_id: int) -> None:
    connection.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": TWOFA_CHANNEL, "id": str(request_id)})


def _request(row: Row[Any]) -> CodeRequest:
    return CodeRequest(**row._mapping)
