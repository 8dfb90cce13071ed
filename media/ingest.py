"""Takes one file in: its bytes to a private copy, its hashes, its identity, whether it is whole, how it looks.

Belongs here: the one task that the pipeline runs for a new file, from a source path to a small dict.
Does not belong here: where the copy goes for good, what the catalog says of it, and its capture date.
The task leaves either a whole, synced part behind, or nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

from PIL import Image

from media.damage import Decoded, check_decode
from media.files import (
    ORIGINAL_MODE,
    Hashes,
    SourceChanged,
    atomic_write,
    copy_times_and_xattrs,
    copy_to_part,
    hash_file,
    make_folder,
    refuse_change,
)
from media.kinds import Header, Identity, Kind, identify, identify_header, kind_of_name
from media.metadata import Identifiers, read_identifiers
from media.perceptual import perceptual_hash, shrunk

THUMBNAIL_EDGE = 512
THUMBNAIL_QUALITY = 80
_MOST_PROFILE_BYTES = 64 << 10

_UNSEEN = Decoded()

Outcome = Literal["rejected", "changed", "duplicate", "stored"]


class IngestResult(TypedDict):
    """What became of one file. Only `outcome` is always there.

    `rejected` and `changed` bring a `reason`, `duplicate` the hashes, `stored` everything else. Sizes are
    bytes, dimensions stored pixels before turning, `damage` is None for a whole file.
    """

    outcome: Outcome
    reason: NotRequired[str]
    sha256: NotRequired[str]
    apple_checksum: NotRequired[str]
    size: NotRequired[int]
    kind: NotRequired[str]
    format: NotRequired[str]
    mime: NotRequired[str]
    width: NotRequired[int | None]
    height: NotRequired[int | None]
    orientation: NotRequired[int]
    duration_seconds: NotRequired[float | None]
    phash: NotRequired[str | None]
    damage: NotRequired[str | None]
    thumbnail: NotRequired[bool]
    make: NotRequired[str | None]
    model: NotRequired[str | None]
    content_identifier: NotRequired[str | None]
    image_unique_id: NotRequired[str | None]
    subsec: NotRequired[str | None]
    burst_id: NotRequired[str | None]
    has_gps: NotRequired[bool]


def ingest(
    source: str,
    part: str | None,
    *,
    known: Sequence[str] = (),
    thumbnail: str | None = None,
    tag: str = "ingest",
    decode: bool = True,
) -> IngestResult:
    """Takes one file in.

    The source is read once (its header twice) and never written. What is decoded is the private copy, so
    that the hashes, the finding and the picture are all of the same bytes.

    Args:
        source: The file to take.
        part: The temporary name for the private copy, in the folder where the original will stand (see
            `files.part_path`); None to leave the file where it is and only look at it.
        known: SHA-256 sums of contents that are kept already.
        thumbnail: Where to write a JPEG of at most 512 pixels, or None. Failing to write it is no failure
            of the file.
        tag: Who takes it in, for the thumbnail's temporary name (see `files.part_path`).
        decode: False for a file that its decoder did not survive: its bytes are kept, nothing looks into them.

    Returns:
        What became of it. For "stored" with a part, the part is synced, carries the source's times and
        attributes, and is read-only; in every other case there is no part.

    Raises:
        OSError: The source cannot be read, or the copy cannot be written. No part is left.
    """
    identity = identify(source)
    if identity is None:
        return {"outcome": "rejected", "reason": _rejection(Path(source))}
    try:
        with _removed_on_failure(part):
            return _take(Path(source), Path(part) if part else None, identity, known, (thumbnail, tag), decode)
    except SourceChanged as change:
        return {"outcome": "changed", "reason": f"{change}; it is taken in the next run, once it keeps still"}


def look_at_copy(
    part: str, name: str, hashes: Hashes, *, thumbnail: str | None = None, tag: str = "ingest", decode: bool = True
) -> IngestResult:
    """Looks at a private copy that stands whole already: what `ingest` does after copying, without the source.

    Args:
        part: The copy that an `ingest` without a decode left. It stays, whatever happens.
        name: The source's name, which tells some formats apart.
        hashes: Of the copy.
        thumbnail: As for `ingest`.
        tag: As for `ingest`.
        decode: As for `ingest`.

    Returns:
        What `ingest` would have.

    Raises:
        OSError: The copy cannot be read.
    """
    with Header(part) as header:
        identity = identify_header(header, name)
    if identity is None:
        return {"outcome": "changed", "reason": f"{name} changed while it was read; it is taken in the next run"}
    return _examine(Path(part), identity, hashes, (thumbnail, tag), decode)


def _take(
    source: Path,
    part: Path | None,
    identity: Identity,
    known: Sequence[str],
    thumbnail: tuple[str | None, str],
    decode: bool,
) -> IngestResult:
    if part is None:
        before = os.stat(source)
        hashes = hash_file(str(source))
        if hashes["sha256"] in known:
            return _duplicate(hashes)
        result = _examine(source, identity, hashes, thumbnail, decode)
        refuse_change(source, before)
        return result
    make_folder(part.parent)
    hashes = copy_to_part(source, part, durable=False)
    if hashes["sha256"] in known:
        part.unlink()
        return _duplicate(hashes)
    with Header(part) as header:
        copied = identify_header(header, source.name)
    if copied is None:
        raise SourceChanged(f"{source} changed while it was read")
    copy_times_and_xattrs(source, part)
    part.chmod(ORIGINAL_MODE)
    # The disk writes while the processor decodes; the result waits for both.
    with ThreadPoolExecutor(1) as disk:
        synced = disk.submit(_sync, part)
        result = _examine(part, copied, hashes, thumbnail, decode)
        synced.result()
    return result


def _examine(
    path: Path, identity: Identity, hashes: Hashes, thumbnail: tuple[str | None, str], decode: bool
) -> IngestResult:
    decoded = check_decode(path, identity) if decode else _UNSEEN
    looked = decode and identity.kind is not Kind.SIDECAR
    identifiers = read_identifiers(path, identity) if looked else _no_identifiers()
    image = decoded.image
    result = {
        "outcome": "stored",
        **hashes,
        "kind": identity.kind.value,
        "format": identity.format,
        "mime": identity.mime,
        "width": decoded.width,
        "height": decoded.height,
        "orientation": decoded.orientation,
        "duration_seconds": decoded.duration_seconds,
        # Half a picture looks like nothing but itself: it takes no part in the search for near-duplicates.
        "phash": perceptual_hash(image) if image is not None and decoded.damage is None else None,
        "damage": decoded.damage,
        "thumbnail": _write_thumbnail(decoded, *thumbnail),
        **identifiers,
    }
    return cast(IngestResult, result)


def _no_identifiers() -> Identifiers:
    return {
        "make": None,
        "model": None,
        "content_identifier": None,
        "image_unique_id": None,
        "subsec": None,
        "burst_id": None,
        "has_gps": False,
    }


def _duplicate(hashes: Hashes) -> IngestResult:
    return cast(IngestResult, {"outcome": "duplicate", **hashes})


def _write_thumbnail(decoded: Decoded, target: str | None, tag: str) -> bool:
    if decoded.image is None or target is None:
        return False
    try:
        data = _thumbnail_bytes(decoded.image)
        with atomic_write(Path(target), tag) as handle:
            handle.write(data)
    except (OSError, ValueError, MemoryError):
        return False  # it can be made again at any time; the file itself is safe
    return True


def _thumbnail_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    profile = image.info.get("icc_profile") or b""
    kept = profile if len(profile) <= _MOST_PROFILE_BYTES else b""
    shrunk(image, THUMBNAIL_EDGE).save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, icc_profile=kept)
    return buffer.getvalue()


def _rejection(source: Path) -> str:
    if source.stat().st_size == 0:
        return "the file is empty; it was left where it is: look for another copy of it, or delete it"
    with open(source, "rb") as handle:
        head = handle.read(64)
    if b"\xef\xbf\xbd" in head and (b"JFIF" in head or b"Exif" in head):
        return (
            "this was a JPEG, but some program treated it as text and replaced most of its bytes; it was left where "
            "it is: look for another copy of it"
        )
    if kind_of_name(source.name) is None:
        return "this is no photo, film or sidecar; it was left where it is"
    return (
        f"the name ends in {source.suffix}, but what is inside is no photo, film or sidecar; it was left where it is: "
        "look for another copy of it, or give it its right ending"
    )


def _sync(part: Path) -> None:
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _removed_on_failure(part: str | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if part:
            Path(part).unlink(missing_ok=True)
        raise
