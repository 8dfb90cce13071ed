"""The downloader against a server on loopback that acts out what goes wrong between Apple and here."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import logging
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from media.apple_checksum import AppleChecksum
from resources import icloud_download
from resources.http import CertificatesMissing, ca_bundle
from resources.icloud_download import (
    RESUMES,
    ConnectionLost,
    Downloader,
    DownloadError,
    Fetched,
    Refused,
    Throttled,
    Untrusted,
    Unverifiable,
    UrlExpired,
    Wanted,
    WrongBytes,
)

CONTENT = os.urandom(3_000_017)
NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
SECRET = "k=s3cr3t-signature"
QUERY = f"?o=AqN_x&{SECRET}&e=1533044225"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
CDN = "cvws.icloud-content.com"


# ------------------------------------------------------------------ the server


class Handler(BaseHTTPRequestHandler):
    """Answers a request by the next act."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self)
        act = self.server.acts.pop(0) if self.server.acts else self.server.always
        with contextlib.suppress(ConnectionError):
            act(self)

    @property
    def start(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else None

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


Act = Callable[[Handler], None]


def serving(
    content: bytes = CONTENT,
    *,
    stop: int | None = None,
    reset: bool = False,
    flip: int | None = None,
    ranges: bool = True,
    shift: int = 0,
    headers: dict[str, str] | None = None,
) -> Act:
    """Makes an act that serves a content, with what goes wrong.

    Args:
        content: The file.
        stop: The connection ends after so many bytes of the body.
        reset: It ends as if somebody pulled the plug.
        flip: The byte of the file that comes altered.
        ranges: Whether a wish for a range is honoured.
        shift: So many bytes lie between the range that was asked for and the one that comes.
        headers: To change the answer's own.
    """

    def act(handler: Handler) -> None:
        start = (handler.start or 0) + shift if ranges else 0
        part = ranges and handler.start is not None
        if part and start >= len(content):
            return handler.answer(416, {"Content-Range": f"bytes */{len(content)}"})
        body = bytearray(content[start:])
        if flip is not None and flip >= start:
            body[flip - start] ^= 0x10
        own = {"Content-Length": str(len(body))}
        if part:
            own["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206 if part else 200, own | (headers or {}), bytes(body[:stop]))
        if stop is not None or (headers or {}).get("Content-Length") == "":
            hang_up(handler, reset)
        return None

    return act


def hang_up(handler: Handler, reset: bool = False) -> None:
    handler.close_connection = True
    if reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()


def endless(handler: Handler) -> None:
    """Sends more and more, without ever having said how much it will be."""
    handler.answer(200, {"Content-Length": "", "Transfer-Encoding": "chunked"})
    with contextlib.suppress(ConnectionError):
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def saying(status: int, **headers: str) -> Act:
    return lambda handler: handler.answer(status, {name.replace("_", "-"): value for name, value in headers.items()})


class Server(ThreadingHTTPServer):
    """Remembers what it was asked, and does what it is told: the acts one after the other, then always the same."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        self.acts: list[Act] = []
        self.always: Act = serving()
        self.asked: list[Handler] = []
        if context is not None:
            self.scheme = "https"
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def url(self, host: str = "127.0.0.1", path: str = "/B/file") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}{QUERY}"

    @property
    def starts(self) -> list[int | None]:
        return [one.start for one in self.asked]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is what is tested here


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def apple() -> Iterator[Server]:
    with running(Server()) as server:
        yield server


class Certificates:
    """An authority of our own, and a context for servers under any of some names."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A test's own")])
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("localhost"), x509.DNSName(CDN), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.bundle, folder / "key.pem")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *BUNDLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / ".mpa-run-1.part"


class Client(Downloader):
    """A downloader that does not wait, but remembers how long it would have."""

    def __init__(self, connections: int = 4, **options: Any) -> None:
        self.pauses: list[float] = []
        options = {"now": lambda: NOW, "sleep": self.pauses.append, "jitter": lambda: 1.0} | options
        super().__init__(connections, **options)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client() as one:
        yield one


def checksum(content: bytes) -> str:
    whole = AppleChecksum()
    whole.update(content)
    return whole.value()


