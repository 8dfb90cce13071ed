"""Listing, reading, changing and uploading on the stand-in with the real pyicloud."""

from __future__ import annotations

import os
import plistlib
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from PIL import Image
from pyicloud.common.cloudkit import (
    CKErrorItem,
    CKModifyOperation,
    CKQueryObject,
    CKRecord,
    CKTombstoneRecord,
    CKWriteRecord,
    CKZoneChangesZoneReq,
    CKZoneID,
    CKZoneIDReq,
)
from pyicloud.common.cloudkit.client import CloudKitApiError
from pyicloud.exceptions import PyiCloudAPIResponseException

from media.apple_checksum import AppleChecksum, apple_checksum, is_comparable
from media.sample_files import Shot, write_jpeg
from services.icloud_standin import Fault
from services.icloud_standin.assets import FOLDER, Album
from tests.icloud_library import NFC_NAME, NFD_NAME, fill, jpeg, movie, raw

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
ZONE = CKZoneIDReq(zoneName="PrimarySync", zoneType="REGULAR_CUSTOM_ZONE")
SHARED = "SharedSync-5B0C4D1E-0000-4000-8000-000000000001"


def test_apples_checksum_is_the_same_for_a_file_and_for_its_pieces(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    assert apple_checksum(path) == "AcW96XzA8CMFcrVWfJyAAy8aWWE6", "as another program computes it"
    path.write_bytes(b"a" * 3_000_000)
    pieces = AppleChecksum()
    for _ in range(3):
        pieces.update(b"a" * 1_000_000)
    assert apple_checksum(path) == pieces.value()
    assert len(pieces.value()) == 28 and is_comparable(pieces.value())
    assert not is_comparable("Bw-O4l_UpI23JBfLD0wf_ZNwTumeA1La") and not is_comparable("BJ/wAGT9P6jhr0NKCjLyh7KawNEx")


def test_a_library_is_listed_whole_and_in_order(api, library):
    fill(library, 450)
    shown = [asset for asset in library.assets if not asset.hidden]
    album = api.photos.all
    listed = list(album)
    assert len(album) == len(listed) == len(shown)
    assert {photo.id for photo in listed} == {asset.record_name for asset in shown}
    dates = [photo.asset_date for photo in listed]
    assert dates == sorted(dates), "from the highest rank, which is the oldest, to the newest"
    assert album.photo(0).asset_date == dates[-1]


def test_what_is_read_of_an_asset_is_what_was_added(api, library):
    added = library.add(
        "IMG_1.HEIC",
        jpeg(1),
        taken=NOON,
        offset_seconds=20700,
        added=NOON + timedelta(days=1),
        live=movie(1),
        edited=jpeg(1, "edited"),
        favourite=True,
        caption="Ein schöner Tag",
        title="Titel",
        location=(27.7, 85.3),
        burst="B1",
    )
    photo = next(iter(api.photos.all))
    asset, master = photo.asset_record.fields, photo.master_record.fields
    assert (photo.id, photo.master_id, added.checksum) == (added.record_name, added.master_name, photo.master_id)
    assert (photo.filename, photo.asset_date, photo.added_date) == ("IMG_1.HEIC", NOON, NOON + timedelta(days=1))
    assert asset.get_value("timeZoneOffset") == 20700 and asset.get_value("isFavorite") == 1
    assert asset.get_value("captionEnc").decode() == "Titel"
    assert asset.get_value("extendedDescEnc").decode() == "Ein schöner Tag"
    assert plistlib.loads(asset.get_value("locationEnc"))["lat"] == 27.7
    assert asset.get_value("burstId") == "B1" and asset.get_value("isDeleted") is None
    assert photo.is_live_photo and photo.resources["original_video"].checksum == _checksum(movie(1))
    edited = asset.get_value("resJPEGFullRes")
    assert (edited.fileChecksum, edited.size) == (_checksum(jpeg(1, "edited")), len(jpeg(1, "edited")))
    assert "edited" not in photo.resources, "which is why the product reads the raw field"
    assert master.get_value("resOriginalRes").fileChecksum == master.get_value("resOriginalFingerprint")
    assert photo.download() == jpeg(1) and photo.dimensions == (64, 48)
    assert photo.download("original_video") == movie(1)


def test_names_keep_their_form_and_an_asset_without_a_date_has_none(api, library):
    library.add(NFC_NAME, jpeg(1), taken=NOON, offset_seconds=0)
    library.add(NFD_NAME, jpeg(2), taken=NOON + timedelta(1), offset_seconds=0, raw=raw(2))
    library.add("IMG_0001.JPG", jpeg(3), taken=None, offset_seconds=0)
    undated, composed, decomposed = api.photos.all
    assert [_name(photo) for photo in (composed, decomposed)] == [NFC_NAME, NFD_NAME]
    assert undated.asset_record.fields.get_value("assetDate") is None
    assert decomposed.resources["alternative"].checksum == _checksum(raw(2))


def test_a_name_may_be_garbled_by_pyicloud_but_its_raw_field_is_right(api, library):
    library.add("aGFsbG8h.", jpeg(1), taken=NOON, offset_seconds=0)
    photo = next(iter(api.photos.all))
    assert photo.filename == "hallo!", "pyicloud decodes twice"
    assert _name(photo) == "aGFsbG8h."


def test_the_same_bytes_twice_are_two_assets_of_one_master(api, library):
    first = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    second = library.add("b.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    assert first.master is second.master
    assert sorted(photo.id for photo in api.photos.all) == sorted([first.record_name, second.record_name])


def test_a_page_with_only_the_wanted_fields_can_be_asked_for(api, library):
    fill(library, 5)
    query = CKQueryObject(
        recordType="CPLAssetAndMasterByAddedDate",
        filterBy=[_filter("direction", "STRING", "ASCENDING"), _filter("startRank", "INT64", 0)],
    )
    page = api.photos.private_client.query(
        query=query, zone_id=ZONE, results_limit=200, desired_keys=["assetDate", "masterRef"]
    )
    kinds = [record.recordType for record in page.records]
    assert kinds == ["CPLMaster"] * 5 + ["CPLAsset"] * 5
    assert {key for record in page.records for key in record.fields} == {"assetDate", "masterRef"}
    assert page.syncToken


def test_smart_lists_and_albums_hold_what_belongs_there(api, library):
    fill(library, 60)
    library.delete(library.assets[17])
    albums = {album.fullname: album for album in api.photos.albums}
    counts = {name: len(list(album)) for name, album in albums.items()}
    assert counts == {name: len(album) for name, album in albums.items()}
    assert counts["Library"] == 57 and counts["Hidden"] == 2 and counts["Recently Deleted"] == 1
    assert counts["Favorites"] == 3 and counts["Videos"] == 3 and counts["Live"] == 3 and counts["Bursts"] == 6
    assert counts["Reisen"] + counts["Familie"] + counts["Größte Hits"] == 6


def test_albums_lie_in_folders(api, library):
    folder = library.album("Urlaub", kind=FOLDER)
    album = library.album("2024", parent=folder)
    asset = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    library.put_in_album(asset, album)
    found = api.photos.albums["2024"]
    assert found.fullname == "Urlaub/2024" and [photo.id for photo in found] == [asset.record_name]


def test_a_person_can_make_an_album_put_a_photo_in_and_remove_it(api, library):
    asset = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    photo = next(iter(api.photos.all))
    album = api.photos.create_album("Neu")
    assert album.add_photo(photo) and [each.id for each in album] == [asset.record_name]
    album.rename("Anders")
    assert [each.name for each in library.every(Album) if each.name] == ["Anders"]
    assert album.delete() and "Anders" not in api.photos._root_library.refresh_albums()


def test_the_feed_tells_what_changed_since_a_token(api, library):
    kept, edited, deleted, purged = fill(library, 4)
    root = api.photos._root_library
    token = api.photos.sync_cursor()
    assert list(root.iter_changes(since=token)) == []

    library.edit(edited, jpeg(99))
    library.delete(deleted)
    library.purge(purged)
    late = library.add("late.jpg", jpeg(77), taken=NOON - timedelta(3000), offset_seconds=0, albums=["Alt"])
    changes = {change.record_name: change for change in root.iter_changes(since=token)}
    assert kept.record_name not in changes
    assert changes[edited.record_name].kind == changes[deleted.record_name].kind == "updated"
    assert changes[purged.record_name].kind == changes[purged.master_name].kind == "deleted"
    assert {late.record_name, late.master_name} <= set(changes)
    types = {change.record_type for change in changes.values()}
    assert types == {None, "CPLAsset", "CPLMaster", "CPLAlbum", "CPLContainerRelation"}
    assert list(root.iter_changes(since=root.current_sync_token)) == []


def test_the_feed_comes_in_pages_of_whole_records(api, library):
    fill(library, 130)
    client = api.photos.private_client
    request = CKZoneChangesZoneReq(zoneID=CKZoneID(zoneName="PrimarySync"), desiredRecordTypes=["CPLAsset"])
    pages = list(client.iter_changes(zone_req=request))
    assert len(pages) == 2 and pages[0].moreComing and not pages[1].moreComing
    records = [record for page in pages for record in page.records]
    assert len(records) == 130
    assert {type(record) for record in records} == {CKRecord}
    deleted = library.assets[0]
    library.delete(deleted)
    request = CKZoneChangesZoneReq(zoneID=CKZoneID(zoneName="PrimarySync"), syncToken=pages[-1].syncToken)
    (page,) = client.iter_changes(zone_req=request)
    (record,) = page.records
    assert (record.recordName, record.fields.get_value("isDeleted")) == (deleted.record_name, 1)
    assert record.fields.get_value("dateExpunged") > datetime.now(UTC) + timedelta(29)
    library.purge(deleted)
    request = CKZoneChangesZoneReq(zoneID=CKZoneID(zoneName="PrimarySync"), syncToken=page.syncToken)
    (page,) = client.iter_changes(zone_req=request)
    assert {type(record) for record in page.records} == {CKTombstoneRecord}


def test_a_token_of_nobody_is_refused(api, library):
    with pytest.raises(CloudKitApiError, match="BAD_REQUEST"):
        list(api.photos.iter_changes(since="bm9ib2R5"))


def test_shared_libraries_are_listed_and_read_by_themselves(api, account):
    account.library(SHARED).add("s.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    libraries = api.photos.libraries
    assert set(libraries) == {"root", f"shared:{SHARED}"}
    (photo,) = libraries[f"shared:{SHARED}"].all
    assert photo.download() == jpeg(1) and len(api.photos.all) == 0
    client = libraries[f"shared:{SHARED}"]._client
    changed = client.database_changes()
    assert [zone.zoneID.zoneName for zone in changed.zones] == [SHARED]
    assert client.database_changes(sync_token=changed.syncToken).zones == []


def test_a_fresh_address_comes_from_a_lookup(api, icloud, library):
    asset = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    url = next(iter(api.photos.all)).download_url()
    assert requests.get(url, timeout=10).content == jpeg(1), "no session is needed"
    icloud.expire_urls()
    assert requests.get(url, timeout=10).status_code == 410
    (master,) = api.photos.private_client.lookup(record_names=[asset.master_name], zone_id=ZONE).records
    assert requests.get(master.fields.get_value("resOriginalRes").downloadURL, timeout=10).content == jpeg(1)


@pytest.mark.parametrize(
    "asked, status, part",
    [
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=100-199", 206, slice(100, 200)),
        ("bytes=-10", 206, slice(-10, None)),
        ("nonsense", 200, slice(None)),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(api, library, asked, status, part):
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    url = next(iter(api.photos.all)).download_url()
    answer = requests.get(url, headers={"Range": asked}, timeout=10)
    assert answer.status_code == status and answer.content == jpeg(1)[part]
    beyond = requests.get(url, headers={"Range": f"bytes={len(jpeg(1))}-"}, timeout=10)
    assert beyond.status_code == 416 and beyond.headers["Content-Range"] == f"bytes */{len(jpeg(1))}"


def test_many_files_can_be_fetched_at_once_while_the_library_changes(api, library):
    fill(library, 200)
    urls = {photo.master_id: photo.download_url() for photo in api.photos.all}
    with ThreadPoolExecutor(8) as pool:
        bodies = pool.map(lambda url: requests.get(url, timeout=30).content, urls.values())
        fill(library, 200, seed=2)
        checksums = [_checksum(body) for body in bodies]
    assert checksums == list(urls)


def test_a_large_file_is_served_and_taken_without_being_held_in_memory(api, library, tmp_path):
    large = tmp_path / "large.mov"
    large.write_bytes(b"")
    os.truncate(large, 200_000_000)
    tracemalloc.start()
    asset = library.add("large.mov", large, taken=NOON, offset_seconds=0)
    url = next(iter(api.photos.all)).download_url()
    checksum, size = AppleChecksum(), 0
    with requests.get(url, stream=True, timeout=30) as answer:
        for chunk in answer.iter_content(1 << 18):
            checksum.update(chunk)
            size += len(chunk)
    assert (checksum.value(), size) == (asset.checksum, 200_000_000)
    with large.open("ab") as file:
        file.write(b"another")
    api.photos.private_client.upload_file(str(large), zone_name="PrimarySync")
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()


def test_an_upload_arrives_and_a_second_one_is_a_duplicate(api, icloud, library, tmp_path):
    path = _written(tmp_path / "IMG_20240101_120000.jpg", jpeg(5))
    client = api.photos.private_client
    uploaded = client.upload_file(str(path), zone_name="PrimarySync")
    assert uploaded.cplMaster == apple_checksum(path) and not uploaded.is_duplicate
    assert client.upload_status([uploaded.uploadJobId])[uploaded.uploadJobId].progress == 100
    assert client.upload_status(["no-such"])["no-such"].is_unknown
    (asset,) = library.assets
    assert (asset.record_name, asset.name) == (uploaded.cplAsset, path.name)
    assert asset.taken == datetime.fromtimestamp(1_600_000_000, UTC), "without EXIF it is the file's own time"

    again = client.upload_file(str(path), zone_name="PrimarySync")
    assert again.is_duplicate and again.uploadJobId is None
    assert (again.cplMaster, again.cplAsset) == (uploaded.cplMaster, uploaded.cplAsset)
    assert len(library.assets) == 1
    assert [photo.id for photo in api.photos.all] == [uploaded.cplAsset]
    assert next(iter(api.photos.all)).download() == jpeg(5)


def test_an_upload_has_its_date_from_its_own_header(api, library, tmp_path):
    taken = datetime(2021, 7, 3, 21, 12, 5, tzinfo=UTC).astimezone(timezone(timedelta(hours=2)))
    write_jpeg(tmp_path / "a.jpg", Image.new("RGB", (64, 48)), Shot(taken, "Apple", "iPhone 12"))
    api.photos.private_client.upload_file(str(tmp_path / "a.jpg"), zone_name="PrimarySync")
    (asset,) = library.assets
    assert (asset.taken, asset.offset_seconds) == (taken, 7200)


def test_a_lookup_tells_whether_bytes_are_there_and_what_became_of_them(api, library):
    asset = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    names = [asset.master_name, asset.record_name, _checksum(b"not there")]
    master, found, missing = api.photos.private_client.lookup(record_names=names, zone_id=ZONE).records
    assert (master.recordType, found.recordType) == ("CPLMaster", "CPLAsset")
    assert found.fields.get_value("masterRef").recordName == asset.master_name
    assert isinstance(missing, CKErrorItem) and missing.serverErrorCode == "NOT_FOUND"
    library.purge(asset)
    gone = api.photos.private_client.lookup(record_names=names[:2], zone_id=ZONE).records
    assert [record.serverErrorCode for record in gone] == ["NOT_FOUND", "NOT_FOUND"]


def test_a_deletion_needs_the_latest_change_tag(api, library):
    one, two = fill(library, 2)
    tags = {asset.record_name: asset.tag for asset in (one, two)}
    library.favourite(two, True)
    with pytest.raises(PyiCloudAPIResponseException, match=r"CONFLICT.*") as refused:
        _delete(api, tags, atomic=True)
    assert "ATOMIC_ERROR" in str(refused.value)
    assert not one.deleted and not two.deleted

    with pytest.raises(PyiCloudAPIResponseException, match="CONFLICT"):
        _delete(api, tags, atomic=False)
    assert one.deleted and not two.deleted, "a failure is told though the other one was deleted"

    records = _delete(api, {two.record_name: two.tag}, atomic=False).records
    assert [record.fields.get_value("isDeleted") for record in records] == [1]
    assert two.deleted and records[0].recordChangeTag == two.tag
    assert len(api.photos.all) == 0 and len(api.photos.albums["Recently Deleted"]) == 2


def test_pyiclouds_own_favourite_and_deletion_work(api, library):
    asset = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    photo = next(iter(api.photos.all))
    assert photo.favorite() and asset.favourite
    assert photo.delete() and asset.deleted
    library.restore(asset)
    assert len(api.photos.all) == 1


def test_an_upload_of_what_was_deleted_makes_a_new_asset(api, library, tmp_path):
    old = library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    library.delete(old)
    path = _written(tmp_path / "a.jpg", jpeg(1))
    uploaded = api.photos.private_client.upload_file(str(path), zone_name="PrimarySync")
    assert not uploaded.is_duplicate and uploaded.cplAsset != old.record_name


def test_an_upload_is_not_seen_at_once(api, icloud, library, tmp_path):
    icloud.faults.add(Fault("not_visible", seconds=1.0))
    path = _written(tmp_path / "a.jpg", jpeg(1))
    token = api.photos.sync_cursor()
    client = api.photos.private_client
    uploaded = client.upload_file(str(path), zone_name="PrimarySync")
    names = [uploaded.cplMaster, uploaded.cplAsset]
    records = client.lookup(record_names=names, zone_id=ZONE).records
    assert [record.serverErrorCode for record in records] == ["NOT_FOUND", "NOT_FOUND"]
    assert client.upload_file(str(path), zone_name="PrimarySync").is_duplicate
    assert list(api.photos.iter_changes(since=token)) == [] and len(list(api.photos.all)) == 0
    _wait_until(lambda: len(library.assets) == 1)
    assert {change.record_name for change in api.photos.iter_changes(since=token)} == set(names)


def _delete(api, tags: dict[str, str], atomic: bool):
    operations = [
        CKModifyOperation(
            operationType="update",
            record=CKWriteRecord(
                recordName=name,
                recordType="CPLAsset",
                recordChangeTag=tag,
                fields={"isDeleted": {"type": "INT64", "value": 1}},
            ),
        )
        for name, tag in tags.items()
    ]
    return api.photos.private_client.modify(operations=operations, zone_id=ZONE, atomic=atomic)


def _filter(name: str, kind: str, value: object) -> dict[str, object]:
    return {"fieldName": name, "comparator": "EQUALS", "fieldValue": {"type": kind, "value": value}}


def _name(photo) -> str:
    return photo.master_record.fields.get_value("filenameEnc").decode()


def _checksum(body: bytes) -> str:
    checksum = AppleChecksum()
    checksum.update(body)
    return checksum.value()


def _written(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def _wait_until(done) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
