"""How much memory all processes of a run take together.

Belongs here: sampling a process, everything below it, and the PostgreSQL of its home. Does not belong
here: limits, which each benchmark states beside what it measured.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MB = 1 << 20


@dataclass(slots=True)
class Peak:
    """The highest sums that were seen, in bytes.

    PSS counts a page that several processes share once in all, RSS once for each: PSS is what the machine
    must have, RSS what most tools show.
    """

    pss: int = 0
    rss: int = 0
    processes: int = 0
    samples: int = 0
    parts: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {size / MB:.0f}" for name, size in sorted(self.parts.items()))
        return (
            f"{self.pss / MB:.0f} MiB PSS ({listed}), {self.rss / MB:.0f} MiB RSS, {self.processes} processes, "
            f"{self.samples} samples"
        )


@contextlib.contextmanager
def sampled(pid: int, home: Path, peaks: list[Peak] | None, every: float = 0.2) -> Iterator[None]:
    """Samples a process, its descendants and the PostgreSQL of a home while the block runs.

    Args:
        pid: The process.
        home: Where the embedded database stands.
        peaks: Where to put the result; None not to look at all.
        every: Seconds between two samples.
    """
    if peaks is None:
        yield
        return
    over = threading.Event()
    peak = Peak()
    watcher = threading.Thread(target=_watch, args=(pid, home, peak, over, every), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        peaks.append(peak)


def _watch(pid: int, home: Path, peak: Peak, over: threading.Event, every: float) -> None:
    while not over.wait(every):
        _sample(pid, home, peak)


def _sample(pid: int, home: Path, peak: Peak) -> None:
    parts: dict[str, int] = {}
    pss = rss = count = 0
    for name, process in _processes(pid, home):
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        pss += memory.pss
        rss += memory.rss
        count += 1
        parts[name] = parts.get(name, 0) + memory.pss
    peak.samples += 1
    peak.rss = max(peak.rss, rss)
    peak.processes = max(peak.processes, count)
    if pss > peak.pss:
        peak.pss, peak.parts = pss, parts


def _processes(pid: int, home: Path) -> Iterator[tuple[str, psutil.Process]]:
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        yield "run", parent
        for child in parent.children(recursive=True):
            yield "workers", child
    for server in servers(home):
        with contextlib.suppress(psutil.Error):
            yield "PostgreSQL", server
            for child in server.children(recursive=True):
                yield "PostgreSQL", child


def servers(home: Path) -> list[psutil.Process]:
    """Returns the embedded PostgreSQL of a home, when it runs."""
    found = []
    for postmaster in home.glob("database/**/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            found.append(psutil.Process(int(postmaster.read_text().split()[0])))
    return found


class Largest:
    """The largest resident size of any single process below this one, for as long as it is entered."""

    def __init__(self, pid: int, every: float = 0.05) -> None:
        """Takes the process whose descendants are looked at."""
        self.bytes = 0
        self._pid = pid
        self._every = every
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Largest:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self._pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        self.bytes = max(self.bytes, child.memory_info().rss)
            time.sleep(self._every)
