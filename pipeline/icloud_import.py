"""Photos of iCloud that lie on this machine already: found by Apple's checksum, so that nobody downloads them again.

Belongs here: comparing a folder with what waits to be downloaded, and filling such a folder by icloudpd. A name never
counts: two photos may share one, and programs change them. Does not belong here: copying a match into the originals,
where every byte is compared once more (`pipeline.icloud_originals`), or the process (`resources.icloudpd`).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from catalog import local_copies
from catalog.local_copies import Amount
from catalog.paths import to_text
from media.apple_checksum import apple_checksum
from media.files import ROOT_MARKER, make_folder_below
from media.kinds import Kind, kind_of_name
from pipeline import icloud_account
from pipeline.failures import RefusedForSafety
from pipeline.icloud import ICloudLibraries
from pipeline.planning import shortages
from resources import icloudpd
from resources.folder import LEFT_ALONE
from resources.icloud_errors import Throttled
from resources.icloudpd import Ended

THREADS = 4  # a disk or a NAS is not read faster by more
BATCH = 200
NAMED_FILES = 20
TREE = "icloudpd"

Progress = Callable[[int, int, float], None]


@dataclass(slots=True)
class Matched:
    """What a folder and iCloud have in common.

    Attributes:
        folder: The folder.
        files: Files that were looked at.
        matched: Waiting files of iCloud whose bytes are in the folder.
        bytes_saved: What need not be downloaded because of them.
        known: Files of the folder that iCloud has, those among them whose photo is here already.
        to_download: What waits and lies nowhere on this machine.
        unknown: Photos and films of the folder that iCloud does not have.
        unknown_first: The first few of them.
        others: Other files of the folder that iCloud does not have: sidecars and the like.
        unreadable: What could not be read, with the reason.
    """

    folder: Path
    files: int = 0
    matched: int = 0
    bytes_saved: int = 0
    known: int = 0
    to_download: Amount = field(default_factory=lambda: Amount(0, 0))
    unknown: int = 0
    unknown_first: list[str] = field(default_factory=list)
    others: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def match(
    engine: Engine, sources: Sequence[str], folder: Path, *, record: bool, progress: Progress | None = None
) -> Matched:
    """Compares a folder with what some libraries hold. Nothing is ever written to the folder.

    Args:
        engine: The catalog.
        sources: The libraries.
        folder: The folder, absolute.
        record: Remember the matches, so that the next run copies them; else only say what there is.
        progress: Called with files compared, files to compare, seconds.
    """
    with engine.connect() as connection:
        sizes = local_copies.sizes(connection, sources)
    found = Matched(folder)
    candidates = []
    for path, size in _files(folder, found.unreadable):
        found.files += 1
        if size in sizes:
            candidates.append((path, size))
        else:
            _count_unknown(found, path)
    matcher = _Matcher(engine, sources, found, record)
    start = time.monotonic()
    for number, compared in enumerate(_compared(folder, candidates), start=1):
        matcher.add(compared)
        if progress is not None:
            progress(number, len(candidates), time.monotonic() - start)
    matcher.flush()
    with engine.connect() as connection:
        found.to_download = matcher.still_to_download(local_copies.observed(connection, sources, to_download=True))
    return found


@dataclass(frozen=True, slots=True)
class _Compared:
    """A file of the folder, and its checksum, or why there is none."""

    path: str
    size: int
    checksum: str | None
    reason: str = ""


class _Matcher:
    """Puts files and observations together, some hundred at a time, so that what was compared is not lost."""

    def __init__(self, engine: Engine, sources: Sequence[str], found: Matched, record: bool) -> None:
        self._engine = engine
        self._sources = sources
        self._found = found
        self._record = record
        self._batch: list[_Compared] = []
        self._taken: set[int] = set()
        self._contents: set[tuple[str, int]] = set()

    def add(self, one: _Compared) -> None:
        """Takes the next file; the first copy of a photo that can be read is the one that counts."""
        if one.checksum is None:
            self._found.unreadable.append((one.path, one.reason))
            return
        self._batch.append(one)
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Looks up what has come, and remembers what matches."""
        batch, self._batch = self._batch, []
        pairs = [(one.checksum, one.size) for one in batch if one.checksum is not None]
        if not pairs:
            return
        with self._engine.connect() as connection:
            observed = local_copies.with_checksums(connection, self._sources, pairs)
        places: dict[int, str] = {}
        for one, pair in zip(batch, pairs, strict=True):
            if pair not in observed:
                _count_unknown(self._found, one.path)
                continue
            self._found.known += 1
            fresh = [row.id for row in observed[pair] if row.waits and row.id not in self._taken]
            places.update(dict.fromkeys(fresh, to_text(os.path.join(self._found.folder, one.path))))
            self._taken.update(fresh)
            self._found.matched += len(fresh)
            if fresh and pair not in self._contents:
                self._contents.add(pair)
                self._found.bytes_saved += one.size
        if places and self._record:
            with self._engine.begin() as connection:
                local_copies.set_places(connection, places)

    def still_to_download(self, waiting: Amount) -> Amount:
        """Returns what waits without a copy; in a dry run the matches of now are not written down yet."""
        if self._record:
            return waiting
        return Amount(max(0, waiting.files - self._found.matched), max(0, waiting.bytes - self._found.bytes_saved))


