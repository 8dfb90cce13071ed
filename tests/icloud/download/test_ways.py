"""The way to the server: certificates, redirects and proxies, and none of its secrets in a message or a log."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from resources import icloud_download
from resources.http import CertificatesMissing, ca_bundle
from resources.icloud_download import (
    ConnectionLost,
    Downloader,
    DownloadError,
    Refused,
    Throttled,
    Untrusted,
    UrlExpired,
    WrongBytes,
)
from tests.icloud_cdn import (
    BUNDLES,
    CDN,
    CONTENT,
    QUERY,
    SECRET,
    Act,
    Certificates,
    Client,
    Server,
    everything_of,
    hang_up,
    running,
    saying,
    serving,
    wanted,
)

# ------------------------------------------------------------------ redirects, certificates, proxies


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
