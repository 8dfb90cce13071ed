"""The parts of a HEIC or AVIF: where each item lies, what it is, which properties it has; its tiles put together.

Belongs here: the item tables, and the strict decode of a picture that is made of HEVC tiles. Does not
belong here: what EXIF says (see `metadata`), how large a picture may be and what is said of a whole
file (see `damage`), and the codings that libheif is left with.
Reading the tables imports no decoder and no NumPy, because whoever only looks at headers comes here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from media.kinds import Header, boxes

if TYPE_CHECKING:
    from PIL import Image

Items = dict[int, list[tuple[int, int]]]
Properties = dict[int, list[tuple[bytes, bytes]]]


class BrokenHeif(Exception):
    """The parts are not whole; the text says how, in plain words."""


@dataclass(slots=True)
class Heif:
    """The item tables of one file.

    Attributes:
        header: The file, through which the items are read.
        extents: Where every item lies, as (offset in the file, length in bytes).
        types: The type of every item, such as b"hvc1" or b"grid".
        primary: The item that is the picture.
        properties: What every item owns, as (name, body) of each property.
        tiles: The items that the picture is put together from, row by row; empty when it is one piece.
        is_preview: The main picture is marked as the preview of another one, which no sound file does.
    """

    header: Header
    extents: Items
    types: dict[int, bytes]
    primary: int
    properties: Properties
    tiles: list[int]
    is_preview: bool

    def data(self, item: int) -> bytes:
        """Returns the bytes of an item; fewer when the file ends before it does."""
        return b"".join(self.header.at(start, length) for start, length in self.extents.get(item, []))

    def find(self, item: int, name: bytes) -> bytes | None:
        """Returns the body of an item's first property of that name, or None."""
        return next((body for kind, body in self.properties.get(item, []) if kind == name), None)

    def size(self, item: int) -> tuple[int, int] | None:
        """Returns the width and height in pixels that an item claims; None when it claims none."""
        body = self.find(item, b"ispe")
        return None if body is None else (int.from_bytes(body[4:8], "big"), int.from_bytes(body[8:12], "big"))


# ---- The tables


def heif_items(header: Header) -> tuple[Items, dict[int, bytes]]:
    """Reads the item tables of a HEIC or AVIF.

    Returns:
        The extents of every item as (offset in the file, length in bytes), and every item's type.
    """
    extents: Items = {}
    types: dict[int, bytes] = {}
    for name, body, end in boxes(header, 0, header.size):
        if name != b"meta":
            continue
        inner = {kind: (start, stop) for kind, start, stop in boxes(header, body + 4, end)}
        idat = inner.get(b"idat", (0, 0))[0]
        if b"iinf" in inner:
            types = _item_types(header, *inner[b"iinf"])
        if b"iloc" in inner:
            extents = _item_extents(header.at(inner[b"iloc"][0], inner[b"iloc"][1] - inner[b"iloc"][0]), idat)
        break
    return extents, types


def _item_types(header: Header, start: int, end: int) -> dict[int, bytes]:
    types: dict[int, bytes] = {}
    wide = header.at(start, 1) != b"\0"
    for _, body, _ in boxes(header, start + (8 if wide else 6), end):
        head = header.at(body, 16)
        size = 4 if head[0] > 2 else 2
        types[int.from_bytes(head[4 : 4 + size], "big")] = head[6 + size : 10 + size]
    return types


