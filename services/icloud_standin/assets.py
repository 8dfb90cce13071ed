"""What a library consists of: assets, the files they were imported from, albums, and what is in them.

Belongs here: those records. Does not belong here: their order and changes (`library`), how they look on the wire
(`records`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.icloud_standin.contents import Resource

EPOCH = datetime.fromtimestamp(0, UTC)
ALBUM, FOLDER = 0, 3


@dataclass(eq=False)
class Record:
    """What every record has.

    Attributes:
        record_name: By which it is looked up.
        tag: Changes with each change, so that a client can tell whether it knows the latest.
        created: When it came into the library.
        modified: When it was changed last.
    """

    record_name: str
    tag: str = field(default="", init=False)
    created: datetime = field(default=EPOCH, init=False)
    modified: datetime = field(default=EPOCH, init=False)


@dataclass(eq=False)
class Master(Record):
    """The imported files of one or several assets; its record name is the original's checksum."""

    name: str
    original: Resource
    live: Resource | None = None
    raw: Resource | None = None


@dataclass(eq=False)
class Asset(Record):
    """One photo or video as a person sees it.

    Attributes:
        master: The imported files.
        taken: The instant; None when nobody knows it.
        offset_seconds: What the clock was ahead of UTC where it was taken.
        added: When it came into the library.
        edited: The edited version of a photo.
        edited_video: The edited version of a video.
        favourite: Whether it is a favourite.
        hidden: Whether it is hidden.
        caption: The person's words.
        title: Its title.
        location: Latitude and longitude.
        burst: What the shots of one burst have in common.
        deleted: Whether it lies in Recently Deleted.
        expunged: When it is removed for good then.
        purged: Whether it is removed for good.
    """

    master: Master
    taken: datetime | None
    offset_seconds: int
    added: datetime
    edited: Resource | None = None
    edited_video: Resource | None = None
    favourite: bool = False
    hidden: bool = False
    caption: str | None = None
    title: str | None = None
    location: tuple[float, float] | None = None
    burst: str | None = None
    deleted: bool = False
    expunged: datetime | None = None
    purged: bool = False

    @property
    def master_name(self) -> str:
        """The record name of the imported files."""
        return self.master.record_name

    @property
    def checksum(self) -> str:
        """Apple's checksum of the original."""
        return self.master.original.content.checksum

    @property
    def name(self) -> str:
        """The original's file name."""
        return self.master.name


@dataclass(eq=False)
class Album(Record):
    """An album, or a folder of albums. The folder that holds everything has no name."""

    name: str | None
    kind: int = ALBUM
    parent: str | None = None
    position: int = 0
    deleted: bool = False


@dataclass(eq=False)
class Relation(Record):
    """Says that an asset is in an album."""

    asset: Asset
    album: Album
