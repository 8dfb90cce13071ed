"""The sensor that reads iCloud: what is new is asked for once, and not forgotten while a run is under way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from jobs.chain import CHAIN_JOB, RANGE_END, RANGE_START
from mediapipe_assets.definitions import build_defs
from pipeline.assembly import Platform
from pipeline.icloud_account import owned
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.icloud_library import jpeg
from tests.icloud_world import LISTING, World

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)


class Sensor:
    """The sensor of a home, with the cursor that the daemon would keep."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.instance = dg.DagsterInstance.ephemeral()
        self.defs = build_defs(world.settings)
        self.cursor: str | None = None

    @contextlib.contextmanager
    def opened(self, *, prepare: bool = False) -> Iterator[Platform]:
        yield self.world.platform

    def tick(self, *, minutes: int = 0) -> Any:
        """A tick so many minutes later."""
        self.world.ahead += timedelta(minutes=minutes)
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            definitions=self.defs,
            sensor_name="icloud_sensor",
            resources={"platform": self},
        ) as context:
            found = self.defs.get_sensor_def("icloud_sensor").evaluate_tick(context)
        self.cursor = found.cursor
        return found


@pytest.fixture
def sensor(signed_in: World) -> Sensor:
    return Sensor(signed_in)


def days(tick: Any) -> list[tuple[str, str]]:
    return [(one.tags[RANGE_START], one.tags[RANGE_END]) for one in tick.run_requests]


def test_what_is_new_is_asked_for_once_and_looked_at_again_after_a_while(
    sensor: Sensor, library: Library, icloud: ICloudStandin
) -> None:
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    tick = sensor.tick()
    assert days(tick) == [("2024-05-17", "2024-05-17")]
    assert tick.asset_events[0].metadata["new"].value == 1
    icloud.reset_requests()
    tick = sensor.tick(minutes=29)
    assert tick.skip_message == "iCloud was read a moment ago." and icloud.request_log() == [] == tick.asset_events
    tick = sensor.tick(minutes=2)
    assert days(tick) == [] and tick.skip_message == "Nothing is new in iCloud."


def test_each_look_is_shown_also_one_that_found_nothing_new(sensor: Sensor, library: Library) -> None:
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    sensor.world.sync()  # as `icloud sync` and `run` do: without Dagster, or before it is there
    (shown,) = sensor.tick(minutes=31).asset_events
    assert shown.metadata["photos"].value == 1 and shown.metadata["new"].value == 0


def test_what_comes_while_a_run_is_under_way_is_asked_for_when_it_has_ended(sensor: Sensor, library: Library) -> None:
    run = dg.DagsterRun(
        job_name=CHAIN_JOB,
        status=dg.DagsterRunStatus.STARTED,
        tags={RANGE_START: "2024-05-01", RANGE_END: "2024-05-31"},
    )
    sensor.instance.add_run(run)
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    for _ in range(3):
        tick = sensor.tick(minutes=1)
        assert days(tick) == [] and tick.skip_message.startswith("A run for these days is under way")
    sensor.instance.delete_run(run.run_id)
    assert days(sensor.tick(minutes=1)) == [("2024-05-17", "2024-05-17")]
    assert days(sensor.tick(minutes=1)) == [], "it is asked for once"


def test_trouble_with_apple_is_said_and_asks_for_no_run(
    sensor: Sensor, account: Account, icloud: ICloudStandin, library: Library
) -> None:
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    with owned(sensor.world.engine, sensor.world.account()):
        assert "Another process" in sensor.tick().skip_message
    icloud.faults.add(Fault("answer", where=LISTING, status=429, retry_after=3600))
    assert "Apple asks for fewer requests" in sensor.tick().skip_message
    icloud.reset_requests()
    tick = sensor.tick(minutes=30)
    assert "left alone until" in tick.skip_message and icloud.request_log() == [] and days(tick) == []
    assert days(sensor.tick(minutes=31)) == [("2024-05-17", "2024-05-17")]
    account.expire_trust()
    assert "icloud login" in sensor.tick(minutes=31).skip_message and account.codes_sent == 1


def test_a_tick_reads_for_a_bounded_time_and_the_next_one_goes_on(
    sensor: Sensor, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        library.add(f"{number}.jpg", jpeg(number), taken=NOON, offset_seconds=0)
    clock = iter(range(10_000))
    monkeypatch.setattr("sensors.icloud.SYNC_SECONDS", 2.0)
    monkeypatch.setattr("pipeline.icloud_sync.sync.__kwdefaults__", {
        "ours": (), "seconds": None, "clock": lambda: float(next(clock))
    })  # fmt: skip
    ticks = 0
    while sensor.world.value("SELECT count(*) FROM icloud_libraries WHERE complete_at IS NOT NULL") == 0:
        assert days(sensor.tick()) in ([("2024-05-17", "2024-05-17")], [])
        ticks += 1
        assert ticks < 10
    assert ticks >= 3 and len(sensor.world.known()) == 300
