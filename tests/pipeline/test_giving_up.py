"""A file that no encoder takes is delivered as it is, after the last try, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import renditions
from pipeline import compress
from pipeline.compress import CompressionStage
from pipeline.stage import StageReport
from tests.aging_home import Home
from tests.pipeline.test_redo import Encode, encode, redo
from tests.proof_files import Elsewhere
from tests.the_catalog import DAY

__all__ = ["encode"]


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Home:
    one = Home(engine, tmp_path / "home")
    one.archive = Elsewhere("archive", one.archive.path, "rendition")  # its only destination
    return one


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("no such pixel format")

    monkeypatch.setattr(compress, "make_rendition", fail)
    return monkeypatch


def try_again(home: Home, tries: int) -> StageReport:
    """Compresses as a later run does, after the pause."""
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE work SET not_before = now() - interval '1 s', lease_id = NULL"))
    return home.compress(max_attempts=tries)


@pytest.mark.usefixtures("broken")
def test_a_photo_whose_encoder_fails_at_every_try_is_delivered_as_its_original(home: Home) -> None:
    for _ in range(2):
        assert try_again(home, 3).counts == {"failed": 1}
        assert home.stage().done == 0  # a rendition may still come
    report = try_again(home, 3)
    assert report.counts == {"kept_original": 1}
    assert "no such pixel format" in report.notes[0][1]
    assert home.rows("SELECT 1 FROM work") == []
    home.deliver()
    (row,) = home.rows("SELECT role, state, remote_path FROM deliveries")
    assert (row.role, row.state) == ("original", "verified")
    assert (home.archive.path / row.remote_path).read_bytes() == home.original.read_bytes()
    (decided,) = home.rows("SELECT outcome, detail FROM renditions")
    assert decided.outcome == "kept_original"
    assert "3 tries" in decided.detail
    assert try_again(home, 3).done == 0


def test_redo_all_tries_once_more(home: Home, broken: pytest.MonkeyPatch) -> None:
    assert try_again(home, 1).counts == {"kept_original": 1}
    broken.undo()
    assert redo(home).counts == {"renditions": 1}
    assert home.rows("SELECT 1 FROM media_files WHERE rendition_id IS NULL") == []


def test_a_rendition_that_stands_is_kept_when_it_cannot_be_made_anew(
    home: Home, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(b"first")
    home.compress()
    before = home.rows("SELECT * FROM renditions")

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("no such pixel format")

    monkeypatch.setattr(compress, "make_rendition", fail)
    with home.engine.begin() as connection:
        renditions.forget_decisions(connection, DAY, DAY)
    assert try_again(home, 1).counts == {"kept_rendition": 1}
    assert home.rows("SELECT * FROM renditions") == before
    (row,) = home.rows("SELECT rendition_id, plan_fingerprint FROM media_files")
    assert row == (before[0].id, before[0].plan_fingerprint)
    assert try_again(home, 1).done == 0


@pytest.mark.usefixtures("broken")
def test_a_last_try_that_another_run_took_over_decides_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.failures import RunStopped

    def stolen(*_: Any, **__: Any) -> Any:
        with home.engine.begin() as connection:
            connection.execute(text("DELETE FROM work"))
        raise ValueError("late")

    monkeypatch.setattr(compress, "make_rendition", stolen)
    with pytest.raises(RunStopped, match="lost its lease"):
        try_again(home, 1)
    assert home.rows("SELECT 1 FROM renditions") == []


def test_only_stages_that_know_what_to_do_then_give_up() -> None:
    from pipeline.deliver import UploadedStage
    from pipeline.stage import Stage

    assert UploadedStage.give_up is Stage.give_up
    assert CompressionStage.give_up is not Stage.give_up
