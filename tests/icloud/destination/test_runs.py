"""iCloud as a destination through the command line: whole runs, a run that is killed, and the self-test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mediapipe_assets.checks import checks_of
from pipeline import icloud_account
from pipeline.assembly import Platform
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.conftest import Home
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import jpeg
from tests.the_catalog import ALWAYS

DESTINATION = f"""
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
def home(tmp_path: Path, account: Account, icloud: ICloudStandin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with a folder of three photos, signed in to iCloud, which is its one destination."""
    monkeypatch.setenv("MEDIAPIPE_ICLOUD__PASSWORD", PASSWORD)
    home = Home(tmp_path / "home", {"MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD})
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"IMG_{number}.JPG").write_bytes(jpeg(number))
    home.watch(photos, DESTINATION)
    with home.opened() as platform:
        platform.prepare()
        who = platform.icloud.accounts["icloud"]
        icloud_account.ask_for_code(platform.engine, who)
        assert icloud_account.enter_code(platform.engine, who, account.code)
    yield home
    home.end()


def rows(home: Home, query: str) -> list[Any]:
    with home.opened() as platform, platform.engine.begin() as connection:
        found = connection.execute(text(query))
        return list(found.all()) if found.returns_rows else []


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)
    assert happened()


@pytest.mark.parametrize("where", ["icloud-content.com/upload/", "putAsset$"], ids=["the bytes", "the registration"])
def test_after_a_kill_in_mid_upload_another_run_leaves_one_photo_each(
    home: Home, library: Library, icloud: ICloudStandin, where: str
) -> None:
    slow = icloud.faults.add(Fault("slow", where=where, seconds=3.0, after=1))
    process = home.start("run", "--destination", "icloud", "--json")
    wait_for(lambda: slow.happened > 0 or process.poll() is not None)
    process.kill()
    process.wait()
    assert slow.happened == 1
    report = home.run("--destination", "icloud")
    place = report["destinations"]["icloud"]
    assert (report["failed"], place["failed"], place["pending"], place["left_out"]) == (0, 0, 0, 0)
    assert sorted(asset.name for asset in library.assets) == ["IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG"]
    assert [row.state for row in rows(home, "SELECT state FROM deliveries")] == ["verified"] * 3
    assert home.run("--destination", "icloud")["runs"] == []
    assert not rows(home, "SELECT 1 FROM source_files WHERE source = 'icloud'")


def test_the_report_says_how_it_is_proven_and_why_something_is_left_out(home: Home, library: Library) -> None:
    (home.path.parent / "photos" / "IMG_9.AAE").write_text("<plist></plist>")
    library.add("a.jpg", jpeg(9), taken=datetime(2024, 5, 17, tzinfo=UTC), offset_seconds=0)
    said = home.cli("run").err
    assert "iCloud (icloud) holds 1 photos and films: 1 new, 0 changed, 0 deleted there" in said
    assert "3 verified by Apple's checksum, 2 left out on purpose" in said
    why = "Left out of icloud on purpose, at any date: 2\n"
    for words in (said, home.cli("status").err):
        assert why in words and "1: a sidecar: iCloud takes photos and films alone" in words
    assert "everything in your folders and in iCloud is known" in home.cli("run").err


def test_a_run_ends_with_what_apple_does_not_show_yet_pending_and_the_schedule_comes_back(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    hidden = icloud.faults.add(Fault("not_visible", seconds=3600))
    (home.path.parent / "photos" / "IMG_9.AAE").write_text("<plist></plist>")
    report = home.run()
    place = report["destinations"]["icloud"]
    assert (place["uploaded"], place["verified"], place["pending"], place["left_out"]) == (3, 2, 1, 1)
    assert (report["failed"], hidden.happened) == (0, 1)
    status = home.status()["destinations"]["icloud"]
    assert (status["verified"], status["pending"], status["left_out"], status["failed"]) == (2, 1, 1, 0)
    with home.opened() as platform:
        checks = {
            one.check_name: one
            for step in ("staged", "verified")
            for one in checks_of(f"icloud/{step}_media", platform, ALWAYS)
        }
        assert platform.due_dates(aged=False) == []
    visible, left = checks["uploads_are_visible"], checks["left_out_on_purpose"]
    assert (visible.passed, visible.severity.value, visible.metadata["pending"].value) == (False, "WARN", 1)
    assert (left.passed, left.metadata["left_out"].value) == (True, 1)
    assert checks["every_delivery_is_proven"].severity.value == "WARN"
    library._arriving = [(0.0, asset) for _, asset in library._arriving]
    rows(home, "UPDATE work SET not_before = now() - interval '1 s'")
    with home.opened() as platform:
        assert platform.due_dates(aged=False), "a later run takes it up"
    assert home.run()["destinations"]["icloud"]["verified"] == 1
    history = home.history(home.path.parent / "photos" / "IMG_9.AAE")
    assert "sidecar" in next(one["detail"] for one in history["events"] if one["event"] == "left out")


def test_other_rules_decide_anew_about_what_was_left_out(home: Home) -> None:
    def left(platform: Platform) -> int:
        with platform.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM staging_queue")).scalar_one())

    (home.path.parent / "photos" / "IMG_9.AAE").write_text("<plist></plist>")
    home.run("--destination", "icloud")
    for more, queued in (("", 0), ('accept = ["jpeg", "png"]\n', 1)):
        home.watch(home.path.parent / "photos", DESTINATION + more)
        with home.opened() as platform:
            platform.prepare()
            assert left(platform) == queued


# The self-test.


def test_the_self_test_says_what_apple_takes_and_leaves_nothing_but_the_deleted(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    refusal = [{"response": {"status": 415, "isRetryable": False, "errorMessage": "unsupported type"}}]
    icloud.faults.add(Fault("answer", where="putAsset$", status=200, body=refusal, after=1))
    said = home.cli("icloud", "self-test", "--format", "jpeg", "--format", "heic", "--json", expect=3)
    taken, refused = said.json["formats"]
    assert (taken["format"], taken["taken"], taken["verified"], taken["removed"]) == ("jpeg", True, True, True)
    assert (refused["format"], refused["taken"]) == ("heic", False)
    assert "unsupported type" in refused["reason"]
    assert [asset.deleted for asset in library.assets] == [True]
    home.cli("icloud", "sync")
    assert not rows(home, "SELECT 1 FROM source_files WHERE source = 'icloud'")
    home.watch(home.path.parent / "photos", DESTINATION + 'accept = ["jpeg", "heic"]\n')
    looks = [one for one in home.cli("doctor", "--json", expect=None).json if one["what"] == "destination icloud"]
    assert [one["verdict"] for one in looks] == ["ok", "warning"]
    assert "refused heic" in looks[1]["words"]


def test_a_self_test_that_apple_keeps_waiting_goes_on_with_the_same_file(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    icloud.faults.add(Fault("not_visible", seconds=3600))
    first = home.cli("icloud", "self-test", "--format", "png", "--wait", "0", "--json", expect=3)
    assert json.loads(first.out)["formats"][0]["verified"] is False
    library._arriving = [(0.0, asset) for _, asset in library._arriving]
    assert home.cli("icloud", "sync", "--json").json["new"] == 0, "what the test sent is nobody's photo"
    again = home.cli("icloud", "self-test", "--format", "png", "--json").json["formats"][0]
    assert (again["taken"], again["verified"], again["removed"]) == (True, True, True)
    assert [asset.deleted for asset in library.assets] == [True]
