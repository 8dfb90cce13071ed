"""What a picture looks like: upright and small, a hash that survives recompression, a measure to confirm it.

Belongs here: pure arithmetic on decoded pictures. Does not belong here: decoding (see `damage`), the
index over many hashes, and the decision what is a duplicate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_BITS = 256
_SIDE = 64
_KEPT = 16
_CORRELATION_SIDE = 32
# Rows of the DCT-II for the 16 lowest frequencies of 64 samples, without normalisation, as SciPy computes it.
_DCT: NDArray[np.float64] = 2 * np.cos(
    np.pi * np.arange(_KEPT)[:, None] * (2 * np.arange(_SIDE)[None, :] + 1) / (2 * _SIDE)
)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turns a picture so that it stands as it is meant to be seen.

    Args:
        image: The picture as stored.
        orientation: The EXIF orientation, 1 to 8.
    """
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def flat(image: Image.Image) -> Image.Image:
    """Returns a picture in eight-bit RGB, with what is transparent shown on white."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(np.clip(np.asarray(image), 0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def shrunk(image: Image.Image, long_edge: int) -> Image.Image:
    """Returns a picture whose longer side has at most `long_edge` pixels; a smaller one stays as it is."""
    scale = long_edge / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def perceptual_hash(image: Image.Image) -> str:
    """Returns the 256-bit perceptual hash of a picture as 64 hex digits.

    The bits are those of `imagehash.phash(image, hash_size=16)` (held by a test); computing only the 16
    lowest frequencies by a matrix spares a worker SciPy's memory and three quarters of the time.

    Args:
        image: The picture, upright; a reduced one of 256 pixels or more is as good as a full one.
    """
    low = _DCT @ _luma(image, _SIDE) @ _DCT.T
    # Rounded, so that a flat picture hashes to the same bits whatever the last digits of its cosines.
    low = np.round(low, 6)
    bits = low > np.median(low)
    return np.packbits(bits.flatten()).tobytes().hex()


def hamming(a: str, b: str) -> int:
    """Returns how many of 256 bits differ between two perceptual hashes; 48 or fewer are a candidate pair."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def luma_correlation(a: Image.Image, b: Image.Image) -> float:
    """Returns how alike two upright pictures are, −1 to 1, on 32 × 32 luma.

    0.98 and more confirms what a perceptual hash proposes; 0.95 also admits small crops. Two flat
    pictures have no structure to compare: they count as 1 when they are equally bright and 0 otherwise.
    """
    first, second = (_luma(image, _CORRELATION_SIDE) for image in (a, b))
    one, two = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((one * one).sum() * (two * two).sum()))
    if scale < 1e-9:
        return float(np.allclose(first, second, atol=2))
    return float((one * two).sum() / scale)


def _luma(image: Image.Image, side: int) -> NDArray[np.float64]:
    small = image.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.float64)
