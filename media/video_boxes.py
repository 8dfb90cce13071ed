"""MP4 and QuickTime files as boxes: what stands where, and the sample tables of their tracks.

Belongs here: reading the byte structure of ISO/IEC 14496-12 and the QuickTime File Format, and packing boxes. Does not
belong here: what replaces what (`video_splice`), codecs, pixels.
"""

from __future__ import annotations

import bisect
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

_MAX_MOOV = 128 << 20
_MAX_FRAMES = 5_000_000
_COPY = 1 << 20
# Top-level boxes that hold no position in the file.
_PLAIN_TOP = frozenset({b"ftyp", b"wide", b"free", b"skip", b"uuid", b"udta", b"sefd", b"mdat", b"moov"})


class ContainerError(ValueError):
    """The file is damaged, or holds something that a splice could not keep; the message says what."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box stands: its name, the start of its header, the start of its body, its end."""

    name: bytes
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples of one track: offset in the file, number of the first sample, how many, their bytes."""

    offset: int
    first: int
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Track:
    """One track and its samples.

    Attributes:
        box: The trak box, in `Movie.moov`.
        handler: What it holds: b"vide", b"soun", b"meta", …
        timescale: Ticks in a second of its media.
        sizes: Bytes of each sample of a video track, in decoding order; empty for others, which are only copied.
        times: Composition time of each of these samples in ticks, before any edit list.
        length: The sum of all sample durations, in ticks.
        sync: Numbers of the sync samples, the first being 1, or None where every sample is one.
        chunks: Where the samples stand.
    """

    box: Box
    handler: bytes
    timescale: int
    sizes: tuple[int, ...]
    times: tuple[int, ...]
    length: int
    sync: tuple[int, ...] | None
    chunks: tuple[Chunk, ...]

    def offset_of(self, sample: int) -> int:
        """Returns where a sample stands in the file; the first sample is 0."""
        chunk = self.chunks[bisect.bisect_right(self.chunks, sample, key=lambda chunk: chunk.first) - 1]
        return chunk.offset + sum(self.sizes[chunk.first : sample])


@dataclass(frozen=True, slots=True)
class Movie:
    """A file: its top-level boxes, the bytes of its moov box, and its tracks."""

    top: tuple[Box, ...]
    moov: bytes
    tracks: tuple[Track, ...]


def read_brand(handle: BinaryIO) -> bytes:
    """Returns the major brand of the file, for example b"qt  "; QuickTime files of before 2005 have none."""
    handle.seek(0)
    head = handle.read(12)
    return head[8:12] if head[4:8] == b"ftyp" else b"qt  "


def read_movie(handle: BinaryIO) -> Movie:
    """Reads the structure of a file; of the media data nothing is read.

    Raises:
        ContainerError: It is damaged, fragmented, or holds boxes that a splice could not keep.
    """
    top = tuple(_top_level(handle))
    found = [box for box in top if box.name == b"moov"]
    if len(found) != 1:
        raise ContainerError("the file is damaged: it has no index")
    if found[0].end - found[0].start > _MAX_MOOV:
        raise ContainerError("its index is too large")
    handle.seek(found[0].start)
    moov = handle.read(found[0].end - found[0].start)
    if len(moov) != found[0].end - found[0].start:
        raise ContainerError("the file is damaged: it ends in the middle")
    try:
        root = next(iter(children(moov, 0, len(moov))))
        boxes = list(children(moov, root.body, root.end))
        if any(box.name in (b"mvex", b"cmov") for box in boxes):
            raise ContainerError("its index is fragmented or packed")
        tracks = tuple(_track(moov, box) for box in boxes if box.name == b"trak")
    except (struct.error, IndexError, StopIteration) as error:
        raise ContainerError("the file is damaged: its index is cut off") from error
    _refuse_outside(tracks, handle.seek(0, os.SEEK_END))
    return Movie(top, moov, tracks)


def children(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Yields the boxes between two positions.

    Raises:
        ContainerError: They do not fill the space exactly. Zeros at the end are QuickTime's terminator.
    """
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", data, body)[0], body + 8
        if size == 0 and not any(data[start:end]):
            return
        if size < body - start or start + size > end:
            raise ContainerError("the file is damaged: a box is broken")
        yield Box(name, start, body, start + size)
        start += size
    if any(data[start:end]):
        raise ContainerError("the file is damaged: a box is broken")


def descend(data: bytes, box: Box, *path: bytes) -> Box:
    """Returns the one box at `path` below `box`.

    Raises:
        ContainerError: It is missing.
    """
    for name in path:
        found = next((child for child in children(data, box.body, box.end) if child.name == name), None)
        if found is None:
            raise ContainerError(f"the file is damaged: its box {name.decode('latin-1')} is missing")
        box = found
    return box


def copy_bytes(source: BinaryIO, start: int, length: int, out: BinaryIO) -> None:
    """Copies `length` bytes at `start` to the end of `out`.

    Raises:
        ContainerError: The source ends before them.
        OSError: Reading or writing failed.
    """
    source.seek(start)
    while length:
        block = source.read(min(_COPY, length))
        if not block:
            raise ContainerError("the file is damaged: it ends in the middle")
        out.write(block)
        length -= len(block)


def pack_full_box(name: bytes, version: int, body: bytes) -> bytes:
    """Returns a box with a version and no flags, 4.2."""
    return pack_box(name, struct.pack(">I", version << 24), body)


