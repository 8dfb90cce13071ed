"""Requests and answers as the stand-in's parts see them.

Belongs here: one request, one answer, and how they are read and made. Does not belong here: sockets (`proxy`), what is
answered (`signin`, `photos`, `uploads`, `downloads`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

CHUNK = 1 << 18


class Readable(Protocol):
    """Where a request's body comes from."""

    def read(self, size: int = -1, /) -> bytes:
        """Returns up to `size` bytes, and none at the end."""


class Dropped(Exception):
    """The connection breaks off instead of an answer."""


@dataclass
class Request:
    """One request; its body is read by whoever answers it.

    Attributes:
        method: Such as GET.
        host: Without a port.
        path: Unquoted, without the query.
        query: The last value of each name.
        headers: By name, in any case.
        unread: How many bytes of the body are still to come.
        source: Where they come from.
    """

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: Message
    unread: int
    source: Readable

    @classmethod
    def of(cls, method: str, host: str, target: str, headers: Message, source: Readable) -> Request:
        """Returns the request that begins with this line and these headers."""
        parts = urlsplit(target)
        length = int(headers.get("Content-Length") or 0)
        return cls(method, host, unquote(parts.path), dict(parse_qsl(parts.query)), headers, length, source)

    @property
    def target(self) -> str:
        """Host and path, which a fault's `where` is looked for in."""
        return self.host + self.path

    def chunks(self) -> Iterator[bytes]:
        """Reads the body in pieces."""
        while self.unread:
            chunk = self.source.read(min(CHUNK, self.unread))
            if not chunk:
                raise Dropped
            self.unread -= len(chunk)
            yield chunk

    def json(self) -> Any:
        """Reads the body as JSON; nothing counts as an empty object."""
        body = b"".join(self.chunks())
        return json.loads(body) if body else {}

    def cookie(self, name: str) -> str | None:
        """Returns a cookie's value."""
        try:
            cookies = SimpleCookie(self.headers.get("Cookie") or "")
        except CookieError:
            return None
        return cookies[name].value if name in cookies else None


@dataclass
class Response:
    """One answer.

    Attributes:
        status: Such as 200.
        headers: In order; a name may come twice.
        length: What the header says, in bytes.
        chunks: The body. When less than `length` comes, the connection breaks off.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    length: int = 0
    chunks: Iterable[bytes] = ()

    @classmethod
    def of(cls, body: bytes, status: int = 200, kind: str = "application/json; charset=UTF-8") -> Response:
        """Returns an answer with a body that is there already."""
        return cls(status, [("Content-Type", kind)], len(body), (body,) if body else ())

    @classmethod
    def json(cls, content: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
        """Returns an answer in JSON."""
        response = cls.of(json.dumps(content, separators=(",", ":")).encode(), status)
        response.headers.extend(headers)
        return response
