"""JPEG: every byte of metadata survives, the picture stays the same, and whatever is doubtful is kept."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from media import jpeg, jpeg_segments
from media.jpeg_segments import JpegStructureError
from media.tiers import KeepOriginal, Made, Plan

PLAN = Plan(80, 0, "hevc", 0, True, 0.0)


def picture(width: int = 160, height: int = 120, mode: str = "RGB") -> Image.Image:
    """A smooth picture with some noise, the same each time."""
    random = np.random.default_rng(7)
    across = np.linspace(0, 255, width)[None, :, None]
    down = np.linspace(0, 255, height)[:, None, None]
    pixels = (across + down) / 2 + random.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, quality: int = 98, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def with_segments(data: bytes, *segments: bytes, trailer: bytes = b"") -> bytes:
    return data[:2] + b"".join(segments) + data[2:] + trailer


def mpf(entries: list[tuple[int, int]], order: str) -> bytes:
    """A CIPA DC-007 index segment; each entry is (size, offset from the index's own header)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    table = struct.pack(order + "HHHII", 1, 0xB002, 7, 16 * len(entries), 26) + bytes(4)
    rows = b"".join(struct.pack(order + "IIIHH", 0, size, offset, 0, 0) for size, offset in entries)
    return segment(0xE2, b"MPF\0" + head + table + rows)


def compress(tmp_path: Path, data: bytes, plan: Plan = PLAN) -> tuple[Made, bytes]:
    original, part = tmp_path / "original.jpg", tmp_path / "rendition.part"
    original.write_bytes(data)
    made = jpeg.compress(original, part, plan)
    assert original.read_bytes() == data
    return made, part.read_bytes()


def reason(tmp_path: Path, data: bytes, plan: Plan = PLAN) -> str:
    with pytest.raises(KeepOriginal) as kept:
        compress(tmp_path, data, plan)
    return str(kept.value)


MARKERS = st.sampled_from([*range(0xE0, 0xF0), 0xFE])
SEGMENTS = st.lists(st.tuples(MARKERS, st.binary(max_size=400)), max_size=8)
SOURCE, OTHER = encoded(picture()), encoded(picture(), 60, progressive=True)


@settings(max_examples=150, deadline=None)
@given(SEGMENTS, st.binary(max_size=300))
def test_every_byte_of_metadata_and_trailer_survives_a_splice(parts: list[tuple[int, bytes]], trailer: bytes) -> None:
    added = [segment(marker, payload) for marker, payload in parts if not payload.startswith(b"MPF\0")]
    original = jpeg_segments.split(with_segments(SOURCE, *added, trailer=trailer))
    assert [part.raw for part in original.metadata][: len(added)] == added
    result = jpeg_segments.split(jpeg_segments.splice(original, jpeg_segments.split(OTHER)))
    assert [part.raw for part in result.metadata] == [part.raw for part in original.metadata]
    assert result.trailer == original.trailer == trailer
    assert result.data[result.scan_start : result.picture_end] in OTHER


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.binary(max_size=50), st.sampled_from("<>"), st.integers(0, 300))
def test_a_multi_picture_index_points_at_the_same_bytes_after_a_splice(
    second: bytes, padding: bytes, order: str, comment: int
) -> None:
    before = [segment(0xFE, bytes(comment)), segment(0xE1, b"Exif\0\0")]
    length = len(with_segments(SOURCE, *before, mpf([(0, 0), (0, 0)], order)))
    base = 2 + sum(map(len, before)) + 8
    index = mpf([(length, 0), (len(second), length + len(padding) - base)], order)
    original = jpeg_segments.split(with_segments(SOURCE, *before, index, trailer=padding + second))
    result = jpeg_segments.split(jpeg_segments.splice(original, jpeg_segments.split(OTHER)))
    first, other = jpeg_segments.mpf_pictures(result)
    assert (first.start, first.size) == (0, result.picture_end)
    assert result.data[other.start : other.start + other.size] == second


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SOURCE) - 1), st.integers(0, 255), st.integers(0, len(SOURCE)))
def test_a_broken_jpeg_is_taken_apart_or_refused_but_nothing_else(at: int, value: int, cut: int) -> None:
    data = bytearray(SOURCE)
    data[at] = value
    for damaged in (bytes(data), bytes(data[:cut])):
        try:
            found = jpeg_segments.split(damaged)
            jpeg_segments.frame_of(found)
            jpeg_segments.quantisation_tables(found)
            jpeg_segments.trailer_problem(found)
        except JpegStructureError:
            pass


def test_a_photo_gets_smaller_and_keeps_its_size_and_orientation_tag(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made, rendition = compress(tmp_path, encoded(picture(), exif=exif))
    with Image.open(io.BytesIO(rendition)) as image:
        assert (image.width, image.height, image.getexif()[0x0112]) == (160, 120, 6)
        assert image.info["progressive"]
    assert (made.width, made.height, made.extension, made.format) == (160, 120, ".jpg", "jpeg")


@pytest.mark.parametrize(("name", "factors"), [("4:4:4", (1, 1)), ("4:2:2", (2, 1)), ("4:2:0", (2, 2))])
def test_the_colour_resolution_of_the_original_is_kept(tmp_path: Path, name: str, factors: tuple[int, int]) -> None:
    _, rendition = compress(tmp_path, encoded(picture(), subsampling=name))
    assert jpeg_segments.frame_of(jpeg_segments.split(rendition)).sampling[0] == factors


def test_grey_stays_grey(tmp_path: Path) -> None:
    _, rendition = compress(tmp_path, encoded(picture(mode="L")))
    assert len(jpeg_segments.frame_of(jpeg_segments.split(rendition)).sampling) == 1


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (8, 8), (9, 17), (333, 1)])
def test_tiny_and_odd_sizes_come_out_or_are_kept_for_their_size(tmp_path: Path, size: tuple[int, int]) -> None:
    try:
        made, _ = compress(tmp_path, encoded(picture(*size)))
    except KeepOriginal as kept:
        assert "smaller version" in str(kept)
    else:
        assert (made.width, made.height) == size


