"""A catalog with files in a phone's folder, a clock that can be moved, and a Syncthing of ten answers.

The files of a world lie in a real folder as they were placed; whether Syncthing is this fake or a real daemon, the
watcher does not notice.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import Engine, text

from catalog import deliveries, tables
from pipeline.pixel_watch import Watched, look
from resources.pixel import PixelFolder
from resources.settings_pixel import PixelDestination
from resources.syncthing import Syncthing
from tests.the_catalog import DAY, add_content

NAME = "pixel"
PHONE = "-".join(["PHONEAA"] * 8)
NAS = "-".join(["NASAAAA"] * 8)
MTIME_NS = 1_700_000_000_123_456_789
NOT_THERE = httpx.Response(404, text="No such object in the index")

# As the chain leaves them; no two files may hold the same bytes.
_PLACED = (
    "INSERT INTO media_files (sha256, size, kind, format, mime, stored_root, stored_path, capture_local, "
    "capture_provenance, partition_date, state) SELECT digest, size, 'photo', 'jpeg', 'image/jpeg', 'originals', name, "
    "CAST(:day AS date) + interval '12 hours', 'exif', :day, 'kept' "
    "FROM unnest(CAST(:names AS text[]), CAST(:digests AS text[]), CAST(:sizes AS bigint[])) AS f(name, digest, size)",
    "INSERT INTO bundles (lead_media_file_id, kind, partition_date) SELECT id, 'single', :day FROM media_files "
    "WHERE sha256 = ANY(:digests)",
    "INSERT INTO bundle_members (bundle_id, media_file_id, role, file_name, name_key, partition_date) "
    "SELECT b.id, m.id, 'lead', m.stored_path, m.stored_path, :day FROM media_files m "
    "JOIN bundles b ON b.lead_media_file_id = m.id WHERE m.sha256 = ANY(:digests)",
    "INSERT INTO deliveries (destination, bundle_member_id, role, batch_id, sha256, size, remote_path, state, "
    f"partition_date) SELECT '{NAME}', b.id, 'original', :batch, m.sha256, m.size, b.file_name, 'uploaded', :day "
    "FROM media_files m JOIN bundle_members b ON b.media_file_id = m.id WHERE m.sha256 = ANY(:digests)",
    "INSERT INTO placed_files (delivery_id, destination, path, size, mtime_ns) "
    f"SELECT id, '{NAME}', remote_path, size, "
    "CAST(:mtime AS bigint) FROM deliveries WHERE sha256 = ANY(:digests) RETURNING delivery_id, path",
)


class FakeSyncthing:
    """Answers as a daemon does, from what a test sets."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.start, self.events, self.connected = "2026-01-01T00:00:00Z", list[dict[str, Any]](), True
        self.seen = "1970-01-01T00:00:00Z"
        self.has: set[str] = set()
        self.changed: dict[str, dict[str, Any]] = {}
        self.away = self.refuses = False
        self.shared, self.kind, self.remote = [NAS, PHONE], "sendonly", "valid"
        self.needed, self.errors = 0, list[dict[str, str]]()
        self.asked: Counter[str] = Counter()

    def syncthing(self) -> Syncthing:
        transport = httpx.MockTransport(self._answer)
        return Syncthing("http://127.0.0.1:8384", SecretStr("key"), transport=transport)

    def event(self, kind: str, **data: Any) -> None:
        self.events.append({"id": len(self.events) + 1, "type": kind, "data": data})

    def index_came(self) -> None:
        """What a phone's index update is announced by."""
        self.event("RemoteIndexUpdated", device=PHONE, folder="camera")

    def restart(self) -> None:
        self.start, self.events = f"{self.start}+", []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        what, query = request.url.path.removeprefix("/rest/"), request.url.params
        self.asked[what] += 1
        if self.away:
            raise httpx.ConnectError("connection refused", request=request)
        if self.refuses:
            return httpx.Response(403, text="CSRF Error")
        if what == "db/file":
            return self._file(query["file"])
        folder = {"id": "camera", "type": self.kind, "path": str(self.root), "devices": self._devices()}
        return httpx.Response(
            200,
            json={
                "system/status": {"startTime": self.start, "myID": NAS},
                "system/connections": {"connections": {PHONE: {"connected": self.connected}}},
                "stats/device": {PHONE: {"lastSeen": self.seen}},
                "events": [one for one in self.events if one["id"] > int(query.get("since", 0))][-1000:],
                "config/folders/camera": folder,
                f"config/devices/{PHONE}": {"deviceID": PHONE},
                "db/ignores": {"ignore": ["/.mediapipe-root", ".mpa-*"]},
                "db/completion": self._completion(),
                "folder/errors": {"errors": self.errors},
            }[what],
        )

    def _completion(self) -> dict[str, Any]:
        return {"needItems": 1, "needBytes": self.needed, "needDeletes": 0, "remoteState": self.remote}

    def _devices(self) -> list[dict[str, str]]:
        return [{"deviceID": one} for one in self.shared]

    def _file(self, name: str) -> httpx.Response:
        path = self.root / name
        if not path.exists():
            return NOT_THERE
        seen = path.stat()
        modified = f"{datetime.fromtimestamp(seen.st_mtime_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}"
        here = {
            "deleted": False,
            "invalid": False,
            "modifiedBy": NAS[:7],
            "size": seen.st_size,
            "version": [f"{NAS[:7]}:1"],
            "modified": f"{modified}.{seen.st_mtime_ns % 10**9:09}Z",
        }
        holders = [{"id": PHONE, "fromTemporary": False}] if name in self.has and self.connected else None
        return httpx.Response(
            200, json={"local": here, "global": {**here, **self.changed.get(name, {})}, "availability": holders}
        )

    def free(self, name: str) -> None:
        """Lets the phone delete a file that it had."""
        self.changed[name] = {"deleted": True, "modifiedBy": PHONE[:7], "version": [f"{NAS[:7]}:1", f"{PHONE[:7]}:1"]}

    def edit(self, name: str) -> None:
        """Lets the phone change a file."""
        self.changed[name] = {"modifiedBy": PHONE[:7], "version": [f"{NAS[:7]}:1", f"{PHONE[:7]}:2"]}


