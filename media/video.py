"""The video engine: the same frames at the same times in fewer bytes, inside the original's own container.

Belongs here: the strict decode, the encoder's choices, and the proof that what was written shows the same frames and
holds every other track untouched. Does not belong here: the container's bytes (`video_boxes`, `video_splice`), and what
a file's age allows (`tiers`).
"""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from media.files import hash_file
from media.tiers import KeepOriginal, Made, Plan, refuse_small_saving
from media.video_boxes import ContainerError, Movie, Track, read_brand, read_movie
from media.video_splice import refuse_hidden_data, splice, video_track

# Sources that nothing could be won from: bits for each pixel of each frame.
_COMPACT_BITS = {"hevc": 0.03, "av1": 0.025, "vp9": 0.025, "h264": 0.03}
_ENCODERS = {"hevc": ("libx265", "hvc1"), "av1": ("libsvtav1", "av01"), "h264": ("libx264", "avc1")}
# One thread for each file: the pool has as many files in work as there are cores, which is faster than threads.
# Closed groups of at most 4 s, so that a phone can jump in them.
_X265 = "crf={crf}:pools=none:frame-threads=1:log-level=error:info=0:open-gop=0:keyint={keyint}"
# Above 4 megapixels x265 holds about 100 MB for each frame that it looks ahead: 4K peaks at 2.1 GB, and so at 1.5 GB.
_X265_LARGE = ":rc-lookahead=5:bframes=2:ref=2"
_LARGE = 4_000_000
_HELD_BYTES = 64 << 20  # of frames that wait for the garbage collector
_PIXELS = frozenset({"yuv420p", "yuvj420p", "yuv420p10le"})
_MAX_PIXELS = 36_000_000  # a frame of 8K
# What may stand beside a frame without being lost: it is kept in the container, or says how the old encoder worked.
_HARMLESS = frozenset(
    {"DISPLAYMATRIX", "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "AMBIENT_VIEWING_ENVIRONMENT"}
    | {"MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST", "VIDEO_HINT", "SPHERICAL", "STEREO3D"}
)
_NOTE = "SEI_UNREGISTERED"
# Encoders sign their frames so, each under a UUID of its own: Apple's, x264's and x265's settings say nothing about a
# new encoding. Under another UUID, a note on the first frames is a signature too; on every frame it is somebody's
# data.
_SIGNATURES = (
    bytes.fromhex("47564adc5c4c433f94efc5113cd143a8"),
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),
)
_MOST_NOTES = 2
_PROBE_EDGE = 32
_PROBE_EVERY = 10
# Measured at 32 x 32 in grey up to CRF 34: mean below 1 level. Beyond this it is another picture.
_MAX_PROBE_DIFFERENCE = 5.0
_ODD_BYTES = "backslashreplace"  # many cameras wrote their tags in no known encoding; they are compared, not read
_OF_THE_ENCODER = (("video", "encoder"), ("video", "vendor_id"))  # both stand in the old sample entry
_TRIAL_SHARE, _TRIAL_FRAMES, _HOPELESS = 0.25, 90, 1.1


@dataclass(slots=True)
class _Seen:
    """What the decode of the original saw: frame times in ticks and small grey pictures of some frames."""

    times: list[int]
    probes: dict[int, NDArray[np.int16]]
    notes: int = 0


