"""A download that breaks off again and again, or is closed, is given up and keeps what has come."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources import icloud_download
from resources.icloud_download import (
    RESUMES,
    ConnectionLost,
    Downloader,
)
from tests.icloud_cdn import (
    CONTENT,
    QUERY,
    Certificates,
    Client,
    Handler,
    Server,
    running,
    serving,
    wanted,
)


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
