"""A Live Photo as one file: a JPEG with its film behind it, as Google's Motion Photo format 1.0 has it.

Belongs here: joining the two, and taking them apart again byte for byte. Does not belong here: which photos are joined,
or where the file goes.

Nothing of the still is written anew: one XMP description is put in, and taking that out again gives the very same
bytes. Whatever cannot be put in like that stays two files: a HEIC, and a JPEG that has data of its own behind its
picture, whose places would move.

Source: https://developer.android.com/media/platform/motion-photo-format
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from media.jpeg_segments import APP0, APP1, Jpeg, JpegStructureError, Segment, mpf_pictures, split
from media.kinds import Kind, identify

MOST_STILL = 256 << 20
_MOST_PAYLOAD = 65_533
_BLOCK = 1 << 20
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0\0"
_PACKET = (
    b"<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>%b</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)
_END = b"</rdf:RDF>"
_ABOUT = re.compile(rb"<rdf:Description\b[^>]*?\brdf:about\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_DESCRIBED = re.compile(
    rb'<rdf:Description rdf:about="([^"]*)" xmlns:GCamera="http://ns\.google\.com/photos/1\.0/camera/".*?'
    rb'Item:Mime="(video/[a-z0-9]+)" Item:Semantic="MotionPhoto" Item:Length="(\d+)".*?</rdf:Description>',
    re.DOTALL,
)
_TAKEN = (b"http://ns.google.com/photos/1.0/camera/", b"http://ns.google.com/photos/1.0/container/")


class KeepApart(Exception):
    """A still and a film stay two files; the message says why."""


@dataclass(frozen=True, slots=True)
class Halves:
    """A Motion Photo of ours, taken apart.

    Attributes:
        still: The bytes of the JPEG that it was made from.
        film_start: Where the film begins in the file; it reaches to the end.
        film_length: Its bytes.
    """

    still: bytes
    film_start: int
    film_length: int


def motion_name(name: str) -> str:
    """Returns the name by which readers of the format know a Motion Photo.

    Args:
        name: Of the still.
    """
    stem, ending = os.path.splitext(name)
    return f"{stem}.MP{ending if ending in ('.JPG', '.jpg', '.JPEG', '.jpeg') else '.jpg'}"


def join(still: Path, film: Path, part: Path) -> None:
    """Writes a still and its film as one file.

    Args:
        still: A JPEG; only read.
        film: An MP4 or MOV; only read.
        part: Written, and read back: both come out of it again byte for byte.

    Raises:
        KeepApart: They cannot be one file without touching what is theirs. There is no part then.
        OSError: Reading or writing failed.
    """
    mime = _mime_of_film(film)
    data = _read_still(still)
    length = film.stat().st_size
    try:
        head = _with_description(_taken_apart(data), mime, length)
        with open(part, "wb") as out, open(film, "rb") as source:
            out.write(head)
            film_hash = _copied(source, out)
            out.flush()
            os.fsync(out.fileno())
        _verify(part, data, film_hash)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def take_apart(path: Path) -> Halves:
    """Takes a file of `join` apart.

    Raises:
        KeepApart: It is none.
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    found = _description_in(path)
    length = int(found[3])
    start = size - length
    if not 0 < start <= MOST_STILL:
        raise KeepApart("its film is longer than the file")
    with open(path, "rb") as handle:
        head = handle.read(start)
        is_film = handle.read(8)[4:] == b"ftyp"
    if not is_film:
        raise KeepApart("no film stands where it says")
    return Halves(_without_description(_taken_apart(head)), start, length)


# ------------------------------------------------------------------ the film


def _mime_of_film(film: Path) -> str:
    identity = identify(film)
    if identity is None or identity.kind is not Kind.VIDEO or identity.format not in ("mov", "mp4"):
        raise KeepApart("the film is neither MP4 nor MOV")
    with open(film, "rb") as handle:
        if handle.read(8)[4:] != b"ftyp":
            raise KeepApart("the film does not begin with its type, by which readers find it")
    return identity.mime


