"""A still and its film as one Motion Photo: both come out again byte for byte, and what would be touched stays two."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import simplejpeg
from PIL import Image

from media.jpeg_segments import split
from media.kinds import identify
from media.motion_photo import KeepApart, join, motion_name, take_apart

XMP = b"http://ns.adobe.com/xap/1.0/\0"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
CAMERA = "{http://ns.google.com/photos/1.0/camera/}"
ITEM = "{http://ns.google.com/photos/1.0/container/item/}"
FILM = b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + b"\0\0\0\x08wide" + b"\0\0\x10\0mdat" + bytes(range(256)) * 16


def a_still(*segments: tuple[int, bytes], **saved: object) -> bytes:
    """A small JPEG, with segments put in behind JFIF."""
    out = io.BytesIO()
    Image.new("RGB", (32, 24), (10, 200, 90)).save(out, "JPEG", **saved)
    data = out.getvalue()
    at = 4 + int.from_bytes(data[4:6], "big")
    new = b"".join(b"\xff" + bytes([mark]) + (len(body) + 2).to_bytes(2, "big") + body for mark, body in segments)
    return data[:at] + new + data[at:]


def an_xmp(inside: bytes, about: bytes = b"") -> tuple[int, bytes]:
    return 0xE1, XMP + (
        b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
        b"xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='" + about + b"' "
        b"xmlns:xmp='http://ns.adobe.com/xap/1.0/'>" + inside + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
        b"<?xpacket end='w'?>"
    )


RATED = an_xmp(b"<xmp:Rating>4</xmp:Rating>", b"uuid:4b1e")


def joined(folder: Path, still: bytes, film: bytes = FILM) -> Path:
    (folder / "still.jpg").write_bytes(still)
    (folder / "film.mov").write_bytes(film)
    join(folder / "still.jpg", folder / "film.mov", folder / "part")
    return folder / "part"


def packet(path: Path) -> ET.Element:
    data = path.read_bytes()
    head = split(data)
    found = [one.payload for one in head.metadata if one.payload.startswith(XMP)]
    assert len(found) == 1
    return ET.fromstring(re.sub(rb"<\?xpacket.*?\?>", b"", found[0][len(XMP) :]).strip())


EXIF = Image.Exif()
EXIF[0x010F] = "Apple"


@pytest.mark.parametrize(
    "still",
    [
        a_still(),
        a_still(exif=EXIF),
        a_still(RATED),
        a_still((0xE2, b"ICC_PROFILE\0\1\1profile"), RATED, (0xFE, b"a comment")),
        a_still(progressive=True),
    ],
)
def test_both_come_out_again_byte_for_byte(tmp_path: Path, still: bytes) -> None:
    part = joined(tmp_path, still)
    halves = take_apart(part)
    data = part.read_bytes()
    assert halves.still == still
    assert data[halves.film_start :] == FILM
    assert halves.film_length == len(FILM)
    before, after = split(still), split(data)
    picture = [one.raw for one in before.tables], still[before.scan_start : before.picture_end]
    assert ([one.raw for one in after.tables], data[after.scan_start : after.picture_end]) == picture
    kept = [one.raw for one in before.metadata if not one.payload.startswith(XMP)]
    assert [one.raw for one in after.metadata if not one.payload.startswith(XMP)] == kept
    assert (simplejpeg.decode_jpeg(data) == simplejpeg.decode_jpeg(still)).all()


@pytest.mark.parametrize(("still", "about"), [(a_still(), ""), (a_still(RATED), "uuid:4b1e")])
def test_it_says_what_the_format_asks_for(tmp_path: Path, still: bytes, about: str) -> None:
    part = joined(tmp_path, still)
    descriptions = list(packet(part).iter(f"{RDF}Description"))
    assert {one.get(f"{RDF}about") for one in descriptions} == {about}
    camera = descriptions[-1]
    assert camera.get(f"{CAMERA}MotionPhoto") == camera.get(f"{CAMERA}MotionPhotoVersion") == "1"
    items = [one.attrib for one in camera.iter("{http://ns.google.com/photos/1.0/container/}Item")]
    assert [(one[f"{ITEM}Semantic"], one[f"{ITEM}Mime"], one[f"{ITEM}Length"]) for one in items] == [
        ("Primary", "image/jpeg", "0"),
        ("MotionPhoto", "video/quicktime", str(len(FILM))),
    ]
    assert part.stat().st_size - int(items[1][f"{ITEM}Length"]) == take_apart(part).film_start


def test_exif_stays_the_first_segment(tmp_path: Path) -> None:
    still = a_still(exif=EXIF)
    first = [one.payload[:6] for one in split(joined(tmp_path, still).read_bytes()).metadata]
    assert first.index(b"Exif\0\0") < first.index(XMP[:6])


@pytest.mark.parametrize(
    ("still", "reason"),
    [
        (a_still() + b"more", "behind its picture"),
        (a_still(an_xmp(b"<a:b xmlns:a='http://ns.google.com/photos/1.0/camera/'/>")), "says already"),
        (a_still(RATED, RATED), "more than one XMP"),
        (a_still((0xE1, XMP + "<x/>".encode("utf-16"))), "is not understood"),
        (a_still(an_xmp(b" " * 64_900)), "no room"),
        (a_still()[:-40], "is not understood"),
        (FILM, "only a JPEG"),
    ],
)
def test_a_still_that_would_be_touched_stays_beside_its_film(tmp_path: Path, still: bytes, reason: str) -> None:
    with pytest.raises(KeepApart, match=reason):
        joined(tmp_path, still)
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("film", [b"no film", a_still(), FILM[20:]])
def test_what_is_no_film_that_readers_find_is_not_put_behind_a_still(tmp_path: Path, film: bytes) -> None:
    with pytest.raises(KeepApart, match="film"):
        joined(tmp_path, a_still(), film)


def test_what_another_program_wrote_or_broke_is_none_of_ours(tmp_path: Path) -> None:
    whole = joined(tmp_path, a_still()).read_bytes()
    for broken in (whole[: -len(FILM)], whole + b"x", whole.replace(b'Version="1"', b'Version="2"'), a_still(), b""):
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(KeepApart):
            take_apart(tmp_path / "broken")


def test_readers_know_it_by_its_name() -> None:
    names = [motion_name(name) for name in ("IMG_1.JPG", "IMG_1.jpeg", "IMG_1.Jpg", "IMG_1.HEIC.jpg")]
    assert names == ["IMG_1.MP.JPG", "IMG_1.MP.jpeg", "IMG_1.MP.jpg", "IMG_1.HEIC.MP.jpg"]
    pattern = r"^([^\s\/\\][^\/\\]*MP)\.(JPG|jpg|JPEG|jpeg|HEIC|heic|AVIF|avif)"  # of the specification
    assert all(re.match(pattern, name) for name in names)


def test_real_camera_files_are_joined_or_left_apart_and_never_changed(corpus: Path, tmp_path: Path) -> None:
    film = corpus / "good/iphone_with_gps.mov"
    made = []
    for still in sorted((corpus / "good").glob("*.jpg")):
        try:
            join(still, film, tmp_path / "part")
        except KeepApart:
            continue
        made.append(still.name)
        halves = take_apart(tmp_path / "part")
        assert halves.still == still.read_bytes()
        assert (tmp_path / "part").read_bytes()[halves.film_start :] == film.read_bytes()
        assert (found := identify(tmp_path / "part")) is not None and found.format == "jpeg"
    assert "iphone5_orientation3_gps.jpg" in made
    assert "pixel6pro_ultrahdr_gainmap.jpg" not in made
