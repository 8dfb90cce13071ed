"""What Apple's records say: assets with their parts, albums and who is in them.

Belongs here: turning CloudKit records, as `changes/zone` and `records/lookup` hand them out, into small plain values,
and two records (CPLMaster and CPLAsset) into one asset. Does not belong here: asking Apple (`resources.icloud`), or
what becomes of an asset (`pipeline.icloud_sync`). Field names as in the recorded sessions.
"""

from __future__ import annotations

import base64
import contextlib
import os
import plistlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from media.kinds import kind_of_name

RecordKind = Literal["master", "asset", "album", "relation"]
Role = Literal["original", "live_video", "raw", "edit", "edit_video"]

_KINDS: dict[str, RecordKind] = {
    "CPLMaster": "master",
    "CPLAsset": "asset",
    "CPLAlbum": "album",
    "CPLContainerRelation": "relation",
}
# Which fields hold whole files; the others are Apple's own smaller versions.
_MASTER_PARTS: dict[str, Role] = {
    "resOriginalRes": "original",
    "resOriginalVidComplRes": "live_video",
    "resOriginalAltRes": "raw",
}
_ASSET_PARTS: dict[str, Role] = {"resJPEGFullRes": "edit", "resVidFullRes": "edit_video"}
PART_FIELDS = (*_MASTER_PARTS, *_ASSET_PARTS)
DESIRED_KEYS = [
    *PART_FIELDS,
    *(f"{name.removesuffix('Res')}FileType" for name in PART_FIELDS),
    "filenameEnc", "itemType", "masterRef", "assetDate", "addedDate", "timeZoneOffset", "isDeleted", "isExpunged",
    "isHidden", "isFavorite", "captionEnc", "extendedDescEnc", "locationEnc", "locationLatitude", "locationLongitude",
    "burstId", "adjustmentType", "albumNameEnc", "parentId", "containerId", "itemId", "state",
]  # fmt: skip
_EXTENSIONS = {
    "public.jpeg": ".JPG",
    "public.heic": ".HEIC",
    "public.heif": ".HEIF",
    "public.png": ".PNG",
    "public.tiff": ".TIF",
    "public.webp": ".WEBP",
    "public.avif": ".AVIF",
    "org.webmproject.webp": ".WEBP",
    "com.compuserve.gif": ".GIF",
    "com.apple.quicktime-movie": ".MOV",
    "public.mpeg-4": ".MP4",
    "com.apple.m4v-video": ".M4V",
    "public.3gpp": ".3GP",
    "com.adobe.raw-image": ".DNG",
    "com.canon.cr2-raw-image": ".CR2",
    "com.canon.cr3-raw-image": ".CR3",
    "com.nikon.raw-image": ".NEF",
    "com.sony.arw-raw-image": ".ARW",
    "com.fuji.raw-image": ".RAF",
    "com.panasonic.rw2-raw-image": ".RW2",
    "com.olympus.raw-image": ".ORF",
    "com.pentax.raw-image": ".PEF",
}
_TEXTS = ("filenameEnc", "captionEnc", "extendedDescEnc", "albumNameEnc")
_MOST = 2**63  # what the catalog holds of a number
_LONGEST_WORD = 255  # characters of a record's name, as CloudKit has it
_COUNTED = re.compile(r"^IMG_(?=\d+$)", re.IGNORECASE)
_NO_NAME = re.compile(r"[\x00-\x1f/\\]")
_LONGEST_NAME = 180  # bytes; leaves room for what we add within the 255 of a file name
_LONGEST_EXTENSION = 16  # bytes; what is longer is part of the name


