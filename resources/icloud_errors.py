"""What Apple can answer in place of an answer, told apart by what follows from it, in words a person can act on.

Belongs here: our errors, and pyicloud's errors as one of ours. Does not belong here: recording them
(`pipeline.icloud_account`), or what a stage makes of them.
"""

from __future__ import annotations

import re
from typing import Literal

Need = Literal["code", "password", "unlock", "terms", "web_access", "security_key"]

NEEDS: dict[Need, str] = {
    "code": "Apple asks for a code. Run: mediapipe-assets icloud login, and type the six digits that Apple sends.",
    "password": (
        "Apple does not accept the Apple ID with this password. Set MEDIAPIPE_ICLOUD__APPLE_ID and "
        "MEDIAPIPE_ICLOUD__PASSWORD (or …__PASSWORD_FILE) to the ones that icloud.com takes; an app-specific password "
        "does not work for Photos. Then run: mediapipe-assets icloud login"
    ),
    "unlock": (
        "Apple has locked this Apple ID for safety. Unlock it at iforgot.apple.com, "
        "then run: mediapipe-assets icloud login"
    ),
    "terms": (
        "Apple wants its new terms accepted. Sign in at icloud.com once and accept them, "
        "then run: mediapipe-assets icloud login"
    ),
    "web_access": (
        "Advanced Data Protection is on, so a device has to allow web access. On the iPhone: Settings, your name, "
        "iCloud, “Access iCloud Data on the Web” on, and approve the request that has just been sent. "
        "Then run: mediapipe-assets icloud login"
    ),
    "security_key": (
        "This Apple ID is protected by security keys, which must be touched on this machine: plug the key in here and "
        "run: mediapipe-assets icloud login"
    ),
}


_SETTLE_FIRST = (
    "Apple wants something settled before it lets anybody in: new terms, or two-factor authentication, which this "
    "needs. Sign in at icloud.com once and follow what it asks, then run: mediapipe-assets icloud login"
)

# Of these, nothing was asked: pyicloud has no password to send.
NONE_SET = (
    "No password is set for this Apple ID. Set MEDIAPIPE_ICLOUD__PASSWORD_FILE or MEDIAPIPE_ICLOUD__PASSWORD (for a "
    "source of another name MEDIAPIPE_SOURCES__<NAME>__PASSWORD_FILE), then run: mediapipe-assets icloud login"
)


class ICloudError(Exception):
    """Apple did not do what was asked."""


class NeedsPerson(ICloudError):
    """Nothing goes on until a person has done something.

    Attributes:
        need: What.
    """

    def __init__(self, need: Need, words: str | None = None) -> None:
        """Takes what is needed, and words in place of the usual ones."""
        self.need: Need = need
        super().__init__(words or NEEDS[need])


class Throttled(ICloudError):
    """Apple wants to be left alone for a while.

    Attributes:
        retry_after: Seconds, None where Apple does not say.
    """

    def __init__(self, retry_after: float | None = None) -> None:
        """Takes the seconds that Apple named."""
        self.retry_after = retry_after
        super().__init__("Apple asks for fewer requests, so it is left alone for a while. Nothing is lost.")


class Away(ICloudError):
    """No answer came, or none that says anything: the next try may be answered."""


class SignedInForNothing(Away):
    """Apple takes the sign-in and refuses what comes after it: signing in once more mends nothing."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__("Apple takes the sign-in and refuses the requests. It is tried again later.")


class SessionLost(ICloudError):
    """Apple no longer accepts the session; signing in again mends that."""


class TokenTooOld(ICloudError):
    """Apple no longer knows where we stopped reading; reading from the beginning mends that."""


class StillIndexing(Away):
    """Apple is still indexing the library."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__("Apple is still indexing this library. It is tried again at the next sync.")


class QuotaFull(ICloudError):
    """iCloud has no room left."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__("iCloud has no room left. Make room there or buy more; what waits is uploaded then.")


class Withdrawn(ICloudError):
    """Apple no longer has what the client asks for: the program must be updated."""


class Rejected(ICloudError):
    """Apple refuses this one request, and would refuse it again.

    Attributes:
        code: Apple's own code.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        """Takes what Apple said, and its code."""
        self.code = code
        super().__init__(message)


