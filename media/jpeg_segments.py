"""JPEG files as segments: take one apart, and put another picture into the metadata of the first.

Belongs here: the byte structure of ISO/IEC 10918-1 (markers, tables, scans), what follows the end of the picture, and
the CIPA DC-007 multi-picture index that points into it. Does not belong here: pixels, qualities, files.

Every application segment (APP0 to APP15), every comment and every byte after the picture is kept as it is: no tag is
parsed to be written again, so no maker note can be lost.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

SOI, EOI, SOS, DQT, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xFE
APP0, APP1, APP2, APP11, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE, 0xEF
DHT, JPG, DAC = 0xC4, 0xC8, 0xCC
# ISO/IEC 10918-1 table B.1: every other C0 to CF is a start of frame.
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {DHT, JPG, DAC}
MPF_ENTRY_TAG = 0xB002  # CIPA DC-007, 5.2.3.3: sixteen bytes for each picture
_MPF_PREFIX = b"MPF\0"
_EXIF_PREFIX = b"Exif\0\0"
# The next marker that is neither a stuffed byte (FF 00), a restart (FF D0 to D7) nor fill (FF FF).
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MAX_CANDIDATES = 64


class JpegStructureError(ValueError):
    """The bytes are not a JPEG that is understood completely; nothing may be made of them."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker segment with its marker and length, and where it stood."""

    marker: int
    offset: int
    raw: bytes

    @property
    def payload(self) -> bytes:
        """The bytes after marker and length."""
        return self.raw[4:]


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG taken apart.

    Attributes:
        data: The whole file.
        metadata: Every APPn and COM segment, in order.
        tables: Every other segment before the first scan (DQT, SOF, DHT, DRI), in order.
        scan_start: Offset of the first SOS marker.
        picture_end: Offset behind the EOI marker; the trailer begins there.
        scans: How many scans the picture has.
    """

    data: bytes
    metadata: tuple[Segment, ...]
    tables: tuple[Segment, ...]
    scan_start: int
    picture_end: int
    scans: int

    @property
    def trailer(self) -> bytes:
        """What follows the picture: gain map, motion video, maker's blocks. May be empty."""
        return self.data[self.picture_end :]


@dataclass(frozen=True, slots=True)
class Frame:
    """The start-of-frame header.

    Attributes:
        marker: Which coding process, 0xC0 to 0xCF.
        precision: Bits in a sample.
        height: In pixels.
        width: In pixels.
        sampling: (horizontal, vertical) factors of each component.
        tables: Quantisation table of each component.
    """

    marker: int
    precision: int
    height: int
    width: int
    sampling: tuple[tuple[int, int], ...]
    tables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MpfPicture:
    """One entry of the multi-picture index; offsets are absolute in the file, sizes in bytes."""

    start: int
    size: int


def split(data: bytes) -> Jpeg:
    """Takes a JPEG apart.

    Args:
        data: The whole file.

    Raises:
        JpegStructureError: It does not begin as a JPEG, it ends before its picture does, or it holds metadata between
            its scans.
    """
    if data[:2] != b"\xff\xd8":
        raise JpegStructureError("it does not begin like a JPEG")
    metadata: list[Segment] = []
    tables: list[Segment] = []
    position = 2
    while True:
        segment = _segment_at(data, position)
        if segment.marker == SOS:
            break
        (metadata if _is_metadata(segment.marker) else tables).append(segment)
        position = segment.offset + len(segment.raw)
    end, scans = _walk_scans(data, segment.offset)
    return Jpeg(data, tuple(metadata), tuple(tables), segment.offset, end, scans)


def frame_of(jpeg: Jpeg) -> Frame:
    """Reads the one start-of-frame header.

    Raises:
        JpegStructureError: There is none, more than one, or it is cut off.
    """
    frames = [segment for segment in jpeg.tables if segment.marker in FRAME_MARKERS]
    if len(frames) != 1:
        raise JpegStructureError(f"it has {len(frames)} frame headers where one belongs")
    payload = frames[0].payload
    if len(payload) < 6 or len(payload) < 6 + 3 * payload[5]:
        raise JpegStructureError("its frame header is cut off")
    precision, height, width, count = struct.unpack_from(">BHHB", payload)
    parts = [payload[6 + 3 * index : 9 + 3 * index] for index in range(count)]
    sampling = tuple((part[1] >> 4, part[1] & 15) for part in parts)
    return Frame(frames[0].marker, precision, height, width, sampling, tuple(part[2] for part in parts))


