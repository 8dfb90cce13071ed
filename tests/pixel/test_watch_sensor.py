"""The sensor of a phone: which runs are asked for, once, and what the lineage page shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from jobs.chain import CHAIN_JOB, RANGE_END, RANGE_START, chain_job
from mediapipe_assets.definitions import build_defs
from mediapipe_assets.platform import PlatformResource
from pipeline import switches
from pipeline.assembly import Platform
from resources.pixel import PixelFolder
from resources.settings import load_settings
from sensors.pixel import pixel_sensors
from tests.pixel_watch_world import NAME, PHONE, FakeSyncthing, Watching
from tests.the_catalog import engine, migrated, server

__all__ = ["engine", "migrated", "server"]
OLD, NEW = date(2019, 3, 1), date(2024, 5, 17)
MB = 1_000_000


@dg.asset
def some_asset() -> None:
    """What a job needs to have."""


class Sensor:
    """The sensor of a home with one phone, with the cursor that the daemon would keep."""

    def __init__(
        self, folder: Path, engine: Engine, fake: FakeSyncthing, patch: pytest.MonkeyPatch, **given: Any
    ) -> None:
        entry = {"folder_id": "camera", "device_id": PHONE, "folder_path": str(fake.root), "quota_gb": 0.01, **given}
        self.settings = load_settings(folder / "home", overrides={"destinations": {NAME: entry}}, environ={})
        self.fake, self.engine, self.ahead = fake, engine, timedelta()
        self.world = Watching(engine, fake.root, fake.syncthing())
        patch.setattr(PixelFolder, "of", lambda name, entry: PixelFolder(name, entry, fake.syncthing()))
        self.platform = Platform(self.settings, engine, lambda: datetime.now(UTC) + self.ahead)
        self.instance = dg.DagsterInstance.ephemeral()
        # Not the whole platform, which takes a second to put together.
        self.defs = dg.Definitions(
            assets=[some_asset],
            jobs=[chain_job],
            sensors=pixel_sensors(self.settings),
            resources={"platform": PlatformResource()},
        )
        self.cursor: str | None = None

    @contextlib.contextmanager
    def opened(self, *, prepare: bool = False) -> Iterator[Platform]:
        yield self.platform

    def tick(self, *, minutes: float = 0) -> Any:
        self.ahead += timedelta(minutes=minutes)
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            definitions=self.defs,
            sensor_name="phone_pixel_sensor",
            resources={"platform": self},
        ) as context:
            found = self.defs.get_sensor_def("phone_pixel_sensor").evaluate_tick(context)
        self.cursor = found.cursor
        return found

    def start_run(self, first: date, last: date) -> str:
        tags = {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
        run = dg.DagsterRun(job_name=CHAIN_JOB, status=dg.DagsterRunStatus.STARTED, tags=tags)
        self.instance.add_run(run)
        return run.run_id

    def verify(self, name: str, *, hours_ago: float = 0) -> None:
        """Does what a run does with a file that was seen on the phone, some hours ago."""
        self.world.do(
            "UPDATE deliveries SET state = 'verified', evidence = '{}', evidence_at = now() WHERE remote_path = :name",
            name=name,
        )
        self.world.do(
            "UPDATE placed_files SET delivered_at = now() - make_interval(hours => :hours) WHERE path = :name",
            name=name,
            hours=hours_ago,
        )

    def empty(self, name: str) -> None:
        """Does what a run does with a file that was there for long enough."""
        self.world.do("UPDATE placed_files SET emptied_at = now() WHERE path = :name", name=name)


@pytest.fixture
def fake(tmp_path: Path) -> FakeSyncthing:
    return FakeSyncthing(tmp_path / "nas")


@pytest.fixture
def sensor(tmp_path: Path, engine: Engine, fake: FakeSyncthing, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    return Sensor(tmp_path, engine, fake, monkeypatch)


def days(tick: Any) -> list[tuple[str, str]]:
    return [(one.tags[RANGE_START], one.tags[RANGE_END]) for one in tick.run_requests]


def span(day: date) -> tuple[str, str]:
    return (day.isoformat(), day.isoformat())


def test_the_days_of_what_arrived_are_asked_for_until_a_run_has_recorded_it(
    sensor: Sensor, fake: FakeSyncthing
) -> None:
    sensor.world.place("old.jpg", day=OLD)
    sensor.world.place("new.jpg", day=NEW)
    assert days(sensor.tick()) == []
    fake.has = {"old.jpg"}
    fake.index_came()
    tick = sensor.tick()
    assert days(tick) == [span(OLD)]
    assert {one.tags["mediapipe/asked_for_by"] for one in tick.run_requests} == {"phone_pixel_sensor"}
    run = sensor.start_run(OLD, OLD)
    assert days(sensor.tick()) == []
    sensor.instance.delete_run(run)
    assert days(sensor.tick()) == [span(OLD)], "the run ended and did not get to it"
    sensor.verify("old.jpg")
    assert days(sensor.tick()) == []


def test_what_waits_for_room_is_asked_for_once_when_there_is_room(sensor: Sensor, fake: FakeSyncthing) -> None:
    fake.has = {"first.jpg"}
    sensor.world.place("first.jpg", b"x" * (8 * MB), day=OLD)
    sensor.world.queue("second.jpg", 4 * MB, OLD)
    sensor.world.queue("third.jpg", 4 * MB, NEW)
    sensor.world.queue("fourth.jpg", 4 * MB, date(2025, 1, 1))
    sensor.tick()
    sensor.verify("first.jpg")
    assert days(sensor.tick()) == [], "8 of 10 MB lie there"
    sensor.empty("first.jpg")
    assert days(sensor.tick()) == [span(OLD), span(NEW)], "there is room for two"
    assert [days(sensor.tick()) for _ in range(3)] == [[], [], []], "they were asked for, and the run could do nothing"
    # The run that filled the folder came, and everything left it again: it looks as before, and yet is not.
    sensor.world.do("INSERT INTO batches (destination, run_id) VALUES ('pixel', 'another')")
    assert days(sensor.tick()) == [span(OLD), span(NEW)]


def test_the_newest_days_go_first_where_the_settings_say_so(
    tmp_path: Path, engine: Engine, fake: FakeSyncthing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = Sensor(tmp_path, engine, fake, monkeypatch, order="newest")
    for day in (OLD, NEW, date(2025, 1, 1)):
        sensor.world.queue(f"{day}.jpg", 4 * MB, day)
    assert days(sensor.tick()) == [span(date(2025, 1, 1)), span(NEW)]


def test_room_is_asked_for_again_when_a_run_under_way_kept_the_days(sensor: Sensor) -> None:
    sensor.world.queue("a.jpg", MB, NEW)
    run = sensor.start_run(NEW, NEW)
    assert days(sensor.tick()) == days(sensor.tick()) == []
    sensor.instance.delete_run(run)
    assert days(sensor.tick()) == [span(NEW)]
    assert days(sensor.tick()) == []


def test_room_is_asked_for_once_though_other_days_have_to_wait_for_a_run(sensor: Sensor, fake: FakeSyncthing) -> None:
    sensor.world.place("old.jpg", day=OLD)
    sensor.world.queue("new.jpg", MB, NEW)
    fake.has = {"old.jpg"}
    sensor.start_run(OLD, OLD)
    assert days(sensor.tick()) == [span(NEW)]
    assert [days(sensor.tick()) for _ in range(3)] == [[], [], []]


def test_what_has_lain_in_the_folder_for_long_enough_is_asked_for(sensor: Sensor, fake: FakeSyncthing) -> None:
    sensor.world.place("a.jpg", day=NEW)
    fake.has = {"a.jpg"}
    sensor.tick()
    sensor.verify("a.jpg", hours_ago=23)
    assert days(sensor.tick()) == []
    sensor.verify("a.jpg", hours_ago=25)
    assert days(sensor.tick()) == [span(NEW)]
    sensor.empty("a.jpg")
    assert days(sensor.tick()) == []


def test_a_pause_asks_for_nothing_and_what_arrives_meanwhile_is_latched(sensor: Sensor, fake: FakeSyncthing) -> None:
    sensor.world.place("a.jpg", day=NEW)
    switches.pause(sensor.engine)
    fake.has = {"a.jpg"}
    tick = sensor.tick()
    assert days(tick) == [] and tick.skip_message.startswith("Paused since")
    assert sensor.world.delivered() == ["a.jpg"]
    fake.free("a.jpg")
    switches.resume(sensor.engine)
    assert days(sensor.tick()) == [span(NEW)]


def test_while_syncthing_is_away_no_run_is_asked_for_and_afterwards_what_waits_is(
    sensor: Sensor, fake: FakeSyncthing
) -> None:
    sensor.world.queue("a.jpg", MB, NEW)
    fake.away = True
    tick = sensor.tick()
    assert days(tick) == [] and "cannot be reached" in tick.skip_message
    fake.away = False
    assert days(sensor.tick()) == [span(NEW)]
    fake.away = True
    sensor.tick()
    fake.away = False
    assert days(sensor.tick()) == [span(NEW)], "the run found Syncthing away"


def test_the_lineage_page_shows_the_phone_when_something_has_changed(sensor: Sensor, fake: FakeSyncthing) -> None:
    sensor.world.place("a.jpg", b"x" * MB, day=NEW)
    sensor.world.queue("b.jpg", 20 * MB, NEW)
    (shown,) = sensor.tick().asset_events
    assert shown.asset_key.to_user_string() == "syncthing_folder"
    seen = {name: value.value for name, value in shown.metadata.items()}
    assert seen["connected"] is True and seen["waiting"] == 2 and seen["waiting_megabytes"] == 21.0
    assert (seen["megabytes_in_folder"], seen["megabytes_on_phone"]) == (1.0, 0.0)
    assert [sensor.tick().asset_events for _ in range(3)] == [[], [], []]
    fake.has = {"a.jpg"}
    fake.index_came()
    (shown,) = sensor.tick().asset_events
    assert shown.metadata["waiting"].value == 1 and shown.metadata["megabytes_on_phone"].value == 1.0
    fake.away = True
    (shown,) = sensor.tick().asset_events
    assert shown.metadata["connected"].value is False and "cannot be reached" in shown.metadata["syncthing"].value
    assert sensor.tick().asset_events == []


def test_the_folder_is_an_external_asset_between_placing_and_proving(sensor: Sensor) -> None:
    graph = build_defs(sensor.settings).get_repository_def().asset_graph
    folder = graph.get(dg.AssetKey("syncthing_folder"))
    assert not folder.is_materializable
    assert folder.parent_keys == {dg.AssetKey([NAME, "uploaded_media"])}


def test_without_a_phone_there_is_neither_sensor_nor_folder(tmp_path: Path) -> None:
    defs = build_defs(load_settings(tmp_path / "home", environ={}))
    assert dg.AssetKey("syncthing_folder") not in defs.get_repository_def().asset_graph.get_all_asset_keys()
    assert [one.name for one in defs.sensors or () if one.name.startswith("phone_")] == []
