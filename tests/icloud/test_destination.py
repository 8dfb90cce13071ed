"""Uploads to iCloud: the stages, through the real pyicloud, against the stand-in with everything that goes wrong."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from catalog import bundles, deliveries, icloud_uploads, left_out, sources
from catalog.icloud_uploads import MemberFacts
from media.apple_checksum import AppleChecksum
from pipeline import icloud_account, icloud_sync, layout
from pipeline.discovery import DateRules
from pipeline.icloud_account import Account as SignIn
from pipeline.icloud_delivery import ICloudStagedStage, ICloudUploadedStage, ICloudVerifiedStage, Rules, why_left_out
from pipeline.icloud_sync import Synced
from pipeline.proofs import NotProven, prove
from pipeline.release import ReleaseStage
from pipeline.stage import Stage, StageReport, work_off
from resources.icloud import PERSONAL, ICloud, Pace
from resources.icloud_destination import ICloudPhotos
from resources.icloud_records import Record, asset_of
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import jpeg, movie
from tests.pipeline.test_release import doomed, marked, put, said_to_be
from tests.the_catalog import DAY, a_run, add_stored, engine, lease, migrated, server

__all__ = ["engine", "migrated", "server"]

RULES = Rules(("jpeg",), True, "icloud", ("icloud",), "Europe/Berlin")
ACCOUNT, BYTES, REGISTER, LOOKUP = "icloud", "icloud-content.com/upload/", "putAsset$", "records/lookup$"
NOON = datetime(2024, 5, 17, 10, 0, tzinfo=UTC)
BERLIN = 7200


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def apple(data: bytes) -> str:
    checksum = AppleChecksum()
    checksum.update(data)
    return checksum.value()


class Home:
    """A home with photos in its catalog, and iCloud as its destination; Apple's pauses take no time."""

    def __init__(self, engine: Engine, folder: Path, rules: Rules = RULES, deliver: Any = "rendition") -> None:
        self.engine, self.folder, self.rules = engine, folder, rules
        self.roots = {name: marked(folder / name) for name in (layout.ORIGINALS, layout.RENDITIONS, layout.TRASH)}
        self.sign_in = SignIn(ACCOUNT, NAME, SecretStr(PASSWORD), folder / "icloud")
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self.slept: list[float] = []
        self.sessions = 0
        self.icloud = ICloudPhotos("icloud", NAME, deliver, self.session)
        with engine.begin() as connection:
            sources.register_source(connection, "icloud", "icloud", ACCOUNT)

    @contextlib.contextmanager
    def session(self) -> Iterator[ICloud]:
        with icloud_account.signed_in(self.engine, self.sign_in, now=lambda: self.now) as client:
            self.sessions += 1
            client._sleep = self.slept.append
            client._pace = Pace(1e9, 1, lambda: 0.0, lambda seconds: None)
            yield client

    def login(self, account: Account) -> Home:
        icloud_account.ask_for_code(self.engine, self.sign_in)
        assert icloud_account.enter_code(self.engine, self.sign_in, account.code)
        return self

    def photo(
        self, data: bytes, name: str = "IMG_1.JPG", *, kind: str = "single", role: str = "lead", **given: Any
    ) -> int:
        """Keeps a photo in a bundle of its own, and tells the destination; returns the member."""
        path = f"2024/05/17/{sha256(data)[:8]}-{name}"
        put(self.roots[layout.ORIGINALS] / path, data)
        values = {"sha256": sha256(data), "apple_checksum": apple(data), "size": len(data), "stored_path": path}
        if "content_kind" in given:
            values["kind"] = given.pop("content_kind")
        with self.engine.begin() as connection:
            content = add_stored(connection, name, **values, capture_offset_minutes=120, **given)
            bundle = bundles.add_bundle(connection, content, kind, "", DAY)
            member = bundles.add_member(connection, bundle, content, role, name)
            connection.execute(text("UPDATE media_files SET deduplicated_at = now(), plan_fingerprint = 'x'"))
            deliveries.enqueue_members(connection, ["icloud"], content)
        assert member is not None
        return member

    def rendition(self, member: int, data: bytes, file_format: str = "jpeg") -> None:
        put(self.roots[layout.RENDITIONS] / f"{member}.jpg", data)
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "WITH made AS (INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, "
                    "path, sha256, size, format, detail, run_id) SELECT media_file_id, 'x', 'old', 1, 'made', :path, "
                    ":sha, :size, :format, 'smaller', 'run' FROM bundle_members WHERE id = :id "
                    "RETURNING id, media_file_id) UPDATE media_files m SET rendition_id = made.id FROM made "
                    "WHERE m.id = made.media_file_id"
                ),
                {"path": f"{member}.jpg", "sha": sha256(data), "size": len(data), "format": file_format, "id": member},
            )

    def work(self, stage: Stage[Any], **given: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(stage, a_run(self.engine, lease_id, **given))

    def stage(self) -> StageReport:
        return self.work(ICloudStagedStage(self.icloud, self.rules, compressing=True))

    def upload(self, **given: Any) -> StageReport:
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(ICloudUploadedStage(self.icloud, self.rules, originals, self.roots), **given)

    def verify(self, **given: Any) -> StageReport:
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(ICloudVerifiedStage(self.icloud, self.rules, originals, self.roots), **given)

    def deliver(self) -> list[dict[str, int]]:
        """Stages, uploads and verifies; returns what each step counted, staged intents in place of members."""
        staged, *others = (step() for step in (self.stage, self.upload, self.verify))
        first = {name: count for name, count in staged.counts.items() if name != "members"}
        made = {"staged": int(staged.figures["staged"])} if staged.figures["staged"] else {}
        return [first | made, *(dict(one.counts) for one in others)]

    def sync(self) -> Synced:
        rules = DateRules("Europe/Berlin", date(1990, 1, 1), self.now)
        with self.session() as client:
            library = icloud_sync.Library("icloud", ACCOUNT, PERSONAL)
            return icloud_sync.sync(self.engine, client, library, rules, ours=["icloud"])

    def rows(self, query: str, **given: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), given).all())

    def change(self, query: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(query))

    def time_passes(self) -> None:
        """What was put off is due again, and Apple was left alone for long enough."""
        self.now += timedelta(days=1)
        self.change("UPDATE work SET not_before = now() - interval '1 s'")

    @property
    def states(self) -> list[str]:
        return [row.state for row in self.rows("SELECT state FROM deliveries ORDER BY id")]

    @property
    def left_out(self) -> list[str]:
        return [row.reason for row in self.rows("SELECT reason FROM left_out ORDER BY bundle_member_id")]

    @property
    def attempts(self) -> int:
        return sum(row.attempts for row in self.rows("SELECT attempts FROM work"))