def _copied(source: BinaryIO, out: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(_BLOCK):
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


# ------------------------------------------------------------------ the still


def _read_still(still: Path) -> bytes:
    identity = identify(still)
    if identity is None or identity.format != "jpeg":
        raise KeepApart("only a JPEG and its film become one file")
    if still.stat().st_size > MOST_STILL:
        raise KeepApart("the still is too large")
    return still.read_bytes()


def _taken_apart(data: bytes) -> Jpeg:
    try:
        jpeg = split(data)
        indexed = bool(mpf_pictures(jpeg))
    except JpegStructureError as error:
        raise KeepApart(f"the still is not understood: {error}") from error
    if jpeg.trailer or indexed:
        raise KeepApart("the still has data behind its picture, which would move")
    return jpeg


def _with_description(jpeg: Jpeg, mime: str, length: int) -> bytes:
    """Returns the JPEG with what says that a film follows."""
    packets = _packets(jpeg)
    if len(packets) > 1:
        raise KeepApart("the still has more than one XMP packet")
    if not packets:
        at = _place(jpeg)
        segment = _segment(_PACKET % _description(b"", mime, length))
        return jpeg.data[:at] + segment + jpeg.data[at:]
    old = packets[0].payload[len(_XMP) :]
    if any(name in old for name in _TAKEN):
        raise KeepApart("the still says already what follows it")
    if old.count(_END) != 1:
        raise KeepApart("the still's XMP is not understood")
    abouts = {first or second for first, second in _ABOUT.findall(old)}
    if len(abouts) > 1 or any(b'"' in one for one in abouts):
        raise KeepApart("the still's XMP speaks of more than one thing")
    new = old.replace(_END, _description(abouts.pop() if abouts else b"", mime, length) + _END)
    return _replaced(jpeg, packets[0], _segment(new))


def _without_description(jpeg: Jpeg) -> bytes:
    packets = _packets(jpeg)
    if len(packets) != 1:
        raise KeepApart("it has not one XMP packet")
    packet = packets[0].payload[len(_XMP) :]
    found = _DESCRIBED.search(packet)
    if found is None:
        raise KeepApart("it does not say that a film follows")
    ours = found[0] == _description(found[1], found[2].decode(), int(found[3]))
    if not ours:
        raise KeepApart("what it says of its film was written by another program")
    if packet == _PACKET % found[0]:
        return _replaced(jpeg, packets[0], b"")
    return _replaced(jpeg, packets[0], _segment(packet.replace(found[0], b"", 1)))


def _description(about: bytes, mime: str, length: int) -> bytes:
    item = (
        '<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="{}" Item:Semantic="{}" Item:Length="{}"/></rdf:li>'
    )
    items = item.format("image/jpeg", "Primary", 0) + item.format(mime, "MotionPhoto", length)
    said = (
        ' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
        ' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
        ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
        # Which frame the still is stands in no field that is common to all films: -1 is "not said".
        ' GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" GCamera:MotionPhotoPresentationTimestampUs="-1">'
        f"<Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory></rdf:Description>"
    )
    return b'<rdf:Description rdf:about="' + about + b'"' + said.encode()


def _packets(jpeg: Jpeg) -> list[Segment]:
    return [one for one in jpeg.metadata if one.marker == APP1 and one.payload.startswith(_XMP)]


def _place(jpeg: Jpeg) -> int:
    """Returns where an XMP segment goes: behind JFIF and EXIF, which must come first."""
    at = 2
    for one in jpeg.metadata:
        leads = one.marker == APP0 or (one.marker == APP1 and one.payload.startswith(_EXIF))
        if not leads or one.offset != at:
            break
        at = one.offset + len(one.raw)
    return at


def _segment(packet: bytes) -> bytes:
    payload = _XMP + packet
    if len(payload) > _MOST_PAYLOAD:
        raise KeepApart("the still's XMP has no room for more")
    return b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload


def _replaced(jpeg: Jpeg, segment: Segment, new: bytes) -> bytes:
    return jpeg.data[: segment.offset] + new + jpeg.data[segment.offset + len(segment.raw) :]


# ------------------------------------------------------------------ checks


def _description_in(path: Path) -> re.Match[bytes]:
    with open(path, "rb") as handle:
        head = handle.read(8 << 20)
    found = _DESCRIBED.search(head) if head[:2] == b"\xff\xd8" else None
    if found is None:
        raise KeepApart("it does not say that a film follows")
    return found


def _verify(part: Path, still: bytes, film_hash: str) -> None:
    halves = take_apart(part)
    if halves.still != still:
        raise KeepApart("the still does not come out of it again as it was")
    digest = hashlib.sha256()
    with open(part, "rb") as handle:
        handle.seek(halves.film_start)
        while block := handle.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != film_hash:
        raise KeepApart("the film does not come out of it again as it was")
