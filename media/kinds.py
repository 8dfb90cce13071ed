"""What kind of file a name promises and what kind its bytes are.

Belongs here: the one table of formats, the names and magic bytes that tell them, and the capped
reader through which headers are looked at. Does not belong here: anything inside a format beyond
its signature (see `metadata`), and whether the picture is whole (see `damage`).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

HEADER_CAP = 1 << 20
_FIRST_READ = 64 << 10
_LATER_READ = 1 << 10
_MOST_BOXES = 10_000


class Kind(StrEnum):
    """The four kinds of file that the library takes."""

    PHOTO = "photo"
    RAW = "raw"
    VIDEO = "video"
    SIDECAR = "sidecar"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file is, told from its bytes.

    Attributes:
        kind: Photo, RAW, video or sidecar.
        format: Short lower-case name, such as "jpeg", "heic", "nef", "mov".
        mime: The media type.
        extension: The usual extension of the format, with its dot, in lower case.
    """

    kind: Kind
    format: str
    mime: str
    extension: str


# format: (kind, mime, extensions; the first one is the usual one). The only such table there is.
_TABLE: dict[str, tuple[Kind, str, str]] = {
    "jpeg": (Kind.PHOTO, "image/jpeg", ".jpg .jpeg .jpe .jfif"),
    "heic": (Kind.PHOTO, "image/heic", ".heic .heif .hif"),
    "avif": (Kind.PHOTO, "image/avif", ".avif"),
    "png": (Kind.PHOTO, "image/png", ".png"),
    "gif": (Kind.PHOTO, "image/gif", ".gif"),
    "webp": (Kind.PHOTO, "image/webp", ".webp"),
    "tiff": (Kind.PHOTO, "image/tiff", ".tif .tiff"),
    "dng": (Kind.RAW, "image/x-adobe-dng", ".dng"),
    "cr2": (Kind.RAW, "image/x-canon-cr2", ".cr2"),
    "cr3": (Kind.RAW, "image/x-canon-cr3", ".cr3"),
    "crw": (Kind.RAW, "image/x-canon-crw", ".crw"),
    "nef": (Kind.RAW, "image/x-nikon-nef", ".nef"),
    "nrw": (Kind.RAW, "image/x-nikon-nrw", ".nrw"),
    "arw": (Kind.RAW, "image/x-sony-arw", ".arw"),
    "srf": (Kind.RAW, "image/x-sony-srf", ".srf"),
    "sr2": (Kind.RAW, "image/x-sony-sr2", ".sr2"),
    "raf": (Kind.RAW, "image/x-fuji-raf", ".raf"),
    "orf": (Kind.RAW, "image/x-olympus-orf", ".orf .ori"),
    "rw2": (Kind.RAW, "image/x-panasonic-rw2", ".rw2 .raw"),
    "rwl": (Kind.RAW, "image/x-leica-rwl", ".rwl"),
    "pef": (Kind.RAW, "image/x-pentax-pef", ".pef"),
    "srw": (Kind.RAW, "image/x-samsung-srw", ".srw"),
    "3fr": (Kind.RAW, "image/x-hasselblad-3fr", ".3fr"),
    "fff": (Kind.RAW, "image/x-hasselblad-fff", ".fff"),
    "iiq": (Kind.RAW, "image/x-phaseone-iiq", ".iiq"),
    "x3f": (Kind.RAW, "image/x-sigma-x3f", ".x3f"),
    "erf": (Kind.RAW, "image/x-epson-erf", ".erf"),
    "kdc": (Kind.RAW, "image/x-kodak-kdc", ".kdc"),
    "dcr": (Kind.RAW, "image/x-kodak-dcr", ".dcr"),
    "mrw": (Kind.RAW, "image/x-minolta-mrw", ".mrw"),
    "mef": (Kind.RAW, "image/x-mamiya-mef", ".mef"),
    "mos": (Kind.RAW, "image/x-leaf-mos", ".mos"),
    "gpr": (Kind.RAW, "image/x-gopro-gpr", ".gpr"),
    "mov": (Kind.VIDEO, "video/quicktime", ".mov .qt"),
    "mp4": (Kind.VIDEO, "video/mp4", ".mp4 .m4v"),
    "3gp": (Kind.VIDEO, "video/3gpp", ".3gp .3gpp"),
    "3g2": (Kind.VIDEO, "video/3gpp2", ".3g2"),
    "avi": (Kind.VIDEO, "video/x-msvideo", ".avi"),
    "mkv": (Kind.VIDEO, "video/x-matroska", ".mkv"),
    "webm": (Kind.VIDEO, "video/webm", ".webm"),
    "mts": (Kind.VIDEO, "video/mp2t", ".mts .m2ts"),
    "aae": (Kind.SIDECAR, "application/x-apple-aae", ".aae"),
    "xmp": (Kind.SIDECAR, "application/rdf+xml", ".xmp"),
    "json": (Kind.SIDECAR, "application/json", ".json"),
}
_BY_EXTENSION = {suffix: name for name, row in _TABLE.items() for suffix in row[2].split()}
# RAW formats that are TIFF files underneath: their bytes alone do not tell them from a TIFF.
_NOT_TIFF = ("cr3", "crw", "raf", "orf", "rw2", "rwl", "x3f", "mrw")
_TIFF_RAWS = frozenset(name for name, row in _TABLE.items() if row[0] is Kind.RAW and name not in _NOT_TIFF)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")
_RAW_BY_MAKE = {
    b"NIKON": "nef", b"SONY": "arw", b"Canon": "cr2", b"PENTAX": "pef", b"SAMSUNG": "srw", b"Hasselblad": "3fr",
}  # fmt: skip
_MAKE, _SUBFILE_TYPE, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 0x010F, 0x00FE, 0x0106, 0x014A, 0xC612
_CFA, _LINEAR_RAW = 32803, 34892


