"""The hosts that hand out bytes: signed addresses that expire, and downloads with ranges.

Belongs here: addresses of contents and the answers to them. Does not belong here: which contents a record names.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from threading import RLock
from urllib.parse import urlencode

from services.icloud_standin.contents import Content
from services.icloud_standin.faults import Faults
from services.icloud_standin.messages import Request, Response

HOST = "cvws.icloud-content.com"
_LIFE = 3600
_PATH = re.compile(r"/B/([^/]+)/[^/]*")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Downloads:
    """Knows every content that an address was made for."""

    def __init__(self, lock: RLock, faults: Faults) -> None:
        self._lock, self._faults = lock, faults
        self._contents: dict[str, Content] = {}
        self._secret = secrets.token_bytes(16)

    def address(self, content: Content) -> str:
        """Returns where the bytes can be fetched for the next hour."""
        key = content.checksum.replace("/", "_").replace("+", "-")
        expires = str(int(time.time()) + _LIFE)
        with self._lock:
            self._contents[key] = content
            signed = urlencode({"v": "1", "e": expires, "ckc": "com.apple.photos.cloud", "s": self._sign(key, expires)})
        # The clients ask for "${f}" as it stands; on a live account it is what they would replace by a file name.
        return f"https://{HOST}/B/{key}/${{f}}?{signed}"

    def expire(self) -> None:
        """Makes every address that was handed out so far answer 410."""
        with self._lock:
            self._secret = secrets.token_bytes(16)

    def answer(self, request: Request) -> Response:
        """Answers a download."""
        found = _PATH.fullmatch(request.path)
        if request.method != "GET" or not found:
            return Response.of(b"", 404)
        key, expires = found[1], request.query.get("e", "")
        with self._lock:
            content = self._contents.get(key)
            is_valid = hmac.compare_digest(self._sign(key, expires), request.query.get("s", ""))
        if not is_valid or int(expires) < time.time():
            return Response.of(b"", 410, "text/plain")
        if content is None:
            return Response.of(b"", 404, "text/plain")
        asked = request.headers.get("Range")
        if asked is None or self._faults.take("ignore_range", request.target):
            return _part(content, 0, content.size, 200)
        return _ranged(content, asked)

    def _sign(self, key: str, expires: str) -> str:
        return hmac.new(self._secret, f"{key} {expires}".encode(), hashlib.sha256).hexdigest()[:27]


def _ranged(content: Content, asked: str) -> Response:
    found = _RANGE.fullmatch(asked.replace(" ", ""))
    if not found or not (found[1] or found[2]):
        return _part(content, 0, content.size, 200)  # a range that can't be read is passed over
    start = int(found[1]) if found[1] else max(0, content.size - int(found[2]))
    stop = min(int(found[2]) + 1, content.size) if found[1] and found[2] else content.size
    if start >= stop:
        return Response(416, [("Content-Range", f"bytes */{content.size}")])
    return _part(content, start, stop, 206)


def _part(content: Content, start: int, stop: int, status: int) -> Response:
    headers = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
    if status == 206:
        headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{content.size}"))
    return Response(status, headers, stop - start, content.chunks(start, stop))
