"""Delivery: intent, effect, acknowledgement, evidence.

Belongs here: the stages `staged_media`, `uploaded_media` and `verified_media` of one destination.
Does not belong here: how a destination is spoken to (`resources`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import deliveries, left_out
from catalog.deliveries import Delivered, Delivery, Member
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.work import WorkQuery
from media.files import ContentMismatch
from pipeline import layout
from pipeline.destination import Destination
from pipeline.failures import NothingToSend
from pipeline.proofs import HOURS_BETWEEN_QUESTIONS, Candidate, KeptFolder, Witness
from pipeline.replace import release_replaced
from pipeline.run import Run
from pipeline.stage import Outcome, Stage
from resources.compute import Task
from resources.delivery import Evidence, Intent, NotNow

LEFT_OUT = "left out"  # the event in a file's history
LEFT_OUT_COUNT = "left_out"
SLOWEST_WRITE = 2_000_000  # bytes a second, to a mount over wireless


class StagedStage(Stage[Member]):
    """Writes the intents: which bytes go to a destination, under which unchanging name."""

    def __init__(self, destination: Destination, *, compressing: bool) -> None:
        """Sets the stage up.

        Args:
            destination: Where to.
            compressing: Whether renditions are made at all.
        """
        self.name = deliveries.stage_name(destination.name, "staged")
        self._destination = destination
        self._compressing = compressing

    def query(self, run: Run) -> WorkQuery:
        """Returns the members that have something new for the destination."""
        waits = self._compressing and self._destination.deliver_what == "rendition"
        return deliveries.to_stage(self._destination.name, decided_only=waits)

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[Member]:
        """Reads the members."""
        return deliveries.load_members(connection, ids)

    def row_id(self, item: Member) -> int:
        """Returns the member's id."""
        return item.id

    def label(self, item: Member) -> str:
        """Returns the name under which it is delivered."""
        return item.file_name

    def task(self, item: Member, run: Run) -> Task | None:
        """Moves no bytes: a destination that reads our own folders needs no second copy on the way."""
        return None

    def record(self, connection: Connection, item: Member, result: Any, run: Run) -> Outcome:
        """Writes an intent for each role that the destination takes and does not have."""
        if self._destination.on_new_rendition == "replace":
            deliveries.lock_deliveries(connection, self._destination.name, item.id)
        deliveries.dequeue(connection, self._destination.name, item.id)
        # As it is now: another run may have made a rendition since it was loaded.
        (item,) = deliveries.load_members(connection, [item.id])
        if (reason := self._left_out(connection, item)) is not None:
            if left_out.leave_out(connection, self._destination.name, item.id, item.partition_date, reason):
                self._log(connection, run, item, LEFT_OUT, reason)
            return Outcome(LEFT_OUT_COUNT, note=f"left out: {reason}")
        staged = {"staged": 0.0, "bytes": 0.0}
        for role, sha256, size, extension in self._wanted(item):
            if (held := self._outdated(connection, item, role, sha256)) is not None:
                values = {
                    "batch_id": deliveries.ensure_batch(connection, self._destination.name, run.run_id),
                    "sha256": sha256,
                    "size": size,
                    "remote_path": self._marked_path(connection, item, role, extension, sha256),
                }
                deliveries.intend_replacement(connection, held.id, values)
                staged["staged"] += 1
                staged["bytes"] += size
                self._log(
                    connection, run, item, f"staged {role}", f"in place of {held.remote_path}, which stays so long"
                )
                continue
            if self._has_it(connection, item, role):
                continue  # a photo that ages is not sent a second time
            deliveries.add_intent(
                connection,
                {
                    "destination": self._destination.name,
                    "bundle_member_id": item.id,
                    "role": role,
                    "batch_id": deliveries.ensure_batch(connection, self._destination.name, run.run_id),
                    "sha256": sha256,
                    "size": size,
                    "remote_path": self._free_path(connection, item, role, extension, sha256),
                    "partition_date": item.partition_date,
                },
            )
            staged["staged"] += 1
            staged["bytes"] += size
            self._log(connection, run, item, f"staged {role}")
        return Outcome("members", staged)

    def _left_out(self, connection: Connection, item: Member) -> str | None:
        """Returns why a member does not go there at all, which is no failure; None, as here, where everything goes."""
        return None

    def _outdated(self, connection: Connection, item: Member, role: str, sha256: str) -> Delivered | None:
        """Returns what these bytes are to replace; None also while it is on its way itself, and then asked again."""
        if self._destination.on_new_rendition != "replace" or role != "rendition":
            return None
        held = deliveries.find_delivery(connection, self._destination.name, item.id, role)
        if held is None or held.sha256 == sha256 or held.state != "verified" or held.replaces_path is not None:
            return None
        return held

    def _has_it(self, connection: Connection, item: Member, role: str) -> bool:
        # One that takes either form got the original as long as there was no rendition: it has the photo.
        either = self._destination.deliver_what == "rendition"
        return any(
            deliveries.find_delivery(connection, self._destination.name, item.id, one) is not None
            for one in (("original", "rendition") if either else (role,))
        )

    def failed(self, connection: Connection, item: Member, reason: str, run: Run) -> None:
        """Adds a line to the file's history."""
        self._log(connection, run, item, "failed", reason)

    def _wanted(self, item: Member) -> list[tuple[str, str, int, str | None]]:
        original = ("original", item.original_sha256, item.original_size, None)
        if item.rendition_path is None or item.rendition_sha256 is None or item.rendition_size is None:
            return [original]
        extension = os.path.splitext(item.rendition_path)[1]
        rendition = ("rendition", item.rendition_sha256, item.rendition_size, extension)
        forms: dict[str, list[tuple[str, str, int, str | None]]]
        forms = {"original": [original], "rendition": [rendition], "both": [original, rendition]}
        return forms[self._destination.deliver_what]

    def _free_path(self, connection: Connection, item: Member, role: str, extension: str | None, sha256: str) -> str:
        name = layout.delivered_name(from_text(item.file_name), role, extension)
        path = to_text(self._destination.remote_path(item.partition_date, name, role))
        if deliveries.remote_path_is_free(connection, self._destination.name, path):
            return path
        return self._marked_path(connection, item, role, extension, sha256)

    def _marked_path(self, connection: Connection, item: Member, role: str, extension: str | None, sha256: str) -> str:
        name = layout.delivered_name(from_text(item.file_name), role, extension)
        other = layout.named_with(name, f"-{sha256[: layout.HASH_CHARS]}")
        path = to_text(self._destination.remote_path(item.partition_date, other, role))
        if deliveries.remote_path_is_free(connection, self._destination.name, path):
            return path
        other = layout.named_with(name, f"-{sha256}")
        return to_text(self._destination.remote_path(item.partition_date, other, role))

    def _log(self, connection: Connection, run: Run, item: Member, event: str, detail: str | None = None) -> None:
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event=event,
            media_file_id=item.media_file_id,
            detail=detail,
        )


