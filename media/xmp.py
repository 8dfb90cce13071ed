"""What iCloud knows of a photo, as an XMP document: made of values alone, the same bytes for the same values.

Belongs here: the document, and how to tell one of ours. Does not belong here: files (`media.sidecars`), or where the
values come from.

Who reads what:
    title, caption: `dc:title` and `dc:description`; every program below.
    albums: `digiKam:TagsList` (digiKam; Immich, which takes the next one where this is missing),
        `lr:hierarchicalSubject` (Lightroom, darktable, digiKam), and the bare names as `dc:subject`, which everything
        else takes as keywords.
    favourite: `xmp:Rating` 5; digiKam, Lightroom, darktable, Immich. XMP has no word for a favourite.
    hidden: the tag “Hidden”. No program hides a photo for that, so that it can at least be found.
    place: `exif:GPSLatitude` and `exif:GPSLongitude`; all of them.
    date: `exif:DateTimeOriginal` (all of them) and `photoshop:DateCreated` (Lightroom, Photoshop).
    Apple's record name and checksum: `dc:identifier`; for us and for whoever wants to find the photo again.
digiKam, darktable and Immich look for `IMG_1.HEIC.xmp`; Lightroom reads sidecars of RAW files alone, as `IMG_1.xmp`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from xml.sax.saxutils import escape

TOOLKIT = "mediapipe-assets"
HEAD = 512  # bytes in which the marker of one of ours stands
ALBUMS, HIDDEN = "Albums", "Hidden"
FAVOURITE_RATING = 5
_MARKER = f'x:xmptk="{TOOLKIT}"'
# What XML 1.0 cannot hold, however it is written.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a photo.

    Attributes:
        record: Apple's record name.
        checksum: Apple's checksum of the original.
        title: Its title.
        caption: The person's words.
        albums: The albums that it is in.
        favourite: Whether it is a favourite.
        hidden: Whether it is hidden.
        location: Latitude and longitude in degrees.
        taken: The local time where it was taken, without a zone.
        offset_minutes: From UTC at that place, None where unknown.
    """

    record: str
    checksum: str
    title: str | None = None
    caption: str | None = None
    albums: Sequence[str] = ()
    favourite: bool = False
    hidden: bool = False
    location: tuple[float, float] | None = None
    taken: datetime | None = None
    offset_minutes: int | None = None


def document(words: Words) -> bytes:
    """Returns the XMP document, UTF-8."""
    spaces = "".join(f'\n    xmlns:{prefix}="{address}"' for prefix, address in _SPACES.items())
    properties = "".join(f"   {one}\n" for one in _properties(words))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/" {_MARKER}>\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about=""{spaces}>\n'
        f"{properties}"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
    ).encode()


def is_ours(head: bytes) -> bool:
    """Returns whether a document is one of ours, by its first `HEAD` bytes."""
    return b"<x:xmpmeta" in head[:HEAD] and _MARKER.encode() in head[:HEAD]


def _properties(words: Words) -> Iterator[str]:
    yield _plain("dc:identifier", f"icloud:{words.record} {words.checksum}")
    if words.title:
        yield _in_any_language("dc:title", words.title)
    if words.caption:
        yield _in_any_language("dc:description", words.caption)
    paths = [(ALBUMS, album) for album in sorted(set(words.albums))] + ([(HIDDEN,)] if words.hidden else [])
    if paths:
        yield _many("dc:subject", "Bag", [path[-1] for path in paths])
        yield _many("lr:hierarchicalSubject", "Bag", [_path(path, "|") for path in paths])
        yield _many("digiKam:TagsList", "Seq", [_path(path, "/") for path in paths])
    if words.favourite:
        yield _plain("xmp:Rating", str(FAVOURITE_RATING))
    if words.taken is not None:
        moment = _moment(words.taken, words.offset_minutes)
        yield _plain("exif:DateTimeOriginal", moment)
        yield _plain("photoshop:DateCreated", moment)
    if words.location is not None and _is_place(words.location):
        latitude, longitude = words.location
        yield _plain("exif:GPSLatitude", _degrees(latitude, "NS"))
        yield _plain("exif:GPSLongitude", _degrees(longitude, "EW"))


def _plain(name: str, value: str) -> str:
    return f"<{name}>{_text(value)}</{name}>"


def _in_any_language(name: str, value: str) -> str:
    return f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{_text(value)}</rdf:li></rdf:Alt></{name}>'


def _many(name: str, kind: str, values: Sequence[str]) -> str:
    listed = "".join(f"<rdf:li>{_text(value)}</rdf:li>" for value in values)
    return f"<{name}><rdf:{kind}>{listed}</rdf:{kind}></{name}>"


def _text(value: str) -> str:
    # A carriage return would come back as a line feed; so it is one from the beginning.
    return escape(_NO_XML.sub("", value).replace("\r\n", "\n").replace("\r", "\n"))


def _path(parts: Sequence[str], separator: str) -> str:
    """Joins the levels of a tag; one whose own name holds the separator would fall into two."""
    return separator.join(part.replace(separator, "-") for part in parts)


def _moment(local: datetime, offset_minutes: int | None) -> str:
    if offset_minutes is not None:
        local = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    return local.isoformat(timespec="milliseconds" if local.microsecond >= 1000 else "seconds")


def _is_place(location: tuple[float, float]) -> bool:
    latitude, longitude = location
    return all(map(math.isfinite, location)) and abs(latitude) <= 90 and abs(longitude) <= 180


def _degrees(value: float, sides: str) -> str:
    """Writes degrees as XMP does: whole degrees, minutes with a fraction, and the side."""
    millionths = round(abs(value) * 60_000_000)  # of a minute, so that no 60.000000 minutes can come about
    degrees, rest = divmod(millionths, 60_000_000)
    return f"{degrees},{rest // 1_000_000}.{rest % 1_000_000:06d}{sides[value < 0]}"
