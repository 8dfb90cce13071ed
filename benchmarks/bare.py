"""A bare script that does the chain's work on files and nothing else.

Belongs here: for each photo the same reads, copies, fsyncs, hashes, decodes and the same encode as the
chain does, in as many workers. Does not belong here: a catalog, claims, checks, a log, Dagster: what
these cost is the question that the comparison answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processor import Usage, meter
from benchmarks.session import warm
from media.capture import read_capture_date
from media.files import ORIGINAL_MODE, commit_part, copy_verified, hash_file, part_path
from media.ingest import ingest
from media.renditions import make_rendition
from media.tiers import DEFAULT_TIERS, tier_for
from resources.compute import ComputePool, Task, fitting_workers

WORKER_MEMORY_MB = 1024  # as the default of compute.worker_memory_mb


def run_bare(photos: Sequence[Path], folder: Path) -> Usage:
    """Works through photos and returns what it took, the start of the workers left out."""
    with ComputePool(fitting_workers(0, WORKER_MEMORY_MB), WORKER_MEMORY_MB) as pool:
        warm(pool)
        usage = meter(lambda: [psutil.Process()])
        flying: set[Future[Any]] = set()
        for number, photo in enumerate(photos):
            if len(flying) > 2 * pool.workers + 2:
                done, flying = wait(flying, return_when=FIRST_COMPLETED)
                _raise_failures(done)
            flying.add(pool.submit(Task(whole_way, (str(photo), str(folder), number)), 600.0))
        _raise_failures(flying)
        return usage()


def _raise_failures(done: set[Future[Any]]) -> None:
    for future in done:
        future.result()


def whole_way(photo: str, folder: str, number: int) -> str:
    """Takes one photo from its folder to two proven copies in the archive.

    Returns:
        What became of it: `made` or `kept`.
    """
    source, root, now = Path(photo), Path(folder), datetime.now(UTC)
    taken = read_capture_date(source, timezone="UTC", mtime_ns=source.stat().st_mtime_ns, first_seen=now)
    day = f"{taken.local:%Y/%m/%d}"
    original = root / "originals" / day / source.name
    original.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(original, "bare")
    found = ingest(photo, str(part), thumbnail=str(root / "thumbnails" / day / f"{number}.jpg"))
    commit_part(part, original)
    copies = [(original, root / "archive/originals" / day / source.name, found["sha256"])]
    rendition = root / "renditions" / day / source.name
    rendition.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(rendition, "bare")
    plan = tier_for((now.date() - taken.local.date()).days, DEFAULT_TIERS).plan
    known = {name: found[name] for name in ("sha256", "kind", "format")}
    made = make_rendition(str(original), str(part), **known, plan=plan.to_dict())
    if made["outcome"] == "made":
        os.chmod(part, ORIGINAL_MODE)
        commit_part(part, rendition)
        copies.append((rendition, root / "archive/renditions" / day / source.name, made["sha256"]))
    for ours, copy, sha256 in copies:
        copy_verified(str(ours), str(copy), sha256, "bare")
        if hash_file(str(copy), cold=True)["sha256"] != sha256:
            raise RuntimeError(f"{copy} does not hold what was copied there")
    return made["outcome"]
