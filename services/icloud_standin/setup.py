"""The host that turns a sign-in into a web session and says where an account's services are (`setup.icloud.com`).

Belongs here: those requests, and who a cookie belongs to. Does not belong here: passwords and codes (`signin`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from services.icloud_standin.accounts import Account
from services.icloud_standin.messages import Request, Response

HOST = "setup.icloud.com"
COOKIE = "X-APPLE-WEBAUTH-TOKEN"
PHOTOS_HOST, UPLOAD_HOST, WITHDRAWN_HOST = (
    "p61-ckdatabasews.icloud.com",
    "p61-uploadphotosws.icloud.com",
    "p61-uploadimagews.icloud.com",
)
_TERMS_VERSION = 2026
_BEFORE_TERMS = frozenset({"getTerms", "repairDone", "logout"})
_COOKIE_SECONDS = 60 * 24 * 3600
_DENIED = "Requested the device to upload cookies."


class Setup:
    """Answers for the web session's host; its lock is held while it does."""

    def __init__(self, accounts: dict[str, Account], lock: RLock) -> None:
        self._accounts, self._lock = accounts, lock
        self._routes: dict[str, Callable[[Request, Account], Response]] = {
            "validate": lambda request, account: Response.json(_session(account, trusted=True)),
            "getTerms": lambda request, account: Response.json({"iCloudTerms": {"version": _TERMS_VERSION}}),
            "repairDone": _terms_accepted,
            "logout": _logged_out,
            "requestWebAccessState": _web_access_state,
            "enableDeviceConsentForPCS": lambda request, account: Response.json(
                {"isDeviceConsentNotificationSent": True}
            ),
            "requestPCS": _web_access,
        }

    def answer(self, request: Request) -> Response:
        """Answers a request."""
        page = request.path.removeprefix("/setup/ws/1/")
        with self._lock:
            if page == "accountLogin":
                return self._login(request)
            route = self._routes.get(page)
            if route is None:
                return Response.json({"success": False, "error": "No such page"}, 404)
            account = self._bearer(request) if page in _BEFORE_TERMS else self.owner(request)
            return not_signed_in() if account is None else route(request, account)

    def owner(self, request: Request) -> Account | None:
        """Returns whose services a request may use; None without a valid cookie, or with terms to accept."""
        account = self._bearer(request)
        return None if account is None or account.terms_pending else account

    def _bearer(self, request: Request) -> Account | None:
        cookie = request.cookie(COOKIE)
        with self._lock:
            return next((account for account in self._accounts.values() if cookie in account.cookies), None)

    def _login(self, request: Request) -> Response:
        asked = request.json()
        token = asked.get("dsWebAuthToken")
        account = next((account for account in self._accounts.values() if token in account.session_tokens), None)
        if account is None:
            return Response.json({"success": False, "error": "Invalid global session"}, 421)
        is_trusted = asked.get("trustToken") in account.trust_tokens
        response = Response.json(_session(account, is_trusted))
        if is_trusted:
            response.headers.append(_cookie(COOKIE, account.new_cookie()))
        response.headers.append(_cookie("X-APPLE-WEBAUTH-USER", f"v=1:s=1:d={account.dsid}"))
        return response


def not_signed_in() -> Response:
    """Returns the answer to a request without a valid cookie."""
    return Response.json({"success": False, "error": f"Missing {COOKIE} cookie"}, 421)


def _cookie(name: str, value: str) -> tuple[str, str]:
    attributes = f"Max-Age={_COOKIE_SECONDS}; Path=/; Domain=.icloud.com; Secure; HttpOnly"
    return "Set-Cookie", f"{name}={value}; {attributes}"


def _session(account: Account, trusted: bool) -> dict[str, object]:
    """What a client learns of the account it is signed in to; without trust it is no less."""
    hosts = {"ckdatabasews": PHOTOS_HOST, "photosupload": UPLOAD_HOST, "uploadimagews": WITHDRAWN_HOST}
    session: dict[str, object] = {
        "dsInfo": {
            "dsid": account.dsid,
            "appleId": account.name,
            "primaryEmail": account.name,
            "hsaVersion": 2,
            "hsaEnabled": True,
            # Without it icloudpd takes the account for one with the older two-step sign-in.
            "hasICloudQualifyingDevice": True,
            "languageCode": "en-us",
            "countryCode": "DEU",
            "locked": account.locked,
            "statusCode": 2,
        },
        "webservices": {key: {"url": f"https://{host}:443", "status": "active"} for key, host in hosts.items()},
        "hsaTrustedBrowser": trusted,
        "hsaChallengeRequired": not trusted,
        "apps": {"photos": {}, "find": {"canLaunchWithOneFactor": True}},
        "isExtendedLogin": True,
        "version": 2,
    }
    return session | ({"termsUpdateNeeded": True} if account.terms_pending else {})


def _terms_accepted(request: Request, account: Account) -> Response:
    if request.json().get("acceptedICloudTerms") != _TERMS_VERSION:
        return Response.json({"success": False}, 400)
    account.terms_pending = False
    return Response.json({"success": True})


def _logged_out(request: Request, account: Account) -> Response:
    account.cookies.discard(request.cookie(COOKIE) or "")
    return Response.json({"success": True})


def _web_access_state(request: Request, account: Account) -> Response:
    is_consented = account.web_access or not account.advanced_protection
    return Response.json({"isICDRSDisabled": account.advanced_protection, "isDeviceConsentedForPCS": is_consented})


def _web_access(request: Request, account: Account) -> Response:
    if account.advanced_protection and not account.web_access:
        return Response.json({"status": "failure", "message": _DENIED})
    return Response.json({"status": "success", "message": "Cookies are available."})
