"""What is uploaded to iCloud, what is left out with a reason, and what our own feed makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import deliveries, icloud_uploads, left_out
from catalog.icloud_uploads import MemberFacts
from pipeline.icloud_delivery import why_left_out
from resources.icloud_records import Record, asset_of
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.icloud_library import jpeg, movie
from tests.icloud_uploads import BERLIN, NOON, REGISTER, RULES, Home, apple
from tests.proof_files import sha256

# What goes there, and how it is proven.


def test_a_photo_that_icloud_lacks_is_uploaded_under_its_name_and_day_and_proven(home: Home, library: Library) -> None:
    home.photo(jpeg(1), "Frühstück.JPG")
    assert home.deliver() == [{"staged": 1}, {"uploaded": 1}, {"verified": 1}]
    (asset,) = library.assets
    assert (asset.name, asset.checksum) == ("Frühstück.JPG", apple(jpeg(1)))
    assert (asset.taken, asset.offset_seconds) == (NOON, BERLIN)
    (row,) = home.rows("SELECT remote_ids, evidence FROM deliveries")
    assert row.remote_ids == {"master": asset.master_name, "asset": asset.record_name, "duplicate": False}
    assert row.evidence["sha256"] == sha256(jpeg(1))
    assert (row.evidence["by"], row.evidence["apple_checksum"]) == ("apple_checksum", asset.checksum)
    assert row.evidence["change_tag"] == asset.tag
    assert home.deliver() == [{}, {}, {}]
    assert home.sessions == 2  # one for the uploads, one for the proofs, and none where there is nothing to do


def test_the_rendition_of_a_photo_that_icloud_lacks_is_what_goes_there(home: Home, library: Library) -> None:
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    assert home.deliver()[2] == {"verified": 1}
    assert [asset.checksum for asset in library.assets] == [apple(jpeg(1, "smaller"))]


def test_the_original_goes_there_where_the_settings_say_so(engine: Engine, tmp_path: Path, account: Account) -> None:
    home = Home(engine, tmp_path / "home", deliver="original").login(account)
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    assert home.deliver()[2] == {"verified": 1}
    assert [asset.checksum for asset in account.library().assets] == [apple(jpeg(1))]


@pytest.mark.parametrize("synced", [True, False], ids=["known by a sync", "found by a look"])
def test_a_photo_whose_original_icloud_holds_is_left_out_with_the_reason(
    home: Home, library: Library, synced: bool
) -> None:
    library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN)
    if synced:
        home.sync()
    home.rendition(member := home.photo(jpeg(1)), jpeg(1, "smaller"))
    staged, uploaded, _ = home.deliver()
    assert (staged if synced else uploaded) == {"left_out": 1}
    looked = "iCloud has its original already, among its photos or in Recently Deleted"
    assert home.left_out == ["iCloud holds its original already" if synced else looked]
    assert (len(library.assets), home.states, home.attempts) == (1, [], 0)
    (event,) = home.rows("SELECT event, detail FROM pipeline_logs WHERE event = 'left out'")
    assert event.detail == home.left_out[0]
    assert home.deliver() == [{}, {}, {}]
    with home.engine.connect() as connection:
        named = left_out.left_out_of(connection, "icloud")
    assert (named.count, named.named) == (1, [("IMG_1.JPG", home.left_out[0])])
    assert member


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "live_photo"}, "Live Photo"),
        ({"kind": "raw_jpeg"}, "RAW pair"),
        ({"kind": "edited"}, "edited"),
        ({"kind": "mixed"}, "several files"),
        ({"role": "sidecar", "content": {"kind": "sidecar", "format": "xmp"}}, "sidecar"),
        ({"content": {"format": "heic"}}, "heic is not among"),
        ({"content": {"state": "damaged", "reason": "cut off"}}, "damaged"),
    ],
)
def test_what_the_web_upload_cannot_take_whole_is_left_out_and_never_a_failure(
    home: Home, library: Library, given: dict[str, Any], words: str
) -> None:
    content = {f"content_{name}" if name == "kind" else name: value for name, value in given.pop("content", {}).items()}
    home.photo(jpeg(1), **given, **content)
    report = home.stage()
    assert (report.counts, report.failures) == ({"left_out": 1}, [])
    assert words in report.notes[0][1] and words in home.left_out[0]
    assert home.deliver() == [{}, {}, {}]
    assert library.assets == []


@pytest.mark.parametrize(
    ("added", "done", "words"),
    [
        ({"live": movie(1)}, None, "Live Photo"),
        ({"edited": jpeg(1, "edit")}, None, "edited"),
        ({"raw": b"II*\x00 raw"}, None, "RAW pair"),
        ({"burst": "b"}, None, "burst"),
        ({"hidden": True}, None, "hidden"),
        ({}, Library.delete, "deleted in iCloud"),
        ({}, Library.purge, "deleted in iCloud"),
    ],
)
def test_a_rendition_does_not_go_back_beside_an_original_that_is_more_than_one_plain_photo(
    engine: Engine, tmp_path: Path, account: Account, added: dict[str, Any], done: Any, words: str
) -> None:
    home = Home(engine, tmp_path / "home", replace(RULES, missing_only=False)).login(account)
    library = account.library()
    asset = library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN, **added)
    home.sync()
    if done is not None:
        done(library, asset)
        home.sync()
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    assert home.stage().counts == {"left_out": 1}
    assert words in home.left_out[0]


def test_what_was_left_out_is_decided_anew_when_there_is_something_new_and_not_when_it_was_deleted_there(
    home: Home, library: Library
) -> None:
    member = home.photo(jpeg(1), format="heic")
    home.stage()
    home.rendition(member, jpeg(1, "smaller"))
    with home.engine.begin() as connection:
        left_out.queue_again(connection, "icloud")
    assert home.deliver()[2] == {"verified": 1}
    assert home.left_out == []
    library.delete(library.assets[0])
    home.change("UPDATE deliveries SET state = 'uploaded'")
    assert home.verify().counts == {"absent": 1}
    assert home.upload().counts == {"left_out": 1}
    assert "not put back" in home.left_out[0]
    with home.engine.begin() as connection:
        left_out.queue_again(connection, "icloud")
    assert home.deliver() == [{}, {}, {}]
    with home.engine.begin() as connection:
        deliveries.enqueue_everything(connection, "icloud")
    assert home.deliver() == [{"left_out": 1}, {}, {}]
    assert [asset.deleted for asset in library.assets] == [True]


def test_an_aae_beside_a_photo_and_a_shared_library_are_reasons_too() -> None:
    facts = MemberFacts(1, "lead", "photo", "single", False, "jpeg", "jpeg", "kept", None)
    back = replace(RULES, missing_only=False)
    assert why_left_out(facts, [], False, back, "rendition") is None
    assert "unedited" in str(why_left_out(replace(facts, adjusted=True), [], False, back, "rendition"))
    there = asset_of(Record("A", "asset", {}), Record("M", "master", {"name": "IMG_1.JPG"}))
    assert "shared library" in str(why_left_out(facts, [there], True, back, "rendition"))
    assert "already" in str(why_left_out(facts, [there], False, back, "original"))
    assert "png is not among" in str(why_left_out(replace(facts, rendition_format="png"), [], False, back, "rendition"))


# What a person did with the original in iCloud.


@pytest.fixture
def back(engine: Engine, tmp_path: Path, account: Account) -> Home:
    """A home that sends renditions back, with a favourite from iCloud that is in an album."""
    home = Home(engine, tmp_path / "home", replace(RULES, missing_only=False)).login(account)
    account.library().add(
        "IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN, favourite=True, albums=("Reisen", "Größte Hits")
    )
    home.sync()
    home.rendition(home.photo(jpeg(1)), jpeg(1, "smaller"))
    return home


def in_albums(library: Library, asset: Any) -> set[str]:
    from services.icloud_standin.assets import Relation

    return {str(one.album.name) for one in library.every(Relation) if one.asset is asset}


def test_a_rendition_that_goes_back_is_a_favourite_and_in_the_albums_of_its_original(
    back: Home, library: Library
) -> None:
    (original,) = library.assets
    tag = original.tag
    assert back.deliver() == [{"staged": 1}, {"uploaded": 1}, {"verified": 1}]
    _, rendition = library.assets
    assert (rendition.favourite, in_albums(library, rendition)) == (True, {"Reisen", "Größte Hits"})
    assert (original.tag, original.deleted) == (tag, False)
    library.favourite(rendition, False)  # the person's own decision, which stays
    back.change("UPDATE deliveries SET state = 'uploaded'")
    assert back.verify().counts == {"verified": 1}
    assert not rendition.favourite


def test_a_change_that_somebody_else_was_quicker_with_is_tried_once_more(
    back: Home, library: Library, icloud: ICloudStandin
) -> None:
    fault = icloud.faults.add(Fault("conflict"))
    assert back.deliver()[2] == {"verified": 1}
    assert (library.assets[1].favourite, fault.happened) == (True, 1)


def test_a_photo_that_cannot_be_made_a_favourite_is_proven_all_the_same(
    back: Home, library: Library, icloud: ICloudStandin
) -> None:
    fault = icloud.faults.add(Fault("conflict", times=None))
    back.stage()
    back.upload()
    report = back.verify()
    assert report.counts == {"verified": 1}
    assert "could not be set again" in report.notes[0][1]
    assert (library.assets[1].favourite, fault.happened) == (False, 2)


# Our own uploads come back by the feed.


def files_of(home: Home) -> int:
    return len(home.rows("SELECT 1 FROM source_files WHERE source = 'icloud'"))


def test_our_own_upload_is_not_taken_in_when_the_feed_brings_it(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.deliver()
    library.add("IMG_2.JPG", jpeg(2), taken=NOON, offset_seconds=BERLIN)
    found = home.sync()
    assert (found.files, files_of(home), found.assets) == (1, 1, 2)
    library.favourite(library.assets[0], True)
    assert (home.sync().files, files_of(home)) == (0, 1)


def test_an_upload_whose_acknowledgement_was_lost_is_not_taken_in_either(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    icloud.faults.add(Fault("lose_answer", where=REGISTER, times=None))
    assert home.upload().counts == {"pending": 1}
    icloud.faults.clear()
    (row,) = home.rows("SELECT state, remote_ids FROM deliveries")
    assert (row.state, row.remote_ids) == ("staged", {"master": apple(jpeg(1))})
    assert len(library.assets) == 1
    assert (home.sync().files, files_of(home)) == (0, 0)
    home.time_passes()
    icloud.reset_requests()
    assert home.upload().counts == {"uploaded": 1}
    assert not [path for _, _, path in icloud.request_log() if "photosupload" in path], "the feed had told its name"
    assert home.verify().counts == {"verified": 1}
    assert len(library.assets) == 1


def test_an_upload_that_a_person_edits_is_taken_in_with_its_edit(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.deliver()
    home.sync()
    library.edit(library.assets[0], jpeg(1, "edited by the person"))
    assert home.sync().files == 2


def test_a_photo_that_was_taken_in_stays_so_although_it_was_sent_as_well(home: Home, library: Library) -> None:
    asset = library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=BERLIN)
    home.sync()
    home.photo(jpeg(2))
    home.deliver()
    home.change(f'UPDATE deliveries SET remote_ids = remote_ids || \'{{"master": "{asset.master_name}"}}\'')
    library.favourite(asset, True)
    home.sync()
    assert not home.rows("SELECT 1 FROM source_files WHERE gone_at IS NOT NULL")


def test_the_masters_of_uploads_are_found_by_an_index(home: Home) -> None:
    with home.engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(
            text("EXPLAIN SELECT remote_ids ->> 'master' FROM deliveries WHERE remote_ids ->> 'master' = ANY(:m)"),
            {"m": ["a", "b"]},
        ).scalars()
        assert "ix_deliveries_master" in "".join(plan)
        assert icloud_uploads.uploaded_masters(connection, ["icloud"], ["a"]) == set()
