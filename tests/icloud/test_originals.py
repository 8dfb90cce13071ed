"""Originals from iCloud: every byte as Apple has it, whatever breaks off, is refused, or comes altered on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog.icloud import account_state
from mediapipe_assets.cli.icloud import what_stops_accounts
from mediapipe_assets.icloud_checks import ICLOUD_CHECKS
from pipeline.discovery import look
from pipeline.stage import StageReport
from resources.icloud import ICloud
from services.icloud_standin import Account, Asset, Fault, ICloudStandin, Library
from services.icloud_standin.downloads import HOST
from tests.conftest import Home, temporary_files
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import fill, jpeg, movie, raw
from tests.icloud_world import CONTENT, World, as_it_is, bodies, parts, sign_in

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
LOOKUP = "records/lookup$"
OTHER = "b@example.com"
OTHER_FORM = "BJ/wAGT9P6jhr0NKCjLyh7KawNEx"  # as a recorded session has it, of another kind than ours


def incoming(world: World) -> list[Path]:
    folder = world.settings.roots.originals / ".incoming"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def content_requests(icloud: ICloudStandin) -> int:
    return sum(count for (host, _, _), count in icloud.requests.items() if host == HOST)


def everything_is_here(world: World, library: Library) -> None:
    """Each file of the library is kept with exactly its bytes, and nothing else is."""
    assert world.kept() == bodies(library)
    assert incoming(world) == []
    states = {state for (state,) in world.rows("SELECT DISTINCT state FROM source_files WHERE gone_at IS NULL")}
    assert states <= {"kept", "duplicate"}


def nothing_wrong_is_kept(world: World, library: Library) -> None:
    assert world.kept().items() <= bodies(library).items()


@pytest.fixture
def waiting(signed_in: World, library: Library, monkeypatch: pytest.MonkeyPatch) -> World:
    """A home that has read twelve assets and downloads them five files at a time."""
    monkeypatch.setattr("pipeline.stage.CLAIM_BATCH", 5)
    monkeypatch.setattr("pipeline.icloud_originals.LOST_IN_A_ROW", 3)
    fill(library, 12)
    signed_in.sync()
    return signed_in


# ------------------------------------------------------------------ what is kept


def test_every_file_of_every_asset_is_kept_as_apple_has_it(signed_in: World, library: Library) -> None:
    fill(library, 60)
    signed_in.sync()
    report = signed_in.work()
    assert report.counts == {"stored": len(as_it_is(library))} and not report.notes
    everything_is_here(signed_in, library)
    assert signed_in.rows("SELECT DISTINCT state FROM media_files") == [("kept",)]
    rows = signed_in.rows(
        "SELECT m.stored_path, s.mtime_ns FROM media_files m JOIN source_files s ON s.media_file_id = m.id"
    )
    for path, mtime in rows:
        found = (signed_in.settings.roots.originals / path).stat()
        assert found.st_mtime_ns == mtime and found.st_mode & 0o777 == 0o444
    taken = {int(one.taken.timestamp() * 1000) for one in library.assets if one.taken is not None}
    assert {mtime // 10**6 for _, mtime in rows} >= taken, "a file's time is that of its capture"
    assert signed_in.work().counts == {}


def test_what_belongs_together_becomes_one_bundle(signed_in: World, library: Library) -> None:
    place = {"taken": NOON, "offset_seconds": 0}
    library.add("IMG_0001.HEIC", jpeg(1), live=movie(1), **place)
    library.add("IMG_0002.JPG", jpeg(2), edited=jpeg(2, "edited"), **place)
    library.add("IMG_0003.JPG", jpeg(3), raw=raw(3), **place)
    library.add("IMG_0004.DNG", raw(4), raw=None, **place)
    library.add("IMG_0001.JPG", jpeg(5), **place)
    library.add("IMG_0006.MOV", movie(6), edited_video=movie(66), **place)
    signed_in.sync()
    signed_in.work()
    signed_in.work("deduplicated_media")
    rows = signed_in.rows(
        "SELECT b.kind, array_agg(m.role ORDER BY m.role), count(*) FROM bundles b "
        "JOIN bundle_members m ON m.bundle_id = b.id GROUP BY b.id, b.kind ORDER BY b.kind, 2"
    )
    assert [(kind, tuple(roles)) for kind, roles, _ in rows] == [
        ("edited", ("edit", "lead")),
        ("edited", ("edit", "lead")),
        ("live_photo", ("lead", "live_video")),
        ("raw_jpeg", ("lead", "raw")),
        ("single", ("lead",)),
        ("single", ("lead",)),
    ]


def test_a_late_edit_joins_the_bundle_of_its_photo(signed_in: World, library: Library) -> None:
    asset = library.add("IMG_0001.HEIC", jpeg(1), live=movie(1), taken=NOON, offset_seconds=0)
    for edits in range(2):
        signed_in.sync()
        signed_in.work()
        signed_in.work("deduplicated_media")
        assert signed_in.value("SELECT count(*) FROM bundles") == 1
        assert signed_in.value("SELECT count(*) FROM bundle_members") == 2 + edits
        library.edit(asset, jpeg(1, f"edited {edits}"))


def test_the_same_bytes_that_a_folder_brought_are_not_downloaded(
    icloud: ICloudStandin, account: Account, library: Library, tmp_path: Path, engine: Engine, hurried: None
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    (folder / "b.mov").write_bytes(movie(1))
    sources = {
        "icloud": {"kind": "icloud", "apple_id": NAME},
        "photos": {"kind": "folder", "path": str(folder), "settle_seconds": 0},
    }
    world = World(tmp_path, engine, accounts=sources)
    world.sign_in(account)
    look(engine, world.platform.sources["photos"], world.platform.date_rules(), record=True)
    assert world.work("folder_originals").counts == {"stored": 2}
    library.add("IMG_0001.HEIC", jpeg(1), live=movie(1), taken=NOON, offset_seconds=0)
    library.add("twice.JPG", jpeg(1), taken=NOON, offset_seconds=0)
    world.sync()
    icloud.reset_requests()
    assert world.work().counts == {"duplicates": 4}, "two assets of one master, a film in each"
    assert icloud.request_log() == [], "nobody even signed in"


def test_a_copy_of_a_photo_made_on_the_phone_is_one_content(signed_in: World, library: Library) -> None:
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    library.add("b.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    signed_in.sync()
    assert signed_in.work().counts == {"stored": 1, "duplicates": 1}
    everything_is_here(signed_in, library)


def test_a_checksum_of_another_form_is_stored_and_never_called_proven(signed_in: World, library: Library) -> None:
    asset = library.add("IMG_0001.MOV", movie(1), taken=NOON, offset_seconds=0)
    vars(asset.master.original)["token"] = {**asset.master.original.token, "fileChecksum": OTHER_FORM}
    signed_in.sync()
    report = signed_in.work()
    assert report.counts == {"stored": 1}
    assert ["only its size" in note for _, note in report.notes] == [True]
    assert list(signed_in.kept().values()) == [movie(1)]
    assert "only its size" in signed_in.value("SELECT detail FROM pipeline_logs WHERE event = 'kept'")
    check = next(one for one in ICLOUD_CHECKS["icloud_originals"] if one.name == "icloud_checksums_agree")
    with signed_in.engine.connect() as connection:
        found = check.judge(signed_in.platform, connection, None)  # type: ignore[arg-type]
    assert found.passed and found.metadata["not_comparable"].value == 1


# ------------------------------------------------------------------ what goes wrong and is mended at once


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", where=LOOKUP, status=421, after=1),
        Fault("answer", where=LOOKUP, status=450, after=1),
        Fault("answer", where=LOOKUP, status=502, after=1, times=3),
        Fault("answer", where=LOOKUP, status=429, after=1, retry_after=1),
        Fault("drop", where=LOOKUP, after=1, times=3),
        Fault("answer", where=CONTENT, status=410, after=2, times=2),
        Fault("answer", where=CONTENT, status=502, after=2, times=2),
        Fault("drop", where=CONTENT, after=2, times=3),
        Fault("truncate", where=CONTENT, after=2, times=3),
        Fault("flip", where=CONTENT, after=2),
        Fault("flip", where=CONTENT, after=2, at=0),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status} {fault.where.strip('$')} {fault.at}",
)
def test_what_stumbles_in_the_middle_of_a_run_is_mended_in_it(
    waiting: World, library: Library, icloud: ICloudStandin, account: Account, fault: Fault
) -> None:
    fault.happened = 0
    icloud.faults.add(fault)
    report = waiting.work()
    assert fault.happened and set(report.counts) == {"stored"} and not report.failures
    everything_is_here(waiting, library)
    assert account.codes_sent == 1


def test_what_was_broken_off_is_not_joined_to_a_body_that_ignores_the_range(
    waiting: World, library: Library, icloud: ICloudStandin
) -> None:
    icloud.faults.add(Fault("truncate", where=CONTENT, times=4))
    ignored = icloud.faults.add(Fault("ignore_range", times=4))
    assert set(waiting.work().counts) == {"stored"} and ignored.happened
    everything_is_here(waiting, library)


def test_addresses_that_end_in_the_middle_of_a_run_are_asked_for_again(
    waiting: World, library: Library, icloud: ICloudStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens_at(monkeypatch, 2, icloud.expire_urls)
    assert set(waiting.work().counts) == {"stored"}
    everything_is_here(waiting, library)


def happens_at(
    monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], object], *, after: bool = True
) -> None:
    """Lets something happen right after, or before, the n-th look-up of a run."""
    plain, calls = ICloud.lookup, [0]

    def lookup(self: ICloud, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == number and not after:
            happens()
        found = plain(self, *args)
        if calls[0] == number and after:
            happens()
        return found

    monkeypatch.setattr(ICloud, "lookup", lookup)


@pytest.mark.parametrize("expires", ["expire_cookies", "expire_session"])
def test_a_session_that_ends_in_the_middle_of_a_run_is_opened_again(
    waiting: World, library: Library, account: Account, monkeypatch: pytest.MonkeyPatch, expires: str
) -> None:
    happens_at(monkeypatch, 2, getattr(account, expires), after=False)
    assert set(waiting.work().counts) == {"stored"}
    everything_is_here(waiting, library)
    assert account.codes_sent == 1


# ------------------------------------------------------------------ what has to wait, and comes by itself later


def refused(world: World) -> tuple[Any, int]:
    with world.engine.connect() as connection:
        state = account_state(connection, "icloud")
    left = state.throttled_until - world.now() if state.throttled_until else timedelta()
    return left, state.throttled_count


@pytest.mark.parametrize("status, asks", [(429, 3600), (503, None)])
@pytest.mark.parametrize("where", [LOOKUP, CONTENT])
def test_an_apple_that_wants_fewer_downloads_is_left_alone_and_the_rest_comes_later(
    waiting: World, library: Library, icloud: ICloudStandin, where: str, status: int, asks: int | None
) -> None:
    icloud.faults.add(Fault("answer", where=where, status=status, after=1, times=None, retry_after=asks))
    report = waiting.work()
    assert set(report.counts) == {"stored", "pending"} and not report.failures
    assert any("Apple asks" in note for _, note in report.notes)
    nothing_wrong_is_kept(waiting, library)
    left, count = refused(waiting)
    assert timedelta(minutes=14 if asks is None else 59) < left and count == 1, "refused at once is refused once"
    (note,), needs = what_stops_accounts(waiting.platform)
    assert "left alone until" in note and not needs
    icloud.reset_requests()
    again = waiting.work()
    assert set(again.counts) == {"pending"} and icloud.request_log() == [], "nothing is asked before it has passed"
    icloud.faults.clear()
    waiting.ahead = left + timedelta(seconds=1)
    assert set(waiting.work().counts) == {"stored"}
    everything_is_here(waiting, library)
    assert refused(waiting)[1] == 0


def test_downloads_that_are_refused_again_and_again_wait_twice_as_long_each_time(
    waiting: World, icloud: ICloudStandin
) -> None:
    icloud.faults.add(Fault("answer", where=CONTENT, status=503, times=None))
    minutes = []
    for _ in range(3):
        waiting.work()
        left, _ = refused(waiting)
        minutes.append(round(left / timedelta(minutes=1)))
        waiting.ahead += left + timedelta(seconds=1)
    assert minutes == [15, 30, 60]


def test_when_the_trust_ends_in_a_run_the_rest_waits_for_a_person_and_then_comes_at_once(
    waiting: World, library: Library, account: Account, icloud: ICloudStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens_at(monkeypatch, 2, account.expire_trust, after=False)
    report = waiting.work()
    assert set(report.counts) == {"stored", "pending"} and "icloud login" in report.notes[0][1]
    nothing_wrong_is_kept(waiting, library)
    with waiting.engine.connect() as connection:
        assert account_state(connection, "icloud").needs == "code"
    assert account.codes_sent == 1, "nobody is sent a code unasked"
    (note,), needs = what_stops_accounts(waiting.platform)
    assert needs and "icloud login" in note
    icloud.reset_requests()
    assert set(waiting.work().counts) == {"pending"} and icloud.request_log() == []
    waiting.sign_in(account)
    assert set(waiting.work().counts) == {"stored"}
    everything_is_here(waiting, library)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop", where=CONTENT, after=3, times=None),
        Fault("truncate", where=CONTENT, after=3, times=None, at=10),
        Fault("answer", where=CONTENT, after=3, times=None, status=500),
        Fault("not_indexed", times=4),
        Fault("drop", where=LOOKUP, times=None),
    ],
    ids=lambda fault: f"{fault.kind} {fault.where}",
)
def test_a_line_that_stays_broken_lets_the_rest_wait_and_it_comes_later(
    waiting: World, library: Library, icloud: ICloudStandin, fault: Fault
) -> None:
    fault.happened = 0
    icloud.faults.add(fault)
    report = waiting.work()
    assert set(report.counts) <= {"stored", "pending"} and report.counts["pending"] and not report.failures
    assert content_requests(icloud) < 45, "the rest is not tried one by one"
    nothing_wrong_is_kept(waiting, library)
    icloud.faults.clear()
    waiting.wait_out()
    assert set(waiting.work().counts) == {"stored"}
    everything_is_here(waiting, library)


def address_of(asset: Asset) -> str:
    """What the address of an asset's original holds."""
    return asset.checksum.replace("/", "_").replace("+", r"\-")


