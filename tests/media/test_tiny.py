"""Made-up files that tell whether a format is taken: each is of its format, and unlike any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.kinds import identify
from media.tiny import write_tiny


@pytest.mark.parametrize("file_format", ["jpeg", "heic", "png", "mov", "mp4"])
def test_a_tiny_file_is_of_its_format_and_decided_by_its_seed(tmp_path: Path, file_format: str) -> None:
    paths = [tmp_path / f"{number}.{file_format}" for number in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_tiny(path, file_format, seed)
    one, again, other = (path.read_bytes() for path in paths)
    assert one == again != other
    found = identify(paths[0])
    assert found is not None and found.format == file_format
    assert len(one) < 50_000


def test_what_nobody_knows_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_tiny(tmp_path / "a.xyz", "xyz", 1)