def wanted(url: str, part: Path, content: bytes = CONTENT, **other: Any) -> Wanted:
    return Wanted(**({"url": url, "part": part, "checksum": checksum(content), "size": len(content)} | other))


# ------------------------------------------------------------------ what goes well


def test_a_file_arrives_whole_and_proven(apple: Server, client: Client, part: Path) -> None:
    fetched = client.fetch(wanted(apple.url(), part))
    assert fetched == Fetched(len(CONTENT), checksum(CONTENT), proven=True, received=len(CONTENT))
    assert part.read_bytes() == CONTENT
    fetched.require_proof()


def test_only_the_bytes_are_asked_for_without_compression_cookies_or_passwords(
    apple: Server, client: Client, part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    apple.acts = [serving(headers={"Set-Cookie": "who=you"})]
    for number in range(2):
        client.fetch(wanted(apple.url(), part.with_suffix(f".{number}")))
    for one in apple.asked:
        assert one.headers["Accept-Encoding"] == "identity"
        assert not {"Cookie", "Authorization", "Range"} & set(one.headers)


def test_the_placeholder_for_a_file_name_is_filled_in(apple: Server, client: Client, part: Path) -> None:
    client.fetch(wanted(apple.url(path="/B/AYek/${f}"), part))
    assert [one.path for one in apple.asked] == [f"/B/AYek/file{QUERY}"]


def test_an_empty_file_is_a_file(apple: Server, client: Client, part: Path) -> None:
    apple.always = serving(b"")
    assert client.fetch(wanted(apple.url(), part, b"")).proven
    assert part.read_bytes() == b""


def test_the_file_is_synced_exactly_once(
    apple: Server, client: Client, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    client.fetch(wanted(apple.url(), part))
    assert synced == [len(CONTENT)]


def test_threads_share_the_connections_and_no_more_than_were_allowed(apple: Server, tmp_path: Path) -> None:
    def fetch(number: int) -> bool:
        return client.fetch(wanted(apple.url(), tmp_path / f"{number}.part")).proven

    with Client(3) as client, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(fetch, range(24)))
    assert len({one.client_address for one in apple.asked}) <= 3


# ------------------------------------------------------------------ resuming


@pytest.mark.parametrize("stop", [0, 1, 1000, (1 << 20) + 5, len(CONTENT) - 1])
def test_a_dropped_connection_is_resumed_at_the_very_byte(apple: Server, client: Client, part: Path, stop: int) -> None:
    apple.acts = [serving(stop=stop)]
    fetched = client.fetch(wanted(apple.url(), part))
    assert (fetched.proven, fetched.received) == (True, len(CONTENT))
    assert apple.starts == [None, stop or None]
    assert part.read_bytes() == CONTENT


def test_a_connection_that_is_reset_is_resumed(apple: Server, client: Client, part: Path) -> None:
    apple.acts = [serving(stop=2_000_000, reset=True), serving(stop=0, reset=True)]
    assert client.fetch(wanted(apple.url(), part)).proven
    assert len(apple.asked) == 3
    assert part.read_bytes() == CONTENT


def test_a_body_that_ends_too_early_without_having_said_its_length_is_resumed(
    apple: Server, client: Client, part: Path
) -> None:
    apple.acts = [serving(stop=1_500_000, headers={"Content-Length": ""})]
    assert client.fetch(wanted(apple.url(), part)).proven
    assert apple.starts == [None, 1_500_000]


def test_what_an_earlier_run_left_is_resumed(apple: Server, client: Client, part: Path) -> None:
    part.write_bytes(CONTENT[:2_000_000])
    part.chmod(0o444)
    fetched = client.fetch(wanted(apple.url(), part))
    assert (fetched.proven, fetched.received) == (True, len(CONTENT) - 2_000_000)
    assert apple.starts == [2_000_000]
    assert part.read_bytes() == CONTENT


def test_what_an_earlier_run_had_finished_is_not_asked_for_again(apple: Server, client: Client, part: Path) -> None:
    part.write_bytes(CONTENT)
    assert client.fetch(wanted(apple.url(), part)) == Fetched(len(CONTENT), checksum(CONTENT), True, 0)
    assert apple.asked == []


@pytest.mark.parametrize("left", [b"\0" * 1000, bytes(len(CONTENT)), CONTENT + b"more"], ids=["part", "whole", "long"])
def test_a_resumed_file_that_is_wrong_is_fetched_from_the_start(
    apple: Server, client: Client, part: Path, left: bytes
) -> None:
    part.write_bytes(left)
    assert client.fetch(wanted(apple.url(), part)).proven
    assert apple.starts[-1] is None
    assert part.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_the_file_over(apple: Server, client: Client, part: Path) -> None:
    part.write_bytes(b"x" * 2_000_000)
    apple.always = serving(ranges=False)
    assert client.fetch(wanted(apple.url(), part)).proven
    assert apple.starts == [2_000_000]
    assert part.read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_not_joined(apple: Server, client: Client, part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    apple.acts = [serving(shift=10)]
    assert client.fetch(wanted(apple.url(), part)).proven
    assert apple.starts == [1000, None]


@pytest.mark.parametrize("said", ["", "bytes 1000-", "bytes 1000-2000/²", f"bytes 1000-{len(CONTENT)}/99"])
def test_a_range_that_says_nothing_sensible_is_not_joined(apple: Server, client: Client, part: Path, said: str) -> None:
    part.write_bytes(CONTENT[:1000])
    apple.acts = [serving(headers={"Content-Range": said.encode().decode("latin-1")})]
    assert client.fetch(wanted(apple.url(), part)).proven
    assert apple.starts == [1000, None]


def test_what_is_not_our_own_file_is_never_written_on(apple: Server, client: Client, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(CONTENT[:1000])
    link, twin = tmp_path / "link.part", tmp_path / "twin.part"
    link.symlink_to(precious)
    twin.hardlink_to(precious)
    for one in (link, twin):
        assert client.fetch(wanted(apple.url(), one)).proven
        assert one.read_bytes() == CONTENT
        assert not one.is_symlink()
    assert precious.read_bytes() == CONTENT[:1000]
    assert apple.starts == [None, None]


def test_a_server_that_stumbles_is_asked_again(apple: Server, client: Client, part: Path) -> None:
    apple.acts = [saying(500), saying(502), saying(504)]
    assert client.fetch(wanted(apple.url(), part)).proven


# ------------------------------------------------------------------ giving up


def test_a_connection_that_breaks_again_and_again_is_given_up_and_goes_on_next_time(
    apple: Server, client: Client, part: Path
) -> None:
    apple.always = serving(stop=100_000)
    with pytest.raises(ConnectionLost, match=r"0\.5 of 3\.0 MB"):
        client.fetch(wanted(apple.url(), part))
    assert len(apple.asked) == RESUMES + 1
    assert part.read_bytes() == CONTENT[: 100_000 * (RESUMES + 1)]
    apple.always = serving()
    assert client.fetch(wanted(apple.url(), part)).received == len(CONTENT) - 100_000 * (RESUMES + 1)


def test_the_pauses_grow_and_vary_and_stay_short(apple: Server, part: Path) -> None:
    apple.always = serving(stop=0)
    pauses = []
    for jitter in (0.0, 1.0):
        with Client(jitter=lambda jitter=jitter: jitter) as client, pytest.raises(ConnectionLost):
            client.fetch(wanted(apple.url(), part))
        pauses.append(client.pauses)
    assert pauses == [[0.25, 0.5, 1.0, 2.0], [0.5, 1.0, 2.0, 4.0]]


def test_a_silent_server_is_given_up(
    apple: Server, client: Client, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icloud_download, "READ_SECONDS", 0.1)
    over = threading.Event()

    def silent(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(CONTENT))}, CONTENT[:1000])
        over.wait(30)

    apple.acts = [silent] * (RESUMES + 1)
    try:
        with pytest.raises(ConnectionLost, match="fell silent"):
            client.fetch(wanted(apple.url(), part))
    finally:
        over.set()


def test_a_server_that_is_not_there_is_no_fault_of_the_file(client: Client, part: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/B/file{QUERY}"
        with pytest.raises(ConnectionLost, match="is there a network"):
            client.fetch(wanted(url, part))


@pytest.mark.parametrize("encrypted", [False, True])
def test_closing_ends_what_is_under_way_even_if_the_server_says_nothing(
    certificates: Certificates, part: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.bundle))
    over = threading.Event()

    def silent(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(CONTENT))}, CONTENT[:1_100_000])
        threading.Timer(0.2, client.close).start()
        over.wait(30)

    with running(Server(certificates.context if encrypted else None)) as server, Client() as client:
        server.always = silent
        begun = time.monotonic()
        with pytest.raises(ConnectionLost, match="the run is ending"):
            client.fetch(wanted(server.url(), part))
        over.set()
    assert time.monotonic() - begun < 10
    assert len(server.asked) == 1
    assert part.read_bytes() == CONTENT[: 1 << 20]