@dataclass(frozen=True, slots=True)
class Record:
    """One record, reduced to what we keep of it.

    Attributes:
        name: Apple's record name; a master's equals the checksum of its original.
        kind: What it is.
        fields: What it says, by short names of ours; empty for a tombstone.
        change_tag: Apple's optimistic lock.
        gone: Whether it was removed for good.
    """

    name: str
    kind: RecordKind | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    change_tag: str | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One whole file of an asset.

    Attributes:
        role: What it is to the asset.
        record: The record that holds it.
        field: The field that holds it.
        name: A file name, unique within the asset.
        checksum: Apple's checksum of its bytes.
        size: Bytes.
    """

    role: Role
    record: str
    field: str
    name: str
    checksum: str
    size: int


@dataclass(frozen=True, slots=True)
class Asset:
    """One photo or film as iCloud holds it, with every file that belongs to it.

    Attributes:
        name: The asset's record name.
        master: Its master's record name.
        taken: When it was taken, None where Apple does not say.
        offset_seconds: From UTC at the place where it was taken, None where unknown.
        deleted: In Recently Deleted, or gone.
        parts: Its files, the original first.
    """

    name: str
    master: str
    taken: datetime | None
    offset_seconds: int | None
    added: datetime | None
    deleted: bool
    hidden: bool
    favourite: bool
    caption: str | None
    title: str | None
    location: tuple[float, float] | None
    burst: str | None
    parts: tuple[Part, ...]

    @property
    def kinds(self) -> list[str]:
        """What makes it more than one plain file: `live`, `edited`, `raw pair`, `burst`."""
        roles = {part.role for part in self.parts}
        found = [
            ("live", "live_video" in roles),
            ("edited", bool(roles & {"edit", "edit_video"})),
            ("raw pair", "raw" in roles),
            ("burst", self.burst is not None),
        ]
        return [name for name, there in found if there]


def read_record(raw: Mapping[str, Any]) -> Record | None:
    """Reduces one record; None for a kind that says nothing about photos, or an error in a record's place.

    Args:
        raw: The record as JSON.
    """
    name = _word(raw.get("recordName"))
    if name is None or "serverErrorCode" in raw:
        return None
    if raw.get("deleted") is True:
        return Record(name, _KINDS.get(str(raw.get("recordType"))), gone=True)
    kind = _KINDS.get(str(raw.get("recordType")))
    fields = raw.get("fields")
    if kind is None or not isinstance(fields, Mapping):
        return None
    entries = {key: entry for key, entry in fields.items() if isinstance(entry, Mapping)}
    values = {key: _text(entry) if key in _TEXTS else entry.get("value") for key, entry in entries.items()}
    return Record(name, kind, dict(_READERS[kind](values)), _word(raw.get("recordChangeTag")))


def download_url(raw: Mapping[str, Any], part_field: str) -> str | None:
    """Returns the signed address of a part in a record that was looked up just now; it ends within the hour."""
    url = _resource(raw, part_field).get("downloadURL")
    return url if isinstance(url, str) else None


def listed_checksum(raw: Mapping[str, Any], part_field: str) -> str | None:
    """Returns the checksum of a part in a record that was looked up just now; None where it has no such part."""
    return _word(_resource(raw, part_field).get("fileChecksum"))


def _resource(raw: Mapping[str, Any], part_field: str) -> Mapping[str, Any]:
    found: Any = raw
    for step in ("fields", part_field, "value"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def asset_of(asset: Record, master: Record) -> Asset:
    """Puts an asset and its master together.

    Args:
        asset: A record of kind `asset`.
        master: The one that its `master` names.
    """
    says = asset.fields
    name = _file_name(master)
    parts = (*_parts(master, _MASTER_PARTS, name), *_parts(asset, _ASSET_PARTS, name))
    return Asset(
        name=asset.name,
        master=master.name,
        taken=_instant(says.get("taken")),
        offset_seconds=says.get("offset"),
        added=_instant(says.get("added")),
        deleted=asset.gone or master.gone or bool(says.get("deleted")),
        hidden=bool(says.get("hidden")),
        favourite=bool(says.get("favourite")),
        caption=says.get("caption"),
        title=says.get("title"),
        location=tuple(says["location"]) if says.get("location") else None,
        burst=says.get("burst"),
        parts=tuple(_unique(sorted(parts, key=lambda part: part.role != "original"))),
    )


# --- reading one record ------------------------------------------------------------------------------------------


def _read_master(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "name", values.get("filenameEnc")
    yield "parts", dict(_files(values, _MASTER_PARTS))


def _read_asset(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    reference = values.get("masterRef")
    yield "master", _word(reference.get("recordName")) if isinstance(reference, Mapping) else None
    yield "taken", _number(values.get("assetDate"))
    yield "added", _number(values.get("addedDate"))
    yield "offset", _number(values.get("timeZoneOffset"))
    yield "deleted", bool(values.get("isDeleted") or values.get("isExpunged"))
    yield "hidden", bool(values.get("isHidden"))
    yield "favourite", bool(values.get("isFavorite"))
    yield "title", values.get("captionEnc")
    yield "caption", values.get("extendedDescEnc")
    yield "location", _location(values)
    yield "burst", _word(values.get("burstId"))
    yield "parts", dict(_files(values, _ASSET_PARTS))


def _read_album(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "name", values.get("albumNameEnc")
    yield "deleted", bool(values.get("isDeleted"))


def _read_relation(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "album", _word(values.get("containerId"))
    yield "asset", _word(values.get("itemId"))
    yield "deleted", bool(values.get("isDeleted"))


_READERS = {"master": _read_master, "asset": _read_asset, "album": _read_album, "relation": _read_relation}


def _files(values: Mapping[str, Any], fields: Mapping[str, Role]) -> Iterator[tuple[str, list[Any]]]:
    """Yields checksum, size and type of each whole file; one without either cannot be proven, so it is no part."""
    for name in fields:
        value = values.get(name)
        if not isinstance(value, Mapping):
            continue
        checksum, size = _word(value.get("fileChecksum")), _number(value.get("size"))
        if checksum is not None and size is not None and size >= 0:
            yield name, [checksum, size, _word(values.get(f"{name.removesuffix('Res')}FileType"))]


def _text(entry: Mapping[str, Any]) -> str | None:
    """Reads a text that Apple wraps in base64; older records hold it plainly."""
    value = entry.get("value")
    if not isinstance(value, str):
        return None
    if entry.get("type") != "STRING":
        with contextlib.suppress(ValueError):  # it was no base64, or none of a text
            value = base64.b64decode(value, validate=True).decode()
    # The catalog takes no text with a zero byte in it, nor half of a pair of surrogates.
    return value.replace("\0", "").encode(errors="replace").decode() or None


def _word(value: Any) -> str | None:
    """Returns a name or a checksum of Apple's; None for what cannot be one."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_WORD or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _number(value: Any) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return int(value) if -_MOST < value < _MOST else None  # which no NaN is


