"""Every figure that the product promises, one after the other: `make prove`.

Belongs here: the order, going on after a failure, the one table at the end, the exit code. Does not
belong here: any measurement.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from benchmarks import (
    catalog_size,
    chain,
    corpus,
    icloud_download,
    icloud_sync,
    idle_tick,
    pixel_watch,
    savings,
    second_pass,
)
from benchmarks.figures import Figure, print_figures
from benchmarks.session import CHECKOUT

Benchmark = Callable[[], list[Figure]]

# Small inputs, to see whether the programs themselves work.
_QUICK: dict[str, Benchmark] = {
    "chain": lambda: chain.measure(files=12, rounds=1, size=(1600, 1200)),
    "second_pass": lambda: second_pass.measure(files=30, passes=1),
    "catalog_size": lambda: catalog_size.measure(rows=1000, files=3, rounds=1, size=(640, 480)),
    "idle_tick": lambda: idle_tick.measure(files=2000),
    "icloud_download": lambda: icloud_download.measure(photos=10, film=30 * icloud_download.MB, rounds=1),
    "icloud_sync": lambda: icloud_sync.measure((200, 1000)),
    "pixel_watch": lambda: pixel_watch.measure(files=200),
}
_WHOLE: dict[str, Benchmark] = {
    "chain": chain.measure,
    "second_pass": second_pass.measure,
    "catalog_size": catalog_size.measure,
    "idle_tick": idle_tick.measure,
    "icloud_download": icloud_download.measure,
    "icloud_sync": icloud_sync.measure,
    "pixel_watch": pixel_watch.measure,
    "savings": savings.measure,
    "corpus": corpus.measure,
}
PYTEST_NOTHING_FOUND = 5


def prove(benchmarks: dict[str, Benchmark], *, tests: bool = True) -> list[Figure]:
    """Runs benchmarks and the tests that take long; what breaks becomes a figure of its own."""
    figures: list[Figure] = []
    for name, benchmark in benchmarks.items():
        print(f"\n== {name}: {sys.modules[f'benchmarks.{name}'].__doc__ or ''}".splitlines()[1], flush=True)
        start = time.monotonic()
        try:
            found = benchmark()
        except Exception:
            traceback.print_exc()
            found = [Figure(f"{name}, which broke off; see above", "a figure", "none", False)]
        print_figures(found)
        print(f"({name} took {time.monotonic() - start:.0f} s)", flush=True)
        figures += found
    if tests:
        figures.append(_tests())
    return figures


def _tests() -> Figure:
    """Runs the tests that are marked `prove`: kills at random moments, a database that goes away, and the like."""
    print("\n== pytest -m prove", flush=True)
    command = [sys.executable, "-m", "pytest", "-m", "prove", "-rA", "--timeout", "3600"]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    found = done.returncode != PYTEST_NOTHING_FOUND
    said = lines[-1].strip("= ") if lines and found else "no test is marked so"
    return Figure("tests that take long (pytest -m prove)", "all pass", said, done.returncode == 0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *_WHOLE, "tests"], help="Only these.")
    parser.add_argument("--quick", action="store_true", help="Small inputs: do the programs work at all?")
    chosen = parser.parse_args(arguments)
    sizes = _QUICK if chosen.quick else _WHOLE
    wanted = {name: run for name, run in sizes.items() if not chosen.only or name in chosen.only}
    figures = prove(wanted, tests="tests" in chosen.only or not (chosen.only or chosen.quick))
    print("\n== all figures", flush=True)
    print_figures(figures)
    return 1 if any(figure.failed for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
