"""Writes pictures and clips the way that phones and cameras write them, with their metadata.

Belongs here: EXIF, Apple's maker note, QuickTime keys, DNG, sidecars. Does not belong here: what is in a picture
(`sample_pictures.py`), and which files a library has (`sample.py`).
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pillow_heif
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
# What undoes each orientation's turn: the pixels as a camera held that way stores them.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TiffValue = str | bytes | int | Sequence[int] | Sequence[Fraction]


@dataclass(frozen=True)
class Shot:
    """What a camera knows about one shot.

    Attributes:
        taken: The local time on the camera's clock; with an offset where the camera writes one.
        make: Who made the camera.
        model: The camera.
        place: Latitude and longitude in degrees, where the camera knew it.
        orientation: EXIF orientation, 1 to 8.
        content: Apple's content identifier, shared by the two halves of a Live Photo.
        subsec: Digits of the second's fraction.
    """

    taken: datetime
    make: str
    model: str
    place: tuple[float, float] | None = None
    orientation: int = 1
    content: str = ""
    subsec: str = ""

    @property
    def exif(self) -> bytes:
        """The shot as an EXIF block."""
        block = Image.Exif()
        block[0x0112] = self.orientation
        block[0x010F], block[0x0110] = self.make, self.model
        block[0x011A] = block[0x011B] = IFDRational(72, 1)
        block[0x0128], block[0x0213] = 2, 1
        details = block.get_ifd(_EXIF_IFD)
        _add_dates(block, details, self.taken, self.subsec)
        details.update({0x9000: b"0232", 0x9101: b"\1\2\3\0", 0xA000: b"0100", 0xA001: 1})
        details.update({0x829A: IFDRational(1, 250), 0x829D: IFDRational(9, 5), 0x8827: 64, 0x920A: IFDRational(26, 5)})
        if self.content:
            details[0x927C] = _apple_maker_note(self.content)
        if self.place:
            block.get_ifd(_GPS_IFD).update(_gps(*self.place))
        return block.tobytes()


def write_jpeg(path: Path, picture: Image.Image, shot: Shot | None, quality: int = 90) -> None:
    """Writes a JPEG whose pixels are stored as its orientation says; without a shot it has no EXIF at all."""
    if shot is None:
        picture.save(path, "JPEG", quality=quality)
    else:
        _as_stored(picture, shot).save(path, "JPEG", quality=quality, exif=shot.exif)


def write_heic(path: Path, picture: Image.Image, shot: Shot) -> None:
    """Writes a HEIC; its writer turns the orientation into HEIF's own property."""
    heif = pillow_heif.from_pillow(_as_stored(picture, shot))
    # One preset and one slice of work: the encoder's default takes a second per megapixel.
    heif.save(path, quality=62, exif=shot.exif, enc_params={"preset": "ultrafast"})


def write_deep_png(path: Path, picture: Image.Image, seed: int) -> None:
    """Writes a PNG of 16 bits per channel, which Pillow cannot."""
    pixels = np.asarray(picture.convert("RGB")).astype(np.uint16) * 257
    pixels ^= np.random.default_rng(seed).integers(0, 256, pixels.shape, np.uint16)  # the low byte holds something too
    rows = np.pad(pixels.astype(">u2").view(np.uint8).reshape(picture.height, -1), ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, body) for name, body in chunks))


def write_movie(
    path: Path,
    scenery: Image.Image,
    shot: Shot,
    *,
    codec: Literal["libx264", "libx265"],
    frames: int,
    sound: bool = False,
    rotation: int = 0,
) -> None:
    """Writes a clip that pans over a picture.

    Args:
        path: A name that ends in `.mov` (QuickTime keys) or `.mp4` (only the header's date, in UTC).
        scenery: A picture wider than the frame; the frame takes its height.
        shot: The camera's knowledge.
        codec: `libx264` or `libx265`.
        frames: How many, at 15 a second.
        sound: Whether there is a tone with it.
        rotation: Degrees counter-clockwise that a player turns the frames by.
    """
    height = scenery.height // 2 * 2
    width = height * 16 // 9 // 2 * 2
    pixels = np.asarray(scenery)
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(_movie_keys(shot, quicktime=path.suffix.lower() == ".mov"))
        stream: VideoStream = container.add_stream(codec, rate=15, options={"preset": "ultrafast", "crf": "24"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx265":
            stream.codec_context.codec_tag = "hvc1"  # Apple's players take no other
            stream.codec_context.options = {**stream.codec_context.options, "x265-params": "log-level=none"}
        if rotation:
            stream.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=44_100) if sound else None
        for index in range(frames):
            left = (pixels.shape[1] - width) * index // max(1, frames - 1)
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels[:height, left : left + width]), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            _add_tone(container, audio, seconds=frames / 15)


