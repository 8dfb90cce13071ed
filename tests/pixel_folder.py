"""A folder that two real daemons share, for one test: what is placed here, and what is true on the phone's disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from resources.pixel import Level, Look, PixelFolder
from resources.settings_pixel import PixelDestination
from tests.syncthing_daemons import KEY, Daemon, Pair, wait_until

_numbers = count(1)
LONG_AGO_NS = 1_500_000_000_123_456_789


@dataclass(frozen=True)
class Placed:
    """What the catalog would know of a placed file."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass
class SharedFolder:
    """One folder of the pair."""

    pair: Pair
    folder_id: str
    here: Path
    there: Path
    contents: dict[str, bytes] = field(default_factory=dict)
    was_there: set[tuple[str, bytes]] = field(default_factory=set)

    @property
    def nas(self) -> Daemon:
        return self.pair.nas

    @property
    def phone(self) -> Daemon:
        return self.pair.phone

    def pixel(self, **settings: Any) -> PixelFolder:
        ours = {"folder_id": self.folder_id, "device_id": self.pair.device, "url": self.nas.url}
        return PixelFolder.of("pixel", PixelDestination(**{**ours, "api_key": SecretStr(KEY), **settings}))

    def share_here(self, kind: str = "sendonly", **more: Any) -> None:
        self._share(self.nas, self.here, kind, self.phone, **more)

    def share_there(self, **more: Any) -> None:
        self._share(self.phone, self.there, "sendreceive", self.nas, **{"ignoreDelete": True, **more})

    def _share(self, daemon: Daemon, path: Path, kind: str, other: Daemon, **more: Any) -> None:
        path.mkdir(exist_ok=True)
        settings = {
            "id": self.folder_id,
            "path": str(path),
            "type": kind,
            "devices": [{"deviceID": one.device} for one in (daemon, other)],
            "fsWatcherEnabled": False,
            "rescanIntervalS": 0,
        }
        daemon.put(f"config/folders/{self.folder_id}", {**settings, **more})

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keeps the two from speaking with each other."""
        self.phone.patch(f"config/devices/{self.nas.device}", {"paused": True})
        wait_until(lambda: not self.pixel().syncthing.is_connected(self.pair.device), 30, "they stay connected")
        yield
        self.phone.patch(f"config/devices/{self.nas.device}", {"paused": False})
        self.pair.wait_connected()

    def files_here(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.here.iterdir() if not one.name.startswith(".st")}

    def leave_there(self) -> None:
        self.phone.delete(f"config/folders/{self.folder_id}")

    def put(self, name: str, content: bytes, mtime_ns: int = LONG_AGO_NS) -> Placed:
        """Writes a file, without a word to Syncthing."""
        path = self.here / name
        path.write_bytes(content)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        self.contents[name] = content
        return Placed(name, len(content), os.lstat(path).st_mtime_ns, hashlib.sha256(content).hexdigest())

    def place(self, name: str, content: bytes = b"a photo", mtime_ns: int = LONG_AGO_NS) -> Placed:
        placed = self.put(name, content, mtime_ns)
        self.pixel().scan([name])
        return placed

    def is_on_phone(self, name: str) -> bool:
        """Whether the phone's disk has the bytes that were placed."""
        path = self.there / name
        return path.is_file() and path.read_bytes() == self.contents[name]

    def has_been_on_phone(self, name: str) -> bool:
        """The same, or it was so until a test changed it there, which is seen here a little later."""
        if self.is_on_phone(name):
            self.was_there.add((name, self.contents[name]))
        return (name, self.contents[name]) in self.was_there

    def change_on_phone(self, name: str, content: bytes) -> None:
        (self.there / name).write_bytes(content)
        self.scan_phone()

    def scan_phone(self) -> None:
        self.phone.post("db/scan", folder=self.folder_id)

    def wait_for(self, placed: Placed, level: Level) -> Look:
        """Waits for a verdict, and holds each one on the way against the truth."""
        pixel, seen = self.pixel(), []

        def is_so() -> bool:
            seen.append(pixel.look(placed))
            assert not seen[-1].arrived or self.has_been_on_phone(placed.path), seen[-1]
            return seen[-1].level == level

        wait_until(is_so, 60, f"{placed.path} never became {level}")
        return seen[-1]

    def wait_for_words(self, placed: Placed, words: str) -> Look:
        pixel = self.pixel()
        wait_until(lambda: words in pixel.look(placed).words, 60, f"nobody said {words!r}")
        return pixel.look(placed)


@contextmanager
def shared_folder(pair: Pair, base: Path, *, accepted: bool = True) -> Iterator[SharedFolder]:
    """Sets a folder up on both sides as the settings recommend, and takes it away again."""
    number = next(_numbers)
    one = SharedFolder(pair, f"camera-{number}", base / f"here-{number}", base / f"there-{number}")
    one.share_here()
    if accepted:
        one.share_there()
    try:
        yield one
    finally:
        for daemon in (pair.nas, pair.phone):
            daemon.delete(f"config/folders/{one.folder_id}")
