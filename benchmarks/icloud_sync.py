"""What a sync of iCloud costs after a few changes: it is to grow with the changes, and not with the library.

Belongs here: the requests of a first sync and of a later one, in a small and in a large library of the stand-in, by
the real pyicloud. Does not belong here: downloads.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, print_figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.icloud_standin import Account, Library

MOST = 1.3  # times as many requests in the large library as in the small one
SIZES = (2_000, 20_000)
NAME, PASSWORD = "bench@example.com", "bench"
FIRST = datetime(2012, 1, 1, tzinfo=UTC)
ADDED, EDITED, DELETED = 10, 5, 5


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the two syncs of one library came to."""

    first: int
    seconds: float
    later: int
    changes: tuple[int, int, int]


def measure(sizes: tuple[int, int] = SIZES) -> list[Figure]:
    """Syncs a small and a large library, changes a little in each, and syncs again."""
    small, large = (_cost(size) for size in sizes)
    found = [
        Figure(
            f"first sync of {size:,} assets", "", f"{one.first} requests in {one.seconds:.1f} s, then {one.later} more"
        )
        for size, one in zip(sizes, (small, large), strict=True)
    ]
    ratio = large.later / small.later
    named = (
        f"requests after {ADDED} added, {EDITED} edited, {DELETED} deleted: {sizes[1]:,} against {sizes[0]:,} assets"
    )
    found.append(Figure(named, f"≤ {MOST:.1f} times", f"{ratio:.2f} times", ratio <= MOST))
    right = {small.changes, large.changes} == {(ADDED, EDITED, DELETED)}
    found.append(Figure("changes found by these syncs", "all of them", str(large.changes), right))
    return found


def _cost(size: int) -> _Cost:
    from mediapipe_assets.platform import open_platform
    from services.icloud_standin import ICloudStandin

    with tempfile.TemporaryDirectory(prefix="bench-icloud-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the database of root runs as another account
        with ICloudStandin(folder / "apple") as apple:
            account = apple.account(NAME, PASSWORD)
            library = account.library()
            for number in range(size):
                _add(library, number, FIRST + timedelta(hours=5 * number))
            ours = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
            with _environment({**apple.environment, **ours}), open_platform(folder / "home", prepare=True) as platform:
                _sign_in(platform, account)
                begun = time.monotonic()
                first = platform.icloud.sync("icloud", platform.date_rules())
                seconds = time.monotonic() - begun
                _change(library, size)
                later = platform.icloud.sync("icloud", platform.date_rules())
    found = later.found
    changes = (len(found.new), len(found.changed), len(found.deleted))
    return _Cost(first.requests, seconds, later.requests, changes)


def _sign_in(platform: object, account: Account) -> None:
    from pipeline.assembly import Platform
    from pipeline.icloud_account import ask_for_code, enter_code

    assert isinstance(platform, Platform)
    who = platform.icloud.accounts["icloud"]
    ask_for_code(platform.engine, who)
    if not enter_code(platform.engine, who, account.code or ""):
        raise RuntimeError("the stand-in did not take its own code")


def _add(library: Library, number: int, taken: datetime) -> None:
    library.add(f"IMG_{number:05d}.JPG", f"photo {number}".encode(), taken=taken, offset_seconds=3600)


def _change(library: Library, size: int) -> None:
    assets = library.assets
    for number in range(ADDED):
        _add(library, size + number, FIRST - timedelta(days=100 * number))
    for number, asset in enumerate(assets[:EDITED]):
        library.edit(asset, f"edited {number}".encode())
    for asset in assets[-DELETED:]:
        library.delete(asset)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.icloud_sync", description=__doc__)
    parser.add_argument("--assets", type=int, nargs=2, default=SIZES, metavar=("FEW", "MANY"))
    few, many = parser.parse_args(arguments).assets
    print_figures(measure((few, many)))


if __name__ == "__main__":
    main()