def _location(values: Mapping[str, Any]) -> list[float] | None:
    try:
        place = _place_of(values)
        latitude, longitude = float(place["lat"]), float(place["lon"])
    except Exception:  # a place is worth having, and no reason to leave a photo; a broken plist raises anything
        return None
    return [latitude, longitude] if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _place_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
    latitude, longitude = values.get("locationLatitude"), values.get("locationLongitude")
    if latitude is not None and longitude is not None:
        return {"lat": latitude, "lon": longitude}
    place: Mapping[str, Any] = plistlib.loads(base64.b64decode(values["locationEnc"]))
    return place


# --- names -------------------------------------------------------------------------------------------------------


def _file_name(master: Record) -> str:
    """Returns the original's file name; where Apple has none that can be a file's, one made of its checksum."""
    given = os.path.basename(_NO_NAME.sub("_", str(master.fields.get("name") or ""))).strip()
    stem, extension = os.path.splitext(given)
    if len(extension.encode()) > _LONGEST_EXTENSION:
        stem, extension = given, ""
    stem = stem.encode()[:_LONGEST_NAME].decode(errors="ignore")
    if not stem or stem.startswith("."):
        stem = f"iCloud_{re.sub(r'[^A-Za-z0-9]', '', master.name)[-12:]}"
    if kind_of_name(stem + extension) is None:
        original = master.fields.get("parts", {}).get("resOriginalRes")
        extension += _EXTENSIONS.get(str(original[2]) if original else "", "")
    return stem + extension


def _parts(record: Record, fields: Mapping[str, Role], name: str) -> Iterable[Part]:
    for part_field, (checksum, size, kind) in record.fields.get("parts", {}).items():
        role = fields[part_field]
        yield Part(role, record.name, part_field, _part_name(name, role, kind), checksum, size)


def _part_name(name: str, role: Role, kind: str | None) -> str:
    """Names a part as a phone does: IMG_0007.HEIC, IMG_0007.MOV, IMG_E0007.JPG."""
    stem, extension = os.path.splitext(name)
    if role == "original":
        return name
    own = _EXTENSIONS.get(kind or "", extension)
    if role in ("live_video", "raw"):
        return stem + own
    return (_COUNTED.sub("IMG_E", stem) if _COUNTED.match(stem) else f"{stem}-edited") + own


def _unique(parts: Iterable[Part]) -> Iterator[Part]:
    taken: set[str] = set()
    for part in parts:
        name = part.name
        if name.casefold() in taken:
            stem, extension = os.path.splitext(name)
            name = f"{stem}-{part.role.replace('_', '-')}{extension}"
        taken.add(name.casefold())
        yield Part(part.role, part.record, part.field, name, part.checksum, part.size)


def _instant(milliseconds: int | None) -> datetime | None:
    if milliseconds is None:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return None
