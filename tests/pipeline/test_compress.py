"""Compressing: renditions are made of exactly the bytes that were recorded, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import Engine

from catalog import work
from media.tiers import DEFAULT_TIERS
from pipeline.compress import CompressionStage
from pipeline.deduplicate import DeduplicationStage
from pipeline.stage import StageReport, work_off
from tests.pipeline.test_originals import Library
from tests.the_catalog import a_root, a_run, lease


def noisy(path: Path, seed: int = 1) -> Path:
    """A photo that a rendition makes smaller."""
    pixels = np.random.default_rng(seed).integers(0, 90, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=98)
    return path


def compress(library: Library) -> StageReport:
    roots = {**library.roots, "renditions": a_root(library.photos.parent / "renditions")}
    originals = {"originals": roots["originals"], "source:photos": library.photos}
    stages = (
        DeduplicationStage(roots, [], near=False, threshold=0, correlation=1.0),
        CompressionStage(roots, originals, DEFAULT_TIERS, [], 60.0),
    )
    with lease(library.engine) as lease_id:
        return [work_off(stage, a_run(library.engine, lease_id)) for stage in stages][-1]


def test_a_photo_that_was_edited_where_it_stands_fails_and_gets_no_rendition(tmp_path: Path, engine: Engine) -> None:
    library = Library(tmp_path, engine)
    edited, untouched = noisy(library.photos / "a.jpg"), noisy(library.photos / "b.jpg", 2)
    library.store(copied=False)
    before = edited.stat()
    with open(edited, "r+b") as handle:  # a program that keeps the size and puts the time back
        handle.seek(-400, os.SEEK_END)
        handle.write(b"\x55" * 100)
    os.utime(edited, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = compress(library)
    assert report.counts == {"renditions": 1, "failed": 1}
    ((name, reason),) = report.failures
    assert name == "a.jpg"
    assert "no longer holds the bytes" in reason
    assert [path.name.startswith("b.") for path in (tmp_path / "renditions").rglob("*.jpg")] == [True]
    with engine.connect() as connection:
        assert work.failures(connection, "compressed_media")[0] == 1
    assert untouched.exists()
