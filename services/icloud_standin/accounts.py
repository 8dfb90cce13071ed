"""Accounts: what Apple knows of a person's sign-in, and the libraries that belong to it.

Belongs here: tokens, codes and the states that keep a person out. Does not belong here: requests (`signin`), assets
(`library`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from threading import RLock

from services.icloud_standin.library import PRIMARY_ZONE, Library
from services.icloud_standin.srp import Verifier, verifier

_FIRST_DSID = 10_000_000_001


class Account:
    """One Apple account.

    Attributes:
        name: Its address.
        dsid: Its number.
        trusted_device: Whether a device can show a code.
        phones: Numbers that a code can be sent to, as they are shown.
        locked: Whether Apple has locked it.
        terms_pending: Whether new terms must be accepted.
        security_keys: Names of keys; with any, no code is ever sent.
        advanced_protection: Whether Advanced Data Protection is on.
        web_access: Whether a device has allowed the web to see the data despite of it.
        code: The code that was sent last; None when none was asked for or it has been used.
        codes_sent: How many codes were sent.
    """

    def __init__(
        self,
        name: str,
        password: str,
        *,
        number: int,
        trusted_device: bool,
        phones: Sequence[str],
        lock: RLock,
        announce: Callable[[str], None],
    ) -> None:
        """Makes an account; `announce` is told a line for each code."""
        self.name, self.dsid = name, str(_FIRST_DSID + number)
        self.trusted_device, self.phones = trusted_device, tuple(phones)
        self.verifier: Verifier = verifier(password)
        self.locked = self.terms_pending = self.advanced_protection = self.web_access = False
        self.security_keys: tuple[str, ...] = ()
        self.code: str | None = None
        self.codes_sent = 0
        self.session_tokens: set[str] = set()
        self.trust_tokens: set[str] = set()
        self.cookies: set[str] = set()
        self.libraries: dict[str, Library] = {}
        self._lock, self._announce = lock, announce
        self.library()

    def library(self, zone: str = PRIMARY_ZONE, *, owned: bool | None = None) -> Library:
        """Returns a library, which is made when it is first asked for.

        Args:
            zone: Its zone; a shared library's is called "SharedSync-" and a UUID.
            owned: Whether it lies among the person's own zones or among those that others share. By default only
                shared libraries are others'. It counts when the library is made.
        """
        with self._lock:
            if zone not in self.libraries:
                is_own = not zone.startswith("SharedSync-") if owned is None else owned
                self.libraries[zone] = Library(zone, f"_{int(self.dsid):032x}", is_own, self._lock)
            return self.libraries[zone]

    def send_code(self, to: str) -> None:
        """Sends a new code to a device or phone."""
        with self._lock:
            self.code = f"{secrets.randbelow(1_000_000):06d}"
            self.codes_sent += 1
            self._announce(f"Code for {self.name}, sent to {to}: {self.code}")

    def new_session_token(self) -> str:
        """Returns a token that the web sign-in takes."""
        return _kept(self.session_tokens)

    def new_trust_token(self) -> str:
        """Returns a token that spares the next sign-in its code."""
        return _kept(self.trust_tokens)

    def new_cookie(self) -> str:
        """Returns the value of the cookie that stands for a signed-in browser."""
        return _kept(self.cookies)

    def expire_cookies(self) -> None:
        """Makes the browser's cookies invalid; a client signs in again with its session token."""
        with self._lock:
            self.cookies.clear()

    def expire_session(self) -> None:
        """Makes session tokens invalid, and the cookies too; a client needs the password, but no code."""
        with self._lock:
            self.cookies.clear()
            self.session_tokens.clear()

    def expire_trust(self) -> None:
        """Makes everything invalid that a client has kept; it needs the password and a code."""
        with self._lock:
            self.cookies.clear()
            self.session_tokens.clear()
            self.trust_tokens.clear()


def _kept(tokens: set[str]) -> str:
    token = secrets.token_hex(24)
    tokens.add(token)
    return token
