"""The hosts that a person signs in at: passwords and codes (`idmsa`), the web session (`setup`).

Belongs here: those requests and answers. Does not belong here: what an account is (`accounts`), the password's
arithmetic (`srp`), the web session's answers (`setup`).
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import RLock

from services.icloud_standin.accounts import Account
from services.icloud_standin.faults import Faults
from services.icloud_standin.messages import Request, Response
from services.icloud_standin.srp import Exchange, verifier

HOST = "idmsa.apple.com"
_WRONG_PASSWORD = ("-20101", "Enter the email or phone number and password for your Apple Account.")
_LOCKED = ("-20209", "This Apple Account has been locked for security reasons.")
_WRONG_CODE = ("-21669", "Incorrect verification code.")
# Nobody listens there, as on a machine that can't reach Apple's push service, which this proxy can't stand in for.
_PUSH_SERVICE = "127.0.0.1"


@dataclass
class _SignIn:
    """A sign-in between its password and its end."""

    account: Account | None = None
    has_code: bool = False


class SignIn:
    """Answers for the sign-in host; its lock is held while it does."""

    def __init__(self, accounts: dict[str, Account], lock: RLock, faults: Faults) -> None:
        self._accounts, self._lock, self._faults = accounts, lock, faults
        self._exchanges: dict[str, tuple[str, Exchange]] = {}
        self._signins: dict[str, _SignIn] = {}
        self._stranger = verifier(secrets.token_hex())
        self._routes: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/authorize/signin"): lambda request: Response.of(b"<html></html>", kind="text/html"),
            ("POST", "/signin/init"): self._init,
            ("POST", "/signin/complete"): self._complete,
            ("GET", ""): self._options,
            ("PUT", "/verify/trusteddevice/securitycode"): self._push,
            ("POST", "/verify/trusteddevice/securitycode"): self._check,
            ("PUT", "/verify/phone"): self._text,
            ("POST", "/verify/phone/securitycode"): self._check,
            ("GET", "/2sv/trust"): self._trust,
        }

    def answer(self, request: Request) -> Response:
        """Answers a request, and names the sign-in that it belongs to in the headers."""
        number = request.headers.get("X-Apple-ID-Session-Id") or secrets.token_hex(16)
        # The later steps find their sign-in by the number that the first one gave out.
        request.headers.add_header("X-Apple-ID-Session-Id", number)
        route = self._routes.get((request.method, request.path.removeprefix("/appleauth/auth")))
        if route is None or not request.path.startswith("/appleauth/auth"):
            return Response.json({"serviceErrors": [{"code": "-1", "message": "No such page"}]}, 404)
        with self._lock:
            self._signins.setdefault(number, _SignIn())
            response = route(request)
        response.headers += [
            ("X-Apple-ID-Session-Id", number),
            ("X-Apple-Auth-Attributes", secrets.token_urlsafe(24)),
            ("scnt", secrets.token_urlsafe(24)),
        ]
        return response

    def _init(self, request: Request) -> Response:
        asked = request.json()
        account = self._accounts.get(asked["accountName"])
        # A name that nobody has is told as late as a wrong password.
        known = account.verifier if account else self._stranger
        exchange, number = Exchange(asked["accountName"], known, base64.b64decode(asked["a"])), secrets.token_hex(16)
        self._exchanges[number] = asked["accountName"], exchange
        return Response.json(exchange.challenge() | {"c": number})

    def _complete(self, request: Request) -> Response:
        asked = request.json()
        name, exchange = self._exchanges.pop(asked["c"], ("", None))
        account = self._accounts.get(name)
        if exchange is None or account is None or not exchange.accepts(base64.b64decode(asked["m1"])):
            return _refused(401, *_WRONG_PASSWORD)
        if account.locked:
            return _refused(403, *_LOCKED)
        self._signins[request.headers["X-Apple-ID-Session-Id"]] = _SignIn(account)
        is_trusted = not account.trust_tokens.isdisjoint(asked.get("trustTokens", ()))
        return Response.json({"authType": "hsa2"}, 200 if is_trusted else 409, _session_headers(account))

    def _options(self, request: Request) -> Response:
        account = self._known(request)
        if account is None:
            return _refused(401, *_WRONG_PASSWORD)
        factors = _factors(account)
        if (request.headers.get("Accept") or "").startswith("application/json"):
            return Response.json(factors)
        boot = {"direct": _boot_arguments(account, factors)}
        page = f'<html><script type="application/json" class="boot_args">{json.dumps(boot)}</script></html>'
        return Response.of(page.encode(), kind="text/html; charset=UTF-8")

    def _push(self, request: Request) -> Response:
        account = self._known(request)
        if account is None or not account.trusted_device:
            return _refused(412, "-28248", "No device can show a code.")
        account.send_code("its trusted device")
        return Response.json({}, 202)

    def _text(self, request: Request) -> Response:
        account, asked = self._known(request), request.json()
        phones = {phone["id"]: phone for phone in _phones(account)} if account else {}
        phone = phones.get(asked.get("phoneNumber", {}).get("id"))
        if account is None or phone is None:
            return _refused(412, "-28248", "No such phone.")
        account.send_code(str(phone["numberWithDialCode"]))
        return Response.json(_verification(account) | {"mode": "sms"})

    def _check(self, request: Request) -> Response:
        account, asked = self._known(request), request.json()
        if account is None or account.code is None or asked["securityCode"]["code"] != account.code:
            code, message = _WRONG_CODE
            error = {"code": code, "title": "Incorrect Verification Code", "message": message}
            headers = [("X-Apple-I-Ercd", code)]
            return Response.json({"service_errors": [error], "hasError": True}, 400, headers)
        account.code = None
        self._signins[request.headers["X-Apple-ID-Session-Id"]].has_code = True
        if self._faults.take("odd_accept", request.target):
            accepted = {"authenticationType": "hsa2", "securityCode": {"valid": True}}
            return Response.json(accepted, 409, _session_headers(account))
        if "phone" in request.path:
            return Response.json(_verification(account), 200, _session_headers(account))
        return Response(204, list(_session_headers(account)))

    def _trust(self, request: Request) -> Response:
        signin = self._signins[request.headers["X-Apple-ID-Session-Id"]]
        if signin.account is None or not signin.has_code:
            return _refused(401, *_WRONG_PASSWORD)
        token = signin.account.new_trust_token()
        return Response(204, [("X-Apple-TwoSV-Trust-Token", token), *_session_headers(signin.account)])

    def _known(self, request: Request) -> Account | None:
        return self._signins[request.headers["X-Apple-ID-Session-Id"]].account


def _refused(status: int, code: str, message: str) -> Response:
    error = {"code": code, "message": message, "suppressDismissal": False}
    return Response.json({"serviceErrors": [error]}, status)


def _session_headers(account: Account) -> Iterator[tuple[str, str]]:
    yield "X-Apple-Session-Token", account.new_session_token()
    yield "X-Apple-ID-Account-Country", "DEU"
    yield "X-Apple-TwoSV-Trust-Eligible", "true"


def _phones(account: Account) -> list[dict[str, object]]:
    return [
        {"id": number, "numberWithDialCode": phone, "lastTwoDigits": phone[-2:], "pushMode": "sms", "nonFTEU": False}
        for number, phone in enumerate(account.phones, 1)
    ]


def _verification(account: Account) -> dict[str, object]:
    phones = _phones(account)
    shown: dict[str, object] = {
        "trustedPhoneNumbers": phones,
        "securityCode": {"length": 6, "tooManyCodesSent": False, "securityCodeLocked": False},
        "authenticationType": "hsa2",
    }
    return shown | ({"trustedPhoneNumber": phones[0]} if phones else {})


def _factors(account: Account) -> dict[str, object]:
    """What the sign-in page offers after the password, as far as a client reads it."""
    factors: dict[str, object] = {
        "authType": "hsa2",
        "phoneNumberVerification": _verification(account),
        "hasTrustedDevices": account.trusted_device,
    }
    if account.security_keys:
        challenge = {"challenge": secrets.token_urlsafe(32), "keyHandles": [secrets.token_urlsafe(32)]}
        factors["fsaChallenge"] = challenge | {"rpId": "apple.com"}
        factors["keyNames"] = list(account.security_keys)
    return factors


def _boot_arguments(account: Account, factors: dict[str, object]) -> dict[str, object]:
    bridge: dict[str, object] = {"phoneNumberVerification": factors["phoneNumberVerification"]}
    if account.trusted_device:
        bridge |= {"apnsTopic": "com.apple.idmsauthwidget", "webSocketUrl": _PUSH_SERVICE}
    return {
        "authInitialRoute": "auth/bridge/step" if account.trusted_device else "auth/verify/phone/options",
        "hasTrustedDevices": account.trusted_device,
        "authUserType": "hsa2",
        "twoSV": {
            "phoneNumberVerification": factors["phoneNumberVerification"],
            "bridgeInitiateData": bridge,
            "authFactors": ["web_piggybacking", "sms", "voice"] if account.trusted_device else ["sms", "voice"],
            "sourceAppId": "1159",
        },
    }