def test_closing_leaves_nobody_waiting_for_a_connection(apple: Server, tmp_path: Path) -> None:
    under_way, over = threading.Event(), threading.Event()

    def silent(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(CONTENT))}, CONTENT[:1000])
        under_way.set()
        over.wait(30)

    def fetch(number: int) -> bool:
        with pytest.raises(ConnectionLost, match="the run is ending"):
            client.fetch(wanted(apple.url(), tmp_path / f"{number}.part"))
        return True

    apple.always = silent
    with Client(1) as client, ThreadPoolExecutor(4) as threads:
        fetches = [threads.submit(fetch, number) for number in range(4)]
        assert under_way.wait(10)
        time.sleep(0.2)
        client.close()
        assert all(one.result(timeout=10) for one in fetches)
        over.set()
    assert len(apple.asked) == 1


def test_nothing_is_asked_for_after_closing(apple: Server, client: Client, part: Path) -> None:
    client.close()
    with pytest.raises(ConnectionLost, match="the run is ending"):
        client.fetch(wanted(apple.url(), part))
    assert apple.asked == []


def test_a_pause_ends_when_the_downloader_is_closed(apple: Server, part: Path) -> None:
    apple.acts = [serving(stop=0)]
    client = Downloader(1, jitter=lambda: 1.0)
    threading.Timer(0.05, client.close).start()
    with pytest.raises(ConnectionLost, match="the run is ending"):
        client.fetch(wanted(apple.url(), part))