@pytest.mark.parametrize(
    "fault, words",
    [
        (Fault("flip", times=None), "other bytes than Apple announces"),
        (Fault("answer", times=None, status=410), "address has expired"),
        (Fault("answer", times=None, status=404), "refused the download (404)"),
    ],
    ids=["flip", "410", "404"],
)
def test_one_file_that_apple_cannot_give_fails_alone_with_its_reason_and_comes_later(
    waiting: World, library: Library, icloud: ICloudStandin, fault: Fault, words: str
) -> None:
    fault.happened = 0
    fault.where = address_of(library.assets[0])
    icloud.faults.add(fault)
    report = waiting.work()
    assert report.counts == {"stored": len(as_it_is(library)) - 1, "failed": 1}
    ((label, reason),) = report.failures
    assert words in reason and label.startswith(library.assets[0].record_name) and "https" not in reason
    nothing_wrong_is_kept(waiting, library)
    assert incoming(waiting) == []
    icloud.faults.clear()
    assert waiting.work().counts == {}, "it rests before it is tried again"
    waiting.wait_out()
    assert waiting.work().counts == {"stored": 1}
    everything_is_here(waiting, library)


def test_one_account_that_is_refused_does_not_stop_another(
    icloud: ICloudStandin, account: Account, library: Library, tmp_path: Path, engine: Engine, hurried: None
) -> None:
    other = icloud.account(OTHER, PASSWORD)
    fill(library, 12), fill(other.library(), 12, seed=2)
    world = World(
        tmp_path,
        engine,
        accounts={
            "icloud": {"kind": "icloud", "apple_id": NAME},
            "partner": {"kind": "icloud", "apple_id": OTHER, "password": PASSWORD},
        },
    )
    world.sign_in(account), world.sign_in(other, "partner")
    world.sync(), world.sync("partner")
    account.expire_trust()
    report = world.work()
    assert report.counts["stored"] == len(as_it_is(other.library())) and not report.failures
    world.sign_in(account)
    assert world.work().counts == {"stored": len(as_it_is(library))}
    assert world.kept() == bodies(library) | bodies(other.library())


