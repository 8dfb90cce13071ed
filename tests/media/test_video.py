"""Video: every frame at its time, every other track bit for bit, every key; whatever is doubtful is kept."""

from __future__ import annotations

import contextlib
import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media import video
from media.tiers import KeepOriginal, Made, Plan
from media.video_boxes import ContainerError, children, descend, read_movie
from media.video_splice import video_track

PLAN = Plan(0, 30, "hevc", 0, True, 0.0)
UNEVEN = (0, 10, 30, 35, 60, 61, 80, 120, 121, 150, 200, 210, 220, 230, 290, 300, 310, 330, 331, 340)


def make_video(
    path: Path, *, times: tuple[int, ...] = UNEVEN, tracks: int = 2, options: dict[str, str] | None = None
) -> None:
    """Writes a small H.264 video with uneven frame times, sound tracks, and a creation time."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 60, (144, 192, 3), dtype=np.uint8)
    with av.open(str(path), "w", options=options or {}) as out:
        out.metadata["creation_time"] = "2020-05-17T10:11:12.000000Z"
        out.metadata["location"] = "+48.8584+002.2945/"
        pictures = out.add_stream("libx264", rate=30, options={"crf": "10"})
        pictures.width, pictures.height, pictures.pix_fmt = 192, 144, "yuv420p"
        pictures.time_base = pictures.codec_context.time_base = Fraction(1, 600)
        sounds = [out.add_stream("aac", rate=48000) for _ in range(tracks)]
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number * 3, axis=1) + number, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 600)
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        for stream in sounds:
            for number in range(20):
                samples = random.normal(0, 0.1, (2, 1024)).astype(np.float32)
                sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
                sound.sample_rate, sound.pts = 48000, 1024 * number
                out.mux(stream.encode(sound))
            out.mux(stream.encode(None))


def frames(path: Path) -> list[tuple[int | None, int, int, int]]:
    with av.open(str(path)) as container:
        return [(frame.pts, frame.width, frame.height, frame.rotation) for frame in container.decode(video=0)]


def packets(path: Path, kind: str) -> list[tuple[int, int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(p.stream.index, p.pts, bytes(p)) for p in container.demux() if p.stream.type == kind and p.size]


def compress(original: Path, plan: Plan = PLAN) -> tuple[Made, Path]:
    data, part = original.read_bytes(), original.with_name("rendition.part")
    made = video.compress(original, part, plan)
    assert original.read_bytes() == data
    assert sorted(path.name for path in original.parent.iterdir()) == sorted([original.name, part.name])
    return made, part


def reason(original: Path, plan: Plan = PLAN) -> str:
    with pytest.raises(KeepOriginal) as kept:
        compress(original, plan)
    return str(kept.value)


def rotated(path: Path) -> None:
    """Turns the picture by 90 degrees in the track header, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    with open(path, "rb") as handle:
        movie = read_movie(handle)
    start = next(box.start for box in movie.top if box.name == b"moov")
    track = next(track for track in movie.tracks if track.handler == b"vide")
    matrix = start + descend(movie.moov, track.box, b"tkhd").end - 44
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, 144 << 16, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["a.mov", "a.mp4"])
@pytest.mark.parametrize("codec", ["hevc", "av1", "h264"])
def test_every_frame_keeps_its_time_and_every_sound_its_bytes(tmp_path: Path, name: str, codec: str) -> None:
    original = tmp_path / name
    make_video(original)
    made, part = compress(original, Plan(0, 40, codec, 0, True, 0.0))
    assert [frame[0] for frame in frames(part)] == [frame[0] for frame in frames(original)]
    assert packets(part, "audio") == packets(original, "audio")
    assert len({index for index, _, _ in packets(part, "audio")}) == 2
    assert made.extension == original.suffix
    with av.open(str(original)) as before, av.open(str(part)) as after:
        assert before.metadata == after.metadata
        assert before.duration == after.duration


def test_an_index_before_and_behind_the_media_stays_where_it_was(tmp_path: Path) -> None:
    for options in ({}, {"movflags": "faststart"}):
        original = tmp_path / "a.mov"
        make_video(original, options=options)
        _, part = compress(original)
        orders = []
        for path in (original, part):
            with open(path, "rb") as handle:
                orders.append([box.name for box in read_movie(handle).top])
        assert orders[0] == orders[1]
        part.unlink()


