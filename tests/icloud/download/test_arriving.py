"""A download arrives whole and proven, in one go or resumed, in a memory that does not grow with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from media.apple_checksum import AppleChecksum
from resources.icloud_download import (
    Fetched,
    Wanted,
)
from tests.icloud_cdn import (
    CONTENT,
    QUERY,
    Client,
    Server,
    checksum,
    saying,
    serving,
    wanted,
)

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
