"""The sample library: that it is what it says, since other tests and a person's first run build on it."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from media import sample
from media.capture import read_capture_date
from media.kinds import Kind, identify, kind_of_name
from media.metadata import read_identifiers
from media.perceptual import flat, hamming, luma_correlation, perceptual_hash, upright
from media.sample_pictures import landscape

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    sample.generate(folder)
    return folder


@pytest.fixture(scope="module")
def names(library: Path) -> list[str]:
    files = {path.relative_to(library).as_posix() for path in library.rglob("*") if path.is_file()}
    return sorted(files - set(sample.LEFT_ALONE))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture(path: Path) -> Image.Image:
    if path.suffix == ".HEIC":
        return flat(pillow_heif.open_heif(path).to_pillow())
    image = Image.open(path)
    return upright(flat(image), image.getexif().get(0x0112, 1))


def test_the_same_seed_gives_the_same_bytes_and_times(library: Path, tmp_path: Path) -> None:
    again = sample.generate(tmp_path)
    assert [digest(path) for path in again] == [digest(library / path.relative_to(tmp_path)) for path in again]
    assert [path.stat().st_mtime_ns for path in again] == [
        (library / path.relative_to(tmp_path)).stat().st_mtime_ns for path in again
    ]


def test_another_seed_or_number_paints_another_picture() -> None:
    hashes = [perceptual_hash(landscape(*key, 320, 240, "hills", "noon")) for key in ((1, 1), (1, 2), (2, 1))]
    assert all(hamming(one, other) > 60 for one, other in itertools.combinations(hashes, 2))


def test_it_is_small_enough_to_be_made_for_every_try(library: Path, names: list[str]) -> None:
    assert 30 <= len(names) <= 50
    assert sum((library / name).stat().st_size for name in names) < 25 * MEGABYTE


def test_the_counts_add_up(library: Path, names: list[str]) -> None:
    expectation = sample.expected(library)
    assert expectation.found == len(names)
    assert expectation.found == expectation.kept + expectation.duplicates + expectation.rejected + expectation.failed
    assert expectation.kept == len({digest(library / name) for name in names}) - expectation.rejected
    assert sum(kind_of_name(name) is Kind.SIDECAR for name in names) == expectation.sidecars


def test_every_path_that_is_expected_is_there(library: Path, names: list[str]) -> None:
    expectation = sample.expected(library)
    pairs = expectation.duplicate_pairs | expectation.near_duplicate_pairs | expectation.look_alike_pairs
    bundles = itertools.chain.from_iterable(expectation.bundles.values())
    mentioned = {name for group in (*pairs, *bundles) for name in group}
    assert mentioned | expectation.rejected_paths | expectation.damaged_paths <= set(names)
    assert all((library / name).is_file() for name in expectation.left_alone)


def test_every_file_is_what_its_name_says_except_the_rejected_one(library: Path, names: list[str]) -> None:
    for name in names:
        identity = identify(library / name)
        if name in sample.expected(library).rejected_paths:
            assert identity is None
        else:
            assert identity is not None and identity.kind is kind_of_name(name), name


def test_exactly_the_duplicates_have_the_same_bytes(library: Path, names: list[str]) -> None:
    digests = {name: digest(library / name) for name in names}
    same = {frozenset(pair) for pair in itertools.combinations(names, 2) if len({digests[name] for name in pair}) == 1}
    assert same == sample.expected(library).duplicate_pairs


def test_exactly_the_expected_pairs_look_alike(library: Path, names: list[str]) -> None:
    expectation = sample.expected(library)
    shown = [name for name in names if kind_of_name(name) is Kind.PHOTO]
    whole = [name for name in shown if name not in expectation.rejected_paths | expectation.damaged_paths]
    pictures = {name: picture(library / name) for name in whole}
    hashes = {name: perceptual_hash(image) for name, image in pictures.items()}
    alike = {frozenset(pair) for pair in itertools.combinations(whole, 2) if hamming(*(hashes[n] for n in pair)) <= 60}
    assert alike == expectation.duplicate_pairs | expectation.near_duplicate_pairs | expectation.look_alike_pairs
    assert all(luma_correlation(*(pictures[name] for name in pair)) >= 0.98 for pair in alike)


def test_only_the_look_alikes_differ_in_their_sub_seconds(library: Path) -> None:
    def subsecs(pair: frozenset[str]) -> set[str | None]:
        found = {name: identify(library / name) for name in pair}
        return {read_identifiers(library / name, kind)["subsec"] for name, kind in found.items() if kind} - {None}

    expectation = sample.expected(library)
    assert all(len(subsecs(pair)) == 2 for pair in expectation.look_alike_pairs)
    assert all(len(subsecs(pair)) <= 1 for pair in expectation.near_duplicate_pairs)


def test_all_eight_orientations_are_stored_differently_and_look_the_same(library: Path) -> None:
    files = [library / sample.UPRIGHT / f"way_{orientation}.jpg" for orientation in range(1, 9)]
    assert [Image.open(file).getexif()[0x0112] for file in files] == list(range(1, 9))
    stored = [np.asarray(Image.open(file).resize((64, 64)), np.int16) for file in files]
    assert all(np.abs(one - other).mean() > 3 for one, other in itertools.combinations(stored, 2))
    seen = [np.asarray(picture(file), np.int16) for file in files]
    assert all(np.abs(seen[0] - each).mean() < 3 for each in seen)


def test_the_dates_come_from_where_each_camera_leaves_them(library: Path, names: list[str]) -> None:
    def date_of(name: str, *sidecars: str) -> tuple[str, str]:
        path = library / name
        beside = [library / each for each in sidecars]
        found = read_capture_date(
            path,
            timezone="UTC",
            mtime_ns=path.stat().st_mtime_ns,
            first_seen=datetime(2025, 1, 1, tzinfo=UTC),
            sidecars=beside,
        )
        return found.local.date().isoformat(), found.provenance

    assert date_of(f"{sample.APPLE}/IMG_0008.JPG") == ("2023-01-01", "exif_offset")  # still the old year, in UTC
    assert date_of(f"{sample.APPLE}/IMG_0006.HEIC") == ("2022-04-02", "exif_offset")  # still the day before, in UTC
    assert date_of(f"{sample.APPLE}/IMG_0004.MOV") == ("2021-08-15", "quicktime")
    assert date_of(f"{sample.CAMERA}/IMG_20200229_120000.jpg") == ("2020-02-29", "exif")
    assert date_of(f"{sample.CAMERA}/VID_20200808_120000.mp4") == ("2020-08-08", "quicktime_utc")
    assert date_of(f"{sample.WHATSAPP}/IMG-20210820-WA0011.jpg") == ("2021-08-20", "filename")
    takeout = f"{sample.TAKEOUT}/IMG_4711.jpg"
    assert date_of(takeout, f"{takeout}.supplemental-metadata.json")[0] == "2016-10-03"
    assert len({date_of(name)[0][:4] for name in names}) >= 10


def test_the_halves_of_the_live_photo_share_one_identifier(library: Path) -> None:
    (pair,) = sample.expected(library).bundles["live"]
    found = {name: identify(library / name) for name in pair}
    identifiers = {read_identifiers(library / name, kind)["content_identifier"] for name, kind in found.items() if kind}
    assert identifiers == {sample.LIVE_ID}


def test_the_upright_video_is_stored_lying_with_sound(library: Path) -> None:
    with av.open(str(library / sample.APPLE / "IMG_0004.MOV")) as container:
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        assert (frame.width > frame.height, frame.rotation % 360) == (True, 270)
        assert len(container.streams.audio) == 1


def test_the_deep_png_has_sixteen_bits_and_the_logo_is_transparent(library: Path) -> None:
    assert (library / sample.SCANS / "Dia 1994-08.png").read_bytes()[24] == 16
    alpha = np.asarray(Image.open(library / sample.DOWNLOADS / "Logo Verein.png"))[..., 3]
    assert (alpha.min(), alpha.max()) == (0, 255)


def test_names_come_composed_and_decomposed(library: Path, names: list[str]) -> None:
    assert {f"{sample.DOWNLOADS}/{sample.NFC_NAME}", f"{sample.DOWNLOADS}/{sample.NFD_NAME}"} <= set(names)
    assert unicodedata.is_normalized("NFC", sample.NFC_NAME) and not unicodedata.is_normalized("NFC", sample.NFD_NAME)


def test_the_same_name_stands_in_two_folders_for_two_pictures(library: Path) -> None:
    first, second = (library / folder / "IMG_0003.JPG" for folder in (sample.APPLE, sample.APPLE_NEXT))
    assert digest(first) != digest(second)


def test_file_times_lie_in_the_past_and_have_settled(library: Path, names: list[str]) -> None:
    now = datetime.now(UTC)
    times = [datetime.fromtimestamp((library / name).stat().st_mtime, UTC) for name in names]
    assert all(time < now - timedelta(hours=1) for time in times)
