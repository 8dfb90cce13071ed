"""A photo belongs to the day of the place where it was taken, whatever the zone of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from pipeline.icloud_sync import Library as Read
from pipeline.icloud_sync import sync as read_feed
from resources.icloud import PERSONAL, Answer
from services.icloud_standin import Library
from tests.icloud_library import jpeg
from tests.icloud_world import Feed, World


@pytest.fixture(params=["Pacific/Auckland", "America/Los_Angeles", "UTC"])
def host_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    os.environ.pop("TZ", None)
    time.tzset()


DAYS = [
    # instant, offset, the day where it was taken
    (datetime(2024, 5, 17, 12, 0, tzinfo=UTC), 7200, date(2024, 5, 17)),
    (datetime(2024, 5, 17, 23, 30, tzinfo=UTC), 3600, date(2024, 5, 18)),
    (datetime(2024, 5, 17, 0, 30, tzinfo=UTC), -3600, date(2024, 5, 16)),
    (datetime(2024, 12, 31, 10, 30, tzinfo=UTC), 46_800, date(2024, 12, 31)),
    (datetime(2024, 12, 31, 11, 30, tzinfo=UTC), 46_800, date(2025, 1, 1)),
    (datetime(2024, 3, 31, 0, 59, 59, tzinfo=UTC), 3600, date(2024, 3, 31)),  # Europe springs forward
    (datetime(2024, 3, 31, 22, 30, tzinfo=UTC), 7200, date(2024, 4, 1)),
    (datetime(2024, 10, 27, 0, 30, tzinfo=UTC), 7200, date(2024, 10, 27)),  # and back: this hour comes twice
    (datetime(2024, 10, 27, 1, 30, tzinfo=UTC), 3600, date(2024, 10, 27)),
    (datetime(2024, 11, 3, 8, 30, tzinfo=UTC), -25_200, date(2024, 11, 3)),
    (datetime(2024, 11, 3, 7, 59, tzinfo=UTC), -28_800, date(2024, 11, 2)),
    (datetime(2024, 4, 6, 13, 59, tzinfo=UTC), 46_800, date(2024, 4, 7)),  # the night before Auckland's clock changes
    (datetime(2024, 5, 17, 18, 30, tzinfo=UTC), 20_700, date(2024, 5, 18)),  # Nepal
    (datetime(2024, 5, 17, 11, 20, tzinfo=UTC), 45_900, date(2024, 5, 18)),  # the Chatham Islands
    (datetime(1995, 1, 1, 0, 10, tzinfo=UTC), 3208, date(1995, 1, 1)),  # a clock before time zones
    (datetime(2024, 5, 17, 22, 30, tzinfo=UTC), 999_999, date(2024, 5, 18)),  # nonsense: the home's zone, Berlin
    (None, 0, date(2026, 6, 2)),  # undated: the day on which it was added, in Berlin
]


def test_the_hosts_zone_and_its_daylight_saving_move_no_photo(
    host_zone: str, signed_in: World, library: Library
) -> None:
    added = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
    wanted = {}
    for number, (taken, offset, day) in enumerate(DAYS):
        asset = library.add(f"{number}.jpg", jpeg(number), taken=taken, offset_seconds=offset, added=added)
        wanted[asset.record_name] = day
    signed_in.sync()
    assert {key[0]: value[1] for key, value in signed_in.known().items()} == wanted
    stored = signed_in.rows("SELECT DISTINCT capture_provenance FROM source_files ORDER BY 1")
    assert [one for (one,) in stored] == ["icloud", "icloud_added", "icloud_utc"]
    times = signed_in.rows("SELECT capture_local, mtime_ns FROM source_files WHERE capture_offset_minutes = 345")
    assert times == [(datetime(2024, 5, 18, 0, 15), 1_715_970_600_000_000_000)], "and its instant is the file's time"


def test_a_photo_without_an_offset_is_dated_in_the_homes_zone(world: World) -> None:
    resource = {"fileChecksum": "AQ", "size": 5}
    master = {"recordName": "M", "recordType": "CPLMaster", "fields": {"resOriginalRes": {"value": resource}}}
    fields = {"assetDate": {"value": 1_715_983_200_000}, "masterRef": {"value": {"recordName": "M"}}}
    asset = {"recordName": "R", "recordType": "CPLAsset", "fields": fields}
    read_feed(
        world.engine,
        Feed(lambda token: Answer([asset, master], "A", False)),
        Read("icloud", "icloud", PERSONAL),
        world.platform.date_rules(),
    )
    assert world.rows("SELECT partition_date, capture_offset_minutes, capture_provenance FROM source_files") == [
        (date(2024, 5, 18), None, "icloud_utc")
    ]