def quantisation_tables(jpeg: Jpeg) -> dict[int, tuple[int, ...]]:
    """Reads the quantisation tables that stand before the first scan (ISO/IEC 10918-1, B.2.4.1)."""
    found: dict[int, tuple[int, ...]] = {}
    for segment in jpeg.tables:
        if segment.marker != DQT:
            continue
        payload, position = segment.payload, 0
        while position < len(payload):
            wide, name = payload[position] >> 4, payload[position] & 15
            form = ">64H" if wide else ">64B"
            if position + 1 + struct.calcsize(form) > len(payload):
                raise JpegStructureError("a quantisation table is cut off")
            found[name] = struct.unpack_from(form, payload, position + 1)
            position += 1 + struct.calcsize(form)
    return found


def splice(original: Jpeg, encoded: Jpeg) -> bytes:
    """Puts the picture of `encoded` into the file `original`.

    Args:
        original: Gives every APPn and COM segment and the trailer, byte for byte.
        encoded: Gives DQT, SOF, DHT and the scans. Its own metadata is left out.

    Returns:
        The new file. Where the original has a multi-picture index, its sizes and offsets are those of the new file.

    Raises:
        JpegStructureError: The multi-picture index cannot be corrected.
    """
    picture = b"".join(segment.raw for segment in encoded.tables)
    picture += encoded.data[encoded.scan_start : encoded.picture_end]
    head_length = 2 + sum(len(segment.raw) for segment in original.metadata)
    shift = head_length + len(picture) - original.picture_end
    out = [b"\xff\xd8"]
    position = 2
    for segment in original.metadata:
        is_index = segment.marker == APP2 and segment.payload.startswith(_MPF_PREFIX)
        out.append(_moved_index(segment, position, shift) if is_index else segment.raw)
        position += len(segment.raw)
    return b"".join([*out, picture, original.trailer])


def mpf_pictures(jpeg: Jpeg) -> tuple[MpfPicture, ...]:
    """Returns the pictures that the CIPA DC-007 index names, the primary first; empty where there is no index."""
    for segment in jpeg.metadata:
        if segment.marker == APP2 and segment.payload.startswith(_MPF_PREFIX):
            order, entries = _index_entries(segment)
            base = segment.offset + 8
            pairs = [struct.unpack_from(order + "II", segment.raw, entry + 4) for entry in entries]
            return tuple(MpfPicture(base + offset if offset else 0, size) for size, offset in pairs)
    return ()


def trailer_problem(jpeg: Jpeg) -> str | None:
    """Says why the bytes after the picture could not be moved safely, or None when they can.

    Moving is safe for what is found through the multi-picture index (corrected), for what is counted from the file's
    end (Google's motion photos and containers, Samsung's blocks), and for padding. Anything else may be addressed by
    its position from a place that nobody knows.
    """
    trailer = jpeg.trailer
    if not trailer.strip(b"\0"):
        return None
    if _primary_length_given(jpeg):
        return "its XMP states the length of the picture, which would no longer be true"
    if _points_into_trailer(jpeg):
        return "its maker notes point at data after the picture by position"
    if _indexed_bytes(jpeg) or b"SEFT" in trailer[-16:] or _names_container(jpeg):
        return None
    return "data of an unknown kind follows the picture"


def _is_metadata(marker: int) -> bool:
    return APP0 <= marker <= APP15 or marker == COM


def _segment_at(data: bytes, position: int) -> Segment:
    while data[position : position + 2] == b"\xff\xff":
        position += 1  # fill bytes, B.1.1.2
    if position + 4 > len(data) or data[position] != 0xFF:
        raise JpegStructureError(f"no marker stands at byte {position}")
    marker, length = data[position + 1], struct.unpack_from(">H", data, position + 2)[0]
    if marker < 0xC0 or 0xD0 <= marker <= EOI or length < 2 or position + 2 + length > len(data):
        raise JpegStructureError(f"the segment at byte {position} is broken")
    return Segment(marker, position, data[position : position + 2 + length])


