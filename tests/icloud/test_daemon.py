"""A real `up` whose photos come from iCloud: they arrive by themselves, and so does what changes there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from services.icloud_standin import Account, ICloudStandin, Library
from tests.conftest import Home
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import fill, jpeg
from tests.icloud_world import as_it_is, bodies, sign_in

ASSETS = int(os.environ.get("ICLOUD_ASSETS", "2000"))
PATIENCE = 120.0 + ASSETS / 2
OLD = datetime(2026, 5, 3, 10, 0, tzinfo=UTC)


def stored(home: Home) -> dict[str, bytes]:
    """Every original by its Apple checksum."""
    with home.opened() as platform, platform.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT apple_checksum, stored_path FROM media_files").all()
        folder = platform.settings.roots.originals
    return {checksum: (folder / path).read_bytes() for checksum, path in rows}


def wait_for(what: Callable[[], bool], seconds: float = PATIENCE) -> float:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, "it did not happen by itself"
        time.sleep(1)
    return time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def arrived(home: Home, count: int) -> Callable[[], bool]:
    """Whether so many contents are kept; their bytes are looked at once that is so."""

    def look() -> bool:
        with home.opened() as platform, platform.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM media_files").scalar_one() == count

    return look


@pytest.mark.prove
@pytest.mark.timeout(3000)
def test_photos_arrive_by_themselves_and_changes_do_too(
    home: Home, icloud: ICloudStandin, account: Account, library: Library
) -> None:
    # Older photos belong to the first day: a range of very many days takes Dagster minutes.
    home.settings('start_date = 2026-05-01\ntimezone = "Europe/Berlin"\n')
    home.environment = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
    fill(library, ASSETS)
    sign_in(home, account)
    home.start("up", "--port", str(free_port()))
    seconds = wait_for(arrived(home, len(bodies(library))))
    assert stored(home) == bodies(library)
    print(f"\n{len(as_it_is(library))} files of {ASSETS} assets arrived by themselves after {seconds:.0f} s")

    before = bodies(library)
    for number in range(10):
        library.add(f"scan{number}.jpg", jpeg(9_000_000 + number), taken=OLD, offset_seconds=7200)
    photos = [one for one in library.assets if not one.name.endswith("MOV")]
    for number, asset in enumerate(photos[:5]):
        library.edit(asset, jpeg(9_000_100 + number, "edited"))
    for asset in photos[20:25]:
        library.delete(asset)
    with home.opened() as platform, platform.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE icloud_libraries SET synced_at = synced_at - interval '1 day'")
    wanted = before | bodies(library)
    seconds = wait_for(arrived(home, len(wanted)))
    assert stored(home) == wanted, "what was deleted in iCloud is kept here"
    print(f"what changed arrived after {seconds:.0f} s")
    with home.opened() as platform, platform.engine.connect() as connection:
        days = connection.exec_driver_sql(
            "SELECT partition_date, count(*) FROM source_files WHERE source_id LIKE '%%/scan%%' GROUP BY 1"
        ).all()
    assert [tuple(one) for one in days] == [(date(2026, 5, 3), 10)]
    assert account.codes_sent == 1, "nobody was asked for anything"
    assert home.status()["failed"] == 0 and home.status()["damaged"] == 0