def test_every_box_outside_the_sample_table_is_the_same_bytes(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    rotated(original)
    _, part = compress(original)

    def outside(path: Path) -> list[tuple[bytes, bytes]]:
        with open(path, "rb") as handle:
            moov = read_movie(handle).moov
        found, boxes = [], list(children(moov, 0, len(moov)))
        while boxes:
            box = boxes.pop()
            if box.name in (b"moov", b"trak", b"mdia", b"minf"):
                boxes += children(moov, box.body, box.end)
            elif box.name != b"stbl":
                found.append((box.name, moov[box.start : box.end]))
        return found

    assert outside(original) == outside(part)
    assert {name for name, _ in outside(part)} >= {b"mvhd", b"tkhd", b"mdhd", b"hdlr", b"edts", b"udta"}


def test_a_portrait_stays_a_portrait(tmp_path: Path) -> None:
    original = tmp_path / "a.mp4"
    make_video(original)
    rotated(original)
    _, part = compress(original)
    assert frames(part)[0] == frames(original)[0]
    assert abs(frames(part)[0][3]) == 90


def test_a_smaller_edge_keeps_the_shape_and_the_rotation(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    rotated(original)
    made, part = compress(original, Plan(0, 30, "hevc", 96, True, 0.0))
    assert (made.width, made.height) == (96, 72)
    assert [(w, h) for _, w, h, _ in frames(part)] == [(96, 72)] * len(UNEVEN)
    assert frames(part)[0][3] == frames(original)[0][3]


def test_nothing_is_ever_blown_up(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    made, _ = compress(original, Plan(0, 30, "hevc", 4000, True, 0.0))
    assert (made.width, made.height) == (192, 144)


def test_two_video_tracks_keep_the_original(tmp_path: Path) -> None:
    original = tmp_path / "a.mp4"
    make_video(original)
    data = original.read_bytes().replace(b"soun", b"vide", 1)
    original.write_bytes(data)
    with pytest.raises(KeepOriginal):
        compress(original)


def test_a_fragmented_file_keeps_the_original(tmp_path: Path) -> None:
    original = tmp_path / "a.mp4"
    make_video(original, options={"movflags": "frag_keyframe+empty_moov"})
    assert "fragmented" in reason(original) or "not understood" in reason(original)


def test_media_that_no_track_refers_to_keeps_the_original(tmp_path: Path) -> None:
    original = tmp_path / "a.mp4"
    make_video(original)
    original.write_bytes(original.read_bytes() + struct.pack(">I4s", 24, b"mdat") + b"telemetry inside")
    assert "no track refers to" in reason(original)


def test_an_unknown_description_of_the_picture_keeps_the_original_and_is_named(tmp_path: Path) -> None:
    original = tmp_path / "a.mp4"
    make_video(original)
    original.write_bytes(original.read_bytes().replace(b"btrt", b"dvvC", 1))
    assert "Dolby Vision" in reason(original)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_video_that_was_cut_off_is_kept(tmp_path: Path, share: float) -> None:
    original = tmp_path / "a.mp4"
    make_video(original, options={"movflags": "faststart"})
    original.write_bytes(original.read_bytes()[: int(original.stat().st_size * share)])
    assert "damaged" in reason(original)
    assert not list(tmp_path.glob("*.part"))


def test_a_video_with_a_hole_is_kept(tmp_path: Path) -> None:
    original = tmp_path / "a.mp4"
    make_video(original)
    with open(original, "rb") as handle:
        track = next(track for track in read_movie(handle).tracks if track.handler == b"vide")
    data = bytearray(original.read_bytes())
    middle = len(track.sizes) // 2
    start = track.offset_of(middle)
    data[start : start + track.sizes[middle]] = bytes(track.sizes[middle])
    original.write_bytes(data)
    assert "damaged" in reason(original)


def test_a_random_index_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    data = original.read_bytes()
    start = data.index(b"moov")
    random = np.random.default_rng(11)
    for _ in range(400):
        damaged = bytearray(data)
        for at in random.integers(start, len(data), 3):
            damaged[at] = random.integers(0, 256)
        original.write_bytes(damaged)
        with open(original, "rb") as handle, contextlib.suppress(ContainerError):
            video_track(read_movie(handle))


def test_a_full_disk_is_an_error_and_not_a_damaged_video(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            video.compress(original, tmp_path / "part", PLAN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tags_in_no_known_encoding_are_compared_and_kept(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    original.write_bytes(original.read_bytes().replace(b"VideoHandler", b"Vid\xe9oHandler"))
    _, part = compress(original)
    assert b"Vid\xe9oHandler" in part.read_bytes()


def test_a_plan_without_video_keeps_it(tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    make_video(original)
    assert "kept as they are" in reason(original, Plan(80, 0, "hevc", 0, True, 0.0))


def test_a_video_with_timed_metadata_keeps_all_of_it(corpus: Path, tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    original.write_bytes((corpus / "good/iphone_with_gps.mov").read_bytes())
    _, part = compress(original)
    for kind in ("audio", "data"):
        assert packets(part, kind) == packets(original, kind)
    with av.open(str(original)) as before, av.open(str(part)) as after:
        assert before.metadata == after.metadata
        assert "com.apple.quicktime.location.ISO6709" in after.metadata
        assert [stream.type for stream in before.streams] == [stream.type for stream in after.streams]
    assert frames(part) == frames(original)


def test_the_video_of_a_live_photo_keeps_its_content_identifier(corpus: Path, tmp_path: Path) -> None:
    original = tmp_path / "a.mov"
    original.write_bytes((corpus / "good/live_photo/IMG_0001.mov").read_bytes())
    _, part = compress(original)
    with av.open(str(part)) as after:
        assert after.metadata["com.apple.quicktime.content.identifier"] == "7A7D4193-1D91-4907-98F8-3B7E41D991D7"
    assert frames(part) == frames(original)
