"""What belongs together: Live Photos, RAW + JPEG, edits, sidecars.

Belongs here: grouping files that share a stem or a content identifier, choosing the lead, and the
names under which a bundle is delivered. Does not belong here: duplicates (`pipeline.deduplicate`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from catalog import bundles, media, sources
from catalog.bundles import Bundle
from catalog.media import MediaFile
from catalog.paths import from_text
from pipeline.layout import HASH_CHARS, named_with
from resources.folder import is_edit, takeout_subject

# A Live Photo's video is about three seconds long; a camera's own clip of the same name is longer.
LIVE_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored content, the name under which it was seen, and what its source says it is to its bundle."""

    file: MediaFile
    name: str
    role: str | None = None


@dataclass(slots=True)
class Group:
    """A lead and what travels with it, each with its role."""

    lead: Candidate
    others: list[tuple[Candidate, str]] = field(default_factory=list)

    def members(self) -> list[tuple[Candidate, str]]:
        """Returns every member with its role, the lead first."""
        return [(self.lead, "lead"), *self.others]

    @property
    def kind(self) -> str:
        """What the bundle is, by the roles of its members."""
        kinds = {"live_video": "live_photo", "raw": "raw_jpeg", "edit": "edited"}
        found = {kinds[role] for _, role in self.others if role in kinds}
        return "single" if not found else found.pop() if len(found) == 1 else "mixed"


def assemble(candidates: Sequence[Candidate]) -> list[Group]:
    """Groups the files of one stem.

    Args:
        candidates: Stored contents that share a folder and a stem, or a content identifier.

    Returns:
        Every candidate in exactly one group.
    """
    ordered = sorted(candidates, key=lambda one: (one.name, one.file.sha256))
    groups = _as_declared(ordered)
    told = {one.file.id for group in groups for one, _ in group.members()}
    ordered = [one for one in ordered if one.file.id not in told]
    photos = [one for one in ordered if one.file.kind == "photo"]
    raws = [one for one in ordered if one.file.kind == "raw"]
    videos = [one for one in ordered if one.file.kind == "video"]
    originals = [one for one in photos if not is_edit(one.name)] or ([] if groups else photos)
    groups += [Group(one) for one in originals]
    for one in photos:
        if one not in originals:
            _nearest(groups, one).others.append((one, "edit"))
    for one in raws:
        _join(groups, one, "raw", lambda group, raw: group.lead.file.kind == "photo" and not _other_day(group, raw))
    for one in videos:
        _join(groups, one, "live_video", _is_live_pair)
    for one in ordered:
        if one.file.kind == "sidecar":
            _join_sidecar(groups, one)
    return groups


def _as_declared(ordered: Sequence[Candidate]) -> list[Group]:
    """Groups what its source says belongs together; nothing as long as the lead has not come."""
    leads = [one for one in ordered if one.role == "lead"]
    if len(leads) != 1:
        return []
    return [Group(leads[0], [(one, one.role) for one in ordered if one.role is not None and one is not leads[0]])]


def _join(groups: list[Group], one: Candidate, role: str, fits: object) -> None:
    assert callable(fits)
    for group in groups:
        if fits(group, one):
            group.others.append((one, role))
            return
    groups.append(Group(one))


def _join_sidecar(groups: list[Group], sidecar: Candidate) -> None:
    media_groups = [group for group in groups if group.lead.file.kind != "sidecar"]
    if not media_groups:
        groups.append(Group(sidecar))
        return
    names = {one.name: group for group in media_groups for one, _ in group.members()}
    subject = takeout_subject(sidecar.name, set(names)) or os.path.splitext(sidecar.name)[0]
    group = names.get(subject, media_groups[0])
    group.others.append((sidecar, "sidecar"))


def _nearest(groups: list[Group], one: Candidate) -> Group:
    same = [group for group in groups if group.lead.file.format == one.file.format]
    return (same or groups)[0]


def _other_day(group: Group, one: Candidate) -> bool:
    return group.lead.file.partition_date != one.file.partition_date


