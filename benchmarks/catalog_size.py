"""A run over one day in an empty catalog and in one that holds the photos of many years.

Belongs here: how far rows that are settled slow work that has nothing to do with them. Does not belong
here: the sensor's tick (`benchmarks.idle_tick`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.database import fill
from benchmarks.figures import Figure, median, print_figures, print_table, spread
from benchmarks.pictures import PHONE, SETTLED_SECONDS, make_photos
from benchmarks.processor import QUIET
from benchmarks.session import SessionResult, run_session

MUST = 1.10
ENOUGH_QUIET, MORE_ROUNDS = 3, 5


def measure(rows: int = 100_000, files: int = 20, rounds: int = 5, size: tuple[int, int] = PHONE) -> list[Figure]:
    """Runs a new day in both homes, turn by turn, and returns the figure."""
    with tempfile.TemporaryDirectory(prefix="bench-rows-") as folder:
        base = Path(folder)
        empty, full, photos = base / "empty", base / "full", base / "photos"
        fill(empty, 0)
        fill(full, rows)
        days = _days(base / "made", files, rounds + MORE_ROUNDS + 1, size)
        photos.mkdir()
        plain: list[SessionResult] = []
        filled: list[SessionResult] = []
        for number, day in enumerate(days):
            if number > rounds and len(_quiet(plain[1:], filled[1:])) >= ENOUGH_QUIET:
                break
            day.rename(photos / day.name)
            time.sleep(SETTLED_SECONDS)
            pair = [(empty, plain), (full, filled)]
            for home, results in pair if number % 2 else reversed(pair):
                os.sync()
                results.append(run_session(home, photos))
            if plain[-1]["report"]["kept"] != files or filled[-1]["report"]["kept"] != files:
                raise RuntimeError("a run did not take its day whole")
            print(
                f"round {number}: {plain[-1]['seconds']:.2f} s without, {filled[-1]['seconds']:.2f} s with", flush=True
            )
        # The first round of each is the only one that finds cold pages and no plans; both sides leave it out.
        return _figures(rows, files, plain[1:], filled[1:])


def _days(folder: Path, files: int, count: int, size: tuple[int, int]) -> list[Path]:
    """Returns folders of photos, each of another day."""
    photos = make_photos(folder, files * count, size, per_day=files)
    days = []
    for number in range(count):
        day = folder / f"day-{number:03d}"
        day.mkdir()
        for photo in photos[number * files : (number + 1) * files]:
            photo.rename(day / photo.name)
        days.append(day)
    return days


def _figures(rows: int, files: int, plain: list[SessionResult], filled: list[SessionResult]) -> list[Figure]:
    stages = []
    for at, stage in enumerate(filled[-1]["stages"]):
        times = [median(one["stages"][at]["step"] for one in side) for side in (plain, filled)]
        stages.append((stage["stage"], *(f"{one:.3f}" for one in times)))
    looks = [median(one["look"] for one in side) for side in (plain, filled)]
    print_table(("step", "seconds without rows", "with"), [("discovery", *(f"{one:.3f}" for one in looks)), *stages])
    quiet = _quiet(plain, filled)
    ratios = [with_rows["seconds"] / without["seconds"] for without, with_rows in zip(plain, filled, strict=True)]
    processor = median(one["processor"] for one in filled) / median(one["processor"] for one in plain)
    if len(quiet) >= ENOUGH_QUIET:
        ratio, how = median(quiet), f"median of {len(quiet)} quiet rounds"
    else:
        ratio, how = processor, "by processor time, since others used the machine in most rounds"
    return [
        Figure(
            f"run over one day of {files} photos, {rows:,} rows / none",
            f"< {100 * (MUST - 1):.0f} % more",
            f"{100 * (ratio - 1):+.1f} % ({how}; all rounds: {spread([100 * (one - 1) for one in ratios], 0)})",
            ratio < MUST,
        ),
        Figure("the same by processor time", "", f"{100 * (processor - 1):+.1f} %"),
    ]


def _quiet(plain: Sequence[SessionResult], filled: Sequence[SessionResult]) -> list[float]:
    """Returns the ratios of the rounds in which nobody else took much of the machine."""
    pairs = zip(plain, filled, strict=True)
    return [full["seconds"] / one["seconds"] for one, full in pairs if max(one["others"], full["others"]) <= QUIET]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalog_size", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=PHONE, metavar=("WIDTH", "HEIGHT"))
    chosen = parser.parse_args(arguments)
    print_figures(measure(chosen.rows, chosen.files, chosen.rounds, (chosen.size[0], chosen.size[1])))


if __name__ == "__main__":
    main()
