"""File names are bytes; what the catalog stores leads back to exactly these bytes."""

from __future__ import annotations

import contextlib
import os

import psycopg2
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, make_url, text

from catalog.paths import from_text, name_key, to_text

# Bytes as file systems hold them, and mixtures that are likely to go wrong: the private block beside broken UTF-8.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.lists(st.sampled_from([b"a", b"\xff", b"\x80", b"\xef", b"\x9e", b"\xef\x9e\x80", b"\xef\x9f\xbf", b"\xc3\xa4"]))
    .map(b"".join)
    .filter(bool),
).filter(lambda raw: b"\0" not in raw and b"/" not in raw)


@given(NAMES)
@example(b"\xef\xef\x9e\x9e")
@example(b"\xef\x9e\x80")
@example(b"IMG_\xed\xb2\x80.jpg")  # a surrogate that somebody wrote as UTF-8
def test_every_file_name_comes_back_as_the_same_bytes(raw: bytes) -> None:
    path = os.fsdecode(raw)
    stored = to_text(path)
    assert os.fsencode(from_text(stored)) == raw
    stored.encode("utf-8")  # raises for what PostgreSQL would refuse
    assert "\0" not in stored


@given(NAMES, NAMES)
def test_two_names_never_share_one_text(one: bytes, other: bytes) -> None:
    assert (to_text(os.fsdecode(one)) == to_text(os.fsdecode(other))) == (one == other)


@settings(max_examples=50, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=20))
def test_postgresql_takes_every_name_and_gives_it_back(server: str, raws: list[bytes]) -> None:
    stored = [to_text(os.fsdecode(raw)) for raw in raws]
    url = make_url(server)
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[]", (stored,))
        row = cursor.fetchone()
    assert row is not None
    assert [os.fsencode(from_text(one)) for one in row[0]] == raws


def test_plain_names_are_stored_as_they_are(connection: Connection) -> None:
    for name in ("IMG_0001.JPG", "Übergröße 🏔.heic", "a\u0308.jpg"):
        assert to_text(name) == name
        assert connection.execute(text("SELECT CAST(:name AS text)"), {"name": name}).scalar() == name


def test_names_that_a_nas_or_a_mac_takes_for_the_same_share_a_key() -> None:
    assert name_key("\u00c4B.JPG") == name_key("a\u0308b.jpg")
    assert name_key("a.jpg") != name_key("b.jpg")