def pack_box(name: bytes, *parts: bytes) -> bytes:
    """Returns a box with its size and name."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def _track(data: bytes, box: Box) -> Track:
    media = descend(data, box, b"mdia")
    handler = descend(data, media, b"hdlr")
    header = descend(data, media, b"mdhd")
    timescale = struct.unpack_from(">I", data, header.body + (20 if data[header.body] else 12))[0]
    table = descend(data, media, b"minf", b"stbl")
    names = [child.name for child in children(data, table.body, table.end)]
    if b"saio" in names or b"stz2" in names:
        raise ContainerError("one of its tracks has tables of a rare kind")
    _refuse_external(data, media)
    kind = data[handler.body + 8 : handler.body + 12]
    sync = _numbers(data, descend(data, table, b"stss")) if b"stss" in names else None
    constant, count, sizes = _sizes(data, table)
    chunks = _chunks(data, table, names, (constant, count, sizes))
    if kind != b"vide":
        return Track(box, kind, timescale, (), (), 0, sync, chunks)
    if count > _MAX_FRAMES:
        raise ContainerError("it has too many frames")
    times, length = _times(data, table, names, count)
    return Track(box, kind, timescale, sizes or (constant,) * count, times, length, sync, chunks)


def _times(data: bytes, table: Box, names: list[bytes], count: int) -> tuple[tuple[int, ...], int]:
    durations = _expanded(data, descend(data, table, b"stts"), ">II", count)
    shifts = [0] * count
    if b"ctts" in names:  # QuickTime takes the offsets as signed in both versions
        shifts = _expanded(data, descend(data, table, b"ctts"), ">Ii", count)
    starts = list(itertools.accumulate(durations, initial=0))
    return tuple(start + shift for start, shift in zip(starts, shifts, strict=False)), starts[-1]


def _refuse_external(data: bytes, media: Box) -> None:
    references = descend(data, media, b"minf", b"dinf", b"dref")
    for entry in children(data, references.body + 8, references.end):
        if not data[entry.body + 3] & 1:
            raise ContainerError("one of its tracks lies in another file")


def _refuse_outside(tracks: Sequence[Track], size: int) -> None:
    for track in tracks:
        if any(chunk.offset + chunk.size > size for chunk in track.chunks):
            raise ContainerError("the file is damaged: it ends before its media does")


def _sizes(data: bytes, table: Box) -> tuple[int, int, tuple[int, ...]]:
    """Returns the size that all samples share or 0, how many samples there are, and their sizes where they differ."""
    box = descend(data, table, b"stsz")
    size, count = struct.unpack_from(">II", data, box.body + 4)
    if size:
        return size, count, ()
    if box.body + 12 + 4 * count > box.end:
        raise ContainerError("the file is damaged: its index is cut off")
    return 0, count, struct.unpack_from(f">{count}I", data, box.body + 12)


def _numbers(data: bytes, box: Box) -> tuple[int, ...]:
    count = struct.unpack_from(">I", data, box.body + 4)[0]
    if box.body + 8 + 4 * count > box.end:
        raise ContainerError("the file is damaged: its index is cut off")
    return struct.unpack_from(f">{count}I", data, box.body + 8)


def _expanded(data: bytes, box: Box, form: str, expected: int) -> list[int]:
    """Expands runs of (count, value) to one value for each sample."""
    runs = struct.unpack_from(">I", data, box.body + 4)[0]
    if box.body + 8 + 8 * runs > box.end:
        raise ContainerError("the file is damaged: its index is cut off")
    out: list[int] = []
    for count, value in struct.iter_unpack(form, data[box.body + 8 : box.body + 8 + 8 * runs]):
        if count > expected - len(out):
            raise ContainerError("the file is damaged: its times do not fit its samples")
        out += [value] * count
    if len(out) != expected:
        raise ContainerError("the file is damaged: its times do not fit its samples")
    return out


def _chunks(
    data: bytes, table: Box, names: list[bytes], samples: tuple[int, int, tuple[int, ...]]
) -> tuple[Chunk, ...]:
    if b"co64" in names:
        box = descend(data, table, b"co64")
        count = struct.unpack_from(">I", data, box.body + 4)[0]
        if box.body + 8 + 8 * count > box.end:
            raise ContainerError("the file is damaged: its index is cut off")
        offsets: tuple[int, ...] = struct.unpack_from(f">{count}Q", data, box.body + 8)
    else:
        offsets = _numbers(data, descend(data, table, b"stco"))
    constant, total, sizes = samples
    grouping = descend(data, table, b"stsc")
    runs = list(struct.iter_unpack(">III", data[grouping.body + 8 : grouping.end]))
    out: list[Chunk] = []
    first = run = 0
    for number, offset in enumerate(offsets, start=1):
        while run + 1 < len(runs) and runs[run + 1][0] <= number:
            run += 1
        count = runs[run][1]
        out.append(Chunk(offset, first, count, constant * count or sum(sizes[first : first + count])))
        first += count
    if first != total:
        raise ContainerError("the file is damaged: its chunks do not fit its samples")
    return tuple(out)


def _top_level(handle: BinaryIO) -> Iterator[Box]:
    size = handle.seek(0, os.SEEK_END)
    start = 0
    while start < size:
        handle.seek(start)
        head = handle.read(16)
        if len(head) < 8:
            raise ContainerError("the file is damaged or ends with data of an unknown kind")
        length, name = struct.unpack_from(">I4s", head)
        body = start + 8
        if length == 1 and len(head) == 16:
            length, body = struct.unpack_from(">Q", head, 8)[0], start + 16
        elif length == 0:
            length = size - start
        if length < body - start or start + length > size:
            raise ContainerError("the file is damaged: it ends in the middle or a box is broken")
        if name not in _PLAIN_TOP:
            if not (name.isascii() and name.decode("ascii").isprintable()):
                raise ContainerError("the file is damaged: a box is broken")
            raise ContainerError(f"its part named {name.decode('ascii').strip()} is not understood")
        yield Box(name, start, body, start + length)
        start += length
