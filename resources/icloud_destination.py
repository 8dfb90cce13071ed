"""The photo library of an Apple account as a destination: one file at a time, proven by Apple's own checksum.

Belongs here: what is sent, what Apple must show before it counts as arrived, and what an error of Apple's means for
a delivery. Does not belong here: which photos go there and what is recorded (`pipeline.icloud_delivery`), single
requests (`resources.icloud`), who may speak to Apple (`pipeline.icloud_account`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from media.apple_checksum import is_comparable
from media.files import ContentMismatch, hash_file
from resources.delivery import (
    Acknowledgement,
    DeletionProof,
    Deliver,
    Evidence,
    Intent,
    LeftOut,
    NotNow,
    OnNewRendition,
)
from resources.icloud import PERSONAL, ICloud, ToUpload
from resources.icloud_errors import (
    Away,
    ICloudError,
    QuotaFull,
    Rejected,
    SignedInForNothing,
    StillIndexing,
    Throttled,
    Withdrawn,
)

TREES = {"original": "originals", "rendition": "renditions"}
# Apple shows an upload 14 to 20 seconds later, and at times much later.
FIRST_LOOK, SECONDS_BETWEEN_LOOKS = 20.0, 3600.0
LOST_AFTER = 24 * 3600.0  # what Apple has not shown by then is sent again; what it has it does not take twice
LINE_LOST, PATIENCE, HOURS = 300.0, 900.0, 6 * 3600.0  # how long a file rests, by what went wrong
_LOST_IN_A_ROW = 2
_CONFLICTS = ("CONFLICT", "ATOMIC_ERROR")

Session = Callable[[], AbstractContextManager[ICloud]]
Journal = Callable[[Mapping[str, object]], None]


class NotTaken(Rejected):
    """Apple refuses a file for what it is."""


class NotReleased(Exception):
    """Nothing is removed from iCloud."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What a person did with a photo in iCloud, and what its rendition is to have too.

    Attributes:
        favourite: Whether it is a favourite.
        albums: The record names of the albums that it is in.
    """

    favourite: bool
    albums: tuple[str, ...]


class ICloudPhotos:
    """The personal library of an account.

    It opens one session when it is first asked and keeps it until it is closed. A copy of it that was sent to another
    process has no session, and says that it cannot be asked there.
    """

    on_new_rendition: OnNewRendition = "keep"
    works_here = True
    path: Path | None = None

    def __init__(self, name: str, account: str, deliver: Deliver, session: Session | None) -> None:
        """Sets it up; nobody is signed in before something is asked.

        Args:
            name: Its name in the settings.
            account: The account, as a person knows it.
            deliver: `original` or `rendition`.
            session: Opens a session that Apple has accepted.
        """
        self.name = name
        self.deliver_what = deliver
        self._account = account
        self._session = session
        self._open = contextlib.ExitStack()
        self._client: ICloud | None = None
        self._lost = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves the session behind: it belongs to one process."""
        return ICloudPhotos, (self.name, self._account, self.deliver_what, None)

    @property
    def place(self) -> str:
        """The account."""
        return f"iCloud Photos ({self._account})"

    def prepare(self) -> None:
        """Asks Apple nothing: a run that has nothing to send needs nobody signed in."""

    def close(self) -> None:
        """Gives the session back; nobody is signed out."""
        self._client = None
        self._open.close()

    def remote_path(self, day: date, name: str, role: str) -> str:
        """Returns what stands for a place there: iCloud knows files by their bytes, and shows the last part."""
        return f"{TREES[role]}/{day:%Y/%m/%d}/{name}"

    @property
    def counts_as_copy(self) -> bool:
        """Returns True: Apple shows the checksum of exactly these bytes."""
        return True

    def shares_disk_with(self, folder: Path) -> bool:
        """Returns False: it is with Apple."""
        return False

    def deliver(self, intent: Intent, *, journal: Journal | None = None, unless: Sequence[str] = ()) -> Acknowledgement:
        """Uploads a file, or finds that a killed run already did.

        Args:
            intent: The file.
            journal: Told the ids under which it will be found, before anything is sent.
            unless: Apple's checksums of which none may be there already.

        Raises:
            LeftOut: iCloud has it, or had it until a person deleted it there.
            ContentMismatch: Our file is no longer what was promised.
            NotTaken: Apple refuses the file.
            NotNow: It has to wait.
        """
        checksum = _checksum(intent)
        with self._speaking() as client:
            if (known := self._found(client, intent)) is not None:
                return known
            # What is journalled may never have been sent, and the original may have come to iCloud since.
            if not intent.remote_ids or not client.lookup(PERSONAL, [checksum]):
                self._leave_out_what_is_there(client, unless)
            if journal is not None:
                journal({"master": checksum})
            taken = intent.taken or datetime.fromtimestamp(os.stat(intent.source).st_mtime, UTC)
            name = os.path.basename(intent.remote_path)
            try:
                said = client.upload(ToUpload(Path(intent.source), name, checksum, taken), PERSONAL)
            except Rejected as error:
                raise NotTaken(self._advice(error, name), error.code) from error
        ids = {"master": said.master, "asset": said.asset, "duplicate": said.duplicate}
        return Acknowledgement(ids, recovered=said.duplicate)

    def evidence(self, intent: Intent) -> Evidence:
        """Has Apple show both records and the listing, and holds them against our own bytes as they are now.

        Raises:
            NotNow: Apple cannot be asked.
        """
        with self._speaking() as client:
            return evidence_of(client, intent)

    def reapply(self, asset: str, looks: Looks) -> str | None:
        """Makes an uploaded photo a favourite and puts it in albums, as far as it is not there yet.

        Args:
            asset: The upload's asset.
            looks: What it is to have.

        Returns:
            Why that was not possible, None when all is well.

        Raises:
            NotNow: Apple cannot be asked, or has no room even for that.
        """
        relations = {f"{asset}-IN-{album}": album for album in looks.albums}
        with self._speaking() as client:
            for tries_left in (1, 0):
                records = client.lookup(PERSONAL, [asset, *looks.albums, *relations])
                operations = list(_changes(records, asset, looks.favourite, relations))
                try:
                    if operations:
                        client.modify(PERSONAL, operations)
                    return None
                except QuotaFull as error:
                    raise NotNow(f"it is there; its favourite and albums wait: {error}", HOURS) from error
                except Rejected as error:
                    # Somebody changed the same records just now: what they are then is looked up once more.
                    if error.code not in _CONFLICTS or not tries_left:
                        return f"favourite and albums could not be set again: {error}"
        return None

    def glance(self, remote_path: str, size: int) -> str | None:
        """Returns None: what is deleted there comes by the changes feed, and nothing can be told by a path."""
        return None

    def release(self, proof: DeletionProof, remote_path: str, day: date) -> str:
        """Refuses: nothing is removed from iCloud.

        Raises:
            NotReleased: Always.
        """
        raise NotReleased(f"{remote_path} stays in iCloud")

    # --- what is there -------------------------------------------------------------------------------------------

    def _leave_out_what_is_there(self, client: ICloud, unless: Sequence[str]) -> None:
        if unless and client.lookup(PERSONAL, unless):
            # A master alone does not prove a living photo.
            raise LeftOut("iCloud has its original already, among its photos or in Recently Deleted")

    def _found(self, client: ICloud, intent: Intent) -> Acknowledgement | None:
        """Returns what an earlier upload came to, None when it has to be repeated.

        Repeating does no harm: Apple answers with both names if it has the bytes.
        """
        master, asset = intent.remote_ids.get("master"), intent.remote_ids.get("asset")
        if not isinstance(master, str) or not isinstance(asset, str):
            return None
        records = client.lookup(PERSONAL, [master, asset])
        gone = asset in records and bool(_value(records[asset], "isDeleted"))
        if gone or (intent.seen and asset not in records):
            raise LeftOut("it was uploaded, and a person deleted it in iCloud since; it is not put back", for_good=True)
        if master not in records or asset not in records:
            return None
        return Acknowledgement(dict(intent.remote_ids), recovered=True)

    def _advice(self, error: Rejected, name: str) -> str:
        kind = os.path.splitext(name)[1].lstrip(".").lower() or "this type"
        return (
            f"{error}. If Apple refuses every {kind} file, take it out of destinations.{self.name}.accept; "
            "mediapipe-assets icloud self-test tries one"
        )

    # --- the session ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[ICloud]:
        """Yields a session, and makes what Apple says against it a `NotNow`; only a refusal is about the file."""
        client = self._opened()
        try:
            yield client
        except Rejected:
            self._lost = 0
            raise
        except ICloudError as error:
            self._lost = self._lost + 1 if isinstance(error, Away) else 0
            self._give_up(error)
            # One line that is lost may be the fault of one large file; two in a row are not.
            line = isinstance(error, Away) and not isinstance(error, StillIndexing | SignedInForNothing)
            once = line and self._lost < _LOST_IN_A_ROW
            raise NotNow(str(error), _rest(error), stops=not once) from error
        self._lost = 0

    def _opened(self) -> ICloud:
        if self._session is None:
            raise NotNow("iCloud is asked by the process of the run alone", PATIENCE, stops=True)
        if self._client is None:
            try:
                self._client = self._open.enter_context(self._session())
            except ICloudError as error:
                raise NotNow(str(error), _rest(error), stops=True) from error
        return self._client

    def _give_up(self, error: ICloudError) -> None:
        """Ends the session with the error, so that whoever opened it remembers what Apple said."""
        self._client = None
        with contextlib.suppress(ICloudError):
            self._open.__exit__(type(error), error, error.__traceback__)


