"""Deciding everything anew: what was made before is never written over, and never forgotten."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import bundles, deliveries, history, renditions
from pipeline import compress, layout
from pipeline.stage import StageReport
from tests.aging_home import Home
from tests.conftest import tree
from tests.proof_files import put, sha256
from tests.the_catalog import DAY, add_stored

Encode = Callable[[bytes], None]
PLAIN = "2024/05/17/IMG_1."


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Home:
    return Home(engine, tmp_path / "home")


@pytest.fixture
def encode(monkeypatch: pytest.MonkeyPatch) -> Encode:
    """Sets what the encoder makes of any file from now on."""

    def becomes(data: bytes) -> None:
        def make(original: str, part: str, **_: Any) -> dict[str, Any]:
            Path(part).write_bytes(data)
            made = {"sha256": sha256(data), "size": len(data), "width": 1, "height": 1, "format": "jpeg"}
            return {**made, "outcome": "made", "extension": ".jpg", "detail": "smaller", "seconds": 0.1}

        monkeypatch.setattr(compress, "make_rendition", make)

    return becomes


def redo(home: Home) -> StageReport:
    with home.engine.begin() as connection:
        renditions.forget_decisions(connection, DAY, DAY)
    return home.compress()


def made(home: Home) -> list[Any]:
    return home.rows(
        "SELECT r.path, r.sha256, r.generation, r.superseded_at IS NULL AS present, r.id = m.rendition_id AS shown "
        "FROM renditions r JOIN media_files m ON m.id = r.media_file_id ORDER BY r.id"
    )


def standing(home: Home) -> dict[str, bytes]:
    root = home.roots[layout.RENDITIONS]
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("IMG*") if path.is_file()}


def test_the_same_bytes_change_nothing(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    before = home.rows("SELECT * FROM renditions"), tree(home.roots[layout.RENDITIONS])
    assert redo(home).counts == {"renditions": 1}
    after = home.rows("SELECT * FROM renditions"), tree(home.roots[layout.RENDITIONS])
    assert [name for name in after[1] if name not in before[1]] == []
    assert after[0] == before[0]
    assert {name: what for name, what in after[1].items() if "IMG" in name} == {
        name: what for name, what in before[1].items() if "IMG" in name
    }
    assert made(home)[0].shown


def test_other_bytes_stand_beside_the_older_ones_which_are_superseded(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    encode(b"second!")
    redo(home)
    older, newer = made(home)
    assert (older.present, older.generation, older.shown) == (False, 1, False)
    assert (newer.present, newer.generation, newer.shown) == (True, 2, True)
    assert sha256(b"second!")[:12] in newer.path
    assert standing(home) == {older.path: b"first", newer.path: b"second!"}
    for path in standing(home):
        assert os.stat(home.roots[layout.RENDITIONS] / path).st_mode & 0o777 == 0o444


def test_every_hash_that_was_ever_made_is_recognised(home: Home, encode: Encode) -> None:
    for data in (b"first", b"second!", b"third"):
        encode(data)
        redo(home)
    with home.engine.connect() as connection:
        for data in (b"first", b"second!", b"third"):
            assert renditions.is_our_rendition(connection, sha256(data)) == home.content
    assert [one.generation for one in made(home)] == [1, 2, 3]


def test_bytes_that_were_made_before_become_the_present_ones_again(home: Home, encode: Encode) -> None:
    for data in (b"first", b"second!", b"first"):
        encode(data)
        redo(home)
    first, second = made(home)
    assert (first.present, first.shown, second.present, second.shown) == (True, True, False, False)
    assert len(standing(home)) == 2


def test_a_damaged_rendition_is_made_whole(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    (path,) = home.made()
    os.chmod(path, 0o644)
    put(path, b"rotte")
    redo(home)
    assert path.read_bytes() == b"first"
    path.unlink()
    redo(home)
    assert path.read_bytes() == b"first"
    assert len(made(home)) == 1


def test_a_delivery_on_its_way_gets_the_bytes_that_it_was_meant_to_get(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    home.stage()
    encode(b"second!")
    redo(home)
    home.upload()
    assert home.verify().counts == {"verified": 2}
    (row,) = home.rows("SELECT remote_path, sha256 FROM deliveries WHERE role = 'rendition'")
    assert (home.archive.path / row.remote_path).read_bytes() == b"first"
    assert row.sha256 == sha256(b"first")


def test_a_delivered_rendition_that_is_lost_there_is_sent_again_after_a_newer_one_was_made(
    home: Home, encode: Encode
) -> None:
    encode(b"first")
    home.compress()
    home.deliver()
    encode(b"second!")
    redo(home)
    (row,) = home.rows("SELECT remote_path FROM deliveries WHERE role = 'rendition'")
    (home.archive.path / row.remote_path).unlink()
    with home.engine.begin() as connection:
        deliveries.doubt_evidence(connection, "archive", DAY, DAY)
    home.verify()
    home.upload()
    home.verify()
    assert (home.archive.path / row.remote_path).read_bytes() == b"first"


def test_what_a_redo_has_superseded_is_released_on_proof_like_an_aged_one(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    home.deliver()
    encode(b"second!")
    redo(home)
    assert home.release().counts == {"released": 1}
    (path,) = standing(home)
    assert sha256(b"second!")[:12] in path


def test_a_rendition_delivery_without_a_rendition_sends_nothing_else_and_says_so(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    home.stage()
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET sha256 = :s WHERE role = 'rendition'"), {"s": sha256(b"lost")})
    report = home.upload()
    assert report.counts == {"uploaded": 1, "failed": 1}
    ((path, reason),) = report.failures
    assert path.startswith("renditions/")
    assert "no rendition with the bytes" in reason
    assert not (home.archive.path / path).exists()


def test_what_stands_at_a_destination_can_be_proven_without_a_rendition_of_ours(home: Home, encode: Encode) -> None:
    encode(b"first")
    home.compress()
    home.stage()
    home.upload()
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE renditions SET sha256 = :s"), {"s": sha256(b"another")})
    assert home.verify().counts == {"verified": 2}


def test_two_originals_of_one_name_and_day_that_are_left_in_place_have_a_rendition_each(
    home: Home, encode: Encode
) -> None:
    encode(b"first")
    home.compress()
    put(home.roots[layout.ORIGINALS] / "other/IMG_1.JPG", b"another original")
    with home.engine.begin() as connection:
        other = add_stored(connection, "other/IMG_1.JPG", sha256=sha256(b"another"), stored_path="other/IMG_1.JPG")
        bundle = bundles.add_bundle(connection, other, "single", "-2", DAY)
        bundles.add_member(connection, bundle, other, "lead", "IMG_1-2.JPG")
        connection.execute(text("UPDATE media_files SET deduplicated_at = now()"))
    encode(b"second!")
    assert home.compress().counts == {"renditions": 1}
    one, two = made(home)
    assert standing(home) == {one.path: b"first", two.path: b"second!"}
    assert one.path.startswith(PLAIN)


def test_the_story_of_a_file_tells_its_present_rendition(home: Home, encode: Encode) -> None:
    for data in (b"first", b"second!"):
        encode(data)
        redo(home)
    with home.engine.connect() as connection:
        story = history.describe_content(connection, home.content)
    assert story["rendition"]["sha256"] == sha256(b"second!")
