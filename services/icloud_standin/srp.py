"""The server's side of the password proof (SRP-6a) that Apple's sign-in uses.

Belongs here: the arithmetic. Does not belong here: requests (`signin`).

RFC 5054's group of 2048 bits, SHA-256, no account name in the private key, and a password that went through PBKDF2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

ITERATIONS = 20_000
PROTOCOL = "s2k"
_N = int(
    "AC6BDB41324A9A9BF166DE5E1389582FAF72B6651987EE07FC3192943DB56050A37329CBB4A099ED8193E0757767A13DD52312AB4B03310D"
    "CD7F48A9DA04FD50E8083969EDB767B0CF6095179A163AB3661A05FBD5FAAAE82918A9962F0B93B855F97993EC975EEAA80D740ADBF4FF74"
    "7359D041D5C33EA71D281E446B14773BCA97B43A23FB801676BD207A436C6481F1D2B9078717461A5B9D32E688F87748544523B524B0D57D"
    "5EA77A2775D2ECFA032CFBDBF52FB3786160279004E57AE6AF874E7303CE53299CCC041C7BC308D82A5698F3A8D0C38271AE35F8E9DBFBB6"
    "94B5C803D89F7AE435DE236D525F54759B65E372FCD68EF20FA7111F9E4AFF73",
    16,
)
_G = 2
_WIDTH = 256


@dataclass(frozen=True)
class Verifier:
    """What a server knows of a password: enough to check a proof, not enough to sign in."""

    salt: bytes
    value: int


def verifier(password: str) -> Verifier:
    """Returns a new verifier of a password."""
    # A leading zero byte would be dropped by the clients' arithmetic, and the proof would fail now and then.
    salt = bytes([1 + secrets.randbelow(255)]) + secrets.token_bytes(15)
    digest = hashlib.sha256(password.encode()).digest()
    stretched = hashlib.pbkdf2_hmac("sha256", digest, salt, ITERATIONS, 32)
    private = int.from_bytes(_hash(salt, _hash(b":" + stretched)), "big")
    return Verifier(salt, pow(_G, private, _N))


class Exchange:
    """One sign-in between its first and its second request."""

    def __init__(self, account: str, known: Verifier, client_public: bytes) -> None:
        """Answers the client's public value.

        Args:
            account: The name as the client wrote it.
            known: What is known of the password.
            client_public: The client's value.
        """
        self._account, self._salt = account, known.salt
        a, b = int.from_bytes(client_public, "big"), secrets.randbits(_WIDTH * 8)
        multiplier = int.from_bytes(_hash(_bytes(_N), _padded(_G)), "big")
        self._public = (multiplier * known.value + pow(_G, b, _N)) % _N
        self._client_public = a
        scramble = int.from_bytes(_hash(_padded(a), _padded(self._public)), "big")
        self._key = _hash(_bytes(pow(a * pow(known.value, scramble, _N), b, _N)))

    def challenge(self) -> dict[str, object]:
        """Returns what the client needs for its proof, as Apple names it."""
        return {
            "iteration": ITERATIONS,
            "salt": base64.b64encode(self._salt).decode("ascii"),
            "protocol": PROTOCOL,
            "b": base64.b64encode(_bytes(self._public)).decode("ascii"),
        }

    def accepts(self, proof: bytes) -> bool:
        """Tells whether the client knows the password."""
        if self._client_public % _N == 0:
            return False
        group = bytes(x ^ y for x, y in zip(_hash(_bytes(_N)), _hash(_padded(_G)), strict=True))
        account = _hash(self._account.encode())
        expected = _hash(group, account, self._salt, _bytes(self._client_public), _bytes(self._public), self._key)
        return hmac.compare_digest(expected, proof)


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _padded(number: int) -> bytes:
    return number.to_bytes(_WIDTH, "big")
