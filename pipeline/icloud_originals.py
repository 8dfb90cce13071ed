"""Originals from iCloud: every file of every asset, brought here whole and proven to be Apple's bytes.

A file whose bytes lie on this machine already (`pipeline.icloud_import`) is copied from there; where they have changed
or gone since, it is downloaded like any other.

Belongs here: the stage `icloud_originals`: how the bytes of what is due come to this machine. Does not belong here:
what becomes of a file once they are here (`pipeline.storing`), what is in iCloud (`pipeline.icloud_sync`), or how bytes
come over the network (`resources.icloud_download`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import icloud, local_copies, media, sources, standing
from catalog.paths import from_text
from catalog.sources import SourceFile
from catalog.work import WorkQuery
from media.files import ContentMismatch, SourceChanged, copy_to_part
from pipeline import layout
from pipeline.icloud_sync import parts_of
from pipeline.run import Run
from pipeline.stage import Outcome
from pipeline.storing import Item, SourceRoot, StoringStage
from resources import icloud_download
from resources.compute import Task
from resources.delivery import NotNow
from resources.icloud import ICloud
from resources.icloud_download import Downloader, Fetched, Refused, Wanted
from resources.icloud_errors import Away, ICloudError, NeedsPerson, Throttled
from resources.icloud_records import Part, download_url, listed_checksum

INCOMING = ".incoming"  # on the originals' own disk, so that a whole file gets its place by a rename
URL_LIVES = 40 * 60.0  # seconds; Apple's addresses end about an hour after they were looked up
LOST_PAUSE = 300.0  # seconds before a broken line is tried again
LOST_IN_A_ROW = 8  # files; then it is not the files, and the rest of a large library need not be tried one by one
FRESH_URLS = 3
_OFFLINE = "iCloud's downloads break off one after the other. Is this machine online? The rest comes by itself later."
_UNPROVEN = "Apple's checksum of it cannot be computed here, so only its size is known to be right"
_CHANGED = "it was edited or deleted in iCloud meanwhile; the next look at the library says which"
_NO_FILE = "iCloud lists it without a file to download; open it once on the phone or on icloud.com"

_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Session = Callable[[], AbstractContextManager[ICloud]]


class NoCopyHere(Exception):
    """The bytes that lay on this machine are gone or other ones by now."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose photos they are.

    Attributes:
        session: Opens a session that Apple has accepted.
        refused: Told what Apple answered in place of what was asked for, so that the next process knows.
        code_comes: Where it was a code that Apple wants: has a person asked for it, waits, and says whether it came.
    """

    session: Session
    refused: Callable[[ICloudError], None]
    code_comes: Callable[[ICloudError], bool]


@dataclass(frozen=True, slots=True)
class Library:
    """One iCloud library to download from.

    Attributes:
        account: Its account's name.
        downloads: How many files at once.
    """

    account: str
    downloads: int


@dataclass(slots=True)
class ICloudItem(Item):
    """An observation in iCloud, and where its bytes are."""

    kept: int | None = None
    where: Part | None = None
    url: str | None = field(default=None, repr=False)
    changed: bool = False
    asked_at: float = 0.0
    local: Path | None = None
    no_copy: str | None = None
    fetched: Fetched | None = None


class ICloudOriginalsStage(StoringStage[ICloudItem]):
    """Downloads what was observed in iCloud, proves it, and stores it like any other original."""

    name = sources.ICLOUD_ORIGINALS

    def __init__(
        self,
        roots: Mapping[str, Path],
        folders: Mapping[str, SourceRoot],
        libraries: Mapping[str, Library],
        accounts: Mapping[str, Account],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Sets the stage up; nobody is signed in before there is something to download.

        Args:
            roots: The roots that are written to, by name.
            folders: The sources that are folders: what was left there is kept already, and not downloaded.
            libraries: The sources, by name.
            accounts: The accounts, by name.
            seconds: What one file may take to decode.
            clock: Monotonic seconds, for the age of addresses.
        """
        super().__init__(roots, folders, seconds)
        self._libraries = libraries
        self._accounts = accounts
        self._clock = clock
        self._sessions: dict[str, tuple[contextlib.ExitStack, ICloud]] = {}
        self._downloads = max((one.downloads for one in libraries.values()), default=1)
        self._downloader: Downloader | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._asked = list(libraries)  # those whose accounts Apple answers for
        self._refused: dict[str, str] = {}
        self._lost_in_a_row = 0
        self._telling = threading.Lock()
        self._swept = False

    def query(self, run: Run) -> WorkQuery:
        """Returns the observations that wait; of a library whose account is refused, only what lies here already."""
        return local_copies.to_bring(list(self._libraries), self._asked)

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[ICloudItem]:
        """Reads the observations, and asks Apple for addresses of those whose bytes are nowhere here."""
        incoming = self._roots[layout.ORIGINALS] / INCOMING
        self._sweep(connection, incoming)
        items = []
        for file in sources.load_source_files(connection, ids):
            part = incoming / f"{file.id}-{_safe(file.version)}{os.path.splitext(from_text(file.source_id))[1]}"
            local = Path(from_text(file.local_path)) if file.local_path else None
            kept = [one for one in standing.kept_contents_of_size(connection, file.size) if not one.missing]
            held = self._held(connection, file)
            items.append(ICloudItem(file, part, {one.sha256: one for one in kept}, part, kept=held, local=local))
        wanted = [item for item in items if item.kept is None and item.local is None]
        self._find_parts(connection, wanted)
        for library in {item.file.source for item in wanted}:
            self._address(library, [item for item in wanted if item.file.source == library], connection)
        return items

    def held_up(self) -> str | None:
        """Returns why no more is downloaded in this run: Apple is away, or wants something, for every account."""
        return None if self._asked else " ".join(dict.fromkeys(self._refused.values())) or None

    def window(self, run: Run) -> int:
        """Returns how many files may be under way: those that come over the line, and those that are looked at."""
        return 2 * self._downloads + super().window(run)

    def task(self, item: ICloudItem, run: Run) -> Task | None:
        """Looks at the bytes once they are here; there is nothing to do for bytes that are kept already."""
        return None if item.kept is not None else super().task(item, run)

    def submit(self, task: Task, item: ICloudItem, run: Run) -> Future[Any]:
        """Has the bytes brought by a thread; when they are all here, `again` hands them to a worker."""
        if item.fetched is not None:
            return super().submit(task, item, run)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._downloads, "icloud")
        if item.local is not None:
            return self._threads.submit(_copied, item, item.local)
        if self._downloader is None:
            self._downloader = Downloader(self._downloads)
        if item.url is None or self._clock() - item.asked_at > URL_LIVES:
            self._renew(item, run)
        return self._threads.submit(self._fetch, item)

    def _fetch(self, item: ICloudItem) -> Fetched:
        assert self._downloader is not None
        if (refused := self._refused.get(self._account(item))) is not None:
            raise NotNow(refused, 0)
        if item.changed:
            raise NotNow(_CHANGED, LOST_PAUSE)
        if item.url is None:
            raise Refused(_NO_FILE)
        wanted = Wanted(item.url, item.path, item.file.version, item.file.size)
        try:
            fetched = self._downloader.fetch(wanted)
        except icloud_download.Throttled as error:
            self._stop(self._account(item), Throttled(error.retry_after))
            raise NotNow(str(error), 0) from error
        except icloud_download.ConnectionLost as error:
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= LOST_IN_A_ROW:
                self._stop(self._account(item), Away(_OFFLINE))
            raise NotNow(str(error), LOST_PAUSE) from error
        self._lost_in_a_row = 0
        _date(item)
        return fetched

    def again(self, item: ICloudItem, run: Run, result: Any, tries: int) -> Task | None:
        """Fetches a file again whose address had ended, or whose copy on this machine is no longer Apple's."""
        if isinstance(result, Fetched):
            item.fetched = result
            return self.task(item, run)
        if isinstance(result, icloud_download.UrlExpired) and tries < FRESH_URLS:
            item.url = None
            return self.task(item, run)
        if isinstance(result, NoCopyHere):
            item.local, item.no_copy = None, str(result)
            return self.task(item, run)
        return super().again(item, run, result, tries - 1)

    def record(self, connection: Connection, item: ICloudItem, result: Any, run: Run) -> Outcome:
        """Stores the original, once its bytes as they lie on the disk have been hashed to what Apple says."""
        if item.kept is not None:
            return self._duplicate(connection, item, item.kept, "the same content is kept already", run)
        proven = item.fetched is None or item.fetched.proven
        held = result.get("apple_checksum")
        if proven and held is not None and held != item.file.version:
            item.path.unlink(missing_ok=True)
            raise ContentMismatch(f"{item.file.source_id} does not have the bytes that Apple holds; none were kept")
        outcome = super().record(connection, item, result, run)
        if item.local is not None:
            outcome = replace(outcome, figures={**outcome.figures, "copied": 1.0})
        if not proven and outcome.note is None:
            return replace(outcome, note=_UNPROVEN)
        return outcome if outcome.note else replace(outcome, note=item.no_copy)

    def _log(
        self, connection: Connection, run: Run, item: ICloudItem, event: str, kept: int | None, detail: str | None
    ) -> None:
        if item.fetched is not None and not item.fetched.proven:
            detail = f"{detail}; {_UNPROVEN}" if detail else _UNPROVEN
        super()._log(connection, run, item, event, kept, detail)

    def close(self) -> None:
        """Ends the downloads and signs nobody out: the session is kept for the next run."""
        if self._downloader is not None:
            self._downloader.close()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        super().close()
        for account in list(self._sessions):
            self._leave(account)

    def _held(self, connection: Connection, file: SourceFile) -> int | None:
        """Returns the content that has Apple's checksum, while its file stands: it need not be downloaded."""
        found = media.with_apple_checksum(connection, file.version, file.size)
        return found if found is not None and self._stands(standing.load_kept(connection, found)) else None

    def _sweep(self, connection: Connection, incoming: Path) -> None:
        """Removes what was half downloaded and is no longer wanted: it was deleted or edited in iCloud meanwhile."""
        if self._swept:
            return
        self._swept = True
        parts = {path: int(path.name.partition("-")[0]) for path in incoming.glob("[0-9]*-*")}
        waiting = sources.waiting(connection, list(parts.values()))
        for path, row_id in parts.items():
            if row_id not in waiting:
                path.unlink(missing_ok=True)

    # --- addresses -----------------------------------------------------------------------------------------------

    def _find_parts(self, connection: Connection, items: Sequence[ICloudItem]) -> None:
        for library in {item.file.source for item in items}:
            mine = [item for item in items if item.file.source == library]
            parts = parts_of(connection, library, {_asset(item) for item in mine})
            for item in mine:
                item.where = parts.get((from_text(item.file.source_id), item.file.version))
                item.changed = item.where is None

    def _address(self, library: str, items: Sequence[ICloudItem], connection: Connection) -> None:
        """Looks up fresh addresses; when Apple cannot be asked, nothing more is claimed."""
        state = icloud.library_state(connection, library)
        named = [item for item in items if item.where is not None]
        if state is None or self._libraries[library].account in self._refused:
            return
        names = list(dict.fromkeys(item.where.record for item in named if item.where))
        try:
            found = self._looked_up(self._libraries[library].account, state.zone, names)
        except ICloudError as error:
            self._stop(self._libraries[library].account, error)
            return
        for item in named:
            assert item.where is not None
            record = found.get(item.where.record, {})
            item.url = download_url(record, item.where.field)
            item.changed = listed_checksum(record, item.where.field) != item.file.version
            item.asked_at = self._clock()

    def _stop(self, account: str, error: ICloudError) -> None:
        """Ends the downloads of an account in this run. Several threads may be told the same: it is one refusal."""
        with self._telling:
            if account in self._refused:
                return
            self._refused[account] = str(error)
            self._accounts[account].refused(error)
            self._asked[:] = [name for name in self._asked if self._libraries[name].account != account]

    def _account(self, item: ICloudItem) -> str:
        return self._libraries[item.file.source].account

    def _renew(self, item: ICloudItem, run: Run) -> None:
        with run.engine.connect() as connection:
            if item.where is None:  # it was to be copied from this machine
                self._find_parts(connection, [item])
            self._address(item.file.source, [item], connection)

    def _looked_up(self, account: str, zone: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
        """Asks Apple for records; where a person has to bring a code first, once more when it has come."""
        try:
            return self._session(account).lookup(zone, names)
        except NeedsPerson as error:
            self._leave(account)  # who hands the code in needs the session
            self._accounts[account].refused(error)
            if not self._accounts[account].code_comes(error):
                raise
        return self._session(account).lookup(zone, names)

    def _session(self, account: str) -> ICloud:
        if account not in self._sessions:
            stack = contextlib.ExitStack()
            self._sessions[account] = stack, stack.enter_context(self._accounts[account].session())
        return self._sessions[account][1]

    def _leave(self, account: str) -> None:
        if account in self._sessions:
            self._sessions.pop(account)[0].close()


def _copied(item: ICloudItem, local: Path) -> Fetched:
    """Copies what lies on this machine, shared on disk where the file system can; nothing but Apple's bytes stays.

    Raises:
        NoCopyHere: It cannot be read, or has other bytes; nothing was kept.
        OSError: The copy cannot be written.
    """
    try:
        if not stat.S_ISREG(os.lstat(local).st_mode):
            raise NoCopyHere(f"{item.file.local_path} is no file any more, so it was downloaded")
        hashes = copy_to_part(local, item.path)
    except (OSError, SourceChanged) as error:
        item.path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_PLACE:
            raise
        words = error.strerror if isinstance(error, OSError) else "it changes"
        raise NoCopyHere(f"{item.file.local_path} cannot be read any more ({words}), so it was downloaded") from error
    if (hashes["apple_checksum"], hashes["size"]) != (item.file.version, item.file.size):
        item.path.unlink()
        raise NoCopyHere(f"{item.file.local_path} has other bytes than when it was compared, so it was downloaded")
    _date(item)
    return Fetched(hashes["size"], hashes["apple_checksum"], proven=True, received=0)


def _date(item: ICloudItem) -> None:
    with contextlib.suppress(OSError, OverflowError):  # a date that this file system does not know
        os.utime(item.path, ns=(item.file.mtime_ns, item.file.mtime_ns))


def _asset(item: ICloudItem) -> str:
    return from_text(item.file.source_id).partition("/")[0]


def _safe(checksum: str) -> str:
    return "".join(one for one in checksum if one.isalnum())[:16]
