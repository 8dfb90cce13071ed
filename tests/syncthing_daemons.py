"""Two real Syncthing daemons on loopback: one for the NAS, one that plays the phone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

FOLDER = "pixel-camera"
KEY = "a-key-of-the-tests"
_OFF = (
    "globalAnnounceEnabled",
    "localAnnounceEnabled",
    "relaysEnabled",
    "natEnabled",
    "crashReportingEnabled",
    "startBrowser",
    "announceLANAddresses",
)
_SET = {"urAccepted": "-1", "autoUpgradeIntervalH": "0", "stunKeepaliveStartS": "0", "reconnectionIntervalS": "2"}


@dataclass
class Daemon:
    """One daemon and its home."""

    program: Path
    home: Path
    folder: Path
    gui: int = 0
    listen: int = 0
    device: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gui}"

    def prepare(self) -> None:
        """Makes keys and a configuration that speaks with nobody outside of this machine."""
        self.gui, self.listen = free_port(), free_port()
        self.home.mkdir(parents=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [str(self.program), "generate", f"--home={self.home}", "--no-default-folder", "--skip-port-probing"]
        subprocess.run(words, check=True, capture_output=True, env=self._environment(), timeout=60)
        config = self.home / "config.xml"
        text = config.read_text()
        for name in _OFF:
            text = re.sub(rf"<{name}>[^<]*</{name}>", f"<{name}>false</{name}>", text)
        for name, value in _SET.items():
            text = re.sub(rf"<{name}>[^<]*</{name}>", f"<{name}>{value}</{name}>", text)
        text = re.sub(r"<listenAddress>[^<]*</listenAddress>\s*", "", text)
        text = text.replace("<options>", f"<options>\n<listenAddress>tcp://127.0.0.1:{self.listen}</listenAddress>", 1)
        config.write_text(text)

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        words = [str(self.program), "serve", f"--home={self.home}", "--no-browser", "--no-restart", "--logflags=3"]
        with open(self.home / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                words, env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        wait_until(self._answers, 60, f"{self.program} does not answer: {self.home / 'log.txt'}")
        self.device = self.get("system/status")["myID"]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/rest/system/ping", headers={"X-API-Key": KEY}, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Ends it; with SIGKILL as a power cut would."""
        if self.process is None:
            return
        self.process.send_signal(sign)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def get(self, what: str, **parameters: Any) -> Any:
        answer = httpx.get(f"{self.url}/rest/{what}", params=parameters, headers={"X-API-Key": KEY}, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def put(self, what: str, body: Mapping[str, Any]) -> None:
        httpx.put(f"{self.url}/rest/{what}", json=body, headers={"X-API-Key": KEY}, timeout=20).raise_for_status()

    def post(self, what: str, **parameters: Any) -> None:
        httpx.post(
            f"{self.url}/rest/{what}", params=parameters, headers={"X-API-Key": KEY}, timeout=60
        ).raise_for_status()

    def delete(self, what: str) -> None:
        httpx.delete(f"{self.url}/rest/{what}", headers={"X-API-Key": KEY}, timeout=20).raise_for_status()

    def patch(self, what: str, body: Mapping[str, Any]) -> None:
        httpx.patch(f"{self.url}/rest/{what}", json=body, headers={"X-API-Key": KEY}, timeout=20).raise_for_status()

    def knows(self, other: Daemon, **more: Any) -> None:
        """Pairs it with another."""
        device = {"deviceID": other.device, "addresses": [f"tcp://127.0.0.1:{other.listen}"], "name": "the other"}
        self.put(f"config/devices/{other.device}", {**device, **more})

    def shares(self, other: Daemon | None, kind: str, **more: Any) -> None:
        """Has the folder, and shares it with another."""
        devices = [{"deviceID": one.device} for one in (self, other) if one is not None]
        settings = {"id": FOLDER, "label": "Pixel", "path": str(self.folder), "type": kind, "devices": devices}
        self.put(f"config/folders/{FOLDER}", {**settings, "fsWatcherEnabled": True, "fsWatcherDelayS": 1, **more})

    def files(self) -> dict[str, bytes]:
        """What lies in the folder, without what belongs to Syncthing."""
        found = (one for one in self.folder.rglob("*") if one.is_file())
        names = {str(one.relative_to(self.folder)): one for one in found}
        return {name: one.read_bytes() for name, one in names.items() if not _is_syncthings(name)}

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        ours = {"STGUIADDRESS": f"127.0.0.1:{self.gui}", "STGUIAPIKEY": KEY, "STMONITORED": "yes"}
        return {**kept, **ours, "STNOUPGRADE": "1", "STNODEFAULTFOLDER": "1", "GOMAXPROCS": "1"}


def _is_syncthings(name: str) -> bool:
    first = name.split("/", maxsplit=1)[0]
    return first.startswith((".st", ".mediapipe")) or Path(name).name.startswith((".syncthing.", "~syncthing~"))


@dataclass
class Pair:
    """A NAS and a phone that know each other and share the folder as the settings recommend."""

    nas: Daemon
    phone: Daemon

    @property
    def device(self) -> str:
        return self.phone.device

    def wait_connected(self) -> None:
        wait_until(self._is_connected, 60, "the two do not meet")

    def _is_connected(self) -> bool:
        found = self.nas.get("system/connections")["connections"]
        return bool(found.get(self.phone.device, {}).get("connected"))


@contextmanager
def pair(program: Path, base: Path, *, shared: bool = True, nas_folder: Path | None = None) -> Iterator[Pair]:
    """Starts both; with `shared` the folder is set up on both, sendonly here and with ignoreDelete there."""
    nas = Daemon(program, base / "nas-home", nas_folder or base / "nas")
    phone = Daemon(program, base / "phone-home", base / "phone")
    both = (nas, phone)
    try:
        for one in both:
            one.prepare()
            one.start()
        nas.knows(phone)
        phone.knows(nas)
        nas.shares(phone, "sendonly")
        if shared:
            phone.shares(nas, "sendreceive", ignoreDelete=True)
        yield Pair(nas, phone)
    finally:
        for one in both:
            one.stop(signal.SIGKILL)  # which is quick, and nobody needs what it leaves


def wait_until(happened: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


_given = {0}


def free_port() -> int:
    """Returns a port below those that the system gives out by itself, which another test might get meanwhile."""
    start = 20_000 + os.getpid() % 6_000
    for port in range(start, 32_000):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError("no port is free")
