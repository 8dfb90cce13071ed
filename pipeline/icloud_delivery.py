"""Delivery to iCloud: what goes there and what does not, journalled before it is sent, and dressed as its original.

Belongs here: what the three stages of a destination do otherwise when it is an iCloud library. Does not belong here:
what every destination has in common (`pipeline.deliver`), or speaking to Apple (`resources.icloud_destination`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from catalog import deliveries, icloud_uploads, left_out
from catalog.deliveries import Delivery, Member
from catalog.icloud_uploads import MemberFacts
from catalog.paths import from_text
from media.files import hash_file
from pipeline.deliver import LEFT_OUT, LEFT_OUT_COUNT, StagedStage, UploadedStage, VerifiedStage
from pipeline.icloud_room import Room
from pipeline.icloud_sync import assembled
from pipeline.run import Run
from pipeline.stage import Outcome
from resources.compute import Task
from resources.delivery import Acknowledgement, Evidence, Intent, LeftOut
from resources.icloud_destination import ICloudPhotos, Looks
from resources.icloud_records import Asset

_BUNDLES = {
    "live_photo": "a Live Photo: uploaded one by one, its photo and its film would no longer belong together",
    "raw_jpeg": "a RAW pair: uploaded one by one, its halves would no longer belong together",
    "edited": "an edited photo: iCloud would take the edit for a photo of its own",
    "mixed": "a photo of several files: uploaded one by one, they would no longer belong together",
}
_KINDS = {
    "live": _BUNDLES["live_photo"],
    "raw pair": _BUNDLES["raw_jpeg"],
    "edited": _BUNDLES["edited"],
    "burst": "a shot of a burst: its rendition would stand outside the burst",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What goes to an iCloud library.

    Attributes:
        accept: The formats that are uploaded.
        missing_only: Send only photos that iCloud lacks.
        personal: The source that is the same library, None when it is not taken in.
        sources: Every source of the account, that one included.
        timezone: Of photos whose own is unknown.
    """

    accept: tuple[str, ...]
    missing_only: bool
    personal: str | None
    sources: tuple[str, ...]
    timezone: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """What turned out not to go there when it was about to be sent."""

    reason: str
    for_good: bool


def why_left_out(facts: MemberFacts, there: Sequence[Asset], shared: bool, rules: Rules, deliver: str) -> str | None:
    """Returns why a bundle member does not go to iCloud, None when it does.

    Args:
        facts: The member.
        there: The assets of the account that hold it, in any state.
        shared: Whether one of them is in a shared library.
        rules: What goes there.
        deliver: `original` or `rendition`.
    """
    form = facts.rendition_format if deliver == "rendition" else None
    if facts.kind == "sidecar":
        return "a sidecar: iCloud takes photos and films alone"
    if there and all(asset.deleted for asset in there):
        return "it was deleted in iCloud, and is not put back"
    if there and (rules.missing_only or form is None):
        return "iCloud holds its original already"
    if facts.bundle_kind in _BUNDLES:
        return _BUNDLES[facts.bundle_kind]
    if facts.adjusted:
        return "a photo whose edit is described beside it: iCloud would show it unedited"
    for kind in (kind for asset in there for kind in asset.kinds):
        return _KINDS[kind]
    if any(asset.hidden for asset in there):
        return "it is hidden in iCloud, and its rendition would be shown"
    if shared:
        return "it is in a shared library, and its rendition would not be"
    if facts.state == "damaged":
        return "it is damaged: iCloud gets whole photos alone"
    if (form or facts.format) not in rules.accept:
        return f"{form or facts.format} is not among the formats to upload"
    return None


class ICloudStagedStage(StagedStage):
    """Writes intents for what iCloud lacks, and names what it does not get."""

    def __init__(self, destination: ICloudPhotos, rules: Rules, *, compressing: bool) -> None:
        """Takes the destination, what goes there, and whether renditions are made at all."""
        super().__init__(destination, compressing=compressing)
        self._rules = rules

    def _left_out(self, connection: Connection, item: Member) -> str | None:
        name, deliver = self._destination.name, self._destination.deliver_what
        if self._has_it(connection, item, "original") or self._has_it(connection, item, "rendition"):
            return None
        reason = left_out.left_out_for_good(connection, name, item.id) or _why_left_out(
            connection, item.id, self._rules, deliver
        )
        if reason is None:
            left_out.take_in(connection, name, item.id)
        return reason


