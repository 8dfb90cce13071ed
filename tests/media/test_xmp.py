"""The XMP document: what a reader gets out of it is what was put in."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.capture import _from_xmp
from media.kinds import Kind, identify
from media.sidecars import sidecar_of, write_sidecar
from media.xmp import HEAD, Words, document, is_ours

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
PLAIN = Words("0F9A", "AcW96XzA8CMFcrVWfJyAAy8aWWE6")
FULL = Words(
    "0F9A",
    "AcW96XzA8CMFcrVWfJyAAy8aWWE6",
    title="Tom & Jerry <3",
    caption='Zeile 1\nZeile 2 "Zitat" ]]> 🎈',
    albums=("Größte Hits", "2019/2020", "a|b"),
    favourite=True,
    hidden=True,
    location=(52.5163, -13.3777),
    taken=datetime(2024, 5, 17, 14, 30, 5),
    offset_minutes=-210,
)


def read(words: Words) -> ElementTree.Element:
    found = ElementTree.fromstring(document(words)).find("rdf:RDF/rdf:Description", SPACES)
    assert found is not None
    return found


def one(words: Words, name: str) -> str | None:
    found = read(words).find(name, SPACES)
    return None if found is None else "".join(found.itertext())


def many(words: Words, name: str) -> list[str | None]:
    return [item.text for item in read(words).findall(f"{name}/*/rdf:li", SPACES)]


def test_it_says_all_that_is_known() -> None:
    assert one(FULL, "dc:identifier") == "icloud:0F9A AcW96XzA8CMFcrVWfJyAAy8aWWE6"
    assert one(FULL, "dc:title") == FULL.title
    assert one(FULL, "dc:description") == FULL.caption
    assert one(FULL, "xmp:Rating") == "5"
    assert one(FULL, "exif:DateTimeOriginal") == one(FULL, "photoshop:DateCreated") == "2024-05-17T14:30:05-03:30"
    assert one(FULL, "exif:GPSLatitude") == "52,30.978000N"
    assert one(FULL, "exif:GPSLongitude") == "13,22.662000W"


def test_albums_are_tags_as_each_program_reads_them() -> None:
    assert many(FULL, "dc:subject") == ["2019/2020", "Größte Hits", "a|b", "Hidden"]
    assert many(FULL, "lr:hierarchicalSubject") == ["Albums|2019/2020", "Albums|Größte Hits", "Albums|a-b", "Hidden"]
    assert many(FULL, "digiKam:TagsList") == ["Albums/2019-2020", "Albums/Größte Hits", "Albums/a|b", "Hidden"]


def test_it_says_nothing_that_is_not_known() -> None:
    assert [child.tag.partition("}")[2] for child in read(PLAIN)] == ["identifier"]


def test_a_time_without_an_offset_stays_one() -> None:
    words = Words("r", "c", taken=datetime(2024, 5, 17, 14, 30, 5, 250_000))
    assert one(words, "exif:DateTimeOriginal") == "2024-05-17T14:30:05.250"


def test_our_own_reader_of_sidecars_finds_the_date() -> None:
    found = _from_xmp(document(FULL).decode())
    assert found is not None and (found.local, found.offset_minutes) == (FULL.taken, FULL.offset_minutes)


@pytest.mark.parametrize("place", [(91.0, 0.0), (0.0, 181.0), (float("nan"), 0.0), (float("inf"), 0.0)])
def test_a_place_that_is_none_is_left_out(place: tuple[float, float]) -> None:
    assert one(Words("r", "c", location=place), "exif:GPSLatitude") is None


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_place_is_written_to_a_tenth_of_a_metre(latitude: float, longitude: float) -> None:
    def degrees(written: str | None) -> float:
        assert written is not None
        whole, minutes = written[:-1].split(",")
        assert 0 <= float(minutes) < 60
        return (int(whole) + float(minutes) / 60) * (-1 if written[-1] in "SW" else 1)

    words = Words("r", "c", location=(latitude, longitude))
    assert degrees(one(words, "exif:GPSLatitude")) == pytest.approx(latitude, abs=1e-8)
    assert degrees(one(words, "exif:GPSLongitude")) == pytest.approx(longitude, abs=1e-8)


@given(st.text(), st.text(), st.lists(st.text(min_size=1)))
def test_any_text_gives_a_document_that_can_be_read(title: str, caption: str, albums: list[str]) -> None:
    words = Words("r", "c", title=title, caption=caption, albums=tuple(albums))
    read(words)
    assert document(words) == document(Words("r", "c", title=title, caption=caption, albums=tuple(reversed(albums))))


def test_ours_are_told_from_others() -> None:
    assert is_ours(document(FULL)[:HEAD]) and is_ours(document(PLAIN)[:HEAD])
    assert not is_ours(document(PLAIN).replace(b"mediapipe-assets", b"XMP Core 4.4.0-Exiv2"))
    assert not is_ours(b"") and not is_ours(b"mediapipe-assets")


def test_a_sidecar_of_another_program_is_never_written_over(tmp_path: Path) -> None:
    target = tmp_path / "IMG_1.HEIC.xmp"
    target.write_text('<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="digiKam">mine</x:xmpmeta>')
    before = target.read_bytes()
    assert write_sidecar(str(target), document(PLAIN), tag="t") == "not_ours"
    assert target.read_bytes() == before


@pytest.mark.parametrize("what", ["empty", "link", "dangling", "folder", "pipe"])
def test_whatever_else_stands_there_is_left_alone(tmp_path: Path, what: str) -> None:
    target, other = tmp_path / "IMG_1.HEIC.xmp", tmp_path / "other"
    other.write_bytes(document(PLAIN))
    if what == "empty":
        target.write_bytes(b"")
    elif what in ("link", "dangling"):
        target.symlink_to(other if what == "link" else tmp_path / "nowhere")
    elif what == "folder":
        target.mkdir()
    else:
        os.mkfifo(target)
    assert write_sidecar(str(target), document(FULL), tag="t") == "not_ours"
    assert other.read_bytes() == document(PLAIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["IMG_1.HEIC.xmp", "other"]


def test_ours_is_written_anew_only_when_it_says_something_else(tmp_path: Path) -> None:
    target = tmp_path / "IMG_1.HEIC.xmp"
    assert write_sidecar(str(target), document(PLAIN), tag="t") == "written"
    made = target.stat().st_ino
    assert write_sidecar(str(target), document(PLAIN), tag="t") == "unchanged"
    assert target.stat().st_ino == made
    assert write_sidecar(str(target), document(FULL), tag="t") == "written"
    assert write_sidecar(str(target), document(PLAIN), tag="t") == "written", "also when it gets shorter"
    assert target.read_bytes() == document(PLAIN)
    assert identify(target) is not None and identify(target).kind is Kind.SIDECAR  # type: ignore[union-attr]


def test_names_of_any_length_get_a_sidecar_of_their_own(tmp_path: Path) -> None:
    assert sidecar_of(tmp_path / "IMG_1-0123456789ab.HEIC").name == "IMG_1-0123456789ab.HEIC.xmp"
    stem = "ü" * 118
    names = [f"{stem}-0123456789ab.HEIC", f"{stem}-ba9876543210.HEIC"]
    made = {sidecar_of(tmp_path / name).name for name in names}
    assert len(made) == 2 and all(len(os.fsencode(name)) <= 255 and name.endswith(".xmp") for name in made)
    for name in made:
        assert write_sidecar(str(tmp_path / name), document(PLAIN), tag="t") == "written"
