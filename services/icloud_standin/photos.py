"""The host of the photo library's database: listing, looking up, and the feed of changes.

Belongs here: the requests that read, and whether a client may ask at all. Does not belong here: changes that a client
makes (`modify`), uploads, a record's shape (`records`), what a list holds (`indexes`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection
from threading import RLock
from typing import Any

from services.icloud_standin.accounts import Account
from services.icloud_standin.assets import Album, Asset, Record, Relation
from services.icloud_standin.faults import Faults
from services.icloud_standin.indexes import CONTAINER, COUNTS, LISTS, listed
from services.icloud_standin.library import Library
from services.icloud_standin.messages import Request, Response
from services.icloud_standin.modify import Modifier
from services.icloud_standin.records import TYPES, Wire, error, number, string, tombstone, zone_id
from services.icloud_standin.setup import not_signed_in

_PATH = re.compile(r"/database/1/com\.apple\.photos\.cloud/production/(private|shared)/(.+)")
_PAGE = 200
Json = dict[str, Any]


class Photos:
    """Answers for the database; its lock is held while it does."""

    def __init__(self, owner: Callable[[Request], Account | None], wire: Wire, lock: RLock, faults: Faults) -> None:
        """Takes the function that says whose cookie a request carries."""
        self._owner, self._wire, self._lock, self._faults = owner, wire, lock, faults
        self._modifier = Modifier(wire, faults)

    def answer(self, request: Request) -> Response:
        """Answers a request."""
        found, asked = _PATH.fullmatch(request.path), request.json()
        with self._lock:
            account = self._owner(request)
            if account is None:
                return not_signed_in()
            if account.advanced_protection and not account.web_access:
                return _refused(403, "ACCESS_DENIED", "private db access disabled for this account")
            if found is None:
                return _refused(404, "NOT_FOUND", "No such page")
            libraries = {
                zone: library
                for zone, library in account.libraries.items()
                if library.is_own == (found[1] == "private")
            }
            for library in libraries.values():
                library.settle()
            return self._operate(request, found[2], asked, libraries)

    def _operate(self, request: Request, operation: str, asked: Json, libraries: dict[str, Library]) -> Response:
        match operation:
            case "zones/list":
                zones = [_zone(library) for library in libraries.values()]
                return Response.json({"moreComing": False, "syncToken": _database_token(libraries), "zones": zones})
            case "changes/database":
                return _changed_zones(asked, libraries)
            case "changes/zone":
                zones = [self._changes(zone, asked, libraries) for zone in asked["zones"]]
                return Response.json({"zones": zones})
            case "internal/records/query/batch":
                return Response.json({"batch": [self._count(each, libraries) for each in asked["batch"]]})
        library = libraries.get(asked.get("zoneID", {}).get("zoneName"))
        if library is None:
            return _refused(404, "ZONE_NOT_FOUND", "Zone does not exist")
        match operation:
            case "records/query":
                return self._query(request, library, asked)
            case "records/lookup":
                return Response.json(self._lookup(library, asked) | {"syncToken": sync_token(library)})
            case "records/modify":
                records = self._modifier.modify(request, library, asked)
                return Response.json({"records": records, "syncToken": sync_token(library)})
        return _refused(404, "NOT_FOUND", "No such page")

    def _query(self, request: Request, library: Library, asked: Json) -> Response:
        query = asked["query"]
        filters = {each["fieldName"]: each["fieldValue"]["value"] for each in query.get("filterBy") or ()}
        kind, keys = query["recordType"], asked.get("desiredKeys")
        if kind == "CheckIndexingState":
            records = [self._indexing_state(request, library)]
        elif kind == "CPLAlbumByPositionLive":
            albums = [album for album in library.every(Album) if album.parent == filters.get("parentId")]
            records = [self._wire.record(library, album, keys) for album in albums if not album.deleted]
        elif kind in LISTS:
            page = _page(library, LISTS[kind], filters, asked.get("resultsLimit") or _PAGE)
            records = [self._wire.record(library, record, keys) for record in page]
        else:
            return _refused(400, "BAD_REQUEST", f"No such record type: {kind}")
        return Response.json({"records": records, "syncToken": sync_token(library)})

    def _indexing_state(self, request: Request, library: Library) -> Json:
        is_busy = self._faults.take("not_indexed", request.target) is not None
        state = {"state": string("RUNNING" if is_busy else "FINISHED"), "progress": number(42 if is_busy else 100)}
        return {
            "recordName": "_indexing",
            "recordType": "CheckIndexingState",
            "fields": state,
            "recordChangeTag": "0",
            "deleted": False,
            "zoneID": zone_id(library),
        }

    def _lookup(self, library: Library, asked: Json) -> Json:
        names, keys = [each["recordName"] for each in asked["records"]], asked.get("desiredKeys")
        return {"records": [self._found(library, name, keys) for name in names]}

    def _found(self, library: Library, name: str, keys: Collection[str] | None) -> Json:
        record = library.find(name)
        if record is None:
            return error(name, "NOT_FOUND", "Record not found")
        return self._wire.record(library, record, keys)

    def _changes(self, zone: Json, asked: Json, libraries: dict[str, Library]) -> Json:
        """Returns one page of a zone's feed; what goes wrong stands in the zone's place, in an answer with 200."""
        library = libraries.get(zone["zoneID"]["zoneName"])
        if library is None:
            return {"zoneID": zone["zoneID"], "serverErrorCode": "ZONE_NOT_FOUND", "reason": "Zone does not exist"}
        position = _position(library, zone.get("syncToken"))
        if position is None:
            return {"zoneID": zone["zoneID"], "serverErrorCode": "BAD_REQUEST", "reason": "Unknown sync token"}
        names, end = library.changes(position, asked.get("resultsLimit") or _PAGE)
        kinds, keys = zone.get("desiredRecordTypes"), zone.get("desiredKeys")
        records = []
        for name in names:
            record = library.find(name)
            if record is None:
                records.append(tombstone(library, name))
            elif not kinds or TYPES[type(record)] in kinds:
                records.append(self._wire.record(library, record, keys))
        return {
            "zoneID": zone_id(library),
            "records": records,
            "moreComing": end < library.position,
            "syncToken": sync_token(library, end),
        }

    def _count(self, asked: Json, libraries: dict[str, Library]) -> Json:
        counted = asked["query"]["filterBy"]["fieldValue"]["value"][0]
        library = libraries.get(asked["zoneID"]["zoneName"])
        index, _, parameter = counted.partition(":")
        if library is None or index not in COUNTS:
            return {"records": []}
        count = len(listed(library, COUNTS[index], parameter))
        record = {
            "recordName": counted,
            "recordType": "IndexCountResult",
            "fields": {"itemCount": number(count)},
            "recordChangeTag": "0",
            "deleted": False,
            "zoneID": zone_id(library),
        }
        return {"records": [record], "syncToken": sync_token(library)}


def sync_token(library: Library, position: int | None = None) -> str:
    """Returns what stands for a place in a library's log; for its end by default."""
    at = library.position if position is None else position
    return base64.b64encode(f"{library.zone} {at}".encode()).decode("ascii")


