"""Superseded renditions leave their place on proof, wherever a run is interrupted, and come back byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import deliveries, renditions
from pipeline import layout, release
from pipeline.assembly import Platform
from pipeline.release import ReleaseStage
from pipeline.trash import NotMoved, find_trashed, undo_release
from resources.compute import Task, WorkerDied
from resources.settings import load_settings
from tests.aging_home import Home
from tests.proof_files import put
from tests.the_catalog import DAY, InlinePool


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Home:
    return Home(engine, tmp_path / "home")


def test_a_superseded_rendition_goes_to_the_trash_on_proof_and_comes_back(home: Home) -> None:
    first, data = home.age()
    report = home.release()
    assert report.counts == {"released": 1}
    assert not first.exists()
    assert home.made()[1].exists()
    assert home.original.exists()
    (row,) = home.rows("SELECT trash_path, retired_at FROM renditions WHERE retired_at IS NOT NULL")
    place = home.roots[layout.TRASH] / row.trash_path
    assert place.read_bytes() == data
    (log,) = home.rows("SELECT detail FROM pipeline_logs WHERE stage = 'released_media'")
    assert row.trash_path in log.detail
    assert "proven at archive: renditions/" in log.detail
    assert home.release().done == 0

    found = find_trashed(home.roots, first)
    assert found is not None
    undo_release(home.engine, found)
    assert first.read_bytes() == data
    assert home.rows("SELECT 1 FROM renditions WHERE retired_at IS NOT NULL OR trash_path IS NOT NULL") == []
    assert home.release().done == 0  # what a person brought back is not moved away again
    with home.engine.begin() as connection:
        renditions.ask_again_for_proof(connection, date(1900, 1, 1), date(2100, 1, 1))
    assert home.release().done == 0


def test_undo_changes_nothing_where_something_stands(home: Home) -> None:
    first, _ = home.age()
    home.release()
    put(first, b"something else")
    found = find_trashed(home.roots, first)
    assert found is not None
    with pytest.raises(NotMoved, match="something stands"):
        undo_release(home.engine, found)
    assert first.read_bytes() == b"something else"
    assert home.rows("SELECT count(*) FROM renditions WHERE retired_at IS NOT NULL")[0][0] == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda copy: copy.write_bytes(b"changed"), "does not hold the bytes"),
        (lambda copy: copy.unlink(), "no longer at"),
    ],
)
def test_without_a_proof_it_waits_says_why_and_is_asked_about_again_later(
    home: Home, spoil: Callable[[Path], Any], reason: str
) -> None:
    first, data = home.age()
    (row,) = home.rows("SELECT remote_path FROM deliveries WHERE role = 'rendition'")
    spoil(home.archive.path / row.remote_path)
    report = home.release()
    assert report.counts == {"waiting": 1}
    assert reason in report.notes[0][1]
    assert report.failures == []
    assert first.read_bytes() == data
    assert home.release().done == 0
    put(home.archive.path / row.remote_path, data)
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE renditions SET release_after = now() - interval '1 s'"))
    assert home.release().counts == {"released": 1}


def test_a_copy_on_the_same_disk_releases_nothing(engine: Engine, tmp_path: Path) -> None:
    home = Home(engine, tmp_path / "home", same_disk=True)
    first, _ = home.age()
    report = home.release()
    assert report.counts == {"waiting": 1}
    assert "same disk" in report.notes[0][1]
    assert first.exists()


def test_more_copies_than_there_are_release_nothing(home: Home) -> None:
    first, _ = home.age()
    assert home.release(copies=2).counts == {"waiting": 1}
    assert first.exists()


def test_the_present_rendition_and_the_original_are_never_due(home: Home) -> None:
    home.compress()
    home.deliver()
    assert home.release().done == 0
    assert home.made()[0].exists()


def test_one_that_is_still_on_its_way_waits(home: Home) -> None:
    home.compress()
    home.stage()
    home.today += timedelta(days=730)
    home.compress()
    report = home.release()
    assert report.counts == {"waiting": 1}
    assert "still on its way" in report.notes[0][1]
    home.upload()
    assert home.verify().counts == {"verified": 2}


@pytest.mark.parametrize("killed", ["before the move", "after the move"])
def test_a_run_that_was_killed_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    first, data = home.age()

    class Killed(BaseException):
        pass

    def die(*arguments: Any) -> Any:
        if killed == "after the move":
            real(*arguments)
        raise Killed

    real = release.move_to_trash
    with monkeypatch.context() as patched:
        patched.setattr(release, "move_to_trash", die)
        with pytest.raises(Killed):
            home.release()
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))  # as the start of the next run does
    assert first.exists() == (killed == "before the move")
    home.today += timedelta(days=1)
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data
    assert not first.exists()


class DyingPool(InlinePool):
    """A pool whose worker dies once, right after it has done its task, or right before."""

    def __init__(self, *, after: bool) -> None:
        self.deaths, self._after = 1, after

    def submit(self, task: Task, timeout: float) -> Future[Any]:
        if not self.deaths:
            return InlinePool.submit(self, task, timeout)
        self.deaths -= 1
        if self._after:
            InlinePool.submit(self, task, timeout).result()
        future: Future[Any] = Future()
        future.set_exception(WorkerDied("killed"))
        return future


@pytest.mark.parametrize("after", [False, True], ids=["before the move", "after the move"])
def test_a_worker_that_dies_over_a_move_is_tried_again_and_its_file_is_found(home: Home, after: bool) -> None:
    first, data = home.age()
    pool = DyingPool(after=after)
    report = home.work(ReleaseStage(home.roots, {"archive": home.archive}, 1), pool=pool)
    assert (report.counts, pool.deaths) == ({"released": 1}, 0)
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data
    assert not first.exists()
    assert len(list(home.roots[layout.TRASH].rglob("*.jpg"))) == 1


def test_a_move_that_is_taken_up_on_another_day_goes_to_the_place_that_was_written_down(home: Home) -> None:
    _, data = home.age()
    with home.engine.begin() as connection:
        superseded = connection.execute(text("SELECT id FROM renditions WHERE superseded_at IS NOT NULL")).scalar_one()
        renditions.intend_release(connection, superseded, "2026-01-01/renditions/a.jpg")  # and the run was killed
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert row.trash_path == "2026-01-01/renditions/a.jpg"
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data


def test_a_place_in_the_trash_that_was_taken_meanwhile_is_left_to_who_took_it(home: Home) -> None:
    _, data = home.age()
    put(home.roots[layout.TRASH] / "2026-01-01/renditions/a.jpg", b"somebody else's")
    with home.engine.begin() as connection:
        superseded = connection.execute(text("SELECT id FROM renditions WHERE superseded_at IS NOT NULL")).scalar_one()
        renditions.intend_release(connection, superseded, "2026-01-01/renditions/a.jpg")
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT trash_path FROM renditions WHERE retired_at IS NOT NULL")
    assert (home.roots[layout.TRASH] / row.trash_path).read_bytes() == data
    assert (home.roots[layout.TRASH] / "2026-01-01/renditions/a.jpg").read_bytes() == b"somebody else's"


def test_a_rendition_that_is_nowhere_is_a_failure_and_not_released(home: Home) -> None:
    first, _ = home.age()
    first.unlink()
    assert home.release().counts == {"failed": 1}
    assert home.rows("SELECT 1 FROM renditions WHERE retired_at IS NOT NULL") == []


def test_a_copy_that_is_lost_after_the_release_is_sent_again_from_the_trash(home: Home) -> None:
    _, data = home.age()
    assert home.release().counts == {"released": 1}
    (row,) = home.rows("SELECT remote_path FROM deliveries WHERE role = 'rendition'")
    copy_there = home.archive.path / row.remote_path
    copy_there.unlink()
    with home.engine.begin() as connection:
        deliveries.doubt_evidence(connection, "archive", DAY, DAY)
    home.verify()
    home.upload()
    home.verify()
    assert copy_there.read_bytes() == data
    assert {row.state for row in home.rows("SELECT state FROM deliveries")} == {"verified"}


def test_a_rendition_that_becomes_the_present_one_again_is_not_due(home: Home) -> None:
    home.age()
    home.today = DAY
    home.compress()
    assert home.rows("SELECT tier FROM renditions WHERE superseded_at IS NULL") == [("new",)]
    assert home.release().counts == {"waiting": 1}  # now it is the other one, which was never delivered
    assert all(path.exists() for path in home.made())


def test_nothing_is_released_with_the_default_settings(engine: Engine, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    assert (settings.release.enabled, settings.release.copies) == (False, 1)
    assert settings.destinations["archive"].on_new_rendition == "keep"
    platform = Platform(settings, engine)
    with pytest.raises(KeyError):
        platform.stage("released_media")
    assert "released_media" not in [query.stage for query in platform.queries(aged=True)]
    on = load_settings(tmp_path, overrides={"release": {"enabled": True}}, environ={})
    assert isinstance(Platform(on, engine).stage("released_media"), ReleaseStage)


def test_with_keep_an_aged_photo_is_delivered_once(home: Home) -> None:
    first, data = home.age()
    assert len(home.rows("SELECT 1 FROM deliveries")) == 2
    assert [path.read_bytes() for path in home.archive.path.glob("renditions/*/*/*/*")] == [data]
    assert first.exists()