# ------------------------------------------------------------------ what changes in iCloud meanwhile


def settled(world: World) -> StageReport:
    """What a run does after the next look at the library."""
    world.sync()
    world.wait_out()
    return world.work()


def test_an_asset_that_is_edited_between_sync_and_download_comes_with_the_next_sync(
    signed_in: World, library: Library, icloud: ICloudStandin
) -> None:
    one = library.add("IMG_0001.JPG", jpeg(1), edited=jpeg(1, "edited"), taken=NOON, offset_seconds=0)
    signed_in.sync()
    library.edit(one, jpeg(2, "edited"))
    report = signed_in.work()
    assert report.counts == {"stored": 1, "pending": 1} and "meanwhile" in report.notes[0][1]
    assert settled(signed_in).counts == {"stored": 1}
    assert signed_in.kept() == bodies(library) and incoming(signed_in) == []


def test_an_asset_that_is_purged_between_sync_and_download_is_no_failure(
    signed_in: World, library: Library, icloud: ICloudStandin
) -> None:
    fill(library, 4)
    signed_in.sync()
    library.purge(library.assets[0])
    report = signed_in.work()
    assert report.counts["pending"] == 1 and not report.failures
    assert settled(signed_in).counts == {}
    everything_is_here(signed_in, library)
    assert signed_in.rows("SELECT state, reason FROM source_files WHERE gone_at IS NOT NULL") == [
        ("superseded", "it was gone before it was stored")
    ]


