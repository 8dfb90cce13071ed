"""Fetches files by the signed addresses that iCloud hands out, and proves them to be Apple's bytes.

Belongs here: one file from its address to a whole, synced part; resuming; what each refusal means. Does not
belong here: the part itself (`resources.icloud_part`), where addresses come from (`resources.icloud`), which files are
due, when to try again, the final name.

A file counts only once its size and its checksum are what Apple announced. An address is a secret: whoever has it
has the photo. None is in a message, a `repr` or a log line; errors of requests, which quote it, do not leave here.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL, InvalidSchema, ProxyError, SSLError
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError
from urllib3.exceptions import TimeoutError as ReadTimeout

from media.apple_checksum import is_comparable
from media.files import CHUNK
from resources.http import ca_bundle, retry_after
from resources.icloud_part import Part, opened

RESUMES = 4  # in one fetch; a file that needs more waits for its next turn, and goes on from where it stands
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0  # seconds
MOST_REDIRECTS = 3
CONNECT_SECONDS, READ_SECONDS = 15.0, 60.0
_MB = 1e6
_EXPIRED = (403, 410)
_THROTTLED = (429, 503)
_STUMBLED = (408, 500, 502, 504)
_NETWORK = (requests.RequestException, HTTPError)
_FILE_NAME = "${f}"  # Apple's placeholder for the name that a browser would save the file under; any will do
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:(\d{1,18})|\*)", re.ASCII)


class DownloadError(Exception):
    """A file was not fetched; the message says why, in a person's words, and holds no address."""


class UrlExpired(DownloadError):
    """The signed address is no longer good: look the file up afresh. What has come of it is kept."""


class Throttled(DownloadError):
    """Apple wants to be asked less. What has come of the file is kept.

    Attributes:
        retry_after: Seconds that Apple asks for, None when it gave no time.
    """

    def __init__(self, retry_after: float | None) -> None:
        wait = "a while" if retry_after is None else f"{retry_after:.0f} s"
        super().__init__(f"Apple asks to slow down; it is asked again in {wait}.")
        self.retry_after = retry_after


class Unverifiable(DownloadError):
    """Apple's checksum is of a form that nobody can compute here, so that nothing but the size can be checked."""


class WrongBytes(DownloadError):
    """A whole fresh attempt gave other bytes than Apple announced. Nothing of it is kept."""


class ConnectionLost(DownloadError):
    """The connection broke off, gave too little or fell silent. What has come is kept for a resume."""


class Refused(DownloadError):
    """The server answered with something that neither waiting nor a fresh address is known to cure."""


class Untrusted(DownloadError):
    """The server's certificate is not trusted, so that nothing was asked of it."""


