"""The benchmarks' own parts, at a size that costs nothing: they must work when somebody calls `make prove`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import icloud_download
from benchmarks.bare import whole_way
from benchmarks.figures import Figure, print_figures
from benchmarks.memory import Peak, sampled
from benchmarks.pictures import make_photos, make_tiny
from media.ingest import ingest
from media.perceptual import hamming


def test_photos_are_the_same_each_time_and_no_two_alike(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "one", 4, (320, 240))
    again = make_photos(tmp_path / "two", 4, (320, 240))
    assert [one.read_bytes() for one in photos] == [one.read_bytes() for one in again]
    looks = [ingest(str(photo), None)["phash"] for photo in photos]
    assert all(hamming(str(a), str(b)) > 48 for at, a in enumerate(looks) for b in looks[:at])


def test_tiny_files_differ_and_are_photos(tmp_path: Path) -> None:
    make_tiny(tmp_path, 3, per_folder=2)
    found = [ingest(str(path), None) for path in sorted(tmp_path.rglob("*.jpg"))]
    assert [one["outcome"] for one in found] == ["stored"] * 3
    assert len({one["sha256"] for one in found}) == 3


def test_the_bare_script_leaves_what_the_chain_leaves(tmp_path: Path) -> None:
    [photo] = make_photos(tmp_path / "photos", 1, (640, 480))
    assert whole_way(str(photo), str(tmp_path / "out"), 0) == "made"
    trees = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").rglob("*.jpg")}
    assert trees == {"originals", "renditions", "thumbnails", "archive"}


def test_a_missed_target_fails_only_where_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    missed = Figure("a", "< 1", "2", False)
    stretch = Figure("b", "< 1", "2", False, must=False)
    told = Figure("c", "", "3")
    assert [one.failed for one in (missed, stretch, told)] == [True, False, False]
    print_figures([missed, stretch, told])
    assert "MISSED" in capsys.readouterr().out


def test_memory_of_a_process_tree_is_seen(tmp_path: Path) -> None:
    import os
    import time

    peaks: list[Peak] = []
    with sampled(os.getpid(), tmp_path, peaks, every=0.01):
        time.sleep(0.2)
    assert peaks[0].pss > 1_000_000
    assert peaks[0].rss >= peaks[0].pss


@pytest.mark.parametrize("rate", [0, 1_000_000_000])
def test_all_who_download_get_the_same_files(tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    items = icloud_download._make_files(tmp_path / "apple", photos=1, film=5_000_000)
    with icloud_download._serving(tmp_path / "apple", rate) as address:
        for name, contender in icloud_download.CONTENDERS.items():
            fetch = contender(address, items, tmp_path)
            for item in items:
                fetch(item)
                got, there = tmp_path / item.name, tmp_path / "apple" / item.name
                assert got.exists() == ("thrown away" not in name)
                assert not got.exists() or got.read_bytes() == there.read_bytes()
                got.unlink(missing_ok=True)
