"""The chain from discovery to proven copies, beside a bare script that does the same work on the same files.

Belongs here: the comparison of throughput, the table of stages, and the peak of memory of all
processes. Does not belong here: the work itself (`benchmarks.session`, `benchmarks.bare`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bare import run_bare
from benchmarks.figures import Figure, median, print_figures, print_table, spread
from benchmarks.memory import MB, Peak
from benchmarks.pictures import PHONE, make_photos
from benchmarks.session import SessionResult, run_session

MUST, STRETCH = 0.75, 0.90
MEMORY_LIMIT = 1536 * MB


def measure(files: int = 300, rounds: int = 3, size: tuple[int, int] = PHONE) -> list[Figure]:
    """Runs both, turn by turn, and returns the figures.

    The first round of the chain is the one whose memory is sampled; since that takes time of its own, it does not
    count for the speed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-chain-") as folder:
        base = Path(folder)
        photos = make_photos(base / "photos", files, size)
        weight = sum(photo.stat().st_size for photo in photos) / files / 1e6
        print(f"{files} JPEGs of {size[0] * size[1] / 1e6:.0f} megapixels, {weight:.1f} MB each on average", flush=True)
        peaks: list[Peak] = []
        _chain(base, peaks)
        bare: list[float] = []
        chain: list[SessionResult] = []
        for number in range(rounds):
            # Who comes second finds a warmer machine: they take turns.
            for who in ("bare", "chain") if number % 2 == 0 else ("chain", "bare"):
                if who == "bare":
                    bare.append(_bare(base, photos))
                else:
                    chain.append(_chain(base, None))
            print(
                f"round {number + 1}: bare script {bare[-1]:.1f} s, chain {chain[-1]['verified']:.1f} s to the last proof, "
                f"{chain[-1]['seconds']:.1f} s to the end of the sorted library; left out as its start "
                f"{chain[-1]['start']:.1f} s",
                flush=True,
            )
        _print_stages(chain)
        return _figures(files, bare, chain, peaks[0])


def _bare(base: Path, photos: Sequence[Path]) -> float:
    folder = base / "bare"
    os.sync()
    try:
        return run_bare(photos, folder)
    finally:
        shutil.rmtree(folder)


def _chain(base: Path, peaks: list[Peak] | None) -> SessionResult:
    home = base / "home"
    os.sync()
    try:
        result = run_session(home, base / "photos", memory=peaks)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    delivered = result["report"]["destinations"]["archive"]
    if delivered["verified"] < result["report"]["found"] or delivered["failed"]:
        raise RuntimeError(f"not every file was proven: {result['report']}")
    return result


def _print_stages(chain: Sequence[SessionResult]) -> None:
    rows = [("discovery", "", f"{median(one['look'] for one in chain):.2f}", "")]
    for at, stage in enumerate(chain[-1]["stages"]):
        loop = median(one["stages"][at]["loop"] for one in chain)
        step = median(one["stages"][at]["step"] for one in chain)
        rows.append((stage["stage"], str(stage["files"]), f"{loop:.2f}", f"{step - loop:.2f}"))
    print_table(("stage", "files", "seconds on files", "checks and Dagster's events"), rows)


def _figures(files: int, bare: Sequence[float], chain: Sequence[SessionResult], peak: Peak) -> list[Figure]:
    proven = [one["verified"] for one in chain]
    whole = [one["seconds"] for one in chain]
    ratios = [alone / all_of_it for alone, all_of_it in zip(bare, proven, strict=True)]
    ratio = median(bare) / median(proven)
    seen = f"{100 * ratio:.0f} % (rounds: {spread([100 * one for one in ratios], 0)})"
    rate_bare, rate_chain = 60 * files / median(bare), 60 * files / median(proven)
    return [
        Figure("chain / bare script, discovery to verified", f"≥ {100 * MUST:.0f} %", seen, ratio >= MUST),
        Figure("the same, stretch", f"≥ {100 * STRETCH:.0f} %", seen, ratio >= STRETCH, must=False),
        Figure("the same with the sorted library", "", f"{100 * median(bare) / median(whole):.0f} %"),
        Figure("files a minute, chain and bare script", "", f"{rate_chain:.0f} and {rate_bare:.0f}"),
        Figure("memory of all processes together", "< 1536 MiB", str(peak), peak.pss < MEMORY_LIMIT),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=PHONE, metavar=("WIDTH", "HEIGHT"))
    chosen = parser.parse_args(arguments)
    print_figures(measure(chosen.files, chosen.rounds, (chosen.size[0], chosen.size[1])))


if __name__ == "__main__":
    main()
