"""Delivery to a phone: staged within the quota, placed in Syncthing's folder, delivered, and the folder emptied again.

Belongs here: what the three stages of a destination do otherwise when it is a phone. Does not belong here: what every
destination has in common (`pipeline.deliver`), the quota (`pipeline.pixel_room`), what Syncthing's answers mean
(`resources.pixel`), or looking between two runs (`pipeline.pixel_watch`).

What lies in the folder is a copy of ours that is only passing through: it never changes, it leaves once the phone has
had it for long enough and our own file was read and is whole, and nothing ever counts it as a copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from catalog import config, deliveries, left_out, phone_room, placed_files
from catalog.deliveries import Delivery, Member
from catalog.paths import from_text, to_text
from catalog.placed_files import Placed
from catalog.work import WorkQuery
from media.files import ContentMismatch, SourceChanged, hash_file, refuse_missing_root
from pipeline import layout
from pipeline.deliver import LEFT_OUT_COUNT, StagedStage, UploadedStage, VerifiedStage
from pipeline.failures import NothingToSend
from pipeline.pixel_room import PhoneRoom, Plan
from pipeline.proofs import HOURS_BETWEEN_QUESTIONS, Candidate, Doomed, KeptFolder, NotProven, prove
from pipeline.replace import subject_of
from pipeline.roots import ensure_roots
from pipeline.run import Run
from pipeline.stage import Outcome
from resources.compute import Task
from resources.delivery import PENDING_SECONDS, Acknowledgement, Intent, NotNow, Role
from resources.pixel import Look, PixelFolder

FOLDERS = "folders_of_phones"  # where each phone's folder was when it was last used


def remembered_folders(connection: Connection) -> dict[str, Path]:
    """Returns where the folders of phones were when they were last used, by destination."""
    return {name: Path(from_text(path)) for name, path in (config.get_config(connection, FOLDERS) or {}).items()}


class PixelStagedStage(StagedStage):
    """Writes the intents of whole bundles for which there is room in the folder."""

    _destination: PixelFolder

    def __init__(self, destination: PixelFolder, room: PhoneRoom) -> None:
        """Takes the destination, and the room in its folder."""
        super().__init__(destination, compressing=room.compressing)
        self._room = room
        self._plan = Plan((), False)
        self._taken: NotNow | None = None

    def query(self, run: Run) -> WorkQuery:
        """Returns the members of the bundles for which there is room when the run begins."""
        self._plan = self._room.plan(run.scope)
        return self._room.query(self._plan)

    def pause(self) -> str | None:
        """Returns that another run has taken the room meanwhile."""
        return None if self._taken is None else self._taken.reason

    def held_up(self) -> str | None:
        """Returns how much waits for room."""
        return self._room.full_in_words() if self._plan.full or self._taken else None

    def record(self, connection: Connection, item: Member, result: Any, run: Run) -> Outcome:
        """Writes the intents of a member's whole bundle; the other members then find theirs.

        Raises:
            NotNow: There is no room for the bundle any more.
        """
        phone_room.lock(connection, self._destination.name)
        members, size = self._room.untold(connection, item.bundle_id)
        if self._room.too_large(size) is None and not self._room.fits(connection, size):
            self._taken = NotNow("there is no room in the phone's folder any more", PENDING_SECONDS)
            raise self._taken
        done = [
            super(PixelStagedStage, self).record(connection, one, result, run)
            for one in deliveries.load_members(connection, sorted({item.id, *members}))
        ]
        figures = {name: sum(one.figures.get(name, 0.0) for one in done) for name in ("staged", "bytes")}
        return next((one for one in done if one.name == LEFT_OUT_COUNT), Outcome("members", figures))

    def _left_out(self, connection: Connection, item: Member) -> str | None:
        members, size = self._room.untold(connection, item.bundle_id)
        if item.id not in members:
            return None
        if (reason := self._room.too_large(size)) is None:
            left_out.take_in(connection, self._destination.name, item.id)
        return reason

    def _has_it(self, connection: Connection, item: Member, role: str) -> bool:
        # In either form: a second one would be a second photo in its library.
        name = self._destination.name
        return any(deliveries.find_delivery(connection, name, item.id, one) for one in ("original", "rendition"))


class _InFolder:
    """What placing and verifying share: the folder itself, and having Syncthing look at what changed there."""

    _destination: PixelFolder
    _stopped: NotNow | None
    _folder: Path

    def _open_folder(self, run: Run) -> None:
        """Makes sure of the folder; while Syncthing is away nothing is claimed, and so nothing changes."""
        self._changed: list[str] = []
        try:
            self._destination.prepare()
            self._folder = self._destination.folder()
        except NotNow as later:
            self._stopped = later
            return
        name = self._destination.name
        with run.engine.begin() as connection:
            ensure_roots(connection, {layout.destination_root(name): self._folder})
            known = config.get_config(connection, FOLDERS) or {}
            if known.get(name) != (path := to_text(str(self._folder))):
                config.set_config(connection, FOLDERS, {**known, name: path})

    @property
    def _at_hand(self) -> PixelFolder:
        """The destination for a worker, which then need not ask Syncthing where the folder is."""
        settings = self._destination.settings.model_copy(update={"folder_path": self._folder})
        return replace(self._destination, settings=settings)

    def _have_looked_at(self) -> None:
        """Has Syncthing look at what changed; when it went away meanwhile, its own watcher finds that later."""
        if not self._changed:
            return
        with contextlib.suppress(NotNow):
            self._destination.scan(self._changed)


class PixelUploadedStage(_InFolder, UploadedStage):
    """Places files in the folder: whole, read-only, under names that never change."""

    _destination: PixelFolder

    def __init__(
        self, destination: PixelFolder, originals: Mapping[str, Path], roots: Mapping[str, Path], timezone: str
    ) -> None:
        """Takes the destination, where our files stand (see `UploadedStage`), and the zone of photos without one."""
        super().__init__(destination, originals, roots)
        self._zone = timezone

    def begin(self, run: Run) -> None:
        """Makes sure that files are safe in the folder, and that its disk has room."""
        self._open_folder(run)
        if self._stopped is None:
            try:
                _refuse_little_room(self._folder, self._least_free, 0)
            except NotNow as later:
                self._stopped = later

    def query(self, run: Run) -> WorkQuery:
        """Returns what is staged, in the order of the settings."""
        newest_first = self._destination.settings.order == "newest"
        return phone_room.to_place(self._destination.name, newest_first=newest_first)

    def task(self, item: Delivery, run: Run) -> Task | None:
        """Places the file, or finds that a killed run did."""
        taken, may_link = _taken(item, self._zone), item.role == "rendition"
        intent = replace(self._intent(item, run), taken=taken, may_link=may_link)
        return Task(_place, (self._at_hand, intent, self._least_free))

    def record(self, connection: Connection, item: Delivery, result: Acknowledgement, run: Run) -> Outcome:
        """Writes how the file lies there, and the acknowledgement."""
        mtime_ns = int(str(result.remote_ids["mtime_ns"]))
        placed_files.record_placed(connection, item.id, self._destination.name, item.remote_path, item.size, mtime_ns)
        deliveries.acknowledge_delivery(connection, item.id, {})
        self._changed.append(item.remote_path)
        self._log(connection, run, item, f"placed {item.role}")
        return Outcome("uploaded", {"bytes": float(item.size)})

    def close(self) -> None:
        """Has Syncthing look at what was placed, at once."""
        self._have_looked_at()
        super().close()

    @property
    def _least_free(self) -> int:
        return int(self._destination.settings.least_free_gb * 1e9)


class PixelVerifiedStage(_InFolder, VerifiedStage):
    """Records what the phone has, by Syncthing's own word, and takes from the folder what it has had long enough.

    A verdict is latched when it is seen. Nothing that is seen later takes it back.
    """

    _destination: PixelFolder

    def begin(self, run: Run) -> None:
        """Makes sure that the folder is set up so that emptying it takes nothing from the phone."""
        self._open_folder(run)

    def query(self, run: Run) -> WorkQuery:
        """Returns what was placed, and what the phone has had for long enough."""
        return phone_room.to_verify_or_empty(self._destination.name, self._destination.settings.keep_hours)

    def task(self, item: Delivery, run: Run) -> Task | None:
        """Asks Syncthing about one file, here, for that takes a millisecond; or has a file leave the folder."""
        if item.state != "verified":
            return Task(self._unless_stopped, (self._seen, item, run), here=True)
        root = self._originals.get(item.stored_root) if item.role == "original" else self._renditions
        path = item.stored_path if item.role == "original" else item.rendition_path
        if item.role != "original" and item.rendition_trash_path is not None:
            root, path = self._trash, item.rendition_trash_path
        if root is None or path is None:
            raise NothingToSend("no file of ours with these bytes is known any more, so it stays in the folder")
        role: Role = "original" if item.role == "original" else "rendition"
        name, there = self._destination.name, from_text(item.remote_path)
        doomed = Doomed(self._folder / there, subject_of(name, there), item.sha256, item.size, role, held_by=name)
        kept = Intent(str(root / from_text(path)), from_text(path), item.sha256, item.size, run.tag)
        return Task(
            prove_and_empty, (self._at_hand, there, doomed, Candidate(_OurOwn("our own file", root), kept, role))
        )

    def record(self, connection: Connection, item: Delivery, result: Any, run: Run) -> Outcome:
        """Writes that the phone has it, that it has left the folder, or that it has to be placed again.

        Raises:
            ContentMismatch: What was seen is no proof of exactly these bytes.
            NotNow: The phone does not have it yet, or it has to stay in the folder.
        """
        if item.state == "verified":
            return self._record_emptied(connection, item, result, run)
        if result is None:
            reason = "it is no longer in the folder, and the phone did not have it yet"
            deliveries.send_again(connection, item.id, reason)
            self._log(connection, run, item, "absent", reason)
            return Outcome("absent", note=reason)
        look: Look = result
        if not look.arrived:
            raise NotNow(look.words, PENDING_SECONDS)
        if not look.evidence().proves(item.sha256, item.size):
            raise ContentMismatch("Syncthing does not show that the phone has exactly the bytes that were placed")
        deliveries.record_evidence(connection, item.id, look.facts)
        self._log(connection, run, item, f"delivered {item.role}")
        return Outcome("delivered", {"bytes": float(item.size)})

    def close(self) -> None:
        """Has Syncthing look at what left the folder."""
        super().close()
        self._have_looked_at()

    def _seen(self, item: Delivery, run: Run) -> Look | None:
        """Returns how far a file came, and latches it; None when it is gone from the folder before it got anywhere."""
        with run.engine.connect() as connection:
            placed = placed_files.placed(connection, [item.id])[item.id]
        if placed.delivered_at is not None:
            return Look("delivered", facts=placed.facts or {})
        refuse_missing_root(self._folder)
        if (now := self._as_it_stands(placed)) is None:
            return None
        whole = now.sha256 == placed.sha256
        if touched := whole and now is not placed:  # the same bytes go to the phone under another time
            self._destination.scan([placed.path])
        changed = Look("problem", "it was changed in the folder. Move it away: it is then placed there anew")
        look = self._destination.look(now) if whole else changed
        with run.engine.begin() as connection:
            if touched:
                name = self._destination.name
                placed_files.record_placed(connection, item.id, name, placed.path, placed.size, now.mtime_ns)
            _write_down(connection, item.id, look)
        return look

    def _as_it_stands(self, placed: Placed) -> Placed | None:
        """Returns a file as it lies in the folder now, None when it does not; one that was touched is read again."""
        path = self._folder / from_text(placed.path)
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            return None
        if stat.S_ISREG(seen.st_mode) and (seen.st_size, seen.st_mtime_ns) == (placed.size, placed.mtime_ns):
            return placed
        found = hash_file(str(path))["sha256"] if stat.S_ISREG(seen.st_mode) else ""
        return replace(placed, sha256=found, mtime_ns=seen.st_mtime_ns)

    def _record_emptied(self, connection: Connection, item: Delivery, result: Mapping[str, str], run: Run) -> Outcome:
        if (reason := result.get("reason")) is not None:
            raise NotNow(reason, HOURS_BETWEEN_QUESTIONS * 3600)
        placed_files.record_emptied(connection, item.id)
        self._changed.append(item.remote_path)
        self._log(connection, run, item, "emptied", result["done"])
        return Outcome("emptied", {"emptied_bytes": float(item.size)})


@dataclass(frozen=True, slots=True)
class _OurOwn(KeptFolder):
    """A root of ours as the witness for what was placed from it.

    What passes through the folder is no copy that anybody counts on, so that it may go although both lie on one disk.
    """

    def shares_disk_with(self, folder: Path) -> bool:
        return False


def prove_and_empty(destination: PixelFolder, remote_path: str, doomed: Doomed, kept: Candidate) -> dict[str, str]:
    """Takes a file from a phone's folder on fresh proof of our own; runs in a worker.

    Args:
        destination: The phone, with its folder known.
        remote_path: The file there.
        doomed: The same, as a proof names it.
        kept: The file of ours that it was made from.

    Returns:
        `done` in words, or the `reason` why it stays.

    Raises:
        RootAway: The folder's disk is away.
    """
    refuse_missing_root(destination.folder())
    if not os.path.lexists(doomed.path):
        return {"done": "it had left the folder already"}
    try:
        proof = prove(doomed, [kept], 1)
        destination.release(proof, remote_path, date.min)
    except (NotProven, ContentMismatch, SourceChanged) as error:
        return {"reason": f"it stays in the folder: {error}"}
    seen = proof.copies[0]
    return {"done": f"{to_text(kept.intent.source)} was read and is whole at {seen.at:%F %T} UTC"}


def _place(destination: PixelFolder, intent: Intent, least_free: int) -> Acknowledgement:
    """Places one file; runs in a worker."""
    folder = destination.folder()
    refuse_missing_root(folder)
    _refuse_little_room(folder, least_free, intent.size)
    return destination.place_in(folder, intent)


def _refuse_little_room(folder: Path, least_free: int, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free - size < least_free:
        raise NotNow(
            f"the disk of {folder} has {free / 1e9:.1f} GB free, and {least_free / 1e9:.1f} GB are to stay free "
            "(least_free_gb): make room there",
            PENDING_SECONDS,
        )


def _write_down(connection: Connection, delivery_id: int, look: Look) -> None:
    if look.arrived:
        placed_files.latch_delivered(connection, delivery_id, look.facts, freed=look.level == "freed_on_phone")
    elif look.level == "problem":
        placed_files.record_problem(connection, delivery_id, look.words)
    else:
        placed_files.looked_at(connection, [delivery_id])


def _taken(item: Delivery, zone: str) -> datetime:
    """Returns when a photo was taken: by a file's time a phone dates what does not say so itself."""
    offset = item.capture_offset_minutes
    where = ZoneInfo(zone) if offset is None else timezone(timedelta(minutes=offset))
    return item.capture_local.replace(tzinfo=where)
