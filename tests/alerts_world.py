"""A home whose alerts are watched: the real checks of the catalog in a small asset, and Dagster on PostgreSQL."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from catalog.sources import ORIGINALS
from catalog.work import Scope
from jobs.chain import range_tags
from mediapipe_assets.checks import check_specs, checks_of
from mediapipe_assets.partitions import capture_days, scope_of
from pipeline.assembly import Platform
from resources.settings import load_settings
from sensors.alerts import alert_sensors
from tests.the_catalog import add_observation

CHANNEL = {"MEDIAPIPE_NOTIFY__URLS": "json://127.0.0.1:9/"}


@pytest.fixture(scope="session")
def dagster_on_postgres(migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path_factory.mktemp("dagster")
    storage = {"storage": {"postgres": {"postgres_url": migrated}}, "telemetry": {"enabled": False}}
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.local_temp(str(folder), overrides=storage) as instance,
    ):
        patch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")  # as in every Dagster process of a home
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=8)
        yield instance


class Watched:
    """A home, a clock that can be moved, and what a person was told."""

    def __init__(self, folder: Path, engine: Engine, instance: dg.DagsterInstance, **overrides: Any) -> None:
        instance.wipe()
        (folder / "photos").mkdir()
        (folder / "photos" / "a.jpg").touch()  # an empty source is taken for away
        sources = {"photos": {"kind": "folder", "path": str(folder / "photos")}}
        self.settings = load_settings(
            folder / "home", overrides={"sources": sources, **overrides}, environ=dict(CHANNEL)
        )
        self.ahead = timedelta()
        self.engine, self.instance = engine, instance
        self.platform = Platform(self.settings, engine, lambda: datetime.now(UTC) + self.ahead)
        self.platform.prepare()
        self.before_checks: Callable[[], None] = lambda: None
        self.cursors: dict[str, str | None] = {}
        self.defs = dg.Definitions(assets=[self._asset()], sensors=alert_sensors(self.settings))

    def _asset(self) -> dg.AssetsDefinition:
        @dg.asset(
            name=ORIGINALS,
            partitions_def=capture_days(date(2024, 1, 1)),
            backfill_policy=dg.BackfillPolicy.single_run(),
            check_specs=check_specs(ORIGINALS),
            output_required=False,
        )
        def originals(context: dg.AssetExecutionContext) -> Iterator[Any]:
            self.before_checks()
            scope = scope_of(context.run.tags)
            assert scope is not None
            yield dg.MaterializeResult(check_results=checks_of(ORIGINALS, self.platform, scope))

        return originals

    @contextlib.contextmanager
    def opened(self, *, prepare: bool = False) -> Iterator[Platform]:
        yield self.platform

    def run(self, first: str = "2024-05-17", last: str | None = None, **tags: str) -> str:
        """Runs the asset over a day or a range, and returns the run's id."""
        assets = [one for one in self.defs.assets or () if isinstance(one, dg.AssetsDefinition)]
        days = range_tags(Scope(date.fromisoformat(first), date.fromisoformat(last))) if last else {}
        ended = dg.materialize(
            assets,
            partition_key=None if last else first,
            instance=self.instance,
            tags={**days, **tags},
            raise_on_error=False,
        )
        return ended.run_id

    def tick(self, sensor: str) -> Any:
        """A tick of a sensor, with the cursor of its last one."""
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursors.get(sensor),
            definitions=self.defs,
            sensor_name=sensor,
            resources={"platform": self},
        ) as context:
            found = self.defs.get_sensor_def(sensor).evaluate_tick(context)
        self.cursors[sensor] = found.cursor
        return found

    def told(self) -> list[Any]:
        """Everything that was ever told, in order."""
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT * FROM notifications ORDER BY id")).all())

    def news(self, sensor: str) -> list[Any]:
        """What a tick of a sensor tells."""
        known = len(self.told())
        self.tick(sensor)
        return self.told()[known:]

    def standing(self) -> list[str]:
        """The keys of what holds."""
        return [one.key for one in self.told() if one.resolved_at is None]

    def fail_file(self, name: str, reason: str = "it is broken", **given: Any) -> int:
        """Adds a file that could not be stored."""
        with self.engine.begin() as connection:
            return add_observation(connection, source_id=name, state="failed", reason=reason, **given)

    def mend(self) -> None:
        """Lets every failed file have been stored after all, as a duplicate of nothing."""
        self.do("UPDATE source_files SET state = 'superseded', reason = NULL WHERE state IN ('failed', 'rejected')")

    def do(self, statement: str, **given: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), given)


@pytest.fixture
def watched(tmp_path: Path, engine: Engine, dagster_on_postgres: dg.DagsterInstance) -> Watched:
    return Watched(tmp_path, engine, dagster_on_postgres)
