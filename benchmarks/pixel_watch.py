"""What a look at the phone costs: one at which nothing is new, and one over very many files that have not arrived.

Belongs here: looks through two real Syncthing daemons on this machine, the second of which plays the phone. Does not
belong here: placing files, or the runs that a look asks for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, median, print_figures, spread

if TYPE_CHECKING:
    from tests.pixel_watch_world import Watching
    from tests.syncthing_daemons import Pair

IDLE_MS = 20.0
MUST_SECONDS = 5.0
IDLE_LOOKS = 50
WAIT_SECONDS = 300
VERSIONS = ("1.29", "1.19")


@dataclass(slots=True)
class _Looks:
    """Looks until there was nothing left to ask: the seconds of each, and about how many files it asked."""

    seconds: list[float] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    @property
    def words(self) -> str:
        return f"{spread(self.seconds, 2)} s for {', '.join(f'{one:,}' for one in self.asked)} files"

    @property
    def slowest(self) -> float:
        return max(self.seconds)


def measure(files: int = 2_000) -> list[Figure]:
    """Looks at a phone that has nothing, at one that got everything, and at one where nothing is new."""
    from tests.syncthing_programs import program

    found = next(((one, path) for one in VERSIONS if (path := program(one)) is not None), None)
    if found is None:
        return [Figure("looks at a phone", "", "no Syncthing can be had here")]
    version, path = found
    with _world(path) as (world, two):
        two.phone.stop()
        world.place_all({f"{number:05}.jpg": f"photo {number}".encode() for number in range(files)})
        two.nas.post("db/scan", folder=world.settings.folder_id)
        missing = _looks(world)
        two.phone.start()
        _wait(lambda: sum(1 for _ in two.phone.folder.glob("*.jpg")) == files)
        arrived = _looks(world)
        latched = len(world.delivered())
        _wait(lambda: not world.tick().asked)
        idle = [_timed(world)[0] * 1000 for _ in range(IDLE_LOOKS)]
    return [
        Figure(
            f"idle look at a phone, {files:,} files in its folder (Syncthing {version})",
            f"< {IDLE_MS:.0f} ms",
            f"{median(idle):.1f} ms (slowest {max(idle):.1f})",
            median(idle) < IDLE_MS,
        ),
        Figure(
            f"look with {files:,} undelivered files, none of them on the phone",
            f"< {MUST_SECONDS:.0f} s",
            missing.words,
            missing.slowest < MUST_SECONDS,
        ),
        Figure(
            f"look with {files:,} undelivered files, all of them on the phone",
            f"< {MUST_SECONDS:.0f} s",
            arrived.words,
            arrived.slowest < MUST_SECONDS,
        ),
        Figure("of these latched as delivered", "all of them", f"{latched:,}", latched == files),
    ]


@contextmanager
def _world(program: Path) -> Iterator[tuple[Watching, Pair]]:
    from pydantic import SecretStr

    from mediapipe_assets.platform import open_platform
    from resources.syncthing import Syncthing
    from tests.pixel_watch_world import Watching
    from tests.syncthing_daemons import FOLDER, KEY, pair

    with tempfile.TemporaryDirectory(prefix="bench-pixel-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the database of root runs as another account
        with pair(program, folder) as two, open_platform(folder / "home", prepare=True) as platform:
            two.wait_connected()
            syncthing = Syncthing(two.nas.url, SecretStr(KEY))
            given = {"url": two.nas.url, "folder_id": FOLDER}
            yield Watching(platform.engine, two.nas.folder, syncthing, two.device, **given), two


def _looks(world: Watching) -> _Looks:
    found = _Looks()
    left = True
    while left:
        seconds, asked = _timed(world)
        if asked or not found.asked:
            found.seconds.append(seconds)
            found.asked.append(asked)
        left = bool(asked)
    return found


def _timed(world: Watching) -> tuple[float, int]:
    start = time.perf_counter()
    found = world.tick()
    return time.perf_counter() - start, found.asked


def _wait(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not happened():
        if time.monotonic() > end:
            raise RuntimeError("the two daemons did not come to rest")
        time.sleep(0.2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pixel_watch", description=__doc__)
    parser.add_argument("--files", type=int, default=2_000)
    print_figures(measure(parser.parse_args(arguments).files))


if __name__ == "__main__":
    main()
