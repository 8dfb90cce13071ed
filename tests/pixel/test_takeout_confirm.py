"""What a sample of Google Photos confirms of what was delivered to the phone, and what it does not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.conftest import Home
from tests.takeout_world import TAKEN, World, about, picture, zipped
from tests.the_catalog import engine, migrated, server

__all__ = ["engine", "migrated", "server"]

BERLIN = "Takeout/Google Fotos/Fotos von 2024"
TITLE = "20240517_IMG_1.JPG"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path / "takeout")


def test_the_very_bytes_are_confirmed_by_hash_whatever_their_name_and_a_second_time_changes_nothing(
    world: World,
) -> None:
    world.deliver("IMG_1.JPG", b"one")
    world.deliver("IMG_2.JPG", b"two")
    world.put(
        {f"{BERLIN}/any name.jpg": b"one", f"Takeout/Google Fotos/Album/{TITLE}": b"one", f"{BERLIN}/b.jpg": b"two"}
    )
    found = world.compare()
    assert (found.files, found.by_hash, found.newly_confirmed, found.complete) == (3, 3, 2, True)
    assert world.confirmed() == {TITLE: "hash", "20240517_IMG_2.JPG": "hash"}
    again = world.compare()
    assert (again.by_hash, again.newly_confirmed, again.complete) == (3, 0, True)


def test_other_bytes_of_the_same_name_moment_and_measures_are_confirmed_as_weaker(world: World) -> None:
    world.deliver("IMG_1.JPG", picture(1), width=48, height=64)  # stored turned
    world.put({f"{BERLIN}/{TITLE}": picture(2), f"{BERLIN}/{TITLE}.supplemental-metadata.json": about(TITLE)})
    found = world.compare()
    assert (found.by_hash, found.by_metadata, found.complete) == (0, 1, True)
    assert world.confirmed() == {TITLE: "metadata"}

    world.put({f"{BERLIN}/{TITLE}": picture(1)})
    assert world.compare().newly_confirmed == 1
    assert world.confirmed() == {TITLE: "hash"}
    world.put({f"{BERLIN}/{TITLE}": picture(2)})
    assert world.compare().newly_confirmed == 0
    assert world.confirmed() == {TITLE: "hash"}


@pytest.mark.parametrize(
    ("title", "taken", "size", "reason"),
    [
        ("20240517_IMG_2.JPG", TAKEN, (64, 48), "this name and time"),
        (TITLE, TAKEN + timedelta(seconds=40), (64, 48), "this name and time"),
        (TITLE, TAKEN + timedelta(days=3), (64, 48), "this name and time"),
        (TITLE, TAKEN, (60, 48), "has other measures"),
    ],
)
def test_another_name_moment_or_size_is_another_photo(
    world: World, title: str, taken: datetime, size: tuple[int, int], reason: str
) -> None:
    world.deliver("IMG_1.JPG", picture(1), width=64, height=48)
    world.put({f"{BERLIN}/a.jpg": picture(2, size), f"{BERLIN}/a.jpg.json": about(title, taken)})
    found = world.compare()
    assert not found.complete
    assert found.not_found == [(f"{BERLIN}/a.jpg", found.not_found[0][1])]
    assert reason in found.not_found[0][1]
    assert world.confirmed() == {}


def test_a_photo_without_a_zone_is_known_by_its_clock_in_whatever_zone_google_guessed(world: World) -> None:
    world.deliver("IMG_1.JPG", picture(1), width=64, height=48, capture_offset_minutes=None)
    taken = TAKEN + timedelta(hours=2) - timedelta(hours=5, minutes=45)  # as Kathmandu
    world.put({f"{BERLIN}/a.jpg": picture(2), f"{BERLIN}/a.jpg.json": about(TITLE, taken)})
    assert world.compare().by_metadata == 1


def test_two_deliveries_that_fit_alike_confirm_neither(world: World) -> None:
    for data, name in ((picture(1), "IMG_1.JPG"), (picture(3), "IMG_1.jpg")):
        world.deliver(name, data, width=64, height=48)
    world.put({f"{BERLIN}/a.jpg": picture(2), f"{BERLIN}/a.jpg.json": about(TITLE)})
    assert "2 delivered files" in world.compare().not_found[0][1]
    assert world.confirmed() == {}


def test_a_copy_edited_in_google_photos_confirms_nothing_of_its_original(world: World) -> None:
    world.deliver("IMG_1.JPG", picture(1), width=64, height=48)
    world.put(
        {
            f"{BERLIN}/{TITLE}": picture(1),
            f"{BERLIN}/20240517_IMG_1-bearbeitet.JPG": picture(2),
            f"{BERLIN}/{TITLE}.json": about(TITLE),
        }
    )
    found = world.compare()
    assert (found.by_hash, found.by_metadata, found.edited, found.complete) == (1, 0, 1, True)
    (world.folder / BERLIN / TITLE).write_bytes(picture(9, (60, 40)))
    found = world.compare()
    assert (found.by_hash, found.by_metadata, found.edited) == (0, 0, 1)
    assert not found.complete


def test_what_lies_in_the_trash_of_google_photos_is_not_confirmed(world: World) -> None:
    world.deliver("IMG_1.HEIC", b"still")
    world.deliver("IMG_1.MOV", b"film")
    world.put(
        {
            "Takeout/Google Photos/Bin/IMG_1.HEIC": b"still",
            "Takeout/Google Photos/Bin/IMG_1.MOV": b"film",
            "Takeout/Google Photos/Bin/IMG_1.HEIC.supplemental-metadata.json": about("IMG_1.HEIC", trashed=True),
        }
    )
    found = world.compare()
    assert sorted(found.trashed) == [f"Takeout/Google Photos/Bin/IMG_1.{end}" for end in ("HEIC", "MOV")]
    assert (found.by_hash, found.complete, world.confirmed()) == (0, False, {})
    assert found.missing == 2


def test_delivered_files_of_the_samples_days_that_are_not_in_it_are_named(world: World) -> None:
    for day in (9, 10, 12, 14, 15):
        local = datetime(2024, 5, day, 12)
        given = {"capture_local": local, "partition_date": local.date()}
        world.deliver(f"IMG_{day}.JPG", f"photo {day}".encode(), **given)
    world.deliver("IMG_13.JPG", b"waits", reached=False, partition_date=date(2024, 5, 13))
    world.deliver("IMG_11.AAE", b"edits", kind="sidecar", partition_date=date(2024, 5, 11))
    world.put({f"{BERLIN}/a.jpg": b"photo 10", f"{BERLIN}/b.jpg": b"photo 14"})
    found = world.compare()
    assert (found.first, found.last) == (date(2024, 5, 10), date(2024, 5, 14))
    assert (found.missing, found.missing_first) == (1, ["20240512_IMG_12.JPG"])
    assert found.complete
    assert world.compare().missing == 1

    stranger = {f"{BERLIN}/c.jpg": b"a stranger", f"{BERLIN}/c.jpg.json": about("c.jpg", TAKEN - timedelta(days=9))}
    world.put(stranger)
    found = world.compare()
    assert (found.first, found.missing) == (date(2024, 5, 8), 2)
    assert [name for name, _ in found.not_found] == [f"{BERLIN}/c.jpg"]
    assert not found.complete


def test_a_file_that_was_not_seen_to_reach_the_phone_is_known_and_stays_unconfirmed(world: World) -> None:
    world.deliver("IMG_1.JPG", b"one", reached=False)
    world.put({f"{BERLIN}/a.jpg": b"one"})
    found = world.compare()
    assert (found.by_hash, found.not_delivered, found.newly_confirmed, found.complete) == (1, 1, 0, True)
    assert world.confirmed() == {}


def test_a_sample_without_a_photo_confirms_nothing_and_is_not_complete(world: World) -> None:
    world.put({"Takeout/archive_browser.html": b"<html>"})
    assert not world.compare().complete


def test_the_command_says_what_was_confirmed_and_what_was_not_and_ends_with_3_then(home: Home, tmp_path: Path) -> None:
    home.environment = {
        "MEDIAPIPE_SYNCTHING__URL": "http://127.0.0.1:9",
        "MEDIAPIPE_SYNCTHING__FOLDER_ID": "pixel-camera",
        "MEDIAPIPE_SYNCTHING__DEVICE_ID": "-".join(["AAAAAAA"] * 8),
    }
    first = zipped(tmp_path / "takeout-001.zip", {f"{BERLIN}/{TITLE}": picture(1), f"{BERLIN}/b.jpg": b"a stranger"})
    second = zipped(tmp_path / "takeout-002.zip", {f"{BERLIN}/{TITLE}.supplemental-metadata.json": about(TITLE)})
    unknown = home.cli("pixel", "confirm", "--takeout", first, "--destination", "other", expect=2)
    assert "no phone called other" in unknown.err
    with home.opened() as platform:
        world = World(platform.engine, tmp_path)
        world.deliver("IMG_1.JPG", picture(1))
        said = home.cli("pixel", "confirm", "--takeout", first, "--takeout", second, "--json", expect=3)
        assert world.confirmed() == {TITLE: "hash"}
    assert said.json["confirmed_by_hash"] == said.json["newly_confirmed"] == 1
    assert [one["file"] for one in said.json["not_found"]] == [f"{BERLIN}/b.jpg"]
    assert "1 fit nothing that was delivered" in said.err
    whole = zipped(tmp_path / "whole.zip", {f"{BERLIN}/{TITLE}": picture(1)})
    assert home.cli("pixel", "confirm", "--takeout", whole, "--json").json["files"] == 1
