"""When a picture was taken: which source is believed, and in whose clock."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from media.capture import CaptureDate, read_capture_date
from media.kinds import HEADER_CAP, Header, identify
from media.metadata import read_exif, read_identifiers, read_quicktime

SEEN = datetime(2024, 5, 1, 10, 0, tzinfo=UTC)
MTIME = int(datetime(2016, 8, 20, 22, 30, tzinfo=UTC).timestamp()) * 10**9
BERLIN = "Europe/Berlin"


def date_of(path: Path, **changes: Any) -> CaptureDate:
    options: dict[str, Any] = {"timezone": BERLIN, "mtime_ns": MTIME, "first_seen": SEEN} | changes
    return read_capture_date(path, **options)


def jpeg(
    path: Path, main: dict[int, Any] | None = None, inner: dict[int, Any] | None = None, kind: str = "JPEG"
) -> Path:
    exif = Image.Exif()
    exif.update({0x0131: "test"} | (main or {}))  # Pillow drops a block without a main directory
    exif.get_ifd(0x8769).update(inner or {})
    Image.new("RGB", (16, 16), "red").save(path, kind, exif=exif)
    return path


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def movie(path: Path, created: datetime | int = 0, keys: dict[str, str] | None = None, udta: bytes = b"") -> Path:
    seconds = created if isinstance(created, int) else int((created - datetime(1904, 1, 1, tzinfo=UTC)).total_seconds())
    names = [box(b"mdta", name.encode()) for name in keys or {}]
    values = [
        struct.pack(">I", 24 + len(text.encode()))
        + struct.pack(">I", number)
        + box(b"data", bytes([0, 0, 0, 1]), bytes(4), text.encode())
        for number, text in enumerate((keys or {}).values(), 1)
    ]
    hdlr = box(b"hdlr", bytes(8), b"mdta", bytes(13))
    meta = box(b"meta", hdlr, box(b"keys", bytes(4), struct.pack(">I", len(names)), *names), box(b"ilst", *values))
    mvhd = box(b"mvhd", bytes(4), struct.pack(">II", seconds, seconds), bytes(88))
    path.write_bytes(
        box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + box(b"mdat", bytes(200_000)) + box(b"moov", mvhd, meta, udta)
    )
    return path


def test_exif_with_an_offset_is_the_local_time_and_its_offset(tmp_path: Path) -> None:
    inner = {0x9003: "2019:07:04 23:59:58", 0x9011: "-03:30", 0x9291: "25"}
    assert date_of(jpeg(tmp_path / "a.jpg", inner=inner)) == CaptureDate(
        datetime(2019, 7, 4, 23, 59, 58, 250_000), -210, "exif_offset"
    )


def test_exif_without_an_offset_is_no_instant_and_no_zone_is_guessed(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", inner={0x9003: "2019:07:04 12:34:56"})
    assert date_of(path) == CaptureDate(datetime(2019, 7, 4, 12, 34, 56), None, "exif")


def test_the_original_date_goes_before_the_digitized_and_that_before_the_changed(tmp_path: Path) -> None:
    three = {0x9003: "2001:01:01 00:00:00", 0x9004: "2002:02:02 00:00:00"}
    assert date_of(jpeg(tmp_path / "a.jpg", {0x0132: "2003:03:03 00:00:00"}, three)).local.year == 2001
    assert (
        date_of(jpeg(tmp_path / "b.jpg", {0x0132: "2003:03:03 00:00:00"}, {0x9004: three[0x9004]})).local.year == 2002
    )
    assert date_of(jpeg(tmp_path / "c.jpg", {0x0132: "2003:03:03 00:00:00"})).local.year == 2003


@pytest.mark.parametrize(
    "impossible",
    [
        "0000:00:00 00:00:00",
        "2019:13:01 00:00:00",
        "2019:02:30 10:00:00",
        "1700:01:01 00:00:00",
        "    :  :     :  :  ",
        "x",
    ],
)
def test_an_impossible_date_is_passed_over(tmp_path: Path, impossible: str) -> None:
    path = jpeg(tmp_path / "a.jpg", {0x0132: "2003:03:03 01:02:03"}, {0x9003: impossible})
    assert date_of(path).local == datetime(2003, 3, 3, 1, 2, 3)


@pytest.mark.parametrize("impossible", ["+99:00", "  :  ", "+14:30", "abc"])
def test_an_impossible_offset_is_no_offset(tmp_path: Path, impossible: str) -> None:
    path = jpeg(tmp_path / "a.jpg", inner={0x9003: "2019:07:04 12:34:56", 0x9011: impossible})
    assert date_of(path) == CaptureDate(datetime(2019, 7, 4, 12, 34, 56), None, "exif")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_the_date_is_found_in_every_container(tmp_path: Path, kind: str) -> None:
    path = jpeg(tmp_path / "a.bin", inner={0x9003: "2019:07:04 12:34:56", 0x9011: "+02:00"}, kind=kind)
    assert date_of(path) == CaptureDate(datetime(2019, 7, 4, 12, 34, 56), 120, "exif_offset")


def test_the_date_is_found_in_a_tiff_of_either_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for order in ("<", ">"):
        exif = Image.Exif()
        exif.endian = order
        exif[0x0131] = "test"
        exif.get_ifd(0x8769)[0x9003] = "2019:07:04 12:34:56"
        path.write_bytes(exif.tobytes()[6:])
        assert date_of(path) == CaptureDate(datetime(2019, 7, 4, 12, 34, 56), None, "exif")


def test_real_files_have_the_dates_that_exiftool_finds(corpus: Path) -> None:
    good = corpus / "good"
    for name, stamp, offset, provenance in (
        ("canon_pruned.cr3", "2018-02-21 12:08:56.210000", 0, "exif_offset"),
        ("nikon_pruned.nef", "2004-06-09 16:02:35", None, "exif"),
        ("fuji_pruned.raf", "2007-05-22 13:58:30", None, "exif"),
        ("iphone12_pruned.dng", "2020-12-29 14:24:45.700000", -300, "exif_offset"),
        ("iphone13_portrait.heic", "2022-02-16 12:55:41.762000", 60, "exif_offset"),
        ("iphone_spatial_photo.heic", "2024-04-22 14:38:09", 120, "exif_offset"),
        ("iphone_with_gps.mov", "2019-07-24 11:25:40", 180, "quicktime"),
        ("hevc_hvc1.mp4", "2023-09-22 18:35:02", 120, "quicktime_utc"),
        ("galaxy_s9_gps.jpg", "2020-08-09 14:11:33.095500", None, "exif"),
    ):
        assert date_of(good / name) == CaptureDate(datetime.fromisoformat(stamp), offset, provenance), name


def test_a_film_with_a_creation_date_keeps_its_own_offset(tmp_path: Path) -> None:
    path = movie(
        tmp_path / "a.mov",
        datetime(2019, 7, 24, 8, 25, tzinfo=UTC),
        {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.creationdate": "2019-07-24T17:55:40+0930"},
    )
    assert date_of(path) == CaptureDate(datetime(2019, 7, 24, 17, 55, 40), 570, "quicktime")


def test_a_film_that_counts_in_utc_is_told_in_the_zone_that_was_set(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.mov", datetime(2019, 12, 31, 23, 30, tzinfo=UTC))
    assert date_of(path) == CaptureDate(datetime(2020, 1, 1, 0, 30), 60, "quicktime_utc")
    assert date_of(path, timezone="Pacific/Auckland").local == datetime(2020, 1, 1, 12, 30)


@pytest.mark.parametrize("unset", [0, 2_082_844_800])
def test_a_film_whose_camera_had_no_clock_falls_through_to_its_name(tmp_path: Path, unset: int) -> None:
    path = movie(tmp_path / "VID_20190704_123456.mp4", unset)
    assert date_of(path) == CaptureDate(datetime(2019, 7, 4, 12, 34, 56), None, "filename")


def test_an_older_film_tells_its_day_in_its_user_data(tmp_path: Path) -> None:
    text = b"2011-05-06T07:08:09+0200"
    path = movie(tmp_path / "a.mov", 0, udta=box(b"udta", box(b"\xa9day", struct.pack(">HH", len(text), 0), text)))
    assert date_of(path) == CaptureDate(datetime(2011, 5, 6, 7, 8, 9), 120, "quicktime")


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("IMG_20190704_123456.jpg", "2019-07-04 12:34:56"),
        ("20190704_123456.jpg", "2019-07-04 12:34:56"),
        ("20190704123456.jpg", "2019-07-04 12:34:56"),
        ("2019-07-04 12.34.56.jpg", "2019-07-04 12:34:56"),
        ("Screenshot_2019-07-04-12-34-56.png", "2019-07-04 12:34:56"),
        ("Screenshot_20190704-123456_Chrome.png", "2019-07-04 12:34:56"),
        ("VID-20190704-WA0001.mp4", "2019-07-04 00:00:00"),
        ("signal-2019-07-04-123456.jpg", "2019-07-04 12:34:56"),
        ("signal-2019-07-04-12-34-56-789.jpg", "2019-07-04 12:34:56"),
        ("WhatsApp Image 2019-07-04 at 12.34.56.jpeg", "2019-07-04 12:34:56"),
        ("Screen Shot 2019-07-04 at 1.23.45 PM.png", "2019-07-04 13:23:45"),
        ("Screen Shot 2019-07-04 at 12.03.45 AM.png", "2019-07-04 00:03:45"),
        ("IMG_20190704_123456789_HDR.jpg", "2019-07-04 12:34:56.789000"),
    ],
)
def test_the_name_tells_the_date_where_the_header_does_not(tmp_path: Path, name: str, local: str) -> None:
    (tmp_path / name).write_bytes(b"nothing in here")
    assert date_of(tmp_path / name) == CaptureDate(datetime.fromisoformat(local), None, "filename")


def test_names_of_the_pixel_camera_count_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "PXL_20210101_231122333.jpg"
    path.write_bytes(b"nothing in here")
    assert date_of(path) == CaptureDate(datetime(2021, 1, 2, 0, 11, 22, 333_000), 60, "filename")


@pytest.mark.parametrize(
    "name", ["IMG_1234.jpg", "20191350_111111.jpg", "2019-02-30.jpg", "1920190704.jpg", "DSC_0704.jpg"]
)
def test_a_name_that_holds_no_date_is_not_forced_into_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing in here")
    assert date_of(tmp_path / name) == CaptureDate(datetime(2016, 8, 21, 0, 30), 120, "file_time")


def test_a_takeout_sidecar_goes_before_the_name(tmp_path: Path) -> None:
    (tmp_path / "IMG_20190704_123456.jpg").write_bytes(b"nothing in here")
    side = tmp_path / "IMG.json"
    side.write_text(json.dumps({"title": "x", "photoTakenTime": {"timestamp": "1499169600"}}))
    date = date_of(tmp_path / "IMG_20190704_123456.jpg", sidecars=[tmp_path / "gone.json", side])
    assert date == CaptureDate(datetime(2017, 7, 4, 14, 0), 120, "sidecar")


@pytest.mark.parametrize(
    "text",
    [
        '<rdf:Description exif:DateTimeOriginal="2015-03-02T01:02:03+05:30" xmp:CreateDate="2001-01-01"/>',
        "<photoshop:DateCreated>2015-03-02T01:02:03+05:30</photoshop:DateCreated>",
    ],
)
def test_an_xmp_sidecar_tells_the_date(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing in here")
    (tmp_path / "a.xmp").write_text(f"<x:xmpmeta>{text}</x:xmpmeta>")
    assert date_of(tmp_path / "a.jpg", sidecars=[str(tmp_path / "a.xmp")]) == CaptureDate(
        datetime(2015, 3, 2, 1, 2, 3), 330, "sidecar"
    )


def test_the_header_goes_before_a_sidecar(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_text('<x exif:DateTimeOriginal="2015-03-02T01:02:03"/>')
    path = jpeg(tmp_path / "a.jpg", inner={0x9003: "2019:07:04 12:34:56"})
    assert date_of(path, sidecars=[tmp_path / "a.xmp"]).provenance == "exif"


@pytest.mark.parametrize("mtime", [0, -(10**18), 315_532_800 * 10**9, 2**80, int(SEEN.timestamp() + 10**6) * 10**9])
def test_an_unbelievable_file_time_gives_way_to_the_first_sight(tmp_path: Path, mtime: int) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing in here")
    assert date_of(tmp_path / "a.jpg", mtime_ns=mtime) == CaptureDate(datetime(2024, 5, 1, 12, 0), 120, "first_seen")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        date_of(tmp_path / "gone.jpg")


def test_the_live_photo_id_is_read_from_apples_maker_note_and_from_the_film(tmp_path: Path) -> None:
    text = b"7A7D4193-1D91-4907-98F8-3B7E41D991D7\0"
    entry = struct.pack(">HHHII", 1, 0x0011, 2, len(text), 14 + 2 + 12 + 4) + bytes(4)
    note = b"Apple iOS\0\0\x01MM" + entry + text
    still = jpeg(tmp_path / "a.jpg", {0x010F: "Apple"}, {0x927C: note, 0x9291: "123", 0xA420: "unique"})
    film = movie(tmp_path / "a.mov", 0, {"com.apple.quicktime.content.identifier": text[:-1].decode()})
    photo, video = identify(still), identify(film)
    assert photo is not None
    assert video is not None
    found = read_identifiers(still, photo)
    assert found["content_identifier"] == read_identifiers(film, video)["content_identifier"] == text[:-1].decode()
    assert (found["make"], found["subsec"], found["image_unique_id"], found["has_gps"]) == (
        "Apple",
        "123",
        "unique",
        False,
    )


def test_gps_is_seen_where_exiftool_sees_it_and_an_empty_block_is_none(corpus: Path) -> None:
    with_gps = {
        "phone_1440_gps.mp4",
        "galaxy_s7_orientation6_gps.jpg",
        "nexus4_portrait_gps.jpg",
        "iphone12_pruned.dng",
        "made_4k30_hevc_10bit_hlg.mov",
        "iphone_12mp.heic",
        "pixel_night.mp4",
        "pixel_2018_gps.jpg",
        "iphone6_hdr_gps.jpg",
        "iphone_IMG_2682.heic",
        "galaxy_s9_gps.jpg",
        "iphone7_12mp.heic",
        "xiaomi_gps.heic",
        "iphone5_orientation3_gps.jpg",
        "iphone_spatial_photo.heic",
        "iphone_with_gps.mov",
    }
    found = set()
    for path in (corpus / "good").rglob("*.*"):
        identity = identify(path)
        assert identity is not None
        if read_identifiers(path, identity)["has_gps"]:
            found.add(path.name)
    assert found == with_gps


MAGICS = [
    b"",
    b"\xff\xd8\xff\xe1\x10\0Exif\0\0II*\0\x08\0\0\0",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"\0\0\0\x10ftypheic",
    b"\0\0\0\x10ftypqt  \0\0\0\0",
    b"\0\0\0\x10ftypcrx \0\0\0\0",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\0\0\0\0WEBP",
    b"RIFF\0\0\0\0AVI ",
    b"FUJIFILMCCD-RAW",
    b"\x1aE\xdf\xa3",
]
PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"\0\0\0\x40moov",
            b"\0\0\0\x30meta\0\0\0\0",
            b"\0\0\0\x20iloc",
            b"\0\0\0\x20iinf",
            b"EXIF",
            b"IDIT",
            b"\0\0\0\x20keys",
            b"\0\0\0\x20ilst",
            b"\0\0\0\x20mvhd",
            b"\x69\x87\x04\0\x01\0\0\0",
            b"\xff" * 8,
        ]
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(magic=st.sampled_from(MAGICS), pieces=st.lists(PIECES, max_size=12))
def test_no_bytes_break_the_reading_and_the_cap_holds(tmp_path: Path, magic: bytes, pieces: list[bytes]) -> None:
    path = tmp_path / "a.bin"
    with open(path, "wb") as handle:
        handle.write(magic + b"".join(pieces))
        handle.truncate(40 << 20)  # so that wild offsets point into the file
    date = date_of(path, sidecars=[path])
    assert date.local.year >= 1826
    with Header(path) as header:
        read_exif(header, name="a.bin")
        read_quicktime(header)
        assert header.spent <= HEADER_CAP


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["iphone_12mp.heic", "canon_pruned.cr3", "iphone12_pruned.dng", "live_photo/IMG_0001.mov"]),
    changes=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=30),
)
def test_a_corrupted_header_never_breaks_the_reading(
    tmp_path: Path, corpus: Path, name: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray((corpus / "good" / name).read_bytes()[:200_000])
    for at, value in changes:
        data[min(at, len(data) - 1)] = value
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert isinstance(date_of(path), CaptureDate)
    if identity := identify(path):
        read_identifiers(path, identity)


def test_first_seen_may_be_in_any_zone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing in here")
    assert date_of(tmp_path / "a.jpg", mtime_ns=0, first_seen=SEEN + timedelta(0)).provenance == "first_seen"
