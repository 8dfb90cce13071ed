"""Faults that the stand-in acts out on request: broken connections, refusals, late and altered answers.

Belongs here: which faults there are, when one is due, and what it does to an answer. Does not belong here: states of an
account or a library that lead to refusals by themselves, such as a locked account or a stale change tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

from services.icloud_standin.messages import Response

Kind = Literal[
    "answer",
    "drop",
    "lose_answer",
    "slow",
    "truncate",
    "flip",
    "ignore_range",
    "not_indexed",
    "not_visible",
    "conflict",
    "retry_put",
    "odd_accept",
]


@dataclass
class Fault:
    """One fault, added with `Faults.add`.

    Attributes:
        kind: What happens:
            answer: `status` and `body` are answered, and nothing else is done.
            drop: The connection breaks off before anything is done.
            lose_answer: Everything is done, then the connection breaks off instead of the answer.
            slow: The answer comes `seconds` later.
            truncate: The connection breaks off after `at` bytes of the body, or after half of it.
            flip: The byte at `at` of the body, or the middle one, comes altered.
            ignore_range: The whole body comes though a range was asked for.
            not_indexed: The library is said to be still indexing.
            not_visible: What is uploaded can't be seen for `seconds`.
            conflict: The first record of a change is treated as if its change tag were stale.
            retry_put: An upload's registration is refused with 503, to be tried again.
            odd_accept: A right code is answered with 409, as iCloud does at times.
        where: A regular expression that is searched for in the host and path; empty fits every request.
        times: How often it happens; None until it is removed.
        after: How many fitting requests go well before.
        seconds: For slow and not_visible.
        at: For truncate and flip.
        status: For answer.
        body: For answer; without one, what iCloud says with this status.
        retry_after: For answer: seconds in the header of this name.
        happened: How often it has happened.
    """

    kind: Kind
    where: str = ""
    times: int | None = 1
    after: int = 0
    seconds: float = 0.0
    at: int | None = None
    status: int = 503
    body: object = None
    retry_after: int | None = None
    happened: int = field(default=0, init=False)

    def response(self) -> Response:
        """Returns what an answer fault answers."""
        headers = [] if self.retry_after is None else [("Retry-After", str(self.retry_after))]
        content = _BODIES.get(self.status) if self.body is None else self.body
        if content is None:
            response = Response.of(b"", self.status, "text/html")
            response.headers.extend(headers)
            return response
        return Response.json(content, self.status, headers)

    def spoil(self, response: Response) -> None:
        """Cuts or alters the body that is about to be sent."""
        at = response.length // 2 if self.at is None else self.at
        if self.kind == "truncate":
            response.chunks = _cut(response.chunks, at)
        elif self.kind == "flip":
            response.chunks = _flipped(response.chunks, at)


# What iCloud sends along with a status. Quota is a guess: nobody has recorded that answer.
_BODIES: dict[int, object] = {
    421: {"success": False, "error": "Missing X-APPLE-WEBAUTH-TOKEN cookie"},
    450: {"success": False, "error": "Account requires authentication"},
    507: {"serverErrorCode": "QUOTA_EXCEEDED", "reason": "Quota exceeded"},
}


class Faults:
    """All faults that were added, oldest first."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Makes a fault happen from now on, and returns it."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Ends a fault."""
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Ends all faults."""
        with self._lock:
            self._faults.clear()

    def take(self, kind: Kind, target: str) -> Fault | None:
        """Returns a fault of this kind that is due at this host and path, and counts it as happened."""
        with self._lock:
            for fault in self._faults:
                if fault.kind != kind or not re.search(fault.where, target):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                elif fault.times is None or fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None


def _cut(chunks: Iterable[bytes], length: int) -> Iterator[bytes]:
    for chunk in chunks:
        if len(chunk) >= length:
            yield chunk[:length]
            return
        length -= len(chunk)
        yield chunk


def _flipped(chunks: Iterable[bytes], at: int) -> Iterator[bytes]:
    for chunk in chunks:
        if 0 <= at < len(chunk):
            yield chunk[:at] + bytes([chunk[at] ^ 0x10]) + chunk[at + 1 :]
        else:
            yield chunk
        at -= len(chunk)
