"""The downloader for iCloud's signed addresses beside plain requests, from a server on this machine.

Belongs here: how fast files come and how much memory that takes, over a line like the fastest ones at home, and
when the line costs nothing. Does not belong here: what Apple's servers give, which nobody can repeat.

Each contender gets a process of its own, the same files, as many threads, and an empty disk queue; they take turns.
The plain ones are `requests.Session` per thread and `iter_content`: one throws the bytes away, one writes them to files
without looking at them, one syncs these files as well, which is what makes a download survive a power cut.

Without a line, the processor is all that there is to share: computing SHA-1 and writing take what they take, and
whoever does neither is faster by that. These figures are told so that a change for the worse shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TypedDict

import psutil

from benchmarks.figures import Figure, median, print_figures, spread
from benchmarks.processor import QUIET, meter
from benchmarks.session import CHECKOUT

MUST = 0.8
MUST_MEMORY = 200  # MB
CONNECTIONS = 8
MB = 1_000_000
PHOTO = 3 * MB
FILM = 1000 * MB
LINE = 125 * MB  # bytes a second: 1 Gbit/s
_BLOCK = 1 << 20
_SLICE = 128 << 10


class _Turn(TypedDict):
    """What one contender took for all files: seconds, seconds of processor time, peak of resident memory in bytes.

    `others` is the share of the machine that everything else took meanwhile.
    """

    seconds: float
    processor: float
    memory: int
    others: float


@dataclass(frozen=True, slots=True)
class _Item:
    """A file that the server has."""

    name: str
    size: int
    checksum: str


# ------------------------------------------------------------------ the server


class _Line:
    """A line that all connections share."""

    def __init__(self, rate: int) -> None:
        """Takes the rate in bytes a second, 0 for one without end."""
        self._rate = rate
        self._lock = threading.Lock()
        self._free = 0.0

    def send(self, file: BinaryIO, connection: socket.socket) -> None:
        """Sends a file, as fast as the line and the kernel can."""
        if not self._rate:
            connection.sendfile(file)
            return
        for start in range(0, os.fstat(file.fileno()).st_size, _SLICE):
            self._wait()
            connection.sendfile(file, start, _SLICE)

    def _wait(self) -> None:
        """Waits until the line is free for one more slice."""
        with self._lock:
            now = time.monotonic()
            mine = max(now, self._free)
            self._free = mine + _SLICE / self._rate
        time.sleep(mine - now)


class _Server(socketserver.ThreadingTCPServer):
    """Sends files."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, line: _Line) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.line = line


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            with open(line.split()[1].decode().lstrip("/"), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, socket.MSG_MORE)
                self.server.line.send(file, self.connection)


def _serve(rate: int) -> None:
    with _Server(_Line(rate)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()  # until the one that started it ends


@contextlib.contextmanager
def _serving(folder: Path, rate: int) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.icloud_download", "--serve", str(rate)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()


# ------------------------------------------------------------------ the contenders


def _ours(address: str, items: Sequence[_Item], target: Path) -> Callable[[_Item], None]:
    from resources.icloud_download import Downloader, Wanted

    downloader = Downloader(CONNECTIONS)

    def fetch(item: _Item) -> None:
        wanted = Wanted(f"{address}/{item.name}", target / item.name, item.checksum, item.size)
        if not downloader.fetch(wanted).proven:
            raise RuntimeError(f"{item.name} was not proven")

    return fetch


def _plain(write: bool, sync: bool) -> Callable[[str, Sequence[_Item], Path], Callable[[_Item], None]]:
    def contender(address: str, items: Sequence[_Item], target: Path) -> Callable[[_Item], None]:
        import requests

        own = threading.local()

        def fetch(item: _Item) -> None:
            if not hasattr(own, "session"):
                own.session = requests.Session()
            path = target / item.name if write else Path(os.devnull)
            with own.session.get(f"{address}/{item.name}", stream=True) as response, open(path, "wb") as file:
                for block in response.iter_content(_BLOCK):
                    file.write(block)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())

        return fetch

    return contender


CONTENDERS = {
    "ours": _ours,
    "plain requests, thrown away": _plain(False, False),
    "plain requests to files": _plain(True, False),
    "plain requests to files, synced": _plain(True, True),
}


def _compete(name: str, address: str, listing: Path, target: Path) -> _Turn:
    items = [_Item(**one) for one in json.loads(listing.read_text())]
    fetch = CONTENDERS[name](address, items, target)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        _touch_memory(target / "scratch", sum(item.size for item in items))
        start, processor = time.perf_counter(), time.process_time()
        list(threads.map(fetch, items))
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"seconds": seconds, "processor": processor, "memory": _peak(), "others": 0.0}


