"""A film's container and index: whether all of its frames are there, and its first picture.

Belongs here: opening a film safely, comparing its index with the file, decoding until one picture comes.
Does not belong here: what a film's header says of camera and date (see `metadata`), how large a picture may
be and what is said of a whole file (see `damage`), and making smaller films (see `video`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media.kinds import Header, boxes

if TYPE_CHECKING:
    from PIL import Image

_MEGA = 1_000_000
_PACKETS, _BYTES = 300, 64 * _MEGA
_SAMPLES = 256
_SCAN_BYTES = 512 * _MEGA  # of a longer film, every second frame is looked at, or every third, …
_HOLE = bytes(64)
_DEMUXERS = {"avi": "avi", "mkv": "matroska", "webm": "matroska", "mts": "mpegts"}
_QUICKTIME = "mov"
_ORIENTATIONS = {0: 1, 90: 8, -90: 6, 180: 3, -180: 3, 270: 6, -270: 8}


class BrokenFilm(Exception):
    """The film is not whole; the text says how, in plain words."""


class Film:
    """An open film.

    Args:
        path: The file.
        container: What PyAV opened.
        has_index: The container lists the place and length of every frame.

    Attributes:
        duration_seconds: Its length; None when the container does not say.
    """

    def __init__(self, path: Path, container: Any, has_index: bool) -> None:
        import av

        self._path, self._container, self._has_index = path, container, has_index
        self._stream: Any = None
        self._frame: Any = None
        self.duration_seconds: float | None = container.duration / av.time_base if container.duration else None

    def select_picture(self) -> tuple[int, int]:
        """Chooses the moving picture and returns its stored width and height in pixels.

        Raises:
            BrokenFilm: There is none, or none that can be opened.
        """
        stream = next((each for each in self._container.streams.video if not each.disposition & 0x400), None)
        if stream is None:
            raise BrokenFilm("it holds no moving picture")
        if stream.codec_context is None:
            raise BrokenFilm("it is coded in a way that cannot be opened here")
        self._stream = stream
        return stream.codec_context.width, stream.codec_context.height

    def lost_frames(self) -> tuple[float, float]:
        """Compares the index of frames with the file.

        Returns:
            The share of frames that the file is long enough for, and the share that have holes of those that
            were looked at, which is 0 when some are beyond its end or there is no index.
        """
        spans = [(entry.pos, entry.size) for entry in self._stream.index_entries] if self._has_index else []
        if not spans:
            return 1.0, 0.0
        size = self._path.stat().st_size
        good = sum(at + length <= size for at, length in spans)
        if good < len(spans):
            return good / len(spans), 0.0
        # Coded H.264 and HEVC never hold three zero bytes in a row; of other coders only frames of zeros are told.
        whole = self._stream.codec_context.name in ("h264", "hevc")
        step = max(1, sum(length for _, length in spans) // _SCAN_BYTES, 0 if whole else len(spans) // _SAMPLES)
        looked = [*spans[::step], *spans[-4:]]
        with open(self._path, "rb", buffering=0) as handle:
            reads = (os.pread(handle.fileno(), length if whole else min(length, 64), at) for at, length in looked)
            empty = sum(_HOLE in data for data in reads)
        return 1.0, empty / len(looked)

    def decode_first(self) -> int | None:
        """Decodes until one frame comes, within a limit of packets and bytes.

        Returns:
            The EXIF orientation that turns the film upright; None when no frame came.
        """
        self._stream.codec_context.thread_count = 1
        self._frame = self._first_frame()
        return None if self._frame is None else _ORIENTATIONS.get(round(self._frame.rotation / 90) * 90, 1)

    def picture(self, long_edge: int) -> Image.Image:
        """Returns the first frame as stored, in RGB, its longer side brought below twice `long_edge` pixels."""
        factor = max(1, max(self._frame.width, self._frame.height) // long_edge)
        reduced = (max(self._frame.width // factor, 1), max(self._frame.height // factor, 1))
        image: Image.Image = self._frame.reformat(*reduced, format="rgb24", interpolation="AREA").to_image()
        return image

    def _first_frame(self) -> Any:
        import av.error

        spent = 0
        for number, packet in enumerate(self._container.demux(self._stream)):
            spent += packet.size
            with contextlib.suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    return frame
            if number > _PACKETS or spent > _BYTES:
                return None
        return None


@contextlib.contextmanager
def open_film(path: Path, fmt: str) -> Iterator[Film]:
    """Opens a film for strict checks.

    Args:
        path: The file.
        fmt: Its format, as `kinds` names it.

    Raises:
        BrokenFilm: The container is cut off so that nothing in it can be played.
    """
    import av

    _refuse_cut_container(path, fmt)
    demuxer = _DEMUXERS.get(fmt, _QUICKTIME)
    # The demuxer is fixed and only files may be opened: a hostile file cannot name another one or an address.
    safe = {"protocol_whitelist": "file"}
    with av.open(f"file:{path}", format=demuxer, options=safe, metadata_errors="replace") as container:
        yield Film(path, container, has_index=demuxer == _QUICKTIME)


def _refuse_cut_container(path: Path, fmt: str) -> None:
    with Header(path) as header:
        size = path.stat().st_size
        if fmt == "avi":
            if int.from_bytes(header.at(4, 4), "little") + 8 > size:
                raise BrokenFilm("the file is shorter than it says: copying or downloading it broke off")
            return
        if fmt not in ("mov", "mp4", "3gp", "3g2"):
            return
        spans = list(boxes(header, 0, size))
    names = {name for name, _, _ in spans}
    if b"moov" not in names and spans and spans[-1][2] > size:
        raise BrokenFilm("its index is missing: recording or copying it broke off before the end")
    if b"moov" not in names:
        raise BrokenFilm("its index is missing: there is nothing to play")
