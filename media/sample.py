"""The sample library: a few dozen files over many years, such as a family's phones and cameras leave behind.

Belongs here: which files there are, where they lie, and what a correct run makes of them. Does not belong here: how a
picture is painted (`sample_pictures.py`) and how a format is written (`sample_files.py`).

The same seed gives the same bytes, so that a run over it can be compared with another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from PIL import Image, ImageOps

from media.sample_files import (
    Shot,
    aae,
    takeout,
    write_deep_png,
    write_dng,
    write_heic,
    write_jpeg,
    write_movie,
    xmp,
)
from media.sample_pictures import Ground, Hour, badge, landscape, screenshot

APPLE, APPLE_NEXT, CAMERA = "DCIM/100APPLE", "DCIM/101APPLE", "Camera"
WHATSAPP, DOWNLOADS, UPRIGHT = "WhatsApp/Media/WhatsApp Images", "Downloads", "Eight ways up"
LIGHTROOM, TAKEOUT, SCANS = "Lightroom/2015", "Takeout/Google Fotos/Fotos von 2016", "Scans"
BERLIN_SUMMER, BERLIN = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
AUCKLAND, TOKYO, SAN_FRANCISCO = (timezone(timedelta(hours=hours)) for hours in (13, 9, -7))
BERLIN_PLACE, ALPS_PLACE, SEA_PLACE = (52.5163, 13.3777), (46.5590, 7.8930), (54.4310, 13.0270)
LIVE_ID = "6C2A7E0F-1B7D-4C55-9A4E-2D1D8B6B1F10"
NFC_NAME = unicodedata.normalize("NFC", "Straße in Zürich.jpg")
NFD_NAME = unicodedata.normalize("NFD", "Café am Böhmersee.jpg")
LEFT_ALONE = (f"{CAMERA}/.trashed-1700000000-IMG_20220101_100000.jpg", f"{CAMERA}/VID_20240101_000000.mp4.part")

_IPHONE_7, _IPHONE_12 = ("Apple", "iPhone 7"), ("Apple", "iPhone 12")
_PIXEL, _PIXEL_6 = ("Google", "Pixel"), ("Google", "Pixel 6 Pro")
_LARGE, _MEDIUM, _SMALL = (1800, 1350), (1440, 1080), (1024, 768)


@dataclass(frozen=True)
class SampleExpectation:
    """What a correct run makes of the sample library. Paths are relative to it.

    Every file counts as found except hidden ones and those in progress: found = kept + duplicates + rejected + failed.

    Attributes:
        found: Media files and sidecars.
        kept: Contents that are kept, sidecars and the damaged file among them.
        duplicates: Files whose content is kept already.
        rejected: Files that are no media.
        damaged: Photos that cannot be decoded whole; a part of `kept`.
        failed: Files that could not be worked on.
        sidecars: A part of `kept`.
        duplicate_pairs: The two paths of each exact duplicate; which one is kept is the run's choice.
        near_duplicate_pairs: Pairs that show the same shot in other bytes, to be proposed.
        look_alike_pairs: Pairs that look the same, but whose sub-seconds say that they are different shots.
        bundles: Members of each bundle by its kind: live, raw, edit, sidecar.
        rejected_paths: The files that are no media.
        damaged_paths: The files that are damaged.
        left_alone: Hidden files and files in progress, which are not found at all.
    """

    found: int
    kept: int
    duplicates: int
    rejected: int
    damaged: int
    failed: int
    sidecars: int
    duplicate_pairs: frozenset[frozenset[str]]
    near_duplicate_pairs: frozenset[frozenset[str]]
    look_alike_pairs: frozenset[frozenset[str]]
    bundles: dict[str, list[frozenset[str]]]
    rejected_paths: frozenset[str]
    damaged_paths: frozenset[str]
    left_alone: frozenset[str]


_DUPLICATES = {
    f"{DOWNLOADS}/IMG_0003 (1).JPG": f"{APPLE}/IMG_0003.JPG",
    f"{DOWNLOADS}/Backup 2019/Urlaub.jpg": f"{CAMERA}/IMG_20190714_153012.jpg",
}
_NEAR_DUPLICATES = {
    f"{WHATSAPP}/IMG-20191103-WA0003.jpg": f"{CAMERA}/IMG_20191103_081544.jpg",
    f"{DOWNLOADS}/Strand, kleiner.jpg": f"{APPLE_NEXT}/IMG_0003.JPG",
}
_REJECTED = (f"{APPLE_NEXT}/IMG_0011.JPG",)
_DAMAGED = (f"{APPLE}/IMG_0009.JPG",)
_BUNDLES: dict[str, list[tuple[str, ...]]] = {
    "live": [(f"{APPLE}/IMG_0002.HEIC", f"{APPLE}/IMG_0002.MOV")],
    "raw": [(f"{CAMERA}/IMG_20180505_184210.jpg", f"{CAMERA}/IMG_20180505_184210.dng")],
    "edit": [(f"{APPLE}/IMG_0007.JPG", f"{APPLE}/IMG_E0007.JPG", f"{APPLE}/IMG_0007.AAE")],
    "sidecar": [
        (f"{LIGHTROOM}/DSC_0042.JPG", f"{LIGHTROOM}/DSC_0042.xmp"),
        (f"{TAKEOUT}/IMG_4711.jpg", f"{TAKEOUT}/IMG_4711.jpg.supplemental-metadata.json"),
    ],
}
_SIDECAR_ENDINGS = (".aae", ".xmp", ".json")


def generate(folder: Path, seed: int = 1) -> list[Path]:
    """Makes the sample library.

    Args:
        folder: Where it goes; made if missing. Files of an earlier call are written again.
        seed: Another seed paints other pictures under the same names.

    Returns:
        All files in order of their path, those to be left alone included.
    """
    library = _Library(folder, seed)
    for part in (_iphone, _iphone_later, _android, _messages, _downloads, _upright, _archive_of_old, _left_alone):
        part(library)
    return sorted(library.written)


def expected(folder: Path) -> SampleExpectation:
    """Returns what a correct run over a library that `generate` made there yields."""
    left_alone = frozenset(LEFT_ALONE)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = files - left_alone
    duplicates, rejected = len(_DUPLICATES), len(_REJECTED)
    ways = [f"{UPRIGHT}/way_{orientation}.jpg" for orientation in range(1, 9)]
    return SampleExpectation(
        found=len(names),
        kept=len(names) - duplicates - rejected,
        duplicates=duplicates,
        rejected=rejected,
        damaged=len(_DAMAGED),
        failed=0,
        sidecars=sum(name.lower().endswith(_SIDECAR_ENDINGS) for name in names),
        duplicate_pairs=_pairs(_DUPLICATES),
        near_duplicate_pairs=_pairs(_NEAR_DUPLICATES),
        look_alike_pairs=frozenset(frozenset((a, b)) for a in ways for b in ways if a < b),
        bundles={kind: [frozenset(members) for members in bundles] for kind, bundles in _BUNDLES.items()},
        rejected_paths=frozenset(_REJECTED),
        damaged_paths=frozenset(_DAMAGED),
        left_alone=left_alone,
    )


def _pairs(copies: dict[str, str]) -> frozenset[frozenset[str]]:
    return frozenset(frozenset(pair) for pair in copies.items())


class _Library:
    """Writes files below one folder and numbers the pictures, so that each is painted once and anew."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.written: list[Path] = []
        self._painted = 0

    def paint(self, ground: Ground, hour: Hour, size: tuple[int, int] = _LARGE) -> Image.Image:
        self._painted += 1
        return landscape(self.seed, self._painted, *size, ground, hour)

    @contextlib.contextmanager
    def file(self, name: str, moment: datetime) -> Iterator[Path]:
        """Hands out the path of one file, and gives the file the time at which a camera would have closed it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        # A camera's clock without an offset is read as UTC here: a file time has to be some instant.
        instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        os.utime(path, (instant, instant))
        self.written.append(path)

    def jpeg(self, name: str, picture: Image.Image, shot: Shot, quality: int = 90) -> None:
        with self.file(name, shot.taken) as path:
            write_jpeg(path, picture, shot, quality)

    def heic(self, name: str, picture: Image.Image, shot: Shot) -> None:
        with self.file(name, shot.taken) as path:
            write_heic(path, picture, shot)

    def text(self, name: str, moment: datetime, text: bytes) -> None:
        with self.file(name, moment) as path:
            path.write_bytes(text)


def _iphone(library: _Library) -> None:
    """An iPhone 12: dates with offsets, positions, HEIC, a Live Photo, a portrait video, an edit."""
    noon = datetime(2021, 6, 12, 12, 4, 33, tzinfo=BERLIN_SUMMER)
    library.heic(
        f"{APPLE}/IMG_0001.HEIC", library.paint("hills", "noon", _MEDIUM), Shot(noon, *_IPHONE_12, BERLIN_PLACE)
    )
    live = Shot(datetime(2021, 7, 3, 21, 12, 5, tzinfo=BERLIN_SUMMER), *_IPHONE_12, SEA_PLACE, 1, LIVE_ID, "481")
    evening = library.paint("sea", "sunset", _MEDIUM)
    library.heic(f"{APPLE}/IMG_0002.HEIC", evening, live)
    with library.file(f"{APPLE}/IMG_0002.MOV", live.taken) as path:
        write_movie(path, evening.resize((1200, 540)), live, codec="libx265", frames=24)
    abroad = Shot(datetime(2021, 8, 14, 9, 30, 0, tzinfo=SAN_FRANCISCO), *_IPHONE_12, (37.8083, -122.4750))
    library.jpeg(f"{APPLE}/IMG_0003.JPG", library.paint("city", "morning"), abroad)
    clip = Shot(datetime(2021, 8, 15, 18, 2, 40, tzinfo=SAN_FRANCISCO), *_IPHONE_12, (37.7694, -122.4862))
    # A phone held upright stores lying frames; the player turns them. So the scenery is laid down first.
    upright = library.paint("forest", "morning", (720, 1600)).transpose(Image.Transpose.ROTATE_90)
    with library.file(f"{APPLE}/IMG_0004.MOV", clip.taken) as path:
        write_movie(path, upright, clip, codec="libx264", frames=30, sound=True, rotation=-90)
    screen_at = datetime(2021, 11, 20, 9, 41, tzinfo=BERLIN)
    with library.file(f"{APPLE}/IMG_0005.PNG", screen_at) as path:
        screenshot(828, 1792).save(path)
    tokyo = Shot(datetime(2022, 4, 2, 6, 15, 9, tzinfo=TOKYO), *_IPHONE_12, (35.7148, 139.7967), orientation=6)
    library.heic(f"{APPLE}/IMG_0006.HEIC", library.paint("peaks", "morning", (1080, 1440)), tokyo)
    _edited(library)
    new_year = Shot(datetime(2023, 1, 1, 0, 7, 31, tzinfo=AUCKLAND), *_IPHONE_12, (-36.8485, 174.7633))
    library.jpeg(f"{APPLE}/IMG_0008.JPG", library.paint("city", "night"), new_year)
    _cut_off(library)


def _edited(library: _Library) -> None:
    shot = Shot(datetime(2022, 9, 18, 16, 20, 51, tzinfo=BERLIN_SUMMER), *_IPHONE_12, ALPS_PLACE, subsec="120")
    picture = library.paint("peaks", "noon")
    width, height = picture.size
    tight = picture.crop((width // 3, height // 4, width, height * 3 // 4))
    library.jpeg(f"{APPLE}/IMG_0007.JPG", picture, shot)
    library.jpeg(f"{APPLE}/IMG_E0007.JPG", ImageOps.grayscale(tight).convert("RGB"), shot)
    edited_at = datetime(2022, 9, 18, 20, 1, tzinfo=UTC)
    library.text(f"{APPLE}/IMG_0007.AAE", edited_at, aae(edited_at))


def _cut_off(library: _Library) -> None:
    """A copy that broke off: the header is whole, half of the picture is missing."""
    shot = Shot(datetime(2023, 1, 22, 14, 0, 18, tzinfo=BERLIN), *_IPHONE_12)
    with library.file(_DAMAGED[0], shot.taken) as path:
        write_jpeg(path, library.paint("dunes", "noon"), shot)
        os.truncate(path, path.stat().st_size // 2)


def _iphone_later(library: _Library) -> None:
    """The next folder counts on, and again has an IMG_0003.JPG."""
    beach = Shot(datetime(2023, 7, 29, 17, 45, 2, tzinfo=BERLIN_SUMMER), *_IPHONE_12, SEA_PLACE, subsec="033")
    library.jpeg(f"{APPLE_NEXT}/IMG_0003.JPG", library.paint("sea", "noon"), beach)
    autumn = Shot(datetime(2023, 10, 28, 7, 55, 30, tzinfo=BERLIN_SUMMER), *_IPHONE_12, BERLIN_PLACE)
    library.jpeg(f"{APPLE_NEXT}/IMG_0010.JPG", library.paint("forest", "overcast"), autumn)
    text = b"The download has expired. Please ask the sender for a new link.\n"
    library.text(_REJECTED[0], datetime(2023, 11, 1, 10, 0, tzinfo=BERLIN), text)


def _android(library: _Library) -> None:
    """A Pixel: dates in the names, none of the offsets in its early years, RAW + JPEG, a video with only UTC."""
    shots: tuple[tuple[str, Ground, Hour, Shot], ...] = (
        ("IMG_20190714_153012.jpg", "dunes", "noon", Shot(datetime(2019, 7, 14, 15, 30, 12), *_PIXEL, (28.0, -15.58))),
        ("IMG_20191103_081544.jpg", "forest", "morning", Shot(datetime(2019, 11, 3, 8, 15, 44), *_PIXEL)),
        ("IMG_20200229_120000.jpg", "hills", "overcast", Shot(datetime(2020, 2, 29, 12, 0, 0), *_PIXEL, ALPS_PLACE)),
        (
            "PXL_20230401_101500123.jpg",
            "city",
            "dusk",
            Shot(datetime(2023, 4, 1, 12, 15, 0, tzinfo=BERLIN_SUMMER), *_PIXEL_6, subsec="123"),
        ),
    )
    for name, ground, hour, shot in shots:
        library.jpeg(f"{CAMERA}/{name}", library.paint(ground, hour), shot)
    both = Shot(datetime(2018, 5, 5, 18, 42, 10), *_PIXEL, subsec="771")
    picture = library.paint("hills", "sunset", _SMALL)
    library.jpeg(f"{CAMERA}/IMG_20180505_184210.jpg", picture, both)
    with library.file(f"{CAMERA}/IMG_20180505_184210.dng", both.taken) as path:
        write_dng(path, picture, both)
    clip = Shot(datetime(2020, 8, 8, 12, 0, 0, tzinfo=BERLIN_SUMMER), *_PIXEL)
    scenery = library.paint("dunes", "sunset", (1600, 540))
    with library.file(f"{CAMERA}/VID_20200808_120000.mp4", clip.taken) as path:
        write_movie(path, scenery, clip, codec="libx264", frames=24)


def _messages(library: _Library) -> None:
    """What came through a messenger: no EXIF, made smaller, and the date only in the name."""
    forwarded = Image.open(library.folder / CAMERA / "IMG_20191103_081544.jpg").convert("RGB").resize((1200, 900))
    received: tuple[tuple[str, Image.Image, datetime], ...] = (
        ("IMG-20191103-WA0003.jpg", forwarded, datetime(2019, 11, 3, 9, 1, tzinfo=UTC)),
        ("IMG-20210820-WA0011.jpg", library.paint("sea", "dusk", _SMALL), datetime(2021, 8, 20, 19, 0, tzinfo=UTC)),
    )
    for name, picture, moment in received:
        with library.file(f"{WHATSAPP}/{name}", moment) as path:
            write_jpeg(path, picture, None, 72)
    sticker_at = datetime(2021, 8, 20, 19, 5, tzinfo=UTC)
    with library.file(f"{WHATSAPP}/STK-20210820-WA0012.webp", sticker_at) as path:
        badge(library.seed, 512).save(path, "WEBP", quality=80)
    wide = library.paint("hills", "dusk", (640, 180))
    frames = [wide.crop((step, 0, step + 320, 180)) for step in range(0, 320, 32)]
    with library.file("Telegram/animation_2020.gif", datetime(2020, 12, 24, 20, 15, tzinfo=UTC)) as path:
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=90, loop=0)


def _downloads(library: _Library) -> None:
    """Copies under other names, a copy made smaller, and names that come composed and decomposed."""
    for copy, origin in _DUPLICATES.items():
        with library.file(copy, datetime(2023, 12, 2, 11, 0, tzinfo=UTC)) as path:
            shutil.copyfile(library.folder / origin, path)
    beach = Shot(datetime(2023, 7, 29, 17, 45, 2, tzinfo=BERLIN_SUMMER), *_IPHONE_12, SEA_PLACE, subsec="033")
    original = Image.open(library.folder / APPLE_NEXT / "IMG_0003.JPG").convert("RGB")
    library.jpeg(f"{DOWNLOADS}/Strand, kleiner.jpg", original.resize((1080, 810), Image.Resampling.LANCZOS), beach, 75)
    street = Shot(datetime(2017, 3, 11, 10, 22, 8), *_IPHONE_7, (47.3769, 8.5417))
    library.jpeg(f"{DOWNLOADS}/{NFC_NAME}", library.paint("city", "noon", _MEDIUM), street)
    cafe = Shot(datetime(2017, 5, 25, 15, 9, 41), *_IPHONE_7, orientation=3)
    library.jpeg(f"{DOWNLOADS}/{NFD_NAME}", library.paint("peaks", "overcast", _MEDIUM), cafe)
    with library.file(f"{DOWNLOADS}/Logo Verein.png", datetime(2018, 1, 9, 8, 30, tzinfo=UTC)) as path:
        badge(library.seed + 1, 700).save(path)


def _upright(library: _Library) -> None:
    """One picture in all eight orientations: upright they all look the same, stored no two do."""
    picture = library.paint("hills", "morning", _SMALL)
    for orientation in range(1, 9):
        taken = datetime(2016, 5, 14, 11, 20, orientation * 5)
        shot = Shot(taken, "Canon", "Canon EOS 80D", None, orientation, subsec=f"{orientation * 11:02d}")
        library.jpeg(f"{UPRIGHT}/way_{orientation}.jpg", picture, shot, 88)


def _archive_of_old(library: _Library) -> None:
    """What was there before phones: an edited RAW workflow, a Takeout export, scans."""
    hike = Shot(datetime(2015, 8, 2, 6, 41, 19), "NIKON CORPORATION", "NIKON D7200", subsec="50")
    library.jpeg(f"{LIGHTROOM}/DSC_0042.JPG", library.paint("peaks", "sunset"), hike)
    rated_at = datetime(2015, 8, 9, 20, 0, tzinfo=UTC)
    library.text(f"{LIGHTROOM}/DSC_0042.xmp", rated_at, xmp(4, hike.taken))
    taken = datetime(2016, 10, 3, 13, 37, 0, tzinfo=UTC)
    exported_at = datetime(2024, 1, 15, 9, 0, tzinfo=UTC)
    castle = library.paint("forest", "sunset", _MEDIUM)
    with library.file(f"{TAKEOUT}/IMG_4711.jpg", exported_at) as path:
        write_jpeg(path, castle, None, 85)
    told = takeout("IMG_4711.jpg", taken, ALPS_PLACE)
    library.text(f"{TAKEOUT}/IMG_4711.jpg.supplemental-metadata.json", exported_at, told)
    slide = library.paint("sea", "morning", (640, 480))
    scanned_at = datetime(2009, 2, 7, 10, 0, tzinfo=UTC)
    with library.file(f"{SCANS}/Dia 1994-08.png", scanned_at) as path:
        write_deep_png(path, slide, library.seed)
    negative = library.paint("hills", "noon", (800, 600))
    scan = Shot(datetime(1988, 6, 5, 12, 0, 0), "EPSON", "Perfection V700")
    with library.file(f"{SCANS}/Negativ 1988.tif", scanned_at) as path:
        negative.save(path, "TIFF", exif=scan.exif)


def _left_alone(library: _Library) -> None:
    """What is hidden or still being written."""
    hidden, in_progress = LEFT_ALONE
    deleted = library.folder / APPLE / "IMG_0003.JPG"
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    library.text(hidden, moment, deleted.read_bytes()[:40_000])
    library.text(in_progress, moment, bytes(4096))
