"""Processor time: what a measurement took itself, and what others took of the machine meanwhile.

Belongs here: adding up process trees, so that a figure from a shared machine can be judged. Does not
belong here: memory (`benchmarks.memory`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

QUIET = 0.15  # the machine's own threads, which write to the disk, take some of this


def used_by(process: psutil.Process) -> float:
    """Returns the seconds of processor time of a process and of all below it, those that have ended included."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        own = process.cpu_times()
        total += own.user + own.system + own.children_user + own.children_system
        for child in process.children():
            total += used_by(child)
    return total


@dataclass(frozen=True, slots=True)
class Usage:
    """What was taken between two moments, in seconds of processor time, and how long that was."""

    own: float
    others: float
    elapsed: float

    @property
    def others_share(self) -> float:
        """What everything else took of the machine, 0 to 1."""
        return max(0.0, self.others) / (self.elapsed * (os.cpu_count() or 1)) if self.elapsed else 0.0

    @property
    def quiet(self) -> bool:
        """Whether the machine was this measurement's own, nearly."""
        return self.others_share <= QUIET


def meter(processes: Callable[[], Iterable[psutil.Process]]) -> Callable[[], Usage]:
    """Starts to count.

    Args:
        processes: Gives the roots of the process trees that belong to the measurement.

    Returns:
        A function that says what was taken since.
    """

    def now() -> tuple[float, float, float]:
        return sum(used_by(one) for one in processes()), _busy(), time.perf_counter()

    own, busy, clock = now()

    def since() -> Usage:
        own_now, busy_now, clock_now = now()
        mine = own_now - own
        return Usage(mine, busy_now - busy - mine, clock_now - clock)

    return since


def _busy() -> float:
    times = psutil.cpu_times()
    waiting = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts guests within user already.
    return float(sum(times[:8]) - waiting)
