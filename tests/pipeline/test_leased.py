"""A run's lease from outside: what is given back, and what is cleaned up after a run that was killed."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from catalog import config, leases, sources, work
from media.files import part_path
from pipeline.layout import day_folder, folders_of_day
from pipeline.run import clean_up_after_dead_runs, leased, part_tag
from tests.the_catalog import ALWAYS, DAY, a_run, add_observation, rules


def test_a_lease_gives_back_what_it_held_whatever_happens(engine: Engine) -> None:
    with engine.begin() as connection:
        add_observation(connection)
    with pytest.raises(RuntimeError), leased(engine, "run", {}, folders_of_day) as lease_id:
        with engine.begin() as connection:
            assert work.claim(connection, sources.to_store, ALWAYS, rules(lease_id), 9)
        raise RuntimeError
    _nothing_is_held(engine)


def test_a_disk_that_went_away_does_not_keep_a_lease_from_ending_nor_hide_why(engine: Engine) -> None:
    def away(_: object, day: date) -> Iterator[Path]:
        raise OSError(errno.ESTALE, "Stale file handle")

    with engine.begin() as connection:
        add_observation(connection)
    with pytest.raises(RuntimeError, match="the reason"), leased(engine, "run", {}, away) as lease_id:
        with engine.begin() as connection:
            assert work.claim(connection, sources.to_store, ALWAYS, rules(lease_id), 9)
        raise RuntimeError("the reason")
    _nothing_is_held(engine)


def _nothing_is_held(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM work")).scalar() == 0
        assert leases.dead_leases(connection) == []
        assert leases.living_runs(connection) == set()


def test_the_parts_of_a_killed_run_are_removed_and_nobody_elses(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        add_observation(connection)
    killed = engine.connect()
    dead = leases.open_lease(killed, "killed")
    with engine.begin() as connection:
        work.claim(connection, sources.to_store, ALWAYS, rules(dead), 9)
    folder = tmp_path / "originals" / day_folder(DAY)
    folder.mkdir(parents=True)
    parts = {tag: part_path(folder / "a.jpg", tag) for tag in (part_tag(dead), part_tag(dead * 10 + 1))}
    for path in (*parts.values(), folder / "a.jpg"):
        path.write_bytes(b"half")
    killed.invalidate()
    _until_buried(engine, tmp_path, "killed")
    assert sorted(folder.iterdir()) == sorted([parts[part_tag(dead * 10 + 1)], folder / "a.jpg"])


def test_the_parts_of_another_home_that_delivers_there_too_are_left_alone(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        add_observation(connection)
        config.add_root(connection, "originals", "11111111-home")
    killed = engine.connect()
    dead = leases.open_lease(killed, "killed")
    with engine.begin() as connection:
        work.claim(connection, sources.to_store, ALWAYS, rules(dead), 9)
    folder = tmp_path / "originals" / day_folder(DAY)
    folder.mkdir(parents=True)
    with engine.connect() as connection:
        ours = a_run(engine, dead, home=config.home_id(connection)).tag
    parts = [part_path(folder / "a.jpg", tag) for tag in (ours, part_tag(dead, "22222222"), part_tag(dead))]
    for path in parts:
        path.write_bytes(b"half")
    killed.invalidate()
    _until_buried(engine, tmp_path, "killed")
    assert sorted(folder.iterdir()) == sorted(parts[1:])


def _until_buried(engine: Engine, root: Path, run_id: str) -> None:
    roots = {"originals": root / "originals", "not made yet": root / "nowhere"}
    deadline = time.monotonic() + 10
    while [one.run_id for one in clean_up_after_dead_runs(engine, roots, folders_of_day)] != [run_id]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
