"""What a sync costs: it is to grow with what has changed, and not with the library."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from services.icloud_standin import Account, ICloudStandin, Library
from tests.icloud_clients import PASSWORD
from tests.icloud_library import fill, jpeg, movie
from tests.icloud_world import World, as_it_is, figures

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
OTHER = "b@example.com"
RATIO = 1.3


def change_a_little(library: Library) -> None:
    """Ten added with old dates, five edited, five deleted."""
    for number in range(10):
        library.add(f"old{number}.jpg", jpeg(10**7 + number), taken=NOON - timedelta(9000 + number), offset_seconds=0)
    assets = [one for one in library.assets if not one.deleted]
    for number, asset in enumerate(assets[100:105]):
        library.edit(asset, movie(10**7) if asset.name.endswith("MOV") else jpeg(10**7 + number, "edited"))
    for asset in assets[200:205]:
        library.delete(asset)


def cost(world: World, library: Library, count: int) -> tuple[int, int, float]:
    """The requests of the first reading of a library, of the reading of a few changes, and the seconds of the first."""
    fill(library, count)
    begun = time.monotonic()
    first = world.read()
    seconds = time.monotonic() - begun
    assert len(first.found.new) == count
    change_a_little(library)
    done = world.read()
    assert figures(done.found) == (10, 5, 5, 15)
    assert world.known() == as_it_is(library)
    return first.requests, done.requests, seconds


def test_a_sync_costs_what_changed_and_not_what_there_is(
    signed_in: World, library: Library, icloud: ICloudStandin, engine: Engine, tmp_path: Path
) -> None:
    small = cost(signed_in, library, 250)
    print(f"\n250 assets: {small[0]} requests at first, then {small[1]}")
    assert small[1] <= 8 < small[0]


@pytest.mark.prove
def test_a_sync_of_20_000_costs_what_one_of_2_000_costs(
    signed_in: World, library: Library, icloud: ICloudStandin, account: Account, engine: Engine, tmp_path: Path
) -> None:
    few = cost(signed_in, library, 2_000)
    other = icloud.account(OTHER, PASSWORD, trusted_device=True)
    sources = {"icloud": {"kind": "icloud", "apple_id": OTHER, "password": PASSWORD}}
    world = World(tmp_path / "other", engine_of_another(engine), accounts=sources)
    world.sign_in(other)
    many = cost(world, other.library(), 20_000)
    for count, (first, then, seconds) in ((2_000, few), (20_000, many)):
        print(f"\n{count:,} assets: {first} requests in {seconds:.1f} s at first, then {then} for the changes")
    print(f"ratio {many[1] / few[1]:.2f}, at most {RATIO}")
    assert many[1] <= RATIO * few[1]


def engine_of_another(engine: Engine) -> Engine:
    """The same catalog, emptied."""
    from catalog import tables

    with engine.begin() as connection:
        names = ", ".join(table.fullname for table in tables.metadata.sorted_tables)
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
    return engine
