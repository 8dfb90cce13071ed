"""PNG: the pixels stay the same bytes, every other chunk stays, and whatever is doubtful is kept."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from media import png
from media.tiers import KeepOriginal, Plan

PLAN = Plan(80, 0, "hevc", 0, True, 0.0)
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name: bytes, payload: bytes) -> bytes:
    body = name + payload
    return struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))


def made_png(
    header: png.Header, *, before: tuple[bytes, ...] = (), after: tuple[bytes, ...] = (), lines: bytes | None = None
) -> bytes:
    """A PNG with badly deflated pixels, split over several chunks."""
    raw = bytes(png.scanline_bytes(header)) if lines is None else lines
    stream = zlib.compress(raw, 0)
    ihdr = struct.pack(">IIBBBBB", header.width, header.height, header.depth, header.colour, 0, 0, header.interlace)
    palette = (chunk(b"PLTE", bytes(range(6))),) if header.colour == 3 else ()
    middle = len(stream) // 2
    idat = [chunk(b"IDAT", stream[:middle]), chunk(b"IDAT", stream[middle:])]
    return png.SIGNATURE + b"".join([chunk(b"IHDR", ihdr), *palette, *before, *idat, *after, chunk(b"IEND", b"")])


def compress(tmp_path: Path, data: bytes, plan: Plan = PLAN) -> bytes:
    original, part = tmp_path / "original.png", tmp_path / "rendition.part"
    original.write_bytes(data)
    png.compress(original, part, plan)
    assert original.read_bytes() == data
    return part.read_bytes()


def reason(tmp_path: Path, data: bytes, plan: Plan = PLAN) -> str:
    with pytest.raises(KeepOriginal) as kept:
        compress(tmp_path, data, plan)
    return str(kept.value)


DEPTHS = st.sampled_from(
    [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]
)


@settings(max_examples=120, deadline=None)
@given(DEPTHS, st.integers(1, 40), st.integers(1, 40), st.booleans(), st.binary(max_size=80))
def test_the_length_of_the_scanlines_is_that_of_the_reference_decoder(
    kind: tuple[int, int], width: int, height: int, interlaced: bool, text: bytes
) -> None:
    data = made_png(png.Header(width, height, kind[1], kind[0], int(interlaced)), after=(chunk(b"teXt", text),))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (width, height)
    chunks, trailer = png.split(data)
    assert [piece.name for piece in chunks][-2:] == [b"teXt", b"IEND"]
    assert trailer == b""


def test_pixels_and_all_other_chunks_are_the_same_bytes(tmp_path: Path) -> None:
    header = png.Header(300, 200, 16, 6, 1)
    random = np.random.default_rng(3)
    lines = (random.integers(0, 3, png.scanline_bytes(header), dtype=np.uint8)).tobytes()
    before = (chunk(b"gAMA", bytes(4)), chunk(b"eXIf", b"II*\0" + bytes(60)), chunk(b"iTXt", b"XML:com.adobe.xmp\0"))
    data = made_png(header, before=before, after=(chunk(b"tIME", bytes(7)), chunk(b"prIv", b"?")), lines=lines)
    rendition = compress(tmp_path, data + b"trailer")
    old, new = png.split(data)[0], png.split(rendition)[0]
    assert [piece.raw for piece in new if piece.name != b"IDAT"] == [p.raw for p in old if p.name != b"IDAT"]
    assert zlib.decompress(b"".join(piece.payload for piece in new if piece.name == b"IDAT")) == lines
    assert rendition.endswith(b"trailer")
    assert len(rendition) < len(data) / 2


def test_an_animated_png_is_kept(tmp_path: Path) -> None:
    data = made_png(png.Header(9, 9, 8, 2, 0), before=(chunk(b"acTL", bytes(8)),))
    assert "animated" in reason(tmp_path, data)


def test_apples_own_png_variant_is_kept(tmp_path: Path) -> None:
    data = made_png(png.Header(9, 9, 8, 2, 0), before=(chunk(b"CgBI", bytes(4)),))
    assert "CgBI" in reason(tmp_path, data)


def test_every_cut_and_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    data = made_png(png.Header(20, 20, 8, 2, 0))
    for at in range(0, len(data), 37):
        assert "damaged" in reason(tmp_path, data[:at])
        flipped = bytearray(data)
        flipped[at] ^= 4
        with pytest.raises(KeepOriginal):
            compress(tmp_path, bytes(flipped))


@pytest.mark.parametrize("extra", [-1, 1])
def test_too_few_or_too_many_pixels_are_damage(tmp_path: Path, extra: int) -> None:
    header = png.Header(20, 20, 8, 2, 0)
    data = made_png(header, lines=bytes(png.scanline_bytes(header) + extra))
    assert "not as many" in reason(tmp_path, data)


def test_a_decompression_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    data = made_png(png.Header(200_000, 200_000, 8, 6, 0), lines=bytes(1000))
    assert "too many" in reason(tmp_path, data)


def test_a_small_header_before_much_data_is_damage(tmp_path: Path) -> None:
    assert "not as many" in reason(tmp_path, made_png(png.Header(1, 1, 8, 0, 0), lines=bytes(5_000_000)))


def test_png_is_kept_where_the_plan_says_so(tmp_path: Path) -> None:
    plan = Plan(80, 0, "hevc", 0, False, 0.0)
    assert "kept as they are" in reason(tmp_path, made_png(png.Header(9, 9, 8, 2, 0)), plan)


def test_real_pictures_with_alpha_and_16_bits_keep_every_pixel(corpus: Path, tmp_path: Path) -> None:
    for name in ("rgba.png", "sixteen_bit.png"):
        data = (corpus / "good" / name).read_bytes()
        rendition = compress(tmp_path, data)
        with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(rendition)) as after:
            assert before.mode == after.mode
            assert before.tobytes() == after.tobytes()
