"""How the Syncthing on this side, its folder and the phone stand to each other, and what to change.

Belongs here: looking at it, and setting this side up over REST when a person asks for that. Does not belong here: the
requests (`resources.syncthing`), what becomes of a file (`resources.pixel`), or printing.

The one arrangement that never lost a file: the folder is `sendonly` here, and `sendreceive` with `ignoreDelete` on the
phone. Nothing here ever calls `db/override`, moves a folder, or makes Syncthing's marker anew: without that marker the
disk is probably not mounted, and an empty folder would look as if everything had been deleted.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from resources.pixel import IGNORED, SENDONLY
from resources.settings_pixel import PixelDestination
from resources.syncthing import Syncthing, SyncthingAway, SyncthingError

ENCRYPTED = "receiveencrypted"
MARKER = ".stfolder"
OLDEST = (1, 19)
# Changes of modes are nothing to send: Android has none, and a file that changes is sent again.
OPTIONS = {"fsWatcherEnabled": True, "ignorePerms": True, "rescanIntervalS": 3600}
PHONE_STEPS = (
    "On the phone, in Syncthing-Fork: add this side as a device by its id {me}.",
    "Accept the folder {folder}, put it into the camera roll (such as DCIM/Pixel), and set its type to Send & Receive.",
    "In that folder's settings on the phone, under Advanced, switch on Ignore Delete (ignoreDelete).",
    "In Android's settings, take Syncthing-Fork out of battery optimisation and let it run in the background.",
    "In Google Photos, switch on backup for that folder, in Original quality.",
)
_HELPERS = frozenset({MARKER, ".stignore", ".stversions"})
_FIX = "`mediapipe-assets doctor --fix` does it"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to change."""

    what: str
    verdict: Literal["ok", "warning", "problem"]
    words: str


class NotSetUp(SyncthingError):
    """This side cannot be set up; the message says what to do first."""


