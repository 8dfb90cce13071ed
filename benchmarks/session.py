"""One run of the chain in a process of its own, as the command line does it, with a stopwatch.

Belongs here: `python -m benchmarks.session`, which prints one JSON object, and starting it from a
benchmark. Does not belong here: what is compared with it.

What a process costs to start is left out: imports, PostgreSQL, Dagster's instance and definitions, and
the pool's workers with their imports. The clock runs from the first look at the folder to the end of
the last stage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypedDict

import psutil

from benchmarks.memory import Peak, sampled, servers
from benchmarks.processor import meter

CHECKOUT = Path(__file__).resolve().parent.parent


class StageTime(TypedDict):
    """How long one stage took: its loop over files, and its whole Dagster step with checks and events."""

    stage: str
    files: int
    loop: float
    step: float


class SessionResult(TypedDict):
    """What one run measured; times in seconds.

    `seconds` is the whole from the first look to the end of the last stage, `verified` the part of it until
    everything was proven; `look` is discovery, `start` what was left out. `processor` is the processor time of
    the run, its workers and PostgreSQL, `others` the share of the machine that everything else took.
    """

    seconds: float
    verified: float
    look: float
    start: float
    processor: float
    others: float
    runs: int
    stages: list[StageTime]
    report: dict[str, Any]


@dataclass
class _Clock:
    """A stopwatch, for time and for processor time, that stands still while something is started."""

    paused: float = 0.0
    processor: float = 0.0

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        usage = meter(_own_processes)
        try:
            yield
        finally:
            taken = usage()
            self.paused += taken.elapsed
            self.processor += taken.own


def _own_processes() -> list[psutil.Process]:
    from resources.settings import home_folder

    return [psutil.Process(), *servers(home_folder())]


_clock = _Clock()


def run_session(
    home: Path,
    source: Path,
    *,
    forced: tuple[date, date] | None = None,
    memory: list[Peak] | None = None,
    environment: Mapping[str, str] | None = None,
) -> SessionResult:
    """Runs the chain over a folder in a new process.

    Args:
        home: The home; made at need.
        source: The folder of photos.
        forced: Run over these days even when nothing is due.
        memory: Where to put the peak of all its processes, when it is wanted; looking costs a little time.
        environment: More settings.

    Raises:
        RuntimeError: The process failed; the message is its own.
    """
    command = [sys.executable, "-m", "benchmarks.session", "--source", str(source)]
    if forced:
        command += ["--forced", forced[0].isoformat(), forced[1].isoformat()]
    process = subprocess.Popen(
        command,
        env=environment_of(home, environment),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with sampled(process.pid, home, memory):
        out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run in {home.name} failed:\n{err[-3000:]}")
    result: SessionResult = json.loads(out.splitlines()[-1])
    return result


def environment_of(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of a process that works on a home and on nothing else."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIAPIPE_", "DAGSTER_"))}
    return own | {"MEDIAPIPE_HOME": str(home), "DAGSTER_EVENT_BATCH_SIZE": "1000"} | dict(more or {})


def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.session")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--forced", nargs=2, type=date.fromisoformat)
    chosen = parser.parse_args(arguments)
    result = _measure(chosen.source, chosen.forced)
    print(json.dumps(result, default=str))


def _measure(source: Path, forced: Sequence[date] | None) -> SessionResult:
    from catalog.work import Scope
    from jobs.chain import CHAIN_JOB
    from mediapipe_assets.cli import run as command
    from mediapipe_assets.cli.report import run_report
    from mediapipe_assets.platform import open_platform
    from resources.settings import home_folder, load_settings
    from resources.settings_file import add_source, record_first_start

    began = time.perf_counter()
    home = home_folder()
    name = add_source(home, source)
    settings = load_settings(home)
    record_first_start(home, settings.timezone, settings.start_date)
    wishes = command.Wishes([name], None, None, None, dry_run=False, redo="failed", limit=0, as_json=True)
    with open_platform(home, prepare=True) as platform:
        session = command._Session(platform, wishes)
        session._definitions.resolve_job_def(CHAIN_JOB)
        setattr(command, "_session", _loaded(session))  # noqa: B010  # mypy: a function is no variable
        start = time.perf_counter() - began
        usage = meter(_own_processes)
        wall = time.time()
        look = _timed_look(command)
        done = command._work(platform, wishes)
        if forced:
            with command._session(platform, wishes):
                done.run_ids.append(session.run(Scope(*forced)))
        taken = usage()
        seconds = done.seconds = taken.elapsed - _clock.paused
        stages, verified = _stage_times(platform, session._instance, done.run_ids)
        return {
            "seconds": seconds,
            "verified": verified - wall - _clock.paused if verified else seconds,
            "look": look[0],
            "start": start + _clock.paused,
            "processor": taken.own - _clock.processor,
            "others": taken.others_share,
            "runs": len(done.run_ids),
            "stages": stages,
            "report": run_report(platform, done),
        }


def _timed_look(command: Any) -> list[float]:
    spent = [0.0]
    look = command._look

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return look(*arguments, **options)
        finally:
            spent[0] += time.perf_counter() - start

    command._look = timed
    return spent


def _loaded(session: Any) -> Callable[..., contextlib.AbstractContextManager[Any]]:
    """Returns what opens the command's session: the one that is loaded already, and its pool, all of it untimed."""
    from mediapipe_assets.cli import progress

    @contextlib.contextmanager
    def opened(platform: Any, wishes: Any) -> Iterator[Any]:
        with progress.one_pool(platform.settings):
            with _clock.stopped():
                warm(progress._pools[-1])
            yield session

    return opened


def warm(pool: Any) -> None:
    """Starts a pool's workers and has each import what tasks need."""
    from resources.compute import Task

    tasks = [pool.submit(Task(import_engines), 60.0) for _ in range(4 * pool.workers)]
    for task in tasks:
        task.result()


def import_engines() -> int:
    """Imports the engines in a worker, and stays long enough that the next task goes to another one."""
    import resources.archive  # noqa: F401

    time.sleep(0.1)
    return os.getpid()


def _stage_times(platform: Any, instance: Any, run_ids: Sequence[str]) -> tuple[list[StageTime], float]:
    """Returns each stage's times, and when the last of the verifying steps ended."""
    from sqlalchemy import text

    steps: dict[str, StageTime] = {}
    verified = 0.0
    with platform.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT stage, name, value FROM pipeline_metrics WHERE run_id = ANY(:ids)"), {"ids": list(run_ids)}
        ).all()
    for run_id in run_ids:
        for one in instance.get_run_step_stats(run_id):
            stage = one.step_key.replace("__", "/")
            seen = steps.setdefault(stage, {"stage": stage, "files": 0, "loop": 0.0, "step": 0.0})
            seen["step"] += (one.end_time or 0.0) - (one.start_time or 0.0)
            if stage.endswith("verified_media"):
                verified = max(verified, one.end_time or 0.0)
    for stage, name, value in rows:
        if stage in steps and name == "seconds":
            steps[stage]["loop"] += value
        elif stage in steps and name in _COUNTED:
            steps[stage]["files"] += int(value)
    return list(steps.values()), verified


_COUNTED = (
    "stored",
    "duplicates",
    "rejected",
    "compared",
    "renditions",
    "kept_original",
    "staged",
    "uploaded",
    "verified",
    "sorted",
)


if __name__ == "__main__":
    _main(sys.argv[1:])
