"""A home with iCloud accounts whose catalog is the tests' own: signed in, read and downloaded within this process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from pipeline.assembly import Platform
from pipeline.icloud import Done
from pipeline.icloud_account import Account, ask_for_code, enter_code
from pipeline.icloud_sync import Synced
from pipeline.stage import StageReport, work_off
from resources.icloud import Answer
from resources.settings import load_settings
from services.icloud_standin import Account as AppleAccount
from services.icloud_standin import Fault, Library
from services.icloud_standin.assets import Asset, Master
from services.icloud_standin.contents import Resource
from services.icloud_standin.messages import Response
from tests.conftest import Home
from tests.icloud_clients import NAME, PASSWORD
from tests.the_catalog import a_run, lease

CONTENT, LISTING = "icloud-content", "changes/zone$"


@dataclass
class TrustEnds(Fault):
    """Apple no longer knows this machine, from the request on that it refuses."""

    account: AppleAccount = field(kw_only=True)

    def response(self) -> Response:
        self.account.expire_trust()
        return super().response()


class World:
    """Settings, a catalog, and a clock that can be moved."""

    def __init__(self, folder: Path, engine: Engine, *, accounts: Mapping[str, Any] | None = None, **more: Any) -> None:
        self.folder = folder
        self.engine = engine
        self.ahead = timedelta()
        environ = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
        overrides = {"timezone": "Europe/Berlin", **more}
        if accounts is not None:
            overrides["sources"] = accounts
        self.settings = load_settings(folder / "home", overrides=overrides, environ=environ)
        self.platform = Platform(self.settings, engine, self.now)
        self.platform.prepare()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def account(self, name: str = "icloud") -> Account:
        return self.platform.icloud.accounts[name]

    def sign_in(self, apple: AppleAccount, name: str = "icloud") -> None:
        """Signs in with the code that Apple sends."""
        assert ask_for_code(self.engine, self.account(name), now=self.now) is not None
        assert apple.code is not None and enter_code(self.engine, self.account(name), apple.code, now=self.now)

    def read(self, name: str = "icloud", **options: Any) -> Done:
        return self.platform.icloud.sync(name, self.platform.date_rules(), **options)

    def sync(self, name: str = "icloud", **options: Any) -> Synced:
        return self.read(name, **options).found

    def work(self, stage: str = "icloud_originals", **options: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(self.platform.stage(stage), a_run(self.engine, lease_id, **options))

    def wait_out(self) -> None:
        """Lets every pause of a row pass."""
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE work SET not_before = now() - interval '1 second'"))

    def rows(self, statement: str, **given: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), given)]

    def value(self, statement: str, **given: Any) -> Any:
        return self.rows(statement, **given)[0][0]

    def known(self, source: str = "icloud") -> dict[tuple[str, str], tuple[Any, ...]]:
        """What the catalog holds of the files that iCloud lists now: size and day, by asset and checksum."""
        rows = self.rows(
            "SELECT folder, version, size, partition_date FROM source_files WHERE source = :source AND gone_at IS NULL",
            source=source,
        )
        return {(row[0], row[1]): tuple(row[2:]) for row in rows}

    def kept(self) -> dict[str, bytes]:
        """Every original that is kept: its bytes by their Apple checksum."""
        rows = self.rows("SELECT apple_checksum, sha256, stored_path FROM media_files WHERE stored_root = 'originals'")
        found = {}
        for checksum, sha256, path in rows:
            body = (self.settings.roots.originals / path).read_bytes()
            assert hashlib.sha256(body).hexdigest() == sha256, f"{path} is not what the catalog says"
            found[checksum] = body
        return found


class Feed:
    """Apple, with a feed as a test wants it."""

    def __init__(self, pages: Callable[[str | None], Answer], counts: int | None = None) -> None:
        self.pages = pages
        self.counts = counts
        self.asked = 0

    def changes(self, zone: Mapping[str, Any], token: str | None) -> Answer:
        self.asked += 1
        assert self.asked < 50, "it goes round and round"
        return self.pages(token)

    def count(self, zone: Mapping[str, Any]) -> int | None:
        return self.counts


def figures(found: Synced) -> tuple[int, int, int, int]:
    return len(found.new), len(found.changed), len(found.deleted), found.files


def sign_in(home: Home, account: AppleAccount) -> None:
    """Signs in through the command line: the code goes in by another process."""
    process = home.start("icloud", "login")
    end = time.monotonic() + 60
    while account.code is None and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert account.code is not None, process.communicate(timeout=10)
    deadline = time.monotonic() + 30
    while home.cli("icloud", "code", account.code or "000000", expect=None).code and time.monotonic() < deadline:
        time.sleep(0.2)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "Signed in" in said


def parts(asset: Asset) -> list[Resource]:
    """Every whole file of an asset."""
    master: Master = asset.master
    every = (master.original, master.live, master.raw, asset.edited, asset.edited_video)
    return [one for one in every if one is not None]


def day_of(asset: Asset) -> Any:
    """The day on which it was taken, where it was taken; by the home's zone where nobody knows."""
    from zoneinfo import ZoneInfo

    if asset.taken is None:
        return asset.added.astimezone(ZoneInfo("Europe/Berlin")).date()
    return (asset.taken + timedelta(seconds=asset.offset_seconds)).date()


def as_it_is(library: Library) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What Apple's library holds, in the form of `World.known`."""
    return {
        (asset.record_name, one.content.checksum): (one.content.size, day_of(asset))
        for asset in library.assets
        if not asset.deleted
        for one in parts(asset)
    }


def bodies(library: Library) -> dict[str, bytes]:
    """The bytes of everything that a library holds, by checksum."""
    return {
        one.content.checksum: b"".join(one.content.chunks())
        for asset in library.assets
        if not asset.deleted
        for one in parts(asset)
    }