def _count_unknown(found: Matched, path: str) -> None:
    if kind_of_name(path) in (None, Kind.SIDECAR):
        found.others += 1
        return
    found.unknown += 1
    if len(found.unknown_first) < NAMED_FILES:
        found.unknown_first.append(to_text(path))


def _files(root: Path, unreadable: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Yields path and size of every file, in order; links, hidden files, trash of a NAS and our own roots left out."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append((to_text(folder), error.strerror or str(error)))
            continue
        if folder and any(entry.name == ROOT_MARKER for entry in entries):
            continue
        below = []
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if entry.name.startswith(".") or entry.name.lower() in LEFT_ALONE:
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False).st_size
            except OSError as error:
                unreadable.append((to_text(path), error.strerror or str(error)))
        folders += reversed(below)


def _compared(root: Path, files: Iterable[tuple[str, int]]) -> Iterator[_Compared]:
    """Yields the files with their checksums in the order in which they came, several being read at once."""
    waiting: deque[Future[_Compared]] = deque()
    pool = ThreadPoolExecutor(THREADS, "compare")
    try:
        for path, size in files:
            waiting.append(pool.submit(_read, root, path, size))
            if len(waiting) >= 4 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(root: Path, path: str, size: int) -> _Compared:
    try:
        return _Compared(path, size, apple_checksum(root / path))
    except OSError as error:
        return _Compared(path, size, None, error.strerror or str(error))


# --- icloudpd ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What icloudpd would have to do for a library.

    Attributes:
        source: The library.
        tree: The folder that it fills.
        waiting: What waits and lies nowhere on this machine.
        whole: All that the library holds: icloudpd cannot be told what is here already.
    """

    source: str
    tree: Path
    waiting: Amount
    whole: Amount


def plan(libraries: ICloudLibraries, source: str, staging: Path) -> Plan:
    """Returns what icloudpd would have to do for a library.

    Args:
        libraries: All of them.
        source: The library's name; a shared one is for our own downloader alone.
        staging: The root of staging.
    """
    with libraries.engine.connect() as connection:
        waiting = local_copies.observed(connection, [source], to_download=True)
        whole = local_copies.observed(connection, [source], to_download=False)
    return Plan(source, staging / source / TREE, waiting, whole)


def refuse_full_disk(wanted: Plan, originals: Path) -> None:
    """Makes sure that there is room for the tree and for the originals that are copied from it.

    Raises:
        RefusedForSafety: There is not. Nothing was written.
    """
    there = sum(size for _, size in _files(wanted.tree, [])) if wanted.tree.is_dir() else 0
    writes = [(wanted.tree, max(0, wanted.whole.bytes - there)), (originals, wanted.waiting.bytes)]
    if lacking := shortages(writes):
        raise RefusedForSafety("Not enough room, so nothing was written. " + " ".join(map(str, lacking)))


def fill_tree(libraries: ICloudLibraries, wanted: Plan, staging: Path, on_file: Callable[[int], None]) -> Ended:
    """Has icloudpd download a library, while nobody else speaks for its account.

    Args:
        libraries: All of them.
        wanted: Which, and where to.
        staging: The root of staging, which carries its marker.
        on_file: Called with the number of files downloaded so far.

    Raises:
        ICloudError: Apple is away, asks for patience, or for something that only a person can do; or icloudpd is not
            there, or at work already.
    """
    account = libraries.account(wanted.source)
    icloudpd.program()  # before anybody signs in
    make_folder_below(staging, wanted.tree)
    with icloud_account.signed_in(libraries.engine, account, wait_seconds=60.0, now=libraries.now):
        ended = icloudpd.download(account.apple_id, account.folder, wanted.tree, on_file)
    if ended.throttled:
        icloud_account.remember(libraries.engine, account.name, Throttled(), libraries.now())
    return ended
