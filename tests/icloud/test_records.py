"""What Apple's records say, whatever stands in them: assets, their parts, and names that are safe as files' names."""

from __future__ import annotations

import base64
import json
import os
import plistlib
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.discovery import DateRules
from pipeline.icloud_sync import _roles, _row, capture_date
from resources.icloud_records import (
    DESIRED_KEYS,
    PART_FIELDS,
    Asset,
    Record,
    asset_of,
    download_url,
    listed_checksum,
    read_record,
)
from services.icloud_standin.library import Library
from services.icloud_standin.records import Wire
from tests.icloud_library import NFC_NAME, NFD_NAME, jpeg, movie, raw

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
RULES = DateRules("Europe/Berlin", datetime(1990, 1, 1).date(), datetime(2026, 11, 21, tzinfo=UTC))
RECORDINGS = Path(os.environ.get("MEDIAPIPE_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))


def library() -> Library:
    from threading import RLock

    return Library("PrimarySync", "_owner", True, RLock())


def wired(shelf: Library, one: Any) -> dict[str, Any]:
    """A record as the stand-in sends it."""
    return Wire(lambda content: f"https://cvws.icloud-content.com/{content.size}").record(shelf, one, DESIRED_KEYS)


def read(shelf: Library, one: Any) -> Record:
    record = read_record(wired(shelf, one))
    assert record is not None
    return record


def added(name: str = "IMG_0001.HEIC", **given: Any) -> Asset:
    """What is read of an asset that a phone added."""
    shelf = library()
    one = shelf.add(name, given.pop("body", jpeg(1)), taken=NOON, offset_seconds=7200, **given)
    return asset_of(read(shelf, one), read(shelf, one.master))


def names(asset: Asset) -> dict[str, str]:
    return {part.role: part.name for part in asset.parts}


# ------------------------------------------------------------------ what is read


def test_an_asset_is_read_with_all_that_belongs_to_it() -> None:
    asset = added(
        live=movie(1), edited=jpeg(1, "edited"), favourite=True, hidden=True, caption="Wörter", title="Titel",
        location=(27.7, 85.3), burst="B",
    )  # fmt: skip
    assert (asset.taken, asset.offset_seconds, asset.favourite, asset.hidden) == (NOON, 7200, True, True)
    assert (asset.caption, asset.title, asset.location, asset.burst) == ("Wörter", "Titel", (27.7, 85.3), "B")
    assert not asset.deleted and asset.kinds == ["live", "edited", "burst"]
    assert [(part.role, part.size) for part in asset.parts] == [
        ("original", len(jpeg(1))),
        ("live_video", len(movie(1))),
        ("edit", len(jpeg(1, "edited"))),
    ]


def test_parts_are_named_as_a_phone_names_them() -> None:
    asset = added(live=movie(1), edited=jpeg(1, "edited"), edited_video=movie(2))
    assert names(asset) == {
        "original": "IMG_0001.HEIC",
        "live_video": "IMG_0001.MOV",
        "edit": "IMG_E0001.JPG",
        "edit_video": "IMG_E0001.MOV",
    }
    assert names(added("Strand.jpg", edited=jpeg(1, "edited")))["edit"] == "Strand-edited.JPG"


def test_two_parts_of_one_name_are_told_apart() -> None:
    assert names(added("IMG_0001.MOV", body=movie(1), live=movie(2))) == {
        "original": "IMG_0001.MOV",
        "live_video": "IMG_0001-live-video.MOV",
    }
    assert names(added("clip.mov", body=movie(1), live=movie(2)))["live_video"] == "clip-live-video.MOV"


@pytest.mark.parametrize("name", [NFC_NAME, NFD_NAME, "日本 🎞️.HEIC", "IMG_0001 (2).JPG"])
def test_a_name_keeps_its_form(name: str) -> None:
    assert names(added(name))["original"] == name


@pytest.mark.parametrize(
    "given, kept",
    [
        ("a/b.JPG", "a_b.JPG"),
        ("..\\..\\b.JPG", None),
        ("a\x00b.JPG", "ab.JPG"),
        ("a\nb.JPG", "a_b.JPG"),
        ("..", None),
        (".", None),
        (".JPG", None),
        ("/", "_.JPG"),
        ("", None),
        (None, None),
        ("ohne Endung", "ohne Endung.JPG"),
        ("2024.05.17", "2024.05.17.JPG"),
    ],
)
def test_a_name_that_can_be_no_files_name_becomes_one(given: str | None, kept: str | None) -> None:
    field = {} if given is None else {"filenameEnc": encrypted(given)}
    (part,) = asset_of(plain_asset(), master(**field)).parts
    if kept is None:
        assert part.name.startswith("iCloud_") and part.name.endswith(".JPG")
    else:
        assert part.name == kept


def test_long_names_are_cut_to_what_a_file_may_have() -> None:
    for name in ("ü" * 300 + ".JPG", "a." + "x" * 300, "🎞️" * 99):
        (part,) = asset_of(plain_asset(), master(filenameEnc=encrypted(name))).parts
        assert len(part.name.encode()) < 255 and part.name.endswith((".JPG", ".jpg"))


def test_of_a_raw_and_jpeg_pair_the_picture_leads_whichever_apple_calls_the_original() -> None:
    pair = added("IMG_0003.JPG", raw=raw(3))
    assert names(pair) == {"original": "IMG_0003.JPG", "raw": "IMG_0003.DNG"}
    assert _roles(pair.parts) == {"IMG_0003.JPG": "lead", "IMG_0003.DNG": "raw"}
    files = {"resOriginalRes": resource("A"), "resOriginalFileType": typed("com.adobe.raw-image")}
    other = {"resOriginalAltRes": resource("B"), "resOriginalAltFileType": typed("public.jpeg")}
    turned = asset_of(plain_asset(), master(filenameEnc=encrypted("IMG_0003.DNG"), **files, **other))
    assert names(turned) == {"original": "IMG_0003.DNG", "raw": "IMG_0003.JPG"}
    assert _roles(turned.parts) == {"IMG_0003.DNG": "raw", "IMG_0003.JPG": "lead"}
    assert turned.kinds == ["raw pair"]


def test_words_are_read_from_base64_and_from_plain_text() -> None:
    fields = {"captionEnc": encrypted("Über"), "extendedDescEnc": typed("aGFsbG8h")}
    record = read_record(asset_record(**fields))
    assert record is not None
    assert (record.fields["title"], record.fields["caption"]) == ("Über", "aGFsbG8h"), "a STRING is no base64"
    older = read_record(asset_record(captionEnc={"value": "plain words"}))
    assert older is not None and older.fields["title"] == "plain words"


def test_words_that_no_catalog_takes_lose_what_is_wrong_with_them() -> None:
    record = read_record(asset_record(captionEnc=encrypted("a\x00b"), extendedDescEnc=typed("x\ud800y")))
    assert record is not None
    assert (record.fields["title"], record.fields["caption"]) == ("ab", "x?y")


@pytest.mark.parametrize("form", [plistlib.FMT_BINARY, plistlib.FMT_XML])
def test_a_place_is_read_from_a_property_list(form: Any) -> None:
    packed = base64.b64encode(plistlib.dumps({"lat": -36.85, "lon": 174.76, "alt": 3.0}, fmt=form)).decode()
    record = read_record(asset_record(locationEnc={"value": packed, "type": "ENCRYPTED_BYTES"}))
    assert record is not None and record.fields["location"] == [-36.85, 174.76]


@pytest.mark.parametrize(
    "place",
    [b"", b"bplist00", b"<plist><dict>", b"<?xml version='1.0'?><plist><array/></plist>", b"\xff" * 40],
)
def test_a_broken_place_costs_no_photo(place: bytes) -> None:
    record = read_record(asset_record(locationEnc={"value": base64.b64encode(place).decode()}))
    assert record is not None and record.fields["location"] is None


@pytest.mark.parametrize(
    "value", [pytest.param(10**400, id="huge"), float("nan"), float("inf"), "1716000000000", True, None, [], 2**63]
)
def test_a_number_that_is_none_is_left_out(value: Any) -> None:
    record = read_record(asset_record(assetDate={"value": value}, timeZoneOffset={"value": value}))
    assert record is not None and record.fields["taken"] is None and record.fields["offset"] is None


@pytest.mark.parametrize("milliseconds", [253_402_300_799_000, -62_135_596_800_000, 2**62, -(2**62)])
def test_a_date_at_the_end_of_time_is_still_a_date(milliseconds: int) -> None:
    asset = read_record(asset_record(assetDate={"value": milliseconds}, timeZoneOffset={"value": -3600}))
    assert asset is not None
    assert capture_date(asset_of(asset, plain_master()), RULES).local.year in (1, 9999, 2026)


def test_a_part_without_checksum_or_size_is_no_part() -> None:
    for broken in ({"fileChecksum": "A"}, {"size": 3}, {"fileChecksum": "A", "size": -1}, {"fileChecksum": 5}, {}, 7):
        assert asset_of(plain_asset(), master(resOriginalRes={"value": broken})).parts == ()


def test_a_record_in_whose_place_an_error_stands_says_nothing() -> None:
    assert read_record({"recordName": "A", "serverErrorCode": "NOT_FOUND", "reason": "Record not found"}) is None
    assert read_record({"recordName": "A", "recordType": "CPLFaceCrop", "fields": {}}) is None
    assert read_record({"recordType": "CPLAsset", "fields": {}}) is None
    tombstone = read_record({"recordName": "A", "deleted": True})
    assert tombstone is not None and tombstone.gone and tombstone.kind is None


def test_an_address_is_taken_from_a_record_that_has_one() -> None:
    shelf = library()
    one = shelf.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    found = wired(shelf, one.master)
    assert str(download_url(found, "resOriginalRes")).startswith("https://")
    assert listed_checksum(found, "resOriginalRes") == one.checksum
    for nothing in ({}, {"fields": None}, {"fields": {"resOriginalRes": None}}, {"fields": {"resOriginalRes": {}}}):
        assert download_url(nothing, "resOriginalRes") is None and listed_checksum(nothing, "resOriginalRes") is None


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="no recorded sessions here; MEDIAPIPE_RECORDINGS names their folder"
)
@pytest.mark.parametrize(
    "file", ["listing_photos_missing_downloadUrl.yml", "listing_photos_raw_alt_adj.yml", "listing_photos.yml"]
)
def test_recorded_listings_are_read_damaged_records_among_them(file: str) -> None:
    records: dict[str, Record] = {}
    urls = 0
    for one in recorded(RECORDINGS / file):
        if (record := read_record(one)) is not None:
            records[record.name] = record
            urls += sum(download_url(one, field) is not None for field in PART_FIELDS)
    assets = [
        asset_of(one, records[one.fields["master"]])
        for one in records.values()
        if one.kind == "asset" and one.fields["master"] in records
    ]
    assert assets and all(asset.taken for asset in assets)
    parts = [part for asset in assets for part in asset.parts]
    assert all("/" not in part.name and part.size > 0 for part in parts)
    print(f"\n{file}: {len(assets)} assets, {len(parts)} parts, {urls} addresses")


def recorded(path: Path) -> list[Mapping[str, Any]]:
    """Every record in the answers of a recorded session."""
    yaml = pytest.importorskip("yaml")

    class Loader(yaml.SafeLoader):
        """Reads what Python 2 wrote."""

    Loader.add_constructor("tag:yaml.org,2002:python/unicode", lambda loader, node: node.value)
    found: list[Mapping[str, Any]] = []
    for exchange in yaml.load(path.read_text("utf-8"), Loader)["interactions"]:
        body = exchange["response"]["body"].get("string", "")
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        try:
            answer = json.loads(text)
        except ValueError:
            continue
        if isinstance(answer, dict):
            found += answer.get("records", [])
    return found


# ------------------------------------------------------------------ whatever comes


def encrypted(text: str) -> dict[str, Any]:
    return {"value": base64.b64encode(text.encode()).decode(), "type": "ENCRYPTED_BYTES"}


def typed(value: object) -> dict[str, Any]:
    return {"value": value, "type": "STRING"}


def resource(checksum: str) -> dict[str, Any]:
    return {"value": {"fileChecksum": checksum, "size": 10}}


def master(**fields: Any) -> Record:
    original = {"resOriginalRes": resource("AQ"), "resOriginalFileType": typed("public.jpeg")}
    record = read_record({"recordName": "AQmaster==", "recordType": "CPLMaster", "fields": {**original, **fields}})
    assert record is not None
    return record


def plain_master() -> Record:
    return master()


def asset_record(**fields: Any) -> dict[str, Any]:
    return {"recordName": "UUID", "recordType": "CPLAsset", "fields": fields}


def plain_asset() -> Record:
    record = read_record(asset_record())
    assert record is not None
    return record


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=40)
    | st.sampled_from(["public.jpeg", "com.adobe.raw-image", "com.apple.quicktime-movie", "IMG_0001.JPG", "..", "a/b"])
    | st.binary(max_size=30).map(lambda one: base64.b64encode(one).decode())
)
anything = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=6), scalars, max_size=2)
entries = st.builds(lambda value, kind: {"value": value, "type": kind}, anything, anything) | anything
files = st.builds(
    lambda checksum, size: {"value": {"fileChecksum": checksum, "size": size}},
    anything | st.text(min_size=1),
    anything | st.integers(0, 10**10),
)
field_maps = st.dictionaries(st.sampled_from(DESIRED_KEYS), entries, max_size=6).flatmap(
    lambda fields: st.dictionaries(st.sampled_from(PART_FIELDS), files, max_size=5).map(lambda more: {**fields, **more})
)
records = st.fixed_dictionaries(
    {
        "recordName": st.text(min_size=1, max_size=30) | anything,
        "recordType": st.sampled_from(["CPLMaster", "CPLAsset", "CPLAlbum", "CPLContainerRelation"]) | anything,
    },
    optional={"fields": field_maps | anything, "deleted": anything, "recordChangeTag": anything},
)


