"""Whether what stands on the disks is what the catalog says, without reading it whole.

Belongs here: the looks that asset checks take at originals, renditions and the library. Does not
belong here: proofs of delivery, which read every byte (`pipeline.deliver`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from catalog.findings import LibraryEntry, MadeRendition, StoredOriginal
from catalog.paths import from_text
from media.inspect import differences
from pipeline import layout


def unsound_originals(stored: Sequence[StoredOriginal], roots: Mapping[str, Path]) -> list[tuple[StoredOriginal, str]]:
    """Returns the originals that are missing, have another size, or can be written to."""
    found = []
    for one in stored:
        if one.root not in roots:
            found.append((one, f"its {one.root.replace(':', ' ')} is no longer in the settings"))
            continue
        path = roots[one.root] / from_text(one.path)
        if (reason := _unsound(path, one.size, ours=one.root == layout.ORIGINALS)) is not None:
            found.append((one, reason))
    return found


def _unsound(path: Path, size: int, *, ours: bool, alone: bool = True) -> str | None:
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return "it is missing" if ours else "it is no longer in its source"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    if seen.st_size != size:
        return f"it has {seen.st_size} bytes instead of {size}"
    if ours and (seen.st_mode & 0o222 or not stat.S_ISREG(seen.st_mode)):
        return "it can be written to"
    if ours and alone and seen.st_nlink != 1:
        return "another name leads to the same bytes, which a program could write through"
    return None


def unsound_renditions(
    made: Sequence[MadeRendition], originals: Mapping[str, Path], renditions: Path
) -> list[tuple[MadeRendition, str]]:
    """Returns the renditions that are missing, do not open, or differ in what they must share with their original."""
    found = []
    for one in made:
        path = renditions / from_text(one.path)
        # Other names for it are allowed: a phone's folder takes one where the file system has no reflinks.
        if (reason := _unsound(path, one.size, ours=True, alone=False)) is None and one.original_root in originals:
            original = originals[one.original_root] / from_text(one.original_path)
            reason = "; ".join(differences(str(original), str(path), one.format)) or None
        if reason is not None:
            found.append((one, reason))
    return found


def broken_entries(entries: Sequence[LibraryEntry], library: Path) -> list[tuple[LibraryEntry, str]]:
    """Returns the entries of the sorted library that are missing or lead nowhere."""
    found = []
    for one in entries:
        path = library / from_text(one.path)
        if not os.path.lexists(path):
            found.append((one, "the entry is missing"))
        elif not path.exists():
            found.append((one, "the entry leads nowhere"))
    return found