class Header:
    """Reads single ranges of a file, and never more than a cap in total.

    A range beyond the file or beyond the cap comes back shorter than asked, or empty.

    Args:
        path: The file. A path that is no regular file counts as empty, so that a pipe never blocks.
        cap: The most bytes that may be read through this reader.

    Raises:
        OSError: The file cannot be opened or read.
    """

    def __init__(self, path: str | Path, cap: int = HEADER_CAP) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._handle)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        self.spent = 0
        self._cap = cap
        self._first = self._read(0, min(_FIRST_READ, self.size))
        self._last: tuple[int, bytes] = (0, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._handle)

    def at(self, offset: int, length: int) -> bytes:
        """Returns up to `length` bytes from `offset`, fewer at the file's end or when the cap is reached."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        if offset + length <= len(self._first):
            return self._first[offset : offset + length]
        start, window = self._last
        if not start <= offset <= offset + length <= start + len(window):
            window = self._read(offset, max(length, _LATER_READ))
            self._last = (offset, window)
            start = offset
        return window[offset - start : offset - start + length]

    def _read(self, offset: int, length: int) -> bytes:
        length = min(length, self._cap - self.spent)
        data = os.pread(self._handle, length, offset) if length > 0 else b""
        self.spent += len(data)
        return data


def boxes(header: Header, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walks the boxes of an ISO media file (HEIC, MOV, MP4, CR3).

    Args:
        header: The file.
        start: Offset of the first box, in bytes.
        end: Offset behind the last box.

    Yields:
        Type, offset of the body, and offset behind the box as the box declares it, which may lie
        beyond `end` in a file that was cut off.
    """
    for _ in range(_MOST_BOXES):
        head = header.at(start, 16) if start + 8 <= end else b""
        if len(head) < 8:
            return
        size, body = int.from_bytes(head[:4], "big"), start + 8
        if size == 1 and len(head) == 16:
            size, body = int.from_bytes(head[8:], "big"), start + 16
        stop = end if size == 0 else start + size
        if stop < body:
            return
        yield head[4:8], body, stop
        start = stop


def kind_of_name(name: str) -> Kind | None:
    """Returns the kind that a file name promises by its extension, in any case, or None for other files."""
    fmt = _BY_EXTENSION.get(_suffix(name))
    return _TABLE[fmt][0] if fmt else None


def identify(path: str | Path) -> Identity | None:
    """Tells what a file is from its first bytes; the name only decides where the bytes cannot.

    A file that bears a known signature but is cut off or corrupt is identified all the same: it is a
    damaged picture, not something else.

    Args:
        path: The file; a capped number of bytes of its header are read.

    Returns:
        The identity, or None when the bytes are no media file and no sidecar.

    Raises:
        OSError: The file cannot be read.
    """
    with Header(path) as header:
        return identify_header(header, str(path))