class ICloudUploadedStage(UploadedStage):
    """Uploads, one at a time; the name under which Apple will file it is journalled before the first byte leaves."""

    _destination: ICloudPhotos

    def __init__(
        self,
        destination: ICloudPhotos,
        rules: Rules,
        originals: Mapping[str, Path],
        roots: Mapping[str, Path],
        room: Room,
    ) -> None:
        """Takes the destination, what goes there, where our files stand (see `UploadedStage`), and the room there."""
        super().__init__(destination, originals, roots)
        self._rules = rules
        self._room = room

    def begin(self, run: Run) -> None:
        """Looks whether the account was found full a while ago: then nothing is claimed and Apple is not asked."""
        super().begin(run)
        if run.redo == "all":
            self._room.ask_at_once()
        self._stopped = self._room.lacking()

    def task(self, item: Delivery, run: Run) -> Task | None:
        """Uploads the file, or finds that a killed run did."""
        intent = replace(self._intent(item, run), taken=_taken(item, self._rules))
        return self._task(self._send, item, intent, run)

    def _send(self, item: Delivery, intent: Intent, run: Run) -> Acknowledgement | Withheld:
        """Works in the stage's thread, with transactions of its own."""
        with run.engine.begin() as connection:
            intent = replace(intent, remote_ids=self._known_ids(connection, item))
            if "asset" not in intent.remote_ids:
                # It may have become the half of a Live Photo since, or have come to iCloud by another way.
                reason = _why_left_out(connection, item.bundle_member_id, self._rules, self._destination.deliver_what)
                if reason is not None:
                    return Withheld(reason, False)
            facts = icloud_uploads.facts_of(connection, item.bundle_member_id)

        def journal(ids: Mapping[str, object]) -> None:
            with run.engine.begin() as connection:
                deliveries.journal_ids(connection, item.id, ids)

        try:
            return self._destination.deliver(intent, journal=journal, unless=self._unless(item, facts))
        except LeftOut as left:
            return Withheld(left.reason, left.for_good)

    def _known_ids(self, connection: Connection, item: Delivery) -> Mapping[str, object]:
        """Returns the journalled ids; an asset that nobody heard of may have come by the changes feed meanwhile."""
        master = item.remote_ids.get("master")
        if not isinstance(master, str) or "asset" in item.remote_ids or self._rules.personal is None:
            return item.remote_ids
        asset = icloud_uploads.asset_of_master(connection, self._rules.personal, master)
        return item.remote_ids if asset is None else {**item.remote_ids, "asset": asset}

    def _unless(self, item: Delivery, facts: MemberFacts) -> tuple[str, ...]:
        """Returns under which name the original would be there: it is not sent, nor a rendition of it."""
        if item.role == "rendition" and not self._rules.missing_only:
            return ()
        if facts.apple_checksum is not None:
            return (facts.apple_checksum,)
        original = self._originals[item.stored_root] / from_text(item.stored_path)
        return (hash_file(str(original))["apple_checksum"],)

    def record(self, connection: Connection, item: Delivery, result: Any, run: Run) -> Outcome:
        """Writes the acknowledgement, or that it does not go there after all."""
        if not isinstance(result, Withheld):
            if not result.recovered:
                self._room.found(connection)
            return super().record(connection, item, result, run)
        name, day = self._destination.name, item.partition_date
        deliveries.withdraw_intent(connection, item.id)
        left_out.leave_out(connection, name, item.bundle_member_id, day, result.reason, for_good=result.for_good)
        self._log(connection, run, item, LEFT_OUT, result.reason)
        return Outcome(LEFT_OUT_COUNT, note=f"left out: {result.reason}")


class ICloudVerifiedStage(VerifiedStage):
    """Records as verified what Apple shows, once it looks as its original does there."""

    _destination: ICloudPhotos

    def __init__(
        self, destination: ICloudPhotos, rules: Rules, originals: Mapping[str, Path], roots: Mapping[str, Path]
    ) -> None:
        """Takes the destination, what goes there, and where our files stand; see `VerifiedStage`."""
        super().__init__(destination, originals, roots)
        self._rules = rules

    def task(self, item: Delivery, run: Run) -> Task | None:
        """Asks Apple; the first time it is there, it becomes a favourite and joins albums as its original did."""
        looks = None if item.seen else self._looks(item, run)
        return self._task(self._show, self._shown_intent(item, run), looks)

    def _show(self, intent: Intent, looks: Looks | None) -> tuple[Evidence, str | None]:
        evidence = self._destination.evidence(intent)
        if evidence.verdict != "verified" or looks is None:
            return evidence, None
        return evidence, self._destination.reapply(str(intent.remote_ids["asset"]), looks)

    def _looks(self, item: Delivery, run: Run) -> Looks | None:
        """Returns what a person did with the original in iCloud; None for a photo that does not come from there."""
        if item.role != "rendition" or self._rules.personal is None:
            return None
        with run.engine.connect() as connection:
            facts = icloud_uploads.facts_of(connection, item.bundle_member_id)
            there = [one for one in _assets(connection, self._rules.personal, facts) if not one.deleted]
            albums = icloud_uploads.albums_with(connection, self._rules.personal, [one.name for one in there])
        favourite = any(asset.favourite for asset in there)
        return Looks(favourite, tuple(albums)) if favourite or albums else None

    def record(self, connection: Connection, item: Delivery, result: Any, run: Run) -> Outcome:
        """Writes the evidence, and what a person should know of the rest."""
        evidence, problem = result
        outcome = super().record(connection, item, evidence, run)
        if problem is None:
            return outcome
        self._log(connection, run, item, "plain", problem)
        return replace(outcome, note=problem)


def _why_left_out(connection: Connection, member_id: int, rules: Rules, deliver: str) -> str | None:
    facts = icloud_uploads.facts_of(connection, member_id)
    found = {source: _assets(connection, source, facts) for source in rules.sources}
    there = [asset for assets in found.values() for asset in assets]
    shared = any(not asset.deleted for source, assets in found.items() if source != rules.personal for asset in assets)
    return why_left_out(facts, there, shared, rules, deliver)


def _assets(connection: Connection, source: str, facts: MemberFacts) -> list[Asset]:
    names = icloud_uploads.assets_of_content(connection, source, facts.media_file_id, facts.apple_checksum)
    return assembled(connection, source, names)[0] if names else []


def _taken(item: Delivery, rules: Rules) -> datetime:
    """Returns when a photo was taken; where its own offset is unknown the setting `timezone` holds."""
    if item.capture_offset_minutes is None:
        return item.capture_local.replace(tzinfo=ZoneInfo(rules.timezone))
    return item.capture_local.replace(tzinfo=timezone(timedelta(minutes=item.capture_offset_minutes)))
