"""One Apple account, signed in to through pyicloud, and the requests made with that sign-in.

Belongs here: signing in without a person as far as that goes, the code in two steps that may lie in two processes, the
pace of requests, and getting over what passes. Does not belong here: who may speak (the account's lease), when to leave
Apple alone (`pipeline.icloud_account`), or what is asked of a library (`resources.icloud`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from resources.http import ca_bundle, retry_after
from resources.icloud_errors import (
    Away,
    ICloudError,
    NeedsPerson,
    SessionLost,
    SignedInForNothing,
    StillIndexing,
    Throttled,
    translated,
    trouble_of,
)

if TYPE_CHECKING:
    import requests
    from pydantic import SecretStr
    from pyicloud import PyiCloudService
    from pyicloud.common.cloudkit.client import CloudKitContainerClient

REQUESTS_A_SECOND = 8.0
_BURST = 40
_DATABASE = "/database/1/com.apple.photos.cloud/production/"
_PAUSES = (0.5, 2.0, 6.0)  # seconds between tries
_SHORT_PAUSE = 30.0  # seconds that Apple may ask for within a run; after longer ones another run goes on
_CODE = re.compile(r"\d{6}")
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


class AppleSession:
    """An account's session. Not for several threads, and for one process at a time: see the account's lease.

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
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Sets the session up; nothing is asked yet.

        Args:
            apple_id: The account.
            password: Its password; None lives on the session that is there.
            folder: Where the session's files are kept, for its owner alone.
            clock: Monotonic seconds, for the pace of requests.
            sleep: Waits.
        """
        self._apple_id = apple_id
        self._password = password
        self._folder = folder
        self._pace = Pace(REQUESTS_A_SECOND, _BURST, clock, sleep)
        self._sleep = sleep
        self._api: PyiCloudService | None = None
        self._photos_service: Any = None
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
        with self.translating():
            api.authenticate(force_refresh=fresh)
            if api.requires_2fa or api.requires_2sa:
                raise NeedsPerson("security_key" if api.two_factor_delivery_method == "security_key" else "code")
        # The hosts may be others now.
        self._photos_service = None
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
        with self.translating():
            try:
                api.confirm_security_key()
            except (PyiCloudSecurityKeyException, OSError) as error:
                raise NeedsPerson("security_key") from error
            if not api.is_trusted_session:
                raise NeedsPerson("security_key")

    def ask_for_code(self) -> CodeSent:
        """Has Apple send a code, after `sign_in` said that one is needed: to the devices, else to the first phone."""
        api = self._service()
        with self.translating():
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
        with self.translating():
            if sent.by == "sms" and sent.phone is not None:
                api._auth_data = {"mode": "sms", "trustedPhoneNumber": dict(sent.phone)}
                api._set_two_factor_delivery_state("sms")
            else:
                api.use_existing_trusted_device_code()
            accepted = api.validate_2fa_code(code)
            return bool(accepted and api.is_trusted_session)

    # --- requests ------------------------------------------------------------------------------------------------

    def ask(self, request: Callable[[], T]) -> T:
        """Makes a request that speaks our errors and gets over what passes.

        That is a lost session, a dropped line, a short pause that Apple asks for.
        """
        signed_in_again = False
        pauses = iter(_PAUSES)
        while True:
            try:
                with self.translating():
                    return request()
            except SessionLost as error:
                if signed_in_again:
                    # Signed in a moment ago: then it is Apple's trouble, and no reason to sign in over and over.
                    raise SignedInForNothing from error
                signed_in_again = True
                self.sign_in(fresh=True)
            except (Throttled, Away) as error:
                pause = _pause_of(error, next(pauses, None))
                if pause is None:
                    raise
                self._sleep(pause)

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

    def photos(self) -> Any:
        """Returns pyicloud's photos service; the first use asks for web access and whether indexing has ended."""
        if self._photos_service is None:
            self._photos_service = self._service().photos
        return self._photos_service

    def container(self, scope: str) -> CloudKitContainerClient:
        """Returns what speaks to a database of the account's photos, `private` or `shared`."""
        from pyicloud.common.cloudkit.client import CloudKitContainerClient

        if scope not in self._containers:
            photos = self.photos()
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
    def translating(self) -> Iterator[None]:
        """Turns whatever pyicloud raises in the block into an `ICloudError`."""
        self._status = self._retry_after = None
        try:
            yield
        except ICloudError:
            raise
        except Exception as error:
            raise translated(error, self._status, self._retry_after) from error


def _pause_of(error: Throttled | Away, patience: float | None) -> float | None:
    """Returns after how many seconds another try is worth making in this run; None for not at all."""
    if patience is None or isinstance(error, StillIndexing):
        return None
    if isinstance(error, Throttled):
        short = error.retry_after is not None and error.retry_after <= _SHORT_PAUSE
        return error.retry_after if short else None
    return patience


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
