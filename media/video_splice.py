"""Another video track inside the same MP4 or QuickTime file.

Belongs here: the splice that replaces nothing but the samples of one video track, and the refusal of every file in
which that would lose something. Does not belong here: reading boxes (`video_boxes`), codecs, pixels.

A muxer writes the keys and tracks that it knows. The splice keeps what it does not know: every box outside the sample
table of the video track is copied byte for byte, and only the chunk offsets of the other tracks are corrected.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from media.video_boxes import (
    Box,
    Chunk,
    ContainerError,
    Movie,
    Track,
    children,
    copy_bytes,
    descend,
    pack_box,
    pack_full_box,
)

_COPY = 1 << 20
# What the sample table of the video may hold: rebuilt, or a description of the old samples that goes with them.
_REBUILT = frozenset({b"stsd", b"stts", b"ctts", b"stss", b"stsz", b"stsc", b"stco", b"co64"})
_OF_OLD_SAMPLES = frozenset({b"sdtp", b"cslg", b"stps", b"sgpd", b"sbgp"})
# Children of the sample entry: what says how to show the picture stays, the old decoder's settings go.
_SHOWN = frozenset({b"colr", b"pasp", b"clap", b"mdcv", b"clli", b"amve"})
_OF_OLD_CODEC = frozenset({b"avcC", b"hvcC", b"vpcC", b"av1C", b"esds", b"btrt", b"d263", b"glbl"})
_CODEC_SETTINGS = frozenset({b"avcC", b"hvcC", b"av1C"})
_LOST = {
    b"dvcC": "Dolby Vision",
    b"dvvC": "Dolby Vision",
    b"vexu": "its spatial (3D) description",
    b"lhvC": "its spatial (3D) picture",
    b"fiel": "its interlacing",
}
_ENTRY_HEAD = 86  # box header, sample entry and visual sample entry, 12.1.3


def video_track(movie: Movie) -> Track:
    """Returns the only video track.

    Raises:
        ContainerError: There is none or more than one, or its sample table holds what a splice could not keep.
    """
    found = [track for track in movie.tracks if track.handler == b"vide"]
    if len(found) != 1:
        raise ContainerError(f"it has {len(found)} video tracks, of which one would be compressed")
    table = descend(movie.moov, found[0].box, b"mdia", b"minf", b"stbl")
    unknown = {box.name for box in children(movie.moov, table.body, table.end)} - _REBUILT - _OF_OLD_SAMPLES
    if unknown:
        raise ContainerError(f"its video has {_words(unknown)}, which would be lost")
    _entry_children(movie, found[0], _SHOWN | _OF_OLD_CODEC)
    return found[0]


def refuse_hidden_data(handle: BinaryIO, movie: Movie) -> None:
    """Refuses a file whose media data holds bytes that no track refers to, for they could not be kept.

    Raises:
        ContainerError: It does.
    """
    used = sorted((chunk.offset, chunk.offset + chunk.size) for track in movie.tracks for chunk in track.chunks)
    for box in movie.top:
        if box.name != b"mdat":
            continue
        position = box.body
        for start, end in [*used, (box.end, box.end)]:
            if end <= box.body or start > box.end:
                continue
            if _holds_something(handle, position, start):
                raise ContainerError("it holds data that no track refers to, which would be lost")
            position = max(position, end)


def splice(source: BinaryIO, movie: Movie, encoded: BinaryIO, encoded_movie: Movie, out: BinaryIO) -> None:
    """Writes the file `source` with the video samples of `encoded`.

    Args:
        source: The original; everything but its video samples is copied from it.
        movie: Its structure.
        encoded: A file with one video track of the same pictures in the same order of presentation.
        encoded_movie: Its structure.
        out: An empty file.

    Raises:
        ContainerError: The pictures are not equally many, or a table cannot be kept.
        OSError: Reading or writing failed.
    """
    old, new = video_track(movie), video_track(encoded_movie)
    if len(old.sizes) != len(new.sizes):
        raise ContainerError(f"{len(new.sizes)} of its {len(old.sizes)} frames came out")
    plan = _planned_chunks(movie, old, new)
    payload = sum(piece.size for piece in plan)
    wide = payload + sum(box.end - box.start for box in movie.top if box.name != b"mdat") > (1 << 32) - (64 << 20)
    table = _new_table(movie, old, encoded_movie, new)
    lengths = {b"mdat": 16 + payload, b"moov": len(_new_moov(movie, old, encoded_movie, new, table, {}, wide))}
    order = [box for number, box in enumerate(movie.top) if box.name != b"mdat" or _first_mdat(movie) == number]
    starts = list(itertools.accumulate((lengths.get(box.name, box.end - box.start) for box in order), initial=0))
    data_start = next(start for box, start in zip(order, starts, strict=False) if box.name == b"mdat") + 16
    offsets = _placed(plan, data_start)
    moov = _new_moov(movie, old, encoded_movie, new, table, offsets, wide)
    if len(moov) != lengths[b"moov"]:
        raise ContainerError("its index could not be written")
    for box in order:
        if box.name == b"moov":
            out.write(moov)
        elif box.name == b"mdat":
            out.write(struct.pack(">I4sQ", 1, b"mdat", 16 + payload))
            _write_chunks(plan, old, new, source, encoded, out)
        else:
            copy_bytes(source, box.start, box.end - box.start, out)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One chunk of the new file: of which track, its number there, the old one, and its new size."""

    track: int
    number: int
    chunk: Chunk
    size: int
    is_video: bool


