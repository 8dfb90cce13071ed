"""A second pass over a folder in which nothing has changed, beside the first one.

Belongs here: the ratio of the two. Does not belong here: the first pass's own speed
(`benchmarks.chain`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.figures import Figure, median, print_figures
from benchmarks.pictures import FIRST_SHOT, SETTLED_SECONDS, SHOTS_A_DAY, make_photos
from benchmarks.session import environment_of, run_session

MUST = 0.10
MOST_SECONDS = 10.0
SMALL = (640, 480)


def measure(files: int = 1000, passes: int = 3) -> list[Figure]:
    """Runs the chain over small files, then again with nothing to do, and returns the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-second-") as folder:
        base = Path(folder)
        home, photos = base / "home", base / "photos"
        make_photos(photos, files, SMALL)
        time.sleep(SETTLED_SECONDS)
        first = run_session(home, photos)
        again = [run_session(home, photos) for _ in range(passes)]
        if first["report"]["kept"] != files or any(one["runs"] for one in again):
            raise RuntimeError(f"the first pass left something to do: {first['report']}")
        days = (FIRST_SHOT.date(), (FIRST_SHOT + timedelta(days=(files - 1) // SHOTS_A_DAY)).date())
        forced = run_session(home, photos, forced=days)
        start = time.perf_counter()
        subprocess.run(
            [script(), "run", "--source", str(photos)], env=environment_of(home), check=True, capture_output=True
        )
        command = time.perf_counter() - start
    empty = median(one["seconds"] for one in again)
    ratio, ratio_forced = empty / first["seconds"], forced["seconds"] / first["seconds"]
    rate = 60 * files / first["seconds"]
    return [
        Figure(
            f"empty second pass / first pass, {files} files",
            f"≤ {100 * MUST:.0f} %",
            f"{100 * ratio:.1f} % ({empty:.2f} s of {first['seconds']:.1f} s)",
            ratio <= MUST,
        ),
        Figure(
            "the same as a recorded run over all its days",
            f"≤ {100 * MUST:.0f} %",
            f"{100 * ratio_forced:.1f} % ({forced['seconds']:.2f} s)",
            ratio_forced <= MUST,
        ),
        Figure(
            "second `mediapipe-assets run`, with its process's start",
            f"≤ {MOST_SECONDS:.0f} s",
            f"{command:.1f} s",
            command <= MOST_SECONDS,
        ),
        Figure("small files a minute in the first pass", "", f"{rate:.0f}"),
    ]


def script() -> str:
    """Returns the command of the same installation."""
    return str(Path(sys.executable).with_name("mediapipe-assets"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.second_pass", description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    print_figures(measure(parser.parse_args(arguments).files))


if __name__ == "__main__":
    main()
