"""Changes that a client makes to a library: deletions, favourites, titles, albums.

Belongs here: operations on records, and when they are refused. Does not belong here: reading (`photos`), uploads.

An update needs the change tag that the record has; one that is stale is a conflict. In an atomic request nothing is
done when one operation is refused; else the others are done all the same.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from services.icloud_standin.assets import Album, Asset, Record
from services.icloud_standin.faults import Faults
from services.icloud_standin.library import Library
from services.icloud_standin.messages import Request
from services.icloud_standin.records import Wire, error, tombstone

Json = dict[str, Any]
_STALE = "client oplock error updating record"
_RECENTLY_DELETED = timedelta(days=30)
_FLAGS = {"isFavorite": "favourite", "isHidden": "hidden"}
_TEXTS = {"captionEnc": "title", "extendedDescEnc": "caption"}
_IGNORED = {"isExpunged", "position", "sortType", "sortAscending", "sortTypeExt", "albumType"}


class Modifier:
    """Does what clients ask for."""

    def __init__(self, wire: Wire, faults: Faults) -> None:
        self._wire, self._faults = wire, faults

    def modify(self, request: Request, library: Library, asked: Json) -> list[Json]:
        """Does the operations of one request and returns an entry for each."""
        operations = asked["operations"]
        refusals = [_refusal(library, operation) for operation in operations]
        if self._faults.take("conflict", request.target):
            refusals[0] = error(operations[0]["record"]["recordName"], "CONFLICT", _STALE)
        if asked.get("atomic", True) and any(refusals):
            return [
                refusal or error(operation["record"]["recordName"], "ATOMIC_ERROR", "Atomic failure")
                for operation, refusal in zip(operations, refusals, strict=True)
            ]
        return [
            refusal or self._done(library, operation) for operation, refusal in zip(operations, refusals, strict=True)
        ]

    def _done(self, library: Library, operation: Json) -> Json:
        asked = operation["record"]
        name, fields = asked["recordName"], {key: field["value"] for key, field in asked.get("fields", {}).items()}
        record = library.find(name)
        if operation["operationType"] == "create":
            record = _created(library, asked, fields)
        elif record is not None and operation["operationType"] in {"delete", "forceDelete"}:
            _delete(library, record)
            return tombstone(library, name)
        elif record is not None:
            _update(library, record, fields)
        assert record is not None  # `_refusal` has seen to it
        return self._wire.record(library, record)


def _refusal(library: Library, operation: Json) -> Json | None:
    """Returns why an operation can't be done; None when it can."""
    asked, kind = operation["record"], operation["operationType"]
    name = asked["recordName"]
    record = library.find(name)
    if kind == "create":
        if record is not None:
            return error(name, "CONFLICT", "record to insert already exists")
        return _creation_refusal(library, asked)
    if record is None:
        return error(name, "NOT_FOUND", "Record not found")
    unknown = set(asked.get("fields", {})) - _changeable(record)
    if unknown:
        return error(name, "BAD_REQUEST", f"Fields that can't be changed: {', '.join(sorted(unknown))}")
    if not kind.startswith("force") and asked.get("recordChangeTag") != record.tag:
        return error(name, "CONFLICT", _STALE)
    return None


def _creation_refusal(library: Library, asked: Json) -> Json | None:
    fields = asked.get("fields", {})
    if asked["recordType"] == "CPLAlbum" and "albumNameEnc" in fields:
        return None
    if asked["recordType"] == "CPLContainerRelation":
        asset, album = library.find(fields["itemId"]["value"]), library.find(fields["containerId"]["value"])
        if isinstance(asset, Asset) and isinstance(album, Album):
            return None
    return error(asked["recordName"], "BAD_REQUEST", "Such a record can't be made")


def _changeable(record: Record) -> set[str]:
    if isinstance(record, Asset):
        return {"isDeleted", *_FLAGS, *_TEXTS, *_IGNORED}
    if isinstance(record, Album):
        return {"isDeleted", "albumNameEnc", *_IGNORED}
    return {"isDeleted"}


def _created(library: Library, asked: Json, fields: Json) -> Record:
    name = asked["recordName"]
    if asked["recordType"] == "CPLAlbum":
        return library.album(_text(fields["albumNameEnc"]), kind=fields.get("albumType", 0), record_name=name)
    asset, album = library.find(fields["itemId"]), library.find(fields["containerId"])
    assert isinstance(asset, Asset) and isinstance(album, Album)
    return library.put_in_album(asset, album)


def _delete(library: Library, record: Record) -> None:
    if isinstance(record, Asset):
        library.purge(record)
    else:
        library.remove(record)


def _update(library: Library, record: Record, fields: Json) -> None:
    values: dict[str, object] = {}
    if isinstance(record, Asset):
        values |= {_FLAGS[key]: bool(value) for key, value in fields.items() if key in _FLAGS}
        values |= {_TEXTS[key]: _text(value) for key, value in fields.items() if key in _TEXTS}
        if "isDeleted" in fields:
            is_deleted = bool(fields["isDeleted"])
            values |= {"deleted": is_deleted, "expunged": datetime.now(UTC) + _RECENTLY_DELETED if is_deleted else None}
    elif isinstance(record, Album):
        values |= {"deleted": bool(fields["isDeleted"])} if "isDeleted" in fields else {}
        values |= {"name": _text(fields["albumNameEnc"])} if "albumNameEnc" in fields else {}
    elif fields.get("isDeleted"):
        library.remove(record)
        return
    library.change(record, **values)


def _text(value: str) -> str:
    return base64.b64decode(value).decode()