class Watching:
    """A phone's folder with files that were placed, and who looks at it."""

    def __init__(self, engine: Engine, root: Path, syncthing: Syncthing, device: str = PHONE, **given: Any) -> None:
        self.engine, self.root = engine, root
        self.root.mkdir(exist_ok=True)
        (self.root / ".stfolder").mkdir(exist_ok=True)
        self.settings = PixelDestination(**{"folder_id": "camera", "device_id": device, "folder_path": root, **given})
        self.folder = PixelFolder(NAME, self.settings, syncthing)
        self.now = datetime.now(UTC)

    def place(self, name: str, data: bytes | None = None, day: date = DAY) -> int:
        """Lets a file have been staged and placed; returns its delivery."""
        return self.place_all({name: name.encode() if data is None else data}, day)[name]

    def place_all(self, files: Mapping[str, bytes], day: date = DAY) -> dict[str, int]:
        """Lets files have been staged and placed; returns their deliveries."""
        for name, data in files.items():
            (self.root / name).write_bytes(data)
            os.utime(self.root / name, ns=(MTIME_NS, MTIME_NS))
        digests = [hashlib.sha256(data).hexdigest() for name, data in files.items()]
        values = {"names": list(files), "digests": digests, "sizes": [len(one) for one in files.values()], "day": day}
        with self.engine.begin() as connection:
            batch = deliveries.ensure_batch(connection, NAME, "run")
            for statement in _PLACED:
                rows = connection.execute(text(statement), {**values, "batch": batch, "mtime": MTIME_NS})
            return {row.path: row.delivery_id for row in rows}

    def queue(self, name: str, size: int, day: date) -> None:
        """Lets a file wait for room."""
        with self.engine.begin() as connection:
            content = add_content(connection, size=size, partition_date=day)
            bundle = connection.execute(
                tables.bundles.insert()
                .values(lead_media_file_id=content, kind="single", partition_date=day)
                .returning(tables.bundles.c.id)
            ).scalar_one()
            values = {"bundle_id": bundle, "media_file_id": content, "role": "lead", "file_name": name}
            inserted = tables.bundle_members.insert().values(**values, name_key=name, partition_date=day)
            member = connection.execute(inserted.returning(tables.bundle_members.c.id)).scalar_one()
            connection.execute(
                tables.staging_queue.insert().values(destination=NAME, bundle_member_id=member, partition_date=day)
            )

    def tick(self, *, minutes: float = 0, **options: Any) -> Watched:
        """Looks at the phone so many minutes later."""
        self.now += timedelta(minutes=minutes)
        return look(self.engine, self.folder, self.now, **options)

    def pass_hours(self, hours: float) -> list[str]:
        """Lets time pass with a look every ten minutes; returns what was told."""
        found = [self.tick(minutes=10) for _ in range(int(hours * 6))]
        return [notice.key for one in found for notice in one.told]

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), values).all())

    def do(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def delivered(self) -> list[str]:
        return self._paths("delivered_at IS NOT NULL")

    def freed(self) -> list[str]:
        return self._paths("freed_at IS NOT NULL")

    def _paths(self, which: str) -> list[str]:
        return [one.path for one in self.rows(f"SELECT path FROM placed_files WHERE {which} ORDER BY path")]

    def told(self) -> list[str]:
        """The keys of what holds."""
        return [one.key for one in self.rows("SELECT key FROM notifications WHERE resolved_at IS NULL ORDER BY id")]