_LOST = (401, 403, 421, 450)
_LATER = (429, 503)
_STUMBLED = (500, 502, 504)
_NO_ROOM = 507
_ON_APPLES_SIDE = 500
_LONGEST_WORDS = 200
_THROTTLING = {"THROTTLED", "TRY_AGAIN_LATER", "ZONE_BUSY"}
_STUMBLING = {"INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "NETWORK_ERROR", "UNKNOWN_ERROR"}
_LOST_WORDS = {"AUTHENTICATION_FAILED", "AUTHENTICATION_REQUIRED"}
_UNSETTLED = 412


def trouble_of(status: int, retry_after: float | None) -> Throttled | Away | None:
    """Returns what the mere status of an answer says about Apple, whatever was asked; None when it says nothing.

    Args:
        status: The HTTP status.
        retry_after: The seconds that the answer named.
    """
    if status in _LATER:
        return Throttled(retry_after)
    if status in _STUMBLED:
        return _stumbled(status)
    return None


def _stumbled(said: object) -> Away:
    return Away(f"Apple gave no usable answer ({said}). It is tried again by itself.")


def translated(error: BaseException, status: int | None = None, retry_after: float | None = None) -> ICloudError:
    """Returns what an error of pyicloud's means.

    Args:
        error: As raised.
        status: The HTTP status of the last answer, None when none came.
        retry_after: The seconds that it named; pyicloud drops that header.
    """
    from pyicloud import exceptions as theirs
    from pyicloud.common.cloudkit.client import CloudKitAuthError, CloudKitRateLimited

    if isinstance(error, ICloudError):
        return error
    if isinstance(error, theirs.PyiCloudServiceUnavailable) and error.__cause__ is not None:
        return translated(error.__cause__, status, retry_after)  # the first use of Photos wraps whatever went wrong
    if isinstance(error, theirs.PyiCloudAccountLockedException):
        return NeedsPerson("unlock")
    if isinstance(error, theirs.PyiCloudAcceptTermsException):
        return NeedsPerson("terms")
    if isinstance(error, theirs.PyiCloud2FARequiredException | theirs.PyiCloud2SARequiredException):
        return NeedsPerson("code")
    if isinstance(error, theirs.PyiCloudPCSTimeoutException):
        return NeedsPerson("web_access")
    if isinstance(error, CloudKitRateLimited):
        return Throttled(error.retry_after)
    if isinstance(error, CloudKitAuthError | theirs.PyiCloudAuthRequiredException):
        return SessionLost("Apple no longer accepts the session.")
    if isinstance(error, theirs.PyiCloudConnectionException):
        return Away("iCloud cannot be reached. Is this machine online? It is tried again by itself.")
    if isinstance(error, theirs.PyiCloudEndpointGoneException):
        return Withdrawn(f"Apple has withdrawn {error.endpoint}; update mediapipe-assets. Nothing is lost.")
    if isinstance(error, theirs.PyiCloudServiceNotActivatedException) and "indexing" in str(error):
        return StillIndexing()
    if isinstance(error, theirs.PyiCloudFailedLoginException):
        return _failed_login(error, status, retry_after)
    return _by_code(error, status, retry_after)


def registration_refused(status: int, retryable: bool | None, message: str | None) -> ICloudError:
    """Returns what it means that Apple took the bytes of a file and did not make a photo of them.

    Args:
        status: As the answer's body says; the answer itself was a 200.
        retryable: Whether Apple says that it may be handed in again.
        message: Apple's words.
    """
    words = (message or "no reason given").strip()[:_LONGEST_WORDS]
    if status == _NO_ROOM or "quota" in words.casefold():
        return QuotaFull()
    if retryable or status in _LATER or status >= _ON_APPLES_SIDE:
        return Away(f"Apple asks to hand it in again later ({status}). That is done by itself.")
    return Rejected(f"Apple does not take this file ({status}: {words})", str(status))


def _failed_login(error: BaseException, status: int | None, retry_after: float | None) -> ICloudError:
    """Tells a wrong password from an Apple that is busy: pyicloud says the same words for both."""
    code = getattr(error.__cause__, "code", None)
    code = code if isinstance(code, int) else status
    if code in _LATER:
        return Throttled(retry_after)
    if str(error) == "No password set":
        return NeedsPerson("password", NONE_SET)
    if code in (401, None):
        return NeedsPerson("password")
    if code == 403:
        return NeedsPerson("unlock")
    if code == _UNSETTLED:
        return NeedsPerson("terms", _SETTLE_FIRST)
    return Away(
        f"Apple could not sign us in just now ({code}). It is tried again by itself; your password is not to blame."
    )


def _by_code(error: BaseException, status: int | None, retry_after: float | None) -> ICloudError:
    code = getattr(error, "code", None)
    payload = getattr(error, "payload", None)
    word = code if isinstance(code, str) else _server_code(payload) or _server_code(str(error))
    number = code if isinstance(code, int) else status
    if word in _THROTTLING or number in _LATER:
        return Throttled(retry_after)
    if word in _LOST_WORDS or number in _LOST:
        return SessionLost("Apple no longer accepts the session.")
    if word == "QUOTA_EXCEEDED" or number == _NO_ROOM:
        return QuotaFull()
    if word in _STUMBLING or number in _STUMBLED:
        return _stumbled(word or number)
    if word is not None:
        return Rejected(f"Apple refused a request ({word}).", word)
    if number is not None and 400 <= number < 500:
        return Rejected(f"Apple refused a request ({number}).", str(number))
    return _stumbled(number or type(error).__name__)


def _server_code(payload: object) -> str | None:
    """Returns CloudKit's own code from an answer or a message."""
    found = re.search(r"serverErrorCode['\"]?\s*:\s*['\"](\w+)", str(payload)) or re.search(
        r"\b([A-Z]{3,}_[A-Z_]+|CONFLICT|THROTTLED|EXISTS)\b", str(payload)
    )
    return found[1] if found else None