class _Target:
    """The file of new frames. It remembers why a write failed, for PyAV reports only that one did."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self.fault: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._handle.write(data)
        except OSError as error:
            self.fault = self.fault or error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._handle.seek(offset, whence)

    def tell(self) -> int:
        return self._handle.tell()


def compress(original: Path, part: Path, plan: Plan) -> Made:
    """Writes the video `original`, encoded at the plan's rate factor, to `part`.

    Args:
        original: Only read.
        part: Written, read back and verified. While it is made, a nameless file of the new frames stands beside it.
        plan: The video fields and `min_saving` are used.

    Raises:
        KeepOriginal: It is damaged, holds something that would be lost, or would save too little.
        OSError: Reading or writing failed.
    """
    if plan.video_crf == 0:
        raise KeepOriginal("videos of this age are kept as they are")
    with open(original, "rb") as source, tempfile.TemporaryFile(dir=part.parent) as encoded:
        target = _Target(encoded)
        try:
            movie = read_movie(source)
            track = video_track(movie)
            refuse_hidden_data(source, movie)
            seen, size = _encode(original, track, plan, target)
            encoded.flush()
            encoded_movie = read_movie(encoded)
            with open(part, "wb") as out:
                splice(source, movie, encoded, encoded_movie, out)
        except ContainerError as error:
            raise KeepOriginal(str(error)) from error
        except av.error.FFmpegError as error:
            if target.fault:  # a full disk is the disk's fault and not the video's
                raise target.fault from error
            hash_file(str(original))  # raises where the disk is at fault: then nothing is said about the video
            raise KeepOriginal(f"the video is damaged: {error.strerror or error}") from error
        brand = read_brand(source)
    refuse_small_saving(os.path.getsize(original), os.path.getsize(part), plan.min_saving)
    _verify(original, part, movie, seen, size)
    name, extension = _container(brand)
    return Made(name, extension, *size, _detail(plan, size, seen))


def _container(brand: bytes) -> tuple[str, str]:
    if brand == b"qt  ":
        return "mov", ".mov"
    if brand.startswith(b"3gp"):
        return "3gp", ".3gp"
    return ("mp4", ".m4v") if brand.startswith(b"M4V") else ("mp4", ".mp4")


def _detail(plan: Plan, size: tuple[int, int], seen: _Seen) -> str:
    shown = {"hevc": "HEVC", "av1": "AV1", "h264": "H.264"}[plan.video_codec]
    return f"{shown} CRF {plan.video_crf}, {size[0]}x{size[1]}, {len(seen.times)} frames; all other tracks copied"


def _open_strictly(path: Path) -> tuple[InputContainer, VideoStream]:
    """Opens a video for every frame that it holds, with edit lists left aside, so that a fault raises."""
    container = av.open(str(path), options={"ignore_editlist": "1"}, metadata_errors=_ODD_BYTES)
    if len(container.streams.video) != 1:
        container.close()
        raise KeepOriginal("it has another number of video tracks than its index says")
    stream = container.streams.video[0]
    if stream.codec_context is None:  # PyAV's stub does not say so
        container.close()
        raise KeepOriginal("its codec is not known here")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": "explode"}
    return container, stream


def _encode(original: Path, track: Track, plan: Plan, target: _Target) -> tuple[_Seen, tuple[int, int]]:
    """Encodes every frame of the original into a file of its own.

    Returns:
        What the decode saw, and the size of the new frames.
    """
    container, stream = _open_strictly(original)
    with container:
        _refuse_special(stream, track, plan)
        size = _target_size(stream, plan.video_max_edge)
        seen = _Seen([], {})
        with av.open(target, "w", format="mp4") as out:
            encoder = _add_encoder(out, stream, track, plan, size)
            done = spent = 0
            held = max(1, _HELD_BYTES // (4 * stream.codec_context.width * stream.codec_context.height))
            for frame in container.decode(stream):
                _note(frame, seen)
                for packet in encoder.encode(_prepared(frame, size)):
                    done, spent = done + 1, spent + packet.size
                    out.mux(packet)
                _refuse_hopeless(track, done, spent)
                if len(seen.times) % held == 0:
                    gc.collect()  # PyAV ties a frame and its side data in a cycle: 4K would hold gigabytes
            for packet in encoder.encode(None):
                out.mux(packet)
    if sorted(track.times) != seen.times:
        raise KeepOriginal("the video is damaged or unusual: not every frame of it could be decoded at its time")
    return seen, size


def _refuse_special(stream: VideoStream, track: Track, plan: Plan) -> None:
    context = stream.codec_context
    pixels = context.pix_fmt or "none"
    if pixels not in _PIXELS:
        raise KeepOriginal(f"its pixel format {pixels} would lose quality")
    if plan.video_codec == "h264" and pixels == "yuv420p10le":
        raise KeepOriginal("10-bit video in H.264 is refused by most players")
    if not track.sizes or context.width * context.height > _MAX_PIXELS:
        raise KeepOriginal("its frames are too large, or it has none")
    bits = 8 * sum(track.sizes) / (len(track.sizes) * context.width * context.height)
    if bits <= _COMPACT_BITS.get(context.name.removeprefix("lib"), 0):
        raise KeepOriginal(f"it is already compact ({bits:.3f} bits a pixel)")


def _target_size(stream: VideoStream, max_edge: int) -> tuple[int, int]:
    """Returns even sizes whose longer edge is at most `max_edge`; never larger than the original."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if not max_edge or max(width, height) <= max_edge:
        return width, height
    scale = max_edge / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _add_encoder(
    out: OutputContainer, source: VideoStream, track: Track, plan: Plan, size: tuple[int, int]
) -> VideoStream:
    name, tag = _ENCODERS[plan.video_codec]
    rate = source.average_rate or Fraction(30)
    keyint = max(1, round(4 * rate))
    if plan.video_codec == "hevc":
        extra = _X265_LARGE if size[0] * size[1] > _LARGE else ""
        options = {"preset": "fast", "x265-params": _X265.format(crf=plan.video_crf, keyint=keyint) + extra}
    elif plan.video_codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes a banner for every file otherwise
        options = {"preset": "8", "crf": str(plan.video_crf), "g": str(keyint), "svtav1-params": "lp=1"}
    else:
        options = {"preset": "medium", "crf": str(plan.video_crf), "g": str(keyint)}
    stream = cast(VideoStream, out.add_stream(name, rate=rate, options=options))
    context, old = stream.codec_context, source.codec_context
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p" if old.pix_fmt == "yuvj420p" and plan.video_codec == "av1" else old.pix_fmt
    stream.time_base = context.time_base = Fraction(1, track.timescale)
    context.codec_tag = tag
    context.thread_count = 1
    context.color_range, context.colorspace = old.color_range, old.colorspace
    context.color_primaries, context.color_trc = old.color_primaries, old.color_trc
    context.sample_aspect_ratio = old.sample_aspect_ratio or Fraction(1)
    return stream