def evidence_of(client: ICloud, intent: Intent) -> Evidence:
    """Returns what Apple shows of an upload, held against our own bytes as they are now.

    Args:
        client: Signed in.
        intent: The upload, with the ids of its acknowledgement.

    Raises:
        ICloudError: Apple did not answer.
    """
    master, asset = intent.remote_ids.get("master"), intent.remote_ids.get("asset")
    if not isinstance(master, str) or not isinstance(asset, str):
        return Evidence("absent", reason="iCloud has not acknowledged it")
    if (doubt := _doubt_about(intent, master)) is not None:
        return Evidence("unverifiable", reason=doubt)
    records = client.lookup(PERSONAL, [master, asset])
    if master not in records or asset not in records:
        return _not_shown(intent)
    if (other := _differs(records, master, asset, intent.size)) is not None:
        return other
    # What a person has hidden is in no listing of all photos, but they have seen it.
    hidden = bool(_value(records[asset], "isHidden"))
    if not hidden and not client.listed(PERSONAL, asset):
        return Evidence("pending", reason="iCloud does not list it yet", ask_again_seconds=_pause(intent))
    facts = {
        "sha256": intent.sha256,
        "size": intent.size,
        "by": "apple_checksum",
        "apple_checksum": master,
        "asset": asset,
        "change_tag": records[asset].get("recordChangeTag"),
        "listed": "hidden by the person" if hidden else True,
    }
    return Evidence("verified", facts)


