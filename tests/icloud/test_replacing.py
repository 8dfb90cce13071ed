"""An archive that replaces renditions: what iCloud shows of exactly the older bytes is a copy like any other."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog.sources import ORIGINALS
from pipeline import layout
from pipeline.discovery import look
from pipeline.stage import StageReport
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.icloud_library import large_jpeg
from tests.icloud_world import World

TAKEN = datetime(2026, 5, 17, 10, 0, tzinfo=UTC)
TIERS = [
    {"name": "new", "after_days": 0, "jpeg_quality": 80},
    {"name": "old", "after_days": 365, "jpeg_quality": 50},
]
LOOKUP = "records/lookup$"


class Ageing(World):
    """A home with one photo in a folder, an archive that replaces on the originals' own disk, and iCloud."""

    def __init__(self, folder: Path, engine: Engine, copies: int) -> None:
        photos = folder / "photos"
        photos.mkdir()
        (photos / "IMG_1.JPG").write_bytes(large_jpeg(1))
        os.utime(photos / "IMG_1.JPG", (TAKEN.timestamp(), TAKEN.timestamp()))
        super().__init__(
            folder,
            engine,
            accounts={"photos": {"path": str(photos), "settle_seconds": 0}, "icloud": {}},
            compression={"tiers": TIERS, "min_saving": 0.0},
            destinations={"archive": {"on_new_rendition": "replace"}, "icloud": {"enabled": True}},
            release={"copies": copies},
        )

    def step(self, stage: str) -> StageReport:
        return self.work(stage, today=TAKEN.date() + self.ahead)

    def deliver(self, destination: str) -> StageReport:
        """Stages, uploads and verifies; returns what the last came to."""
        for step in ("staged", "uploaded"):
            self.step(f"{destination}/{step}_media")
        return self.step(f"{destination}/verified_media")

    def grow_older(self) -> StageReport:
        """Delivers the photo everywhere, lets it age, and delivers its newer rendition to the archive."""
        look(self.engine, self.platform.sources["photos"], self.platform.date_rules())
        for stage in (ORIGINALS, "deduplicated_media", "compressed_media"):
            assert not self.step(stage).failures
        assert self.deliver("archive").counts == {"verified": 2}
        assert self.deliver("icloud").counts == {"verified": 1}
        self.ahead = timedelta(days=730)
        assert self.step("compressed_media").counts
        return self.deliver("archive")

    def archived(self) -> dict[str, bytes]:
        """What the archive holds of renditions, its trash included."""
        root = self.platform.roots[layout.destination_root("archive")]
        found = [path for path in root.glob("**/renditions/**/*.*") if path.is_file()]
        return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture
def copies() -> int:
    return 1


@pytest.fixture
def ageing(tmp_path: Path, engine: Engine, account: Account, hurried: None, copies: int) -> Ageing:
    world = Ageing(tmp_path, engine, copies)
    world.sign_in(account)
    return world


def test_a_verified_copy_in_icloud_lets_the_older_rendition_leave_the_archive(
    ageing: Ageing, library: Library, icloud: ICloudStandin
) -> None:
    assert ageing.grow_older().counts == {"verified": 1}
    (older,) = [body for path, body in ageing.archived().items() if not path.endswith(_marked(ageing))]
    assert [b"".join(asset.master.original.content.chunks()) for asset in library.assets] == [older]
    icloud.reset_requests()
    assert ageing.step("archive/verified_media").counts == {"replaced": 1}
    assert any(path.endswith("records/lookup") for _, _, path in icloud.request_log()), "it was asked just now"
    (event,) = ageing.rows("SELECT detail FROM pipeline_logs WHERE event = 'replaced'")
    assert "proven at icloud: renditions/" in event[0] and "proven at renditions" not in event[0]
    kept = {path.startswith(".trash/"): body for path, body in ageing.archived().items()}
    assert kept[True] == older and kept[False] != older and len(kept) == 2
    assert len(library.assets) == 1, "iCloud keeps the one that it has"


def _marked(world: Ageing) -> str:
    """How the newer one's name ends in the archive."""
    sha256 = world.value("SELECT sha256 FROM deliveries WHERE destination = 'archive' AND role = 'rendition'")
    return f"-{sha256[: layout.HASH_CHARS]}.JPG"


def _deleted(ageing: Ageing, library: Library, icloud: ICloudStandin) -> None:
    library.delete(library.assets[0])


def _other_bytes_there(ageing: Ageing, library: Library, icloud: ICloudStandin) -> None:
    other = library.add("other.jpg", large_jpeg(1), taken=TAKEN, offset_seconds=0)
    library.assets[0].master.original = other.master.original


def _other_bytes_here(ageing: Ageing, library: Library, icloud: ICloudStandin) -> None:
    path = ageing.platform.roots[layout.destination_root("archive")] / "renditions/2026/05/17/IMG_1.JPG"
    path.chmod(0o644)
    path.write_bytes(large_jpeg(1))


def _throttled(ageing: Ageing, library: Library, icloud: ICloudStandin) -> None:
    icloud.faults.add(Fault("answer", where=LOOKUP, status=503, times=None))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_deleted, "it was deleted in iCloud"),
        (_other_bytes_there, "iCloud holds other bytes"),
        (_other_bytes_here, "does not hold the bytes that were to be sent"),
        (_throttled, "cannot be looked at now"),
    ],
)
def test_what_icloud_does_not_show_now_is_no_copy_and_the_older_stays(
    ageing: Ageing, library: Library, icloud: ICloudStandin, spoil: Any, reason: str
) -> None:
    ageing.grow_older()
    spoil(ageing, library, icloud)
    before = ageing.archived()
    report = ageing.step("archive/verified_media")
    assert report.counts == {"waiting": 1}
    assert reason in report.notes[0][1]
    assert ageing.archived() == before


@pytest.mark.parametrize("copies", [2])
def test_where_two_copies_are_asked_for_icloud_is_one_of_them(ageing: Ageing) -> None:
    ageing.grow_older()
    before = ageing.archived()
    report = ageing.step("archive/verified_media")
    assert report.counts == {"waiting": 1}
    assert "1 of 2 copies proven" in report.notes[0][1] and "on the same disk" in report.notes[0][1]
    assert ageing.archived() == before