def _walk_scans(data: bytes, position: int) -> tuple[int, int]:
    """Returns where the picture ends, and how many scans it has."""
    scans = 0
    while True:
        segment = _segment_at(data, position)
        if _is_metadata(segment.marker):
            raise JpegStructureError("it holds metadata between its scans")
        scans += segment.marker == SOS
        position = segment.offset + len(segment.raw)
        if segment.marker == SOS:
            found = _NEXT_MARKER.search(data, position)
            if found is None:
                raise JpegStructureError("it ends before its picture does")
            position = found.start()
        if data[position : position + 2] == b"\xff\xd9":
            return position + 2, scans


def _index_entries(segment: Segment) -> tuple[str, list[int]]:
    """Returns the byte order and where each entry of a multi-picture index begins in the segment."""
    raw, base = segment.raw, 8
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(raw[base : base + 4])
    if order is None:
        raise JpegStructureError("its multi-picture index has no byte order")
    try:
        table = base + struct.unpack_from(order + "I", raw, base + 4)[0]
        for number in range(struct.unpack_from(order + "H", raw, table)[0]):
            tag, _, count, value = struct.unpack_from(order + "HHII", raw, table + 2 + 12 * number)
            if tag == MPF_ENTRY_TAG:
                entries = [base + value + 16 * index for index in range(count // 16)]
                if entries and entries[-1] + 16 > len(raw):
                    raise JpegStructureError("its multi-picture index is cut off")
                return order, entries
    except struct.error as error:
        raise JpegStructureError("its multi-picture index is cut off") from error
    return order, []


def _moved_index(segment: Segment, position: int, shift: int) -> bytes:
    """Returns the index for its new place, with the trailer moved by `shift` bytes."""
    order, entries = _index_entries(segment)
    raw = bytearray(segment.raw)
    for number, entry in enumerate(entries):
        size, offset = struct.unpack_from(order + "II", raw, entry + 4)
        if number == 0:
            size += shift  # the first is the primary: it ends where the trailer begins, or a fixed padding later
        if offset:
            offset += segment.offset + shift - position
        if not (0 < size < 1 << 32 and 0 <= offset < 1 << 32):
            raise JpegStructureError("its multi-picture index does not fit its picture")
        struct.pack_into(order + "II", raw, entry + 4, size, offset)
    return bytes(raw)


def _indexed_bytes(jpeg: Jpeg) -> bool:
    return any(picture.start >= jpeg.picture_end for picture in mpf_pictures(jpeg))


def _xmp(jpeg: Jpeg) -> bytes:
    return b"".join(
        s.payload for s in jpeg.metadata if s.marker == APP1 and s.payload.startswith(b"http://ns.adobe.com/")
    )


def _names_container(jpeg: Jpeg) -> bool:
    xmp = _xmp(jpeg)
    return any(name in xmp for name in (b"MicroVideoOffset", b"MotionPhoto", b"Container:Directory"))


def _primary_length_given(jpeg: Jpeg) -> bool:
    """Whether a Google container states a length for the primary picture; the format asks for none or 0."""
    for item in re.findall(rb"<Container:Item\b[^>]*>", _xmp(jpeg)):
        length = re.search(rb"Item:Length\s*=\s*[\"'](\d+)", item)
        if re.search(rb"Item:Semantic\s*=\s*[\"']Primary", item) and length and int(length[1]):
            return True
    return False


def _points_into_trailer(jpeg: Jpeg) -> bool:
    """Whether the EXIF block holds the position of something in the trailer (some makers keep a preview there)."""
    starts = {jpeg.picture_end, *(picture.start for picture in mpf_pictures(jpeg) if picture.start)}
    for count, found in enumerate(re.finditer(rb"\xff\xd8\xff", jpeg.trailer)):
        if count == _MAX_CANDIDATES:
            break
        starts.add(jpeg.picture_end + found.start())
    for segment in jpeg.metadata:
        if segment.marker != APP1 or not segment.payload.startswith(_EXIF_PREFIX):
            continue
        base = segment.offset + 4 + len(_EXIF_PREFIX)
        order = "<" if segment.payload[6:8] == b"II" else ">"
        for start in starts:
            for value in (start, start - base):
                if 0 < value < 1 << 32 and struct.pack(order + "I", value) in segment.payload:
                    return True
    return False