def _planned_chunks(movie: Movie, old: Track, new: Track) -> list[_Piece]:
    """Every chunk in the order of the original file, so that sound and pictures stay side by side."""
    pieces = []
    for index, track in enumerate(movie.tracks):
        for number, chunk in enumerate(track.chunks):
            is_video = track is old
            size = sum(new.sizes[chunk.first : chunk.first + chunk.count]) if is_video else chunk.size
            pieces.append(_Piece(index, number, chunk, size, is_video))
    return sorted(pieces, key=lambda piece: piece.chunk.offset)


def _placed(plan: Sequence[_Piece], start: int) -> dict[int, list[int]]:
    """Returns the new chunk offsets of every track, by its index."""
    found: dict[int, dict[int, int]] = {}
    for piece in plan:
        found.setdefault(piece.track, {})[piece.number] = start
        start += piece.size
    return {track: [numbers[number] for number in sorted(numbers)] for track, numbers in found.items()}


def _write_chunks(
    plan: Sequence[_Piece], old: Track, new: Track, source: BinaryIO, encoded: BinaryIO, out: BinaryIO
) -> None:
    for piece in plan:
        if not piece.is_video:
            copy_bytes(source, piece.chunk.offset, piece.chunk.size, out)
            continue
        for sample in range(piece.chunk.first, piece.chunk.first + piece.chunk.count):
            copy_bytes(encoded, new.offset_of(sample), new.sizes[sample], out)


def _first_mdat(movie: Movie) -> int:
    return next((number for number, box in enumerate(movie.top) if box.name == b"mdat"), -1)


def _new_moov(
    movie: Movie, old: Track, encoded: Movie, new: Track, table: list[bytes], offsets: dict[int, list[int]], wide: bool
) -> bytes:
    """Returns the index with new chunk offsets everywhere and, in the video track, the new sample table."""
    moov = movie.moov
    root = next(iter(children(moov, 0, len(moov))))
    scale = _frame_size(encoded, new), _frame_size(movie, old)
    out = []
    index = -1
    for box in children(moov, root.body, root.end):
        if box.name != b"trak":
            out.append(moov[box.start : box.end])
            continue
        index += 1
        track = movie.tracks[index]
        places = _offset_box(offsets.get(index, [0] * len(track.chunks)), wide)
        raw = _with_table(moov, box, places, table if track is old else None)
        out.append(_rescaled(raw, *scale) if track is old and scale[0] != scale[1] else raw)
    return pack_box(b"moov", *out)


def _with_table(data: bytes, box: Box, places: bytes, table: list[bytes] | None) -> bytes:
    """Copies a track with its chunk offsets replaced and, where `table` is given, its whole sample table."""
    if box.name == b"stbl":
        kept = [data[child.start : child.end] for child in children(data, box.body, box.end) if _is_kept(child)]
        return pack_box(b"stbl", *(kept if table is None else table), places)
    if box.name not in (b"trak", b"mdia", b"minf"):
        return data[box.start : box.end]
    return pack_box(box.name, *(_with_table(data, child, places, table) for child in children(data, box.body, box.end)))


def _is_kept(box: Box) -> bool:
    return box.name not in (b"stco", b"co64")


