"""The self-test: which formats Apple takes, tried with one tiny made-up file each, on the live account.

Belongs here: upload, proof and removal of such a file, and what is remembered of it. Does not belong here: the words of
the command (`mediapipe_assets.cli.icloud`), or how a format is refused in a run (`resources.icloud_destination`).

Nothing but its own made-up file is ever removed, and that only after Apple has shown that it is this file. The seed of
the file is remembered before it is sent: a test that is killed is taken up by the next one with the same bytes, which
Apple does not take twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from catalog import icloud_uploads
from media.files import hash_file
from media.tiny import write_tiny
from resources.delivery import Intent
from resources.icloud import PERSONAL, ICloud, ToUpload
from resources.icloud_destination import evidence_of
from resources.icloud_errors import Rejected

NAME = "mediapipe-self-test"
LOOK_SECONDS = 2.0
_EXTENSIONS = {"jpeg": "jpg", "heic": "heic", "png": "png", "mov": "mov", "mp4": "mp4"}
_TRIES = 2


@dataclass(slots=True)
class Tried:
    """What Apple did with a file of one format.

    Attributes:
        format: The format.
        taken: Whether Apple made a photo of it.
        verified: Whether Apple showed it within the time, with the checksum of its bytes.
        removed: Whether it lies in Recently Deleted again.
        reason: What went otherwise, in words.
    """

    format: str
    taken: bool = False
    verified: bool = False
    removed: bool = False
    reason: str | None = None


@dataclass(slots=True)
class _Trial:
    """One made-up file on its way."""

    tried: Tried
    intent: Intent


def self_test(
    engine: Engine,
    client: ICloud,
    account: str,
    formats: Sequence[str],
    folder: Path,
    *,
    wait_seconds: float,
    now: datetime,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Tried]:
    """Uploads a made-up file of each format, waits until Apple shows it, and removes it.

    Args:
        engine: The catalog, which remembers what came of it.
        client: Signed in.
        account: The account's name.
        formats: What to try.
        folder: For the made-up files; whoever calls removes it.
        wait_seconds: How long to wait for Apple in all.
        now: The present moment, kept with the result.
        clock: Monotonic seconds.
        sleep: Waits.

    Raises:
        ICloudError: Apple is away, asks for patience, or for something that only a person can do.
    """
    trials = [_send(engine, client, account, file_format, folder) for file_format in formats]
    end = clock() + wait_seconds
    waiting = [trial for trial in trials if trial.tried.taken]
    while waiting:
        waiting = [trial for trial in waiting if not _is_settled(client, trial)]
        if not waiting or clock() >= end:
            break
        sleep(LOOK_SECONDS)
    for trial in trials:
        if trial.tried.verified:
            trial.tried.removed = _remove(client, trial)
        _remember(engine, account, trial, now)
    return [trial.tried for trial in trials]


def _send(engine: Engine, client: ICloud, account: str, file_format: str, folder: Path) -> _Trial:
    with engine.connect() as connection:
        known = icloud_uploads.self_tests(connection).get(account, {}).get(file_format, {})
    seed = known["seed"] if known.get("unfinished") else secrets.randbits(63)
    path = folder / f"{NAME}.{_EXTENSIONS[file_format]}"
    write_tiny(path, file_format, seed)
    found = hash_file(str(path))
    master = found["apple_checksum"]
    with engine.begin() as connection:
        sent = {**known, "seed": seed, "master": master, "unfinished": True}
        icloud_uploads.remember_self_test(connection, account, file_format, sent)
    tried = Tried(file_format)
    taken = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    ids: Mapping[str, Any] = {}
    try:
        said = client.upload(ToUpload(path, path.name, master, taken), PERSONAL)
    except Rejected as error:
        tried.reason = str(error)
    else:
        tried.taken, ids = True, {"master": said.master, "asset": said.asset}
    return _Trial(tried, Intent(str(path), path.name, found["sha256"], found["size"], "", ids, sent_seconds=0.0))


def _is_settled(client: ICloud, trial: _Trial) -> bool:
    evidence = evidence_of(client, trial.intent)
    trial.tried.verified, trial.tried.reason = evidence.verdict == "verified", evidence.reason
    return evidence.verdict != "pending"


def _remove(client: ICloud, trial: _Trial) -> bool:
    """Moves the made-up file to Recently Deleted, under the change tag of a look that shows that it is this file."""
    ids = trial.intent.remote_ids
    asked = False
    for _ in range(_TRIES):
        shown = evidence_of(client, trial.intent)
        if shown.verdict == "absent" and asked:
            trial.tried.reason = None  # it was our own request, whose answer was lost
            return True
        if shown.verdict != "verified":
            trial.tried.reason = f"it was not removed from iCloud: {shown.reason}"
            return False
        record = {
            "recordName": ids["asset"],
            "recordType": "CPLAsset",
            "recordChangeTag": shown.facts["change_tag"],
            "fields": {"isDeleted": {"value": 1, "type": "INT64"}},
        }
        asked = True
        try:
            client.modify(PERSONAL, [{"operationType": "update", "record": record}])
            return True
        except Rejected as error:  # somebody changed it just now
            trial.tried.reason = f"it was not removed from iCloud: {error}"
    return False


def _remember(engine: Engine, account: str, trial: _Trial, now: datetime) -> None:
    with engine.begin() as connection:
        known = icloud_uploads.self_tests(connection)[account][trial.tried.format]
        unfinished = trial.tried.taken and not trial.tried.removed
        values = {**known, **asdict(trial.tried), "at": now.isoformat(timespec="seconds"), "unfinished": unfinished}
        icloud_uploads.remember_self_test(connection, account, trial.tried.format, values)