def _position(library: Library, token: str | None) -> int | None:
    """Returns the place that a token stands for; None when it is not one of this library."""
    if not token:
        return 0
    try:
        zone, _, at = base64.b64decode(token, validate=True).decode().partition(" ")
        return int(at) if zone == library.zone and int(at) <= library.position else None
    except ValueError:
        return None


def _page(library: Library, index: str, filters: Json, limit: int) -> list[Record]:
    """Returns one page of a list: first the masters, then the assets, then what says that they are in an album."""
    album = str(filters.get("parentId", ""))
    everything = listed(library, index, str(filters.get("smartAlbum", album)))
    if "recordName" in filters:
        assets = [asset for asset in everything if asset.record_name == filters["recordName"]]
    else:
        room = max(1, min(limit, _PAGE) // (3 if index == CONTAINER else 2))
        start, step = filters.get("startRank", 0), 1 if filters.get("direction") == "ASCENDING" else -1
        ranks = range(start, start + step * room, step)
        assets = [everything[rank] for rank in ranks if 0 <= rank < len(everything)]
    masters = dict.fromkeys(asset.master for asset in assets)
    relations = _relations(library, album, assets) if index == CONTAINER else []
    return [*masters, *assets, *relations]


def _relations(library: Library, album: str, assets: list[Asset]) -> list[Relation]:
    found = (library.find(f"{asset.record_name}-IN-{album}") for asset in assets)
    return [relation for relation in found if isinstance(relation, Relation)]


def _zone(library: Library) -> Json:
    return {"zoneID": zone_id(library), "syncToken": sync_token(library)}


def _database_token(libraries: dict[str, Library]) -> str:
    positions = (f"{zone}={library.position}" for zone, library in libraries.items())
    return base64.b64encode(" ".join(positions).encode()).decode("ascii")


def _changed_zones(asked: Json, libraries: dict[str, Library]) -> Response:
    known = base64.b64decode(asked.get("syncToken") or "").decode().split()
    changed = [library for zone, library in libraries.items() if f"{zone}={library.position}" not in known]
    zones = [{"zoneID": zone_id(library)} for library in changed]
    return Response.json({"zones": zones, "moreComing": False, "syncToken": _database_token(libraries)})


def _refused(status: int, code: str, reason: str) -> Response:
    return Response.json({"serverErrorCode": code, "reason": reason}, status)