class _DeliveryStage(Stage[Delivery]):
    """What uploading and verifying share: they work on deliveries, from our own files."""

    too_slow = "it took too long: the destination's disk or network is slow or busy; it is tried again"

    def __init__(
        self, destination: Destination, originals: Mapping[str, Path], roots: Mapping[str, Path], step: str, state: str
    ) -> None:
        self.name = deliveries.stage_name(destination.name, step)
        self._destination = destination
        self._originals = originals
        self._renditions = roots[layout.RENDITIONS]
        self._trash = roots[layout.TRASH]
        self._step = step
        self._state = state
        self._others: Mapping[str, Destination] = {}
        self._stopped: NotNow | None = None

    def pause(self) -> str | None:
        """Returns why the destination is asked for nothing more in this run."""
        return None if self._stopped is None else self._stopped.reason

    def window(self, run: Run) -> int:
        """Returns how many files are handed out at once: few, where they are done one after the other."""
        return 2 if self._destination.works_here else super().window(run)

    def close(self) -> None:
        """Waits for the file that is under way, and ends the sessions in which something was asked."""
        super().close()
        for destination in (self._destination, *self._others.values()):
            destination.close()

    def _task(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Returns the task that asks the destination something, in the place where it can be asked."""
        if not self._destination.works_here:
            return Task(function, arguments)
        return Task(self._unless_stopped, (function, *arguments), here=True)

    def _unless_stopped(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._stopped is not None:
            raise NotNow(self._stopped.reason, self._stopped.seconds)
        try:
            return function(*arguments)
        except NotNow as later:
            if later.stops:
                self._stopped = later
            raise

    def query(self, run: Run) -> WorkQuery:
        """Returns the deliveries that stand one step before."""
        return deliveries.in_state(self._destination.name, self._step, self._state)

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[Delivery]:
        """Reads the deliveries."""
        return deliveries.load_deliveries(connection, ids)

    def row_id(self, item: Delivery) -> int:
        """Returns the delivery's id."""
        return item.id

    def label(self, item: Delivery) -> str:
        """Returns the path at the destination."""
        return item.remote_path

    def timeout(self, item: Delivery) -> float:
        """Returns the seconds that the bytes may take on a slow mount."""
        return 120.0 + item.size / SLOWEST_WRITE

    def failed(self, connection: Connection, item: Delivery, reason: str, run: Run) -> None:
        """Adds a line to the file's history; the delivery keeps its state."""
        self._log(connection, run, item, "failed", reason)

    def put_off(self, connection: Connection, item: Delivery, reason: str, run: Run) -> None:
        """Writes why the delivery waits; into the file's history only when that is news."""
        if deliveries.say_why_it_waits(connection, item.id, reason):
            self._log(connection, run, item, "pending", reason)

    def _intent(self, item: Delivery, run: Run) -> Intent:
        """Returns what is sent.

        Raises:
            NothingToSend: No file of ours is known to have these bytes.
        """
        if (source := self._source(item)) is None:
            raise NothingToSend(
                f"no rendition with the bytes that were to be sent ({item.sha256[: layout.HASH_CHARS]}…) is known any "
                "more, and nothing else is sent in its place"
            )
        return self._about(item, str(source), run)

    def _about(self, item: Delivery, source: str, run: Run) -> Intent:
        sent = item.age_seconds if item.state != "staged" else None
        return Intent(
            source,
            from_text(item.remote_path),
            item.sha256,
            item.size,
            run.tag,
            remote_ids=item.remote_ids,
            seen=item.seen,
            sent_seconds=sent,
        )

    def _source(self, item: Delivery) -> Path | None:
        """Returns our own file with the bytes of a delivery."""
        if item.role == "original":
            return self._originals[item.stored_root] / from_text(item.stored_path)
        if item.rendition_trash_path is not None:
            return self._trash / from_text(item.rendition_trash_path)
        return None if item.rendition_path is None else self._renditions / from_text(item.rendition_path)

    def _log(self, connection: Connection, run: Run, item: Delivery, event: str, detail: str | None = None) -> None:
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event=event,
            media_file_id=item.media_file_id,
            detail=detail or item.remote_path,
        )


