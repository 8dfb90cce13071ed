"""A real `up` whose photos come from iCloud: they arrive by themselves, and so does what changes there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from services.icloud_standin import Account, ICloudStandin, Library
from tests.conftest import Home
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import fill, jpeg
from tests.icloud_world import as_it_is, bodies, sign_in

PATIENCE = 240.0
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


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_photos_arrive_by_themselves_and_changes_do_too(
    home: Home, icloud: ICloudStandin, account: Account, library: Library, tmp_path: Path
) -> None:
    # Older photos belong to the first day: a range of very many days takes Dagster minutes.
    home.settings('start_date = 2026-05-01\ntimezone = "Europe/Berlin"\n')
    home.environment = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
    fill(library, 30)
    sign_in(home, account)
    home.start("up", "--port", str(free_port()))
    seconds = wait_for(lambda: stored(home) == bodies(library))
    print(f"\n{len(as_it_is(library))} files arrived by themselves after {seconds:.0f} s")

    old = library.add("scan.jpg", jpeg(9_000), taken=OLD, offset_seconds=7200)
    library.edit(library.assets[0], jpeg(9_001, "edited"))
    library.delete(library.assets[5])
    wanted = stored(home) | bodies(library)
    with home.opened() as platform, platform.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE icloud_libraries SET synced_at = synced_at - interval '1 day'")
    seconds = wait_for(lambda: stored(home) == wanted)
    print(f"what changed arrived after {seconds:.0f} s")
    with home.opened() as platform, platform.engine.connect() as connection:
        day = connection.exec_driver_sql(
            "SELECT partition_date FROM source_files WHERE version = %s", (old.checksum,)
        ).scalar_one()
    assert day == date(2026, 5, 3)
    assert account.codes_sent == 1, "nobody was asked for anything"
    assert home.status()["failed"] == 0