def _doubt_about(intent: Intent, master: str) -> str | None:
    """Returns why the name under which Apple files an upload proves nothing about our bytes, None when it does."""
    try:
        checksum = _checksum(intent, cold=True)
    except (ContentMismatch, FileNotFoundError) as error:
        return f"Apple's checksum cannot be held against a file of ours: {error}"
    if not is_comparable(master):
        return "Apple gives it a checksum of a form that cannot be computed here"
    return None if master == checksum else "Apple filed it under the checksum of other bytes"


def _rest(error: ICloudError) -> float:
    """Returns for how many seconds there is no use in asking again."""
    if isinstance(error, Throttled):
        return max(error.retry_after or 0.0, PATIENCE)
    if isinstance(error, QuotaFull):
        return 0.0  # it is the account that rests, whichever file is next
    if isinstance(error, Withdrawn):
        return HOURS
    return LINE_LOST if isinstance(error, Away) and not isinstance(error, StillIndexing) else PATIENCE


def _pause(intent: Intent) -> float:
    """Returns after how long to look again: soon at first, then half as often each time."""
    return min(max(FIRST_LOOK, intent.sent_seconds or 0.0), SECONDS_BETWEEN_LOOKS)


def _not_shown(intent: Intent) -> Evidence:
    if intent.seen:
        return Evidence("absent", reason="iCloud showed it once and does not show it any more")
    if intent.sent_seconds is None or intent.sent_seconds > LOST_AFTER:
        return Evidence("absent", reason="iCloud does not show it, although it had the time")
    return Evidence("pending", reason="iCloud does not show it yet", ask_again_seconds=_pause(intent))


