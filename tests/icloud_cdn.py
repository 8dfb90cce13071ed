"""A server on loopback that acts out what goes wrong between Apple's downloads and here, and a downloader for it."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import re
import socket
import ssl
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from media.apple_checksum import AppleChecksum
from resources.icloud_download import (
    Downloader,
    Wanted,
)

CONTENT = os.urandom(3_000_017)
NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
SECRET = "k=s3cr3t-signature"
QUERY = f"?o=AqN_x&{SECRET}&e=1533044225"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
CDN = "cvws.icloud-content.com"


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


@pytest.fixture
def secure(certificates: Certificates) -> Iterator[Server]:
    """A server with a certificate of an authority that nobody knows."""
    with running(Server(certificates.context)) as server:
        yield server


def everything_of(error: BaseException) -> str:
    """All that a log or a page would show of an error, with the errors behind it."""
    seen: BaseException | None = error
    texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    while seen is not None:
        texts.append(repr(seen))
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)
