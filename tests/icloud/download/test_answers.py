"""What the server answers in place of the file: other bytes, another kind of checksum, a refusal."""

from __future__ import annotations

import datetime as dt
import os
from email.utils import format_datetime
from pathlib import Path

import pytest

from resources.icloud_download import (
    Fetched,
    Refused,
    Throttled,
    Unverifiable,
    UrlExpired,
    WrongBytes,
)
from tests.icloud_cdn import (
    CONTENT,
    NOW,
    Client,
    Server,
    checksum,
    endless,
    saying,
    serving,
    wanted,
)

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