# ------------------------------------------------------------------ wrong bytes


def test_a_byte_that_was_altered_on_the_way_costs_a_second_attempt(apple: Server, client: Client, part: Path) -> None:
    apple.acts = [serving(flip=1_234_567)]
    fetched = client.fetch(wanted(apple.url(), part))
    assert (fetched.proven, fetched.received) == (True, 2 * len(CONTENT))
    assert apple.starts == [None, None]
    assert part.read_bytes() == CONTENT


def test_a_byte_that_is_always_wrong_leaves_nothing(apple: Server, client: Client, part: Path) -> None:
    apple.always = serving(flip=len(CONTENT) - 1)
    with pytest.raises(WrongBytes, match="checksum differs"):
        client.fetch(wanted(apple.url(), part))
    assert not part.exists()
    assert apple.starts == [None, None]


@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1]], ids=["longer", "shorter"])
def test_another_size_than_announced_is_not_even_fetched(
    apple: Server, client: Client, part: Path, content: bytes
) -> None:
    apple.always = serving(content)
    with pytest.raises(WrongBytes, match=str(len(content))):
        client.fetch(wanted(apple.url(), part))
    assert not part.exists()
    assert len(apple.asked) == 2


def test_a_body_without_end_is_cut_off(apple: Server, client: Client, part: Path) -> None:
    apple.always = endless
    with pytest.raises(WrongBytes, match="more than"):
        client.fetch(wanted(apple.url(), part))
    assert not part.exists()
    assert len(apple.asked) == 2


def test_a_resume_beyond_the_end_is_an_error_of_the_file(apple: Server, client: Client, part: Path) -> None:
    part.write_bytes(CONTENT[:-1])
    apple.always = serving(CONTENT[:-1])
    with pytest.raises(WrongBytes):
        client.fetch(wanted(apple.url(), part))
    assert apple.starts == [len(CONTENT) - 1, None]
    assert not part.exists()


