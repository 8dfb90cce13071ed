"""Photos made by arithmetic: the same files on every machine, each with its own content, look and date.

Belongs here: pictures as heavy as a phone's, tiny ones in large numbers. Does not belong here: what is
measured with them, or the sample library for people (`media.sample`).
"""

from __future__ import annotations

import struct
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

PHONE = (4032, 3024)  # 12 megapixels
FIRST_SHOT = datetime(2024, 5, 6, 8, 0, 0)
SHOTS_A_DAY = 100
QUALITY = 93
_MARGIN = 256
_BASES = 4
_GRAIN = 5.0  # the noise of a small sensor; it decides how large the files become

SETTLED_SECONDS = 5.5  # until then a new file might still be written: the platform waits for it

Pixels = NDArray[np.uint8]


def make_photos(
    folder: Path,
    count: int,
    size: tuple[int, int] = PHONE,
    *,
    first: int = 0,
    start: datetime = FIRST_SHOT,
    per_day: int = SHOTS_A_DAY,
) -> list[Path]:
    """Writes JPEGs as a phone would: textured, noisy, with an EXIF date, no two alike.

    Args:
        folder: Where to; it is made.
        count: How many.
        size: Width and height in pixels.
        first: The number of the first one; another number is another picture.
        start: The date of the shot with number 0.
        per_day: So many shots later it is the next day.

    Returns:
        The paths, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"IMG_{number:05d}.jpg" for number in range(first, first + count)]
    jobs = [(str(path), first + at, size, _shot(first + at, start, per_day)) for at, path in enumerate(paths)]
    if count * size[0] * size[1] < 20_000_000:
        for job in jobs:
            _write(job)
        return paths
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as makers:
        list(makers.map(_write, jobs, chunksize=4))
    return paths


def _shot(number: int, start: datetime, per_day: int) -> datetime:
    day, shot = divmod(number, per_day)
    return start + timedelta(days=day, seconds=30 * shot)


def _write(job: tuple[str, int, tuple[int, int], datetime]) -> None:
    path, number, size, taken = job
    data = simplejpeg.encode_jpeg(_picture(number, size), quality=QUALITY, colorsubsampling="420")
    exif = b"Exif\0\0" + _exif(taken, number)
    Path(path).write_bytes(data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(exif) + 2) + exif + data[2:])


def _exif(taken: datetime, number: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Benchmark", "Camera of 12 megapixels"
    inner = exif.get_ifd(0x8769)
    inner[0x9003] = f"{taken:%Y:%m:%d %H:%M:%S}"
    inner[0x9011] = "+02:00"
    inner[0x9291] = f"{number % 1000:03d}"
    data = exif.tobytes()
    return data.removeprefix(b"Exif\0\0")


def _picture(number: int, size: tuple[int, int]) -> Pixels:
    """Returns a cut of a base picture under a light of its own, so that no two have one perceptual hash."""
    width, height = size
    chance = np.random.default_rng(number)
    margin = min(_MARGIN, width // 4)
    base = _base(number % _BASES, width + margin, height + margin)
    x, y = (int(chance.integers(0, margin)) for _ in range(2))
    cut = base[y : y + height, x : x + width]
    light = Image.fromarray(chance.integers(0, 140, (9, 12, 3)).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    # Halves, so that the sum stays below 256: texture and grain from the base, shapes from the light.
    return np.ascontiguousarray((cut >> 1) + (np.asarray(light) >> 1) + np.uint8(20))


@lru_cache(maxsize=_BASES)
def _base(which: int, width: int, height: int) -> Pixels:
    """Returns a picture with detail at every scale, as foliage and walls have, and a sensor's grain."""
    chance = np.random.default_rng(1_000_003 + which)
    grey = _GRAIN * 2 * chance.standard_normal((height, width), dtype=np.float32)
    for cells, weight in ((12, 70.0), (48, 36.0), (190, 22.0), (760, 13.0), (1900, 7.0)):
        if cells >= width:
            break
        coarse = chance.random((max(2, cells * height // width), cells), dtype=np.float32)
        grey += weight * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    tones = [np.clip(grey * tone, 0, 255).astype(np.uint8) for tone in (1.0, 0.95, 0.85)]
    return np.stack(tones, axis=2)


def make_tiny(folder: Path, count: int, *, first: int = 0, per_folder: int = 1000, per_day: int = 50) -> None:
    """Writes very many very small JPEGs with EXIF dates, spread over folders and years.

    Args:
        folder: Where to.
        count: How many.
        first: The number of the first one; another number is another content.
        per_folder: How many share a folder.
        per_day: How many share a day.
    """
    pixel = simplejpeg.encode_jpeg(np.full((8, 8, 3), 128, dtype=np.uint8), quality=80)
    for start in range(first, first + count, per_folder):
        inside = folder / f"{start // per_folder:04d}"
        inside.mkdir(parents=True, exist_ok=True)
        for number in range(start, min(start + per_folder, first + count)):
            taken = datetime(2012, 1, 1) + timedelta(days=number // per_day, seconds=number % per_day)
            exif = b"Exif\0\0" + _exif_of_second(taken)
            comment = f"{number:09d}".encode()
            head = struct.pack(">BBH", 0xFF, 0xE1, len(exif) + 2) + exif
            head += struct.pack(">BBH", 0xFF, 0xFE, len(comment) + 2) + comment
            (inside / f"IMG_{number:06d}.jpg").write_bytes(pixel[:2] + head + pixel[2:])


@lru_cache(maxsize=256)
def _exif_of_second(taken: datetime) -> bytes:
    return _exif(taken, 0)
