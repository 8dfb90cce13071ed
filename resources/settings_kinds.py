"""The kinds of sources and destinations: which there are, and which one is meant when an entry does not say.

Belongs here: joining the sections of all kinds into one type each. Does not belong here: their fields
(`settings_sections.py`, `settings_icloud.py`, `settings_pixel.py`), or how the type is walked (`settings_schema.py`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from resources.settings_icloud import ICloudDestination, ICloudSource
from resources.settings_pixel import PixelDestination
from resources.settings_schema import Kinds
from resources.settings_sections import ArchiveDestination, FolderSource

FOLDER, ARCHIVE, ICLOUD, PIXEL = "folder", "archive", "icloud", "pixel"

# A folder or an archive that happens to be called icloud has a path, and stays what it was.
SOURCE_KINDS = Kinds(FOLDER, by_name=(ICLOUD,), usual_has="path")
DESTINATION_KINDS = Kinds(ARCHIVE, by_name=(ICLOUD, PIXEL), usual_has="path")

Source = Annotated[
    Annotated[FolderSource, Tag(FOLDER)] | Annotated[ICloudSource, Tag(ICLOUD)],
    Discriminator(SOURCE_KINDS.of_entry),
    SOURCE_KINDS,
]
Destination = Annotated[
    Annotated[ArchiveDestination, Tag(ARCHIVE)]
    | Annotated[ICloudDestination, Tag(ICLOUD)]
    | Annotated[PixelDestination, Tag(PIXEL)],
    Discriminator(DESTINATION_KINDS.of_entry),
    DESTINATION_KINDS,
]
