"""One Apple account, spoken to through pyicloud.

Belongs here: signing in without a person as far as that goes, the code in two steps that may lie in two processes, and
the few requests that the rest asks for. Does not belong here: who may speak (the account's lease), when to leave Apple
alone (`pipeline.icloud_account`), what an answer means (`resources.icloud_records`), or downloads. Requests and
pitfalls: shared protocol notes on pyicloud 2026.10.1.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from media.apple_checksum import is_comparable
from resources.http import ca_bundle, retry_after
from resources.icloud_errors import (
    Away,
    ICloudError,
    NeedsPerson,
    Rejected,
    SessionLost,
    StillIndexing,
    Throttled,
    TokenTooOld,
    Withdrawn,
    registration_refused,
    translated,
    trouble_of,
)
from resources.icloud_records import DESIRED_KEYS

if TYPE_CHECKING:
    import requests
    from pydantic import SecretStr
    from pyicloud import PyiCloudService
    from pyicloud.common.cloudkit.client import CloudKitContainerClient

PERSONAL = {"zoneName": "PrimarySync"}
COUNT_OF_ALL = "CPLAssetByAssetDateWithoutHiddenOrDeleted"
LOOKUP_LIMIT = 100
REQUESTS_A_SECOND = 8.0
_BURST = 40
_DATABASE = "/database/1/com.apple.photos.cloud/production/"
_NOT_THE_TOKEN = ("ZONE_NOT_FOUND", "NOT_FOUND", "404")
_PAUSES = (0.5, 2.0, 6.0)  # seconds between tries
_SHORT_PAUSE = 30.0  # seconds that Apple may ask for within a run; after longer ones another run goes on
_CODE = re.compile(r"\d{6}")
P = ParamSpec("P")
T = TypeVar("T")

# Its debug lines quote whole addresses, which hold signatures and account numbers.
logging.getLogger("pyicloud").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class CodeSent:
    """Where Apple sent a code.

    Attributes:
        by: To the trusted devices, or as a text message.
        phone: The phone, as Apple lists it; None for devices.
    """

    by: Literal["device", "sms"]
    phone: Mapping[str, Any] | None = None


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


class Pace:
    """Keeps requests below a rate; the first few may come at once."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """Takes the rate, how many may come at once, a monotonic clock and a way to wait."""
        self._step = 1 / per_second
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._next = clock() - burst * self._step

    def wait(self) -> None:
        """Waits for its turn."""
        now = self._clock()
        self._next = max(self._next, now - self._burst * self._step) + self._step
        if self._next > now:
            self._sleep(self._next - now)


def _asking(method: Callable[P, T]) -> Callable[P, T]:
    """Makes a method speak our errors and get over what passes: a lost session, a dropped line, a short pause."""

    @functools.wraps(method)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        client: ICloud = args[0]  # type: ignore[assignment]
        signed_in_again = False
        pauses = iter(_PAUSES)
        while True:
            try:
                with client._translating():
                    return method(*args, **kwargs)
            except SessionLost as error:
                if signed_in_again:
                    # Signed in a moment ago: then it is Apple's trouble, and no reason to sign in over and over.
                    raise Away("Apple takes the sign-in and refuses the requests. It is tried again later.") from error
                signed_in_again = True
                client.sign_in(fresh=True)
            except (Throttled, Away) as error:
                pause = _pause_of(error, next(pauses, None))
                if pause is None:
                    raise
                client._sleep(pause)

    return ask


def _pause_of(error: Throttled | Away, patience: float | None) -> float | None:
    """Returns after how many seconds another try is worth making in this run; None for not at all."""
    if patience is None or isinstance(error, StillIndexing):
        return None
    if isinstance(error, Throttled):
        short = error.retry_after is not None and error.retry_after <= _SHORT_PAUSE
        return error.retry_after if short else None
    return patience


class ICloud:
    """A client for one account. Not for several threads, and for one process at a time: see the account's lease.

    Attributes:
        requests: Requests made.
        received: Bytes that came back.
    """

    def __init__(
        self,
        apple_id: str,
        password: SecretStr | None,
        folder: Path,
        *,
        page_size: int = 200,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Sets the client up; nothing is asked yet.

        Args:
            apple_id: The account.
            password: Its password; None lives on the session that is there.
            folder: Where the session's files are kept, for its owner alone.
            page_size: Records in one answer of the changes feed.
            clock: Monotonic seconds, for the pace of requests.
            sleep: Waits.
        """
        self._apple_id = apple_id
        self._password = password
        self._folder = folder
        self._page_size = page_size
        self._pace = Pace(REQUESTS_A_SECOND, _BURST, clock, sleep)
        self._sleep = sleep
        self._api: PyiCloudService | None = None
        self._library: Any = None
        self._containers: dict[str, CloudKitContainerClient] = {}
        self._status: int | None = None
        self._retry_after: float | None = None
        self.requests = 0
        self.received = 0

    # --- signing in ----------------------------------------------------------------------------------------------

    def sign_in(self, *, fresh: bool = False) -> None:
        """Goes as far as one can without a person: cookies, then the session's token, then password and trust.

        Args:
            fresh: Do not believe the cookies: Apple has just refused them.

        Raises:
            NeedsPerson: A code, the right password, or something else is needed. No code was sent.
            Throttled, Away: Apple has no time.
        """
        api = self._service()
        with self._translating():
            api.authenticate(force_refresh=fresh)
            if api.requires_2fa or api.requires_2sa:
                raise NeedsPerson("security_key" if api.two_factor_delivery_method == "security_key" else "code")
        # The hosts may be others now.
        self._library = None
        self._containers.clear()

    def forget_trust(self) -> None:
        """Gives up what Apple's trust rests on here, so that the next sign-in asks for a code and earns it anew."""
        session = self._service().session
        session.cookies.clear()
        for kept in ("trust_token", "session_token"):
            session.data.pop(kept, None)

    def touch_security_key(self) -> None:
        """Signs in with the key that is plugged in here, after `sign_in` said so; waits until it is touched.

        Raises:
            NeedsPerson: None is plugged in, or it was not touched in time.
        """
        from pyicloud.exceptions import PyiCloudSecurityKeyException

        api = self._service()
        with self._translating():
            try:
                api.confirm_security_key()
            except (PyiCloudSecurityKeyException, OSError) as error:
                raise NeedsPerson("security_key") from error
            if not api.is_trusted_session:
                raise NeedsPerson("security_key")

    def ask_for_code(self) -> CodeSent:
        """Has Apple send a code, after `sign_in` said that one is needed: to the devices, else to the first phone."""
        api = self._service()
        with self._translating():
            if api._auth_data == {}:
                api._auth_data = api._get_mfa_auth_options()
            phone = api._trusted_phone_number()
            if api._supports_trusted_device_bridge() or phone is None:
                headers = api._get_auth_headers({"Accept": "application/json"})
                api.session.put(f"{api._auth_endpoint}/verify/trusteddevice/securitycode", headers=headers)
                return CodeSent("device")
            api._request_sms_2fa_code()
            return CodeSent("sms", {**phone.as_phone_number_payload(), "pushMode": phone.push_mode})

    def enter_code(self, code: str, sent: CodeSent) -> bool:
        """Hands a code in; this may be another process than the one that asked for it, and needs no password.

        Args:
            code: Six digits.
            sent: Where Apple sent it.

        Returns:
            Whether Apple took it; the session is trusted then.
        """
        if not _CODE.fullmatch(code):
            return False
        api = self._service()
        with self._translating():
            if sent.by == "sms" and sent.phone is not None:
                api._auth_data = {"mode": "sms", "trustedPhoneNumber": dict(sent.phone)}
                api._set_two_factor_delivery_state("sms")
            else:
                api.use_existing_trusted_device_code()
            accepted = api.validate_2fa_code(code)
            return bool(accepted and api.is_trusted_session)

    # --- the library ---------------------------------------------------------------------------------------------

    @_asking
    def zones(self) -> list[dict[str, Any]]:
        """Returns every library that the account can read, as zones; `scope` says in which database it lies."""
        found = []
        for scope in ("private", "shared"):
            listed = self._container(scope).raw_post("/zones/list", {})
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
            with self._translating():
                answer = self._container(_scope(zone)).raw_post("/changes/zone", asked)
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
        return int(self._photos().private_client.batch_count(container_id=COUNT_OF_ALL, zone_id=_zone_id(zone)))

    @_asking
    def lookup(self, zone: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns records by name, with fresh addresses to download from; what Apple does not find is left out."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(names), LOOKUP_LIMIT):
            wanted = [{"recordName": name} for name in names[start : start + LOOKUP_LIMIT]]
            answer = self._container(_scope(zone)).raw_post(
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

        uploader = self._photos().private_client._uploader
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
            fileName=file.name,
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
        answer = self._container(_scope(zone)).raw_post(
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
        answer = self._container(_scope(zone)).raw_post(
            "/records/query", {"query": query, "zoneID": _zone_id(zone), "resultsLimit": 2}
        )
        return any(one.get("recordName") == asset for one in answer.get("records", []))

    # --- pyicloud ------------------------------------------------------------------------------------------------

    def _service(self) -> PyiCloudService:
        if self._api is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(self._folder, 0o700)  # which a folder of an earlier time, or a generous umask, may not be
            secret = self._password.get_secret_value() if self._password is not None else ""
            api = _quiet_service()(
                self._apple_id, secret or None, cookie_directory=str(self._folder), authenticate=False
            )
            api.session.verify = ca_bundle()
            api.session.auth = self._paced
            api.session.hooks["response"].append(self._note)
            self._api = api
        return self._api

    def _photos(self) -> Any:
        """Returns pyicloud's photos service; the first use asks for web access and whether indexing has ended."""
        if self._library is None:
            self._library = self._service().photos
        return self._library

    def _container(self, scope: str) -> CloudKitContainerClient:
        from pyicloud.common.cloudkit.client import CloudKitContainerClient

        if scope not in self._containers:
            photos = self._photos()
            address = f"{photos.service_root}{_DATABASE}{scope}"
            self._containers[scope] = CloudKitContainerClient(address, photos.session, photos.params, redact_urls=True)
        return self._containers[scope]

    def _paced(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Is asked by `requests` before each request: a place to wait in, which also keeps it from ~/.netrc."""
        self._pace.wait()
        return request

    def _note(self, response: requests.Response, **_: Any) -> None:
        """Counts an answer. One that asks for patience ends whatever pyicloud is about, which would go on asking."""
        self.requests += 1
        self._status = response.status_code
        self._retry_after = retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        self.received += int(response.headers.get("Content-Length") or 0)
        if (trouble := trouble_of(response.status_code, self._retry_after)) is not None:
            raise trouble

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        self._status = self._retry_after = None
        try:
            yield
        except ICloudError:
            raise
        except Exception as error:
            raise translated(error, self._status, self._retry_after) from error


@functools.cache
def _quiet_service() -> type[PyiCloudService]:
    """Returns pyicloud's service, except that it sends no code and waits for no device by itself."""
    from pyicloud import PyiCloudService

    class QuietService(PyiCloudService):  # type: ignore[misc]
        """Signs in without sending codes: a person is asked once, by us."""

        def request_2fa_code(self) -> bool:
            """Sends nothing."""
            return False

        def _request_pcs_for_service(self, app_name: str) -> None:
            state = self._check_pcs_consent()
            if state.get("isICDRSDisabled") and not state.get("isDeviceConsentedForPCS", True):
                self.session.post(f"{self._setup_endpoint}/enableDeviceConsentForPCS", params=self.params)
                raise NeedsPerson("web_access")
            super()._request_pcs_for_service(app_name)

    return QuietService


def _zone_id(zone: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in zone.items() if key != "scope"}


def _plain(zone: Mapping[str, Any]) -> dict[str, Any]:
    return {key: zone[key] for key in ("zoneName", "ownerRecordName", "zoneType") if zone.get(key)}


def _scope(zone: Mapping[str, Any]) -> str:
    return str(zone.get("scope", "private"))


def _zone_error(said: Mapping[str, Any]) -> ICloudError:
    error = Exception(f"serverErrorCode: '{said['serverErrorCode']}'")
    return translated(error, None, said.get("retryAfter"))


def _equals(name: str, value: object, kind: str) -> dict[str, Any]:
    return {"fieldName": name, "comparator": "EQUALS", "fieldValue": {"value": value, "type": kind}}
