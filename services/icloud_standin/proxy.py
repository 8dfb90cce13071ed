"""A forward proxy on the loopback address that answers in place of every host.

Belongs here: sockets, TLS and HTTP/1.1. Does not belong here: what is answered (`standin`), certificates.

It never connects to anything: a client that asks for a host gets this process, with a certificate in that host's name.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import IO, cast

from services.icloud_standin.certificates import Authority
from services.icloud_standin.messages import Dropped, Request, Response

_LINE = 1 << 16
_IDLE_SECONDS = 300.0


class Proxy:
    """Listens from its construction on, and serves between `start` and `stop`, one thread for each connection."""

    def __init__(self, authority: Authority, answer: Callable[[Request], Response]) -> None:
        """Takes a free port.

        Args:
            authority: Signs what the clients see.
            answer: Called for each request, in many threads at once.
        """
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.authority, self._server.answer = authority, answer
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serves from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends all connections, in the middle of an answer too."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    authority: Authority
    answer: Callable[[Request], Response]

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(address, handler)
        self.lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def opened(self, connection: socket.socket) -> None:
        with self.lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self.lock:
            self._open.discard(connection)

    def close_connections(self) -> None:
        with self.lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.BaseRequestHandler):
    """One connection: `CONNECT`, the TLS handshake, and requests until one side has enough."""

    def handle(self) -> None:
        server, plain = cast(_Server, self.server), cast(socket.socket, self.request)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(_IDLE_SECONDS)
        server.opened(plain)
        try:
            host = _asked_host(plain)
            if host is None:
                plain.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with server.lock:
                context = server.authority.context(host)
            plain.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with context.wrap_socket(plain, server_side=True) as secure:
                server.opened(secure)
                try:
                    _serve(secure, host, server.answer)
                finally:
                    server.closed(secure)
        except (OSError, Dropped, http.client.HTTPException):
            # The client went away, or a fault broke the connection off: both are what a network does.
            return
        finally:
            server.closed(plain)


def _asked_host(plain: socket.socket) -> str | None:
    """Reads the request for a tunnel and returns its host; None when something else is asked."""
    # Unbuffered, so that nothing of the TLS handshake is read along.
    with plain.makefile("rb", buffering=0) as lines:
        words = lines.readline(_LINE).decode("latin-1").split()
        while lines.readline(_LINE).strip():
            pass
    if len(words) != 3 or words[0] != "CONNECT":
        return None
    return words[1].rpartition(":")[0].lower()


def _serve(secure: ssl.SSLSocket, host: str, answer: Callable[[Request], Response]) -> None:
    with secure.makefile("rb") as source:
        while line := _first_line(secure, source):
            method, target, _ = line.decode("latin-1").split(maxsplit=2)
            request = Request.of(method, host, target, http.client.parse_headers(source), source)
            response = answer(request)
            for _ in request.chunks():
                pass  # what nobody read, so that the next request starts at its beginning
            if not _sent(secure, response):
                return


def _first_line(secure: ssl.SSLSocket, source: IO[bytes]) -> bytes:
    """Reads the line that begins a request.

    urllib3 leaves Nagle's algorithm on towards a proxy, and sends a body behind its headers: as long as these are not
    acknowledged the body waits, 40 ms by default.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    return source.readline(_LINE)


def _sent(secure: ssl.SSLSocket, response: Response) -> bool:
    """Sends an answer; the headers go with the body's first bytes, which saves a wait for the acknowledgement.

    Returns:
        False when the body ended too early; the connection is of no use then.
    """
    pending, sent = _head(response), 0
    for chunk in response.chunks:
        secure.sendall(pending + chunk)
        pending, sent = b"", sent + len(chunk)
    if pending:
        secure.sendall(pending)
    return sent == response.length


def _head(response: Response) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in response.headers)]
    # An answer without content must not name a length, and a client would wait for one that has neither.
    if response.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {response.length}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")
