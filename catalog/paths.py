"""File names as the catalog stores them.

A file name is bytes; PostgreSQL stores text. Belongs here: the reversible way between the two. Does
not belong here: joining paths with roots.
"""

from __future__ import annotations

import unicodedata

# Bytes that are not UTF-8 arrive from the operating system as lone surrogates U+DC80..U+DCFF, which
# PostgreSQL refuses; they are kept in a private-use block, as MirBSD's OPTU-8 does.
_SURROGATES = range(0xDC80, 0xDD00)
_PRIVATE = range(0xF780, 0xF800)
_SHIFT = _PRIVATE.start - _SURROGATES.start


def to_text(path: str) -> str:
    """Returns a path as text that PostgreSQL takes; `from_text` gives the same path back."""
    if path.isascii():
        return path
    return "".join(_char_to_text(char) for char in path)


def from_text(stored: str) -> str:
    """Returns the path that `to_text` was given."""
    if stored.isascii():
        return stored
    raw = "".join(chr(ord(char) - _SHIFT) if ord(char) in _PRIVATE else char for char in stored)
    # Surrogates that together are valid UTF-8 stood for characters of the private block itself.
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _char_to_text(char: str) -> str:
    if ord(char) in _SURROGATES:
        return chr(ord(char) + _SHIFT)
    if ord(char) in _PRIVATE:
        return "".join(chr(_PRIVATE.start + byte - 0x80) for byte in char.encode("utf-8"))
    return char


def name_key(name: str) -> str:
    """Returns what two names share when a NAS or a Mac would take them for the same file."""
    return unicodedata.normalize("NFC", name).casefold()
