"""Libraries of any size for the iCloud stand-in: tiny pictures, each with bytes of its own, made when asked for."""

from __future__ import annotations

import functools
import io
import random
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from PIL import Image, TiffImagePlugin

from services.icloud_standin import Asset, Library

FIRST_DAY = datetime(2012, 1, 1, tzinfo=UTC)
LAST_DAY = datetime(2026, 6, 1, tzinfo=UTC)
# Nepal and the Chatham Islands are off by quarters of an hour; the last one is a clock before time zones.
OFFSETS = (0, 3600, 7200, -25200, 20700, 45900, 46800, -34200, 3208)
NFC_NAME, NFD_NAME = (unicodedata.normalize(form, "Frühstück im Café.JPG") for form in ("NFC", "NFD"))
SAME_NAME = "IMG_0001.JPG"
ALBUMS = ("Reisen", "Familie", "Größte Hits")


def jpeg(number: int, role: str = "original") -> bytes:
    """A valid JPEG of 64 x 48 in blocks of its own colours, so that no two of them look alike."""
    chance = random.Random(f"{role} {number}")
    blocks = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3))
    file = io.BytesIO()
    blocks.resize((64, 48), Image.Resampling.NEAREST).save(file, "JPEG", quality=40, comment=f"{role} {number}")
    return file.getvalue()


def large_jpeg(number: int) -> bytes:
    """A JPEG of 640 x 480 at so high a quality that each rendition is smaller than the one before."""
    small = Image.frombytes("RGB", (80, 60), random.Random(f"large {number}").randbytes(80 * 60 * 3))
    file = io.BytesIO()
    small.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=97)
    return file.getvalue()


@functools.cache
def _plain_movie() -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mov") as movie:
        track = movie.add_stream("mpeg4", rate=5)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        for shade in (0, 90, 180):
            movie.mux(track.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32), (shade, 90, 160)))))
        movie.mux(track.encode())
    return file.getvalue()


def movie(number: int) -> bytes:
    """A valid QuickTime movie of three frames, with an atom that nobody else has."""
    payload = f"movie {number} ".encode() * 40
    return _plain_movie() + (len(payload) + 8).to_bytes(4, "big") + b"free" + payload


@functools.cache
def _plain_raw() -> bytes:
    file = io.BytesIO()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50706] = b"\1\4\0\0"  # DNGVersion
    Image.new("RGB", (16, 12), (90, 120, 160)).save(file, "TIFF", tiffinfo=tags)
    return file.getvalue()


def raw(number: int) -> bytes:
    """A file that passes for a DNG, with an end that nobody else has."""
    return _plain_raw() + f"raw {number} ".encode() * 60


def fill(library: Library, count: int, seed: int = 1) -> list[Asset]:
    """Adds that many assets; Live Photos, edits, RAW pairs, movies, odd names and zones, undated ones among them."""
    chance = random.Random(seed)
    return [_add(library, number, seed, chance) for number in range(count)]


def _add(library: Library, number: int, seed: int, chance: random.Random) -> Asset:
    unique = seed * 1_000_000 + number
    kind = number % 20
    taken = FIRST_DAY + chance.random() * (LAST_DAY - FIRST_DAY)
    is_movie = kind == 4
    body = _later(movie, unique) if is_movie else _later(jpeg, unique)
    return library.add(
        _name(number, kind),
        body,
        taken=None if kind == 9 else taken.replace(microsecond=0),
        offset_seconds=OFFSETS[number % len(OFFSETS)],
        added=LAST_DAY + timedelta(seconds=number),
        live=_later(movie, unique) if kind == 1 else None,
        edited=_later(jpeg, unique, "edited") if kind == 2 else None,
        raw=_later(raw, unique) if kind == 3 else None,
        favourite=kind == 5,
        hidden=kind == 6 and number % 40 == 6,
        caption="Ein schöner Tag" if kind == 7 else None,
        title=f"Bild {number}" if kind == 8 else None,
        location=(52.5163, 13.3777) if kind == 10 else None,
        burst=f"burst-{number // 20}" if kind in {11, 12} else None,
        albums=(ALBUMS[number % 3],) if kind in {13, 14} else (),
    )


def _name(number: int, kind: int) -> str:
    odd = {0: SAME_NAME, 15: NFC_NAME, 16: NFD_NAME, 4: f"IMG_{number:04d}.MOV"}
    return odd.get(kind, f"IMG_{number:04d}.JPG")


def _later(make: Callable[..., bytes], *arguments: object) -> Callable[[], bytes]:
    return functools.partial(make, *arguments)