def _is_live_pair(group: Group, video: Candidate) -> bool:
    still, clip = group.lead.file, video.file
    if still.kind != "photo" or any(role == "live_video" for _, role in group.others):
        return False
    if still.content_identifier and clip.content_identifier:
        return still.content_identifier == clip.content_identifier
    short = clip.duration_seconds is not None and clip.duration_seconds <= LIVE_SECONDS
    return short and still.partition_date == clip.partition_date


def form_bundles(connection: Connection, file: MediaFile, name: str) -> list[int]:
    """Puts a content, and what is stored of its siblings, into bundles.

    Args:
        connection: The catalog, in a transaction that holds the bundling lock.
        file: The content.
        name: A name for it, should no observation be left.

    Returns:
        The contents that became members now.
    """
    joined: list[int] = []
    for group in assemble(_related(connection, file, name)):
        if any(one.file.id == file.id for one, _ in group.members()):
            joined += _persist(connection, group)
    return joined


def _related(connection: Connection, file: MediaFile, name: str) -> list[Candidate]:
    names: dict[int, str] = {}
    roles: dict[int, str] = {}
    for _, source, folder, stem, path in sources.observations_of(connection, [file.id]):
        names.setdefault(file.id, os.path.basename(from_text(path)))
        roles = roles or sources.declared_roles(connection, source, folder, stem)
        for sibling, sibling_path in sources.siblings(connection, source, folder, stem):
            names.setdefault(sibling, os.path.basename(from_text(sibling_path)))
    names.setdefault(file.id, name)
    if file.content_identifier:
        others = media.with_content_identifier(connection, file.content_identifier)
        for media_file_id, _, _, _, path in sources.observations_of(connection, others):
            names.setdefault(media_file_id, os.path.basename(from_text(path)))
    files = media.load_media(connection, sorted(names))
    return [Candidate(one, names[one.id], roles.get(one.id)) for one in files if _together(file, one)]


def _together(file: MediaFile, other: MediaFile) -> bool:
    """Returns whether two files of one stem may share a bundle: camera counters come round again."""
    if "sidecar" in (file.kind, other.kind) or file.content_identifier == other.content_identifier is not None:
        return True
    return abs((file.partition_date - other.partition_date).days) <= 1


def _persist(connection: Connection, group: Group) -> list[int]:
    bundle = _bundle_of(connection, group)
    joined = []
    for one, role in group.members():
        if bundles.is_member(connection, bundle.id, one.file.id):
            continue
        if role != "lead" and bundles.move_single(connection, bundle, one.file.id, role):
            continue
        bundles.add_member(connection, bundle, one.file.id, role, _free_name(connection, bundle, one))
        if role != "sidecar" and one.file.partition_date != bundle.partition_date:
            media.move_to_date(connection, one.file.id, bundle.partition_date)
        joined.append(one.file.id)
    if bundle.kind != group.kind != "single":
        bundles.set_bundle_kind(connection, bundle.id, group.kind)
    return joined


def _bundle_of(connection: Connection, group: Group) -> Bundle:
    lead = group.lead.file
    existing = bundles.bundle_led_by(connection, lead.id)
    if existing is not None:
        return existing
    suffix = "" if _all_free(connection, group) else f"-{lead.sha256[:HASH_CHARS]}"
    return bundles.add_bundle(connection, lead.id, group.kind, suffix, lead.partition_date)


def _all_free(connection: Connection, group: Group) -> bool:
    # A half that stood alone until its lead came has its name already, and the lead may share its stem.
    members = [one for one, _ in group.members()]
    ids = [one.file.id for one in members]
    day = group.lead.file.partition_date
    return all(bundles.name_is_free(connection, day, one.name, ids) for one in members)


def _free_name(connection: Connection, bundle: Bundle, one: Candidate) -> str:
    """Returns the name that a member is delivered under: its own, or the bundle's variant of it."""
    wanted = named_with(one.name, bundle.name_suffix)
    if bundles.name_is_free(connection, bundle.partition_date, wanted):
        return wanted
    return named_with(one.name, f"-{one.file.sha256[:HASH_CHARS]}-{bundle.id}")
