"""The PNG engine: the same filtered bytes, deflated again and better. Nothing is decoded into pixels to be re-encoded.

Belongs here: the chunks of ISO/IEC 15948 and the deflate stream in IDAT. Does not belong here: pixels, filters,
colours. Because the filtered scanlines stay the same bytes, the picture is the same by construction, with any bit
depth, palette, alpha or interlacing, and every other chunk stands where it stood.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from media.tiers import KeepOriginal, Made, Plan, refuse_small_saving

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 256 << 20
MAX_RAW_BYTES = 400 << 20  # scanlines in memory; a 100-megapixel RGB picture has 300 MB
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type, ISO/IEC 15948, 11.2.2
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_IDAT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk with its length and checksum, as it stands in the file."""

    name: bytes
    raw: bytes

    @property
    def payload(self) -> bytes:
        """The bytes between name and checksum."""
        return self.raw[8:-4]


@dataclass(frozen=True, slots=True)
class Header:
    """What IHDR says: pixels, bits of a sample, colour type, interlace method."""

    width: int
    height: int
    depth: int
    colour: int
    interlace: int


def compress(original: Path, part: Path, plan: Plan) -> Made:
    """Writes the PNG `original` with its pixel data deflated at the highest level.

    Args:
        original: Only read.
        part: Written, read back and verified.
        plan: `png_recompress` and `min_saving` are used.

    Raises:
        KeepOriginal: It is damaged, animated, too large, or would save too little.
        OSError: Reading or writing failed.
    """
    if not plan.png_recompress:
        raise KeepOriginal("PNG files are kept as they are")
    if os.path.getsize(original) > MAX_BYTES:
        raise KeepOriginal("the file is too large to be compressed in memory")
    data = original.read_bytes()
    chunks, trailer = split(data)
    header = _header(chunks)
    lines = inflate_exactly(_pixel_stream(chunks), scanline_bytes(header))
    rendition = _joined(chunks, _best_deflate(lines), trailer)
    refuse_small_saving(len(data), len(rendition), plan.min_saving)
    part.write_bytes(rendition)
    _verify(chunks, trailer, lines, part.read_bytes())
    return Made("png", ".png", header.width, header.height, "PNG deflated again, without loss")


def split(data: bytes) -> tuple[list[Chunk], bytes]:
    """Takes a PNG apart.

    Returns:
        Every chunk up to IEND, and what follows it.

    Raises:
        KeepOriginal: It is damaged (a checksum, an order or a length is wrong) or animated.
    """
    if not data.startswith(SIGNATURE):
        raise KeepOriginal("the file is damaged: it does not begin like a PNG")
    chunks: list[Chunk] = []
    position = len(SIGNATURE)
    while not chunks or chunks[-1].name != b"IEND":
        if position + 12 > len(data):
            raise KeepOriginal("the file is damaged: it ends before its picture does")
        length, name = struct.unpack_from(">I4s", data, position)
        raw = data[position : position + 12 + length]
        if len(raw) != 12 + length:
            raise KeepOriginal("the file is damaged: it ends before its picture does")
        if zlib.crc32(raw[4:-4]) != int.from_bytes(raw[-4:], "big"):
            raise KeepOriginal(f"the file is damaged: the checksum of {name.decode('latin-1')} is wrong")
        chunks.append(Chunk(name, raw))
        position += len(raw)
    _refuse_order(chunks)
    return chunks, data[position:]


def scanline_bytes(header: Header) -> int:
    """Returns how many bytes the filtered scanlines of a picture have (ISO/IEC 15948, 7.2 and 8.1)."""
    bits = header.depth * _CHANNELS[header.colour]
    if not header.interlace:
        return header.height * (1 + (header.width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _ADAM7:
        columns = -(-max(0, header.width - left) // across)
        rows = -(-max(0, header.height - top) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def inflate_exactly(stream: bytes, expected: int) -> bytes:
    """Inflates pixel data that must have exactly `expected` bytes and end where its stream ends.

    Raises:
        KeepOriginal: It is damaged, or so large that it cannot be held in memory.
    """
    if expected > MAX_RAW_BYTES:
        raise KeepOriginal(f"its {expected >> 20} MiB of pixels are too many to be compressed in memory")
    inflater = zlib.decompressobj()
    try:
        lines = inflater.decompress(stream, expected + 1)
    except zlib.error as error:
        raise KeepOriginal(f"the picture is damaged: {error}") from error
    if len(lines) != expected or not inflater.eof or inflater.unused_data:
        raise KeepOriginal("the picture is damaged: its pixels are not as many as its header says")
    return lines


def _refuse_order(chunks: list[Chunk]) -> None:
    names = [chunk.name for chunk in chunks]
    if b"acTL" in names or b"fcTL" in names:
        raise KeepOriginal("an animated PNG is kept as it is")
    if names[0] != b"IHDR" or names.count(b"IHDR") != 1 or b"IDAT" not in names:
        raise KeepOriginal("the file is damaged: its chunks are out of order")
    first, last = names.index(b"IDAT"), len(names) - 1 - names[::-1].index(b"IDAT")
    if set(names[first : last + 1]) != {b"IDAT"}:
        raise KeepOriginal("the file is damaged: its chunks are out of order")
    if b"caBX" in names:
        raise KeepOriginal("it carries content credentials, which belong to exactly these bytes")
    unknown = [name for name in names if not name[0] & 0x20 and name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND")]
    if unknown:  # 5.4: a critical chunk that is not understood, for example Apple's CgBI
        raise KeepOriginal(f"its chunk {unknown[0].decode('latin-1')} is not understood")


def _header(chunks: list[Chunk]) -> Header:
    if len(chunks[0].payload) != 13:
        raise KeepOriginal("the file is damaged: its header is cut off")
    width, height, depth, colour, method, filters, interlace = struct.unpack(">IIBBBBB", chunks[0].payload)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or method or filters or interlace > 1:
        raise KeepOriginal("the file is damaged: its header is none")
    if not (0 < width < 1 << 31 and 0 < height < 1 << 31):
        raise KeepOriginal("the file is damaged: it has no pixels")
    return Header(width, height, depth, colour, interlace)


def _pixel_stream(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.payload for chunk in chunks if chunk.name == b"IDAT")


def _best_deflate(lines: bytes) -> bytes:
    """Returns the smaller of the two strategies that win on real pictures: usual matching, and filtered data."""
    return min((_deflated(lines, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED)), key=len)


def _deflated(lines: bytes, strategy: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, 15, 9, strategy)
    return deflater.compress(lines) + deflater.flush()


def _joined(chunks: list[Chunk], stream: bytes, trailer: bytes) -> bytes:
    out = [SIGNATURE]
    written = False
    for chunk in chunks:
        if chunk.name != b"IDAT":
            out.append(chunk.raw)
        elif not written:
            out += [_idat(stream[at : at + _IDAT_BYTES]) for at in range(0, len(stream), _IDAT_BYTES)]
            written = True
    return b"".join([*out, trailer])


def _idat(payload: bytes) -> bytes:
    body = b"IDAT" + payload
    return struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))


def _verify(chunks: list[Chunk], trailer: bytes, lines: bytes, written: bytes) -> None:
    again, rest = split(written)
    others = [chunk.raw for chunk in chunks if chunk.name != b"IDAT"]
    if [chunk.raw for chunk in again if chunk.name != b"IDAT"] != others or rest != trailer:
        raise KeepOriginal("the smaller version would have lost metadata")
    if inflate_exactly(_pixel_stream(again), len(lines)) != lines:
        raise KeepOriginal("the smaller version would have had other pixels")