def _new_table(movie: Movie, old: Track, encoded: Movie, new: Track) -> list[bytes]:
    """Returns the sample table of the video but for its chunk offsets; times are exactly the original's.

    Each new sample takes the composition time of the frame that it shows. Decoding times run through the same
    list, so that an offset may be negative: version 1 of ctts, 8.6.1.3.
    """
    shown = sorted(old.times)
    if len(set(shown)) != len(shown):
        raise ContainerError("two of its frames are shown at the same time")
    ranks = {time: rank for rank, time in enumerate(sorted(new.times))}
    decoded = [time - shown[0] for time in shown]
    durations = [after - before for before, after in itertools.pairwise(decoded)]
    durations.append(max(1, old.length - decoded[-1]))
    shifts = [shown[ranks[time]] - decoded[number] for number, time in enumerate(new.times)]
    table = descend(movie.moov, old.box, b"mdia", b"minf", b"stbl")
    grouping = descend(movie.moov, table, b"stsc")
    out = [_new_entry(movie, old, encoded, new), _runs(b"stts", 0, ">II", durations)]
    if any(shifts):
        out.append(_runs(b"ctts", 1, ">Ii", shifts))
        # QuickTime wants the range of signed offsets said, 8.6.1.4: shift, least, greatest, first and last time shown.
        ends = (shown[0], shown[-1] + durations[-1])
        bounds = (max(0, -min(shifts)), min(shifts), max(shifts), *ends)
        if max(bounds) < 1 << 31:
            out.append(pack_full_box(b"cslg", 0, struct.pack(">5i", *bounds)))
    if new.sync is not None:
        out.append(pack_full_box(b"stss", 0, struct.pack(f">I{len(new.sync)}I", len(new.sync), *new.sync)))
    out.append(pack_full_box(b"stsz", 0, struct.pack(f">II{len(new.sizes)}I", 0, len(new.sizes), *new.sizes)))
    out.append(movie.moov[grouping.start : grouping.end])
    return out


def _new_entry(movie: Movie, old: Track, encoded: Movie, new: Track) -> bytes:
    """Returns stsd with the new codec's settings and every description of how to show the picture from the original."""
    entry = descend(encoded.moov, new.box, b"mdia", b"minf", b"stbl", b"stsd").body + 8
    head = encoded.moov[entry + 8 : entry + _ENTRY_HEAD]
    name = encoded.moov[entry + 4 : entry + 8]
    everything = _SHOWN | _OF_OLD_CODEC
    settings = [raw for kind, raw in _entry_children(encoded, new, everything) if kind in _CODEC_SETTINGS]
    shown = [raw for kind, raw in _entry_children(movie, old, everything) if kind in _SHOWN]
    if any(raw[4:8] == b"clap" for raw in shown) and _frame_size(movie, old) != _frame_size(encoded, new):
        raise ContainerError("its clean aperture would no longer be true at another resolution")
    return pack_full_box(b"stsd", 0, struct.pack(">I", 1) + pack_box(name, head, *settings, *shown))


def _entry_children(movie: Movie, track: Track, known: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    data = movie.moov
    stsd = descend(data, track.box, b"mdia", b"minf", b"stbl", b"stsd")
    if struct.unpack_from(">I", data, stsd.body + 4)[0] != 1:
        raise ContainerError("its video changes its format in the middle")
    start, end = stsd.body + 8, stsd.body + 8 + struct.unpack_from(">I", data, stsd.body + 8)[0]
    if end > stsd.end or end - start < _ENTRY_HEAD:
        raise ContainerError("the file is damaged: its video format is cut off")
    found = list(children(data, start + _ENTRY_HEAD, end))
    unknown = {box.name for box in found} - known
    if unknown:
        raise ContainerError(f"its video has {_words(unknown)}, which would be lost")
    return [(box.name, data[box.start : box.end]) for box in found]


def _words(names: set[bytes]) -> str:
    return " and ".join(sorted({_LOST.get(name, f"a part named {name!r}") for name in names}))


def _frame_size(movie: Movie, track: Track) -> tuple[int, int]:
    entry = descend(movie.moov, track.box, b"mdia", b"minf", b"stbl", b"stsd").body + 8
    width, height = struct.unpack_from(">HH", movie.moov, entry + 32)
    return width, height


def _rescaled(raw: bytes, after: tuple[int, int], before: tuple[int, int]) -> bytes:
    """Scales the sizes that a track states in 16.16 pixels: tkhd, and QuickTime's aperture sizes in tapt."""
    out = bytearray(raw)
    track = next(iter(children(raw, 0, len(raw))))
    header = descend(raw, track, b"tkhd")
    places = [header.end - 8]
    for box in children(raw, track.body, track.end):
        if box.name == b"tapt":
            places += [child.end - 8 for child in children(raw, box.body, box.end)]
    for place in places:
        width, height = struct.unpack_from(">II", out, place)
        struct.pack_into(">II", out, place, width * after[0] // before[0], height * after[1] // before[1])
    return bytes(out)


def _holds_something(handle: BinaryIO, start: int, end: int) -> bool:
    while start < end:
        handle.seek(start)
        if any(block := handle.read(min(_COPY, end - start))):
            return True
        if not block:
            return False
        start += len(block)
    return False


def _runs(name: bytes, version: int, form: str, values: Sequence[int]) -> bytes:
    packed = [struct.pack(form, sum(1 for _ in group), value) for value, group in itertools.groupby(values)]
    return pack_full_box(name, version, struct.pack(">I", len(packed)) + b"".join(packed))


def _offset_box(offsets: Sequence[int], wide: bool) -> bytes:
    form = f">I{len(offsets)}{'Q' if wide else 'I'}"
    return pack_full_box(b"co64" if wide else b"stco", 0, struct.pack(form, len(offsets), *offsets))
