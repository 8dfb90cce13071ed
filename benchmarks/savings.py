"""What the default tiers save on real camera files, beside what the earlier system aimed at.

Belongs here: bytes before and after by format and tier. Does not belong here: how the renditions look,
which the engine's own tests judge.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, print_figures, print_table
from media.files import hash_file
from media.kinds import Identity, identify
from media.renditions import make_rendition
from media.tiers import DEFAULT_TIERS
from resources.compute import ComputePool, Task, fitting_workers
from resources.settings import ComputeSettings

EARLIER_TARGET = 0.30
ROWS = ("JPEG", "HEIC", "PNG", "video", "RAW", "others")
_FORMATS = {"jpeg": "JPEG", "heic": "HEIC", "png": "PNG"}
_KINDS = {"video": "video", "raw": "RAW"}
MB = 1e6

Sums = dict[tuple[str, str], list[int]]


def corpus() -> Path | None:
    """Returns the folder of real camera files, or None where there is none.

    It is what `MEDIAPIPE_CORPUS` names, else `shared/corpus` beside this checkout.
    """
    named = os.environ.get("MEDIAPIPE_CORPUS")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "corpus"
    return folder if (folder / "good").is_dir() else None


def measure() -> list[Figure]:
    """Makes every rendition of the good files and returns the figures; prints the table."""
    folder = corpus()
    if folder is None:
        return [Figure("savings on real files", "", "no corpus here; MEDIAPIPE_CORPUS names it")]
    sums: Sums = defaultdict(lambda: [0, 0, 0, 0])
    with tempfile.TemporaryDirectory(prefix="bench-savings-") as parts:
        _make_all(_good_files(folder), Path(parts), sums)
    _print(sums)
    return [_figure(tier.name, sums) for tier in DEFAULT_TIERS]


def _good_files(folder: Path) -> list[tuple[Path, Identity]]:
    files = [path for path in sorted((folder / "good").rglob("*")) if path.is_file()]
    return [(path, identity) for path in files if (identity := identify(str(path))) is not None]


def _make_all(files: Sequence[tuple[Path, Identity]], parts: Path, sums: Sums) -> None:
    memory = ComputeSettings().worker_memory_mb
    with ComputePool(fitting_workers(0, memory), memory) as pool:
        flying: list[tuple[Future[Any], Path, str, str]] = []
        for number, (path, identity) in enumerate(files):
            sha256 = hash_file(str(path))["sha256"]
            row = _FORMATS.get(identity.format) or _KINDS.get(identity.kind.value, "others")
            for tier in DEFAULT_TIERS:
                known = {"sha256": sha256, "kind": identity.kind.value, "format": identity.format}
                options = {**known, "plan": tier.plan.to_dict()}
                task = Task(make_rendition, (str(path), str(parts / f"{number}-{tier.after_days}")), options)
                flying.append((pool.submit(task, 1800.0), path, row, tier.name))
        for future, path, row, tier_name in flying:
            result = _result(future, path, tier_name)
            before = path.stat().st_size
            after = result["size"] if result["outcome"] == "made" else before
            for name in (row, "all"):
                sums[name, tier_name] = [
                    have + more
                    for have, more in zip(
                        sums[name, tier_name], (1, result["outcome"] == "made", before, after), strict=True
                    )
                ]


def _result(future: Future[Any], path: Path, tier: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = future.result()
    except Exception as error:  # one file's failure, told; its original is what would be kept
        print(f"no rendition of {path.name} in tier “{tier}”: {type(error).__name__}: {error}", flush=True)
        return {"outcome": "failed"}
    return result


def _print(sums: Sums) -> None:
    rows = []
    for name in (*ROWS, "all"):
        if (name, DEFAULT_TIERS[0].name) not in sums:
            continue
        count, _, before, _ = sums[name, DEFAULT_TIERS[0].name]
        cells = []
        for tier in DEFAULT_TIERS:
            _, made, _, after = sums[name, tier.name]
            cells.append(f"{after / MB:.1f} MB, {100 * (1 - after / before):.0f} % saved, {made} made")
        rows.append((name, count, f"{before / MB:.1f} MB", *cells))
    print_table(("format", "files", "before", *(tier.name for tier in DEFAULT_TIERS)), rows)


def _figure(tier: str, sums: Sums) -> Figure:
    _, _, before, after = sums["all", tier]
    jpeg = sums["JPEG", tier]
    seen = f"{100 * (1 - after / before):.1f} % of all bytes, {100 * (1 - jpeg[3] / jpeg[2]):.1f} % of JPEG"
    saved = 1 - after / before
    target = f"{100 * EARLIER_TARGET:.0f} % was the earlier system's aim"
    return Figure(f"saved on real files, tier “{tier}”", target, seen, saved >= EARLIER_TARGET, must=False)


def main() -> None:
    print_figures(measure())


if __name__ == "__main__":
    main()
