"""Telling files apart by their bytes, and their names only where the bytes cannot tell."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from media.kinds import Header, Kind, boxes, identify, kind_of_name


def format_of(path: Path) -> str | None:
    identity = identify(path)
    return identity.format if identity else None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("IMG_0001.JPG", Kind.PHOTO),
        ("a.b.jPeG", Kind.PHOTO),
        ("x.HEIC", Kind.PHOTO),
        ("x.hif", Kind.PHOTO),
        ("x.Nef", Kind.RAW),
        ("x.cr3", Kind.RAW),
        ("x.DNG", Kind.RAW),
        ("x.MOV", Kind.VIDEO),
        ("x.m2ts", Kind.VIDEO),
        ("x.aae", Kind.SIDECAR),
        ("IMG.jpg.json", Kind.SIDECAR),
        ("x.XMP", Kind.SIDECAR),
        ("x.txt", None),
        ("jpg", None),
        (".jpg", None),
        ("", None),
    ],
)
def test_a_name_promises_a_kind_in_any_case(name: str, kind: Kind | None) -> None:
    assert kind_of_name(name) is kind


def test_a_jpeg_under_another_name_is_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "IMG.HEIC"
    Image.new("RGB", (8, 8)).save(path, "JPEG")
    identity = identify(path)
    assert identity is not None
    assert (identity.kind, identity.format, identity.mime, identity.extension) == (
        Kind.PHOTO, "jpeg", "image/jpeg", ".jpg",
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"x", b"not a picture\n", bytes(4096), b"\xff\xd8"])
def test_what_is_no_media_is_not_identified_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    for name in ("a.heic", "a.jpg", "a.mov", "a.nef", "a.json", "a.xmp"):
        (tmp_path / name).write_bytes(content)
        assert identify(tmp_path / name) is None


def test_a_cut_off_picture_keeps_its_identity(tmp_path: Path, corpus: Path) -> None:
    for name in ("iphone_12mp.heic", "rgba.png", "galaxy_s9_gps.jpg", "iphone_with_gps.mov", "hdr_10bit_p3.avif"):
        whole = identify(corpus / "good" / name)
        cut = tmp_path / "cut"
        cut.write_bytes((corpus / "good" / name).read_bytes()[:40])
        assert whole is not None
        assert identify(cut) == whole


def test_every_good_file_is_what_its_ending_says(corpus: Path) -> None:
    for path in (corpus / "good").rglob("*.*"):
        identity = identify(path)
        assert identity is not None
        assert identity.extension == path.suffix.lower()


@pytest.mark.parametrize(
    ("brand", "others", "expected"),
    [
        (b"heic", b"mif1", "heic"), (b"mif1", b"mif1heic", "heic"), (b"mif1", b"mif1avif", "avif"),
        (b"avif", b"", "avif"), (b"crx ", b"", "cr3"), (b"qt  ", b"", "mov"), (b"isom", b"mp42", "mp4"),
        (b"3gp5", b"isom", "3gp"), (b"3g2a", b"", "3g2"), (b"M4V ", b"", "mp4"), (b"M4A ", b"isom", None),
    ],
)  # fmt: skip
def test_the_brand_tells_the_iso_formats_apart(
    tmp_path: Path, brand: bytes, others: bytes, expected: str | None
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(struct.pack(">I", 16 + len(others)) + b"ftyp" + brand + bytes(4) + others + bytes(64))
    assert format_of(path) == expected


def test_a_raw_renamed_to_tif_is_still_a_raw(tmp_path: Path, corpus: Path) -> None:
    for name, expected in (("iphone12_pruned.dng", "dng"), ("nikon_pruned.nef", "nef")):
        path = tmp_path / "renamed.tif"
        path.write_bytes((corpus / "good" / name).read_bytes())
        assert format_of(path) == expected


def test_a_plain_tiff_is_a_photo_and_a_raw_by_name_is_a_raw(tmp_path: Path) -> None:
    for name, expected in (("a.tif", "tiff"), ("a", "tiff"), ("a.ARW", "arw"), ("a.pef", "pef")):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "TIFF")
        assert format_of(tmp_path / name) == expected


def test_sidecars_go_by_name_and_need_to_look_like_it(tmp_path: Path) -> None:
    for name, content, expected in (
        ("a.AAE", b'<?xml version="1.0"?><plist/>', "aae"),
        ("b.aae", b"bplist00", "aae"),
        ("c.xmp", b"\xef\xbb\xbf<x:xmpmeta/>", "xmp"),
        ("d.json", b'\n {"photoTakenTime": 1}', "json"),
        ("e.json", b"hello", None),
        ("f.txt", b"<x:xmpmeta/>", None),
    ):
        (tmp_path / name).write_bytes(content)
        assert format_of(tmp_path / name) == expected


def test_old_films_and_streams_are_known(tmp_path: Path) -> None:
    for name, content, expected in (
        ("a.mov", b"\0\0\0\x20moov" + bytes(60), "mov"),
        ("a.mov", b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(60), "mov"),
        ("a.dat", b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(60), None),
        ("a.avi", b"RIFF\0\0\0\0AVI LIST" + bytes(60), "avi"),
        ("a.mkv", b"\x1aE\xdf\xa3\x93B\x82\x88matroska" + bytes(60), "mkv"),
        ("a.webm", b"\x1aE\xdf\xa3\x93B\x82\x84webm" + bytes(60), "webm"),
        ("a.mts", (bytes(4) + b"G" + bytes(187)) * 4, "mts"),
        ("a.ts", (b"G" + bytes(187)) * 4, "mts"),
    ):
        (tmp_path / name).write_bytes(content)
        assert format_of(tmp_path / name) == expected


def test_a_pipe_neither_blocks_nor_passes_for_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert identify(tmp_path / "a.jpg") is None


def test_a_missing_file_is_an_error_and_not_no_media(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identify(tmp_path / "gone.jpg")


def test_a_header_is_never_read_beyond_its_cap(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with open(path, "wb") as handle:
        handle.truncate(50 << 20)
    with Header(path, cap=100_000) as header:
        got = sum(len(header.at(at, 70_000)) for at in range(0, 50 << 20, 70_000))
        assert header.spent <= 100_000
        assert got <= 200_000
        assert header.at(-1, 10) == b""
        assert header.at(60 << 20, 10) == b""


def test_boxes_that_claim_nonsense_end_the_walk(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\0\0\0\x08free" + b"\0\0\0\x01long" + bytes(7) + b"\x03" + bytes(64))
    with Header(path) as header:
        assert [name for name, _, _ in boxes(header, 0, header.size)] == [b"free"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*", b"\0\0\0\x18ftyp", b"RIFF", b"\x1aE\xdf\xa3", b"G"]),
    rest=st.binary(max_size=300),
    name=st.sampled_from(["a.jpg", "a.nef", "a.json", "a.mts", "a"]),
)
def test_no_bytes_break_the_identification(tmp_path: Path, start: bytes, rest: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(start + rest)
    identify(path)
