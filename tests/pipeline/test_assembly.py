"""The platform as its settings describe it: what is due, and what a change of the settings means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import bundles, sources
from pipeline.assembly import Platform
from pipeline.failures import RefusedForSafety
from pipeline.stage import work_off
from resources.settings import load_settings
from tests.pipeline.test_discovery import look_at, photo
from tests.the_catalog import DAY, a_run, add_observation, add_stored, lease


def platform(engine: Engine, home: Path, **overrides: Any) -> Platform:
    return Platform(load_settings(home, overrides=overrides, environ={}), engine)


def folder(path: Path, **given: Any) -> dict[str, Any]:
    return {"kind": "folder", "path": str(path), **given}


def archives(home: Path, *names: str, off: Sequence[str] = ()) -> dict[str, Any]:
    return {name: {"kind": "archive", "path": str(home / name), "enabled": name not in off} for name in (*names, *off)}


def queued(engine: Engine, destination: str) -> int:
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM staging_queue WHERE destination = :d")
        return int(connection.execute(query, {"d": destination}).scalar_one())


def add_member(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        content = add_stored(connection, name)
        bundle = bundles.add_bundle(connection, content, "single", "", DAY)
        bundles.add_member(connection, bundle, content, "lead", name)


def test_a_new_destination_is_told_of_everything_once(engine: Engine, tmp_path: Path) -> None:
    add_member(engine, "a.jpg")
    home = platform(engine, tmp_path, destinations=archives(tmp_path, "one"))
    home.prepare()
    assert queued(engine, "one") == 1
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM staging_queue"))
    home.prepare()
    assert queued(engine, "one") == 0


def test_a_destination_that_was_switched_off_is_told_what_came_meanwhile(engine: Engine, tmp_path: Path) -> None:
    both = archives(tmp_path, "one", "two")
    platform(engine, tmp_path, destinations=both).prepare()
    platform(engine, tmp_path, destinations=archives(tmp_path, "one", off=["two"])).prepare()
    add_member(engine, "meanwhile.jpg")
    platform(engine, tmp_path, destinations=both).prepare()
    assert queued(engine, "two") == 1


@pytest.mark.parametrize(("key", "value"), [("start_date", "2000-01-01"), ("timezone", "Europe/Berlin")])
def test_what_dates_the_photos_cannot_be_changed_later(engine: Engine, tmp_path: Path, key: str, value: str) -> None:
    platform(engine, tmp_path).prepare()
    with pytest.raises(RefusedForSafety, match=f"The setting {key} is {value}"):
        platform(engine, tmp_path, **{key: value}).prepare()


def test_files_of_a_source_that_is_switched_off_are_not_due(engine: Engine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photo(photos / "a.jpg")
    look_at(engine, photos)
    on = platform(engine, tmp_path / "home", sources={"photos": folder(photos)})
    off = platform(engine, tmp_path / "home", sources={"photos": folder(photos, enabled=False)})
    assert on.due_dates(aged=False) == [DAY]
    assert off.due_dates(aged=False) == []  # or every tick would ask for a run that does nothing


def test_files_of_a_source_that_is_away_wait_without_a_failure(engine: Engine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photo(photos / "a.jpg")
    look_at(engine, photos)
    home = platform(engine, tmp_path / "home", sources={"photos": folder(photos)})
    photos.rename(tmp_path / "unmounted")
    for _ in range(2):  # not there, then an empty mount point
        assert home.due_dates(aged=False) == []
        with lease(engine) as lease_id:
            assert work_off(home.stage(sources.ORIGINALS), a_run(engine, lease_id)).done == 0
        photos.mkdir(exist_ok=True)
    photos.rmdir()
    (tmp_path / "unmounted").rename(photos)
    assert home.due_dates(aged=False) == [DAY]


def test_due_days_are_in_order_and_each_is_named_once(engine: Engine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photo(photos / "a.jpg")
    with engine.begin() as connection:
        for days in (2, 0, 2, 1):
            add_observation(connection, partition_date=DAY + timedelta(days=days))
    home = platform(engine, tmp_path / "home", sources={"photos": folder(photos)})
    assert home.due_dates(aged=False) == [DAY + timedelta(days=days) for days in range(3)]


def test_every_stage_that_is_due_exists_under_its_name(engine: Engine, tmp_path: Path) -> None:
    home = platform(engine, tmp_path, destinations=archives(tmp_path, "one", "two"))
    for query in home.queries(aged=True):
        assert home.stage(query.stage).name == query.stage
