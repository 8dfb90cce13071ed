"""Uploads under attack: what leaves iCloud again, what comes meanwhile, names that are no text, another account."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog.paths import to_text
from pipeline.assembly import Platform
from pipeline.failures import in_words
from pipeline.icloud_self_test import Tried, self_test
from resources.settings import load_settings
from services.icloud_standin import Account, Asset, Fault, ICloudStandin, Library
from tests.icloud_clients import NAME
from tests.icloud_library import jpeg
from tests.icloud_uploads import BERLIN, BYTES, NOON, REGISTER, Home

NO_TEXT = os.fsdecode(b"IMG_\xff.JPG")


@pytest.fixture
def home(engine: Engine, tmp_path: Path, account: Account) -> Home:
    return Home(engine, tmp_path / "home").login(account)


# What leaves iCloud again.


def deleted(library: Library, asset: Asset) -> None:
    library.delete(asset)


def purged(library: Library, asset: Asset) -> None:
    library.purge(asset)


@pytest.mark.parametrize("known", [True, False], ids=["read before", "never read"])
@pytest.mark.parametrize("leave", [deleted, purged])
def test_an_upload_that_a_person_deletes_in_icloud_is_no_proven_copy_any_more(
    home: Home, library: Library, leave: Callable[[Library, Asset], None], known: bool
) -> None:
    home.photo(jpeg(1))
    home.photo(jpeg(2), "IMG_2.JPG")
    assert home.deliver()[2] == {"verified": 2}
    if known:
        home.sync()
    leave(library, library.assets[0])
    home.sync()
    assert home.states == ["uploaded", "verified"], "only what Apple shows is verified"
    assert (home.verify().counts, home.upload().counts) == ({"absent": 1}, {"left_out": 1})
    assert "not put back" in home.left_out[0]


def test_an_upload_that_left_icloud_while_no_token_was_known_is_doubted_too(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.deliver()
    home.sync()
    home.change("UPDATE icloud_libraries SET sync_token = NULL")
    asset = library.assets[0]
    library.purge(asset)
    library._log.clear()  # a feed from the beginning does not tell of what is gone
    library._latest.clear()
    home.sync()
    assert home.states == ["uploaded"]


# What comes there meanwhile.


def test_an_original_that_comes_to_icloud_while_its_rendition_waits_gets_none_beside_it(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    full = icloud.faults.add(Fault("answer", where=BYTES, status=507, times=None))
    assert home.deliver()[1] == {"pending": 1}
    icloud.faults.remove(full)
    assert home.rows("SELECT remote_ids FROM deliveries")[0].remote_ids, "its name is journalled, and nothing was sent"
    library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN)
    home.time_passes()
    assert home.upload().counts == {"left_out": 1}
    assert (len(library.assets), home.states) == (1, [])


def test_the_same_is_known_from_the_feed_without_asking(home: Home, library: Library, icloud: ICloudStandin) -> None:
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    full = icloud.faults.add(Fault("answer", where=BYTES, status=507, times=None))
    home.deliver()
    icloud.faults.remove(full)
    library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN, live=jpeg(2))
    home.time_passes()
    home.sync()
    sessions = home.sessions
    assert (home.upload().counts, home.sessions) == ({"left_out": 1}, sessions)


def test_an_upload_whose_answer_was_lost_is_found_though_the_original_came_meanwhile(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    lost = icloud.faults.add(Fault("lose_answer", where=REGISTER, times=None))
    home.stage()
    assert home.upload().counts == {"pending": 1}
    icloud.faults.remove(lost)
    library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN)
    home.time_passes()
    assert (home.upload().counts, home.verify().counts) == ({"uploaded": 1}, {"verified": 1})
    assert len(library.assets) == 2


# Names that are no text.


def test_a_photo_whose_name_is_no_text_is_uploaded_under_one_that_is(home: Home, library: Library) -> None:
    member = home.photo(jpeg(1))
    with home.engine.begin() as connection:
        given = {"name": to_text(NO_TEXT), "id": member}
        connection.execute(text("UPDATE bundle_members SET file_name = :name WHERE id = :id"), given)
    assert home.deliver() == [{"staged": 1}, {"uploaded": 1}, {"verified": 1}]
    assert [asset.name for asset in library.assets] == ["IMG_?.JPG"]


def test_a_failure_that_names_such_a_file_fails_that_file_alone(home: Home, library: Library) -> None:
    home.photo(jpeg(1), to_text(NO_TEXT))  # the file itself has another name, so that it is not found
    home.photo(jpeg(2), "IMG_2.JPG")
    home.stage()
    report = home.upload()
    assert report.counts == {"uploaded": 1, "failed": 1} and "IMG_?.JPG" in report.failures[0][1]
    assert home.rows("SELECT error FROM work WHERE error IS NOT NULL")[0].error == report.failures[0][1]


@pytest.mark.parametrize(
    "error", [ValueError("a\0b"), FileNotFoundError(2, "gone", NO_TEXT), OSError(5, "I/O", "a\0b")]
)
def test_every_reason_is_text_that_the_catalog_takes(error: Exception) -> None:
    said = in_words(error)
    assert "\0" not in said and said.encode()


# The self-test.


def test_a_self_test_whose_removal_nobody_acknowledges_is_done(
    home: Home, library: Library, icloud: ICloudStandin, tmp_path: Path
) -> None:
    lost = icloud.faults.add(Fault("lose_answer", where="records/modify$"))
    with home.session() as client:
        given: dict[str, Any] = {"wait_seconds": 10.0, "now": home.now}
        (tried,) = self_test(home.engine, client, "icloud", ["jpeg"], tmp_path, **given)
    assert lost.happened == 1
    assert tried == Tried("jpeg", taken=True, verified=True, removed=True)
    assert [asset.deleted for asset in library.assets] == [True]


# Another account.


def test_what_one_apple_id_holds_says_nothing_of_the_next_one(home: Home, library: Library, tmp_path: Path) -> None:
    home.photo(jpeg(1))
    assert home.deliver()[2] == {"verified": 1}

    def prepare(apple_id: str) -> None:
        destinations = {"icloud": {"kind": "icloud", "account": "icloud", "enabled": True}}
        environ = {"MEDIAPIPE_ICLOUD__APPLE_ID": apple_id, "MEDIAPIPE_ICLOUD__PASSWORD": "x"}
        overrides = {"timezone": "Europe/Berlin", "destinations": destinations}
        Platform(load_settings(tmp_path / "platform", overrides=overrides, environ=environ), home.engine).prepare()

    prepare(NAME)
    prepare(NAME.upper())
    assert home.states == ["verified"]
    prepare("b@example.com")
    assert home.states == ["staged"]
    (row,) = home.rows("SELECT remote_ids, evidence, reason FROM deliveries")
    assert (row.remote_ids, row.evidence) == ({}, None) and "another Apple ID" in row.reason
