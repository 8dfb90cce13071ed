"""Syncthing's REST interface: the few questions that delivery to a phone needs.

Belongs here: one request each, typed, and what refuses or is away in words. Does not belong here: what an answer means
for a delivery (`resources.pixel`), or the state that is kept (`catalog.deliveries`).

Source of the protocol: Syncthing's REST documentation (docs.syncthing.net/dev/rest.html), what versions 1.19 and 1.29
really answered, and the source of 2.1, which kept all that is asked here. Nothing here changes a file of anybody's:
`db/override` is never called.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import SecretStr

from resources.http import ca_bundle

SECONDS = 20.0
SCAN_SECONDS = 300.0  # it answers when the scan is done
SHORT = 7  # characters of a device id by which it signs its changes
NEVER = 1971  # Syncthing says 1970 of a device that it never met
_NO_FILE = "No such object"  # a folder that is paused or unknown is 404 too, in other words
_MOMENT = re.compile(r"(?P<seconds>[^.]+?)(\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)")
_ONE_IDLE = httpx.Limits(max_keepalive_connections=1)  # so that after a restart one is dead, and the next is new
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SyncthingError(Exception):
    """Syncthing did not do what it was asked; the message says why and what to do."""


class SyncthingAway(SyncthingError):
    """It does not answer, or is just starting. Later it will."""


class SyncthingRefused(SyncthingError):
    """It answers, and says no: a wrong key or address."""


class FolderStopped(SyncthingError):
    """It has no such folder, or the folder is paused."""


@dataclass(frozen=True, slots=True)
class FileState:
    """One version of a file, as Syncthing knows it.

    Attributes:
        deleted: Whether this version is that it is gone.
        invalid: Whether it is left out of the exchange: an ignore pattern fits, or it is yet to be looked at again.
        modified_by: The short id of the device that made it.
        size: Bytes.
        version: The version vector; equal vectors are equal contents, as each block is hashed. Empty where there is no
            such file.
        modified_ns: The time of its last change, in nanoseconds.
    """

    deleted: bool
    invalid: bool
    modified_by: str
    size: int
    version: tuple[str, ...]
    modified_ns: int


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What Syncthing knows of one file.

    Attributes:
        everywhere: The newest version anywhere (`global`).
        here: The version on this side (`local`).
        holders: Ids of the devices that hold the newest version whole and are connected now.
    """

    everywhere: FileState
    here: FileState
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with its number in our subscription."""

    id: int
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """How far a device is with a folder. 100 % is no proof of anything: it is said before the first index came, too.

    Attributes:
        need_items: Files that it lacks, as far as is known.
        need_bytes: Their bytes.
        remote_state: `valid`, `paused`, `notSharing` or `unknown`; None before Syncthing 1.20.
        need_deletes: Files that left the folder and that it still has.
    """

    need_items: int
    need_bytes: int
    remote_state: str | None
    need_deletes: int = 0


class Syncthing:
    """One Syncthing daemon. Any thread may use it, and it may be sent to a worker."""

    def __init__(self, url: str, api_key: SecretStr, *, transport: httpx.BaseTransport | None = None) -> None:
        """Opens no connection yet.

        Args:
            url: Address of its GUI, such as http://127.0.0.1:8384.
            api_key: Its API key.
            transport: In place of the network.
        """
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._transport = transport
        self._client: httpx.Client | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Syncthing, (self._url, self._api_key)

    def close(self) -> None:
        """Closes its connections; the next request opens others."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # ------------------------------------------------------------------ the daemon

    def started_at(self) -> str:
        """Returns when the daemon started: its events are counted anew from then."""
        return str(self._get("system/status")["startTime"])

    def my_id(self) -> str:
        """Returns the id of this side."""
        return str(self._get("system/status")["myID"])

    def version(self) -> str:
        """Returns its version, such as v1.29.5."""
        return str(self._get("system/version")["version"])

    def is_connected(self, device: str) -> bool:
        """Returns whether a device is connected now."""
        found = self._get("system/connections")["connections"].get(device, {})
        return bool(found.get("connected"))

    def last_seen(self, device: str) -> datetime | None:
        """Returns when a device was last connected, None when it never was."""
        seen = self._get("stats/device").get(device, {}).get("lastSeen")
        moment = None if seen is None else datetime.fromisoformat(seen)
        return None if moment is None or moment.year < NEVER else moment.astimezone(UTC)

    def events(self, since: int, types: Sequence[str]) -> list[Event]:
        """Returns what happened after an event of the same subscription, without waiting; at most 1,000."""
        found = self._get("events", since=since, events=",".join(types), timeout=0)
        return [Event(one["id"], one["type"], one.get("data") or {}) for one in found]

    # ------------------------------------------------------------------ what is set up

    def folder(self, folder: str) -> dict[str, Any] | None:
        """Returns the settings of a folder, None when there is none of that id."""
        found: dict[str, Any] | None = self._get_or_none(f"config/folders/{folder}")
        return found

    def device(self, device: str) -> dict[str, Any] | None:
        """Returns the settings of a device, None when it is not known."""
        found: dict[str, Any] | None = self._get_or_none(f"config/devices/{device}")
        return found

    def ignores(self, folder: str) -> list[str]:
        """Returns the lines of a folder's `.stignore`."""
        return list(self._get("db/ignores", folder=folder).get("ignore") or ())

    def put_ignores(self, folder: str, lines: Sequence[str]) -> None:
        """Writes a folder's `.stignore`."""
        self._ask("POST", "db/ignores", params={"folder": folder}, json={"ignore": list(lines)})

    def put_folder(self, settings: Mapping[str, Any]) -> None:
        """Sets a folder up, or changes it."""
        self._ask("PUT", f"config/folders/{settings['id']}", json=dict(settings))

    def put_device(self, settings: Mapping[str, Any]) -> None:
        """Makes a device known, or changes it."""
        self._ask("PUT", f"config/devices/{settings['deviceID']}", json=dict(settings))

    def known_id(self, device: str) -> str | None:
        """Returns a device id as Syncthing writes it, None when its check digits say that it was mistyped.

        Syncthing takes some of those all the same, as a device without an id.
        """
        return self._get("svc/deviceid", id=device).get("id") or None

    def trouble(self, folder: str) -> str | None:
        """Returns what keeps a folder as a whole from working, such as a path that is not there."""
        found = self._get("db/status", folder=folder)
        return str(found.get("error") or "it has stopped") if found.get("state") == "error" else None

    # ------------------------------------------------------------------ files

    def scan(self, folder: str, below: Sequence[str] = ()) -> None:
        """Has a folder, or paths below it, looked at now, and returns when that is done.

        Args:
            folder: Its id.
            below: Files or folders, relative to it; none means all of it. They stand in the address, whose length is
                limited.
        """
        self._ask("POST", "db/scan", params={"folder": folder, "sub": list(below)}, timeout=SCAN_SECONDS)

    def file(self, folder: str, path: str) -> FileInfo | None:
        """Returns what is known of a file, None when nothing is.

        Raises:
            FolderStopped: There is no such folder, or it is paused.
        """
        answer = self._ask("GET", "db/file", params={"folder": folder, "file": path}, missing_ok=True)
        if answer.status_code == httpx.codes.NOT_FOUND:
            if _NO_FILE in answer.text:
                return None
            raise FolderStopped(f"Syncthing says of the folder {folder}: {answer.text.strip()[:200]}.")
        found = self._read(answer)
        holders = found.get("availability") or ()
        whole = tuple(one["id"] for one in holders if not one.get("fromTemporary"))
        return FileInfo(_state(found.get("global")), _state(found.get("local")), whole)

    def completion(self, folder: str, device: str) -> Completion:
        """Returns how far a device is with a folder."""
        found = self._get("db/completion", folder=folder, device=device)
        state = found.get("remoteState")
        return Completion(int(found["needItems"]), int(found["needBytes"]), state, int(found["needDeletes"]))

    def folder_errors(self, folder: str) -> list[str]:
        """Returns what keeps this side from reading files of a folder."""
        found = self._get("folder/errors", folder=folder)
        return [f"{one['path']}: {one['error']}" for one in found.get("errors") or ()]

    # ------------------------------------------------------------------ a request

    def _get(self, what: str, **parameters: Any) -> Any:
        return self._read(self._ask("GET", what, params=parameters))

    def _get_or_none(self, what: str, **parameters: Any) -> Any:
        answer = self._ask("GET", what, params=parameters, missing_ok=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._read(answer)

    def _read(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise SyncthingRefused(
                f"What answers at {self._url} is not Syncthing. Set the address of its web page."
            ) from error

    def _ask(self, method: str, what: str, *, missing_ok: bool = False, **options: Any) -> httpx.Response:
        answer = self._sent(method, what, options)
        if answer.is_success or (missing_ok and answer.status_code == httpx.codes.NOT_FOUND):
            return answer
        if answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED):
            raise SyncthingRefused(_refusal(answer, self._url))
        if answer.is_redirect:
            raise SyncthingRefused(
                f"Syncthing at {self._url} sends on to {_origin(answer)}. Set that as its address: the key is not sent "
                "there by itself."
            )
        if answer.is_server_error:
            raise SyncthingAway(f"Syncthing at {self._url} stumbled ({_said(answer)}).")
        raise SyncthingError(f"Syncthing refused {what}: {_said(answer)}.")

    def _sent(self, method: str, what: str, options: dict[str, Any]) -> httpx.Response:
        # After a restart the pooled connection is dead, which only the next request on it tells.
        for last in (False, True):
            try:
                return self._session().request(method, f"{self._url}/rest/{what}", **options)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                if last:
                    raise SyncthingAway(f"Syncthing at {self._url} breaks the connection off ({error}).") from error
            except httpx.TimeoutException as error:
                raise SyncthingAway(f"Syncthing at {self._url} does not answer in time.") from error
            except httpx.TransportError as error:
                raise _away(self._url, error) from error
            except httpx.InvalidURL as error:
                raise SyncthingRefused(f"{self._url} is no address of Syncthing: {error}.") from error
        raise AssertionError

    def _session(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                headers={"X-API-Key": self._api_key.get_secret_value()},
                timeout=SECONDS,
                verify=_trusted(),
                transport=self._transport,
                limits=_ONE_IDLE,
            )
        return self._client


def _state(found: Mapping[str, Any] | None) -> FileState:
    known = found or {}
    return FileState(
        deleted=bool(known.get("deleted")),
        invalid=bool(known.get("invalid")),
        modified_by=str(known.get("modifiedBy", "")),
        size=int(known.get("size", -1)),
        version=tuple(known.get("version") or ()),
        modified_ns=_nanoseconds(str(known.get("modified", ""))),
    )


def _nanoseconds(moment: str) -> int:
    """Returns a time as Go writes it, with up to nine digits of a second, in nanoseconds; -1 where there is none."""
    if (parts := _MOMENT.fullmatch(moment)) is None:
        return -1
    whole = datetime.fromisoformat(parts["seconds"] + parts["zone"]) - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * 10**9 + int((parts["fraction"] or "").ljust(9, "0"))


def _away(url: str, error: httpx.TransportError) -> SyncthingAway:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return SyncthingAway(
            f"Syncthing at {url} shows a certificate that nobody vouches for. Let SSL_CERT_FILE name its "
            "https-cert.pem, or set its address to http on this machine."
        )
    return SyncthingAway(f"Syncthing at {url} cannot be reached ({error}). Is it running, and is the address right?")


def _origin(answer: httpx.Response) -> str:
    place = httpx.URL(answer.headers.get("location", ""))
    return f"{place.scheme}://{place.netloc.decode()}"


def _trusted() -> ssl.SSLContext | bool:
    bundle = ca_bundle()
    if isinstance(bundle, bool):
        return bundle
    folder = os.path.isdir(bundle)
    return ssl.create_default_context(capath=bundle if folder else None, cafile=None if folder else bundle)


def _said(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.text.strip()[:200]}"


def _refusal(answer: httpx.Response, url: str) -> str:
    if "Host" in answer.text:
        return (
            f"Syncthing does not answer to the name in {url}: use its IP address, or switch off its host check "
            "(insecureSkipHostcheck) when the network is your own."
        )
    return (
        f"Syncthing at {url} does not take the API key. It is in its web page under Actions > Settings > General; "
        "put it into MEDIAPIPE_SYNCTHING__API_KEY, or a file that MEDIAPIPE_SYNCTHING__API_KEY_FILE names."
    )
