"""One figure: what was to be reached, what was seen, and the verdict.

Belongs here: the value that every benchmark returns, and how a table of them looks. Does not belong
here: measuring.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MET, MISSED, TOLD = "met", "MISSED", "—"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one measurement came to.

    Attributes:
        name: What was measured.
        target: What it was to be, in words; empty where nothing was asked.
        seen: What it was, in words.
        met: Whether the target was reached; None where there is none.
        must: Whether missing it fails the whole.
    """

    name: str
    target: str
    seen: str
    met: bool | None = None
    must: bool = True

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        if self.met is None:
            return TOLD
        return MET if self.met else MISSED if self.must else "not reached"

    @property
    def failed(self) -> bool:
        """Whether a target was missed that had to be reached."""
        return self.must and self.met is False


def print_figures(figures: Iterable[Figure]) -> None:
    """Prints figures as the table `figure | target | seen | verdict`."""
    rows = [(one.name, one.target, one.seen, one.verdict) for one in figures]
    print_table(("figure", "target", "seen", "verdict"), rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows as a table of Markdown, aligned for a terminal."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cells[at]) for cells in [list(columns), *texts]) for at in range(len(columns))]
    print(_line(columns, widths))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for cells in texts:
        print(_line(cells, widths))
    print(flush=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def median(values: Iterable[float]) -> float:
    """Returns the median of some values."""
    return statistics.median(list(values))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Returns the single values in words, so that a reader sees how far they lie apart."""
    return ", ".join(f"{value:.{digits}f}" for value in values)
