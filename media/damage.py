"""Whether a picture or film is whole, found by decoding strictly; the small picture falls out of the same decode.

Belongs here: one strict check per container, and its finding in plain words. Does not belong here:
what is done about a finding, thumbnails and hashes. A RAW is never decoded: its preview is shown when
it is at hand, and its sensor data is not judged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from media.kinds import Header, Identity, Kind, boxes
from media.metadata import Items, Tiff, heif_items, jpeg_segments, read_exif
from media.perceptual import flat, shrunk, upright

LONG_EDGE = 1024
_ENOUGH = 512
_MEGA = 1_000_000
# How many megapixels a decoder may be asked for, so that a worker stays below 1 GiB. JPEG is decoded at a
# reduced scale and HEIC tile by tile; a progressive JPEG keeps all its coefficients, AVIF several frames.
_MOST_MEGAPIXELS = {"jpeg": 400, "heic": 400, "progressive": 100, "avif": 50, "film": 70}
_OTHER_MEGAPIXELS = 100
_MOST_BYTES = 400 * _MEGA
_MOST_SCANS = 500
_ANIMATION_MEGAPIXELS = 300
_ITEM_TABLES_CAP = 8 << 20
_MOST_PREVIEW_BYTES = 30 * _MEGA
_SMALLEST_PREVIEW = 160
_FILM_PACKETS, _FILM_BYTES = 300, 64 * _MEGA
_FILM_SAMPLES = 256
_FILM_SCAN_BYTES = 512 * _MEGA  # of a longer film, every second frame is looked at, or every third, …
_HOLE = bytes(64)
_REAL_IO_ERRORS = frozenset([errno.EIO, errno.ENOENT, errno.EACCES, errno.ESTALE, errno.ENXIO, errno.ETIMEDOUT])
_HARMLESS_WARNINGS = ("metadata warning", "image size")  # too many values in a tag; large but allowed
_HARMLESS_TIFF_NOTES = (b"TIFFFetchNormalTag", b"Warning", b"TIFFReadDirectory")
_PILLOW_NAMES = {"png": "PNG", "gif": "GIF", "webp": "WEBP", "avif": "AVIF", "tiff": "TIFF", "jpeg": "JPEG"}
_ORIENTATION = 0x0112
_RARE_JPEG = ("subsampling", "unsupported", "precision")  # what simplejpeg passes on to a more general decoder


class Damaged(Exception):
    """A strict check failed; the text says how, in plain words."""


@dataclass(slots=True)
class Decoded:
    """What a strict decode found.

    Attributes:
        damage: What is wrong, in plain words, or None when the file is whole.
        image: The picture, upright, RGB, 1024 pixels or fewer on its longer side; None when none can be seen.
        width: Stored width in pixels, before any turning; None when unknown.
        height: Stored height in pixels.
        orientation: EXIF orientation, 1 to 8, that turns the stored pixels upright.
        duration_seconds: Length of a film, in seconds.
    """

    damage: str | None = None
    image: Image.Image | None = None
    width: int | None = None
    height: int | None = None
    orientation: int = 1
    duration_seconds: float | None = None


def check_decode(path: str | Path, identity: Identity) -> Decoded:
    """Decodes a file strictly and says what is wrong with it.

    Args:
        path: The file.
        identity: What `identify` said of it.

    Returns:
        The finding. Corrupt content, whatever a decoder makes of it, is a finding and never an exception.

    Raises:
        OSError: The disk or the mount failed; that says nothing about the file.
    """
    found = Decoded()
    try:
        _check(Path(path), identity, found)
    except Damaged as finding:
        found.damage = str(finding)
    except MemoryError:
        found.damage = "opening it takes more memory than is allowed"
    except Image.DecompressionBombError:
        found.damage = "it claims to be far larger than can be opened safely"
    except UnidentifiedImageError:
        found.damage = "it cannot be opened: its header is corrupt, or of a kind that is not known here"
    except Exception as error:  # a decoder may raise anything on hostile bytes
        if isinstance(error, OSError) and error.errno in _REAL_IO_ERRORS:
            raise
        found.damage = f"it cannot be decoded ({_short(error)})"
    return found


def _check(path: Path, identity: Identity, found: Decoded) -> None:
    if identity.kind is Kind.VIDEO:
        _check_film(path, identity, found)
    elif identity.kind is Kind.RAW:
        _look_into_raw(path, identity, found)
    elif identity.format == "jpeg":
        _check_jpeg(path, identity, found)
    elif identity.format == "heic":
        _check_heic(path, found)
    elif identity.kind is Kind.PHOTO:
        _check_pillow(path, identity, found)


def _refuse_size(width: int, height: int, limit: str) -> None:
    """Refuses a picture that would exhaust the memory, before any decoder is asked for it."""
    if width <= 0 or height <= 0:
        raise Damaged("it has no width or no height")
    if width * height > _MOST_MEGAPIXELS.get(limit, _OTHER_MEGAPIXELS) * _MEGA:
        raise Damaged(f"it claims to measure {width} × {height} pixels, more than can be opened safely")


def _show(found: Decoded, image: Image.Image, orientation: int) -> None:
    # Large pictures shrink first; palettes and deep pixels have to become RGB before they can.
    early = image.mode in ("RGB", "RGBA", "L", "LA", "CMYK")
    small = flat(shrunk(image, LONG_EDGE)) if early else shrunk(flat(image), LONG_EDGE)
    found.image = upright(small, orientation)


def _short(error: Exception) -> str:
    # The words of the system alone, where there are some: a full message names temporary paths.
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:160]


def _percent(part: float) -> str:
    """Tells a share without ever rounding a defect away: never "0 %", never "100 %"."""
    return f"{min(max(round(100 * part), 1), 99)} %"


# ---- JPEG


def _check_jpeg(path: Path, identity: Identity, found: Decoded) -> None:
    with Header(path) as header:
        if header.size > _MOST_BYTES:
            raise Damaged("it is larger than any JPEG that can be opened safely")
        exif = read_exif(header, identity)
        markers = list(jpeg_segments(header))
    found.orientation = exif.orientation if exif else 1
    data = path.read_bytes()
    progressive = any(marker in (0xC2, 0xC6, 0xCA) for marker, _, _ in markers)
    try:
        _decode_jpeg(data, found, progressive, strict=True)
    except ValueError as error:
        if any(word in str(error).lower() for word in _RARE_JPEG):
            _check_pillow(path, identity, found)
            return
        with contextlib.suppress(ValueError, Damaged):
            _decode_jpeg(data, found, progressive, strict=False)
        raise Damaged(_jpeg_finding(data, found, progressive, _short(error))) from error
    _refuse_cut_attachment(data, max((at + length for _, at, length in markers), default=2))


def _decode_jpeg(data: bytes, found: Decoded, progressive: bool, *, strict: bool) -> None:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=strict)
    found.width, found.height = width, height
    _refuse_size(width, height, "progressive" if progressive else "jpeg")
    if progressive and data.count(b"\xff\xda") > _MOST_SCANS:
        raise Damaged("it is drawn in more passes than any camera writes")
    space: Any = {"CMYK": "CMYK", "YCCK": "CMYK", "Gray": "GRAY"}.get(colours, "RGB")
    # The smallest of libjpeg's scales at which the longer side still has what a thumbnail needs.
    enough = {"min_width": _ENOUGH} if width >= height else {"min_height": _ENOUGH}
    pixels = simplejpeg.decode_jpeg(data, colorspace=space, strict=strict, **enough)
    if space == "CMYK":
        # Adobe writes its inks inverted, and only Adobe's way is in use.
        image = Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), (255 - pixels).tobytes())
    else:
        image = Image.fromarray(pixels[:, :, 0] if space == "GRAY" else pixels)
    _show(found, image, found.orientation)


def _jpeg_finding(data: bytes, found: Decoded, progressive: bool, words: str) -> str:
    zeros = len(data) - len(data.rstrip(b"\0"))
    if zeros >= 64:
        return f"the last {_percent(zeros / len(data))} of the file is empty: copying or downloading it broke off"
    if "premature end" not in words.lower():
        return f"the picture data is corrupt ({words})"
    rows = None if progressive or found.image is None else _good_rows(found.image, found.orientation)
    if rows is None:
        return "the picture breaks off before its end"
    return f"the picture breaks off after {_percent(rows)} of its rows"


def _good_rows(image: Image.Image, orientation: int) -> float | None:
    """Returns the share of rows above the even grey that libjpeg puts in place of what is missing."""
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    pixels = np.asarray(upright(image, undo)).astype(np.int16)
    even = np.abs(pixels - pixels[-1, -1]).max(axis=(1, 2)) <= 4
    good = len(even) - int(np.argmin(even[::-1])) if not even.all() else 0
    return good / len(even) if good < len(even) else None


def _refuse_cut_attachment(data: bytes, scan: int) -> None:
    """Decodes a second JPEG that stands right behind the first one: an HDR gain map or a preview."""
    end = data.find(b"\xff\xd9", scan)
    if end < 0 or data[end + 2 : end + 5] != b"\xff\xd8\xff":
        return
    attached = memoryview(data)[end + 2 :]
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(attached, strict=True)
        _refuse_size(width, height, "progressive")
        simplejpeg.decode_jpeg(attached, colorspace="GRAY", min_width=64, min_height=64, strict=True)
    except (ValueError, Damaged) as error:
        words = (
            "the picture is whole, but a second one attached to it (its HDR gain map or preview) is cut off or corrupt"
        )
        raise Damaged(words) from error


# ---- HEIC


@dataclass(slots=True)
class _Heif:
    """The item tables of one HEIC: where its items lie, what they are, and which properties they have."""

    header: Header
    extents: Items
    types: dict[int, bytes]
    primary: int
    properties: dict[int, list[tuple[bytes, bytes]]]
    tiles: list[int]
    is_preview: bool

    def data(self, item: int) -> bytes:
        return b"".join(self.header.at(start, length) for start, length in self.extents.get(item, []))

    def find(self, item: int, name: bytes) -> bytes | None:
        return next((body for kind, body in self.properties.get(item, []) if kind == name), None)


def _read_heif(header: Header) -> _Heif:
    extents, types = heif_items(header)
    meta = next((span for name, *span in boxes(header, 0, header.size) if name == b"meta"), None)
    if meta is None:
        raise Damaged("the list of its parts is missing")
    inner = {name: (start, end) for name, start, end in boxes(header, meta[0] + 4, meta[1])}
    if b"pitm" not in inner or b"iprp" not in inner:
        raise Damaged("the list of its parts is corrupt")
    start, _ = inner[b"pitm"]
    primary = int.from_bytes(header.at(start + 4, 2 if header.at(start, 1) == b"\0" else 4), "big")
    tiles: list[int] = []
    is_preview = False
    if b"iref" in inner:
        start, end = inner[b"iref"]
        width = 2 if header.at(start, 1) == b"\0" else 4
        for name, body, stop in boxes(header, start + 4, end):
            numbers = np.frombuffer(header.at(body, stop - body), np.uint8)
            source = int.from_bytes(numbers[:width].tobytes(), "big")
            is_preview = is_preview or (name == b"thmb" and source == primary)
            if name == b"dimg" and source == primary:
                tiles = np.frombuffer(numbers[width + 2 :].tobytes(), f">u{width}").tolist()
    return _Heif(header, extents, types, primary, _properties(header, *inner[b"iprp"]), tiles, is_preview)


def _properties(header: Header, start: int, end: int) -> dict[int, list[tuple[bytes, bytes]]]:
    """Parses `ipco` and `ipma`, by ISO/IEC 23008-12, 9.3."""
    known: list[tuple[bytes, bytes]] = []
    owned: dict[int, list[tuple[bytes, bytes]]] = {}
    for name, body, stop in boxes(header, start, end):
        if name == b"ipco":
            known = [(kind, header.at(at, last - at)) for kind, at, last in boxes(header, body, stop)]
        elif name == b"ipma":
            data = header.at(body, stop - body)
            item_size, wide = 4 if data[0] else 2, data[3] & 1
            at = 8
            for _ in range(int.from_bytes(data[4:8], "big")):
                item = int.from_bytes(data[at : at + item_size], "big")
                count, at = data[at + item_size], at + item_size + 1
                step = 2 if wide else 1
                marks = [int.from_bytes(data[at + n * step : at + n * step + step], "big") for n in range(count)]
                at += count * step
                places = [mark & (0x7FFF if wide else 0x7F) for mark in marks]
                owned.setdefault(item, []).extend(known[place - 1] for place in places if 0 < place <= len(known))
    return owned


def _check_heic(path: Path, found: Decoded) -> None:
    with Header(path, _MOST_BYTES) as header:
        heif = _read_heif(header)
        size = heif.find(heif.primary, b"ispe")
        if size is None:
            raise Damaged("it does not say how large its picture is")
        found.width, found.height = int.from_bytes(size[4:8], "big"), int.from_bytes(size[8:12], "big")
        _refuse_size(found.width, found.height, "heic")
        found.orientation = _heif_orientation(heif)
        _refuse_missing_items(heif)
        kind = heif.types.get(heif.primary)
        if kind == b"hvc1":
            image = _join_tiles(heif, [heif.primary], 1, 1, found)
        elif kind == b"grid":
            head = heif.data(heif.primary)
            rows, columns = head[2] + 1, head[3] + 1
            if len(heif.tiles) != rows * columns:
                raise Damaged(f"it has {len(heif.tiles)} of the {rows * columns} tiles of its picture")
            image = _join_tiles(heif, heif.tiles, rows, columns, found)
        else:
            _refuse_size(found.width, found.height, "other")
            import pillow_heif

            # Rare codings are left to libheif, which turns the picture upright by itself.
            _show(found, pillow_heif.open_heif(path).to_pillow(), 1)
            return
    _show(found, image, found.orientation)
    if heif.is_preview:
        raise Damaged("its list of parts contradicts itself: its main picture is marked as the preview of another one")


def _refuse_missing_items(heif: _Heif) -> None:
    size = heif.header.size
    missing = {item for item, parts in heif.extents.items() if any(at + length > size for at, length in parts)}
    tiles = heif.tiles or [heif.primary]
    lost = sum(tile in missing or tile not in heif.extents for tile in tiles)
    if lost == len(tiles):
        raise Damaged("the file breaks off before its picture begins")
    if lost:
        raise Damaged(f"the file breaks off: {lost} of the {len(tiles)} tiles of its picture are missing")
    if missing:
        raise Damaged(
            "the picture is whole, but the file breaks off in what is attached to it (depth, HDR or metadata)"
        )
    for name, _, end in boxes(heif.header, 0, size):
        if name in (b"mdat", b"mpvd") and end > size:
            raise Damaged("the picture is whole, but the file breaks off in the film attached to it")


def _heif_orientation(heif: _Heif) -> int:
    """Returns the EXIF orientation that does what `irot` and `imir` ask for; HEIF ignores the EXIF tag itself."""
    start = np.arange(6).reshape(2, 3)
    picture = start
    for name, body in heif.properties.get(heif.primary, []):
        if name == b"irot":
            picture = np.rot90(picture, body[0] & 3)
        elif name == b"imir":
            picture = picture[:, ::-1] if body[0] & 1 else picture[::-1]
    ways = (start, start[:, ::-1], np.rot90(start, 2), start[::-1], start.T, np.rot90(start, -1), np.rot90(start, 2).T)
    return next((number for number, way in enumerate(ways, 1) if np.array_equal(way, picture)), 8)


def _join_tiles(heif: _Heif, tiles: list[int], rows: int, columns: int, found: Decoded) -> Image.Image:
    """Decodes every tile strictly and puts them together at a reduced size."""
    import av
    import av.error

    size = heif.find(tiles[0], b"ispe") or b""
    width, height = int.from_bytes(size[4:8], "big"), int.from_bytes(size[8:12], "big")
    _refuse_size(width, height, "film")
    whole = (found.width or 0, found.height or 0)
    if not (0 <= width * columns - whole[0] < width and 0 <= height * rows - whole[1] < height):
        raise Damaged("its tiles do not fit together")
    factor = 1
    while max(whole) // (factor * 2) >= _ENOUGH and width % (factor * 2) == 0 and height % (factor * 2) == 0:
        factor *= 2
    small = (width // factor, height // factor)
    canvas = Image.new("RGB", (small[0] * columns, small[1] * rows))
    setup, decoder = None, None
    for place, tile in enumerate(tiles):
        if setup != heif.find(tile, b"hvcC") or decoder is None:
            setup = heif.find(tile, b"hvcC")
            decoder = av.CodecContext.create("hevc", "r")
            decoder.extradata, decoder.thread_count, decoder.options = setup, 1, {"err_detect": "explode"}
        data = heif.data(tile)
        if not _are_sound_units(data, (setup or b"")[21:22]):
            raise Damaged(f"tile {place + 1} of the {len(tiles)} of its picture is corrupt")
        try:
            frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
            decoder.flush_buffers()
        except av.error.FFmpegError as error:
            raise Damaged(f"tile {place + 1} of the {len(tiles)} of its picture is corrupt") from error
        # A coder pads to whole blocks, which some writers do not take off again.
        if len(frames) != 1 or not (0 <= frames[0].width - width < 64 and 0 <= frames[0].height - height < 64):
            raise Damaged(f"tile {place + 1} of the {len(tiles)} of its picture is incomplete")
        picture = frames[0].reformat(*small, format="rgb24", interpolation="AREA").to_image()  # type: ignore[no-untyped-call]
        canvas.paste(picture, (place % columns * small[0], place // columns * small[1]))
    image = canvas.crop((0, 0, max(1, whole[0] // factor), max(1, whole[1] // factor)))
    colour = heif.find(heif.primary, b"colr") or b""
    if colour[:4] in (b"prof", b"rICC"):
        image.info["icc_profile"] = colour[4:]
    return image


def _are_sound_units(data: bytes, setup: bytes) -> bool:
    """Walks the units of HEVC data. Coded data never holds three zero bytes in a row, so that a hole shows.

    Args:
        data: One coded tile: units, each behind its length (ISO/IEC 14496-15, 8.3).
        setup: The byte of `hvcC` whose two lowest bits give the size of those lengths, less one.
    """
    width = (setup[0] & 3) + 1 if setup else 4
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + width], "big")
        if length == 0:
            return at > 0 and not data[at:].strip(b"\0")  # padding behind the last unit
        at += width + length
        if at > len(data) or data.find(bytes(16), at - length, at) >= 0:
            return False
    return True


# ---- PNG, GIF, WebP, AVIF, TIFF


def _check_pillow(path: Path, identity: Identity, found: Decoded) -> None:
    if identity.format == "avif":
        with Header(path, _ITEM_TABLES_CAP) as header:
            _refuse_missing_items(_read_heif(header))
    notes: list[bytes] = []
    capture = _library_notes(notes) if identity.format == "tiff" else contextlib.nullcontext()
    with warnings.catch_warnings(record=True) as raised, capture:
        warnings.simplefilter("always")
        with Image.open(path, formats=[_PILLOW_NAMES[identity.format]]) as image:
            found.width, found.height = image.size
            if identity.format == "tiff":
                found.width, found.height = (int(image.tag_v2[tag]) for tag in (256, 257))  # type: ignore[attr-defined]
            _refuse_size(*image.size, identity.format)
            found.orientation = int(image.getexif().get(_ORIENTATION) or 1)
            image.load()
            # TIFF comes out upright already, and without the tag; the others keep both.
            _show(found, image, int(image.getexif().get(_ORIENTATION) or 1))
            _load_other_frames(image)
    words = [str(warning.message) for warning in raised if not issubclass(warning.category, ResourceWarning)]
    words += [note.decode("utf-8", "replace") for note in notes if not note.startswith(_HARMLESS_TIFF_NOTES)]
    serious = [text for text in words if not text.lower().startswith(_HARMLESS_WARNINGS)]
    if serious:
        raise Damaged(f"it opens, but not without errors ({serious[0].strip()[:160]})")


def _load_other_frames(image: Image.Image) -> None:
    if not getattr(image, "is_animated", False) or image.format == "TIFF":
        return  # the pages of a TIFF differ in size and kind; the first one is the picture
    most = _ANIMATION_MEGAPIXELS * _MEGA // (image.width * image.height)
    with contextlib.suppress(EOFError):
        for number in range(1, most):
            image.seek(number)
            image.load()


@contextlib.contextmanager
def _library_notes(notes: list[bytes]) -> Iterator[None]:
    """Collects what libtiff prints to standard error, the only place where it tells of many defects."""
    with tempfile.TemporaryFile() as sink:
        before = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            sink.seek(0)
            notes += sink.read(64 << 10).splitlines()


# ---- RAW


def _look_into_raw(path: Path, identity: Identity, found: Decoded) -> None:
    """Reads size and orientation and shows an embedded preview. Nothing here is ever called damage."""
    with contextlib.suppress(Exception), Header(path, _MOST_PREVIEW_BYTES + _ITEM_TABLES_CAP) as header:
        exif = read_exif(header, identity)
        found.orientation = exif.orientation if exif else 1
        previews: list[tuple[int, int]] = []
        if identity.format == "raf":
            numbers = header.at(84, 8)
            previews = [(int.from_bytes(numbers[:4], "big"), int.from_bytes(numbers[4:], "big"))]
        elif identity.format not in ("cr3", "crw", "x3f", "mrw"):
            previews = _raw_directories(header, found)
        for at, length in sorted(previews, key=lambda span: -span[1]):
            data = header.at(at, length) if 1000 < length <= _MOST_PREVIEW_BYTES else b""
            if len(data) == length and data.startswith(b"\xff\xd8"):
                with contextlib.suppress(ValueError, Damaged):
                    shown = Decoded(orientation=found.orientation)
                    _decode_jpeg(data, shown, progressive=False, strict=True)
                    if max(shown.width or 0, shown.height or 0) >= _SMALLEST_PREVIEW:
                        found.image = shown.image
                        return


def _raw_directories(header: Header, found: Decoded) -> list[tuple[int, int]]:
    tiff = Tiff(header.at, 0)
    main = tiff.directory(tiff.first)
    previews: list[tuple[int, int]] = []
    for entries in (main, *(tiff.directory(at) for at in tiff.numbers(main.get(0x014A))[:16])):
        width, height = tiff.number(entries.get(0x0100)), tiff.number(entries.get(0x0101))
        if width and height and width * height > (found.width or 0) * (found.height or 0):
            found.width, found.height = width, height
        # A preview is one JPEG: JPEGInterchangeFormat, or a single strip.
        for start, length in ((0x0201, 0x0202), (0x0111, 0x0117)):
            places, lengths = tiff.numbers(entries.get(start)), tiff.numbers(entries.get(length))
            if len(places) == len(lengths) == 1:
                previews.append((places[0], lengths[0]))
    return previews


# ---- Films


def _check_film(path: Path, identity: Identity, found: Decoded) -> None:
    import av
    import av.error

    size = path.stat().st_size
    _refuse_cut_container(path, identity, size)
    demuxer = {"avi": "avi", "mkv": "matroska", "webm": "matroska", "mts": "mpegts"}.get(identity.format, "mov")
    # The demuxer is fixed and only files may be opened: a hostile file cannot name another one or an address.
    safe = {"protocol_whitelist": "file"}
    with av.open(f"file:{path}", format=demuxer, options=safe, metadata_errors="replace") as container:
        if container.duration:
            found.duration_seconds = container.duration / av.time_base
        stream = next((each for each in container.streams.video if not each.disposition & 0x400), None)
        if stream is None:
            raise Damaged("it holds no moving picture")
        if stream.codec_context is None:
            raise Damaged("it is coded in a way that cannot be opened here")
        found.width, found.height = stream.codec_context.width, stream.codec_context.height
        _refuse_size(found.width, found.height, "film")
        stream.codec_context.thread_count = 1
        finding = _missing_samples(stream, path, size) if demuxer == "mov" else None
        frame = _first_frame(container, stream)
        if frame is not None:
            turns = {0: 1, 90: 8, -90: 6, 180: 3, -180: 3, 270: 6, -270: 8}
            found.orientation = turns.get(round(frame.rotation / 90) * 90, 1)
            factor = max(1, max(frame.width, frame.height) // LONG_EDGE)
            reduced = (max(frame.width // factor, 1), max(frame.height // factor, 1))
            picture = frame.reformat(*reduced, format="rgb24", interpolation="AREA").to_image()
            _show(found, picture, found.orientation)
    if finding or frame is None:
        raise Damaged(finding or "its first picture cannot be decoded")


def _refuse_cut_container(path: Path, identity: Identity, size: int) -> None:
    with Header(path) as header:
        if identity.format == "avi":
            if int.from_bytes(header.at(4, 4), "little") + 8 > size:
                raise Damaged("the file is shorter than it says: copying or downloading it broke off")
            return
        if identity.format not in ("mov", "mp4", "3gp", "3g2"):
            return
        spans = list(boxes(header, 0, size))
    names = {name for name, _, _ in spans}
    if b"moov" not in names and spans and spans[-1][2] > size:
        raise Damaged("its index is missing: recording or copying it broke off before the end")
    if b"moov" not in names:
        raise Damaged("its index is missing: there is nothing to play")


def _missing_samples(stream: Any, path: Path, size: int) -> str | None:
    """Compares the index of frames with the file: frames beyond its end, and frames that are only zeros."""
    spans = [(entry.pos, entry.size) for entry in stream.index_entries]
    if not spans:
        return None
    good = sum(at + length <= size for at, length in spans)
    if good < len(spans):
        return f"the film breaks off after {_percent(good / len(spans))} of its frames"
    # Coded H.264 and HEVC never hold three zero bytes in a row; of other coders only frames of zeros are told.
    whole = stream.codec_context.name in ("h264", "hevc")
    step = max(1, sum(length for _, length in spans) // _FILM_SCAN_BYTES, 0 if whole else len(spans) // _FILM_SAMPLES)
    looked = [*spans[::step], *spans[-4:]]
    with open(path, "rb", buffering=0) as handle:
        reads = (os.pread(handle.fileno(), length if whole else min(length, 64), at) for at, length in looked)
        empty = sum(_HOLE in data for data in reads)
    return f"about {_percent(empty / len(looked))} of its frames have holes" if empty else None


def _first_frame(container: Any, stream: Any) -> Any:
    import av.error

    spent = 0
    for number, packet in enumerate(container.demux(stream)):
        spent += packet.size
        with contextlib.suppress(av.error.FFmpegError):
            for frame in packet.decode():
                return frame
        if number > _FILM_PACKETS or spent > _FILM_BYTES:
            return None
    return None
