"""Roots: an unmounted disk is an empty folder, and an empty folder is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from catalog import config
from pipeline.failures import RefusedForSafety
from pipeline.roots import MARKER, check_roots, ensure_roots


def test_a_new_root_gets_a_marker_and_keeps_it(connection: Connection, tmp_path: Path) -> None:
    roots = {"originals": tmp_path / "originals"}
    ensure_roots(connection, roots)
    marker = (roots["originals"] / MARKER).read_bytes()
    ensure_roots(connection, roots)
    assert (roots["originals"] / MARKER).read_bytes() == marker
    assert config.known_roots(connection) == {"originals": json.loads(marker)["id"]}
    assert check_roots(connection, roots) == []


def test_a_known_root_without_its_marker_is_refused_and_not_made_anew(connection: Connection, tmp_path: Path) -> None:
    roots = {"originals": tmp_path / "originals"}
    ensure_roots(connection, roots)
    shutil.rmtree(roots["originals"])
    roots["originals"].mkdir()  # the mount point without its mount
    with pytest.raises(RefusedForSafety, match="Is its disk mounted"):
        ensure_roots(connection, roots)
    assert list(roots["originals"].iterdir()) == []
    assert len(check_roots(connection, roots)) == 1


def test_a_root_with_anothers_marker_is_refused(connection: Connection, tmp_path: Path) -> None:
    roots = {"originals": tmp_path}
    ensure_roots(connection, roots)
    (tmp_path / MARKER).write_text(json.dumps({"id": "another", "root": "originals"}))
    with pytest.raises(RefusedForSafety, match="belongs to another home"):
        ensure_roots(connection, roots)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "not json"])
def test_a_marker_that_says_nothing_is_refused_in_words(connection: Connection, tmp_path: Path, content: str) -> None:
    roots = {"originals": tmp_path}
    ensure_roots(connection, roots)
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(RefusedForSafety, match="cannot be read"):
        ensure_roots(connection, roots)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json"])
def test_a_new_root_with_a_marker_that_says_nothing_is_refused_too(
    connection: Connection, tmp_path: Path, content: str
) -> None:
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(RefusedForSafety):
        ensure_roots(connection, {"originals": tmp_path})


def test_a_marker_that_a_killed_start_left_is_taken_over(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"id": "left", "root": "originals"}))
    ensure_roots(connection, {"originals": tmp_path})
    assert config.known_roots(connection) == {"originals": "left"}


def test_one_folder_is_never_two_roots(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(RefusedForSafety, match="already in use"):
        ensure_roots(connection, {"originals": tmp_path, "destination:archive": tmp_path})


def two_roots(home: Path, archive: Path) -> dict[str, Path]:
    return {"originals": home / "originals", "destination:archive": archive}


def forget(connection: Connection) -> None:
    """Another catalog, or one that was lost."""
    connection.execute(text("DELETE FROM roots"))


def test_a_destination_of_another_home_is_refused_and_told_what_to_do(connection: Connection, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    ensure_roots(connection, two_roots(tmp_path / "one", archive))
    marker = (archive / MARKER).read_bytes()
    forget(connection)
    with pytest.raises(RefusedForSafety, match="belongs to another home") as refused:
        ensure_roots(connection, two_roots(tmp_path / "two", archive))
    assert "destinations.archive.path" in str(refused.value)
    assert (archive / MARKER).read_bytes() == marker


def test_a_home_that_moved_or_lost_its_catalog_is_known_by_its_originals(
    connection: Connection, tmp_path: Path
) -> None:
    ensure_roots(connection, two_roots(tmp_path / "home", tmp_path / "archive"))
    (tmp_path / "home").rename(tmp_path / "moved")
    (tmp_path / "archive").rename(tmp_path / "nas")
    ensure_roots(connection, two_roots(tmp_path / "moved", tmp_path / "nas"))
    before = config.known_roots(connection)
    forget(connection)
    ensure_roots(connection, two_roots(tmp_path / "moved", tmp_path / "nas"))
    assert config.known_roots(connection) == before


def test_a_marker_of_before_is_told_whose_it_is_and_then_nobody_elses(connection: Connection, tmp_path: Path) -> None:
    roots = two_roots(tmp_path / "home", tmp_path / "archive")
    ensure_roots(connection, roots)
    for path in roots.values():
        kept = json.loads((path / MARKER).read_text())
        del kept["home"]
        (path / MARKER).write_text(json.dumps(kept))
    assert check_roots(connection, roots) == []
    ensure_roots(connection, roots)
    home = config.known_roots(connection)["originals"]
    assert {json.loads((path / MARKER).read_text())["home"] for path in roots.values()} == {home}
    (roots["destination:archive"] / MARKER).write_text(
        json.dumps({**json.loads((roots["destination:archive"] / MARKER).read_text()), "home": "another"})
    )
    with pytest.raises(RefusedForSafety, match="belongs to another home"):
        ensure_roots(connection, roots)
    assert len(check_roots(connection, roots)) == 1
