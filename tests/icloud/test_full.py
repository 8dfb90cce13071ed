"""iCloud without room: it is asked less and less often, everything else goes on, and a person can ask at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog.sources import ICLOUD_ORIGINALS, ORIGINALS
from pipeline.discovery import look
from pipeline.icloud_room import pause, remember_full
from pipeline.stage import StageReport
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.conftest import Home
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_home import sign_in
from tests.icloud_library import jpeg, large_jpeg
from tests.icloud_world import World

NOON = datetime(2026, 5, 17, 10, 0, tzinfo=UTC)
UPLOADED, VERIFIED = "icloud/uploaded_media", "icloud/verified_media"
HOUR = timedelta(hours=1)


def full(icloud: ICloudStandin, **given: Any) -> Fault:
    """Lets Apple answer every upload that there is no room, from now on."""
    return icloud.faults.add(Fault("answer", where="createUploadUrl$", status=507, times=None, **given))


@pytest.fixture
def sending(tmp_path: Path, engine: Engine, account: Account, hurried: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """A home with five photos on their way to iCloud, which are claimed two at a time."""
    monkeypatch.setattr("pipeline.stage.CLAIM_BATCH", 2)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"IMG_{number}.JPG").write_bytes(jpeg(number))
    world = World(
        tmp_path,
        engine,
        accounts={"photos": {"path": str(photos), "settle_seconds": 0}, "icloud": {}},
        compression={"enabled": False},
        library={"enabled": False},
        destinations={"archive": {"enabled": False}, "icloud": {"enabled": True}},
    )
    world.sign_in(account)
    look(engine, world.platform.sources["photos"], world.platform.date_rules())
    for stage in (ORIGINALS, "deduplicated_media", "icloud/staged_media"):
        assert not world.work(stage).failures
    return world


def upload(world: World, **given: Any) -> dict[str, int]:
    return dict(world.work(UPLOADED, **given).counts)


def uploads_are_due(world: World, redo: Any = "failed") -> bool:
    return bool(world.platform.due_dates(aged=True, redo=redo))


def test_a_full_icloud_is_asked_once_and_then_left_alone_for_longer_each_time(
    sending: World, library: Library, icloud: ICloudStandin
) -> None:
    fault = full(icloud)
    waited = []
    for asked in range(1, 8):
        assert uploads_are_due(sending)
        assert (upload(sending), fault.happened) == ({"pending": 2}, asked)
        lacking = sending.platform.icloud.room("icloud").lacking()
        assert lacking is not None
        waited.append(round(lacking.seconds / 3600))
        icloud.reset_requests()
        assert not uploads_are_due(sending), "no run is asked for what has to wait"
        report = sending.work(UPLOADED)
        assert (report.done, icloud.request_log()) == (0, []), "a run for something else asks nothing either"
        assert report.notes == [(UPLOADED, lacking.reason)] and "--destination icloud" in lacking.reason
        sending.ahead += timedelta(seconds=lacking.seconds + 1)
    assert waited == [1, 2, 4, 8, 16, 24, 24]
    assert not sending.rows("SELECT 1 FROM work WHERE error IS NOT NULL"), "it is no failure of any photo"

    icloud.faults.clear()
    assert uploads_are_due(sending) and upload(sending) == {"uploaded": 5}
    assert sending.work(VERIFIED).counts == {"verified": 5}
    assert len(library.assets) == 5
    assert sending.rows("SELECT full_until, full_count FROM icloud_accounts") == [(None, 0)]


def test_the_pause_is_never_longer_than_a_day() -> None:
    assert [pause(count) / HOUR for count in (0, 1, 4, 5, 1000)] == [1, 2, 16, 24, 24]


def test_while_there_is_no_room_photos_arrive_and_uploads_are_proven_all_the_same(
    sending: World, library: Library, icloud: ICloudStandin
) -> None:
    full(icloud, after=2)
    assert upload(sending) == {"uploaded": 2, "pending": 2}
    assert sending.platform.icloud.without_room()
    library.add("IMG_9.JPG", jpeg(9), taken=NOON, offset_seconds=7200)
    assert len(sending.sync().new) == 1
    assert uploads_are_due(sending), "for everything but the uploads"
    assert sending.work(ICLOUD_ORIGINALS).counts == {"stored": 1}
    assert sending.work(VERIFIED).counts == {"verified": 2}
    for stage in ("deduplicated_media", "icloud_sidecars", "icloud/staged_media"):
        assert sending.work(stage).counts
    assert not uploads_are_due(sending)


def test_a_photo_that_went_through_before_there_was_no_room_does_not_end_the_pause(sending: World) -> None:
    room = sending.platform.icloud.room("icloud")
    remember_full(sending.engine, "icloud", sending.now())
    with sending.engine.begin() as connection:
        room.found(connection)
    assert room.lacking() is not None
    sending.ahead = HOUR
    with sending.engine.begin() as connection:
        room.found(connection)
    assert sending.rows("SELECT full_until, full_count FROM icloud_accounts") == [(None, 0)]


@pytest.mark.parametrize("how", ["it was said so", "everything is done again"])
def test_who_has_made_room_need_not_wait(sending: World, icloud: ICloudStandin, how: str) -> None:
    full(icloud)
    upload(sending)
    icloud.faults.clear()
    if how == "it was said so":
        sending.platform.icloud.room("icloud").ask_at_once()
        assert uploads_are_due(sending) and upload(sending) == {"uploaded": 5}
    else:
        assert uploads_are_due(sending, redo="all") and upload(sending, redo="all") == {"uploaded": 5}
    assert sending.platform.icloud.without_room() == {}


def test_who_asks_at_once_in_vain_waits_an_hour_again(sending: World, icloud: ICloudStandin) -> None:
    fault = full(icloud)
    for asked in range(1, 4):
        assert (upload(sending, redo="all"), fault.happened) == ({"pending": 2}, asked)
        lacking = sending.platform.icloud.room("icloud").lacking()
        assert lacking is not None and lacking.seconds <= HOUR.total_seconds()


def test_a_favourite_that_finds_no_room_waits_alone(
    tmp_path: Path, engine: Engine, account: Account, library: Library, icloud: ICloudStandin, hurried: None
) -> None:
    world = World(
        tmp_path,
        engine,
        compression={"tiers": [{"name": "new", "after_days": 0, "jpeg_quality": 80}], "min_saving": 0.0},
        destinations={"archive": {"enabled": False}, "icloud": {"enabled": True, "missing_only": False}},
    )
    world.sign_in(account)
    for number in range(2):
        library.add(f"{number}.JPG", large_jpeg(number), taken=NOON, offset_seconds=0, favourite=number == 0)
    world.sync()
    for stage in (ICLOUD_ORIGINALS, "deduplicated_media", "compressed_media", "icloud/staged_media"):
        assert not world.work(stage).failures
    assert upload(world) == {"uploaded": 2}
    icloud.faults.add(Fault("answer", where="records/modify$", status=507, times=None))
    report: StageReport = world.work(VERIFIED)
    assert report.counts == {"verified": 1, "pending": 1}
    assert any("its favourite and albums wait: iCloud has no room left" in note for _, note in report.notes)
    assert world.platform.icloud.without_room() == {}, "which says nothing about uploads"
    icloud.faults.clear()
    world.wait_out()
    assert world.work(VERIFIED).counts == {"verified": 1}
    assert sum(asset.favourite for asset in library.assets) == 2


# The whole command.

SETTINGS = f"""
[compression]
enabled = false
[library]
enabled = false
[destinations.archive]
enabled = false
[sources.icloud]
apple_id = "{NAME}"
[destinations.icloud]
enabled = true
"""


@pytest.fixture
def at_home(home: Home, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with two photos and iCloud as its one destination, signed in."""
    monkeypatch.setenv("MEDIAPIPE_ICLOUD__PASSWORD", PASSWORD)
    home.environment = {"MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        (photos / f"IMG_{number}.JPG").write_bytes(jpeg(number))
    home.watch(photos, SETTINGS)
    with home.opened() as platform:
        platform.prepare()
        sign_in(platform, account)
    yield home


def test_run_and_status_say_that_icloud_is_full_and_naming_it_asks_at_once(
    at_home: Home, library: Library, icloud: ICloudStandin
) -> None:
    fault = full(icloud)
    report = at_home.run()
    (note,) = report["left"]["notes"]
    assert note.startswith("icloud: iCloud has no room left") and "run --destination icloud" in note
    assert (report["destinations"]["icloud"]["pending"], report["failed"], fault.happened) == (2, 0, 1)

    said = at_home.cli("run")
    assert "Nothing was done, for nothing can be done now" in said.err and "no room left" in said.err
    assert fault.happened == 1, "it is not asked at each run"
    status = at_home.cli("icloud", "status", "--json").json
    assert datetime.fromisoformat(status["full_until"]) > datetime.now(UTC) + timedelta(minutes=50)
    assert status["accounts"][0]["full_until"] == status["full_until"]
    assert "no room left there, so nothing is uploaded until" in at_home.cli("icloud", "status").err

    icloud.faults.clear()
    report = at_home.run("--destination", "icloud")
    assert (report["destinations"]["icloud"]["verified"], report["left"]["notes"]) == (2, [])
    assert len(library.assets) == 2
