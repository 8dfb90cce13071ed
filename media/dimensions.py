"""How many pixels wide and high a photo or film is, from its header.

Belongs here: that one question, for a file of which nothing else is wanted. Does not belong here: whether it is whole
(see `damage`), which decodes it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from media.film import open_film
from media.heif import read_heif
from media.kinds import Header, Identity, Kind, identify_header

_TABLES_CAP = 8 << 20


def dimensions(path: Path, name: str) -> tuple[int, int] | None:
    """Returns the width and height that a file states, None where none can be told.

    Args:
        path: The file.
        name: The name that it was given, which tells some formats apart.
    """
    try:
        with Header(path, _TABLES_CAP) as header:
            identity = identify_header(header, name)
            return None if identity is None else _stated(path, header, identity)
    except Exception:  # a reader may raise anything on hostile bytes, which then state nothing
        return None


def _stated(path: Path, header: Header, identity: Identity) -> tuple[int, int] | None:
    if identity.kind is Kind.VIDEO:
        with open_film(path, identity.format) as film:
            return film.select_picture()
    if identity.kind is not Kind.PHOTO:
        return None
    if identity.format == "heic":
        parts = read_heif(header)
        return parts.size(parts.primary)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a large picture is only measured
        with Image.open(path) as image:
            return image.size