def _touch_memory(scratch: Path, size: int) -> None:
    """Has the kernel hold as much free memory as the files take in its cache.

    A virtual machine gives memory that nobody uses back to its host within seconds, and who touches it next waits
    for it: up to ten times as long as the write itself, and never twice the same.
    """
    block = bytes(_BLOCK)
    with open(scratch, "wb", buffering=0) as file:
        for _ in range(size // _BLOCK + 1):
            file.write(block)
    scratch.unlink()


def _peak() -> int:
    """Returns the most memory that was resident here since the program started; getrusage counts the parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell the peak of resident memory")


# ------------------------------------------------------------------ the measurement


def measure(photos: int = 150, film: int = FILM, rounds: int = 9) -> list[Figure]:
    """Has all contenders fetch the same files, in turns, and returns the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-download-") as folder:
        base = Path(folder)
        items = _make_files(base / "apple", photos, film)
        over_a_line = _take_turns(base, list(CONTENDERS)[:3], items, LINE, (rounds + 2) // 3)
        # Without the film: a turn has to end before the machine takes away the memory that was touched for it.
        unhindered = _take_turns(base, list(CONTENDERS), items[1:], 0, rounds)
    memory = max(turn["memory"] for turn in over_a_line["ours"] + unhindered["ours"]) / MB
    line = f"{LINE * 8 // 1000**3} Gbit/s, {photos} × 3 MB + {film // MB} MB"
    return [
        *_figures(over_a_line, items, line, must=True),
        Figure("peak resident memory of the download", f"< {MUST_MEMORY} MB", f"{memory:.0f} MB", memory < MUST_MEMORY),
        *_figures(unhindered, items[1:], f"no line, {photos} × 3 MB", must=False),
    ]


def _take_turns(
    base: Path, contenders: Sequence[str], items: Sequence[_Item], rate: int, rounds: int
) -> dict[str, list[_Turn]]:
    turns: dict[str, list[_Turn]] = {name: [] for name in contenders}
    listing = base / "listing.json"
    listing.write_text(json.dumps([asdict(item) for item in items]))
    with _serving(base / "apple", rate) as address:
        for number in range(rounds):
            for name in contenders if number % 2 else contenders[::-1]:
                turns[name].append(_turn(name, address, listing, base / "target"))
    return turns


def _turn(name: str, address: str, listing: Path, target: Path) -> _Turn:
    target.mkdir()
    os.sync()  # nobody waits for what the one before has left to write
    command = [sys.executable, "-m", "benchmarks.icloud_download", "--as", name, address, str(listing), str(target)]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    usage = meter(lambda: [psutil.Process()])
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    turn: _Turn = json.loads(done.stdout.splitlines()[-1]) | {"others": usage().others_share}
    shutil.rmtree(target)
    return turn


def _make_files(folder: Path, photos: int, film: int) -> list[_Item]:
    """Makes the film and the photos; the film comes first, so that it does not finish alone."""
    folder.mkdir()
    return [_make_file(folder / f"{number}.bin", PHOTO if number else film) for number in range(photos + 1)]


def _make_file(path: Path, size: int) -> _Item:
    from media.apple_checksum import AppleChecksum

    checksum = AppleChecksum()
    with open(path, "wb") as file:
        while (left := size - file.tell()) > 0:
            block = os.urandom(min(left, _BLOCK))
            file.write(block)
            checksum.update(block)
    return _Item(path.name, size, checksum.value())


def _figures(turns: dict[str, list[_Turn]], items: Sequence[_Item], what: str, *, must: bool) -> list[Figure]:
    figures = []
    size = sum(item.size for item in items)
    for name in list(turns)[1:]:
        ratio, seen = _ratio(turns[name], turns["ours"])
        figures.append(Figure(f"{what}: speed / {name}", f"≥ {MUST}", seen, ratio >= MUST, must))
    for name, all_turns in turns.items():
        rate = size / median(turn["seconds"] for turn in all_turns) / MB
        processor = median(turn["processor"] for turn in all_turns) / size * 1e9
        seen = f"{rate:.0f} MB/s ({processor:.2f} s of processor time a GB)"
        figures.append(Figure(f"{what}: rate of {name}", "", seen))
    return figures


def _ratio(plain: Sequence[_Turn], ours: Sequence[_Turn]) -> tuple[float, str]:
    """Returns our speed over a plain one's, and how it came about: of quiet rounds where there are any."""
    pairs = list(zip(plain, ours, strict=True))
    quiet = [pair for pair in pairs if max(turn["others"] for turn in pair) <= QUIET]
    ratios = [one["seconds"] / other["seconds"] for one, other in quiet or pairs]
    busy = max(turn["others"] for turn in [*plain, *ours])
    how = "quiet" if quiet else f"others took up to {100 * busy:.0f} % of the machine"
    return median(ratios), f"{median(ratios):.2f} ({spread(ratios, 2)}; {how})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.icloud_download", description=__doc__)
    parser.add_argument("--photos", type=int, default=150, help="Files of 3 MB.")
    parser.add_argument("--film", type=int, default=FILM // MB, help="Size of the one large file, in MB.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--as", dest="contender", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve is not None:
        _serve(chosen.serve)
    elif chosen.contender:
        name, address, listing, target = chosen.contender
        print(json.dumps(_compete(name, address, Path(listing), Path(target))))
    else:
        print_figures(measure(chosen.photos, chosen.film * MB, chosen.rounds))


if __name__ == "__main__":
    main()
