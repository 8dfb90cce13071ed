"""The hosts that take uploads: a reservation, the bytes, the registration, and how far it is.

Belongs here: those four requests. Does not belong here: what becomes of an asset then (`library`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

from media.capture import read_capture_date
from services.icloud_standin.accounts import Account
from services.icloud_standin.assets import Asset
from services.icloud_standin.contents import Content, resource
from services.icloud_standin.faults import Faults
from services.icloud_standin.library import Library
from services.icloud_standin.messages import Request, Response
from services.icloud_standin.setup import not_signed_in

CONTENT_HOST = "p61-contentupload.icloud-content.com"
Json = dict[str, Any]


@dataclass
class _Received:
    """Bytes that have come and that no asset has yet."""

    path: Path
    content: Content


class Uploads:
    """Answers for both hosts. Bytes are written to files, whatever their size."""

    def __init__(self, folder: Path, owner: Callable[[Request], Account | None], lock: RLock, faults: Faults) -> None:
        """Takes the folder for what is uploaded, and the function that says whose cookie a request carries."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._owner, self._lock, self._faults = folder, owner, lock, faults
        self._reserved: dict[str, int] = {}
        self._received: dict[str, _Received] = {}
        self._jobs: set[str] = set()

    def answer(self, request: Request) -> Response:
        """Answers a reservation, a registration, or a question for progress."""
        asked = request.json()
        with self._lock:
            account = self._owner(request)
            if account is None:
                return not_signed_in()
            match request.path.removeprefix("/photosupload/"):
                case "createUploadUrl":
                    return self._reserve(asked)
                case "putAsset":
                    return self._register(request, asked, account)
                case "uploadStatus":
                    known = self._jobs
                    answers = {job: {"progress": 100} if job in known else _UNKNOWN for job in asked["uploadJobIds"]}
                    return Response.json(answers)
        return Response.json({"error": "No such page"}, 404)

    def receive(self, request: Request) -> Response:
        """Takes the bytes of a reserved upload."""
        token = request.path.rpartition("/")[2]
        with self._lock:
            size = self._reserved.pop(token, None)
        if size is None:
            return Response.json({"error": "No such reservation"}, 404)
        # Numbered, because a name of random digits could be taken for a date.
        path = self._folder / f"upload-{len(self._received) + 1}-{token}"
        with path.open("wb") as file:
            for chunk in request.chunks():
                file.write(chunk)
        content = Content(path)
        if content.size != size:
            path.unlink()
            return Response.json({"error": "Another size was reserved"}, 400)
        with self._lock:
            receipt = secrets.token_hex(16)
            self._received[receipt] = _Received(path, content)
        return Response.json({"singleFile": resource(content, "").token | {"receipt": receipt}})

    def _reserve(self, asked: Json) -> Response:
        addresses = {}
        for client_id, size in asked["assets"].items():
            token = "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(24))
            self._reserved[token] = size
            addresses[client_id] = f"https://{CONTENT_HOST}/upload/{token}"
        return Response.json({"uploadUrls": addresses})

    def _register(self, request: Request, asked: Json, account: Account) -> Response:
        library = account.libraries.get(asked["zoneName"])
        if library is None:
            return Response.json({"serverErrorCode": "ZONE_NOT_FOUND", "reason": "Zone does not exist"}, 404)
        if self._faults.take("retry_put", request.target):
            return Response.json([_REFUSED for _ in asked["files"]])
        hidden = self._faults.take("not_visible", request.target)
        delay = hidden.seconds if hidden else 0.0
        return Response.json([self._registered(library, file, delay) for file in asked["files"]])

    def _registered(self, library: Library, file: Json, delay: float) -> Json:
        received = self._received.get(file["singleFileUploadRequest"].get("receipt"))
        if received is None:
            return {"response": {"status": 400, "isRetryable": False, "errorMessage": "unknown receipt"}}
        library.settle()
        known = library.living_copy(received.content.checksum)
        if known is not None:
            return _names(known) | {"response": {"status": 409, "errorMessage": "duplicate asset"}}
        taken, offset_seconds = _date(received.path, file)
        original = resource(received.content, file["fileName"])
        asset = library.arrive(file["fileName"], original, taken, offset_seconds, delay)
        job = secrets.token_hex(16)
        self._jobs.add(job)
        return _names(asset) | {"uploadJobId": job, "response": {"status": 200, "isRetryable": False}}


_UNKNOWN: Json = {"errorCode": 404}
_REFUSED: Json = {"response": {"status": 503, "isRetryable": True}}


def _names(asset: Asset) -> Json:
    return {"cplMaster": asset.master_name, "cplAsset": asset.record_name}


def _date(path: Path, file: Json) -> tuple[datetime, int]:
    """Returns when an upload was taken, by its own header, else by what the client said of the file."""
    said = datetime.fromtimestamp(file["lastModDate"] / 1000, UTC)
    # The client counts in minutes, and as JavaScript does: what UTC is ahead of its clock.
    offset_seconds = -60 * int(file["timeZoneOffset"])
    date = read_capture_date(path, timezone="UTC", mtime_ns=int(file["lastModDate"]) * 1_000_000, first_seen=said)
    if not date.provenance.startswith(("exif", "quicktime")):
        return said, offset_seconds
    if date.offset_minutes is not None:
        offset_seconds = 60 * date.offset_minutes
    local = date.local.replace(tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(local - offset_seconds, UTC), offset_seconds
