"""What a file's header says about the camera: EXIF, QuickTime keys, and the identifiers of a shot.

Belongs here: small bounded readers of TIFF directories, JPEG segments and QuickTime keys, none of which
decodes a pixel. Does not belong here: the item tables of HEIC and AVIF (see `heif`), dates (see `capture`)
and damage (see `damage`).
Corrupt bytes give fewer answers, never an error.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict

from media.heif import exif_offset
from media.kinds import Header, Identity, Kind, boxes, identify_header

MAKE, MODEL, ORIENTATION = 0x010F, 0x0110, 0x0112
_EXIF_IFD, _GPS_IFD, _MAKER_NOTE, _UNIQUE_ID = 0x8769, 0x8825, 0x927C, 0xA420
_SUBSEC, _SUBSEC_ORIGINAL = 0x9290, 0x9291
# Make, model, unique id; the dates 0132, 9003, 9004 with their offsets 901x and sub-seconds 929x.
_TEXTS = (MAKE, MODEL, _UNIQUE_ID, 0x0132, 0x9003, 0x9004, *range(0x9010, 0x9013), *range(0x9290, 0x9293))
# Tags of Apple's maker note, by https://exiftool.org/TagNames/Apple.html
_APPLE_BURST, _APPLE_CONTENT = 0x000B, 0x0011
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 13: "I"}
_MOST_ENTRIES = 1000
_MOST_TEXT = 1024
# The box of Canon's CR3 that holds its TIFF directories, by https://github.com/lclevy/canon_cr3
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_MAC_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
Read = Callable[[int, int], bytes]
Entry = tuple[int, int, int]  # type, count, offset of the value
BROKEN = (struct.error, IndexError, KeyError, ValueError, OverflowError)


class Identifiers(TypedDict):
    """What tells one shot of a camera from another. Absent values are None."""

    make: str | None
    model: str | None
    content_identifier: str | None
    image_unique_id: str | None
    subsec: str | None
    burst_id: str | None
    has_gps: bool


class Tiff:
    """Reads single directories of a TIFF structure.

    Args:
        read: Returns the bytes at an offset of the file.
        base: Where the TIFF header stands; its own offsets count from there.
        order: "<" or ">", for a structure without a header (a maker note).

    Raises:
        ValueError: No TIFF header stands there.
    """

    def __init__(self, read: Read, base: int, order: str | None = None) -> None:
        self.read, self.base = read, base
        head = read(base, 8)
        self.order = order or {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self.order or len(head) < 8:
            raise ValueError("no TIFF header")
        self.first = self._unpack("I", base + 4)

    def _unpack(self, code: str, at: int) -> int:
        return int(struct.unpack(self.order + code, self.read(at, struct.calcsize(code)))[0])

    def directory(self, offset: int) -> dict[int, Entry]:
        """Returns the entries of the directory at `offset` by tag; what is unreadable is left out."""
        entries: dict[int, Entry] = {}
        with suppress(*BROKEN):
            start = self.base + offset
            count = min(self._unpack("H", start), _MOST_ENTRIES)
            data = self.read(start + 2, 12 * count)
            for at in range(0, len(data) - 11, 12):
                tag, kind, number, value = struct.unpack_from(self.order + "HHII", data, at)
                inline = _TYPE_SIZES.get(kind, 1) * number <= 4
                entries[tag] = (kind, number, start + 2 + at + 8 if inline else self.base + value)
        return entries

    def text(self, entry: Entry | None) -> str | None:
        """Returns an entry's text up to its NUL, stripped; None when there is none."""
        if entry is None or entry[0] not in (2, 7, 129):
            return None
        raw = self.read(entry[2], min(entry[1], _MOST_TEXT)).split(b"\0")[0]
        try:
            return raw.decode().strip() or None
        except UnicodeDecodeError:
            return raw.decode("latin-1").strip() or None

    def numbers(self, entry: Entry | None) -> tuple[int, ...]:
        """Returns an entry's whole numbers; empty when it has another type."""
        code = _NUMBERS.get(entry[0]) if entry else None
        if entry is None or code is None:
            return ()
        count = min(entry[1], _MOST_ENTRIES)
        data = self.read(entry[2], count * struct.calcsize(code))
        return struct.unpack(f"{self.order}{count}{code}", data) if len(data) == count * struct.calcsize(code) else ()

    def number(self, entry: Entry | None) -> int | None:
        """Returns an entry's first whole number, or None."""
        return next(iter(self.numbers(entry)), None)


@dataclass(slots=True)
class Exif:
    """The parts of an EXIF block that this platform uses."""

    texts: dict[int, str] = field(default_factory=dict)
    orientation: int = 1
    has_gps: bool = False
    apple: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class QuickTime:
    """The parts of a movie's header that this platform uses.

    Attributes:
        created: `mvhd` creation time, which counts in UTC; None for the values that mean "not set".
        keys: Metadata by key, such as "com.apple.quicktime.creationdate".
    """

    created: datetime | None = None
    keys: dict[str, str] = field(default_factory=dict)