@pytest.fixture
def home(engine: Engine, tmp_path: Path, account: Account) -> Home:
    return Home(engine, tmp_path / "home").login(account)


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


# What goes wrong.


def test_an_acknowledgement_that_is_lost_200_times_makes_200_single_photos(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    for number in range(200):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    lost = [icloud.faults.add(Fault("lose_answer", where=REGISTER))]
    report = home.upload(progress=lambda *_: lost.append(icloud.faults.add(Fault("lose_answer", where=REGISTER))))
    assert report.counts == {"uploaded": 200}
    assert sum(one.happened for one in lost) >= 200
    assert len({asset.checksum for asset in library.assets}) == len(library.assets) == 200
    icloud.faults.clear()
    assert home.verify(limit=5).counts == {"verified": 5}


def test_what_icloud_does_not_show_yet_is_pending_and_nobody_waits_for_it(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(Fault("not_visible", seconds=3600))
    home.stage()
    home.upload()
    report = home.verify()
    assert (report.counts, report.failures) == ({"pending": 1}, [])
    assert "does not show it yet" in report.notes[0][1]
    assert (home.states, home.attempts, home.slept) == (["uploaded"], 0, [])
    (row,) = home.rows("SELECT error, extract(epoch FROM not_before - now())::float AS seconds FROM work")
    assert row.error is None and 15 < row.seconds <= 25
    assert home.verify().counts == {}  # not before its time
    home.change("UPDATE deliveries SET changed_at = now() - interval '2 hours'")
    home.time_passes()
    assert home.verify().counts == {"pending": 1}
    (row,) = home.rows("SELECT extract(epoch FROM not_before - now())::float AS seconds FROM work")
    assert row.seconds > 3000
    library._arriving = [(0.0, asset) for _, asset in library._arriving]
    home.time_passes()
    assert home.verify().counts == {"verified": 1}


def test_what_icloud_never_shows_is_sent_again_after_a_day_and_becomes_no_second_photo(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(Fault("not_visible", seconds=3600))
    home.stage()
    home.upload()
    home.change("UPDATE deliveries SET changed_at = now() - interval '25 hours'")
    assert home.verify().counts == {"absent": 1}
    assert home.upload().counts == {"uploaded": 1}
    assert home.rows("SELECT remote_ids FROM deliveries")[0].remote_ids["duplicate"] is True
    library._arriving = [(0.0, asset) for _, asset in library._arriving]
    assert home.verify().counts == {"verified": 1}
    assert len(library.assets) == 1


ONE_TIME = [
    Fault("retry_put"),
    Fault("drop", where=BYTES),
    Fault("drop", where=REGISTER),
    Fault("lose_answer", where=BYTES),
    Fault("truncate", where=REGISTER),
    Fault("answer", where=REGISTER, status=421),
    Fault("answer", where="createUploadUrl$", status=450),
    Fault("answer", where=LOOKUP, status=421),
    Fault("answer", where=BYTES, status=429, retry_after=1),
    Fault("answer", where=BYTES, status=200, body={"singleFile": {"fileChecksum": apple(b"altered"), "size": 1}}),
    Fault("answer", where=REGISTER, status=200, body=[]),
    Fault("answer", where=REGISTER, status=500),
]


@pytest.mark.parametrize("fault", ONE_TIME, ids=lambda one: f"{one.kind} {one.status} {one.where}")
def test_what_passes_is_got_over_within_the_run(
    home: Home, library: Library, icloud: ICloudStandin, fault: Fault
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(replace_fault := Fault(fault.kind, fault.where, status=fault.status, body=fault.body))
    replace_fault.retry_after = fault.retry_after
    assert home.deliver() == [{"staged": 1}, {"uploaded": 1}, {"verified": 1}]
    assert (len(library.assets), replace_fault.happened) == (1, 1)


LASTING = [
    (Fault("retry_put"), "later", 200),
    (Fault("drop", where=BYTES), "cannot be reached", 200),
    (Fault("answer", where=BYTES, status=503), "fewer requests", 800),
    (Fault("answer", where="createUploadUrl$", status=429, retry_after=7200), "fewer requests", 7000),
    (Fault("answer", where="createUploadUrl$", status=507), "no room", 6 * 3600 - 60),
    (Fault("answer", where=REGISTER, status=507), "no room", 6 * 3600 - 60),
    (Fault("answer", where="photosupload", status=410), "update mediapipe-assets", 6 * 3600 - 60),
    (Fault("answer", where=REGISTER, status=421), "refuses the requests", 200),
]


@pytest.mark.parametrize(("fault", "words", "seconds"), LASTING, ids=lambda one: getattr(one, "kind", None))
def test_what_lasts_leaves_everything_pending_without_a_failure_and_stops_asking(
    home: Home, library: Library, icloud: ICloudStandin, fault: Fault, words: str, seconds: float
) -> None:
    for number in range(4):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    lasting = Fault(fault.kind, fault.where, times=None, status=fault.status, retry_after=fault.retry_after)
    icloud.faults.add(lasting)
    report = home.upload()
    assert (report.counts, report.failures, home.attempts) == ({"pending": 4}, [], 0)
    assert words in report.notes[0][1]
    assert lasting.happened <= 8, "the others were asked for all the same"
    waits = home.rows("SELECT error, extract(epoch FROM not_before - now())::float AS seconds FROM work")
    assert all(one.error is None and one.seconds > seconds for one in waits)
    icloud.faults.clear()
    home.time_passes()
    assert home.upload().counts == {"uploaded": 4}
    assert home.verify().counts == {"verified": 4}
    assert len(library.assets) == 4


def test_once_apple_wants_nothing_more_no_more_files_are_claimed(home: Home, icloud: ICloudStandin) -> None:
    for number in range(66):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    fault = icloud.faults.add(Fault("answer", where="createUploadUrl$", status=507, times=None))
    report = home.upload()
    assert (report.counts, fault.happened) == ({"pending": 64}, 1)
    assert len(home.rows("SELECT 1 FROM work")) == 64, "two are not even put off: they are due at the next run"


def test_when_apple_asks_for_patience_the_next_run_asks_it_nothing(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    icloud.faults.add(Fault("answer", where="createUploadUrl$", status=503))
    assert home.upload().counts == {"pending": 1}
    home.change("UPDATE work SET not_before = now() - interval '1 s'")
    icloud.reset_requests()
    report = home.upload()
    assert report.counts == {"pending": 1}
    assert "left alone until" in report.notes[0][1]
    assert icloud.request_log() == []
    home.time_passes()
    assert home.upload().counts == {"uploaded": 1}
    assert library.assets


def test_one_file_whose_line_is_lost_each_time_stands_in_no_other_ones_way(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    for number in range(3):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    icloud.faults.add(Fault("drop", where=BYTES, times=4))
    assert home.upload().counts == {"pending": 1, "uploaded": 2}


def test_while_a_person_is_needed_nothing_is_sent_and_nothing_fails(
    home: Home, account: Account, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    with home.engine.begin() as connection:
        from catalog.icloud import set_account

        set_account(connection, ACCOUNT, needs="code", needs_detail="Apple asks for a code.")
    icloud.reset_requests()
    report = home.upload()
    assert (report.counts, home.attempts) == ({"pending": 1}, 0)
    assert "Apple asks for a code" in report.notes[0][1]
    assert icloud.request_log() == []


def test_while_another_process_is_signed_in_the_upload_waits_for_its_turn(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.stage()
    with icloud_account.owned(home.engine, home.sign_in):
        report = home.upload()
    assert report.counts == {"pending": 1}
    assert "Another process" in report.notes[0][1]
    home.time_passes()
    assert home.upload().counts == {"uploaded": 1}


def test_a_file_type_that_apple_refuses_fails_with_what_to_do(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    refusal = [{"response": {"status": 415, "isRetryable": False, "errorMessage": "unsupported type"}}]
    icloud.faults.add(Fault("answer", where=REGISTER, status=200, body=refusal, times=None))
    report = home.upload()
    assert report.counts == {"failed": 1}
    reason = report.failures[0][1]
    assert "unsupported type" in reason and "destinations.icloud.accept" in reason and "self-test" in reason
    assert (home.attempts, library.assets) == (1, [])


def test_a_file_that_is_no_longer_what_was_promised_is_not_sent(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.stage()
    (path,) = (home.roots[layout.ORIGINALS] / "2024").rglob("*.JPG")
    path.write_bytes(jpeg(2))
    report = home.upload()
    assert report.counts == {"failed": 1}
    assert "does not hold the bytes" in report.failures[0][1]
    assert library.assets == []


# What is believed.


class Telling:
    """Apple, who shows whatever a test wants."""

    def __init__(self, client: ICloud, change: Callable[[dict[str, Any]], None], listed: bool = True) -> None:
        self._client, self._change, self._listed = client, change, listed

    def lookup(self, zone: Any, names: Any) -> dict[str, Any]:
        records = self._client.lookup(zone, names)
        self._change({str(one["recordType"]): one for one in records.values()})
        return records

    def listed(self, zone: Any, asset: str) -> bool:
        return self._listed


def shown_as(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(records: dict[str, Any]) -> None:
        kind = "CPLMaster" if field in ("fileChecksum", "size") else "CPLAsset"
        fields = records[kind]["fields"]
        if kind == "CPLMaster":
            fields["resOriginalRes"]["value"][field] = value
        else:
            fields[field] = {"value": value}

    return change


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        (shown_as("fileChecksum", apple(b"other")), "unverifiable", "other bytes"),
        (shown_as("fileChecksum", "Zm9ybQ=="), "unverifiable", "form that cannot be computed"),
        (shown_as("size", 1), "unverifiable", "other bytes"),
        (shown_as("isDeleted", 1), "absent", "deleted in iCloud"),
        (shown_as("masterRef", {"recordName": "x"}), "unverifiable", "another file"),
        (None, "pending", "does not list"),
    ],
)
def test_only_a_living_listed_photo_of_exactly_these_bytes_is_believed(
    home: Home, library: Library, change: Any, verdict: str, words: str
) -> None:
    home.photo(jpeg(1))
    home.stage()
    home.upload()
    asked: list[Any] = []
    with home.session() as client:
        told = Telling(client, change or (lambda records: None), listed=change is not None)
        home.icloud = ICloudPhotos("icloud", NAME, "rendition", lambda: contextlib.nullcontext(told))  # type: ignore[arg-type,return-value]
        stage = ICloudVerifiedStage(home.icloud, RULES, {layout.ORIGINALS: home.roots[layout.ORIGINALS]}, home.roots)
        show = stage._show
        stage._show = lambda *given: asked.append(show(*given)) or asked[-1]  # type: ignore[method-assign,func-returns-value]
        home.work(stage)
    ((evidence, _),) = asked
    assert (evidence.verdict, home.states[0] == "verified") == (verdict, False)
    assert words in evidence.reason


@pytest.mark.parametrize("master", ["Zm9ybQ==", apple(b"other")])
def test_an_upload_that_apple_files_under_another_checksum_is_never_called_verified(
    home: Home, icloud: ICloudStandin, master: str
) -> None:
    home.photo(jpeg(1))
    home.stage()
    home.upload()
    home.change(f'UPDATE deliveries SET remote_ids = remote_ids || \'{{"master": "{master}"}}\'')
    assert home.verify().counts == {"failed": 1}
    assert home.states == ["uploaded"]


def test_without_a_file_of_ours_there_is_nothing_to_hold_apples_checksum_against(home: Home) -> None:
    home.photo(jpeg(1))
    home.stage()
    home.upload()
    (path,) = (home.roots[layout.ORIGINALS] / "2024").rglob("*.JPG")
    path.unlink()
    report = home.verify()
    assert report.counts == {"failed": 1}
    assert "cannot be held against" in report.failures[0][1]


def test_a_copy_in_icloud_counts_for_a_proof_where_it_can_be_asked_and_nowhere_else(home: Home, tmp_path: Path) -> None:
    member = home.photo(jpeg(1))
    home.rendition(member, jpeg(1, "smaller"))
    home.deliver()
    (row,) = home.rows("SELECT remote_path, remote_ids FROM deliveries")
    path = home.roots[layout.RENDITIONS] / f"{member}.jpg"
    said = said_to_be(home.icloud, jpeg(1, "smaller"), path=row.remote_path)
    said = replace(said, intent=replace(said.intent, source=str(path), remote_ids=row.remote_ids))
    proof = prove(doomed(path, jpeg(1, "smaller")), [said], 1)
    assert proof.copies[0].facts["by"] == "apple_checksum"
    home.icloud.close()
    elsewhere = pickle.loads(pickle.dumps(said))
    with pytest.raises(NotProven, match="process of the run alone"):
        prove(doomed(path, jpeg(1, "smaller")), [elsewhere], 1)
    with pytest.raises(Exception, match="stays in iCloud"):
        home.icloud.release(proof, row.remote_path, DAY)


def test_a_superseded_rendition_may_go_on_the_proof_of_icloud_alone(home: Home) -> None:
    member = home.photo(jpeg(1))
    home.rendition(member, jpeg(1, "smaller"))
    home.deliver()
    home.change("UPDATE renditions SET superseded_at = now()")
    home.change("UPDATE media_files SET rendition_id = NULL")
    opened = home.sessions
    report = home.work(ReleaseStage(home.roots, {"icloud": home.icloud}, 1))
    assert report.counts == {"released": 1}
    assert (home.sessions, home.icloud._client) == (opened + 1, None)
    assert not (home.roots[layout.RENDITIONS] / f"{member}.jpg").exists()


def test_an_aae_beside_a_photo_and_a_shared_library_are_reasons_too() -> None:
    facts = MemberFacts(1, "lead", "photo", "single", False, "jpeg", "jpeg", "kept", None)
    back = replace(RULES, missing_only=False)
    assert why_left_out(facts, [], False, back, "rendition") is None
    assert "unedited" in str(why_left_out(replace(facts, adjusted=True), [], False, back, "rendition"))
    there = asset_of(Record("A", "asset", {}), Record("M", "master", {"name": "IMG_1.JPG"}))
    assert "shared library" in str(why_left_out(facts, [there], True, back, "rendition"))
    assert "already" in str(why_left_out(facts, [there], False, back, "original"))
    assert "png is not among" in str(why_left_out(replace(facts, rendition_format="png"), [], False, back, "rendition"))


def test_no_password_and_no_signed_address_is_written_anywhere(
    home: Home, icloud: ICloudStandin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    home.photo(jpeg(1))
    icloud.faults.add(Fault("drop", where=BYTES, times=5))
    home.stage()
    home.upload()
    home.time_passes()
    home.upload()
    home.verify()
    tables = ("deliveries", "pipeline_logs", "work", "left_out", "icloud_accounts", "system_config")
    kept = " ".join(str(tuple(row)) for table in tables for row in home.rows(f"SELECT * FROM {table}"))
    ours = " ".join(record.getMessage() for record in caplog.records if "standin" not in record.name)
    for secret in (PASSWORD, "contentupload.icloud-content.com/upload/"):
        assert secret not in kept
        assert secret not in ours
