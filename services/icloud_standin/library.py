"""A photo library: what is in it, the log of its changes, and the order in which it is listed.

Belongs here: its state, and what a test or a person's phone does to it. Does not belong here: single records
(`assets`), how they look on the wire (`records`), requests (`photos`, `uploads`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import TypeVar, cast

from services.icloud_standin.assets import ALBUM, FOLDER, Album, Asset, Master, Record, Relation
from services.icloud_standin.contents import MOVIES, Resource, Source, resource

PRIMARY_ZONE = "PrimarySync"
ROOT_FOLDER = "----Root-Folder----"
_KEPT_AFTER_DELETION = timedelta(days=30)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_R = TypeVar("_R", bound=Record)


class Library:
    """One library. Every method may be called while clients are at work."""

    def __init__(self, zone: str, owner: str, is_own: bool, lock: RLock) -> None:
        """Makes an empty library.

        Args:
            zone: Its zone's name.
            owner: The record name of the person it belongs to.
            is_own: Whether it lies among the person's own zones.
            lock: Held during each change.
        """
        self.zone, self.owner, self.is_own = zone, owner, is_own
        self._lock = lock
        self._records: dict[type[Record], dict[str, Record]] = {Master: {}, Asset: {}, Album: {}, Relation: {}}
        self._log: list[str] = []
        self._latest: dict[str, int] = {}
        self._arriving: list[tuple[float, Asset]] = []
        self._orders: dict[object, list[Asset]] = {}
        self._put(Album(ROOT_FOLDER, None, FOLDER))

    def add(
        self,
        name: str,
        body: Source,
        *,
        taken: datetime | None,
        offset_seconds: int,
        added: datetime | None = None,
        live: Source | None = None,
        edited: Source | None = None,
        edited_video: Source | None = None,
        raw: Source | None = None,
        favourite: bool = False,
        hidden: bool = False,
        caption: str | None = None,
        title: str | None = None,
        location: tuple[float, float] | None = None,
        burst: str | None = None,
        albums: Sequence[str] = (),
    ) -> Asset:
        """Adds an asset, as a phone would. The same bytes twice make two assets of one master, which keeps its name.

        Args:
            name: The original's file name.
            body: The original.
            taken: The instant, aware; None for an asset without a date.
            offset_seconds: What the clock was ahead of UTC.
            added: When it came into the library; now by default.
            live: A Live Photo's video.
            edited: The edited version of a photo.
            edited_video: The edited version of a video.
            raw: The RAW file of a pair.
            favourite: Whether it is a favourite.
            hidden: Whether it is hidden.
            caption: The person's words.
            title: Its title.
            location: Latitude and longitude.
            burst: What the shots of one burst have in common.
            albums: Names of albums, which are made when there are none of that name.
        """
        stem = name.rpartition(".")[0]
        original = resource(body, name)
        master = Master(original.content.checksum, name, original)
        master.live, master.raw = _optional(live, f"{stem}.MOV"), _optional(raw, f"{stem}.DNG")
        edit, edited_film = _optional(edited, f"{stem}.JPG"), _optional(edited_video, f"{stem}.MOV")
        with self._lock:
            asset = _asset(self._known(master), taken, offset_seconds, added)
            asset.edited, asset.edited_video = edit, edited_film
            asset.favourite, asset.hidden, asset.burst = favourite, hidden, burst
            asset.caption, asset.title, asset.location = caption, title, location
            self._put(asset)
            for album in albums:
                self.put_in_album(asset, self._album_named(album))
            return asset

    def edit(self, asset: Asset, body: Source) -> None:
        """Gives an asset an edited version; a video gets an edited video."""
        if asset.master.original.file_type in MOVIES:
            self.change(asset, edited_video=resource(body, "edited.MOV"))
        else:
            self.change(asset, edited=resource(body, "edited.JPG"))

    def favourite(self, asset: Asset, value: bool) -> None:
        """Makes an asset a favourite, or no longer."""
        self.change(asset, favourite=value)

    def hide(self, asset: Asset, value: bool) -> None:
        """Hides an asset, or shows it again."""
        self.change(asset, hidden=value)

    def rename(self, asset: Asset, title: str | None) -> None:
        """Gives an asset another title; the file's name never changes."""
        self.change(asset, title=title)

    def describe(self, asset: Asset, caption: str | None) -> None:
        """Gives an asset another caption."""
        self.change(asset, caption=caption)

    def move(self, asset: Asset, taken: datetime | None, offset_seconds: int) -> None:
        """Gives an asset another date."""
        self.change(asset, taken=taken, offset_seconds=offset_seconds)

    def delete(self, asset: Asset) -> None:
        """Moves an asset to Recently Deleted."""
        self.change(asset, deleted=True, expunged=datetime.now(UTC) + _KEPT_AFTER_DELETION)

    def restore(self, asset: Asset) -> None:
        """Takes an asset out of Recently Deleted."""
        self.change(asset, deleted=False, expunged=None)

    def purge(self, asset: Asset) -> None:
        """Removes an asset for good, and its master when no other asset has it."""
        with self._lock:
            asset.purged = True
            for relation in self.every(Relation):
                if relation.asset is asset:
                    self.remove(relation)
            self.remove(asset)
            if not any(other.master is asset.master for other in self.every(Asset)):
                self.remove(asset.master)

    def album(self, name: str, *, parent: Album | None = None, kind: int = ALBUM, record_name: str = "") -> Album:
        """Makes an album, or a folder with `kind=FOLDER`."""
        with self._lock:
            number = record_name or str(uuid.uuid4()).upper()
            album = Album(number, name, kind, parent.record_name if parent else None, 1024 * len(self.every(Album)))
            self._put(album)
            return album

    def put_in_album(self, asset: Asset, album: Album) -> Relation:
        """Puts an asset in an album."""
        with self._lock:
            relation = Relation(f"{asset.record_name}-IN-{album.record_name}", asset, album)
            self._put(relation)
            return relation

    @property
    def assets(self) -> list[Asset]:
        """Every asset that is not removed for good, those in Recently Deleted and uploads included."""
        with self._lock:
            self.settle()
            return self.every(Asset)

    def change(self, record: Record, **values: object) -> None:
        """Sets attributes of a record, which gives it a new tag and a place at the end of the log."""
        with self._lock:
            for name, value in values.items():
                setattr(record, name, value)
            self._put(record)

    def remove(self, record: Record) -> None:
        """Leaves nothing but a tombstone of a record."""
        with self._lock:
            self._records[type(record)].pop(record.record_name, None)
            self._logged(record.record_name)

    def arrive(self, name: str, original: Resource, taken: datetime, offset_seconds: int, delay: float) -> Asset:
        """Takes an upload in, which everything but a second upload of it sees only after `delay` seconds."""
        with self._lock:
            found = self.find(original.content.checksum)
            master = found if isinstance(found, Master) else Master(original.content.checksum, name, original)
            asset = _asset(master, taken, offset_seconds, None)
            self._arriving.append((time.monotonic() + delay, asset))
            self.settle()
            return asset

    def settle(self) -> None:
        """Takes in the uploads whose delay is over."""
        now = time.monotonic()
        for arrival in [each for each in self._arriving if each[0] <= now]:
            self._arriving.remove(arrival)
            asset = arrival[1]
            asset.master = self._known(asset.master)
            self._put(asset)

    def living_copy(self, checksum: str) -> Asset | None:
        """Returns an asset of these bytes that is not deleted, uploads that can't be seen yet included."""
        candidates = [*self.every(Asset), *(asset for _, asset in self._arriving)]
        return next((asset for asset in candidates if asset.master_name == checksum and not asset.deleted), None)

    def find(self, record_name: str) -> Record | None:
        """Returns the record of this name."""
        return next((records[record_name] for records in self._records.values() if record_name in records), None)

    def every(self, kind: type[_R]) -> list[_R]:
        """Returns all records of a kind, deleted ones included."""
        return cast(list[_R], list(self._records[kind].values()))

    def ordered(self, key: object, chosen: Callable[[Asset], bool], moment: Callable[[Asset], datetime]) -> list[Asset]:
        """Returns the chosen assets, newest first; kept under `key` until something changes."""
        if key not in self._orders:
            assets = filter(chosen, self.every(Asset))
            newest_first = sorted(assets, key=lambda asset: (moment(asset), asset.record_name), reverse=True)
            self._orders[key] = newest_first
        return self._orders[key]

    @property
    def position(self) -> int:
        """How long the change log is, which is what a sync token stands for."""
        return len(self._log)

    def changes(self, position: int, limit: int) -> tuple[list[str], int]:
        """Returns record names that changed since a position, each once at its last change, and where to go on."""
        names: list[str] = []
        while position < len(self._log) and len(names) < limit:
            name = self._log[position]
            if self._latest[name] == position:
                names.append(name)
            position += 1
        return names, position

    def _known(self, master: Master) -> Master:
        """Returns the master of these bytes that is there, which may be this one from now on."""
        found = self._records[Master].get(master.record_name)
        if isinstance(found, Master):
            return found
        self._put(master)
        return master

    def _album_named(self, name: str) -> Album:
        albums = (album for album in self.every(Album) if album.name == name and not album.deleted)
        return next(albums, None) or self.album(name)

    def _put(self, record: Record) -> None:
        record.modified = datetime.now(UTC)
        known = self._records[type(record)]
        if record.record_name not in known:
            record.created = record.modified
        known[record.record_name] = record
        record.tag = _base36(self._logged(record.record_name))

    def _logged(self, record_name: str) -> int:
        self._latest[record_name] = len(self._log)
        self._log.append(record_name)
        self._orders.clear()
        return len(self._log)


def _optional(source: Source | None, name: str) -> Resource | None:
    return None if source is None else resource(source, name)


def _asset(master: Master, taken: datetime | None, offset_seconds: int, added: datetime | None) -> Asset:
    return Asset(str(uuid.uuid4()).upper(), master, taken, offset_seconds, added or datetime.now(UTC))


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