def test_what_the_disk_refuses_to_sync_is_not_resumed_later(
    apple: Server, client: Client, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        client.fetch(wanted(apple.url(), part))
    assert not part.exists()


def test_a_folder_that_is_away_is_not_made(apple: Server, client: Client, part: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.fetch(wanted(apple.url(), part.parent / "away" / part.name))
    assert apple.asked == []
    assert not (part.parent / "away").exists()


# ------------------------------------------------------------------ a checksum of another kind

OTHER_KINDS = ["AuFBBYsTaK2qkoE8rGNy/XYzd9Tu", "AeFBBYsTaK2qkoE8rGNy/XYzd9TuAAAA", ""]


@pytest.mark.parametrize("other", OTHER_KINDS)
def test_with_a_checksum_of_another_kind_the_file_is_delivered_unproven(
    apple: Server, client: Client, part: Path, other: str
) -> None:
    fetched = client.fetch(wanted(apple.url(), part, checksum=other))
    assert fetched == Fetched(len(CONTENT), checksum(CONTENT), proven=False, received=len(CONTENT))
    assert part.read_bytes() == CONTENT
    with pytest.raises(Unverifiable, match="only its size"):
        fetched.require_proof()


def test_without_a_checksum_the_size_still_decides(apple: Server, client: Client, part: Path) -> None:
    apple.always = serving(CONTENT[:-1])
    with pytest.raises(WrongBytes):
        client.fetch(wanted(apple.url(), part, checksum=OTHER_KINDS[0]))


@pytest.mark.parametrize("left", [1000, len(CONTENT)])
def test_without_a_checksum_nothing_of_an_earlier_run_is_trusted(
    apple: Server, client: Client, part: Path, left: int
) -> None:
    part.write_bytes(bytes(left))
    client.fetch(wanted(apple.url(), part, checksum=OTHER_KINDS[0]))
    assert apple.starts == [None]
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(("version", "asked"), [('"v1"', '"v1"'), ('W/"v1"', None), ("", None)])
def test_without_a_checksum_a_resume_asks_for_the_same_version_where_it_has_a_name(
    apple: Server, client: Client, part: Path, version: str, asked: str | None
) -> None:
    apple.acts = [serving(stop=1000, headers={"ETag": version})]
    client.fetch(wanted(apple.url(), part, checksum=OTHER_KINDS[0]))
    assert apple.starts == [None, 1000]
    assert apple.asked[1].headers.get("If-Range") == asked
    assert part.read_bytes() == CONTENT


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("status", [403, 410])
def test_an_expired_address_is_told_and_what_has_come_stays(
    apple: Server, client: Client, part: Path, status: int
) -> None:
    apple.acts = [serving(stop=1000), saying(status)]
    with pytest.raises(UrlExpired):
        client.fetch(wanted(apple.url(), part))
    assert part.read_bytes() == CONTENT[:1000]
    assert client.fetch(wanted(apple.url(), part)).received == len(CONTENT) - 1000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        (format_datetime(NOW + dt.timedelta(seconds=90), usegmt=True), 90.0),
        ("Sat, 21 Nov 2026 12:00:30 -0000", 30.0),
        (format_datetime(NOW - dt.timedelta(hours=1), usegmt=True), 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("9" * 500, None),
        ("Sat, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_throttle_tells_how_long_to_wait(
    apple: Server, part: Path, status: int, said: str, seconds: float | None
) -> None:
    heard: list[float | None] = []
    apple.acts = [serving(stop=1000), saying(status, Retry_After=said)]
    with Client(on_throttled=heard.append) as client, pytest.raises(Throttled) as caught:
        client.fetch(wanted(apple.url(), part))
    assert caught.value.retry_after == seconds
    assert heard == [seconds]
    assert part.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("status", [204, 304, 400, 401, 404, 501])
def test_any_other_answer_is_a_refusal(apple: Server, client: Client, part: Path, status: int) -> None:
    apple.always = saying(status)
    with pytest.raises(Refused, match=str(status)):
        client.fetch(wanted(apple.url(), part))
    assert len(apple.asked) == 1


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://127.0.0.1/x", "B/file?k=1"])
def test_what_is_no_address_of_the_web_is_refused(client: Client, part: Path, url: str) -> None:
    with pytest.raises(Refused, match="none of the web"):
        client.fetch(wanted(url, part))


# ------------------------------------------------------------------ redirects, certificates, proxies


@pytest.fixture
def secure(certificates: Certificates) -> Iterator[Server]:
    """A server with a certificate of an authority that nobody knows."""
    with running(Server(certificates.context)) as server:
        yield server


@pytest.mark.parametrize("variable", BUNDLES)
def test_certificates_are_trusted_by_each_of_the_usual_variables(
    secure: Server, certificates: Certificates, part: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificates.bundle))
    with Client() as client:
        assert client.fetch(wanted(secure.url(), part)).proven


def test_requests_own_variable_goes_before_the_common_one(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ca_bundle() is True
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.bundle))
    assert ca_bundle() == str(certificates.bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert ca_bundle() == str(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    assert ca_bundle() == str(certificates.bundle)


def test_a_bundle_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/bundle.pem")
    with pytest.raises(CertificatesMissing, match=r"SSL_CERT_FILE names /nowhere/bundle\.pem"):
        Downloader(1)


def test_a_certificate_that_nobody_vouches_for_is_not_trusted_and_not_tried_again(
    secure: Server, client: Client, part: Path
) -> None:
    with pytest.raises(Untrusted, match="REQUESTS_CA_BUNDLE"):
        client.fetch(wanted(secure.url(), part))
    assert client.pauses == []
    assert secure.asked == []


def test_a_redirect_from_https_to_https_is_followed(
    secure: Server, certificates: Certificates, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.bundle))
    part.write_bytes(CONTENT[:1000])
    secure.acts = [saying(302, Location=secure.url("localhost", "/elsewhere"))]
    with Client() as client:
        assert client.fetch(wanted(secure.url(), part)).proven
    assert [one.headers["Host"].split(":")[0] for one in secure.asked] == ["127.0.0.1", "localhost"]
    assert secure.starts == [1000, 1000]
    assert not {"Cookie", "Authorization", "Referer"} & set(secure.asked[1].headers)


def test_a_redirect_out_of_encryption_is_not_followed(
    secure: Server, apple: Server, certificates: Certificates, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.bundle))
    secure.acts = [saying(302, Location=apple.url())]
    with Client() as client, pytest.raises(Refused, match="without encryption"):
        client.fetch(wanted(secure.url(), part))
    assert apple.asked == []


def test_without_encryption_a_redirect_stays_on_its_host(apple: Server, client: Client, part: Path) -> None:
    apple.acts = [saying(307, Location="/elsewhere")]
    assert client.fetch(wanted(apple.url(), part)).proven
    apple.acts = [saying(307, Location=apple.url("localhost"))]
    with pytest.raises(Refused, match="localhost"):
        client.fetch(wanted(apple.url(), part.with_suffix(".2")))


def test_a_redirect_in_a_circle_ends(apple: Server, client: Client, part: Path) -> None:
    apple.always = saying(302, Location="/elsewhere")
    with pytest.raises(Refused, match="again and again"):
        client.fetch(wanted(apple.url(), part))
    assert len(apple.asked) == icloud_download.MOST_REDIRECTS + 1


class Proxy(ThreadingHTTPServer):
    """A proxy that joins every CONNECT to one server, whatever the name."""

    daemon_threads = True

    def __init__(self, target: Server) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.target = target
        self.joined: list[str] = []


class Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.joined.append(self.path)
        with socket.create_connection(("127.0.0.1", self.server.target.server_port)) as far:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: far, far: self.connection}
            while ready := select.select(list(ends), [], [], 10)[0]:
                for one in ready:
                    if not (data := one.recv(1 << 16)):
                        return
                    ends[one].sendall(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def proxy(secure: Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.bundle))
    with running(Proxy(secure)) as server:  # type: ignore[arg-type]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_port}")
        yield server  # type: ignore[misc]


