"""One look at a folder: what is new, what left, what is away, and which day each file belongs to."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from sqlalchemy import Engine, event, text

from pipeline.discovery import DateRules, Discovery, FolderSpec, _really_gone, look
from pipeline.failures import RefusedForSafety
from resources.folder import Listing, SourceMissing

TAKEN = datetime(2024, 5, 17, 23, 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def photo(path: Path, taken: datetime | None = TAKEN, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = f"{taken:%Y:%m:%d %H:%M:%S}"
    Image.new("L", (8, 8), shade).save(path, "JPEG", exif=exif)
    return path


def later(seconds: float = 60.0) -> DateRules:
    """The rules of a moment at which everything written until now has settled."""
    return DateRules("UTC", date(1990, 1, 1), datetime.now(UTC) + timedelta(seconds=seconds))


def look_at(engine: Engine, folder: Path, rules: DateRules | None = None, **given: Any) -> Discovery:
    spec_fields = {key: given.pop(key) for key in list(given) if key in FolderSpec.__dataclass_fields__}
    return look(engine, FolderSpec("photos", folder, **spec_fields), rules or later(), **given)


def observed(engine: Engine, *columns: str) -> list[Any]:
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT {', '.join(columns)} FROM source_files ORDER BY id")).all()
    return [row[0] if len(columns) == 1 else tuple(row) for row in rows]


@contextmanager
def queries_counted(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def remember(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", remember)
    yield statements
    event.remove(engine, "before_cursor_execute", remember)


def test_new_files_are_recorded_once(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    photo(folder / "trip" / "B.JPG")
    (folder / "notes.txt").write_text("no photo")
    first = look_at(engine, folder)
    assert (first.listed, first.new, first.gone, first.left, first.unsettled) == (2, 2, 0, 0, 0)
    assert first.new_bytes == sum(path.stat().st_size for path in folder.rglob("*.[jJ]*"))
    assert sorted(observed(engine, "source_id")) == ["a.jpg", "trip/B.JPG"]
    assert look_at(engine, folder).new == 0


def test_an_idle_look_asks_the_catalog_nothing(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    digest = look_at(engine, folder).digest
    assert digest is not None
    with queries_counted(engine) as statements:
        idle = look_at(engine, folder, known_digest=digest)
    assert statements == []
    assert (idle.listed, idle.new, idle.digest) == (1, 0, digest)
    photo(folder / "b.jpg")
    assert look_at(engine, folder, known_digest=digest).new == 1


def test_a_look_that_must_come_back_hands_out_no_digest(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    photo(folder / "b.jpg")
    assert look_at(engine, folder, DateRules("UTC", date(1990, 1, 1), datetime.now(UTC))).digest is None  # unsettled
    assert look_at(engine, folder, limit=1).digest is None  # left
    assert look_at(engine, folder, record=False).digest is None
    assert look_at(engine, folder).digest is not None


def test_files_still_being_written_are_waited_for(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    os.utime(folder / "a.jpg", (0, 0))  # a copy that keeps the old modification time, as `cp -p` makes it
    now = DateRules("UTC", date(1990, 1, 1), datetime.now(UTC))
    waiting = look_at(engine, folder, now, settle_seconds=30)
    assert (waiting.new, waiting.unsettled) == (0, 1)
    assert look_at(engine, folder, now, settle_seconds=0).new == 1


def test_a_clock_that_is_wrong_by_years_does_not_make_files_wait_for_ever(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    past = DateRules("UTC", date(1990, 1, 1), datetime.now(UTC) - timedelta(days=1000))
    assert look_at(engine, folder, past).unsettled == 0


def test_the_limit_counts_new_files_and_the_rest_comes_at_the_next_look(engine: Engine, folder: Path) -> None:
    for number in range(5):
        photo(folder / f"{number}.jpg", shade=number)
    seen = [look_at(engine, folder, limit=2) for _ in range(4)]
    assert [(one.new, one.left) for one in seen] == [(2, 3), (2, 1), (1, 0), (0, 0)]


def test_the_limit_never_parts_what_belongs_together(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    (folder / "a.aae").write_text("<plist/>")
    photo(folder / "b.jpg")
    assert look_at(engine, folder, limit=1).new == 2
    assert sorted(observed(engine, "source_id")) == ["a.aae", "a.jpg"]


def test_a_file_that_left_is_gone_and_nothing_else_happens_to_it(engine: Engine, folder: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(folder / name)
    look_at(engine, folder)
    (folder / "a.jpg").unlink()
    assert look_at(engine, folder).gone == 1
    assert observed(engine, "source_id", "gone_at IS NOT NULL", "state") == [
        ("a.jpg", True, "superseded"),
        ("b.jpg", False, "pending"),
        ("c.jpg", False, "pending"),
    ]


def test_a_file_that_was_replaced_is_a_new_version_of_the_same_path(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    look_at(engine, folder)
    photo(folder / "a.jpg", shade=200)
    os.utime(folder / "a.jpg", (1, 1))
    again = look_at(engine, folder)
    assert (again.new, again.gone) == (1, 1)
    assert observed(engine, "source_id", "gone_at IS NOT NULL") == [("a.jpg", True), ("a.jpg", False)]


def test_a_single_file_that_was_renamed_is_not_a_source_that_went_away(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    look_at(engine, folder)
    (folder / "a.jpg").rename(folder / "b.jpg")
    renamed = look_at(engine, folder)
    assert (renamed.new, renamed.gone) == (1, 1)


def test_a_folder_that_was_sorted_into_subfolders_is_not_away(engine: Engine, folder: Path) -> None:
    for number in range(4):
        photo(folder / f"{number}.jpg", shade=number)
    look_at(engine, folder)
    (folder / "2024").mkdir()
    for number in range(4):
        (folder / f"{number}.jpg").rename(folder / "2024" / f"{number}.jpg")
    assert look_at(engine, folder).gone == 4


def test_a_source_that_is_suddenly_empty_is_away_and_nothing_is_touched(engine: Engine, folder: Path) -> None:
    for number in range(4):
        photo(folder / f"{number}.jpg", shade=number)
    look_at(engine, folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(RefusedForSafety, match="4 of the 4 files"):
        look_at(engine, folder)
    assert observed(engine, "gone_at IS NULL") == [True] * 4
    assert is_away(engine)


def is_away(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.execute(text("SELECT away_since FROM sources")).scalar_one() is not None


def test_another_disk_at_the_same_place_is_away_too(engine: Engine, folder: Path) -> None:
    for number in range(4):
        photo(folder / f"{number}.jpg", shade=number)
    look_at(engine, folder)
    for number in range(4):
        (folder / f"{number}.jpg").unlink()
        (folder / f"other-{number}.jpg").write_bytes(b"x" * (number + 1))
    with pytest.raises(RefusedForSafety):
        look_at(engine, folder)


def test_a_source_that_came_back_is_no_longer_away(engine: Engine, folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        photo(folder / f"{number}.jpg", shade=number)
    look_at(engine, folder)
    folder.rename(tmp_path / "unmounted")
    folder.mkdir()
    with pytest.raises(RefusedForSafety):
        look_at(engine, folder)
    folder.rmdir()
    (tmp_path / "unmounted").rename(folder)
    assert look_at(engine, folder).new == 0
    assert not is_away(engine)


def test_a_person_may_say_that_a_source_was_emptied(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    look_at(engine, folder)
    (folder / "a.jpg").unlink()
    assert look_at(engine, folder, away_share=1.0).gone == 1


def test_a_source_that_is_not_there_is_missing_in_words(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="does not exist"):
        look_at(engine, tmp_path / "nowhere")


def test_what_is_out_of_sight_is_not_gone(tmp_path: Path) -> None:
    rows = [(1, "a/1.jpg"), (2, "ab/2.jpg"), (3, "b\uf7ff/3.jpg"), (4, "c.jpg"), (5, "d.jpg")]
    gone = pl.DataFrame(rows, schema={"id": pl.Int64, "path": pl.String}, orient="row")
    unreadable = [("a", "Permission denied"), ("b\uf7ff", "Stale file handle"), ("c.jpg", "Input/output error")]
    left = _really_gone(gone, Listing(pl.DataFrame(), "", unreadable))
    assert left["path"].to_list() == ["ab/2.jpg", "d.jpg"]


def test_a_folder_that_cannot_be_entered_hides_its_files_and_loses_none(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = os.fsencode(folder) + b"/closed\xff"
    for path in (photo(Path(os.fsdecode(closed)) / f"{n}.jpg", shade=n) for n in range(3)):
        assert path.exists()
    photo(folder / "open.jpg")
    look_at(engine, folder)
    really = os.scandir

    def scandir(path: str) -> Any:
        if os.fsencode(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    hidden = look_at(engine, folder)
    assert (hidden.gone, len(hidden.unreadable), hidden.digest) == (0, 1, None)


# ------------------------------------------------------------------ days


def days_of(engine: Engine) -> dict[str, tuple[date, str | None]]:
    rows = observed(engine, "source_id", "partition_date", "capture_flag")
    return {path: (day, flag) for path, day, flag in rows}


def test_the_day_is_the_local_day_where_the_photo_was_taken(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    look_at(engine, folder)
    assert observed(engine, "partition_date", "capture_local", "capture_offset_minutes", "capture_provenance") == [
        (TAKEN.date(), TAKEN, None, "exif")
    ]


def test_a_date_in_the_future_and_one_before_the_start_get_a_day_and_a_flag(engine: Engine, folder: Path) -> None:
    photo(folder / "future.jpg", datetime(2090, 1, 1))
    photo(folder / "old.jpg", datetime(1955, 1, 1))
    rules = later()
    look_at(engine, folder, rules)
    assert days_of(engine) == {
        "future.jpg": (rules.now.date(), "future"),
        "old.jpg": (rules.start, "before_start"),
    }


def test_tomorrow_is_no_future_for_in_auckland_it_has_begun(engine: Engine, folder: Path) -> None:
    rules = later()
    photo(folder / "a.jpg", datetime.combine(rules.now.date() + timedelta(days=1), TAKEN.time()))
    look_at(engine, folder, rules)
    assert days_of(engine) == {"a.jpg": (rules.now.date() + timedelta(days=1), None)}


def test_the_video_and_the_sidecar_of_a_live_photo_share_the_day_of_their_lead(engine: Engine, folder: Path) -> None:
    photo(folder / "IMG_1.JPG")
    for name in ("IMG_1.MOV", "IMG_1.AAE"):
        (folder / name).write_bytes(b"no date in it")
        os.utime(folder / name, (1_600_000_000, 1_600_000_000))
    look_at(engine, folder)
    assert {day for day, _ in days_of(engine).values()} == {TAKEN.date()}


def test_a_half_that_comes_late_gets_the_day_of_the_lead_that_was_there_before(engine: Engine, folder: Path) -> None:
    photo(folder / "IMG_1.JPG")
    look_at(engine, folder)
    (folder / "IMG_1.MOV").write_bytes(b"no date in it")
    look_at(engine, folder)
    assert days_of(engine)["IMG_1.MOV"] == (TAKEN.date(), None)


def test_a_camera_counter_that_came_round_again_makes_no_pair(engine: Engine, folder: Path) -> None:
    photo(folder / "IMG_1.JPG")
    look_at(engine, folder)
    photo(folder / "IMG_1.JPG", TAKEN + timedelta(days=300), shade=9)
    look_at(engine, folder)
    assert sorted(observed(engine, "partition_date")) == [TAKEN.date(), TAKEN.date() + timedelta(days=300)]


def test_names_in_both_unicode_forms_are_one_stem_and_two_paths(engine: Engine, folder: Path) -> None:
    photo(folder / unicodedata.normalize("NFC", "\u00e4.jpg"))
    (folder / unicodedata.normalize("NFD", "\u00e4.mov")).write_bytes(b"no date in it")
    look_at(engine, folder)
    assert len(set(observed(engine, "stem_key"))) == 1
    assert len(set(observed(engine, "source_id"))) == 2


def test_a_name_that_is_no_text_is_recorded_too(engine: Engine, folder: Path) -> None:
    photo(Path(os.fsdecode(os.fsencode(folder) + b"/broken-\xff\xfe.jpg")))
    assert look_at(engine, folder).new == 1
    assert look_at(engine, folder).new == 0


def test_a_dry_look_records_nothing(engine: Engine, folder: Path) -> None:
    photo(folder / "a.jpg")
    assert look_at(engine, folder, record=False).new == 1
    with engine.connect() as connection:
        for table in ("sources", "source_files"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_include_and_exclude_decide_what_is_seen(engine: Engine, folder: Path) -> None:
    photo(folder / "keep" / "a.jpg")
    photo(folder / "keep" / "no" / "b.jpg")
    photo(folder / "c.jpg")
    assert look_at(engine, folder, include=["keep/*"], exclude=["keep/no/*"]).new == 1


def test_two_sources_do_not_see_each_others_files(engine: Engine, folder: Path, tmp_path: Path) -> None:
    photo(folder / "a.jpg")
    photo(tmp_path / "other" / "a.jpg")
    look_at(engine, folder)
    spec = replace(FolderSpec("other", tmp_path / "other"))
    found = look(engine, spec, later())
    assert (found.new, found.gone) == (1, 0)
