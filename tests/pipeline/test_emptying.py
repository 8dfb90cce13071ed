"""The trash is emptied on a person's word, of what has been there long enough and can be spared, of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pipeline import emptying, layout
from pipeline.emptying import Emptied, Summary
from pipeline.proofs import KeptFolder
from tests.aging_home import Home
from tests.proof_files import put

KEEP = 90


class Emptying(Home):
    """A home whose first rendition went to the trash on `self.today`."""

    def __init__(self, engine: Engine, folder: Path, *, replace: bool = False) -> None:
        super().__init__(engine, folder, replace=replace)
        self.all_roots = {**self.roots, "destination:archive": self.archive.path}
        self.first, self.data = self.age()
        self.thrown_away = self.today

    def empty(self, days_later: int, *, dry_run: bool = False) -> Emptied:
        today = self.thrown_away + timedelta(days=days_later)
        return emptying.empty(
            self.engine,
            self.all_roots,
            self._originals,
            {"archive": self.archive},
            1,
            today,
            KEEP,
            dry_run=dry_run,
        )

    @property
    def place(self) -> Path:
        (one,) = emptying.contents(self.all_roots)
        return one.path


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Emptying:
    one = Emptying(engine, tmp_path / "home")
    one.release()
    return one


def test_what_is_old_enough_goes_and_its_going_is_recorded(home: Emptying) -> None:
    place, size = home.place, len(home.data)
    assert emptying.summary(home.all_roots) == Summary(1, size, home.thrown_away)
    assert home.empty(KEEP) == Emptied()
    assert home.empty(KEEP + 1, dry_run=True) == Emptied(1, size)
    assert place.read_bytes() == home.data
    assert home.empty(KEEP + 1) == Emptied(1, size)
    assert emptying.summary(home.all_roots) == Summary(0, 0, None)
    assert [path.name for path in home.roots[layout.TRASH].iterdir()] == [".mediapipe-root"]
    assert home.rows("SELECT 1 FROM renditions WHERE trash_path IS NOT NULL") == []
    (log,) = home.rows("SELECT detail FROM pipeline_logs WHERE event = 'deleted from the trash'")
    assert log.detail == str(place)
    assert home.original.exists() and home.made()[1].exists()
    assert home.empty(KEEP + 1) == Emptied()


def test_the_trash_of_a_destination_is_emptied_by_the_same_rules(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeptFolder, "shares_disk_with", lambda self, folder: False)
    home = Emptying(engine, tmp_path / "home", replace=True)
    assert home.place.is_relative_to(home.archive.path / ".trash")
    assert home.empty(KEEP).files == 0
    assert home.empty(KEEP + 1).files == 1
    assert list((home.archive.path / ".trash").iterdir()) == []
    assert home.first.read_bytes() == home.data


def _copy_gone(home: Emptying) -> None:
    (row,) = home.rows("SELECT remote_path FROM deliveries WHERE role = 'rendition'")
    (home.archive.path / row.remote_path).unlink()


def _original_gone(home: Emptying) -> None:
    home.original.unlink()


def _original_changed(home: Emptying) -> None:
    home.original.write_bytes(home.original.read_bytes()[:-1] + b"!")


def _wanted(home: Emptying) -> None:
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'staged' WHERE role = 'rendition'"))


def _unrecorded(home: Emptying) -> None:
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE renditions SET retired_at = NULL WHERE trash_path IS NOT NULL"))


def _other_bytes(home: Emptying) -> None:
    home.place.chmod(0o644)
    home.place.write_bytes(b"somebody's own")


def _an_original(home: Emptying) -> None:
    home.place.chmod(0o644)
    home.place.write_bytes(home.original.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_copy_gone, "0 of 1 copies proven"),
        (_original_gone, "its original cannot be read"),
        (_original_changed, "no longer holds its bytes"),
        (_wanted, "still on its way to “archive”"),
        (_unrecorded, "has not been recorded to its end"),
        (_other_bytes, "the catalog does not know its bytes"),
        (_an_original, "originals are never deleted"),
    ],
)
def test_what_cannot_be_spared_stays_and_is_named(
    home: Emptying, spoil: Callable[[Emptying], None], reason: str
) -> None:
    spoil(home)
    data = home.place.read_bytes()
    done = home.empty(10 * KEEP)
    ((path, said),) = done.stay
    assert done.files == 0
    assert reason in said
    assert path.read_bytes() == data


def test_what_is_no_file_of_a_day_in_the_trash_is_not_looked_at(home: Emptying) -> None:
    trash = home.roots[layout.TRASH]
    mine = [put(trash / name, home.data) for name in ("mine.jpg", "holiday/mine.jpg", "2000-02-30/mine.jpg")]
    outside = put(trash.parent / "outside" / "mine.jpg", home.data)
    (trash / "2000-01-01").symlink_to(outside.parent)
    link = trash / "2000-01-02" / "link.jpg"
    link.parent.mkdir()
    link.symlink_to(outside)
    assert home.empty(KEEP + 1).files == 1
    assert all(path.exists() for path in (*mine, outside, link))