def test_a_proxy_is_gone_through(proxy: Proxy, client: Client, part: Path) -> None:
    with Client() as client:
        assert client.fetch(wanted(f"https://{CDN}/B/file{QUERY}", part)).proven
    assert proxy.joined == [f"{CDN}:443"]


def test_hosts_that_need_no_proxy_are_asked_directly(
    proxy: Proxy, secure: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Client() as client:
        assert client.fetch(wanted(secure.url(), part)).proven
    assert proxy.joined == []


def test_a_proxy_that_is_not_there_is_named(
    proxy: Proxy, client: Client, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:9")
    with Client() as client, pytest.raises(ConnectionLost, match="proxy") as caught:
        client.fetch(wanted(f"https://{CDN}/B/file{QUERY}", part))
    assert SECRET not in everything_of(caught.value)


@pytest.mark.parametrize("value", ["http://", "socks5://127.0.0.1:9"])
def test_a_proxy_that_makes_no_sense_is_named(part: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with Client() as client, pytest.raises(Refused, match="HTTPS_PROXY"):
        client.fetch(wanted(f"https://{CDN}/B/file{QUERY}", part))


# ------------------------------------------------------------------ secrets


def everything_of(error: BaseException) -> str:
    """All that a log or a page would show of an error, with the errors behind it."""
    seen: BaseException | None = error
    texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    while seen is not None:
        texts.append(repr(seen))
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


TROUBLES: dict[str, tuple[type[DownloadError], Act]] = {
    "expired": (UrlExpired, saying(410)),
    "throttled": (Throttled, saying(503)),
    "wrong": (WrongBytes, serving(flip=0)),
    "dropped": (ConnectionLost, serving(stop=10)),
    "reset": (ConnectionLost, serving(stop=10, reset=True)),
    "hung up": (ConnectionLost, lambda handler: hang_up(handler, reset=True)),
    "no headers": (ConnectionLost, lambda handler: handler.wfile.write(b"rubbish\r\n\r\n") and hang_up(handler)),
    "refused": (Refused, saying(404)),
    "sent away": (Refused, saying(302, Location=f"http://localhost/B/{QUERY}")),
    "sent to nowhere": (Refused, saying(302, Location=f"//[half/B/{QUERY}")),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_the_address_is_in_no_message_and_no_log(
    redacting: None, apple: Server, client: Client, part: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    kind, apple.always = TROUBLES[name]
    caplog.set_level(logging.DEBUG)
    one = wanted(apple.url(), part)
    with pytest.raises(kind) as caught:
        client.fetch(one)
    assert type(caught.value) is kind
    said = everything_of(caught.value) + caplog.text + repr(one)
    assert SECRET not in said
    assert "s3cr3t" not in said


def test_a_log_still_tells_what_was_asked_up_to_the_question_mark(
    redacting: None, apple: Server, client: Client, part: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.fetch(wanted(apple.url(), part))
    assert '"GET /B/file?… HTTP/1.1" 200' in caplog.text
    assert SECRET not in caplog.text


def test_nobody_there_tells_no_secret_either(
    redacting: None, client: Client, part: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConnectionLost) as caught:
        client.fetch(wanted(f"https://127.0.0.1:9/B/{QUERY}", part))
    assert SECRET not in everything_of(caught.value) + caplog.text


# ------------------------------------------------------------------ memory

GENERATOR = """
import socket, sys
block, blocks = bytes(range(256)) * 4096, int(sys.argv[1])
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % (len(block) * blocks))
        for _ in range(blocks):
            connection.sendall(block)
"""


@contextlib.contextmanager
def highest_growth(seen: list[int]) -> Iterator[None]:
    """Appends by how many bytes this process grew at most, while the block runs."""
    me = psutil.Process()
    before, over = me.memory_info().rss, threading.Event()
    seen.append(0)

    def watch() -> None:
        while not over.wait(0.01):
            seen[-1] = max(seen[-1], me.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("megabytes", [128, pytest.param(1024, marks=pytest.mark.prove)])
def test_memory_does_not_grow_with_the_file(client: Client, part: Path, megabytes: int) -> None:
    block, whole, grown = bytes(range(256)) * 4096, AppleChecksum(), list[int]()
    for _ in range(megabytes):
        whole.update(block)
    command = [sys.executable, "-c", GENERATOR, str(megabytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
        one = Wanted(url, part, whole.value(), megabytes << 20)
        with highest_growth(grown):
            assert client.fetch(one).proven
    part.unlink()
    assert grown[0] < 30 << 20
