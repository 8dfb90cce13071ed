"""The perceptual hash: equal for what looks equal, far apart for what does not."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from media.damage import check_decode
from media.kinds import identify
from media.perceptual import (
    HASH_BITS,
    flat,
    hamming,
    luma_correlation,
    perceptual_hash,
    shrunk,
    upright,
)

SAME = 48


def picture(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    grid = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("seed", range(8))
def test_the_hash_is_bit_for_bit_that_of_imagehash(seed: int) -> None:
    image = picture(seed)
    assert perceptual_hash(image) == str(imagehash.phash(image, hash_size=16))


def test_the_hash_of_real_pictures_is_that_of_imagehash(corpus: Path) -> None:
    for path in sorted((corpus / "good").glob("*.jpg")):
        image = Image.open(path)
        image.draft("RGB", (512, 512))
        image = image.convert("RGB")
        assert perceptual_hash(image) == str(imagehash.phash(image, hash_size=16)), path.name


def test_a_picture_recompressed_resized_or_brightened_is_still_the_same() -> None:
    for seed in range(5):
        image = picture(seed)
        for change in (
            recompressed(image, 40),
            image.resize((200, 150)),
            image.convert("L"),
            image.point(lambda value: min(255, int(value * 1.1))),
        ):
            assert hamming(perceptual_hash(image), perceptual_hash(change)) <= SAME
            assert luma_correlation(image, change) >= 0.98


def test_different_pictures_are_far_apart() -> None:
    hashes = [perceptual_hash(picture(seed)) for seed in range(20)]
    apart = [hamming(a, b) for at, a in enumerate(hashes) for b in hashes[:at]]
    assert min(apart) > 1.5 * SAME
    assert luma_correlation(picture(1), picture(2)) < 0.9


def test_the_distance_counts_bits_and_keeps_leading_zeros() -> None:
    assert hamming("0" * 64, "f" * 64) == HASH_BITS
    assert hamming("0" * 63 + "1", "0" * 64) == 1
    assert all(len(perceptual_hash(picture(seed))) == 64 for seed in range(20))


def test_one_picture_in_all_eight_orientations_has_one_hash(corpus: Path) -> None:
    hashes = []
    for number in range(1, 9):
        path = corpus / "good" / "orientation" / f"portrait_{number}.jpg"
        identity = identify(path)
        assert identity is not None
        image = check_decode(path, identity).image
        assert image is not None
        assert image.height > image.width
        hashes.append(perceptual_hash(image))
    # The number drawn into each picture differs, which moves a few bits; a picture on its side would be about 128 away.
    assert max(hamming(hashes[0], other) for other in hashes) <= SAME // 2


def test_turning_upright_is_the_inverse_of_how_the_camera_was_held() -> None:
    stored = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    expected = {
        1: [[0, 1, 2], [3, 4, 5]],
        2: [[2, 1, 0], [5, 4, 3]],
        3: [[5, 4, 3], [2, 1, 0]],
        4: [[3, 4, 5], [0, 1, 2]],
        5: [[0, 3], [1, 4], [2, 5]],
        6: [[3, 0], [4, 1], [5, 2]],
        7: [[5, 2], [4, 1], [3, 0]],
        8: [[2, 5], [1, 4], [0, 3]],
    }
    for orientation, rows in expected.items():
        assert np.asarray(upright(stored, orientation)).tolist() == rows


def test_what_is_transparent_is_shown_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert flat(image).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 7)
    palette.info["transparency"] = 7
    assert flat(palette).getpixel((0, 0)) == (255, 255, 255)


def test_deep_pixels_become_eight_bits_by_their_upper_half() -> None:
    image = Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16))
    assert flat(image).getpixel((0, 0)) == (0x80, 0x80, 0x80)


def test_flat_pictures_hash_alike_and_correlate_by_brightness() -> None:
    grey, white = Image.new("RGB", (300, 200), (128, 128, 128)), Image.new("RGB", (300, 200), "white")
    assert perceptual_hash(grey) == perceptual_hash(white)
    assert luma_correlation(grey, white) == 0
    assert luma_correlation(grey, grey) == 1


def test_shrinking_keeps_the_shape_and_never_enlarges() -> None:
    assert shrunk(picture(1, (4000, 30)), 512).size == (512, 4)
    assert shrunk(picture(1, (30_000, 2)), 512).size == (512, 1)
    assert shrunk(picture(1, (100, 80)), 512).size == (100, 80)
