"""A look at a rendition beside its original.

Belongs here: what the two must share, told from their headers. Does not belong here: decoding whole
files (`media.damage`), or making renditions.
"""

from __future__ import annotations

import av
from PIL import Image, UnidentifiedImageError

_ORIENTATION = 0x0112
_MODEL = 0x0110
_DATE = 0x0132
_VIDEO = ("mov", "mp4", "m4v", "3gp")


def differences(original: str, rendition: str, format: str) -> list[str]:
    """Returns what a rendition lacks of its original, in words; an empty list when it is sound.

    Args:
        original: The original's path.
        rendition: The rendition's path.
        format: The original's format, as `media.kinds` names it.
    """
    return _video_differences(original, rendition) if format in _VIDEO else _picture_differences(original, rendition)


def _picture_differences(original: str, rendition: str) -> list[str]:
    found = []
    try:
        with Image.open(original) as before, Image.open(rendition) as after:
            if _upright(before) != _upright(after):
                found.append(f"it stands {_upright(after)} instead of {_upright(before)}")
            mine, theirs = after.getexif(), before.getexif()
            lost = [tag for tag in (_ORIENTATION, _MODEL, _DATE) if mine.get(tag) != theirs.get(tag)]
            if lost:
                found.append(f"EXIF tags differ: {', '.join(hex(tag) for tag in lost)}")
            if bool(before.info.get("icc_profile")) != bool(after.info.get("icc_profile")):
                found.append("the colour profile is lost")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        found.append(f"it does not open: {error}")
    return found


def _upright(image: Image.Image) -> str:
    """Says which way a picture is shown: `landscape`, `portrait` or `square`."""
    width, height = image.size
    if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    return "square" if width == height else "landscape" if width > height else "portrait"


def _video_differences(original: str, rendition: str) -> list[str]:
    try:
        with av.open(original) as before, av.open(rendition) as after:
            found = []
            if len(before.streams) != len(after.streams):
                found.append(f"it has {len(after.streams)} tracks instead of {len(before.streams)}")
            lost = sorted(set(before.metadata) - set(after.metadata) - {"encoder"})
            if lost:
                found.append(f"metadata is lost: {', '.join(lost)}")
            return found
    except (av.FFmpegError, OSError) as error:
        return [f"it does not open: {error}"]
