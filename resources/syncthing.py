"""Syncthing's REST interface: the few questions that delivery to a phone needs.

Belongs here: one request each, typed, and what refuses or is away in words. Does not belong here: what an answer means
for a delivery (`resources.pixel`), or the state that is kept (`catalog.deliveries`).

Source of the protocol: Syncthing's REST documentation (docs.syncthing.net/dev/rest.html), and what versions 1.19 and
1.29 really answered. Nothing here changes a file of anybody's: `db/override` is never called.
"""

from __future__ import annotations

import os
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


class SyncthingError(Exception):
    """Syncthing did not do what it was asked; the message says why and what to do."""


class SyncthingAway(SyncthingError):
    """It does not answer, or is just starting. Later it will."""


class SyncthingRefused(SyncthingError):
    """It answers, and says no: a wrong key or address."""


@dataclass(frozen=True, slots=True)
class FileState:
    """One version of a file, as Syncthing knows it.

    Attributes:
        deleted: Whether this version is that it is gone.
        modified_by: The short id of the device that made it.
        size: Bytes.
        version: The version vector; equal vectors are equal contents, as each block is hashed.
        modified: The time of its last change, as text, in nanoseconds.
    """

    deleted: bool
    modified_by: str
    size: int
    version: tuple[str, ...]
    modified: str


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What Syncthing knows of one file.

    Attributes:
        everywhere: The newest version anywhere (`global`).
        here: The version on this side (`local`).
        holders: Ids of the devices that hold the newest version whole; None while no device is connected.
    """

    everywhere: FileState
    here: FileState
    holders: tuple[str, ...] | None


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
    """

    need_items: int
    need_bytes: int
    remote_state: str | None


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

    def put_folder(self, settings: Mapping[str, Any]) -> None:
        """Sets a folder up, or changes it."""
        self._ask("PUT", f"config/folders/{settings['id']}", json=dict(settings))

    def put_device(self, settings: Mapping[str, Any]) -> None:
        """Makes a device known, or changes it."""
        self._ask("PUT", f"config/devices/{settings['deviceID']}", json=dict(settings))

    # ------------------------------------------------------------------ files

    def scan(self, folder: str, below: str = "") -> None:
        """Has a folder, or a path below it, looked at now, and returns when that is done."""
        parameters = {"folder": folder} | ({"sub": below} if below else {})
        self._ask("POST", "db/scan", params=parameters, timeout=SCAN_SECONDS)

    def file(self, folder: str, path: str) -> FileInfo | None:
        """Returns what is known of a file, None when nothing is."""
        found = self._get_or_none("db/file", folder=folder, file=path)
        if found is None:
            return None
        holders = found.get("availability")
        whole = None if holders is None else tuple(one["id"] for one in holders if not one.get("fromTemporary"))
        return FileInfo(_state(found.get("global")), _state(found.get("local")), whole)

    def completion(self, folder: str, device: str) -> Completion:
        """Returns how far a device is with a folder."""
        found = self._get("db/completion", folder=folder, device=device)
        return Completion(int(found["needItems"]), int(found["needBytes"]), found.get("remoteState"))

    def folder_errors(self, folder: str) -> list[str]:
        """Returns what keeps this side from reading files of a folder."""
        found = self._get("folder/errors", folder=folder)
        return [f"{one['path']}: {one['error']}" for one in found.get("errors") or ()]

    # ------------------------------------------------------------------ a request

    def _get(self, what: str, **parameters: Any) -> Any:
        return self._ask("GET", what, params=parameters).json()

    def _get_or_none(self, what: str, **parameters: Any) -> Any:
        answer = self._ask("GET", what, params=parameters, missing_ok=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.json()

    def _ask(self, method: str, what: str, *, missing_ok: bool = False, **options: Any) -> httpx.Response:
        answer = self._sent(method, what, options)
        if answer.is_success or (missing_ok and answer.status_code == httpx.codes.NOT_FOUND):
            return answer
        if answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED):
            raise SyncthingRefused(_refusal(answer, self._url))
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise SyncthingAway(
                f"Syncthing at {self._url} stumbled ({answer.status_code} {answer.text.strip()[:200]})."
            )
        raise SyncthingError(f"Syncthing refused {what}: {answer.status_code} {answer.text.strip()[:200]}.")

    def _sent(self, method: str, what: str, options: dict[str, Any]) -> httpx.Response:
        # After a restart a connection of the pool is dead, which only the next request on it tells.
        for last in (False, True):
            try:
                return self._session().request(method, f"{self._url}/rest/{what}", **options)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                self.close()
                if last:
                    raise SyncthingAway(f"Syncthing at {self._url} breaks the connection off ({error}).") from error
            except httpx.TimeoutException as error:
                raise SyncthingAway(f"Syncthing at {self._url} does not answer in time.") from error
            except httpx.TransportError as error:
                raise SyncthingAway(
                    f"Syncthing at {self._url} cannot be reached ({error}). Is it running, and is the address right?"
                ) from error
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
            )
        return self._client


def _state(found: Mapping[str, Any] | None) -> FileState:
    known = found or {}
    return FileState(
        deleted=bool(known.get("deleted")),
        modified_by=str(known.get("modifiedBy", "")),
        size=int(known.get("size", -1)),
        version=tuple(known.get("version") or ()),
        modified=str(known.get("modified", "")),
    )


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