def test_a_photo_that_is_already_coarse_is_kept_without_an_encode(tmp_path: Path) -> None:
    assert "already compressed to about quality 70" in reason(tmp_path, encoded(picture(), 70))


@pytest.mark.parametrize("quality", [50, 75, 88, 95])
def test_the_quality_of_a_usual_encoder_is_told_from_its_table(quality: int) -> None:
    tables = jpeg_segments.quantisation_tables(jpeg_segments.split(encoded(picture(), quality)))
    assert jpeg.estimated_quality(tables[0]) == quality


def test_cmyk_is_kept(tmp_path: Path) -> None:
    assert "colours" in reason(tmp_path, encoded(picture(mode="CMYK")))


def test_content_credentials_are_kept_with_the_pixels_that_they_vouch_for(tmp_path: Path) -> None:
    assert "content credentials" in reason(tmp_path, with_segments(SOURCE, segment(0xEB, b"JP" + bytes(40))))


def test_an_unknown_trailer_keeps_the_original(tmp_path: Path) -> None:
    assert "unknown kind follows" in reason(tmp_path, SOURCE + b"somebody's block with positions in it")


def test_padding_and_samsungs_blocks_travel_along(tmp_path: Path) -> None:
    for trailer in (bytes(100), b"\0\0\x30\x0aMotionPhoto_Data" + b"v" * 300 + b"SEFH....SEFT"):
        _, rendition = compress(tmp_path, SOURCE + trailer)
        assert rendition.endswith(trailer)


def test_the_video_of_a_motion_photo_travels_along(tmp_path: Path) -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<rdf GCamera:MicroVideoOffset="300" GCamera:MotionPhoto="1"/>'
    video = b"\0\0\0\x18ftypmp42" + b"v" * 288
    _, rendition = compress(tmp_path, with_segments(SOURCE, segment(0xE1, xmp), trailer=video))
    assert rendition[-300:] == video


def test_a_container_that_states_the_length_of_the_picture_is_kept(tmp_path: Path) -> None:
    item = b'<Container:Directory><Container:Item Item:Semantic="Primary" Item:Length="4711"/>'
    segments = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + item)
    assert "states the length" in reason(tmp_path, with_segments(SOURCE, segments, trailer=b"video"))


def test_maker_notes_that_point_behind_the_picture_by_position_keep_the_original(tmp_path: Path) -> None:
    blank = segment(0xE1, b"Exif\0\0II*\0" + bytes(20))
    end = len(with_segments(SOURCE, blank))
    pointer = struct.pack("<I", end - 2 - 4 - 6)
    data = with_segments(SOURCE, segment(0xE1, b"Exif\0\0II*\0" + bytes(8) + pointer + bytes(8)), trailer=SOURCE)
    assert "by position" in reason(tmp_path, data)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_photo_that_was_cut_off_or_holed_is_kept_as_damaged(tmp_path: Path, share: float) -> None:
    data = encoded(picture(640, 480))
    at = int(len(data) * share)
    assert "damaged" in reason(tmp_path, data[:at])
    assert "damaged" in reason(tmp_path, data[:at] + bytes(len(data) // 100 + 1) + data[at + len(data) // 100 + 1 :])


def test_a_frame_too_large_for_the_memory_is_kept_before_it_is_decoded(tmp_path: Path) -> None:
    data = bytearray(SOURCE)
    at = data.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", data, at, 60_000, 60_000)
    assert "megapixels" in reason(tmp_path, bytes(data))


def test_what_saves_too_little_leaves_no_part(tmp_path: Path) -> None:
    plan = Plan(97, 0, "hevc", 0, True, 0.9)
    assert "saved only" in reason(tmp_path, SOURCE, plan)
    assert not (tmp_path / "rendition.part").exists()


def upright(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    with Image.open(io.BytesIO(data)) as image:
        small = ImageOps.exif_transpose(image).convert("RGB").reduce(5)  # fine grain aside, which is what shrinks
        return np.asarray(small, dtype=np.int16)


def test_one_picture_in_all_eight_orientations_looks_the_same_eight_times(corpus: Path, tmp_path: Path) -> None:
    shown = []
    for number in range(1, 9):
        data = (corpus / f"good/orientation/portrait_{number}.jpg").read_bytes()
        _, rendition = compress(tmp_path, data)
        with Image.open(io.BytesIO(rendition)) as image:
            assert image.getexif()[0x0112] == number
        shown.append(upright(rendition))
        assert np.abs(shown[-1] - upright(data)).mean() < 2
    assert {pixels.shape for pixels in shown} == {shown[0].shape}
    # The first original is lighter than the others, which came from one encoder: only its shape is theirs.
    assert max(np.abs(pixels - shown[1]).mean() for pixels in shown[1:]) < 3


def test_a_gain_map_is_the_same_bytes_where_the_index_says(corpus: Path, tmp_path: Path) -> None:
    data = (corpus / "good/pixel6pro_ultrahdr_gainmap.jpg").read_bytes()
    _, rendition = compress(tmp_path, data)
    before, after = jpeg_segments.split(data), jpeg_segments.split(rendition)
    old, new = jpeg_segments.mpf_pictures(before)[1], jpeg_segments.mpf_pictures(after)[1]
    gain_map = rendition[new.start : new.start + new.size]
    assert gain_map == data[old.start : old.start + old.size]
    with Image.open(io.BytesIO(gain_map)) as image:
        image.load()
