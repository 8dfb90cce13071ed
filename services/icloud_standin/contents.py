"""The bytes behind an asset, wherever they are: in memory, in a file, or made when they are asked for.

Belongs here: reading a part of them, their size, checksum, type and dimensions. Does not belong here: which asset they
belong to (`library`), handing them out (`downloads`).
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from PIL import Image

from media.apple_checksum import AppleChecksum
from services.icloud_standin.messages import CHUNK

Source = bytes | Path | Callable[[], bytes]

_HEAD = 1 << 18  # where a picture's dimensions are found
_TYPES = {
    ".jpg": "public.jpeg",
    ".jpeg": "public.jpeg",
    ".heic": "public.heic",
    ".heif": "public.heif",
    ".png": "public.png",
    ".gif": "com.compuserve.gif",
    ".webp": "org.webmproject.webp",
    ".avif": "public.avif",
    ".tif": "public.tiff",
    ".tiff": "public.tiff",
    ".mov": "com.apple.quicktime-movie",
    ".mp4": "public.mpeg-4",
    ".m4v": "com.apple.m4v-video",
    ".dng": "com.adobe.raw-image",
    ".cr2": "com.canon.cr2-raw-image",
    ".cr3": "com.canon.cr3-raw-image",
    ".nef": "com.nikon.raw-image",
    ".arw": "com.sony.arw-raw-image",
    ".raf": "com.fuji.raw-image",
    ".orf": "com.olympus.raw-image",
    ".rw2": "com.panasonic.rw2-raw-image",
}
MOVIES = frozenset({"com.apple.quicktime-movie", "public.mpeg-4", "com.apple.m4v-video"})


class Content:
    """Bytes that can be read again and again, from any place on, without being held in memory as a whole."""

    def __init__(self, source: Source) -> None:
        """Reads the source once, for its size and checksum.

        Args:
            source: The bytes, a file that stays as it is, or a function that returns the same bytes each time.
        """
        self._source = source
        checksum, size = AppleChecksum(), 0
        for chunk in self.chunks():
            checksum.update(chunk)
            size += len(chunk)
        self.size, self.checksum = size, checksum.value()

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Reads the bytes from `start` on, up to `stop`, in pieces."""
        if isinstance(self._source, Path):
            yield from _read(self._source, start, stop)
            return
        whole = self._source if isinstance(self._source, bytes) else self._source()
        for at in range(start, len(whole) if stop is None else stop, CHUNK):
            yield whole[at : at + CHUNK if stop is None else min(at + CHUNK, stop)]

    def head(self) -> bytes:
        """Returns the beginning, as far as a file's header may reach."""
        return b"".join(self.chunks(0, min(_HEAD, self.size)))


def _read(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = (path.stat().st_size if stop is None else stop) - start
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


@dataclass
class Resource:
    """A content in one of its roles: an original, a Live Photo's video, an edited version.

    Attributes:
        content: The bytes.
        file_type: As Apple calls it.
    """

    content: Content
    file_type: str

    @cached_property
    def dimensions(self) -> tuple[int, int] | None:
        """Width and height, if it is a picture that can be read."""
        if self.file_type in MOVIES or "raw-image" in self.file_type:
            return None
        try:
            with Image.open(io.BytesIO(self.content.head())) as picture:
                return picture.size
        except (OSError, ValueError, SyntaxError):
            return None

    @cached_property
    def token(self) -> dict[str, object]:
        """What iCloud tells of the bytes beside where they can be fetched."""
        checksum = self.content.checksum
        return {
            "fileChecksum": checksum,
            "size": self.content.size,
            "wrappingKey": base64.b64encode(hashlib.sha256(checksum.encode()).digest()[:16]).decode("ascii"),
            "referenceChecksum": reference_checksum(checksum),
        }


def resource(source: Source | Content, name: str) -> Resource:
    """Returns a resource whose type is told from a file's name; a path's own name counts more."""
    suffix = PurePath(source.name if isinstance(source, Path) else name).suffix.lower()
    content = source if isinstance(source, Content) else Content(source)
    return Resource(content, _TYPES.get(suffix, "public.data"))


def reference_checksum(checksum: str) -> str:
    """Returns the second checksum that iCloud keeps; what it is taken from is not known, so this is made up."""
    digest = hashlib.sha1(checksum.encode(), usedforsecurity=False).digest()
    return base64.b64encode(b"\x01" + digest).decode("ascii")
