"""Files that were delivered to a phone, as the catalog has them, and Takeouts that hold some of them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Connection, Engine, text

from catalog import deliveries, placed_files, tables
from pipeline.takeout_confirm import Confirmation, confirm
from resources.takeout import Takeout
from tests.the_catalog import add_content

PHONE = "pixel"
TAKEN = datetime(2024, 5, 17, 10, 0, tzinfo=UTC)
LOCAL = datetime(2024, 5, 17, 12, 0)  # the same moment, two hours ahead of UTC


@dataclass
class World:
    """The catalog, and the folder in which the Takeout comes to lie."""

    engine: Engine
    folder: Path

    def deliver(self, name: str, data: bytes, *, reached: bool = True, **given: Any) -> int:
        """Has a file placed in the phone's folder and, unless `reached` is false, on the phone."""
        with self.engine.begin() as connection:
            return _deliver(connection, name, data, reached, given)

    def put(self, files: Mapping[str, bytes]) -> Path:
        """Lays a Takeout out as a folder."""
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return self.folder

    def compare(self, *paths: Path) -> Confirmation:
        with Takeout(paths or [self.folder]) as takeout:
            return confirm(self.engine, PHONE, takeout)

    def confirmed(self) -> dict[str, str]:
        """How each confirmed file was confirmed."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                text("SELECT path, confirmed_by FROM placed_files WHERE confirmed_at IS NOT NULL")
            )
            return {row.path: row.confirmed_by for row in rows}


def _deliver(connection: Connection, name: str, data: bytes, reached: bool, given: Mapping[str, Any]) -> int:
    day = given.get("partition_date", LOCAL.date())
    digest = hashlib.sha256(data).hexdigest()
    content = {"capture_local": LOCAL, "capture_offset_minutes": 120, "partition_date": day, **given}
    media = add_content(connection, sha256=digest, size=len(data), **content)
    bundle = {"lead_media_file_id": media, "kind": "single", "partition_date": day}
    bundle_id = connection.execute(tables.bundles.insert().values(bundle).returning(tables.bundles.c.id)).scalar_one()
    member = {"bundle_id": bundle_id, "media_file_id": media, "role": "lead", "file_name": name, "name_key": name}
    members = tables.bundle_members
    added = members.insert().values({**member, "partition_date": day}).returning(members.c.id)
    path = f"{day:%Y%m%d}_{name}"
    row = {
        "destination": PHONE,
        "bundle_member_id": connection.execute(added).scalar_one(),
        "role": "original",
        "batch_id": deliveries.ensure_batch(connection, PHONE, "run"),
        "sha256": digest,
        "size": len(data),
        "remote_path": path,
        "state": "uploaded",
        "partition_date": day,
    }
    table = tables.deliveries
    delivery = int(connection.execute(table.insert().values(row).returning(table.c.id)).scalar_one())
    placed_files.record_placed(connection, delivery, PHONE, path, len(data), 1)
    if reached:
        placed_files.latch_delivered(connection, delivery, {"by": "syncthing"})
    return delivery


def about(title: str, taken: datetime = TAKEN, **more: Any) -> bytes:
    """The JSON that Google puts beside a photo."""
    return json.dumps({"title": title, "photoTakenTime": {"timestamp": str(int(taken.timestamp()))}, **more}).encode()


def picture(seed: int, size: tuple[int, int] = (64, 48), form: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def zipped(path: Path, files: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
