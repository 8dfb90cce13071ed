"""How assets, masters and albums look on the wire: CloudKit records with typed fields.

Belongs here: one record's shape. Does not belong here: which records are asked for (`photos`).
"""

from __future__ import annotations

import base64
import plistlib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from services.icloud_standin.assets import EPOCH, Album, Asset, Master, Record, Relation
from services.icloud_standin.contents import Content, Resource
from services.icloud_standin.library import Library

Fields = dict[str, dict[str, object]]
TYPES: dict[type[Record], str] = {
    Master: "CPLMaster",
    Asset: "CPLAsset",
    Album: "CPLAlbum",
    Relation: "CPLContainerRelation",
}
_MILLISECOND = timedelta(milliseconds=1)


class Wire:
    """Turns records into what a client reads."""

    def __init__(self, address: Callable[[Content], str]) -> None:
        """Takes the function that says where a content can be fetched."""
        self._address = address

    def record(self, library: Library, record: Record, keys: Collection[str] | None = None) -> dict[str, object]:
        """Returns a record, with those of its fields that are wanted, or all."""
        fields = self._fields(library, record)
        if keys is not None:
            fields = {name: value for name, value in fields.items() if name in keys}
        return {
            "recordName": record.record_name,
            "recordType": TYPES[type(record)],
            "fields": fields,
            "pluginFields": {},
            "recordChangeTag": record.tag,
            "created": _audit(library, record.created),
            "modified": _audit(library, record.modified),
            "deleted": False,
            "zoneID": zone_id(library),
        }

    def _fields(self, library: Library, record: Record) -> Fields:
        if isinstance(record, Master):
            return self._master(record)
        if isinstance(record, Asset):
            return self._asset(library, record)
        if isinstance(record, Album):
            return _album(record)
        assert isinstance(record, Relation)
        return {
            "itemId": string(record.asset.record_name),
            "containerId": string(record.album.record_name),
            "position": number(1024),
            "isKeyAsset": number(0),
        }

    def _master(self, master: Master) -> Fields:
        fields: Fields = {
            "filenameEnc": text(master.name),
            "itemType": string(master.original.file_type),
            "originalOrientation": number(1),
            "dataClassType": number(1),
        }
        fields |= self._resource("resOriginal", master.original)
        fields |= self._resource("resOriginalVidCompl", master.live)
        return fields | self._resource("resOriginalAlt", master.raw)

    def _asset(self, library: Library, asset: Asset) -> Fields:
        reference = {"recordName": asset.master_name, "action": "DELETE_SELF", "zoneID": zone_id(library)}
        is_live = asset.master.live is not None
        fields: Fields = {
            "masterRef": {"value": reference, "type": "REFERENCE"},
            "addedDate": moment(asset.added),
            "timeZoneOffset": number(asset.offset_seconds),
            "isFavorite": number(asset.favourite),
            "isHidden": number(asset.hidden),
            "orientation": number(1),
            "duration": number(0),
            "assetSubtype": number(0),
            "assetSubtypeV2": number(2 if is_live else 0),
            "burstFlags": number(0),
            "adjustmentRenderType": number(0),
        }
        fields |= self._resource("resJPEGFull", asset.edited) | self._resource("resVidFull", asset.edited_video)
        # A record leaves out what does not apply, and says that it is deleted only when it is.
        if asset.taken is not None:
            fields["assetDate"] = moment(asset.taken)
        if asset.edited or asset.edited_video:
            fields["adjustmentType"] = string("com.apple.photo")
        if asset.title is not None:
            fields["captionEnc"] = text(asset.title)
        if asset.caption is not None:
            fields["extendedDescEnc"] = text(asset.caption)
        if asset.location is not None:
            fields["locationEnc"] = _location(*asset.location)
        if asset.burst is not None:
            fields["burstId"] = string(asset.burst)
        if asset.deleted:
            fields |= {"isDeleted": number(1), "isExpunged": number(0)}
        if asset.expunged is not None:
            fields["dateExpunged"] = moment(asset.expunged)
        return fields

    def _resource(self, prefix: str, resource: Resource | None) -> Fields:
        if resource is None:
            return {}
        fetched = resource.token | {"downloadURL": self._address(resource.content)}
        fields: Fields = {
            f"{prefix}Res": {"value": fetched, "type": "ASSETID"},
            f"{prefix}FileType": string(resource.file_type),
            f"{prefix}Fingerprint": string(resource.content.checksum),
        }
        if resource.dimensions:
            fields |= {f"{prefix}Width": number(resource.dimensions[0])}
            fields |= {f"{prefix}Height": number(resource.dimensions[1])}
        return fields


def zone_id(library: Library) -> dict[str, str]:
    """Returns what names a library's zone."""
    return {"zoneName": library.zone, "ownerRecordName": library.owner, "zoneType": "REGULAR_CUSTOM_ZONE"}


def tombstone(library: Library, record_name: str) -> dict[str, object]:
    """Returns what is left of a record that was removed for good."""
    return {"recordName": record_name, "deleted": True, "zoneID": zone_id(library)}


def error(record_name: str, code: str, reason: str) -> dict[str, object]:
    """Returns what stands for a record that can't be had or changed."""
    return {"recordName": record_name, "serverErrorCode": code, "reason": reason}


def text(value: str) -> dict[str, object]:
    """Returns a field with a person's words, which come encoded."""
    return {"value": base64.b64encode(value.encode()).decode("ascii"), "type": "ENCRYPTED_BYTES"}


def string(value: str) -> dict[str, object]:
    """Returns a field with a word."""
    return {"value": value, "type": "STRING"}


def number(value: int) -> dict[str, object]:
    """Returns a field with a whole number."""
    return {"value": int(value), "type": "INT64"}


def moment(value: datetime) -> dict[str, object]:
    """Returns a field with an instant."""
    return {"value": (value - EPOCH) // _MILLISECOND, "type": "TIMESTAMP"}


def _album(album: Album) -> Fields:
    fields: Fields = {
        "albumType": number(album.kind),
        "position": number(album.position),
        "sortType": number(0),
        "sortAscending": number(1),
        "recordModificationDate": moment(album.modified),
    }
    if album.name is not None:
        fields["albumNameEnc"] = text(album.name)
    if album.parent is not None:
        fields["parentId"] = string(album.parent)
    if album.deleted:
        fields["isDeleted"] = number(1)
    return fields


def _location(latitude: float, longitude: float) -> dict[str, object]:
    place = {"lat": latitude, "lon": longitude, "alt": 0.0, "horzAcc": 5.0, "vertAcc": 5.0, "speed": 0.0, "course": 0.0}
    encoded = base64.b64encode(plistlib.dumps(place, fmt=plistlib.FMT_BINARY)).decode("ascii")
    return {"value": encoded, "type": "ENCRYPTED_BYTES"}


def _audit(library: Library, when: datetime) -> dict[str, object]:
    return {"timestamp": moment(when)["value"], "userRecordName": library.owner, "deviceID": "1"}
