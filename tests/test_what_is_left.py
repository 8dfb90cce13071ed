"""What a run says of files that did not come to their end: it never calls them delivered, and never ends with 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from mediapipe_assets.cli import cli
from tests.conftest import Home, Said

PHOTOS = ("DCIM/100APPLE/IMG_0003.JPG", "Camera/IMG_20190714_153012.jpg")
ARCHIVED = "archive/originals/2021/08/14/IMG_0003.JPG"
DELIVERED = "everything in your folders is known and delivered"


def idle(home: Home, *arguments: str, expect: int) -> Said:
    """Runs a `run` that finds nothing to do in this process, which saves the seconds that a start takes."""
    result = CliRunner(env={"MEDIAPIPE_HOME": str(home.path)}).invoke(cli, ["run", *arguments], standalone_mode=False)
    assert result.exception is None, result.stderr
    assert result.return_value == expect, result.stderr
    return Said(expect, result.stdout, result.stderr)


def adds_up(report: Any) -> bool:
    parts = ("kept", "duplicates", "rejected", "failed")
    return bool(report["found"] == sum(report[name] for name in parts) and report["damaged"] <= report["kept"])


def foreign(home: Home) -> Path:
    """Puts somebody's own file where a copy is to go, so that its delivery fails."""
    path = home.path / ARCHIVED
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody's own")
    return path


def test_a_file_that_cannot_be_delivered_is_never_called_delivered(home: Home, photos: Callable[..., Path]) -> None:
    home.watch(photos(*PHOTOS))
    stranger = foreign(home)
    first = home.run(expect=3)
    assert (first["found"], first["kept"], first["failed"]) == (2, 1, 1)
    assert first["destinations"]["archive"]["failed"] == 1
    assert adds_up(first)
    for name in ("found", "kept", "failed", "damaged"):
        assert home.status()[name] == first[name], name

    within_its_back_off = idle(home, expect=3)
    assert DELIVERED not in within_its_back_off.err
    for words in (ARCHIVED.removeprefix("archive/"), "another file stands", "1 failed and are tried again from 20"):
        assert words in within_its_back_off.err, words
    again = idle(home, "--json", expect=3).json
    assert (again["runs"], again["kept"], again["failed"]) == ([], 0, 1)
    assert again["left"]["next_try"] is not None
    assert adds_up(again)

    with home.opened() as platform, platform.engine.begin() as connection:
        connection.execute(text("UPDATE work SET attempts = 5 WHERE error IS NOT NULL"))
    after_the_last_attempt = idle(home, expect=3)
    assert DELIVERED not in after_the_last_attempt.err
    assert "1 failed 5 times and are not tried again by themselves" in after_the_last_attempt.err
    assert "run --redo all --from 2021-08-14 --to 2021-08-14" in after_the_last_attempt.err

    stranger.unlink()
    mended = home.run("--redo", "all", "--from", "2021-08-14", "--to", "2021-08-14")
    assert mended["failed"] == mended["left"]["failed"] == 0
    assert DELIVERED in idle(home, expect=0).err


def test_other_days_than_those_asked_for_are_named_and_do_not_count(home: Home, photos: Callable[..., Path]) -> None:
    home.watch(photos(*PHOTOS), start="2010-01-01")
    foreign(home)
    home.run("--to", "2020-12-31")
    said = idle(home, "--to", "2020-12-31", expect=0)
    assert DELIVERED not in said.err
    assert "folder_originals: 1 wait" in said.err
    home.run(expect=3)
    said = idle(home, "--json", "--to", "2020-12-31", expect=0)
    assert (said.json["failed"], said.json["left"]["failed"]) == (0, 1)


def test_what_could_not_be_stored_or_looked_at_is_not_called_delivered(
    home: Home, photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos(PHOTOS[0])
    home.watch(source)
    home.run()
    with home.opened():  # the database stays up while the test looks
        assert DELIVERED in idle(home, expect=0).err

        home.settings((home.path / "mediapipe.toml").read_text().replace("settle_seconds = 0", "settle_seconds = 1"))
        monkeypatch.setattr("time.sleep", lambda seconds: (source / "b.jpg").touch())
        (source / "b.jpg").write_bytes(b"")
        said = idle(home, expect=0)
        assert DELIVERED not in said.err
        assert "1 files are still being written" in said.err
        (source / "b.jpg").unlink()

        from resources import folder

        listed = folder.list_folder

        def partly(*arguments: Any) -> Any:
            return dataclasses.replace(listed(*arguments), unreadable=[("[b]album[/b]", "Permission denied")])

        monkeypatch.setattr("pipeline.discovery.list_folder", partly)
        said = idle(home, expect=0)
        assert DELIVERED not in said.err
        assert "The folder [b]album[/b] in “photos” could not be read: Permission denied." in said.err
        monkeypatch.undo()

        (source / "odd.jpg").write_bytes(b"")
        fail_to_store(home, source / "odd.jpg")
        said = idle(home, expect=3)
        assert DELIVERED not in said.err
        assert "odd.jpg: it is odd" in said.err
        report = idle(home, "--json", expect=3).json
        assert (report["found"], report["failed"], report["runs"]) == (1, 1, [])


def fail_to_store(home: Home, file: Path) -> None:
    """Leaves an observation as a run leaves one that it could not store, in its pause."""
    with home.opened() as platform, platform.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO source_files (source, source_id, version, folder, stem_key, kind, size, mtime_ns, "
                "capture_local, capture_provenance, partition_date, state, reason) SELECT source, :name, '1-1', "
                "'', 'odd', kind, 0, :mtime, capture_local, capture_provenance, partition_date, 'failed', 'it is odd' "
                "FROM source_files ORDER BY id LIMIT 1"
            ),
            {"name": file.name, "mtime": file.stat().st_mtime_ns},
        )
        connection.execute(
            text(
                "INSERT INTO work (stage, row_id, partition_date, attempts, not_before, error) "
                "SELECT 'folder_originals', id, partition_date, 1, now() + interval '1 hour', 'it is odd' "
                "FROM source_files WHERE state = 'failed'"
            )
        )
