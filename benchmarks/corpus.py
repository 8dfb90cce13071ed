"""Real files end to end: the good ones, the bad ones, and different files that share an MD5.

Belongs here: the command as a person calls it, over each folder, and what its report and the histories
say; for the bad ones each file alone, with its time and the memory of its largest process. Does not
belong here: assertions about single files (`tests/test_corpus.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, print_figures, print_table
from benchmarks.memory import MB, Largest
from benchmarks.pictures import SETTLED_SECONDS
from benchmarks.savings import corpus
from benchmarks.second_pass import script
from benchmarks.session import environment_of
from resources.postgres import EmbeddedPostgres

MOST_SECONDS, MOST_MEMORY = 30.0, 1024 * MB
FINISHED = (0, 3)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One file's end."""

    name: str
    state: str
    reason: str
    seconds: float
    memory: int


def measure() -> list[Figure]:
    """Runs over each part of the corpus and returns the figures."""
    folder = corpus()
    if folder is None:
        return [Figure("corpus", "", "no corpus here; MEDIAPIPE_CORPUS names it")]
    with tempfile.TemporaryDirectory(prefix="bench-corpus-") as base:
        return [
            *_good(folder / "good", Path(base)),
            *_twins(folder / "md5twins", Path(base)),
            *_bad(folder, Path(base)),
        ]


def _good(folder: Path, base: Path) -> list[Figure]:
    home, source = _copied(folder, base, "good")
    report, seconds, _ = _run(home, source)
    files = [path for path in source.rglob("*") if path.is_file()]
    stories = _histories(home, files)
    proven = [story for story in stories if _is_proven(story)]
    decided = [story for story in stories if story.get("rendition") or story.get("compression")]
    _print_unproven(files, stories)
    rendered = sum(bool(story.get("rendition")) for story in stories)
    return [
        Figure(
            "good files that end verified, whole bundle by whole bundle",
            f"all {len(files)}",
            f"{len(proven)} in {seconds:.0f} s",
            len(proven) == len(files),
        ),
        Figure(
            "good files with a rendition or a reason why the original is kept",
            f"all {len(files)}",
            f"{len(decided)} ({rendered} renditions)",
            len(decided) == len(files),
        ),
        Figure("failed or damaged among the good", "0", _bad_ends(report), _bad_ends(report) == "0 and 0"),
    ]


def _bad_ends(report: dict[str, Any]) -> str:
    return f"{report['failed']} and {report['damaged']}"


def _is_proven(story: dict[str, Any]) -> bool:
    delivered = story.get("deliveries") or []
    return bool(delivered) and all(one["state"] == "verified" for one in delivered)


def _print_unproven(files: Sequence[Path], stories: Sequence[dict[str, Any]]) -> None:
    for path, story in zip(files, stories, strict=True):
        if not _is_proven(story):
            print(f"not proven: {path.name}: {story.get('state')} {story.get('reason')}")


def _twins(folder: Path, base: Path) -> list[Figure]:
    home, source = _copied(folder, base, "twins")
    report, _, _ = _run(home, source)
    files = sum(path.is_file() for path in source.rglob("*"))
    seen = f"{report['kept']} kept, {report['duplicates']} merged, {report['rejected']} rejected"
    return [Figure("files that share an MD5 with another", f"{files} kept, 0 merged", seen, report["duplicates"] == 0)]


def _bad(folder: Path, base: Path) -> list[Figure]:
    """Runs over the bad files together, beside a good one, then over each alone."""
    home, source = _copied(folder / "bad", base, "bad")
    good = next(path for path in sorted((folder / "good").iterdir()) if path.suffix == ".jpg")
    bad = [path for path in sorted(source.rglob("*")) if path.is_file()]
    shutil.copy2(good, source / "a_good_one.jpg")
    report, seconds, _ = _run(home, source)
    *told_of, good_story = _histories(home, [*bad, source / "a_good_one.jpg"])
    beside = _is_proven(good_story)
    stories = {path.name: story for path, story in zip(bad, told_of, strict=True)}
    alone = list(_alone(bad, base, stories))
    rows = [(one.name, one.state, f"{one.seconds:.1f} s", f"{one.memory / MB:.0f} MiB", one.reason) for one in alone]
    print_table(("bad file", "ends", "time alone", "largest process", "reason"), rows)
    told = [one for one in alone if one.state in ("damaged", "rejected") and one.reason]
    slowest, largest = max(one.seconds for one in alone), max(one.memory for one in alone)
    return [
        Figure(
            "bad files that end damaged or rejected, with a reason",
            f"all {len(bad)}",
            f"{len(told)} ({report['damaged']} damaged, {report['rejected']} rejected) in {seconds:.0f} s",
            len(told) == len(bad),
        ),
        Figure("the good file among them ends verified", "yes", "yes" if beside else "no", beside),
        Figure(
            "longest run over one bad file, process start included",
            f"< {MOST_SECONDS:.0f} s",
            f"{slowest:.1f} s",
            slowest < MOST_SECONDS,
        ),
        Figure("largest process at one bad file", "< 1024 MiB", f"{largest / MB:.0f} MiB", largest < MOST_MEMORY),
    ]


def _alone(files: Sequence[Path], base: Path, stories: dict[str, dict[str, Any]]) -> Iterator[_Seen]:
    for number, path in enumerate(files):
        (base / f"alone-{number}").mkdir()
        shutil.copy2(path, base / f"alone-{number}")
    time.sleep(SETTLED_SECONDS)
    for number, path in enumerate(files):
        _, seconds, memory = _run(base / "home-alone", base / f"alone-{number}")
        shutil.rmtree(base / "home-alone")
        story = stories[path.name]
        yield _Seen(path.name, str(story.get("state")), str(story.get("reason") or ""), seconds, memory)


def _copied(folder: Path, base: Path, name: str) -> tuple[Path, Path]:
    source = base / name
    shutil.copytree(folder, source)
    time.sleep(SETTLED_SECONDS)
    return base / f"home-{name}", source


def _run(home: Path, source: Path) -> tuple[dict[str, Any], float, int]:
    start = time.monotonic()
    with Largest(os.getpid()) as largest:
        done = subprocess.run(
            [script(), "run", "--source", str(source), "--json"],
            env=environment_of(home),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode not in FINISHED:
        raise RuntimeError(f"the run over {source.name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout), time.monotonic() - start, largest.bytes


def _histories(home: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    with EmbeddedPostgres(home):  # held, so that it does not start and stop for each
        return [_history(home, path) for path in paths]


def _history(home: Path, path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [script(), "history", str(path), "--json"],
        env=environment_of(home),
        capture_output=True,
        text=True,
        check=False,
    )
    story: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"reason": done.stderr[-300:]}
    return story


def main() -> None:
    print_figures(measure())


if __name__ == "__main__":
    main()