def _prepared(frame: VideoFrame, size: tuple[int, int]) -> VideoFrame:
    if (frame.width, frame.height) != size:
        pts, base = frame.pts, frame.time_base
        frame = frame.reformat(*size, format=frame.format.name, interpolation="LANCZOS")
        frame.pts, frame.time_base = pts, base
    frame.pict_type = 0  # otherwise the encoder repeats the original's choice of key frames
    return frame


def _note(frame: VideoFrame, seen: _Seen) -> None:
    """Records a frame, and refuses one that is damaged or carries data that a new encoding would drop."""
    if frame.is_corrupt or frame.pts is None:
        raise KeepOriginal("the video is damaged: a frame could not be decoded")
    if frame.interlaced_frame:
        raise KeepOriginal("it is interlaced")
    beside = list(cast(Iterable[SideData], frame.side_data))  # PyAV's stub says one, and it is a container
    seen.notes += any(data.type.name == _NOTE and bytes(data)[:16] not in _SIGNATURES for data in beside)
    if lost := {data.type.name for data in beside} - _HARMLESS - {_NOTE}:
        raise KeepOriginal(f"its frames carry {' and '.join(sorted(lost))}, which would be lost")
    if seen.notes > _MOST_NOTES:
        raise KeepOriginal("its frames carry data of their own, which would be lost")
    if len(seen.times) % _PROBE_EVERY == 0:
        seen.probes[len(seen.times)] = _probe(frame)
    seen.times.append(frame.pts)


