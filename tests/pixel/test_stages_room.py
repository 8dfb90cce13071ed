"""Never more in a phone's folder than its quota, bundles whole, and everything there at last."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from catalog import phone_room, placed_files, tables
from catalog.phone_room import Waiting
from pipeline.pixel_delivery import PixelStagedStage
from pipeline.pixel_room import entering
from pipeline.stage import work_off
from tests.pixel_world import World
from tests.the_catalog import DAY, a_run, engine, lease, migrated, server

__all__ = ["engine", "migrated", "server"]
QUOTA = 100
_number = itertools.count()


class Scales:
    """Weighs the folder at each task of the pool, which is when anything about it can have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most = folder, 0

    def weigh(self) -> None:
        files = [one for one in self.folder.iterdir() if not one.name.startswith((".st", ".mediapipe"))]
        self.most = max(self.most, sum(one.stat().st_size for one in files))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bundles=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(2, 70), min_size=1, max_size=3)), min_size=1, max_size=7
    ),
    newest=st.booleans(),
    arrives=st.lists(st.booleans(), max_size=4),
)
def test_everything_gets_there_in_whole_bundles_and_never_more_than_the_quota_lies_there(
    engine: Engine, tmp_path: Path, bundles: list[tuple[int, list[int]]], newest: bool, arrives: list[bool]
) -> None:
    _empty(engine)
    base = tmp_path / str(next(_number))
    world = World(engine, base, quota=QUOTA, keep_hours=0, order="newest" if newest else "oldest")
    content = itertools.count()
    wanted = [[(b"%02d" % next(content)).ljust(size) for size in sizes] for _, sizes in bundles]
    for number, ((day, _), files) in enumerate(zip(bundles, wanted, strict=True)):
        world.bundle([(f"IMG_{number}.{part}", data) for part, data in enumerate(files)], day=DAY + timedelta(days=day))
    scales = Scales(world.folder)
    for reaches in itertools.chain(arrives, itertools.repeat(True, 2 * len(bundles) + 2)):
        if world.stage().done == 0 and world.in_folder() == {}:
            break
        with engine.connect() as connection:
            assert placed_files.in_flight(connection, "pixel") <= QUOTA
        world.place()
        scales.weigh()
        staged = set(world.in_folder().values()) | set(world.phone.files.values())
        assert all(len(staged & set(one)) in (0, len(one)) for one in wanted), "a bundle was torn apart"
        if reaches:
            world.phone.sync()
        world.time_passes()
        world.verify()
    assert 0 < scales.most <= QUOTA or all(sum(map(len, one)) > QUOTA for one in wanted)
    fits = {data for one in wanted if sum(map(len, one)) <= QUOTA for data in one}
    assert set(world.phone.files.values()) == fits
    assert len(world.left_out) == sum(len(one) for one in wanted) - len(fits)
    assert world.in_folder() == {} and set(world.states) <= {"verified"} and world.failures == []


def _empty(engine: Engine) -> None:
    names = ", ".join(table.fullname for table in tables.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 40), st.integers(0, 60))
def test_what_enters_fits_and_a_large_bundle_is_never_overtaken(sizes: list[int], quota: int, used: int) -> None:
    waiting = [Waiting(number, size) for number, size in enumerate(sizes)]
    plan = entering(waiting, quota, used)
    assert list(plan.bundles) == list(range(len(plan.bundles)))
    entered = sum(size for size in sizes[: len(plan.bundles)] if size <= quota)
    assert entered == 0 or entered + used <= quota
    if plan.full:
        held = sizes[len(plan.bundles)]
        assert held <= quota < entered + used + held


def test_a_bundle_larger_than_the_quota_is_left_out_whole_with_the_reason(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, quota=10)
    world.bundle([("IMG_1.JPG", b"photo"), ("IMG_1.MOV", b"a long film")])
    world.photo(b"small", "IMG_2.JPG")
    report = world.stage()
    assert report.counts == {"left_out": 2, "members": 1}
    assert len(set(world.left_out)) == 1 and "quota_gb" in world.left_out[0]
    world.place()
    assert list(world.in_folder().values()) == [b"small"]
    assert world.stage().done == 0


def test_what_was_left_out_goes_once_the_quota_allows_it(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, quota=10)
    members = world.bundle([("IMG_1.JPG", b"photo"), ("IMG_1.MOV", b"a long film")])
    world.stage()
    world = World(engine, tmp_path, quota=100)
    world.change(f"INSERT INTO staging_queue SELECT 'pixel', {members[0]}, partition_date FROM bundle_members LIMIT 1")
    assert world.stage().figures["staged"] == 2, "both halves, though only one was told anew"
    assert world.left_out == []


def test_a_late_half_follows_its_bundle(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path)
    lead = world.photo(b"photo", "IMG_1.JPG")
    world.deliver()
    world.bundle([("IMG_1.MOV", b"film")], into=lead)
    world.deliver()
    assert set(world.phone.files) == {"20240517_IMG_1.JPG", "20240517_IMG_1.MOV"}


def test_a_photo_whose_original_is_missing_takes_nobodys_room(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, quota=10)
    world.photo(b"missing 1", "IMG_1.JPG")
    world.photo(b"here 1234", "IMG_2.JPG")
    world.change("UPDATE media_files SET missing_since = now() WHERE id = 1")
    assert world.stage().figures["staged"] == 1
    world.place()
    assert list(world.in_folder().values()) == [b"here 1234"]


def test_what_has_left_the_folder_makes_room(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, quota=10)
    world.photo(b"first 123", "IMG_1.JPG")
    world.photo(b"second 12", "IMG_2.JPG")
    world.deliver()
    assert world.stage().done == 0
    world.change("UPDATE placed_files SET delivered_at = now() - interval '2 days'")
    world.verify()
    assert world.in_folder() == {}
    assert world.stage().figures["staged"] == 1


def test_of_two_runs_at_once_only_one_takes_the_last_room(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, quota=10)
    world.photo(b"first 123", "IMG_1.JPG")
    stage = PixelStagedStage(world.pixel, world.room())
    query = stage.query

    def then_another_run(run: object) -> object:
        found = query(run)  # type: ignore[arg-type]
        world.photo(b"older 123", "IMG_2.JPG", day=DAY - timedelta(days=1))
        assert world.stage().figures["staged"] == 1
        return found

    stage.query = then_another_run  # type: ignore[assignment, method-assign]
    with lease(engine) as lease_id:
        report = work_off(stage, a_run(engine, lease_id))
    assert report.counts == {"pending": 1}
    with engine.connect() as connection:
        assert placed_files.in_flight(connection, "pixel") == 9


def test_while_one_transaction_fills_the_folder_another_waits(engine: Engine) -> None:
    with engine.begin() as one, engine.begin() as other:
        phone_room.lock(one, "pixel")
        other.execute(text("SET LOCAL lock_timeout = '50ms'"))
        phone_room.lock(other, "another-phone")
        with pytest.raises(Exception, match="lock timeout"):
            phone_room.lock(other, "pixel")