@dataclass(frozen=True, slots=True)
class Topology:
    """A phone's settings and the Syncthing that they name.

    Attributes:
        syncthing: The daemon on this side.
        pixel: The settings.
    """

    syncthing: Syncthing
    pixel: PixelDestination

    def look(self, now: datetime) -> Iterator[Finding]:
        """Yields what is right and wrong, without changing anything."""
        try:
            yield from self._daemon()
            yield from self._device(now)
            folder = self.syncthing.folder(self.pixel.folder_id)
            if folder is None:
                yield Finding("folder", "problem", f"Syncthing has no folder {self.pixel.folder_id}; {_FIX}")
                return
            yield from self._folder(folder)
        except SyncthingError as error:
            yield Finding("Syncthing", "problem", str(error))

    def path_here(self, folder: Mapping[str, Any]) -> Path:
        """Returns where this machine sees a folder of Syncthing's."""
        return Path(self.pixel.folder_path or os.path.expanduser(str(folder["path"])))

    def phone_steps(self) -> list[str]:
        """Returns what a person sets on the phone, which cannot be done from here."""
        me = self.syncthing.my_id()
        return [words.format(me=me, folder=self.pixel.folder_id) for words in PHONE_STEPS]

    # ------------------------------------------------------------------ looking

    def _daemon(self) -> Iterator[Finding]:
        version = self.syncthing.version()
        found = re.match(r"v?(\d+)\.(\d+)", version)
        if found is not None and tuple(map(int, found.groups())) < OLDEST:
            yield Finding("Syncthing", "warning", f"{version} at {self.pixel.url} was never tried; update it to 1.19")
            return
        yield Finding("Syncthing", "ok", f"{version} answers at {self.pixel.url} and takes the key")

    def _device(self, now: datetime) -> Iterator[Finding]:
        device = self.pixel.device_id
        if device == self.syncthing.my_id():
            words = "device_id is the id of the Syncthing on this side; set it to the one that the phone shows"
            yield Finding("phone", "problem", words)
            return
        known = self.syncthing.device(device)
        if known is None:
            yield Finding("phone", "problem", f"Syncthing does not know the device {device}; {_FIX}")
        elif known.get("paused"):
            yield Finding("phone", "problem", "the device is paused; resume it in Syncthing's web page")
        elif self.syncthing.is_connected(device):
            yield Finding("phone", "ok", "connected")
        else:
            yield self._unconnected(now)

    def _unconnected(self, now: datetime) -> Finding:
        seen = self.syncthing.last_seen(self.pixel.device_id)
        what_to_do = "see that it has power and network, and that Syncthing-Fork runs and knows this side"
        if seen is None:
            return Finding("phone", "warning", f"was never connected; {what_to_do}")
        words = f"not connected, last seen {seen:%Y-%m-%d %H:%M} UTC"
        if now - seen > timedelta(hours=self.pixel.unseen_hours):
            return Finding("phone", "warning", f"{words}; {what_to_do}")
        return Finding("phone", "ok", f"{words}; what is placed waits for it")

    def _folder(self, folder: Mapping[str, Any]) -> Iterator[Finding]:
        yield _type_of(folder)
        yield from self._sharing(folder)
        path = self.path_here(folder)
        place = self._place(folder, path)
        yield place
        if place.verdict != "problem":
            yield self._room(path)
            yield self._ignored()
        for words in self.syncthing.folder_errors(self.pixel.folder_id)[:5]:
            yield Finding("folder's errors", "warning", words)

    def _sharing(self, folder: Mapping[str, Any]) -> Iterator[Finding]:
        if self.pixel.device_id not in {one["deviceID"] for one in folder["devices"]}:
            yield Finding("sharing", "problem", f"the folder is not shared with the phone; {_FIX}")
            return
        if folder.get("paused"):
            yield Finding("folder", "problem", "it is paused; resume it in Syncthing's web page")
            return
        done = self.syncthing.completion(self.pixel.folder_id, self.pixel.device_id)
        said = {
            "notSharing": Finding(
                "sharing", "problem", f"the phone has not accepted the folder {self.pixel.folder_id}; accept it there"
            ),
            "unknown": Finding(
                "sharing", "warning", "whether the phone has accepted the folder is known a moment after it connects"
            ),
            "paused": Finding("sharing", "problem", "the folder is paused on the phone; resume it there"),
        }
        waiting = f"; {done.need_items} files wait for it" if done.need_items else ""
        shared = Finding("sharing", "ok", f"the folder is shared with the phone{waiting}")
        yield said.get(done.remote_state or "", shared)
        yield self._phone_keeps(done.need_deletes)

    def _phone_keeps(self, left: int) -> Finding:
        """What a phone does with deletions cannot be asked for; it shows once something has left the folder."""
        if left and self.syncthing.is_connected(self.pixel.device_id):
            return Finding("phone's folder", "ok", f"keeps {left} files that left the folder here, as it should")
        words = (
            "its settings cannot be seen from here: its folder must be Send & Receive with Ignore Delete on, or photos "
            "vanish there when the folder here is emptied; docs/pixel.md says where that is"
        )
        return Finding("phone's folder", "warning", words)

    def _place(self, folder: Mapping[str, Any], path: Path) -> Finding:
        trouble = None if folder.get("paused") else self.syncthing.trouble(self.pixel.folder_id)
        if trouble is not None:
            words = f"Syncthing says of {folder['path']}: {trouble}. If its disk is not mounted, mount it"
            return Finding("folder's path", "problem", words)
        if not path.is_dir():
            return Finding("folder's path", "problem", f"{path} is not there; {self._where(folder)}")
        marker = path / str(folder.get("markerName") or MARKER)
        if not os.path.lexists(marker):
            words = f"{path} has no {marker.name}, so it is not the folder of Syncthing; {self._where(folder)}"
            return Finding("folder's path", "problem", words)
        if not os.access(path, os.W_OK | os.X_OK):
            words = f"{path} cannot be written to; let both run as the same user, or give their group the right"
            return Finding("folder's path", "problem", words)
        return Finding("folder's path", "ok", str(path))

    def _where(self, folder: Mapping[str, Any]) -> str:
        if self.pixel.folder_path is None:
            return (
                f"mount its disk, or, where Syncthing runs elsewhere, set folder_path to {folder['path']} as seen here"
            )
        return f"mount its disk, or set folder_path to where this machine sees {folder['path']} of Syncthing's"

    def _room(self, path: Path) -> Finding:
        free, least, quota = shutil.disk_usage(path).free, self.pixel.least_free_gb * 1e9, self.pixel.quota
        words = f"{free / 1e9:.1f} GB free; at most {self.pixel.quota_gb:g} GB lie there at once"
        if free < least:
            words = f"{words}, and nothing is placed below {self.pixel.least_free_gb:g} GB free; make room"
            return Finding("folder's room", "warning", words)
        if free - least < quota:
            return Finding("folder's room", "warning", f"{words}, which is more than there is room for; lower quota_gb")
        return Finding("folder's room", "ok", words)

    def _ignored(self) -> Finding:
        missing = self._not_ignored()
        if missing:
            words = f"lacks {' and '.join(missing)}, so files of ours would reach the phone; {_FIX}"
            return Finding("folder's .stignore", "warning", words)
        return Finding("folder's .stignore", "ok", "leaves out what is no photo")

    def _not_ignored(self) -> list[str]:
        lines = self.syncthing.ignores(self.pixel.folder_id)
        return [one for one in IGNORED if one not in lines]

    # ------------------------------------------------------------------ setting up

    def set_up(self, usual: Path) -> list[str]:
        """Sets this side up: the device, the folder, what it leaves out.

        Args:
            usual: Where the folder goes when neither Syncthing nor the settings say.

        Returns:
            What was done, in words; empty when all stood already.

        Raises:
            SyncthingError: It is away or refuses, or something has to be done by hand first.
        """
        self._refuse_wrong_id()
        done = []
        if self.syncthing.device(self.pixel.device_id) is None:
            self.syncthing.put_device({"deviceID": self.pixel.device_id, "name": "Pixel", "addresses": ["dynamic"]})
            done.append(f"Added the device {self.pixel.device_id}.")
        folder = self.syncthing.folder(self.pixel.folder_id)
        done += [self._created(usual)] if folder is None else self._changed(folder)
        if missing := self._not_ignored():
            # The first pattern that fits counts, and somebody's own may let everything through.
            self.syncthing.put_ignores(self.pixel.folder_id, [*missing, *self.syncthing.ignores(self.pixel.folder_id)])
            done.append(f"Put {' and '.join(missing)} into the folder's .stignore.")
        return done

    def _refuse_wrong_id(self) -> None:
        if self.syncthing.known_id(self.pixel.device_id) != self.pixel.device_id:
            raise NotSetUp(
                f"{self.pixel.device_id} is no device id: its check digits are wrong. Copy it from the phone, where "
                "Syncthing-Fork shows it under Show device ID. Nothing was changed."
            )
        if self.pixel.device_id == self.syncthing.my_id():
            raise NotSetUp(
                "device_id is the id of the Syncthing on this side. Set it to the phone's. Nothing was changed."
            )

    def _created(self, usual: Path) -> str:
        path = self._new_place(usual)
        settings = {
            "id": self.pixel.folder_id,
            "label": "Pixel",
            "path": str(path),
            "type": SENDONLY,
            "devices": [{"deviceID": self.pixel.device_id}],
            **OPTIONS,
        }
        self.syncthing.put_folder(settings)
        try:
            self.syncthing.scan(self.pixel.folder_id)  # answers once the folder is there
        except SyncthingAway as error:
            raise NotSetUp(
                f"Syncthing took the folder {self.pixel.folder_id} and cannot use {path}: {error} Let it run as the "
                "user of this program, or give that user's group the right to write there."
            ) from error
        return f"Made the folder {self.pixel.folder_id} at {path}, Send Only, shared with the phone."

    def _new_place(self, usual: Path) -> Path:
        if not _is_here(self.pixel.url):
            raise NotSetUp(
                f"Syncthing at {self.pixel.url} runs on another machine, so where the folder {self.pixel.folder_id} "
                "goes cannot be known here. Make it there as Send Only, shared with the phone, and set folder_path to "
                "where this machine sees it."
            )
        path = self.pixel.folder_path or usual
        if self.pixel.folder_path is None:
            path.mkdir(parents=True, exist_ok=True)
        elif not path.is_dir():
            raise NotSetUp(f"{path} is not there. Mount its disk, or make it: mkdir -p '{path}'. Then run it again.")
        strangers = sorted(set(os.listdir(path)) - _HELPERS)
        if strangers:
            raise NotSetUp(
                f"{path} holds {strangers[0]!r} already, and all that is in it would be sent to the phone. Set "
                "folder_path to an empty folder."
            )
        return path

    def _changed(self, folder: Mapping[str, Any]) -> list[str]:
        changed, done = dict(folder), []
        if folder["type"] == ENCRYPTED:
            raise NotSetUp(
                f"The folder {self.pixel.folder_id} receives encrypted files, which cannot be changed. Set folder_id "
                "to a folder of its own."
            )
        if folder["type"] != SENDONLY:
            changed["type"] = SENDONLY
            done.append(f"Changed the folder {self.pixel.folder_id} from {folder['type']} to {SENDONLY}.")
        if self.pixel.device_id not in {one["deviceID"] for one in folder["devices"]}:
            changed["devices"] = [*folder["devices"], {"deviceID": self.pixel.device_id}]
            done.append(f"Shared the folder {self.pixel.folder_id} with the phone.")
        if done:
            self.syncthing.put_folder(changed)
        return done


def _type_of(folder: Mapping[str, Any]) -> Finding:
    if folder["type"] == SENDONLY:
        return Finding("folder's type", "ok", "Send Only: nothing that happens on the phone changes a file here")
    words = f"{folder['type']}, so a deletion on the phone could delete files here: set it to Send Only; {_FIX}"
    return Finding("folder's type", "problem", words)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"
