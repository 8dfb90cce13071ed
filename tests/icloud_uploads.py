"""A home whose photos are delivered to iCloud: through the stages and the real pyicloud, to the stand-in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from catalog import bundles, deliveries, sources
from media.apple_checksum import AppleChecksum
from pipeline import icloud_account, icloud_sync, layout
from pipeline.discovery import DateRules
from pipeline.icloud_account import Account as SignIn
from pipeline.icloud_delivery import ICloudStagedStage, ICloudUploadedStage, ICloudVerifiedStage, Rules
from pipeline.icloud_room import Room
from pipeline.icloud_sync import Synced
from pipeline.stage import Stage, StageReport, work_off
from resources.icloud import PERSONAL, ICloud
from resources.icloud_destination import ICloudPhotos
from resources.icloud_session import Pace
from services.icloud_standin import Account
from tests.icloud_clients import NAME, PASSWORD
from tests.proof_files import marked, put, sha256
from tests.the_catalog import DAY, a_run, add_stored, lease

RULES = Rules(("jpeg",), True, "icloud", ("icloud",), "Europe/Berlin")
ACCOUNT, BYTES, REGISTER, LOOKUP = "icloud", "icloud-content.com/upload/", "putAsset$", "records/lookup$"
NOON = datetime(2024, 5, 17, 10, 0, tzinfo=UTC)
BERLIN = 7200


def apple(data: bytes) -> str:
    checksum = AppleChecksum()
    checksum.update(data)
    return checksum.value()


class Home:
    """A home with photos in its catalog, and iCloud as its destination; Apple's pauses take no time."""

    def __init__(self, engine: Engine, folder: Path, rules: Rules = RULES, deliver: Any = "rendition") -> None:
        self.engine, self.folder, self.rules = engine, folder, rules
        self.roots = {name: marked(folder / name) for name in (layout.ORIGINALS, layout.RENDITIONS, layout.TRASH)}
        self.sign_in = SignIn(ACCOUNT, NAME, SecretStr(PASSWORD), folder / "icloud")
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self.slept: list[float] = []
        self.sessions = 0
        self.icloud = ICloudPhotos("icloud", NAME, deliver, self.session)
        self.room = Room(engine, ACCOUNT, "icloud", lambda: self.now)
        with engine.begin() as connection:
            sources.register_source(connection, "icloud", "icloud", ACCOUNT)

    @contextlib.contextmanager
    def session(self) -> Iterator[ICloud]:
        with icloud_account.signed_in(self.engine, self.sign_in, now=lambda: self.now) as client:
            self.sessions += 1
            client.session._sleep = self.slept.append
            client.session._pace = Pace(1e9, 1, lambda: 0.0, lambda seconds: None)
            yield client

    def login(self, account: Account) -> Home:
        icloud_account.ask_for_code(self.engine, self.sign_in)
        assert icloud_account.enter_code(self.engine, self.sign_in, account.code)
        return self

    def photo(
        self, data: bytes, name: str = "IMG_1.JPG", *, kind: str = "single", role: str = "lead", **given: Any
    ) -> int:
        """Keeps a photo in a bundle of its own, and tells the destination; returns the member."""
        path = f"2024/05/17/{sha256(data)[:8]}-{name}"
        put(self.roots[layout.ORIGINALS] / path, data)
        values = {"sha256": sha256(data), "apple_checksum": apple(data), "size": len(data), "stored_path": path}
        if "content_kind" in given:
            values["kind"] = given.pop("content_kind")
        with self.engine.begin() as connection:
            content = add_stored(connection, name, **values, capture_offset_minutes=120, **given)
            bundle = bundles.add_bundle(connection, content, kind, "", DAY)
            member = bundles.add_member(connection, bundle, content, role, name)
            connection.execute(text("UPDATE media_files SET deduplicated_at = now(), plan_fingerprint = 'x'"))
            deliveries.enqueue_members(connection, ["icloud"], content)
        assert member is not None
        return member

    def rendition(self, member: int, data: bytes, file_format: str = "jpeg") -> None:
        put(self.roots[layout.RENDITIONS] / f"{member}.jpg", data)
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "WITH made AS (INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, "
                    "path, sha256, size, format, detail, run_id) SELECT media_file_id, 'x', 'old', 1, 'made', :path, "
                    ":sha, :size, :format, 'smaller', 'run' FROM bundle_members WHERE id = :id "
                    "RETURNING id, media_file_id) UPDATE media_files m SET rendition_id = made.id FROM made "
                    "WHERE m.id = made.media_file_id"
                ),
                {"path": f"{member}.jpg", "sha": sha256(data), "size": len(data), "format": file_format, "id": member},
            )

    def work(self, stage: Stage[Any], **given: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(stage, a_run(self.engine, lease_id, **given))

    def stage(self) -> StageReport:
        return self.work(ICloudStagedStage(self.icloud, self.rules, compressing=True))

    def upload(self, **given: Any) -> StageReport:
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(ICloudUploadedStage(self.icloud, self.rules, originals, self.roots, self.room), **given)

    def verify(self, **given: Any) -> StageReport:
        originals = {layout.ORIGINALS: self.roots[layout.ORIGINALS]}
        return self.work(ICloudVerifiedStage(self.icloud, self.rules, originals, self.roots), **given)

    def deliver(self) -> list[dict[str, int]]:
        """Stages, uploads and verifies; returns what each step counted, staged intents in place of members."""
        staged, *others = (step() for step in (self.stage, self.upload, self.verify))
        first = {name: count for name, count in staged.counts.items() if name != "members"}
        made = {"staged": int(staged.figures["staged"])} if staged.figures["staged"] else {}
        return [first | made, *(dict(one.counts) for one in others)]

    def sync(self) -> Synced:
        rules = DateRules("Europe/Berlin", date(1990, 1, 1), self.now)
        with self.session() as client:
            library = icloud_sync.Library("icloud", ACCOUNT, PERSONAL)
            return icloud_sync.sync(self.engine, client, library, rules, ours=["icloud"])

    def rows(self, query: str, **given: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), given).all())

    def change(self, query: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(query))

    def time_passes(self) -> None:
        """What was put off is due again, and Apple was left alone for long enough."""
        self.now += timedelta(days=1)
        self.change("UPDATE work SET not_before = now() - interval '1 s'")

    @property
    def states(self) -> list[str]:
        return [row.state for row in self.rows("SELECT state FROM deliveries ORDER BY id")]

    @property
    def left_out(self) -> list[str]:
        return [row.reason for row in self.rows("SELECT reason FROM left_out ORDER BY bundle_member_id")]

    @property
    def attempts(self) -> int:
        return sum(row.attempts for row in self.rows("SELECT attempts FROM work"))


@pytest.fixture
def home(engine: Engine, tmp_path: Path, account: Account) -> Home:
    return Home(engine, tmp_path / "home").login(account)