def identify_header(header: Header, name: str) -> Identity | None:
    """As `identify`, over a file that is already open."""
    fmt = _format(header, _BY_EXTENSION.get(_suffix(name)))
    if fmt is None:
        return None
    kind, mime, suffixes = _TABLE[fmt]
    return Identity(kind, fmt, mime, suffixes.split()[0])


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _format(header: Header, promised: str | None) -> str | None:
    head = header.at(0, 64)
    if len(head) < 4:
        return None
    if head[4:8] == b"ftyp":
        return _iso_format(header)
    if head.startswith(b"IIU\0"):
        return "rwl" if promised == "rwl" else "rw2"  # Leica's is Panasonic's under another name
    return (
        _plain_format(head)
        or _tiff_format(header, head, promised)
        or _video_format(header, head, promised)
        or _sidecar_format(head, promised)
    )


def _plain_format(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12])
    magics = {
        b"\x89PNG\r\n\x1a\n": "png", b"GIF87a": "gif", b"GIF89a": "gif", b"FUJIFILMCCD-RAW": "raf", b"FOVb": "x3f",
        b"\0MRM": "mrw", b"IIRO": "orf", b"IIRS": "orf", b"MMOR": "orf",
        b"II\x1a\0\0\0HEAPCCDR": "crw",
    }  # fmt: skip
    return next((fmt for magic, fmt in magics.items() if head.startswith(magic)), None)


def _iso_format(header: Header) -> str | None:
    size = int.from_bytes(header.at(0, 4), "big")
    brands = header.at(8, min(max(size, 16), 256) - 8)
    major = brands[:4]
    every = {major, *(brands[at : at + 4] for at in range(8, len(brands) - 3, 4))}
    if major in (b"M4A ", b"M4B ", b"M4P "):
        return None  # music
    if major == b"crx ":
        return "cr3"
    if every & {b"avif", b"avis"}:
        return "avif"
    if major in _HEIC_BRANDS:
        return "heic"
    if major == b"qt  ":
        return "mov"
    if major.startswith(b"3g2"):
        return "3g2"
    return "3gp" if major.startswith((b"3gp", b"3gg", b"3gr", b"3gs", b"3ge")) else "mp4"


def _tiff_format(header: Header, head: bytes, promised: str | None) -> str | None:
    if not head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return None
    if head[8:10] == b"CR":
        return "cr2"
    if promised in _TIFF_RAWS:
        return promised
    # A RAW that was renamed to .tif would otherwise pass for a picture of the size of its preview.
    return _raw_by_tags(header, "<" if head[:1] == b"I" else ">") or "tiff"


def _raw_by_tags(header: Header, order: str) -> str | None:
    try:
        (start,) = struct.unpack(order + "I", header.at(4, 4))
        (count,) = struct.unpack(order + "H", header.at(start, 2))
        rows = struct.iter_unpack(order + "HHI4s", header.at(start + 2, 12 * min(count, 200)))
        tags = {tag: (kind, size, value) for tag, kind, size, value in rows}
    except struct.error:
        return None
    if _DNG_VERSION in tags:
        return "dng"

    def number(tag: int) -> int | None:
        kind, _, value = tags.get(tag, (0, 0, b""))
        width = {3: "H", 4: "I"}.get(kind)
        return int(struct.unpack_from(order + width, value)[0]) if width else None

    is_preview = number(_SUBFILE_TYPE) == 1 and _SUB_IFDS in tags
    if not is_preview and number(_PHOTOMETRIC) not in (_CFA, _LINEAR_RAW):
        return None
    _, size, value = tags.get(_MAKE, (0, 0, b"\0\0\0\0"))
    make = header.at(struct.unpack(order + "I", value)[0], min(size, 64))
    return next((fmt for prefix, fmt in _RAW_BY_MAKE.items() if make.upper().startswith(prefix.upper())), None)


def _video_format(header: Header, head: bytes, promised: str | None) -> str | None:
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "webm" if b"webm" in header.at(0, 64) else "mkv"
    if head[4:8] in (b"moov", b"pnot") or (
        # Old QuickTime files have no signature; such a box alone is only believed under a video's name.
        head[4:8] in (b"mdat", b"wide", b"free", b"skip") and promised in ("mov", "mp4", "3gp")
    ):
        return "mov"
    for first, step in ((0, 188), (4, 192)):  # transport stream packets start with 0x47; m2ts puts 4 bytes before
        marks = [header.at(first + n * step, 1) for n in range(4) if first + n * step < header.size]
        if len(marks) > 1 and set(marks) == {b"G"}:
            return "mts"
    return None


def _sidecar_format(head: bytes, promised: str | None) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    starts = {"aae": (b"<", b"bplist"), "xmp": (b"<",), "json": (b"{", b"[")}
    return promised if promised in starts and text.startswith(starts[promised]) else None