@settings(max_examples=150, deadline=None)
@given(records, field_maps, field_maps)
def test_no_record_stops_a_sync_and_every_name_is_a_safe_one(
    one: dict[str, Any], of_asset: dict[str, Any], of_master: dict[str, Any]
) -> None:
    for record in (one, {**one, "recordType": "CPLAsset"}, {**one, "recordType": "CPLMaster"}):
        check_storable(read_record(record))
        for field in PART_FIELDS:
            download_url(record, field)
    half = read_record({"recordName": "UUID", "recordType": "CPLAsset", "fields": of_asset})
    other = read_record({"recordName": "A+/b=", "recordType": "CPLMaster", "fields": of_master})
    assert half is not None and other is not None
    asset = asset_of(half, other)
    check_names(asset)
    check_storable(half)
    taken = capture_date(asset, RULES)
    assert taken.local.tzinfo is None and RULES.partition(taken.local.date())


def check_names(asset: Asset) -> None:
    found = [part.name for part in asset.parts]
    for name in found:
        assert name not in ("", ".", "..") and not set(name) & set("/\\\0") and name == os.path.basename(name)
        assert len(name.encode("utf-8", "strict")) <= 255
    assert len({unicodedata.normalize("NFC", name).casefold() for name in found}) == len(found)


def check_storable(record: Record | None) -> None:
    """The catalog takes it: no NaN, no zero byte, no half of a surrogate pair, no name that is longer than Apple's."""
    if record is None or record.gone:
        return
    stored = json.dumps(_row(record), allow_nan=False)
    assert "\\u0000" not in stored
    assert json.loads(stored)["name"] == record.name and len(record.name) <= 255
    json.dumps(_row(record), ensure_ascii=False).encode("utf-8", "strict")