def test_what_lies_in_recently_deleted_by_the_time_of_the_download_is_kept_all_the_same(
    signed_in: World, library: Library
) -> None:
    (asset,) = fill(library, 1)
    signed_in.sync()
    library.delete(asset)
    assert signed_in.work().counts == {"stored": 1}
    assert settled(signed_in).counts == {} and list(signed_in.kept()) == [asset.checksum]


def test_what_was_half_downloaded_and_is_no_longer_wanted_is_removed(
    waiting: World, library: Library, icloud: ICloudStandin
) -> None:
    asset = library.assets[0]
    body = len(b"".join(asset.master.original.content.chunks()))
    icloud.faults.add(Fault("truncate", where=address_of(asset), times=1, at=body // 2))
    icloud.faults.add(Fault("drop", where=address_of(asset), times=None, after=1))
    waiting.work()
    assert [path.stat().st_size for path in incoming(waiting)] == [body // 2], "it is kept for a resume"
    library.purge(asset)
    icloud.faults.clear()
    library.add("new.jpg", jpeg(999), taken=NOON, offset_seconds=0)
    settled(waiting)
    everything_is_here(waiting, library)


# ------------------------------------------------------------------ whole runs, and a kill


def test_a_run_that_is_killed_in_the_middle_of_a_large_file_goes_on_from_there(
    home: Home, icloud: ICloudStandin, account: Account, library: Library, tmp_path: Path, monkeypatch: Any
) -> None:
    ranges: list[str] = []
    from services.icloud_standin import downloads

    plain = downloads._ranged
    monkeypatch.setattr(downloads, "_ranged", lambda content, asked: ranges.append(asked) or plain(content, asked))
    home.settings('start_date = 2026-06-01\ntimezone = "Europe/Berlin"\n')
    home.environment = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
    fill(library, 12)
    large = tmp_path / "film.mov"
    large.write_bytes(movie(1) + os.urandom(150_000_000))
    library.add("IMG_9999.MOV", large, taken=NOON, offset_seconds=0)
    sign_in(home, account)

    process = home.start("run", "--json")
    folder = home.path / "originals" / ".incoming"
    size = 0
    while size < 10_000_000 and process.poll() is None:
        size = max((path.stat().st_size for path in folder.glob("*.MOV") if path.exists()), default=0)
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    half = max(path.stat().st_size for path in folder.glob("*.MOV"))
    assert 10_000_000 <= half < large.stat().st_size and not ranges

    report = home.run()
    wanted = bodies(library)
    assert report["failed"] == 0 and home.status()["kept"] == len(wanted)
    assert ranges == [f"bytes={half}-"], "the large file was resumed, and not fetched from 0"
    with home.opened() as platform, platform.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT apple_checksum, stored_path FROM media_files").all()
    stored = {row[0]: (platform.settings.roots.originals / row[1]).read_bytes() for row in rows}
    assert stored == wanted and temporary_files(home) == [] and not list(folder.iterdir())
    assert home.run()["runs"] == [], "a second run has nothing to do"
    assert sum(len(parts(asset)) for asset in library.assets) == len(wanted)
