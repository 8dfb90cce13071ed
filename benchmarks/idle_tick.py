"""What a tick of the folder sensor costs over a folder of very many files that are all known.

Belongs here: the first bounded tick, an idle one, and one that finds a few new files, by evaluating the
real sensor. Does not belong here: the runs that it asks for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.figures import Figure, median, print_figures, spread
from benchmarks.pictures import SETTLED_SECONDS, make_tiny
from benchmarks.session import CHECKOUT, environment_of

MUST_SECONDS = 2.0
TICK_LIMIT = 60.0  # what Dagster gives a tick
NEW_FILES = 10


class _Ticks(TypedDict):
    filling: list[float]
    first_idle: float
    idle: list[float]
    new: float
    requests: int


def measure(files: int = 100_000) -> list[Figure]:
    """Lets the sensor discover a folder, settles what it found, and returns the figures of later ticks."""
    with tempfile.TemporaryDirectory(prefix="bench-tick-") as folder:
        home, photos = Path(folder) / "home", Path(folder) / "photos"
        make_tiny(photos, files)
        time.sleep(SETTLED_SECONDS)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.idle_tick", "--inside", str(photos), "--files", str(files)],
            env=environment_of(home),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the ticks failed:\n{done.stderr[-3000:]}")
        seen: _Ticks = json.loads(done.stdout.splitlines()[-1])
    idle = median(seen["idle"])
    slowest = max(seen["filling"])
    return [
        Figure(
            f"idle tick over {files:,} known files",
            f"< {MUST_SECONDS:.0f} s",
            f"{idle:.2f} s ({spread(seen['idle'], 2)})",
            idle < MUST_SECONDS,
        ),
        Figure("the same after a restart, without a cursor", "", f"{seen['first_idle']:.2f} s"),
        Figure(f"tick that finds {NEW_FILES} new files", "", f"{seen['new']:.2f} s, {seen['requests']} run asked for"),
        Figure(
            f"{len(seen['filling'])} bounded ticks that discover them all",
            f"< {TICK_LIMIT:.0f} s each",
            f"first {seen['filling'][0]:.1f} s, slowest {slowest:.1f} s",
            slowest < TICK_LIMIT,
        ),
    ]


def _inside(photos: Path, files: int) -> _Ticks:
    from benchmarks.database import settle_pending
    from mediapipe_assets.platform import open_platform
    from resources.settings import home_folder, load_settings
    from resources.settings_file import add_source, record_first_start
    from services.up import dagster_environment, prepare_dagster_home

    home = home_folder()
    add_source(home, photos)
    settings = load_settings(home)
    record_first_start(home, settings.timezone, settings.start_date)
    with open_platform(home, prepare=True) as platform:
        prepare_dagster_home(home)
        os.environ.update(dagster_environment(home, platform.engine.url.render_as_string(hide_password=False)))
        sensor = _Sensor(platform)
        filling = [sensor.tick()]
        while _waiting(platform) < files:
            filling.append(sensor.tick())
        settle_pending(platform)
        sensor.tick()
        idle = [sensor.tick() for _ in range(5)]
        sensor.cursor = None
        first_idle = sensor.tick()
        make_tiny(photos, NEW_FILES, first=files)
        time.sleep(SETTLED_SECONDS)
        new = sensor.tick()
        return {"filling": filling, "first_idle": first_idle, "idle": idle, "new": new, "requests": sensor.requests}


class _Sensor:
    """The folder sensor of a home, with the cursor that the daemon would keep."""

    def __init__(self, platform: Any) -> None:
        import dagster as dg

        from mediapipe_assets.definitions import build_defs

        self._definitions = build_defs(platform.settings)
        self._repository = self._definitions.get_repository_def()
        self._sensor = self._repository.get_sensor_def("folder_sensor")
        self._instance = dg.DagsterInstance.get()
        self.cursor: str | None = None
        self.requests = 0

    def tick(self) -> float:
        """Evaluates the sensor once and returns the seconds that it took."""
        import dagster as dg

        from mediapipe_assets.platform import PlatformResource

        start = time.perf_counter()
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self.cursor,
            repository_def=self._repository,
            resources={"platform": PlatformResource()},
            sensor_name="folder_sensor",
        ) as context:
            data = self._sensor.evaluate_tick(context)
        self.cursor = data.cursor
        self.requests = len(data.run_requests or [])
        return time.perf_counter() - start


def _waiting(platform: Any) -> int:
    from sqlalchemy import text

    with platform.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM source_files")).scalar_one())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle_tick", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside is not None:
        print(json.dumps(_inside(chosen.inside, chosen.files)))
    else:
        print_figures(measure(chosen.files))


if __name__ == "__main__":
    main()
