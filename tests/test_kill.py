"""`kill -9` at any moment, then run again: the same result as without the kill.

Moments are random within their stage; the seed is printed, and `KILL_SEED` sets it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from tests.conftest import Home, copied, processes_of, results, temporary_files, tree

APPLE, CAMERA, DOWNLOADS = "DCIM/100APPLE", "Camera", "Downloads"
FILES = (
    f"{APPLE}/IMG_0002.HEIC", f"{APPLE}/IMG_0002.MOV",  # a Live Photo
    f"{APPLE}/IMG_0003.JPG", f"{DOWNLOADS}/IMG_0003 (1).JPG",  # an exact duplicate
    f"{APPLE}/IMG_0007.JPG", f"{APPLE}/IMG_E0007.JPG", f"{APPLE}/IMG_0007.AAE",  # an edit and its sidecar
    f"{APPLE}/IMG_0009.JPG",  # damaged
    "DCIM/101APPLE/IMG_0011.JPG",  # no media
    "DCIM/101APPLE/IMG_0003.JPG",  # a name that comes twice
    f"{CAMERA}/IMG_20180505_184210.dng", f"{CAMERA}/IMG_20180505_184210.jpg",
    "Scans/Dia 1994-08.png",
)  # fmt: skip
START = "2023-11-01"  # every photo belongs to this one date
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10_000)


@dataclass
class Undisturbed:
    """What a run that nobody disturbs leaves, and how long it takes."""

    source: Path
    results: dict[str, dict[str, tuple[object, ...]]]
    status: Any
    seconds: float
    before: dict[str, tuple[object, ...]]


@pytest.fixture(scope="module")
def undisturbed(sample: Path, shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    source = copied(sample, tmp_path_factory.mktemp("kill") / "photos", FILES)
    shared_home.watch(source, start=START)
    before = tree(source)
    started = time.monotonic()
    report = shared_home.run()
    seconds = time.monotonic() - started
    assert len(report["runs"]) == 1, "the files should share one date"
    print(f"\nseed {SEED}; an undisturbed run takes {seconds:.1f} s")
    yield Undisturbed(source, results(shared_home), shared_home.status(), seconds, before)


def run_in(home: Home, undisturbed: Undisturbed) -> subprocess.Popen[str]:
    home.watch(undisturbed.source, start=START)
    return home.start("run", "--json")


def appears(home: Home, root: str) -> Callable[[], bool]:
    """Whether a whole file stands below a root."""

    def look() -> bool:
        return any(path.is_file() and not path.name.startswith(".") for path in (home.path / root).rglob("*"))

    return look


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.01)


def kill_run(home: Home, process: subprocess.Popen[str]) -> None:
    """The run alone: its workers are orphans for as long as their task takes."""
    process.kill()
    process.wait()


def kill_group(home: Home, process: subprocess.Popen[str]) -> None:
    """The run and its workers, as the kernel does with a whole service."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_workers(home: Home, process: subprocess.Popen[str]) -> None:
    """Every worker; the run goes on with new ones."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    process.wait(timeout=120)


def kill_database(home: Home, process: subprocess.Popen[str]) -> None:
    """The embedded server; the run must end by itself and say why."""
    pid = int((home.path / "database" / "postmaster.pid").read_text().split()[0])
    assert "postgres" in psutil.Process(pid).name()
    os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been done already
        assert process.returncode == 1, err
        last = err.rstrip().splitlines()[-1]
        assert last.startswith("Error: ") and "database" in last.lower(), err


def different(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What differs, path by path, so that a failure can be read."""
    return {
        f"{root}/{path}": (one[root].get(path), other[root].get(path))
        for root in other
        for path in one[root].keys() | other[root].keys()
        if one[root].get(path) != other[root].get(path)
    }


