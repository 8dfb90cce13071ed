"""The chain from discovery to proven copies, beside a bare script that does the same work on the same files.

Belongs here: the comparison of throughput, the table of stages, and the peak of memory of all
processes. Does not belong here: the work itself (`benchmarks.session`, `benchmarks.bare`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bare import run_bare
from benchmarks.figures import Figure, median, print_figures, print_table, spread
from benchmarks.memory import MB, Peak
from benchmarks.pictures import PHONE, SETTLED_SECONDS, make_photos
from benchmarks.processor import QUIET, Usage
from benchmarks.session import SessionResult, run_session

MUST, STRETCH = 0.75, 0.90
MORE_ROUNDS = 2  # when none was quiet
MEMORY_LIMIT = 1536 * MB


def measure(files: int = 300, rounds: int = 3, size: tuple[int, int] = PHONE) -> list[Figure]:
    """Runs both, turn by turn, and returns the figures.

    The first round of the chain is the one whose memory is sampled; since that takes time of its own, it does not
    count for the speed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-chain-") as folder:
        base = Path(folder)
        photos = make_photos(base / "photos", files, size)
        time.sleep(SETTLED_SECONDS)
        weight = sum(photo.stat().st_size for photo in photos) / files / 1e6
        print(f"{files} JPEGs of {size[0] * size[1] / 1e6:.0f} megapixels, {weight:.1f} MB each on average", flush=True)
        peaks: list[Peak] = []
        _chain(base, peaks)
        pairs: list[Pair] = []
        for number in range(rounds + MORE_ROUNDS):
            if number >= rounds and any(pair.quiet for pair in pairs):
                break
            # Who comes second finds a warmer machine: they take turns.
            if number % 2 == 0:
                bare = _bare(base, photos)
                pairs.append(Pair(bare, _chain(base, None)))
            else:
                chain = _chain(base, None)
                pairs.append(Pair(_bare(base, photos), chain))
            print(f"round {number + 1}: {pairs[-1]}", flush=True)
        _print_stages([pair.chain for pair in pairs])
        return _figures(files, pairs, peaks[0])


@dataclass(frozen=True, slots=True)
class Pair:
    """Both, one right after the other."""

    bare: Usage
    chain: SessionResult

    @property
    def ratio(self) -> float:
        """The chain's throughput as a share of the bare script's, to the last proof."""
        return self.bare.elapsed / self.chain["verified"]

    @property
    def ratio_of_share(self) -> float:
        """The same by the part of the machine that others left to each: for rounds that were not quiet."""
        bare = self.bare.elapsed * (1 - self.bare.others_share)
        return bare / (self.chain["verified"] * (1 - self.chain["others"]))

    @property
    def processor_ratio(self) -> float:
        """The same by processor time, all of the chain: what others take of the machine hardly moves it."""
        return self.bare.own / self.chain["processor"]

    @property
    def quiet(self) -> bool:
        """Whether nobody else took much of the machine."""
        return self.bare.quiet and self.chain["others"] <= QUIET

    def __str__(self) -> str:
        chain = self.chain
        return (
            f"bare script {self.bare.elapsed:.1f} s, chain {chain['verified']:.1f} s to the last proof "
            f"({100 * self.ratio:.0f} %), {chain['seconds']:.1f} s with the sorted library; processor time "
            f"{self.bare.own:.1f} and {chain['processor']:.1f} s ({100 * self.processor_ratio:.0f} %); "
            f"others took {100 * self.bare.others_share:.0f} and {100 * chain['others']:.0f} % of the machine; "
            f"left out as the chain's start {chain['start']:.1f} s"
        )


def _bare(base: Path, photos: Sequence[Path]) -> Usage:
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


def _figures(files: int, pairs: Sequence[Pair], peak: Peak) -> list[Figure]:
    quiet = [pair for pair in pairs if pair.quiet]
    counted = quiet or pairs
    rounds = spread([100 * pair.ratio for pair in pairs], 0)
    if quiet:
        ratio, how = median(pair.ratio for pair in quiet), f"median of {len(quiet)} quiet rounds"
    else:
        ratio, how = median(pair.ratio_of_share for pair in pairs), "by the share of the machine that others left"
    seen = f"{100 * ratio:.0f} % ({how}; all rounds by the clock: {rounds})"
    by_processor = median(pair.processor_ratio for pair in counted)
    rates = [60 * files / median(seconds) for seconds in _seconds(counted)]
    return [
        Figure("chain / bare script, discovery to verified", f"≥ {100 * MUST:.0f} %", seen, ratio >= MUST),
        Figure("the same, stretch", f"≥ {100 * STRETCH:.0f} %", seen, ratio >= STRETCH, must=False),
        Figure("the same by processor time, with checks and sorted library", "", f"{100 * by_processor:.0f} %"),
        Figure("files a minute, chain and bare script", "", f"{rates[0]:.0f} and {rates[1]:.0f}"),
        Figure("memory of all processes together", "< 1536 MiB", str(peak), peak.pss < MEMORY_LIMIT),
    ]


def _seconds(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    return [pair.chain["verified"] for pair in pairs], [pair.bare.elapsed for pair in pairs]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=PHONE, metavar=("WIDTH", "HEIGHT"))
    chosen = parser.parse_args(arguments)
    print_figures(measure(chosen.files, chosen.rounds, (chosen.size[0], chosen.size[1])))


if __name__ == "__main__":
    main()
