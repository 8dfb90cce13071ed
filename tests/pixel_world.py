"""A home whose photos go to a phone: the real stages, catalog and folder, and a phone that does what a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from catalog import bundles, deliveries
from media.files import PART_PREFIX
from pipeline import layout
from pipeline.pixel_delivery import PixelStagedStage, PixelUploadedStage, PixelVerifiedStage
from pipeline.pixel_room import PhoneRoom
from pipeline.stage import Stage, StageReport, work_off
from resources.delivery import NotNow
from resources.pixel import Look, PixelFolder, PlacedFile
from resources.settings_pixel import PixelDestination
from resources.syncthing import Syncthing
from tests.proof_files import marked, put, sha256
from tests.the_catalog import DAY, a_run, add_stored, lease

DEVICE = "-".join(["PHONE22"] * 8)


@dataclass
class Phone:
    """The phone, and the Syncthing between it and us."""

    folder: Path
    away: bool = False
    connected: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    scanned: list[str] = field(default_factory=list)
    asked: int = 0

    def sync(self) -> None:
        """Fetches what lies in the folder, and never deletes anything, as ignoreDelete says."""
        for path in self.folder.iterdir():
            if not path.name.startswith((".st", ".mediapipe", PART_PREFIX)):
                self.files[path.name] = path.read_bytes()


@dataclass(frozen=True, slots=True)
class FakePixel(PixelFolder):
    """The folder with a made-up Syncthing."""

    phone: Phone = field(kw_only=True)

    def prepare(self) -> None:
        if self.phone.away:
            raise NotNow("Syncthing does not answer.", 300.0, stops=True)

    def scan(self, paths: Any) -> None:
        self.prepare()
        self.phone.scanned += paths

    def look(self, placed: PlacedFile) -> Look:
        self.prepare()
        self.phone.asked += 1
        if placed.path in self.phone.problems:
            return Look("problem", self.phone.problems[placed.path])
        content = self.phone.files.get(placed.path)
        if not self.phone.connected or content is None or sha256(content) != placed.sha256:
            return Look("pending", "the phone does not have it yet, or is not connected")
        facts = {"by": "syncthing", "syncthing": "A:1", "sha256": placed.sha256, "size": placed.size}
        return Look("freed_on_phone" if placed.path in self.phone.freed else "delivered", facts=facts)


def phone_settings(folder: Path, quota: int = 1_000, **given: Any) -> PixelDestination:
    values = {"quota_gb": (quota + 0.5) / 1e9, "keep_hours": 24, "least_free_gb": 0, **given}
    return PixelDestination(folder_id="camera", device_id=DEVICE, folder_path=folder, **values)


class World:
    """Photos in a catalog, a folder, and a phone."""

    def __init__(self, engine: Engine, base: Path, **settings: Any) -> None:
        self.engine = engine
        self.roots = {name: marked(base / name) for name in (layout.ORIGINALS, layout.RENDITIONS, layout.TRASH)}
        self.folder = base / "camera"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.phone = Phone(self.folder)
        self.settings = phone_settings(self.folder, **settings)
        syncthing = Syncthing(self.settings.url, self.settings.api_key)  # type: ignore[arg-type]  # it is never asked
        self.pixel: PixelFolder = FakePixel("pixel", self.settings, syncthing, phone=self.phone)
        self.compressing = False

    def use(self, pixel: PixelFolder) -> None:
        """Takes a real Syncthing in place of the made-up one."""
        self.pixel, self.settings, self.folder = pixel, pixel.settings, pixel.folder()

    # ------------------------------------------------------------------ what is kept

    def photo(self, data: bytes, name: str = "IMG_1.JPG", *, day: date = DAY) -> int:
        """Keeps a photo in a bundle of its own, and tells the phone; returns the member."""
        return self.bundle([(name, data)], day=day)[0]

    def bundle(self, files: list[tuple[str, bytes]], *, day: date = DAY, into: int | None = None) -> list[int]:
        """Keeps files that belong together; with `into` they join the bundle of a member."""
        members = []
        with self.engine.begin() as connection:
            bundle = None if into is None else self._bundle_of(connection, into)
            for name, data in files:
                path = f"{day:%Y/%m/%d}/{sha256(data)[:8]}-{name}"
                put(self.roots[layout.ORIGINALS] / path, data).chmod(0o444)
                values = {"sha256": sha256(data), "size": len(data), "stored_path": path, "partition_date": day}
                content = add_stored(connection, f"{day}/{name}", **values)
                role = "lead" if bundle is None else "live_video"
                bundle = bundle or bundles.add_bundle(connection, content, "single", "", day)
                member = bundles.add_member(connection, bundle, content, role, name)
                assert member is not None
                members.append(member)
                deliveries.enqueue_members(connection, ["pixel"], content)
        return members

    @staticmethod
    def _bundle_of(connection: Any, member: int) -> bundles.Bundle:
        lead = "SELECT o.lead_media_file_id FROM bundles o JOIN bundle_members b ON b.bundle_id = o.id WHERE b.id = :id"
        found = bundles.bundle_led_by(connection, connection.execute(text(lead), {"id": member}).scalar_one())
        assert found is not None
        return found

    def rendition(self, member: int, data: bytes) -> Path:
        """Makes a rendition of a photo, and tells the phone."""
        path = put(self.roots[layout.RENDITIONS] / f"{member}-{sha256(data)[:8]}.jpg", data)
        path.chmod(0o444)
        find = "SELECT media_file_id FROM bundle_members WHERE id = :id"
        add = (
            "WITH made AS (INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, "
            "sha256, size, format, detail, run_id) VALUES (:content, :mark, 'old', 1, 'made', :path, :sha, :size, "
            "'jpeg', 'smaller', 'run') RETURNING id) UPDATE media_files m SET rendition_id = made.id, "
            "plan_fingerprint = :mark FROM made WHERE m.id = :content"
        )
        with self.engine.begin() as connection:
            content = connection.execute(text(find), {"id": member}).scalar_one()
            given = {
                "content": content,
                "sha": sha256(data),
                "mark": sha256(data)[:12],
                "path": path.name,
                "size": len(data),
            }
            connection.execute(text(add), given)
            deliveries.enqueue_members(connection, ["pixel"], content)
        return path

    def original(self, data: bytes) -> Path:
        """Where the original with these bytes stands."""
        found = self.rows("SELECT stored_path FROM media_files WHERE sha256 = :sha", sha=sha256(data))
        return self.roots[layout.ORIGINALS] / str(found[0][0])

    # ------------------------------------------------------------------ what is done

    def room(self) -> PhoneRoom:
        return PhoneRoom(self.engine, "pixel", self.settings, self.compressing)

    def work(self, stage: Stage[Any], **given: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(stage, a_run(self.engine, lease_id, **given))

    def stage(self, **given: Any) -> StageReport:
        return self.work(PixelStagedStage(self.pixel, self.room()), **given)

    def place(self, **given: Any) -> StageReport:
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(PixelUploadedStage(self.pixel, originals, self.roots, "Europe/Berlin"), **given)

    def verify(self, **given: Any) -> StageReport:
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(PixelVerifiedStage(self.pixel, originals, self.roots), **given)

    def run(self, **given: Any) -> list[dict[str, int]]:
        """Stages, places and verifies; returns what each step counted."""
        return [dict(step(**given).counts) for step in (self.stage, self.place, self.verify)]

    def deliver(self) -> None:
        """Has everything that is due on the phone and recorded; it stays in the folder."""
        self.stage()
        self.place()
        self.phone.sync()
        self.verify()

    # ------------------------------------------------------------------ what there is

    def rows(self, query: str, **given: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), given).all())

    def change(self, query: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(query))

    def time_passes(self) -> None:
        """What was put off is due again."""
        self.change("UPDATE work SET not_before = now() - interval '1 s'")

    def in_folder(self) -> dict[str, bytes]:
        """What lies in the folder, without markers."""
        return {one.name: one.read_bytes() for one in self.folder.iterdir() if not one.name.startswith((".st", ".med"))}

    @property
    def states(self) -> list[str]:
        return [row.state for row in self.rows("SELECT state FROM deliveries ORDER BY id")]

    @property
    def left_out(self) -> list[str]:
        return [row.reason for row in self.rows("SELECT reason FROM left_out ORDER BY bundle_member_id")]

    @property
    def failures(self) -> list[str]:
        return [row.error for row in self.rows("SELECT error FROM work WHERE error IS NOT NULL")]