def _item_extents(data: bytes, idat: int) -> Items:
    """Parses `iloc`, by ISO/IEC 14496-12, 8.11.3."""
    at = 4

    def take(width: int) -> int:
        nonlocal at
        if at + width > len(data):
            raise ValueError("the item table is cut off")
        at += width
        return int.from_bytes(data[at - width : at], "big")

    version = data[0]
    sizes = take(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    extents: Items = {}
    for _ in range(take(4 if version == 2 else 2)):
        item = take(4 if version == 2 else 2)
        method = take(2) & 15 if version else 0
        take(2)
        base = take(base_size) + (idat if method == 1 else 0)
        parts = []
        for _ in range(take(2)):
            take(index_size)
            start = base + take(offset_size)
            parts.append((start, take(length_size)))
        if method < 2:
            extents[item] = parts
    return extents


def exif_offset(header: Header) -> int | None:
    """Returns where the TIFF header of a HEIC's or AVIF's EXIF stands, or None when it has no EXIF."""
    items, types = heif_items(header)
    for item, name in types.items():
        if name == b"Exif" and items.get(item):
            offset, _ = items[item][0]
            return offset + 4 + int.from_bytes(header.at(offset, 4), "big")
    return None


def read_heif(header: Header) -> Heif:
    """Reads all that the tables say of the picture and its parts.

    Raises:
        BrokenHeif: The tables are missing, or lack what every file has.
        Exception: Corrupt tables may raise whatever reading beyond their end raises.
    """
    import numpy as np

    extents, types = heif_items(header)
    meta = next((span for name, *span in boxes(header, 0, header.size) if name == b"meta"), None)
    if meta is None:
        raise BrokenHeif("the list of its parts is missing")
    inner = {name: (start, end) for name, start, end in boxes(header, meta[0] + 4, meta[1])}
    if b"pitm" not in inner or b"iprp" not in inner:
        raise BrokenHeif("the list of its parts is corrupt")
    start, _ = inner[b"pitm"]
    primary = int.from_bytes(header.at(start + 4, 2 if header.at(start, 1) == b"\0" else 4), "big")
    tiles: list[int] = []
    is_preview = False
    if b"iref" in inner:
        start, end = inner[b"iref"]
        width = 2 if header.at(start, 1) == b"\0" else 4
        for name, body, stop in boxes(header, start + 4, end):
            numbers = np.frombuffer(header.at(body, stop - body), np.uint8)
            source = int.from_bytes(numbers[:width].tobytes(), "big")
            is_preview = is_preview or (name == b"thmb" and source == primary)
            if name == b"dimg" and source == primary:
                tiles = np.frombuffer(numbers[width + 2 :].tobytes(), f">u{width}").tolist()
    return Heif(header, extents, types, primary, _properties(header, *inner[b"iprp"]), tiles, is_preview)


def _properties(header: Header, start: int, end: int) -> Properties:
    """Parses `ipco` and `ipma`, by ISO/IEC 23008-12, 9.3."""
    known: list[tuple[bytes, bytes]] = []
    owned: Properties = {}
    for name, body, stop in boxes(header, start, end):
        if name == b"ipco":
            known = [(kind, header.at(at, last - at)) for kind, at, last in boxes(header, body, stop)]
        elif name == b"ipma":
            data = header.at(body, stop - body)
            item_size, wide = 4 if data[0] else 2, data[3] & 1
            at = 8
            for _ in range(int.from_bytes(data[4:8], "big")):
                item = int.from_bytes(data[at : at + item_size], "big")
                count, at = data[at + item_size], at + item_size + 1
                step = 2 if wide else 1
                marks = [int.from_bytes(data[at + n * step : at + n * step + step], "big") for n in range(count)]
                at += count * step
                places = [mark & (0x7FFF if wide else 0x7F) for mark in marks]
                owned.setdefault(item, []).extend(known[place - 1] for place in places if 0 < place <= len(known))
    return owned


def orientation(heif: Heif) -> int:
    """Returns the EXIF orientation that does what `irot` and `imir` ask for; HEIF ignores the EXIF tag itself."""
    import numpy as np

    start = np.arange(6).reshape(2, 3)
    picture = start
    for name, body in heif.properties.get(heif.primary, []):
        if name == b"irot":
            picture = np.rot90(picture, body[0] & 3)
        elif name == b"imir":
            picture = picture[:, ::-1] if body[0] & 1 else picture[::-1]
    ways = (start, start[:, ::-1], np.rot90(start, 2), start[::-1], start.T, np.rot90(start, -1), np.rot90(start, 2).T)
    return next((number for number, way in enumerate(ways, 1) if np.array_equal(way, picture)), 8)


# ---- The parts themselves


def refuse_missing_items(heif: Heif) -> None:
    """Compares the tables with the length of the file.

    Raises:
        BrokenHeif: An item lies beyond the end of the file, or the film that is attached to it does.
    """
    size = heif.header.size
    missing = {item for item, parts in heif.extents.items() if any(at + length > size for at, length in parts)}
    tiles = heif.tiles or [heif.primary]
    lost = sum(tile in missing or tile not in heif.extents for tile in tiles)
    if lost == len(tiles):
        raise BrokenHeif("the file breaks off before its picture begins")
    if lost:
        raise BrokenHeif(f"the file breaks off: {lost} of the {len(tiles)} tiles of its picture are missing")
    if missing:
        raise BrokenHeif(
            "the picture is whole, but the file breaks off in what is attached to it (depth, HDR or metadata)"
        )
    for name, _, end in boxes(heif.header, 0, size):
        if name in (b"mdat", b"mpvd") and end > size:
            raise BrokenHeif("the picture is whole, but the file breaks off in the film attached to it")


def tile_layout(heif: Heif) -> tuple[list[int], int, int] | None:
    """Returns the picture's tiles with their rows and columns; None when it is coded in another way than HEVC.

    Raises:
        BrokenHeif: The tables name fewer or more tiles than the picture has.
    """
    kind = heif.types.get(heif.primary)
    if kind == b"hvc1":
        return [heif.primary], 1, 1
    if kind != b"grid":
        return None
    head = heif.data(heif.primary)
    rows, columns = head[2] + 1, head[3] + 1
    if len(heif.tiles) != rows * columns:
        raise BrokenHeif(f"it has {len(heif.tiles)} of the {rows * columns} tiles of its picture")
    return heif.tiles, rows, columns


def join_tiles(heif: Heif, layout: tuple[list[int], int, int], enough: int) -> Image.Image:
    """Decodes every tile strictly and puts them together at a reduced size.

    Args:
        heif: The file's tables.
        layout: What `tile_layout` said. How large a tile is must have been looked at before.
        enough: How many pixels the longer side keeps at least, where it has as many.

    Returns:
        The picture as stored, before any turning, in RGB.

    Raises:
        BrokenHeif: A tile is corrupt, or of another size than the tables say.
    """
    import av
    import av.error
    from PIL import Image

    tiles, rows, columns = layout
    width, height = heif.size(tiles[0]) or (0, 0)
    whole = heif.size(heif.primary) or (0, 0)
    if not (0 <= width * columns - whole[0] < width and 0 <= height * rows - whole[1] < height):
        raise BrokenHeif("its tiles do not fit together")
    factor = 1
    while max(whole) // (factor * 2) >= enough and width % (factor * 2) == 0 and height % (factor * 2) == 0:
        factor *= 2
    small = (width // factor, height // factor)
    canvas = Image.new("RGB", (small[0] * columns, small[1] * rows))
    setup, decoder = None, None
    for place, tile in enumerate(tiles):
        if setup != heif.find(tile, b"hvcC") or decoder is None:
            setup = heif.find(tile, b"hvcC")
            decoder = av.CodecContext.create("hevc", "r")
            decoder.extradata, decoder.thread_count, decoder.options = setup, 1, {"err_detect": "explode"}
        data = heif.data(tile)
        if not _are_sound_units(data, (setup or b"")[21:22]):
            raise BrokenHeif(f"tile {place + 1} of the {len(tiles)} of its picture is corrupt")
        try:
            frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
            decoder.flush_buffers()
        except av.error.FFmpegError as error:
            raise BrokenHeif(f"tile {place + 1} of the {len(tiles)} of its picture is corrupt") from error
        # A coder pads to whole blocks, which some writers do not take off again.
        if len(frames) != 1 or not (0 <= frames[0].width - width < 64 and 0 <= frames[0].height - height < 64):
            raise BrokenHeif(f"tile {place + 1} of the {len(tiles)} of its picture is incomplete")
        picture = frames[0].reformat(*small, format="rgb24", interpolation="AREA").to_image()  # type: ignore[no-untyped-call]
        canvas.paste(picture, (place % columns * small[0], place // columns * small[1]))
    image = canvas.crop((0, 0, max(1, whole[0] // factor), max(1, whole[1] // factor)))
    colour = heif.find(heif.primary, b"colr") or b""
    if colour[:4] in (b"prof", b"rICC"):
        image.info["icc_profile"] = colour[4:]
    return image


def _are_sound_units(data: bytes, setup: bytes) -> bool:
    """Walks the units of HEVC data. Coded data never holds three zero bytes in a row, so that a hole shows.

    Args:
        data: One coded tile: units, each behind its length (ISO/IEC 14496-15, 8.3).
        setup: The byte of `hvcC` whose two lowest bits give the size of those lengths, less one.
    """
    width = (setup[0] & 3) + 1 if setup else 4
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + width], "big")
        if length == 0:
            return at > 0 and not data[at:].strip(b"\0")  # padding behind the last unit
        at += width + length
        if at > len(data) or data.find(bytes(16), at - length, at) >= 0:
            return False
    return True
