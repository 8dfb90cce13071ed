"""A home whose one photo gets a smaller rendition as it ages, and an archive that it is delivered to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from catalog import bundles, deliveries
from media.tiers import Plan, Tier
from pipeline import layout
from pipeline.compress import CompressionStage
from pipeline.deliver import StagedStage, UploadedStage, VerifiedStage
from pipeline.release import ReleaseStage
from pipeline.stage import Stage, StageReport, work_off
from tests.proof_files import Elsewhere, marked, put, sha256
from tests.the_catalog import DAY, a_run, add_stored, lease

TIERS = (("new", 0, 80), ("old", 365, 50))


class Home:
    """A home with one photo, made smaller by tiers, and one archive."""

    def __init__(self, engine: Engine, folder: Path, *, same_disk: bool = False, replace: bool = False) -> None:
        self.engine = engine
        self.roots = {name: folder / name for name in (layout.ORIGINALS, layout.RENDITIONS, layout.TRASH)}
        for root in self.roots.values():
            marked(root)
        self.archive = Elsewhere(
            "archive", folder / "archive", "both", "replace" if replace else "keep", same_disk=same_disk
        )
        marked(self.archive.path)
        self.original = put(self.roots[layout.ORIGINALS] / "2024/05/17/IMG_1.JPG", noisy_jpeg())
        self.today = DAY
        data = self.original.read_bytes()
        with engine.begin() as connection:
            self.content = add_stored(
                connection, "IMG_1.JPG", sha256=sha256(data), size=len(data), stored_path="2024/05/17/IMG_1.JPG"
            )
            bundle = bundles.add_bundle(connection, self.content, "single", "", DAY)
            bundles.add_member(connection, bundle, self.content, "lead", "IMG_1.JPG")
            connection.execute(text("UPDATE media_files SET deduplicated_at = now()"))
            deliveries.enqueue_members(connection, ["archive"], self.content)

    def work(self, stage: Stage[Any], **given: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(stage, a_run(self.engine, lease_id, today=self.today, **given))

    def compress(self, **given: Any) -> StageReport:
        tiers = [Tier(name, days, Plan(quality, 0, "hevc", 0, True, 0.05)) for name, days, quality in TIERS]
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(CompressionStage(self.roots, originals, tiers, ["archive"], 60), **given)

    def deliver(self) -> list[StageReport]:
        """Delivers what is due, and looks once more, as the next run does, for what was replaced."""
        return [self.stage(), self.upload(), self.verify(), self.verify()]

    def stage(self) -> StageReport:
        return self.work(StagedStage(self.archive, compressing=True))

    def upload(self) -> StageReport:
        return self.work(UploadedStage(self.archive, self._originals, self.roots))

    def verify(self) -> StageReport:
        roots = {**self.roots, "destination:archive": self.archive.path}
        return self.work(VerifiedStage(self.archive, self._originals, roots))

    @property
    def _originals(self) -> dict[str, Path]:
        return {layout.ORIGINALS: self.roots[layout.ORIGINALS]}

    def release(self, copies: int = 1) -> StageReport:
        return self.work(ReleaseStage(self.roots, {"archive": self.archive}, copies))

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)).all())

    def made(self) -> list[Path]:
        return [
            self.roots[layout.RENDITIONS] / row.path for row in self.rows("SELECT path FROM renditions ORDER BY id")
        ]

    def age(self) -> tuple[Path, bytes]:
        """Makes and delivers both renditions; returns the first, which the second has replaced."""
        self.compress()
        self.deliver()
        self.today += timedelta(days=730)
        self.compress()
        self.deliver()
        first, second = self.made()
        assert second.exists()
        return first, first.read_bytes()


def noisy_jpeg() -> bytes:
    import io

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(7).integers(0, 255, (60, 80, 3), dtype="uint8")
    picture = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=97)
    return out.getvalue()
