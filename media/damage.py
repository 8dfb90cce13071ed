"""Whether a picture or film is whole, found by decoding strictly; the small picture falls out of the same decode.

Belongs here: one strict check per container, its limits of size, and its finding in plain words. Does not
belong here: how the parts of a HEIC (see `heif`) and the index of a film (see `film`) are read, what is done
about a finding, thumbnails and hashes. A RAW is never decoded: its preview is shown when it is at hand, and
its sensor data is not judged.
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
import simplejpeg
from PIL import Image, UnidentifiedImageError

from media import heif
from media.film import BrokenFilm, Film, open_film
from media.kinds import Header, Identity, Kind
from media.metadata import Tiff, jpeg_segments, read_exif
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
    except (Damaged, heif.BrokenHeif, BrokenFilm) as finding:
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


def _check_heic(path: Path, found: Decoded) -> None:
    with Header(path, _MOST_BYTES) as header:
        parts = heif.read_heif(header)
        size = parts.size(parts.primary)
        if size is None:
            raise Damaged("it does not say how large its picture is")
        found.width, found.height = size
        _refuse_size(*size, "heic")
        found.orientation = heif.orientation(parts)
        heif.refuse_missing_items(parts)
        layout = heif.tile_layout(parts)
        if layout is None:
            _refuse_size(*size, "other")
            import pillow_heif

            # Rare codings are left to libheif, which turns the picture upright by itself.
            _show(found, pillow_heif.open_heif(path).to_pillow(), 1)
            return
        _refuse_size(*(parts.size(layout[0][0]) or (0, 0)), "film")
        image = heif.join_tiles(parts, layout, _ENOUGH)
    _show(found, image, found.orientation)
    if parts.is_preview:
        raise Damaged("its list of parts contradicts itself: its main picture is marked as the preview of another one")


# ---- PNG, GIF, WebP, AVIF, TIFF


def _check_pillow(path: Path, identity: Identity, found: Decoded) -> None:
    if identity.format == "avif":
        with Header(path, _ITEM_TABLES_CAP) as header:
            heif.refuse_missing_items(heif.read_heif(header))
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
    with open_film(path, identity.format) as film:
        found.duration_seconds = film.duration_seconds
        found.width, found.height = film.select_picture()
        _refuse_size(found.width, found.height, "film")
        finding = _film_finding(film)
        orientation = film.decode_first()
        if orientation is not None:
            found.orientation = orientation
            _show(found, film.picture(LONG_EDGE), orientation)
    if finding or orientation is None:
        raise Damaged(finding or "its first picture cannot be decoded")


def _film_finding(film: Film) -> str | None:
    there, holes = film.lost_frames()
    if there < 1:
        return f"the film breaks off after {_percent(there)} of its frames"
    return f"about {_percent(holes)} of its frames have holes" if holes else None