def read_identifiers(path: str | Path, identity: Identity) -> Identifiers:
    """Reads what identifies a shot: camera, Live Photo and burst ids, sub-seconds, presence of GPS.

    Args:
        path: The file; only header bytes are read.
        identity: What `identify` said of it.

    Raises:
        OSError: The file cannot be read.
    """
    with Header(path) as header:
        if identity.kind is Kind.VIDEO:
            return _movie_identifiers(read_quicktime(header))
        exif = read_exif(header, identity) or Exif()
    texts = exif.texts
    return {
        "make": texts.get(MAKE),
        "model": texts.get(MODEL),
        "content_identifier": exif.apple.get(_APPLE_CONTENT),
        "image_unique_id": texts.get(_UNIQUE_ID),
        "subsec": texts.get(_SUBSEC_ORIGINAL) or texts.get(_SUBSEC),
        "burst_id": exif.apple.get(_APPLE_BURST),
        "has_gps": exif.has_gps,
    }


def _movie_identifiers(movie: QuickTime) -> Identifiers:
    keys = movie.keys
    return {
        "make": keys.get("com.apple.quicktime.make") or keys.get("com.android.manufacturer") or keys.get("©mak"),
        "model": keys.get("com.apple.quicktime.model") or keys.get("com.android.model") or keys.get("©mod"),
        "content_identifier": keys.get("com.apple.quicktime.content.identifier"),
        "image_unique_id": None,
        "subsec": None,
        "burst_id": None,
        "has_gps": any(keys.get(name) for name in ("com.apple.quicktime.location.ISO6709", "©xyz", "loci")),
    }


def read_exif(header: Header, identity: Identity | None = None, name: str = "") -> Exif | None:
    """Finds and reads the EXIF block of a photo or RAW.

    Args:
        header: The file.
        identity: What the file is, where that is known already.
        name: The file's name, to identify it by, where `identity` is not given.

    Returns:
        What was found, or None when the file has no EXIF.
    """
    identity = identity or identify_header(header, name)
    if identity is None or identity.kind not in (Kind.PHOTO, Kind.RAW):
        return None
    exif: Exif | None = None
    for tiff in _tiffs(header, identity.format):
        exif = exif or Exif()
        with suppress(*BROKEN):
            _add_directories(exif, tiff)
    return exif


def _tiffs(header: Header, fmt: str) -> Iterator[Tiff]:
    with suppress(*BROKEN):
        if fmt == "cr3":
            yield from _canon_directories(header)
            return
        base = _exif_offset(header, fmt)
        if base is not None:
            yield Tiff(header.at, base)


def _exif_offset(header: Header, fmt: str) -> int | None:
    if fmt == "jpeg":
        return _jpeg_exif(header, 0)
    if fmt == "raf":
        return _jpeg_exif(header, int.from_bytes(header.at(84, 4), "big"))
    if fmt in ("heic", "avif"):
        return exif_offset(header)
    if fmt == "png":
        return _chunk(header, 8, b"eXIf")
    if fmt == "webp":
        return _chunk(header, 12, b"EXIF")
    return 0


