"""The JPEG engine: the same picture at the same resolution in fewer bytes, inside the original's own metadata.

Belongs here: the strict decode, the encoder's choices, and the proof that what was written shows the same picture.
Does not belong here: the byte structure (`jpeg_segments`), and what a file's age allows (`tiers`).

Pixels are never rotated and the orientation tag is never touched: whatever showed the original upright shows the
rendition upright.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from media import jpeg_segments
from media.jpeg_segments import Jpeg, JpegStructureError
from media.tiers import KeepOriginal, Made, Plan, refuse_small_saving

# A decode holds 4 bytes a pixel and the progressive encoder 3 more: 110 megapixels stay below 1 GiB.
MAX_PIXELS = 110_000_000
MAX_BYTES = 256 << 20
_MAX_SCANS = 64  # a picture needs about ten; hundreds of scans of a large frame only burn time
_PILLOW_SUBSAMPLING = {"444": "4:4:4", "422": "4:2:2", "420": "4:2:0", "Gray": None}
# ISO/IEC 10918-1, table K.1, in natural order: what libjpeg scales to a quality. Only its sum is used.
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
# Measured at an eighth of the size over all camera files and qualities from 60: the mean differs by less than 1 level
# and the worst pixel in a thousand by less than 12. Beyond these bounds it is another picture, not a coarser one.
_MAX_MEAN_DIFFERENCE = 3.0
_MAX_LOCAL_DIFFERENCE = 40.0


def compress(original: Path, part: Path, plan: Plan) -> Made:
    """Writes the JPEG `original` at the plan's quality to `part`.

    Args:
        original: Only read.
        part: Written, read back and verified.
        plan: `jpeg_quality` and `min_saving` are used.

    Raises:
        KeepOriginal: It is damaged, of a kind that would lose something, or would save too little.
        OSError: Reading or writing failed.
    """
    if plan.jpeg_quality == 0:
        raise KeepOriginal("photos of this age are kept as they are")
    if os.path.getsize(original) > MAX_BYTES:
        raise KeepOriginal("the file is too large to be compressed in memory")
    source = _taken_apart(original.read_bytes())
    subsampling = _refuse_special(source)
    _refuse_coarse(source, plan.jpeg_quality)
    pixels = _decode_strictly(source.data)
    small = _eighth(pixels)
    spliced = _spliced(source, _encode(pixels, plan.jpeg_quality, subsampling))
    height, width = pixels.shape[:2]
    del pixels  # the check below must not stand on top of it in memory
    refuse_small_saving(len(source.data), len(spliced), plan.min_saving)
    part.write_bytes(spliced)
    _verify(source, part.read_bytes(), small, (height, width))
    return Made("jpeg", ".jpg", width, height, f"JPEG quality {plan.jpeg_quality}, full resolution")


def estimated_quality(table: tuple[int, ...]) -> int:
    """Returns the libjpeg quality, 1 to 100, whose luminance table is closest in its sum to `table`.

    Makers use tables of their own; the sum is what tells a coarse one from a fine one.
    """
    total = sum(table)
    return min(range(1, 101), key=lambda quality: (abs(_luminance_sum(quality) - total), -quality))


def _luminance_sum(quality: int) -> int:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(255, max(1, (entry * scale + 50) // 100)) for entry in _LUMINANCE)


def _taken_apart(data: bytes) -> Jpeg:
    try:
        return jpeg_segments.split(data)
    except JpegStructureError as error:
        raise KeepOriginal(f"the file is damaged or unusual: {error}") from error


def _refuse_special(source: Jpeg) -> str:
    """Returns the subsampling of an ordinary photo, and refuses everything that would lose something."""
    try:
        frame = jpeg_segments.frame_of(source)
        problem = jpeg_segments.trailer_problem(source)
        height, width, colours, subsampling = simplejpeg.decode_jpeg_header(source.data, strict=True)
    except ValueError as error:  # JpegStructureError is one
        raise KeepOriginal(f"the file is damaged or unusual: {error}") from error
    if frame.marker not in (0xC0, 0xC1, 0xC2) or frame.precision != 8:
        raise KeepOriginal("it is a JPEG of a rare kind (12 bit, lossless or arithmetic)")
    if (height, width) != (frame.height, frame.width):
        raise KeepOriginal("the file is damaged or unusual: its sizes disagree")
    if height * width > MAX_PIXELS:
        raise KeepOriginal(f"{height * width / 1e6:.0f} megapixels are too many to be compressed in memory")
    if source.scans > _MAX_SCANS:
        raise KeepOriginal("the file is damaged or unusual: it has too many scans")
    if colours not in ("YCbCr", "Gray"):
        raise KeepOriginal(f"its colours are {colours}, which a new encoding would change")
    if any(segment.marker == jpeg_segments.APP11 for segment in source.metadata):
        raise KeepOriginal("it carries data that belongs to exactly these pixels (content credentials or JPEG XT)")
    if problem:
        raise KeepOriginal(problem)
    return str(subsampling)


def _refuse_coarse(source: Jpeg, quality: int) -> None:
    """Refuses a picture that is already as coarse as the target: it would only lose."""
    try:
        tables = jpeg_segments.quantisation_tables(source)
        luminance = tables[jpeg_segments.frame_of(source).tables[0]]
    except (JpegStructureError, LookupError) as error:
        raise KeepOriginal("the file is damaged or unusual: its quantisation table is missing") from error
    if sum(luminance) >= _luminance_sum(quality):
        raise KeepOriginal(f"it is already compressed to about quality {estimated_quality(luminance)}")


def _decode_strictly(data: bytes) -> NDArray[np.uint8]:
    """Returns the pixels as RGBX or grey; any warning of the decoder counts as damage."""
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if colours == "Gray" else "RGBX", strict=True)
    except ValueError as error:
        raise KeepOriginal(f"the picture is damaged: {error}") from error
    return np.asarray(pixels, dtype=np.uint8)


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Wraps pixels for Pillow; RGBX and grey are not copied."""
    height, width, channels = pixels.shape
    mode = "L" if channels == 1 else "RGBX"
    return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)


