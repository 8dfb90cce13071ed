"""What the changes feed says is what the catalog holds: the first reading, every kind of change, every interruption."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.icloud import NoSharedLibrary
from pipeline.icloud_sync import Library as Read
from pipeline.icloud_sync import sync as read_feed
from resources.icloud import PERSONAL, Answer
from resources.icloud_errors import Away, StillIndexing, TokenTooOld
from services.icloud_standin import Account, Asset, Fault, ICloudStandin, Library
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import fill, jpeg
from tests.icloud_world import LISTING, Feed, World, as_it_is, day_of, figures

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
SHARED = "SharedSync-5B0C4D1E-0000-4000-8000-000000000001"
OTHER = "b@example.com"


def record(world: World, asset: Asset) -> Mapping[str, Any]:
    """What the catalog remembers that iCloud says of an asset."""
    rows = world.rows("SELECT state, fields FROM icloud_records WHERE name = :name", name=asset.record_name)
    return {"state": rows[0][0], **rows[0][1]}


@pytest.fixture
def small(world: World, account: Account, tmp_path: Path, engine: Engine) -> World:
    """The same home, with the smallest pages there are."""
    source = {"icloud": {"kind": "icloud", "apple_id": NAME, "page_size": 10}}
    one = World(tmp_path, engine, accounts=source)
    one.sign_in(account)
    return one


@pytest.fixture
def read(signed_in: World, library: Library) -> World:
    """A home that has read a library of twenty photos."""
    fill(library, 20)
    signed_in.sync()
    return signed_in


# ------------------------------------------------------------------ the first reading


def test_the_first_reading_equals_the_library(signed_in: World, library: Library) -> None:
    assets = fill(library, 300)
    library.delete(assets[8])
    library.purge(assets[28])
    found = signed_in.sync()
    assert signed_in.known() == as_it_is(library)
    hidden = sum(one.hidden for one in library.assets)
    assert hidden and figures(found) == (298, 0, 0, len(as_it_is(library)))
    assert (found.assets, found.counted, found.apple_count) == (298, 298 - hidden, 298 - hidden)
    roles = dict(signed_in.rows("SELECT role, count(*) FROM source_files GROUP BY role"))
    assert roles == {"lead": 298, "live_video": 15, "edit": 15, "raw": 15}


def test_a_second_reading_finds_nothing_and_asks_little(read: World, icloud: ICloudStandin) -> None:
    done = read.read()
    assert figures(done.found) == (0, 0, 0, 0) and done.requests <= 5


def test_halves_that_come_in_the_wrong_order_and_on_other_pages_find_each_other(small: World, library: Library) -> None:
    assets = fill(library, 60)
    for asset in reversed(assets[::2]):
        library.change(asset.master, name=asset.master.name)  # the master goes to the end of the feed
    found = small.sync()
    assert small.known() == as_it_is(library) and figures(found)[:3] == (60, 0, 0)
    assert small.value("SELECT count(*) FROM icloud_records WHERE reason IS NOT NULL") == 0


def test_what_is_added_while_a_library_is_read_is_read_too(
    small: World, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library, 60)
    from resources.icloud import ICloud

    pages, plain = [0], ICloud.changes

    def changes(self: ICloud, *args: Any) -> Answer:
        pages[0] += 1
        if pages[0] in (3, 9, 14):
            fill(library, 4, seed=pages[0])
        return plain(self, *args)

    monkeypatch.setattr(ICloud, "changes", changes)
    found = small.sync()
    assert small.known() == as_it_is(library) and found.assets == 72 and found.apple_count == found.counted


def test_a_count_that_differs_is_told(read: World, library: Library, icloud: ICloudStandin) -> None:
    more = {"records": [{"recordName": "x", "recordType": "IndexCountResult", "fields": {"itemCount": {"value": 23}}}]}
    icloud.faults.add(Fault("answer", where="query/batch$", status=200, body={"batch": [more]}, times=None))
    fill(library, 1, seed=9)
    found = read.sync()
    assert (found.apple_count, found.counted) == (23, 20)
    assert read.value("SELECT apple_count FROM icloud_libraries") == 23


# ------------------------------------------------------------------ what happens on the phone


def test_what_comes_late_with_an_old_date_is_found(read: World, library: Library) -> None:
    old = library.add("scan.jpg", jpeg(900), taken=datetime(1994, 8, 3, 10, tzinfo=UTC), offset_seconds=7200)
    assert figures(read.sync()) == (1, 0, 0, 1)
    assert read.known()[old.record_name, old.checksum] == (len(jpeg(900)), date(1994, 8, 3))


def test_an_edit_of_an_edit_brings_a_file_each_time_and_none_is_forgotten(read: World, library: Library) -> None:
    asset = library.assets[0]
    for number in (1, 2):
        library.edit(asset, jpeg(number, "edited"))
        assert figures(read.sync()) == (0, 1, 0, 1)
        assert read.known() == as_it_is(library)
    gone = read.value("SELECT count(*) FROM source_files WHERE gone_at IS NOT NULL")
    assert gone == 1, "the first edit is remembered as one that was there"
    library.change(asset, edited=None)
    assert figures(read.sync()) == (0, 1, 0, 0) and read.known() == as_it_is(library)


def test_words_and_marks_that_change_are_recorded_and_bring_no_file(read: World, library: Library) -> None:
    asset = library.assets[1]
    for change, says in (
        (lambda: library.favourite(asset, True), {"favourite": True}),
        (lambda: library.hide(asset, True), {"hidden": True, "state": "hidden"}),
        (lambda: library.hide(asset, False), {"hidden": False, "state": "live"}),
        (lambda: library.rename(asset, "Neuer Titel"), {"title": "Neuer Titel"}),
        (lambda: library.describe(asset, "Wörter"), {"caption": "Wörter"}),
    ):
        change()
        assert figures(read.sync()) == (0, 1, 0, 0)
        assert {name: record(read, asset)[name] for name in says} == says
    assert read.known() == as_it_is(library)


def test_a_date_that_is_moved_is_recorded_and_moves_no_file(read: World, library: Library) -> None:
    asset = library.assets[5]
    before = day_of(asset)
    library.move(asset, datetime(2001, 1, 1, 12, tzinfo=UTC), 3600)
    assert figures(read.sync()) == (0, 1, 0, 0)
    assert read.known()[asset.record_name, asset.checksum][1] == before
    assert record(read, asset)["taken"] == 978_350_400_000
    library.edit(asset, jpeg(77, "edited"))
    read.sync()
    days = {key: value[1] for key, value in read.known().items() if key[0] == asset.record_name}
    assert len(days) == 2 and set(days.values()) == {before}, "what comes later joins its day"


def test_deleting_restoring_and_purging_is_recorded_and_deletes_nothing(read: World, library: Library) -> None:
    asset = library.assets[2]
    everything = len(read.known())
    library.delete(asset)
    assert figures(read.sync()) == (0, 0, 1, 0)
    assert read.known() == as_it_is(library) and len(read.known()) == everything - 2
    library.restore(asset)
    found = read.sync()
    assert len(found.deleted) == 0 and read.known() == as_it_is(library) and len(read.known()) == everything
    states = dict(read.rows("SELECT state, count(*) FROM source_files GROUP BY state"))
    assert states == {"pending": everything}, "what came back waits to be downloaded again"
    library.purge(asset)
    assert figures(read.sync()) == (0, 0, 1, 0) and read.known() == as_it_is(library)
    assert record(read, asset)["state"] == "gone" and record(read, asset)["taken"], "what it said stays known"
    assert read.value("SELECT count(*) FROM source_files") == everything


def test_albums_are_known_and_their_changes_too(read: World, library: Library) -> None:
    from catalog.icloud import albums_of

    asset = library.assets[13]

    def albums() -> list[str]:
        with read.engine.connect() as connection:
            return albums_of(connection, "icloud", asset.record_name)

    first = albums()
    assert len(first) == 1
    album = library.album("Neu")
    relation = library.put_in_album(asset, album)
    read.sync()
    assert albums() == sorted(["Neu", *first])
    library.change(album, name="Anders")
    read.sync()
    assert albums() == sorted(["Anders", *first])
    library.remove(relation)
    assert figures(read.sync())[3] == 0 and albums() == first


def test_two_assets_of_one_master_are_two_photos(signed_in: World, library: Library) -> None:
    one = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    two = library.add("b.jpg", jpeg(1), taken=NOON + timedelta(days=30), offset_seconds=0)
    assert figures(signed_in.sync()) == (2, 0, 0, 2) and signed_in.known() == as_it_is(library)
    library.purge(one)
    assert figures(signed_in.sync()) == (0, 0, 1, 0)
    assert list(signed_in.known()) == [(two.record_name, two.checksum)]


def test_a_photo_whose_file_apple_does_not_have_is_named_with_the_reason(
    signed_in: World, library: Library, icloud: ICloudStandin
) -> None:
    fill(library, 3)
    asset = library.assets[0]
    original, asset.master.original = asset.master.original, None  # type: ignore[assignment]
    from services.icloud_standin.records import Wire

    plain = Wire._master
    without = lambda self, master: plain(self, master) if master.original else {}  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wire, "_master", without)
        patch.setattr(type(asset), "checksum", property(lambda self: ""))
        found = signed_in.sync()
    assert found.assets == 3 and figures(found)[0] == 2
    reasons = signed_in.rows("SELECT name, reason FROM icloud_records WHERE reason IS NOT NULL")
    assert [name for name, _ in reasons] == [asset.record_name] and "without its original" in reasons[0][1]
    library.change(asset.master, original=original)
    assert figures(signed_in.sync())[0] == 1 and signed_in.known() == as_it_is(library)
    assert signed_in.value("SELECT count(*) FROM icloud_records WHERE reason IS NOT NULL") == 0


# ------------------------------------------------------------------ interruptions


class Killed(BaseException):
    """What no code here catches, as nothing catches a kill."""


def test_a_reading_that_is_killed_between_two_pages_goes_on_where_it_was(
    small: World, library: Library, icloud: ICloudStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.icloud_sync import _Recorder

    fill(library, 100)
    plain, pages = _Recorder.take, [0]

    def take(self: Any, connection: Any, raw: Any) -> None:
        plain(self, connection, raw)
        pages[0] += 1
        if pages[0] == 8:
            raise Killed  # after the page is written, and before it is committed with its token

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(_Recorder, "take", take)
        small.sync()
    assert 0 < len(small.known()) < len(as_it_is(library))
    icloud.reset_requests()
    rest = small.sync()
    assert rest.complete and small.known() == as_it_is(library) and not rest.deleted
    assert readings(icloud) <= -(-library.position // 10) - 7 + 1


def test_a_request_that_apple_once_calls_bad_costs_no_second_reading(
    small: World, library: Library, icloud: ICloudStandin
) -> None:
    fill(library, 40)
    icloud.faults.add(Fault("answer", where=LISTING, status=400, body={"error": "x"}, after=3))
    icloud.reset_requests()
    assert small.sync().complete and small.known() == as_it_is(library)
    assert readings(icloud) <= -(-library.position // 10) + 2


def readings(icloud: ICloudStandin) -> int:
    """How many pages of the feed were asked for."""
    path = "/database/1/com.apple.photos.cloud/production/private/changes/zone"
    return icloud.requests["p61-ckdatabasews.icloud.com", "POST", path]


@pytest.mark.parametrize("pages", [1, 7, 15])
def test_a_tick_that_runs_out_of_time_goes_on_at_the_next_one(
    small: World, library: Library, icloud: ICloudStandin, pages: int
) -> None:
    fill(library, 100)
    clock = iter(range(10_000))
    with small.platform.icloud._opener(small.account())() as client:
        place = Read("icloud", "icloud", PERSONAL)
        rules = small.platform.date_rules()
        first = read_feed(small.engine, client, place, rules, seconds=pages, clock=lambda: float(next(clock)))
        assert not first.complete
        before = len(small.known())
        assert before < len(as_it_is(library))
        icloud.reset_requests()
        rest = read_feed(small.engine, client, place, rules)
    assert rest.complete and small.known() == as_it_is(library)
    assert readings(icloud) <= -(-library.position // 10) - pages + 2, "no page is read twice"
    assert not rest.deleted and small.value("SELECT count(*) FROM source_files WHERE gone_at IS NOT NULL") == 0


def test_a_library_that_is_still_indexed_waits_without_a_word_lost(
    signed_in: World, library: Library, icloud: ICloudStandin
) -> None:
    fill(library, 5)
    icloud.faults.add(Fault("not_indexed", times=1))
    with pytest.raises(StillIndexing, match="next sync"):
        signed_in.sync()
    assert signed_in.sync().complete and signed_in.known() == as_it_is(library)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", where=LISTING, status=421, after=3),
        Fault("answer", where=LISTING, status=450, after=3),
        Fault("answer", where=LISTING, status=502, after=3, times=2),
        Fault("answer", where=LISTING, status=429, after=3, retry_after=0),
        Fault("drop", where=LISTING, after=3, times=3),
        Fault("lose_answer", where=LISTING, after=3),
        Fault("truncate", where=LISTING, after=3),
        Fault("answer", where="query/batch$", status=500),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_a_stumble_in_the_middle_of_a_reading_is_got_over(
    small: World, library: Library, icloud: ICloudStandin, account: Account, fault: Fault
) -> None:
    fill(library, 40)
    fault.happened = 0
    icloud.faults.add(fault)
    found = small.sync()
    assert fault.happened and found.complete and small.known() == as_it_is(library) and account.codes_sent == 1


def test_a_token_that_apple_no_longer_knows_is_read_anew_and_what_vanished_is_recorded(
    read: World, library: Library
) -> None:
    gone = library.assets[3]
    changed = library.assets[4]
    library.purge(gone)
    library.favourite(changed, True)
    library.add("late.jpg", jpeg(500), taken=NOON, offset_seconds=0)
    with read.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE icloud_libraries SET sync_token = 'bG9uZyBhZ28gMQ=='")
    found = read.sync()
    assert read.known() == as_it_is(library)
    assert found.new and len(found.new) == 1 and found.changed == {changed.record_name}
    assert found.deleted == {gone.record_name} and record(read, gone)["state"] == "gone"
    assert read.value("SELECT complete_at IS NOT NULL FROM icloud_libraries")


def test_a_feed_that_refuses_each_of_its_own_tokens_is_left_for_later(world: World) -> None:
    def pages(token: str | None) -> Answer:
        if token is not None:
            raise TokenTooOld("no")
        return Answer([], "A", True)

    with pytest.raises(Away):
        read_feed(world.engine, Feed(pages), Read("icloud", "icloud", PERSONAL), world.platform.date_rules())


def test_a_feed_that_says_more_and_stands_still_is_left_for_later(world: World) -> None:
    with pytest.raises(Away):
        read_feed(
            world.engine,
            Feed(lambda token: Answer([], "A", True)),
            Read("icloud", "icloud", PERSONAL),
            world.platform.date_rules(),
        )


def test_rubbish_in_the_feed_is_passed_over(world: World) -> None:
    rubbish: list[Any] = [None, 7, "x", [], {}, {"recordName": 5}, {"recordName": "a\0b", "deleted": True}]
    broken = [
        {
            "recordName": f"R{number}",
            "recordType": "CPLAsset",
            "fields": {"assetDate": {"value": value}, "masterRef": {"value": {"recordName": "M"}}},
        }
        for number, value in enumerate((2**62, -(2**62), 253_402_300_799_999, float("nan"), "x\0y"))
    ]
    resource = {"fileChecksum": "AQ", "size": 5}
    master = {"recordName": "M", "recordType": "CPLMaster", "fields": {"resOriginalRes": {"value": resource}}}
    found = read_feed(
        world.engine,
        Feed(lambda token: Answer([*rubbish, *broken, master], "A", False)),
        Read("icloud", "icloud", PERSONAL),
        world.platform.date_rules(),
    )
    assert found.complete and len(found.new) == 5 and len(world.known()) == 5


def test_a_library_of_which_apple_counts_more_for_a_week_is_read_from_the_beginning(
    read: World, library: Library
) -> None:
    known = read.known()

    def change(statement: str) -> None:
        with read.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    change("DELETE FROM icloud_records")  # as if the feed had never told of them
    fill(library, 1, seed=9)
    assert read.sync().counted == 1
    assert read.sync().counted == 1  # not at once
    change("UPDATE icloud_libraries SET reading_since = reading_since - interval '8 days'")
    read.sync()
    found = read.sync()
    assert found.assets == 21 and found.counted == found.apple_count
    assert set(known) < set(read.known())


def test_a_feed_that_lists_less_than_apple_counts_buries_nothing(read: World, library: Library) -> None:
    known = read.known()
    place = Read("icloud", NAME, PERSONAL)
    rules = read.platform.date_rules()
    for counts, there in ((20, known), (0, {})):
        with read.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE icloud_libraries SET sync_token = NULL")
        read_feed(read.engine, Feed(lambda token: Answer([], "A", False), counts), place, rules)
        assert read.known() == there, "an empty answer is no empty library; an empty library is one"
    with read.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE icloud_libraries SET sync_token = NULL")
    read.sync()
    assert read.known() == known and read.rows("SELECT DISTINCT state FROM source_files") == [("pending",)]


# ------------------------------------------------------------------ several libraries


def test_another_apple_id_under_the_same_name_is_read_from_its_beginning(
    read: World, library: Library, icloud: ICloudStandin, tmp_path: Path, engine: Engine
) -> None:
    other = icloud.account(OTHER, PASSWORD, trusted_device=True)
    fill(other.library(), 70, seed=5)
    world = World(tmp_path, engine, accounts={"icloud": {"kind": "icloud", "apple_id": OTHER}})
    world.sign_in(other)
    found = world.sync()
    assert world.known() == as_it_is(other.library()) and len(found.new) == 70 and len(found.deleted) == 20


@pytest.mark.parametrize("owned", [True, False])
def test_a_shared_library_and_a_second_account_are_sources_of_their_own(
    icloud: ICloudStandin,
    account: Account,
    library: Library,
    tmp_path: Path,
    engine: Engine,
    hurried: None,
    owned: bool,
) -> None:
    other = icloud.account(OTHER, PASSWORD, trusted_device=True)
    shared = account.library(SHARED, owned=owned)
    fill(library, 6), fill(shared, 7, seed=2), fill(other.library(), 8, seed=3)
    world = World(
        tmp_path,
        engine,
        accounts={
            "icloud": {"kind": "icloud", "apple_id": NAME},
            "family": {"kind": "icloud", "account": "icloud", "library": "shared"},
            "partner": {"kind": "icloud", "apple_id": OTHER, "password": PASSWORD},
        },
    )
    world.sign_in(account)
    world.sign_in(other, "partner")
    for name, one in (("icloud", library), ("family", shared), ("partner", other.library())):
        assert world.sync(name).complete
        assert world.known(name) == as_it_is(one)
    other.expire_trust()
    library.delete(library.assets[0])
    shared.delete(shared.assets[0])
    from mediapipe_assets.cli.icloud import sync_all

    looks = sync_all(world.platform)
    assert [len(one.found.deleted) for one in looks.done] == [1, 1], "one account's trouble stops no other"
    assert looks.exit_code() == 4 and "partner" in looks.notes[0]
    assert world.known("family") == as_it_is(shared) and len(account.cookies) and account.codes_sent == 1


def test_an_account_without_a_shared_library_says_so(
    icloud: ICloudStandin, account: Account, tmp_path: Path, engine: Engine, hurried: None
) -> None:
    world = World(tmp_path, engine, accounts={"icloud": {"kind": "icloud", "apple_id": NAME, "library": "shared"}})
    world.sign_in(account)
    with pytest.raises(NoSharedLibrary, match="no shared library"):
        world.sync()