def same_after_another_run(home: Home, undisturbed: Undisturbed) -> None:
    home.run()
    assert different(results(home), undisturbed.results) == {}
    assert home.status() == undisturbed.status
    assert temporary_files(home) == []
    assert tree(undisturbed.source) == undisturbed.before
    with home.opened() as platform, platform.engine.connect() as connection:
        running = connection.execute(
            text("SELECT run_id FROM public.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')")
        ).all()
        leases = connection.execute(text("SELECT id FROM leases WHERE ended_at IS NULL")).all()
        claims = connection.execute(text("SELECT stage, row_id FROM work")).all()
    assert (running, leases, claims) == ([], [], [])
    assert home.run()["runs"] == [], "a third run still found something to do"
    deadline = time.monotonic() + 20
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, [one.cmdline()[:4] for one in left]


@pytest.mark.parametrize(
    ("root", "kill"),
    [("originals", kill_run), ("renditions", kill_group), ("archive", kill_database)],
    ids=["the run while it stores", "run and workers while they compress", "the database while it delivers"],
)
def test_after_a_kill_another_run_ends_with_the_same_result(
    home: Home, undisturbed: Undisturbed, root: str, kill: Callable[[Home, subprocess.Popen[str]], None]
) -> None:
    process = run_in(home, undisturbed)
    wait_until(appears(home, root), process)
    time.sleep(random.Random(f"{SEED}{root}").uniform(0, 0.25))
    kill(home, process)
    same_after_another_run(home, undisturbed)


KINDS = (kill_run, kill_group, kill_database, kill_workers)


@pytest.mark.prove
@pytest.mark.parametrize("number", range(20))
def test_after_a_kill_at_any_moment_another_run_ends_with_the_same_result(
    home: Home, undisturbed: Undisturbed, number: int
) -> None:
    # Spread over the whole duration: each moment has its twentieth, and is anywhere in it.
    moment = (number + random.Random(SEED * 100 + number).random()) / 20 * undisturbed.seconds
    kill = KINDS[number % len(KINDS)]
    started = time.monotonic()
    process = run_in(home, undisturbed)
    while time.monotonic() - started < moment and process.poll() is None:
        time.sleep(0.005)
    if kill is kill_database and not (home.path / "database" / "postmaster.pid").exists():
        kill = kill_run  # there is none yet, or no more
    print(f"\nseed {SEED}, moment {moment:.2f} s of {undisturbed.seconds:.1f} s, {kill.__name__}")
    if process.poll() is None:
        kill(home, process)
    same_after_another_run(home, undisturbed)


@pytest.mark.prove
@pytest.mark.parametrize("number", range(4))
def test_a_kill_while_a_second_run_goes_on_over_the_same_dates_harms_neither(
    home: Home, undisturbed: Undisturbed, number: int
) -> None:
    first = run_in(home, undisturbed)
    second = home.start("run", "--json")
    moment = random.Random(SEED * 100 + number).uniform(0.2, 0.9) * 1.5 * undisturbed.seconds
    print(f"\nseed {SEED}, moment {moment:.2f} s, the {'second' if number % 2 else 'first'} of two runs")
    time.sleep(moment)
    kill_run(home, second if number % 2 else first)
    other = first if number % 2 else second
    out, err = other.communicate(timeout=240)
    assert other.returncode == 0, err
    assert json.loads(out)["failed"] == 0
    same_after_another_run(home, undisturbed)


@pytest.mark.prove
def test_workers_that_are_killed_over_and_over_fail_no_file_for_good(home: Home, undisturbed: Undisturbed) -> None:
    process = run_in(home, undisturbed)
    randomness = random.Random(SEED)
    while process.poll() is None:
        time.sleep(randomness.uniform(0.5, 1.5))
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                break
    _, err = process.communicate()
    assert process.returncode in (0, 3), err
    home.cli("run", "--redo", "all", "--from", "2023-11-01", "--to", "2023-11-01", expect=None)
    home.run()
    assert different(results(home), undisturbed.results) == {}
    assert home.status() == undisturbed.status
