"""Strict decoding: whole files pass, broken ones are told in plain words, hostile ones cost nothing."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from media.damage import LONG_EDGE, Decoded, check_decode
from media.kinds import identify


def check(path: Path) -> Decoded:
    identity = identify(path)
    assert identity is not None
    return check_decode(path, identity)


def check_bytes(folder: Path, content: bytes) -> Decoded:
    path = folder / "content.bin"
    path.write_bytes(content)
    return check(path)


def damage_of(folder: Path, content: bytes) -> str:
    return check_bytes(folder, content).damage or ""


def encoded(kind: str, size: tuple[int, int] = (320, 240), mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_every_good_file_is_whole(corpus: Path) -> None:
    paths = sorted((corpus / "good").rglob("*.*"))
    assert len(paths) >= 43
    assert {path.name: found for path in paths if (found := check(path).damage)} == {}


def test_every_bad_file_is_named_or_no_media(corpus: Path) -> None:
    no_media = set()
    for path in sorted((corpus / "bad").iterdir()):
        identity = identify(path)
        if identity is None:
            no_media.add(path.name)
        else:
            assert check_decode(path, identity).damage, path.name
    assert no_media == {"empty.jpg", "text_named.heic", "unknown_format.jpg"}


def test_nothing_bad_takes_half_a_minute_or_a_gigabyte(corpus: Path) -> None:
    program = (
        "import json, sys, time; from pathlib import Path\n"
        "from media.damage import check_decode; from media.kinds import identify\n"
        "slowest = 0.0\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    start, identity = time.monotonic(), identify(path)\n"
        "    identity and check_decode(path, identity)\n"
        "    slowest = max(slowest, time.monotonic() - start)\n"
        "status = Path('/proc/self/status').read_text().split('VmHWM:')[1]\n"
        "print(json.dumps([slowest, int(status.split()[0])]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(corpus / "bad")], check=True, capture_output=True, text=True
    )
    slowest, kibibytes = json.loads(run.stdout)
    assert slowest < 10
    assert kibibytes < 200 << 10


def test_a_truncated_jpeg_is_damaged_and_says_how_much_is_missing(tmp_path: Path, corpus: Path) -> None:
    whole = (corpus / "good" / "galaxy_s9_gps.jpg").read_bytes()
    assert "breaks off after" in damage_of(tmp_path, whole[: len(whole) // 2])
    found = check(corpus / "bad" / "truncated_third.jpg")
    assert found.damage == "the picture breaks off after 60 % of its rows"
    assert found.image is not None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_a_jpeg_cut_anywhere_is_damaged(tmp_path: Path, corpus: Path, share: float) -> None:
    for name in ("galaxy_s9_gps.jpg", "iphone6_hdr_gps.jpg", "cmyk_with_icc.jpg", "orientation/portrait_6.jpg"):
        whole = (corpus / "good" / name).read_bytes()
        assert check_bytes(tmp_path, whole[: int(len(whole) * share)]).damage, name


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"subsampling": 0}])
def test_every_way_of_coding_a_jpeg_passes_whole_and_fails_cut(tmp_path: Path, options: dict[str, object]) -> None:
    whole = encoded("JPEG", **options)  # type: ignore[arg-type]
    found = check_bytes(tmp_path, whole)
    assert (found.damage, found.width, found.height) == (None, 320, 240)
    assert found.image is not None
    assert found.image.mode == "RGB"
    assert check_bytes(tmp_path, whole[:-400]).damage


def test_an_empty_tail_is_told_as_such(tmp_path: Path, corpus: Path) -> None:
    whole = (corpus / "good" / "nexus4_portrait_gps.jpg").read_bytes()
    kept = len(whole) * 9 // 10
    words = damage_of(tmp_path, whole[:kept] + bytes(len(whole) - kept))
    assert words == "the last 10 % of the file is empty: copying or downloading it broke off"


def test_flipped_bits_in_a_jpeg_are_mostly_found(tmp_path: Path, corpus: Path) -> None:
    whole = (corpus / "good" / "galaxy_s9_gps.jpg").read_bytes()
    dice = random.Random(4)
    seen = 0
    for _ in range(8):
        broken = bytearray(whole)
        for _ in range(20):
            broken[dice.randrange(len(whole) // 4, len(whole) * 3 // 4)] ^= 1 << dice.randrange(8)
        seen += check_bytes(tmp_path, bytes(broken)).damage is not None
    assert seen == 8


def test_what_cameras_append_to_a_jpeg_is_no_damage_but_a_cut_gain_map_is(tmp_path: Path, corpus: Path) -> None:
    whole = (corpus / "good" / "pixel6pro_ultrahdr_gainmap.jpg").read_bytes()
    assert "second one attached" in damage_of(tmp_path, whole[:-2000])
    assert check_bytes(tmp_path, whole + b"SEFT" + bytes(500)).damage is None
    main_only = whole[: whole.index(b"\xff\xd9\xff\xd8\xff", len(whole) // 2) + 2]
    assert check_bytes(tmp_path, main_only).damage is None  # a program that drops the map, on purpose


@pytest.mark.parametrize("name", ["iphone7_12mp.heic", "xiaomi_gps.heic", "galaxy_motion_photo.heic"])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.8, 0.99])
def test_a_heic_cut_anywhere_is_damaged(tmp_path: Path, corpus: Path, name: str, share: float) -> None:
    whole = (corpus / "good" / name).read_bytes()
    assert check_bytes(tmp_path, whole[: int(len(whole) * share)]).damage


def test_a_heic_with_a_hole_in_a_tile_is_damaged(tmp_path: Path, corpus: Path) -> None:
    broken = bytearray((corpus / "good" / "xiaomi_gps.heic").read_bytes())
    broken[400_000:404_096] = bytes(4096)
    assert "tile" in damage_of(tmp_path, bytes(broken))


def test_a_heic_tells_its_stored_size_and_how_to_turn_it(corpus: Path) -> None:
    found = check(corpus / "good" / "iphone13_portrait.heic")
    assert (found.width, found.height, found.orientation) == (4032, 3024, 6)
    assert found.image is not None
    assert found.image.height > found.image.width
    assert max(found.image.size) <= LONG_EDGE


def test_a_heic_looks_as_libheif_shows_it(corpus: Path) -> None:
    import pillow_heif

    for name in ("iphone13_portrait.heic", "xiaomi_gps.heic", "galaxy_motion_photo.heic"):
        ours = check(corpus / "good" / name).image
        assert ours is not None
        theirs = pillow_heif.open_heif(corpus / "good" / name).to_pillow().convert("RGB").resize(ours.size)
        difference = np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int))
        assert difference.mean() < 4, name


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF", "TIFF"])
def test_other_pictures_pass_whole_and_fail_cut(tmp_path: Path, kind: str) -> None:
    whole = encoded(kind)
    found = check_bytes(tmp_path, whole)
    assert (found.damage, found.width, found.height) == (None, 320, 240)
    for share in (0.5, 0.9):
        assert check_bytes(tmp_path, whole[: int(len(whole) * share)]).damage


def test_a_png_with_a_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    broken = bytearray(encoded("PNG"))
    broken[len(broken) // 2] ^= 0x10
    assert check_bytes(tmp_path, bytes(broken)).damage


def test_the_second_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.effect_noise((200, 200), 80) for _ in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    whole = buffer.getvalue()
    assert check_bytes(tmp_path, whole).damage is None
    assert check_bytes(tmp_path, whole[: len(whole) * 3 // 4]).damage


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "TIFF", "JPEG"])
def test_every_container_is_turned_upright_once(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (0, 0, 40, 40))  # the stored top left
    path = tmp_path / "a.bin"
    image.save(path, kind, exif=exif)
    found = check(path)
    assert (found.damage, found.width, found.height, found.orientation) == (None, 200, 100, orientation)
    shown = found.image
    assert shown is not None
    assert shown.size == ((200, 100) if orientation == 3 else (100, 200))
    corner = {3: (shown.width - 10, shown.height - 10), 6: (shown.width - 10, 10), 8: (10, shown.height - 10)}[
        orientation
    ]
    assert shown.getpixel(corner)[0] > 200  # type: ignore[index]


def test_a_picture_that_claims_to_be_enormous_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    assert "larger" in damage_of(tmp_path, png) or "more than" in damage_of(tmp_path, png)
    jpeg = bytearray(encoded("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    assert "65000 × 65000" in damage_of(tmp_path, bytes(jpeg))


def test_a_raw_is_never_called_damaged_and_shows_its_preview(tmp_path: Path, corpus: Path) -> None:
    preview = encoded("JPEG", (640, 480))
    entries = [(0x0100, 4, 6000), (0x0101, 4, 4000), (0x0112, 3, 6), (0x0201, 4, 74), (0x0202, 4, len(preview))]
    body = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, at) for tag, kind, at in entries
    )
    path = tmp_path / "a.nef"
    path.write_bytes(b"II*\0\x08\0\0\0" + body + bytes(4) + preview)
    found = check(path)
    assert (found.damage, found.width, found.height, found.orientation) == (None, 6000, 4000, 6)
    assert found.image is not None
    assert found.image.height > found.image.width
    path.write_bytes((corpus / "good" / "nikon_pruned.nef").read_bytes()[:3000])
    assert check(path).damage is None


@pytest.mark.parametrize("name", ["phone_1440_gps.mp4", "live_photo/IMG_0001.mov", "made_4k30_hevc_10bit_hlg.mov"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_film_cut_anywhere_is_damaged(tmp_path: Path, corpus: Path, name: str, share: float) -> None:
    whole = (corpus / "good" / name).read_bytes()
    assert check_bytes(tmp_path, whole[: int(len(whole) * share)]).damage


def test_a_film_with_a_hole_is_damaged_and_still_shows_its_first_picture(tmp_path: Path, corpus: Path) -> None:
    broken = bytearray((corpus / "good" / "made_4k30_hevc_10bit_hlg.mov").read_bytes())
    broken[3_000_000:4_000_000] = bytes(1_000_000)
    found = check_bytes(tmp_path, bytes(broken))
    assert "of its frames have holes" in (found.damage or "")
    assert found.image is not None


def test_a_film_tells_size_turn_and_length(corpus: Path) -> None:
    found = check(corpus / "good" / "iphone_with_gps.mov")
    assert (found.width, found.height, found.orientation) == (568, 320, 6)
    assert found.duration_seconds == pytest.approx(4.0, abs=0.1)
    assert found.image is not None
    assert found.image.size == (320, 568)


def test_a_film_cannot_make_us_open_another_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n".encode()
    content = b"\0\0\0\x10ftypisom\0\0\0\0" + struct.pack(">I", 8 + len(playlist)) + b"mdat" + playlist
    assert "index is missing" in damage_of(tmp_path, content)


def test_a_name_with_a_colon_is_a_name_and_no_address(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "http:host:clip.mov"
    path.write_bytes((corpus / "good" / "quicktime.mov").read_bytes())
    assert check(path).damage is None


def test_a_missing_file_is_an_error_and_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for kind, name in (("JPEG", "a.jpg"), ("PNG", "a.png"), ("AVIF", "a.avif")):
        path = tmp_path / name
        path.write_bytes(encoded(kind))
        identity = identify(path)
        path.unlink()
        assert identity is not None
        with pytest.raises(FileNotFoundError):
            check_decode(path, identity)


def test_looking_at_headers_loads_no_decoder() -> None:
    program = "import sys, media.capture, media.heif, media.film; print({'numpy', 'PIL', 'av'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_no_corruption_breaks_the_check(tmp_path: Path, kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(kind, (64, 48)))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    if identity := identify(path):
        assert isinstance(check_decode(path, identity), Decoded)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["heic_invalid_id.heic", "truncated.mp4"]),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_no_corrupt_list_of_parts_breaks_the_check(
    tmp_path: Path, corpus: Path, name: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray((corpus / "bad" / name).read_bytes())
    for at, value in changes:
        data[at] = value
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    if identity := identify(path):
        assert isinstance(check_decode(path, identity), Decoded)
