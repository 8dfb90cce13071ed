"""Tiny made-up pictures and films, each unlike any other, to try whether somebody takes a format.

Belongs here: writing one. Does not belong here: believable photos (`media.sample`), or who is tried.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pillow_heif
from av.video.stream import VideoStream
from PIL import Image

SIDE = 64
_FRAMES = 15
_FILMS = ("mov", "mp4")


def write_tiny(path: Path, file_format: str, seed: int) -> None:
    """Writes a picture of coloured squares, or a film of one second.

    Args:
        path: The file.
        file_format: `jpeg`, `heic`, `png`, `mov` or `mp4`.
        seed: Decides about the colours: the same seed writes the same bytes, another one others.

    Raises:
        KeyError: The format is none of these.
    """
    if file_format in _FILMS:
        _write_film(path, file_format, seed)
        return
    picture = _picture(np.random.default_rng(seed))
    match file_format:
        case "jpeg":
            picture.save(path, "JPEG", quality=90)
        case "png":
            picture.save(path, "PNG")
        case "heic":
            pillow_heif.from_pillow(picture).save(path, quality=90)
        case _:
            raise KeyError(file_format)


def _picture(chance: np.random.Generator) -> Image.Image:
    colours = chance.integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _write_film(path: Path, file_format: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    with av.open(str(path), "w", format=file_format) as container:
        options = {"preset": "ultrafast", "threads": "1"}  # several threads may write other bytes each time
        stream: VideoStream = container.add_stream("libx264", rate=_FRAMES, options=options)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for _ in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.asarray(_picture(chance)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