def _differs(records: Mapping[str, Mapping[str, Any]], master: str, asset: str, size: int) -> Evidence | None:
    """Returns what speaks against two records being a living photo of exactly these bytes; None when nothing does."""
    file = _value(records[master], "resOriginalRes")
    shown = file if isinstance(file, Mapping) else {}
    reference = _value(records[asset], "masterRef")
    facts = {"apple_checksum": shown.get("fileChecksum"), "size": shown.get("size"), "asset": asset}
    if _value(records[asset], "isDeleted"):
        return Evidence("absent", facts, "it was deleted in iCloud")
    if not isinstance(reference, Mapping) or reference.get("recordName") != master:
        return Evidence("unverifiable", facts, "in iCloud its photo stands on another file")
    if not is_comparable(str(shown.get("fileChecksum"))):
        return Evidence("unverifiable", facts, "Apple shows a checksum of a form that cannot be computed here")
    if shown.get("fileChecksum") != master or shown.get("size") != size:
        return Evidence("unverifiable", facts, "iCloud holds other bytes than those that were sent")
    return None


def _changes(
    records: Mapping[str, Mapping[str, Any]], asset: str, favourite: bool, relations: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yields what has yet to be changed, each under the change tag that was read just now."""
    if asset not in records:
        return
    if favourite and not _value(records[asset], "isFavorite"):
        yield {
            "operationType": "update",
            "record": {
                "recordName": asset,
                "recordType": "CPLAsset",
                "recordChangeTag": records[asset].get("recordChangeTag"),
                "fields": {"isFavorite": {"value": 1, "type": "INT64"}},
            },
        }
    for name, album in relations.items():
        if name in records or album not in records or _value(records[album], "isDeleted"):
            continue
        fields = {
            "itemId": {"value": asset, "type": "STRING"},
            "containerId": {"value": album, "type": "STRING"},
            "position": {"value": 1024, "type": "INT64"},
        }
        yield {
            "operationType": "create",
            "record": {"recordName": name, "recordType": "CPLContainerRelation", "fields": fields},
        }


def _value(record: Mapping[str, Any], field: str) -> Any:
    entry = record.get("fields", {}).get(field)
    return entry.get("value") if isinstance(entry, Mapping) else None


def _checksum(intent: Intent, *, cold: bool = False) -> str:
    """Returns Apple's checksum of our own file, read now.

    Raises:
        ContentMismatch: It does not hold the bytes of the intent any more.
        OSError: It cannot be read.
    """
    found = hash_file(intent.source, cold=cold)
    if found["sha256"] != intent.sha256 or found["size"] != intent.size:
        raise ContentMismatch(f"{intent.source} does not hold the bytes that were to be sent")
    return found["apple_checksum"]
