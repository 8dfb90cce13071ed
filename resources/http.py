"""What all web requests of the platform share: whose certificates they trust, and what of an address may be told.

Belongs here: the certificates, addresses, how long a server asks to be left alone. Does not belong here: a session,
what is asked of whom (one module for each outside system), and the log (`resources.redaction`). Proxies need nothing
from us: requests reads HTTPS_PROXY and NO_PROXY itself.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The first two as requests reads them; SSL_CERT_FILE is what everything else on the machine goes by, and
# requests alone ignores it.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_QUERY = re.compile(r"\?[^\s\"'<>]+")


class CertificatesMissing(Exception):
    """The file of trusted certificates that the environment names is not there."""


def ca_bundle() -> str | bool:
    """Returns whose certificates are trusted: what `requests` takes as `verify`.

    Returns:
        The file or folder that REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE names, the first that is set;
        True, which means those that came with requests, when none is.

    Raises:
        CertificatesMissing: It names something that is not there.
    """
    for name in _BUNDLES:
        if path := os.environ.get(name):
            if not os.path.exists(path):
                raise CertificatesMissing(f"{name} names {path}, but there is no such file. Correct it, or unset it.")
            return path
    return True


def without_queries(words: str) -> str:
    """Cuts what follows the `?` of every address in a text: a signed address opens a photo to whoever reads it."""
    return _QUERY.sub("?…", words)


def retry_after(text: str, now: datetime) -> float | None:
    """Returns the seconds that a Retry-After header asks for, None when it says nothing that can be understood.

    Args:
        text: The header: seconds, or a date of HTTP.
        now: The time, aware.
    """
    if _NUMBER.fullmatch(text.strip()):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())