def _encode(pixels: NDArray[np.uint8], quality: int, subsampling: str) -> bytes:
    """Encodes with libjpeg-turbo: progressive where Pillow can say the subsampling, else sequential.

    Progressive costs about 10 ms a megapixel more than sequential and saves 4 to 8 % at the same pixels.
    """
    if subsampling not in _PILLOW_SUBSAMPLING:
        return bytes(simplejpeg.encode_jpeg(pixels, quality, "RGBX", subsampling))
    options: dict[str, str] = {}
    if sampling := _PILLOW_SUBSAMPLING[subsampling]:
        options["subsampling"] = sampling
    out = io.BytesIO()
    _image(pixels).save(out, "JPEG", quality=quality, progressive=True, optimize=True, **options)
    return out.getvalue()


def _spliced(source: Jpeg, encoded: bytes) -> bytes:
    try:
        return jpeg_segments.splice(source, jpeg_segments.split(encoded))
    except JpegStructureError as error:
        raise KeepOriginal(str(error)) from error


def _eighth(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    small = np.asarray(_image(pixels).reduce(8), dtype=np.int16)
    return small[..., :3] if small.ndim == 3 else small[..., None]


def _verify(source: Jpeg, written: bytes, small: NDArray[np.int16], shape: tuple[int, int]) -> None:
    """Refuses a rendition that does not hold everything and show the same picture.

    Args:
        source: The original, taken apart.
        written: The part, read back from its file.
        small: The original's pixels at an eighth.
        shape: Its height and width.
    """
    try:
        rendition = jpeg_segments.split(written)
        _verify_metadata(source, rendition)
        if simplejpeg.decode_jpeg_header(written, strict=True)[:2] != shape:
            raise KeepOriginal("the smaller version came out with another size")
        # A least size of one pixel makes libjpeg-turbo scale by 1/8; every coefficient is still decoded.
        colours = "GRAY" if small.shape[2] == 1 else "RGB"
        again = simplejpeg.decode_jpeg(written, colours, min_height=1, min_width=1, strict=True)
    except ValueError as error:
        raise KeepOriginal(f"the smaller version could not be read back: {error}") from error
    if again.shape != small.shape:
        raise KeepOriginal("the smaller version came out with another size")
    difference = np.abs(again.astype(np.int16) - small)
    if difference.mean() > _MAX_MEAN_DIFFERENCE or np.percentile(difference, 99.9) > _MAX_LOCAL_DIFFERENCE:
        raise KeepOriginal("the smaller version would have looked different")


def _verify_metadata(source: Jpeg, rendition: Jpeg) -> None:
    """Every segment the same but for the positions in the multi-picture index, and everything they point at."""
    if _without_index(source) != _without_index(rendition) or source.trailer != rendition.trailer:
        raise KeepOriginal("the smaller version would have lost metadata")
    before, after = jpeg_segments.mpf_pictures(source), jpeg_segments.mpf_pictures(rendition)
    if len(before) != len(after):
        raise KeepOriginal("the smaller version would have lost its second picture")
    for old, new in zip(before[1:], after[1:], strict=True):
        pictures = (source.data[old.start : old.start + old.size], rendition.data[new.start : new.start + new.size])
        if old.start >= source.picture_end and pictures[0] != pictures[1]:
            raise KeepOriginal("the smaller version would have lost its second picture")


def _without_index(jpeg: Jpeg) -> list[bytes]:
    is_index = [segment.marker == jpeg_segments.APP2 and segment.payload[:4] == b"MPF\0" for segment in jpeg.metadata]
    return [segment.raw for segment, index in zip(jpeg.metadata, is_index, strict=True) if not index]