def jpeg_segments(header: Header, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """Walks a JPEG's segments before its first scan.

    Yields:
        Marker, offset of the segment's payload, and the payload's length in bytes.
    """
    at = start + 2
    for _ in range(_MOST_ENTRIES):
        head = header.at(at, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return
        marker = head[1]
        if marker == 0xFF:
            at += 1  # a fill byte
            continue
        if marker in (0xD9, 0xDA):
            return
        length = int.from_bytes(head[2:], "big")
        yield marker, at + 4, length - 2
        at += 2 + max(length, 2)


def _jpeg_exif(header: Header, start: int) -> int | None:
    found = (at + 6 for marker, at, _ in jpeg_segments(header, start) if marker == 0xE1 and _is_exif(header, at))
    return next(found, None)


def _is_exif(header: Header, at: int) -> bool:
    return header.at(at, 6) in (b"Exif\0\0", b"Exif\0\xff")


def _chunk(header: Header, start: int, wanted: bytes) -> int | None:
    """Finds a chunk of PNG (size, name, data, checksum) or WebP (name, size, data padded to an even length)."""
    is_png = header.at(0, 1) == b"\x89"
    for _ in range(_MOST_ENTRIES):
        head = header.at(start, 8)
        if len(head) < 8:
            return None
        body = start + 8
        name = head[4:] if is_png else head[:4]
        size = int.from_bytes(head[:4], "big") if is_png else int.from_bytes(head[4:], "little")
        if name == wanted:
            return body + 6 if _is_exif(header, body) else body
        start = body + size + (4 if is_png else size & 1)
    return None


def _canon_directories(header: Header) -> Iterator[Tiff]:
    for name, body, end in boxes(header, 0, header.size):
        if name != b"moov":
            continue
        for inner, start, stop in boxes(header, body, end):
            if inner == b"uuid" and header.at(start, 16) == _CANON_UUID:
                for part, at, _ in boxes(header, start + 16, stop):
                    if part in (b"CMT1", b"CMT2", b"CMT4"):  # main, EXIF and GPS directory, each a TIFF of its own
                        yield Tiff(header.at, at)
        return


def _add_directories(exif: Exif, tiff: Tiff) -> None:
    main = tiff.directory(tiff.first)
    _add_texts(exif, tiff, main)
    orientation = tiff.number(main.get(ORIENTATION))
    if orientation in range(2, 9):
        exif.orientation = int(orientation or 1)
    if (pointer := tiff.number(main.get(_EXIF_IFD))) is not None:
        inner = tiff.directory(pointer)
        _add_texts(exif, tiff, inner)
        if _MAKER_NOTE in inner:
            _add_apple(exif, tiff, inner[_MAKER_NOTE])
    pointer = tiff.number(main.get(_GPS_IFD))
    gps = main if pointer is None else tiff.directory(pointer)
    exif.has_gps = exif.has_gps or (_is_position(tiff, gps.get(2)) and _is_position(tiff, gps.get(4)))


def _add_texts(exif: Exif, tiff: Tiff, entries: dict[int, Entry]) -> None:
    for tag in _TEXTS:
        if text := tiff.text(entries.get(tag)):
            exif.texts.setdefault(tag, text)


def _is_position(tiff: Tiff, entry: Entry | None) -> bool:
    # Degrees, minutes, seconds as fractions; empty blocks hold 0/0.
    if entry is None or entry[0] != 5 or entry[1] != 3:
        return False
    parts = struct.unpack(tiff.order + "6I", tiff.read(entry[2], 24))
    return bool(parts[1])


def _add_apple(exif: Exif, tiff: Tiff, entry: Entry) -> None:
    at = entry[2]
    if tiff.read(at, 10) == b"Apple iOS\0":
        note = Tiff(tiff.read, at, ">")
        entries = note.directory(14)
        exif.apple = {tag: text for tag in (_APPLE_BURST, _APPLE_CONTENT) if (text := note.text(entries.get(tag)))}


def read_quicktime(header: Header) -> QuickTime:
    """Reads creation time and metadata keys of a MOV, MP4 or 3GP, wherever its `moov` stands."""
    movie = QuickTime()
    with suppress(*BROKEN):
        for name, body, end in boxes(header, 0, header.size):
            if name == b"moov":
                for inner, start, stop in boxes(header, body, end):
                    _add_movie_box(movie, header, inner, start, stop)
                break
    return movie


def _add_movie_box(movie: QuickTime, header: Header, name: bytes, start: int, end: int) -> None:
    if name == b"mvhd":
        wide = header.at(start, 1) == b"\1"
        seconds = int.from_bytes(header.at(start + 4, 8 if wide else 4), "big")
        with suppress(OverflowError):
            # Cameras without a clock write 0, some write the Unix epoch.
            moment = _MAC_EPOCH + timedelta(seconds=seconds)
            movie.created = moment if moment.year > 1970 else None
    elif name == b"meta":
        _add_keys(movie, header, start, end)
    elif name == b"udta":
        for kind, at, stop in boxes(header, start, end):
            if kind[:1] == b"\xa9":
                text = header.at(at + 4, min(stop - at - 4, _MOST_TEXT)).split(b"\0")[0]
                movie.keys.setdefault(kind.decode("latin-1"), text.decode("utf-8", "replace").strip())
            elif kind == b"loci":
                movie.keys["loci"] = "yes"
            elif kind == b"meta":
                _add_keys(movie, header, at, stop)


def _add_keys(movie: QuickTime, header: Header, start: int, end: int) -> None:
    # QuickTime's meta is a plain box, that of MP4 has four bytes of version before its first child.
    start += 0 if header.at(start + 4, 4) == b"hdlr" else 4
    names: list[str] = []
    for kind, at, stop in boxes(header, start, end):
        if kind == b"keys":
            names = [
                header.at(body, min(tail - body, _MOST_TEXT)).decode("utf-8", "replace")
                for _, body, tail in boxes(header, at + 8, stop)
            ]
        elif kind == b"ilst":
            for index, body, tail in boxes(header, at, stop):
                number = int.from_bytes(index, "big")
                name = names[number - 1] if 0 < number <= len(names) else index.decode("latin-1")
                for data, value, last in boxes(header, body, tail):
                    if data == b"data":
                        text = header.at(value + 8, min(last - value - 8, _MOST_TEXT))
                        movie.keys.setdefault(name, re.sub(r"\0.*", "", text.decode("utf-8", "replace")).strip())
