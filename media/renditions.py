"""The entrance to the engines: one file in, a verified rendition out, or the reason why the original is kept.

Belongs here: which engine takes which format, what every rendition has in common (smaller, synced, dated like its
original), and the plain words for formats that are left alone. Does not belong here: any one format, and which file is
due. Nothing here writes into an original, and every rendition is made from an original.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from media import jpeg, png, video
from media.files import ContentMismatch, copy_times_and_xattrs, hash_file, refuse_change
from media.tiers import KeepOriginal, Made, Plan, refuse_small_saving

Engine = Callable[[Path, Path, Plan], Made]


class RenditionResult(TypedDict):
    """What became of one file; plain values that travel between processes.

    A "made" result has every field but `reason`, a "kept" one has `reason` and `seconds`. `sha256`, `size` (bytes),
    `width` and `height` (stored pixels) are those of the rendition; `extension` begins with a dot.
    """

    outcome: Literal["made", "kept"]
    seconds: float
    reason: NotRequired[str]
    sha256: NotRequired[str]
    size: NotRequired[int]
    width: NotRequired[int]
    height: NotRequired[int]
    format: NotRequired[str]
    extension: NotRequired[str]
    detail: NotRequired[str]


_ENGINES: dict[str, Engine] = {
    "jpeg": jpeg.compress,
    "png": png.compress,
    "mov": video.compress,
    "mp4": video.compress,
    "m4v": video.compress,
    "3gp": video.compress,
    "3g2": video.compress,
}
_ALIASES = {"jpg": "jpeg", "jpe": "jpeg", "quicktime": "mov", "qt": "mov", "tif": "tiff", "heif": "heic", "3gpp": "3gp"}
_LEFT_ALONE = {
    "heic": "HEIC is already compact and is kept as it is",
    "avif": "AVIF is already compact and is kept as it is",
    "webp": "WebP is already compact and is kept as it is",
    "gif": "a GIF is kept: its palette and animation would be lost",
    "tiff": "a TIFF is kept: it may hold layers, depth or several pages that would be lost",
}
KINDS_LEFT_ALONE = {
    "raw": "a RAW is never compressed",
    "sidecar": "a sidecar is kept as it is",
}


def make_rendition(
    original: str, part: str, *, sha256: str, kind: str, format: str, plan: Mapping[str, Any]
) -> RenditionResult:
    """Makes the rendition of one file that its plan asks for.

    Args:
        original: The stored original. It is only read.
        part: The temporary file to write, in the folder of the final one. It exists afterwards if and only if the
            outcome is "made"; it is then whole, verified by re-opening, synced, and has the original's modification
            time and extended attributes. The caller renames it, with `extension`.
        sha256: The content hash that is recorded for the original: what an editor or a failing disk has changed since
            is no original any more, and nothing is made of it.
        kind: "photo", "raw", "video" or "sidecar", as `media.kinds` says.
        format: The format's name as `media.kinds` found it in the content, never in the name.
        plan: What `Plan.to_dict` gave.

    Returns:
        What was made, or why the original is kept.

    Raises:
        ContentMismatch: The original does not hold the recorded bytes. No part is left behind.
        SourceChanged: The original changed while it was read, likewise.
        OSError: Reading or writing failed, for example because the disk is full, likewise.
        ValueError: The plan is none.
    """
    started = time.perf_counter()
    target = Path(part)
    settings = Plan.from_dict(plan)
    try:
        engine = _engine_for(kind, format)
        before = os.stat(original)
        _refuse_other_bytes(original, sha256)
        made = engine(Path(original), target, settings)
        refuse_change(Path(original), before)
        result = _settled(Path(original), target, made, settings)
    except KeepOriginal as kept:
        target.unlink(missing_ok=True)
        return {"outcome": "kept", "reason": str(kept), "seconds": _since(started)}
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    result["seconds"] = _since(started)
    return result


def _refuse_other_bytes(original: str, sha256: str) -> None:
    # One read, after which the engine finds the bytes in memory.
    if hash_file(original)["sha256"] != sha256:
        raise ContentMismatch(
            f"{original} no longer holds the bytes that were recorded for it ({sha256[:12]}…): a program has changed "
            "it in its place, or its disk has. No rendition was made of it; `mediapipe-assets history FILE` names the "
            "copies that were verified"
        )


def _engine_for(kind: str, format: str) -> Engine:
    if kind in KINDS_LEFT_ALONE:
        raise KeepOriginal(KINDS_LEFT_ALONE[kind])
    name = format.lower().lstrip(".")
    name = _ALIASES.get(name, name)
    if name in _ENGINES:
        return _ENGINES[name]
    raise KeepOriginal(_LEFT_ALONE.get(name, f"no engine compresses {name or 'this format'} yet"))


def _settled(original: Path, part: Path, made: Made, plan: Plan) -> RenditionResult:
    """Syncs the part, dates it like its original, and describes exactly the bytes that stand there."""
    refuse_small_saving(os.path.getsize(original), os.path.getsize(part), plan.min_saving)
    copy_times_and_xattrs(original, part)
    _sync(part)
    hashes = hash_file(str(part))
    return {
        "outcome": "made",
        "seconds": 0.0,
        "sha256": hashes["sha256"],
        "size": hashes["size"],
        "width": made.width,
        "height": made.height,
        "format": made.format,
        "extension": made.extension,
        "detail": made.detail,
    }


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
