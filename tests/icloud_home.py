"""A home whose photos come from the iCloud stand-in: signed in, its stages worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from catalog.sources import ICLOUD_ORIGINALS
from mediapipe_assets.cli.icloud import icloud as commands
from pipeline import icloud_account
from pipeline.assembly import Platform
from pipeline.stage import StageReport, work_off
from resources.settings import load_settings
from services.icloud_standin import Account, ICloudStandin, Library
from tests.icloud_clients import NAME, PASSWORD
from tests.the_catalog import a_run, lease


@dataclass
class ICloudHome:
    """A home, the library that its photos come from, and what a person does with both."""

    platform: Platform
    apple: ICloudStandin
    library: Library

    @property
    def engine(self) -> Engine:
        return self.platform.engine

    @property
    def originals(self) -> Path:
        return self.platform.roots["originals"]

    def sync(self, name: str = "icloud") -> Any:
        return self.platform.icloud.sync(name, self.platform.date_rules()).found

    def work(self, stage: str = ICLOUD_ORIGINALS, **given: Any) -> StageReport:
        with lease(self.engine) as lease_id:
            return work_off(self.platform.stage(stage), a_run(self.engine, lease_id, **given))

    def rows(self, query: str, **given: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), given))

    def states(self) -> dict[str, int]:
        return {row.state: row.n for row in self.rows("SELECT state, count(*) AS n FROM source_files GROUP BY state")}

    def downloads(self) -> int:
        return sum("icloud-content" in host for _, host, _ in self.apple.request_log())

    def cli(self, *arguments: str | Path, expect: int = 0) -> Any:
        """Runs `mediapipe-assets icloud …` with `--json` and returns what it printed."""
        return json.loads(self._invoke([*map(str, arguments), "--json"], expect).stdout)

    def words(self, *arguments: str | Path) -> str:
        """Runs the same for a person and returns what it said."""
        return self._invoke([*map(str, arguments)], 0).stderr

    def _invoke(self, arguments: list[str], expect: int) -> Any:
        result = CliRunner().invoke(commands, arguments, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        assert result.return_value == expect, result.stderr
        return result


MakeHome = Callable[..., ICloudHome]


@pytest.fixture
def make_home(
    engine: Engine, icloud: ICloudStandin, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeHome:
    """Makes the home; more settings of its source, or more sources, may be given."""

    def make(signed_in: bool = True, more: dict[str, Any] | None = None, **source: Any) -> ICloudHome:
        overrides = {"timezone": "Europe/Berlin", "sources": {"icloud": source, **(more or {})}}
        environ = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
        platform = Platform(load_settings(tmp_path / "home", overrides=overrides, environ=environ), engine)
        platform.prepare()
        if signed_in:
            sign_in(platform, account)

        @contextmanager
        def opened(*_: Any, **__: Any) -> Iterator[Platform]:
            yield platform

        monkeypatch.setattr("mediapipe_assets.platform.open_platform", opened)
        return ICloudHome(platform, icloud, account.library())

    return make


def sign_in(platform: Platform, account: Account) -> None:
    ours = platform.icloud.accounts["icloud"]
    icloud_account.ask_for_code(platform.engine, ours)
    assert account.code is not None
    assert icloud_account.enter_code(platform.engine, ours, account.code)