def _probe(frame: VideoFrame) -> NDArray[np.int16]:
    small = frame.reformat(_PROBE_EDGE, _PROBE_EDGE, format="gray", interpolation="AREA")
    return small.to_ndarray().astype(np.int16)


def _refuse_hopeless(track: Track, done: int, spent: int) -> None:
    """Gives up a video that grows, long before its end."""
    if done >= max(_TRIAL_FRAMES, _TRIAL_SHARE * len(track.sizes)) and spent > _HOPELESS * sum(track.sizes[:done]):
        raise KeepOriginal("the smaller version would not have been smaller")


def _verify(original: Path, part: Path, movie: Movie, seen: _Seen, size: tuple[int, int]) -> None:
    """Reads the part back: all frames at their times, the same pictures, every tag, every other track bit for bit."""
    try:
        with open(part, "rb") as handle:
            if len(read_movie(handle).tracks) != len(movie.tracks):
                raise KeepOriginal("the smaller version would have lost a track")
        _verify_frames(part, seen, size)
        before, after = _described(original), _described(part)
    except (ContainerError, av.error.FFmpegError) as error:
        raise KeepOriginal(f"the smaller version could not be read back: {error}") from error
    for name, value in before.items():
        if after.get(name) != value:
            raise KeepOriginal(f"the smaller version would have lost {name}")


def _verify_frames(part: Path, seen: _Seen, size: tuple[int, int]) -> None:
    container, stream = _open_strictly(part)
    times: list[int] = []
    with container:
        for frame in container.decode(stream):
            if (frame.width, frame.height) != size or frame.is_corrupt or frame.pts is None:
                raise KeepOriginal("the smaller version could not be read back")
            probe = seen.probes.get(len(times))
            if probe is not None and np.abs(_probe(frame) - probe).mean() > _MAX_PROBE_DIFFERENCE:
                raise KeepOriginal("the smaller version would have looked different")
            times.append(frame.pts)
    if times != seen.times:
        raise KeepOriginal("the smaller version would have lost frames or shown them at other times")


def _described(path: Path) -> dict[str, object]:
    """Returns everything about a file that must be the same before and after, by a name for people.

    It is read as a player reads it, with edit lists, and by other code than the splice's.
    """
    found: dict[str, object] = {}
    with av.open(str(path), metadata_errors=_ODD_BYTES) as container:
        found["its length"] = (container.duration, container.start_time)
        found.update({f"the tag {key}": value for key, value in container.metadata.items()})
        hashes = {stream.index: hashlib.sha256() for stream in container.streams}
        counts = dict.fromkeys(hashes, 0)
        for packet in container.demux():
            if packet.size == 0:
                continue
            counts[packet.stream.index] += 1
            if packet.stream.type != "video":
                hashes[packet.stream.index].update(f"{packet.pts},{packet.dts},{packet.duration};".encode())
                hashes[packet.stream.index].update(packet)
        for stream in container.streams:
            name = f"track {stream.index} ({stream.type})"
            found[f"a part of {name}"] = counts[stream.index], hashes[stream.index].hexdigest()
            found[f"the times of {name}"] = stream.time_base, stream.start_time, stream.duration, stream.id
            tags = {key: value for key, value in stream.metadata.items() if (stream.type, key) not in _OF_THE_ENCODER}
            found[f"the settings of {name}"] = int(stream.disposition), tags
    with av.open(str(path), metadata_errors=_ODD_BYTES) as container:
        if first := next(container.decode(video=0), None):
            found["the rotation"] = first.rotation
            found.update(_colours(first))
    return found


def _colours(frame: VideoFrame) -> dict[str, object]:
    """Returns what a frame says about its colours; what it leaves open may stay open or be said."""
    said = {
        "the colour range": int(frame.color_range),
        "the colour matrix": int(frame.colorspace),
        "the colour primaries": int(frame.color_primaries),
        "the transfer curve": int(frame.color_trc),
    }
    unsaid = {"the colour range": (0,)}
    return {name: value for name, value in said.items() if value not in unsaid.get(name, (0, 2))}
