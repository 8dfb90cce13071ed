"""The photo libraries of one Apple account: the few requests that the rest asks for, through pyicloud.

Belongs here: one request after the other, with what it takes and gives. Does not belong here: the sign-in and what goes
wrong on the way (`resources.icloud_session`), what an answer means (`resources.icloud_records`), or downloads. Requests
and pitfalls: shared protocol notes on pyicloud 2026.10.1.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from media.apple_checksum import is_comparable
from resources.icloud_errors import (
    Away,
    ICloudError,
    Rejected,
    TokenTooOld,
    Withdrawn,
    registration_refused,
    translated,
)
from resources.icloud_records import DESIRED_KEYS
from resources.icloud_session import AppleSession

PERSONAL = {"zoneName": "PrimarySync"}
COUNT_OF_ALL = "CPLAssetByAssetDateWithoutHiddenOrDeleted"
LOOKUP_LIMIT = 100
_NOT_THE_TOKEN = ("ZONE_NOT_FOUND", "NOT_FOUND", "404")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """One page of the changes feed."""

    records: Sequence[Mapping[str, Any]]
    token: str
    more: bool


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What Apple said to an upload.

    Attributes:
        master: The master's record name, which is the checksum of the bytes.
        asset: The asset's record name.
        duplicate: Whether iCloud held the bytes already.
    """

    master: str
    asset: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class ToUpload:
    """A file that is to become a photo in iCloud.

    Attributes:
        path: Where its bytes are.
        name: The name that iCloud shows.
        checksum: Apple's checksum of the bytes, computed here.
        taken: When it was taken, with its zone; for files that do not say so themselves.
    """

    path: Path
    name: str
    checksum: str
    taken: datetime

    @property
    def zone_as_browsers_say(self) -> tuple[str, int]:
        """The zone's name, and what UTC is ahead of its clock in minutes, as JavaScript counts."""
        ahead = self.taken.utcoffset()
        return getattr(self.taken.tzinfo, "key", "UTC"), -int(ahead.total_seconds() // 60) if ahead else 0


def _asking(method: Callable[Concatenate[ICloud, P], T]) -> Callable[Concatenate[ICloud, P], T]:
    """Makes a method speak our errors and get over what passes, as the session does."""

    @functools.wraps(method)
    def ask(client: ICloud, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.session.ask(lambda: method(client, *args, **kwargs))

    return ask


class ICloud:
    """The libraries of one account. Not for several threads, as its session.

    Attributes:
        session: The account's session.
    """

    def __init__(self, session: AppleSession, *, page_size: int = 200) -> None:
        """Takes the session, and how many records are in one answer of the changes feed."""
        self.session = session
        self._page_size = page_size

    @_asking
    def zones(self) -> list[dict[str, Any]]:
        """Returns every library that the account can read, as zones; `scope` says in which database it lies."""
        found = []
        for scope in ("private", "shared"):
            listed = self.session.container(scope).raw_post("/zones/list", {})
            for zone in listed.get("zones", []):
                if not zone.get("deleted"):
                    found.append({**_plain(zone["zoneID"]), "scope": scope})
        return found

    @_asking
    def changes(self, zone: Mapping[str, Any], token: str | None) -> Answer:
        """Returns one page of what changed in a library since a token.

        Raises:
            TokenTooOld: Apple no longer knows the token.
        """
        wanted: dict[str, Any] = {"zoneID": _zone_id(zone), "desiredKeys": DESIRED_KEYS}
        if token is not None:
            wanted["syncToken"] = token
        asked = {"zones": [wanted], "resultsLimit": self._page_size}
        try:
            with self.session.translating():
                answer = self.session.container(_scope(zone)).raw_post("/changes/zone", asked)
            said = answer["zones"][0]
            if "serverErrorCode" in said:
                raise _zone_error(said)
        except Rejected as error:
            if token is not None and error.code not in _NOT_THE_TOKEN:
                raise TokenTooOld("Apple no longer knows where we stopped reading.") from error
            raise
        return Answer(said.get("records", []), said["syncToken"], bool(said.get("moreComing")))

    @_asking
    def count(self, zone: Mapping[str, Any]) -> int | None:
        """Returns how many photos Apple counts, hidden and deleted ones left out; None for a shared library."""
        if _scope(zone) != "private":
            return None
        return int(self.session.photos().private_client.batch_count(container_id=COUNT_OF_ALL, zone_id=_zone_id(zone)))

    @_asking
    def lookup(self, zone: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns records by name, with fresh addresses to download from; what Apple does not find is left out."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(names), LOOKUP_LIMIT):
            wanted = [{"recordName": name} for name in names[start : start + LOOKUP_LIMIT]]
            answer = self.session.container(_scope(zone)).raw_post(
                "/records/lookup", {"records": wanted, "zoneID": _zone_id(zone)}
            )
            found.update({one.get("recordName"): one for one in answer.get("records", []) if "fields" in one})
        return found

    @_asking
    def upload(self, file: ToUpload, zone: Mapping[str, Any]) -> Uploaded:
        """Uploads a file; bytes that iCloud holds already are not taken twice.

        pyicloud's own `upload_file` names a file as it is called on this disk, and dates it by its file time in the
        zone of this machine. Its three requests are made one by one, so that both come from the catalog, and so that
        bytes which arrived altered never become a photo.

        Raises:
            QuotaFull: There is no room.
            Rejected: Apple does not take this file.
            Away: It has to be handed in again.
        """
        from pyicloud.services.photos_cloudkit.models import PhotosPutAssetFile

        uploader = self.session.photos().private_client._uploader
        if uploader is None:
            raise Withdrawn("Apple names no host that takes uploads; update mediapipe-assets. Nothing is lost.")
        ticket, name = str(uuid.uuid4()), zone["zoneName"]
        addresses = uploader.create_upload_url(zone_name=name, assets={ticket: file.path.stat().st_size})
        if ticket not in addresses:
            raise Away("Apple named no place for the bytes. It is tried again by itself.")
        receipt = uploader.send_bytes(addresses[ticket], file.path)
        if is_comparable(receipt.fileChecksum or "") and receipt.fileChecksum != file.checksum:
            raise Away("The bytes arrived altered at Apple, so they were not made a photo. They are sent again.")
        zone_name, minutes = file.zone_as_browsers_say
        entry = PhotosPutAssetFile(
            fileName=file.name.encode(errors="replace").decode(),  # not every name on a disk is text
            lastModDate=int(file.taken.timestamp() * 1000),
            timeZoneOffset=minutes,
            singleFileUploadRequest=receipt,
        )
        said = uploader.put_asset(zone_name=name, files=[entry], import_group=ticket, local_time_zone_id=zone_name)
        if len(said) != 1:
            raise Away(f"Apple answered with {len(said)} photos for one file. It is tried again by itself.")
        status = said[0].response.status if said[0].response else None
        if not said[0].is_duplicate and status is not None and status >= 400:
            raise registration_refused(status, said[0].response.isRetryable, said[0].response.errorMessage)
        if not said[0].cplMaster or not said[0].cplAsset:
            raise Away(f"Apple took the bytes and named no record ({status}). It is tried again by itself.")
        return Uploaded(said[0].cplMaster, said[0].cplAsset, said[0].is_duplicate)

    @_asking
    def modify(self, zone: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> None:
        """Changes records; each operation carries the change tag of what was read.

        Raises:
            Rejected: Apple refused one; others may have been applied, so look them up again.
        """
        answer = self.session.container(_scope(zone)).raw_post(
            "/records/modify", {"operations": list(operations), "zoneID": _zone_id(zone), "atomic": True}
        )
        for record in answer.get("records", []):
            if "serverErrorCode" in record:
                raise Rejected(f"Apple refused a change ({record['serverErrorCode']}).", record["serverErrorCode"])

    @_asking
    def listed(self, zone: Mapping[str, Any], asset: str) -> bool:
        """Returns whether an asset shows in the library's own listing, as the phone sees it."""
        filters = [_equals("direction", "ASCENDING", "STRING"), _equals("startRank", 0, "INT64")]
        filters.append(_equals("recordName", asset, "STRING"))
        query = {"recordType": "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted", "filterBy": filters}
        answer = self.session.container(_scope(zone)).raw_post(
            "/records/query", {"query": query, "zoneID": _zone_id(zone), "resultsLimit": 2}
        )
        return any(one.get("recordName") == asset for one in answer.get("records", []))


def _zone_id(zone: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in zone.items() if key != "scope"}


def _plain(zone: Mapping[str, Any]) -> dict[str, Any]:
    return {key: zone[key] for key in ("zoneName", "ownerRecordName", "zoneType") if zone.get(key)}


def _scope(zone: Mapping[str, Any]) -> str:
    return str(zone.get("scope", "private"))


def _zone_error(said: Mapping[str, Any]) -> ICloudError:
    error = Exception(f"serverErrorCode: '{said['serverErrorCode']}'")
    wait = said.get("retryAfter")
    return translated(error, None, wait if isinstance(wait, int | float) else None)


def _equals(name: str, value: object, kind: str) -> dict[str, Any]:
    return {"fieldName": name, "comparator": "EQUALS", "fieldValue": {"value": value, "type": kind}}