class _OtherBytes(Exception):
    """What comes cannot be the file, or cannot be joined to what is here already."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One part of an asset to fetch.

    Attributes:
        url: Its signed address, which may hold the placeholder `${f}` for a file name.
        part: The temporary file to write, in a folder that exists; the caller renames it later.
        checksum: Apple's `fileChecksum`.
        size: Bytes, as Apple says.
    """

    url: str = field(repr=False)
    part: Path
    checksum: str
    size: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that stands whole and synced at its part.

    Attributes:
        size: Its bytes, which are as many as Apple announced.
        checksum: The Apple checksum of its bytes, computed here.
        proven: Whether Apple's own checksum is the same; False when it could not be compared with ours.
        received: Bytes that came over the network just now, those of discarded attempts included.
    """

    size: int
    checksum: str
    proven: bool
    received: int

    def require_proof(self) -> None:
        """Refuses a file of which only the size was checked.

        Raises:
            Unverifiable: It is one.
        """
        if not self.proven:
            raise Unverifiable(
                "Apple's checksum of this file is of a kind that cannot be computed here: only its size is known to "
                "be right. It is kept, and nothing is deleted on the strength of it."
            )


class Downloader:
    """Fetches files over a number of connections that are kept open. Any thread may use it; one serves a whole run."""

    def __init__(
        self,
        connections: int,
        *,
        on_throttled: Callable[[float | None], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Opens no connection yet.

        Args:
            connections: How many there are at most at a time; more threads than that wait for each other.
            on_throttled: Called in the thread that was throttled, with the seconds that Apple asks for, so that
                a caller can hold back the others.
            now: The clock, for a Retry-After that is a date.
            sleep: Waits some seconds between two attempts; by default in a way that `close` ends.
            jitter: Gives numbers from 0 to 1, so that broken connections do not all come back at once.

        Raises:
            CertificatesMissing: The environment names trusted certificates that are not there.
        """
        self._on_throttled = on_throttled
        self._now = now
        self._closed = threading.Event()
        self._slots = threading.Semaphore(connections)
        self._lock = threading.Lock()
        self._bodies: set[BaseHTTPResponse] = set()
        self._sleep = sleep or self._closed.wait
        self._jitter = jitter
        self._verify = ca_bundle()
        self._session = _session(connections)

    def fetch(self, wanted: Wanted) -> Fetched:
        """Brings a file to its part, from where an earlier attempt left it.

        Bytes that are not the announced ones are thrown away and fetched once more from the first byte on, as the
        fault may have been in what was resumed. When Apple's checksum can't be compared with ours, nothing vouches
        for what an earlier attempt left, so that it is not resumed.

        Returns:
            What stands at `wanted.part`: all of the file, synced.

        Raises:
            UrlExpired: The address is no longer good.
            Throttled: Apple wants to be asked less.
            WrongBytes: The bytes are other ones than announced, twice.
            ConnectionLost: It broke off again and again, or `close` was called.
            Refused: Any other answer.
            Untrusted: The server's certificate is not trusted.
            OSError: The part cannot be written.
        """
        proven = is_comparable(wanted.checksum)
        with opened(wanted.part, resume=proven) as part:
            if self._attempt(wanted, part):
                part.begin_again()
                if wrong := self._attempt(wanted, part):
                    wanted.part.unlink()
                    raise WrongBytes(f"Apple's server gives other bytes than Apple announces: {wrong}. None are kept.")
            part.sync()
        return Fetched(part.count, part.checksum(), proven, part.received)

    def close(self) -> None:
        """Closes the connections. A fetch ends as `ConnectionLost`: at once if its body is coming, else in a minute."""
        self._closed.set()
        with self._lock:
            for body in self._bodies:
                with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has just ended by itself
                    body.shutdown()
        self._session.close()

    def __enter__(self) -> Downloader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, wanted: Wanted, part: Part) -> str:
        """Brings a part to its end, and returns what is wrong with it then; empty when it is the file."""
        try:
            self._complete(wanted, part)
        except _OtherBytes as other:
            return str(other)
        if is_comparable(wanted.checksum) and part.checksum() != wanted.checksum:
            return "the checksum differs"
        return ""

    def _complete(self, wanted: Wanted, part: Part) -> None:
        lost = self._go_on(wanted, part)
        for earlier in range(RESUMES):
            if not lost:
                return
            self._sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**earlier) * (0.5 + self._jitter() / 2))
            lost = self._go_on(wanted, part)
        if lost:
            raise ConnectionLost(_lost_sentence(part.count, wanted.size, lost))

    def _go_on(self, wanted: Wanted, part: Part) -> str:
        """Asks once for what is missing, and returns why it broke off; empty when nothing is missing any more."""
        if part.count == wanted.size > 0:
            return ""
        if part.count > wanted.size:
            raise _OtherBytes(f"there are more than the {wanted.size} announced")
        with self._slots:
            if self._closed.is_set():
                raise ConnectionLost(_lost_sentence(part.count, wanted.size, "the run is ending"))
            return self._request(wanted, part)

    def _request(self, wanted: Wanted, part: Part) -> str:
        failure: Exception | None = None
        try:
            response = self._ask(wanted.url.replace(_FILE_NAME, "file"), part.headers())
        except (*_NETWORK, ValueError) as error:
            failure = error
        if failure is not None:
            # Outside of the handler, as an error that is raised within it would carry this one, address and all.
            return _told(failure)
        with response:
            return self._refusal(response) or self._receive(response, wanted, part)

    def _ask(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Asks for an address, and follows where the answer leads, but not to just anywhere."""
        for _ in range(MOST_REDIRECTS + 1):
            if urlsplit(url).scheme not in ("https", "http"):
                raise Refused("The address that Apple gave is none of the web. Look the file up afresh.")
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                verify=self._verify,
                allow_redirects=False,
            )
            if not response.is_redirect:
                return response
            response.close()
            target = urljoin(url, response.headers["Location"])
            if not _may_follow(url, target):
                raise Refused(
                    f"Apple's server sends us on to {urlsplit(target).hostname or 'nowhere'} without encryption, which "
                    "it never does; somebody may be listening in. Nothing was fetched."
                )
            url = target
        raise Refused("Apple's server sends us on again and again, to no end.")

    def _refusal(self, response: requests.Response) -> str:
        """Returns why an answer without a body of ours is worth another try; empty for one with a body."""
        status = response.status_code
        if status in (200, 206):
            return ""
        if status in _EXPIRED:
            raise UrlExpired("The download address has expired; Apple is asked for a fresh one.")
        if status in _THROTTLED:
            wait = retry_after(response.headers.get("Retry-After", ""), self._now())
            if self._on_throttled is not None:
                self._on_throttled(wait)
            raise Throttled(wait)
        if status == 416:
            raise _OtherBytes("there are fewer than announced")
        if status in _STUMBLED:
            return f"Apple's server stumbled ({status})"
        raise Refused(f"Apple's server refused the download ({status}).")

    def _receive(self, response: requests.Response, wanted: Wanted, part: Part) -> str:
        _place(response, wanted, part)
        with self._under_way(response.raw):
            body = _Body(response.raw)
            while not self._closed.is_set() and (block := body.block(wanted.size - part.count + 1)):
                part.received += len(block)
                if part.count + len(block) > wanted.size:
                    raise _OtherBytes(f"there are more than the {wanted.size} announced")
                if self._closed.is_set():
                    break  # a connection that is shut down may end in bytes that are no longer deciphered
                part.write(block)
        if part.count == wanted.size:
            return ""  # how the connection ended after the last byte does not matter
        return body.lost or "it ended too early"

    @contextlib.contextmanager
    def _under_way(self, raw: BaseHTTPResponse) -> Iterator[None]:
        """Lets `close` reach a body while it is read."""
        with self._lock:
            self._bodies.add(raw)
        try:
            yield
        finally:
            with self._lock:
                self._bodies.discard(raw)


def _session(connections: int) -> requests.Session:
    """Returns a session that any thread may use: it has no state beside its connections."""
    session = requests.Session()
    # It need not block, as the slots do: who waits for a connection of a pool that is closed waits for ever.
    adapter = HTTPAdapter(pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers["Accept-Encoding"] = "identity"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _no_login
    return session


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from looking for a password in ~/.netrc."""
    return request


def _may_follow(origin: str, target: str) -> bool:
    """Returns whether a redirect keeps what protects the file on its way.

    From https to https, wherever that is: the checksum proves the bytes, and nothing but the range is said there.
    Without encryption only on the same host, which is a stand-in on this machine; never from the one to the other.
    """
    here, there = urlsplit(origin), urlsplit(target)
    return here.scheme == there.scheme and (here.scheme == "https" or here.netloc == there.netloc)


def _place(response: requests.Response, wanted: Wanted, part: Part) -> None:
    """Makes a part ready for the body of an answer, which may start elsewhere than was asked for."""
    if response.status_code == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != part.count or int(match[2] or wanted.size) != wanted.size:
            raise _OtherBytes("they come from another place than was asked for")
        return
    part.begin_again()
    part.version = response.headers.get("ETag", "")
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != wanted.size:
        raise _OtherBytes(f"there are {announced}, where {wanted.size} were announced")


def _told(failure: Exception) -> str:
    """Returns the sentence for a failure of the network.

    Raises:
        Untrusted: It is one of trust, which trying again does not cure.
        Refused: There was nothing to understand; the same.
    """
    if isinstance(failure, (InvalidProxyURL, InvalidSchema)):
        raise Refused("HTTPS_PROXY names a proxy that cannot be used. Correct it; it looks like http://host:port.")
    if isinstance(failure, ValueError):
        raise Refused("The address that Apple or its server gave cannot be understood. Look the file up afresh.")
    if isinstance(failure, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(failure):
        raise Untrusted(
            "The certificate of Apple's server is not trusted here. Is there a proxy that needs its own? Then name its "
            "file in REQUESTS_CA_BUNDLE or SSL_CERT_FILE."
        )
    return _why_lost(failure)


def _why_lost(failure: Exception) -> str:
    cause = failure.args[0] if failure.args else None
    if isinstance(failure, ProxyError):
        return "the proxy that HTTPS_PROXY names does not answer as it should"
    if isinstance(failure, (requests.Timeout, ReadTimeout)):
        return "the server fell silent"
    if isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError):
        return "the server cannot be reached; is there a network?"
    return "the network failed"


def _lost_sentence(count: int, size: int, why: str) -> str:
    return (
        f"The connection broke off after {count / _MB:.1f} of {size / _MB:.1f} MB: {why}. "
        "What has come is kept; the rest is fetched at the next try."
    )


class _Body:
    """The body of an answer, in blocks.

    Attributes:
        lost: Why the connection broke off; empty as long as it did not.
    """

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self.lost = ""
        self._raw = raw

    def block(self, most: int) -> bytes:
        """Returns the next bytes, none at the end or where the connection broke off."""
        try:
            return self._raw.read(min(CHUNK, most))
        except _NETWORK as error:
            self.lost = _why_lost(error)
            return b""