class UploadedStage(_DeliveryStage):
    """Brings files to the destination and records that they arrived."""

    def __init__(self, destination: Destination, originals: Mapping[str, Path], roots: Mapping[str, Path]) -> None:
        """Sets the stage up.

        Args:
            destination: Where to.
            originals: Where originals stand, by the name of their root.
            roots: The roots that are written to, by name; a rendition that was released is read from the trash.
        """
        super().__init__(destination, originals, roots, "uploaded", "staged")

    def begin(self, run: Run) -> None:
        """Makes sure that the destination can be written to, in every run, whoever asked for it."""
        self._destination.prepare()

    def task(self, item: Delivery, run: Run) -> Task | None:
        """Delivers the file, or finds that a killed run did."""
        return self._task(self._destination.deliver, self._intent(item, run))

    def record(self, connection: Connection, item: Delivery, result: Any, run: Run) -> Outcome:
        """Writes the acknowledgement."""
        deliveries.acknowledge_delivery(connection, item.id, result.remote_ids)
        self._log(connection, run, item, f"{'found' if result.recovered else 'uploaded'} {item.role}")
        return Outcome("uploaded", {"bytes": float(item.size)})


class VerifiedStage(_DeliveryStage):
    """Records as verified only what the destination itself shows.

    At a destination that replaces, a delivery that is verified comes up once more at the next run, for what it
    replaces: the new bytes are recorded as proven before the old ones are looked at.
    """

    def __init__(
        self,
        destination: Destination,
        originals: Mapping[str, Path],
        roots: Mapping[str, Path],
        others: Mapping[str, Destination] | None = None,
        copies_needed: int = 1,
    ) -> None:
        """Sets the stage up.

        Args:
            destination: Where to.
            originals: Where originals stand, by the name of their root.
            roots: The roots that are written to, by name; the destination's own is among them when it replaces.
            others: Who else may hold copies, by name.
            copies_needed: How many copies must be proven before something replaced leaves its place.
        """
        super().__init__(destination, originals, roots, "verified", "uploaded")
        self._roots = roots
        self._others = others or {}
        self._copies_needed = copies_needed
        self._replacing = destination.on_new_rendition == "replace"

    def query(self, run: Run) -> WorkQuery:
        """Returns the deliveries that were uploaded, and those that stand beside what they replace."""
        return deliveries.to_verify(self._destination.name, replacing=self._replacing)

    def task(self, item: Delivery, run: Run) -> Task | None:
        """Asks the destination, or has what a proven delivery replaces moved to the destination's trash."""
        if item.state != "verified":
            return self._task(self._destination.evidence, self._shown_intent(item, run))
        assert item.replaces_path is not None
        assert item.replaces_sha256 is not None
        old = Intent("", from_text(item.replaces_path), item.replaces_sha256, 0, run.tag)
        with run.engine.connect() as connection:
            rendition, others = deliveries.other_copies(connection, item.id)
        copies: list[tuple[Witness, str, Mapping[str, object]]] = []
        if rendition is not None:
            copies.append((KeptFolder(layout.RENDITIONS, self._renditions), rendition, {}))
        copies += [(self._others[name], path, ids) for name, path, ids in others if name in self._others]
        candidates = tuple(
            Candidate(witness, replace(old, remote_path=from_text(path), remote_ids=ids), "rendition")
            for witness, path, ids in copies
        )
        folder = self._roots[layout.destination_root(self._destination.name)]
        new = self._shown_intent(item, run)
        arguments = (self._destination, folder, new, old, candidates, self._copies_needed, run.today)
        return Task(release_replaced, arguments, here=any(one.witness.works_here for one in candidates))

    def record(self, connection: Connection, item: Delivery, result: Any, run: Run) -> Outcome:
        """Writes the evidence, or takes a delivery back whose copy is gone.

        Raises:
            ContentMismatch: The destination holds other bytes, or does not show that it holds these.
            NotNow: It cannot say yet.
        """
        if item.state == "verified":
            return self._record_replaced(connection, item, result, run)
        evidence: Evidence = result
        if evidence.verdict == "verified":
            if not evidence.proves(item.sha256, item.size):
                raise ContentMismatch("the destination does not show that it holds exactly the bytes that were sent")
            deliveries.record_evidence(connection, item.id, evidence.facts)
            if self._replacing and item.replaces_path is None:
                deliveries.enqueue_if_outdated(connection, item.id)
            self._log(connection, run, item, f"verified {item.role}")
            return Outcome("verified", {"bytes": float(item.size)})
        if evidence.verdict == "absent":
            reason = evidence.reason or "the destination no longer has it"
            deliveries.send_again(connection, item.id, reason)
            self._log(connection, run, item, "absent", reason)
            return Outcome("absent", note=reason)
        if evidence.verdict == "pending":
            raise NotNow(evidence.reason or "the destination cannot say yet", evidence.ask_again_seconds)
        raise ContentMismatch(evidence.reason or "the destination cannot prove that it has it")

    def _shown_intent(self, item: Delivery, run: Run) -> Intent:
        """Returns what the destination is asked to show; it may hold what we have no file of any more."""
        return self._about(item, str(self._source(item) or ""), run)

    def _record_replaced(self, connection: Connection, item: Delivery, result: Mapping[str, str], run: Run) -> Outcome:
        if (reason := result.get("reason")) is not None:
            deliveries.wait_to_replace(connection, item.id, HOURS_BETWEEN_QUESTIONS)
            return Outcome("waiting", note=reason)
        deliveries.record_replaced(connection, item.id)
        deliveries.enqueue_if_outdated(connection, item.id)
        self._log(connection, run, item, "replaced", result["done"])
        return Outcome("replaced")