def write_dng(path: Path, picture: Image.Image, shot: Shot) -> None:
    """Writes a small valid DNG: a JPEG preview, and the sensor's mosaic behind it."""
    red, green, blue = (np.asarray(picture)[..., channel].astype(np.uint16) * 16 for channel in range(3))
    mosaic = green.copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = red[::2, ::2], blue[1::2, 1::2]
    preview = io.BytesIO()
    picture.resize((picture.width // 4, picture.height // 4)).save(preview, "JPEG", quality=80)
    path.write_bytes(_dng_bytes(mosaic, preview.getvalue(), picture.size, shot))


def aae(taken: datetime) -> bytes:
    """Returns the sidecar that an iPhone writes beside an edited photo."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
        '<plist version="1.0">\n<dict>\n\t<key>adjustmentBaseVersion</key>\n\t<integer>0</integer>\n'
        "\t<key>adjustmentEditorBundleID</key>\n\t<string>com.apple.mobileslideshow</string>\n"
        "\t<key>adjustmentFormatIdentifier</key>\n\t<string>com.apple.photo</string>\n"
        "\t<key>adjustmentFormatVersion</key>\n\t<string>1.5</string>\n"
        f"\t<key>adjustmentTimestamp</key>\n\t<date>{taken:%Y-%m-%dT%H:%M:%SZ}</date>\n</dict>\n</plist>\n"
    ).encode()


def xmp(rating: int, taken: datetime) -> bytes:
    """Returns the sidecar that a photo editor writes: a rating, a keyword, and the date."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
        f'   xmp:Rating="{rating}" photoshop:DateCreated="{taken.isoformat()}">\n'
        "   <dc:subject><rdf:Bag><rdf:li>mountains</rdf:li></rdf:Bag></dc:subject>\n"
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
    ).encode()


def takeout(title: str, taken: datetime, place: tuple[float, float]) -> bytes:
    """Returns the JSON that Google Takeout puts beside a photo."""
    data = {
        "title": title,
        "description": "",
        "photoTakenTime": {"timestamp": str(int(taken.timestamp())), "formatted": f"{taken:%d.%m.%Y, %H:%M:%S} UTC"},
        "geoData": {"latitude": place[0], "longitude": place[1], "altitude": 0.0},
    }
    return json.dumps(data, indent=2).encode()


def _as_stored(picture: Image.Image, shot: Shot) -> Image.Image:
    return picture.transpose(STORED[shot.orientation]) if shot.orientation in STORED else picture


def _add_dates(block: Image.Exif, details: dict[int, object], taken: datetime, subsec: str) -> None:
    stamp = f"{taken:%Y:%m:%d %H:%M:%S}"
    block[0x0132] = stamp
    details.update({0x9003: stamp, 0x9004: stamp})
    if taken.tzinfo:
        zone = f"{taken:%z}"
        details.update(dict.fromkeys((0x9010, 0x9011, 0x9012), f"{zone[:3]}:{zone[3:]}"))
    if subsec:
        details.update(dict.fromkeys((0x9291, 0x9292), subsec))


def _apple_maker_note(content: str) -> bytes:
    """One entry, the content identifier; offsets count from the note's own beginning."""
    text = content.encode() + b"\0"
    head = b"Apple iOS\0\0\x01MM"
    at = len(head) + 2 + 12 + 4
    return head + struct.pack(">HHHIII", 1, 0x0011, 2, len(text), at, 0) + text


def _gps(latitude: float, longitude: float) -> dict[int, object]:
    return {
        1: "N" if latitude >= 0 else "S",
        2: _degrees(latitude),
        3: "E" if longitude >= 0 else "W",
        4: _degrees(longitude),
    }


def _degrees(angle: float) -> tuple[IFDRational, ...]:
    minutes = abs(angle) * 60
    parts = (int(minutes // 60), int(minutes % 60), round(minutes * 60 % 60 * 100))
    return (IFDRational(parts[0], 1), IFDRational(parts[1], 1), IFDRational(parts[2], 100))


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _movie_keys(shot: Shot, *, quicktime: bool) -> dict[str, str]:
    keys = {"creation_time": f"{shot.taken.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    if quicktime:
        prefix = "com.apple.quicktime."
        keys |= {prefix + "make": shot.make, prefix + "model": shot.model, prefix + "software": "14.6"}
        keys[prefix + "creationdate"] = f"{shot.taken:%Y-%m-%dT%H:%M:%S%z}"
        if shot.place:
            keys[prefix + "location.ISO6709"] = f"{shot.place[0]:+08.4f}{shot.place[1]:+09.4f}/"
        if shot.content:
            keys[prefix + "content.identifier"] = shot.content
    return keys


def _add_tone(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    rate, size = 44_100, 1024
    for index in range(int(seconds * rate / size)):
        at = (np.arange(size, dtype=np.float32) + index * size) / rate
        tone = (0.08 * np.sin(2 * np.pi * (330 + 60 * np.sin(at)) * at)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, index * size, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _dng_bytes(mosaic: NDArray[np.uint16], preview: bytes, size: tuple[int, int], shot: Shot) -> bytes:
    raw = mosaic.astype("<u2").tobytes()
    stamp = f"{shot.taken:%Y:%m:%d %H:%M:%S}"
    preview_at = 8
    raw_at = preview_at + len(preview) + len(preview) % 2
    sensor_at = raw_at + len(raw)
    sensor = _directory(
        sensor_at,
        {
            254: (4, 0), 256: (4, size[0]), 257: (4, size[1]), 258: (3, 16), 259: (3, 1), 262: (3, 32803),
            273: (4, raw_at), 277: (3, 1), 278: (4, size[1]), 279: (4, len(raw)),
            33421: (3, (2, 2)), 33422: (1, bytes((0, 1, 1, 2))), 50714: (3, 0), 50717: (3, 4080),
        },
    )  # fmt: skip
    details_at = sensor_at + len(sensor)
    details = _directory(details_at, {0x9003: (2, stamp), 0x9004: (2, stamp), 0x9291: (2, shot.subsec)})
    matrix = [Fraction(n, 10_000) for n in (7968, -2370, -583, -4415, 11904, 2820, -1008, 1836, 5822)]
    main_at = details_at + len(details)
    main = _directory(
        main_at,
        {
            254: (4, 1), 256: (4, size[0] // 4), 257: (4, size[1] // 4), 258: (3, (8, 8, 8)), 259: (3, 7), 262: (3, 6),
            271: (2, shot.make), 272: (2, shot.model), 273: (4, preview_at), 274: (3, shot.orientation), 277: (3, 3),
            278: (4, size[1] // 4), 279: (4, len(preview)), 306: (2, stamp), 330: (4, sensor_at),
            34665: (4, details_at), 50706: (1, bytes((1, 4, 0, 0))), 50707: (1, bytes((1, 1, 0, 0))),
            50708: (2, f"{shot.make} {shot.model}"), 50721: (10, matrix), 50728: (5, [Fraction(1)] * 3), 50778: (3, 21),
        },
    )  # fmt: skip
    return struct.pack("<2sHI", b"II", 42, main_at) + preview + bytes(len(preview) % 2) + raw + sensor + details + main


def _directory(at: int, entries: dict[int, tuple[int, TiffValue]]) -> bytes:
    """Returns a little-endian TIFF directory that stands at `at`, its long values right behind it."""
    rows, values = b"", b""
    values_at = at + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        count, data = _packed(kind, value)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", values_at + len(values))
        values += data + bytes(len(data) % 2) if len(data) > 4 else b""
        rows += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(entries)) + rows + bytes(4) + values


def _packed(kind: int, value: TiffValue) -> tuple[int, bytes]:
    if isinstance(value, str):
        return len(value) + 1, value.encode("ascii") + b"\0"
    if isinstance(value, bytes):
        return len(value), value
    if isinstance(value, int):
        return 1, struct.pack("<H" if kind == 3 else "<I", value)
    if kind in (5, 10):
        ratios = [Fraction(each) for each in value]
        layout = "<II" if kind == 5 else "<ii"
        return len(ratios), b"".join(struct.pack(layout, ratio.numerator, ratio.denominator) for ratio in ratios)
    return len(value), struct.pack(f"<{len(value)}H", *value)
