"""The platform as the settings describe it: one place where settings become roots, sources, destinations and stages.

Belongs here: turning the settings into what the stages take, and getting the catalog and the roots
ready. Does not belong here: Dagster, or what a stage does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from catalog import config, deliveries, icloud_uploads, left_out, phone_room, renditions, sidecars, sources, work
from catalog.bundles import LIBRARY, to_sort
from catalog.media import DEDUPLICATED, to_deduplicate
from catalog.migrate import migrate, newest_version, schema_version
from catalog.paths import to_text
from catalog.work import ClaimRules, WorkQuery
from media.tiers import Tier
from pipeline import layout
from pipeline.compress import CompressionStage, tier_dates
from pipeline.deduplicate import DeduplicationStage
from pipeline.deliver import StagedStage, UploadedStage, VerifiedStage
from pipeline.destination import Destination
from pipeline.discovery import DateRules, FolderSpec
from pipeline.failures import RefusedForSafety, RunStopped
from pipeline.icloud import ICloudLibraries
from pipeline.icloud_delivery import ICloudStagedStage, ICloudUploadedStage, ICloudVerifiedStage
from pipeline.icloud_sidecars import ICloudSidecarsStage
from pipeline.library import LibraryStage
from pipeline.originals import OriginalsStage
from pipeline.pixel_delivery import PixelStagedStage, PixelUploadedStage, PixelVerifiedStage, remembered_folders
from pipeline.pixel_room import PhoneRoom
from pipeline.recheck import LOOKS, Rechecked, recheck
from pipeline.release import ReleaseStage
from pipeline.roots import check_roots, ensure_roots
from pipeline.run import clean_up_after_dead_runs
from pipeline.stage import Stage
from pipeline.storing import SourceRoot
from resources.archive import ArchiveFolder
from resources.folder import is_there
from resources.icloud_destination import ICloudPhotos
from resources.mounts import present_disk
from resources.pixel import PixelFolder
from resources.settings import ArchiveDestination, Settings

STEPS = ("staged", "uploaded", "verified")
PLACES = "places_of_destinations"  # where each was at the last start of a command
APPLE_IDS = "apple_ids_of_destinations"  # whose library each was then


def utc_now() -> datetime:
    """Returns the present moment, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Platform:
    """Everything that one home consists of, without a run.

    Attributes:
        settings: What the person set.
        engine: The catalog.
        now: The clock.
    """

    settings: Settings
    engine: Engine
    now: Callable[[], datetime] = utc_now

    @cached_property
    def roots(self) -> dict[str, Path]:
        """The folders that we write to, by name; each has a marker."""
        roots = self.settings.roots
        own = {
            layout.ORIGINALS: roots.originals,
            layout.RENDITIONS: roots.renditions,
            layout.STAGING: roots.staging,
            layout.LIBRARY: roots.library,
            layout.TRASH: roots.trash,
            layout.THUMBNAILS: roots.thumbnails,
        }
        return own | {layout.destination_root(name): entry.path for name, entry in self._archives.items()}

    @cached_property
    def _archives(self) -> dict[str, ArchiveDestination]:
        return {name: entry for name, entry in self.settings.archives.items() if entry.enabled}

    @cached_property
    def sources(self) -> dict[str, FolderSpec]:
        """The folders that are watched, by name."""
        return {
            name: FolderSpec(
                name=name,
                path=entry.path,
                copied=entry.mode == "copy",
                include=entry.include,
                exclude=entry.exclude,
                settle_seconds=entry.settle_seconds,
                away_share=entry.away_share,
            )
            for name, entry in self.settings.folder_sources.items()
            if entry.enabled
        }

    @cached_property
    def _source_roots(self) -> dict[str, SourceRoot]:
        return {name: SourceRoot(spec.path, spec.copied) for name, spec in self.sources.items()}

    @cached_property
    def icloud(self) -> ICloudLibraries:
        """The iCloud libraries and the accounts behind them."""
        return ICloudLibraries(self.settings, self.engine, self.now)

    @cached_property
    def destinations(self) -> dict[str, Destination]:
        """The places that get copies, by name."""
        archives: dict[str, Destination] = {
            name: ArchiveFolder(name, entry.path, entry.deliver, entry.on_new_rendition)
            for name, entry in self._archives.items()
        }
        pixels: dict[str, Destination] = {
            name: PixelFolder.of(name, entry) for name, entry in self.settings.pixels.items() if entry.enabled
        }
        return archives | self.icloud.destinations | pixels

    @property
    def written_folders(self) -> dict[str, Path]:
        """Every root, and the folders of phones, whose places Syncthing alone knows until they are used."""
        with self.engine.connect() as connection:
            found = remembered_folders(connection)
        phones = {layout.destination_root(name): path for name, path in found.items() if name in self.settings.pixels}
        return self.roots | phones

    @property
    def phones_that_count(self) -> list[str]:
        """The phones that the owner counts as a copy, by name."""
        return [name for name, entry in self.settings.pixels.items() if entry.counts_as_copy]

    def phone_room(self, name: str) -> PhoneRoom:
        """Returns the room in the folder of a phone."""
        return PhoneRoom(self.engine, name, self.settings.pixels[name], bool(self.tiers))

    @cached_property
    def originals(self) -> dict[str, Path]:
        """Where originals stand, by the name that the catalog gives the root."""
        left_in_place = {f"source:{name}": entry.path for name, entry in self.settings.folder_sources.items()}
        return {layout.ORIGINALS: self.roots[layout.ORIGINALS]} | left_in_place

    @cached_property
    def tiers(self) -> list[Tier]:
        """The age tiers, youngest first; none when nothing is compressed."""
        return self.settings.compression.plan_tiers() if self.settings.compression.enabled else []

    @cached_property
    def home_id(self) -> str:
        """What tells this home from others that may write to the same disk."""
        with self.engine.connect() as connection:
            return config.home_id(connection)

    def date_rules(self) -> DateRules:
        """Returns how capture dates become partitions now."""
        return DateRules(self.settings.timezone, self.settings.start_date, self.now())

    @property
    def today(self) -> date:
        """The day that counts as today."""
        return self.now().date()

    def stage(self, name: str) -> Stage[Any]:
        """Returns a stage by its name, freshly made for one run.

        Raises:
            KeyError: There is no such stage under these settings.
        """
        return self._stages[name]()

    @cached_property
    def _stages(self) -> dict[str, Callable[[], Stage[Any]]]:
        names = list(self.destinations)
        settings = self.settings
        stages: dict[str, Callable[[], Stage[Any]]] = {
            sources.ORIGINALS: lambda: OriginalsStage(
                self.roots,
                self._source_roots,
                settings.compute.ingest_timeout_seconds,
                self.date_rules(),
            ),
            sources.ICLOUD_ORIGINALS: lambda: self.icloud.originals_stage(
                self.roots, self._source_roots, settings.compute.ingest_timeout_seconds
            ),
            DEDUPLICATED: lambda: DeduplicationStage(
                self.roots,
                names,
                near=settings.deduplication.enabled,
                threshold=settings.deduplication.near_threshold,
                correlation=settings.deduplication.near_correlation,
            ),
        }
        if described := self.icloud.with_sidecars:
            stages[sidecars.SIDECARS] = lambda: ICloudSidecarsStage(
                self.roots[layout.ORIGINALS], described, self.date_rules()
            )
        if self.tiers:
            stages[renditions.COMPRESSED] = lambda: CompressionStage(
                self.roots, self.originals, self.tiers, names, settings.compute.task_timeout_seconds
            )
        for name, destination in self.destinations.items():
            stages |= self._delivery_stages(name, destination)
        if settings.library.enabled:
            stages[LIBRARY] = lambda: LibraryStage(
                self.roots[layout.LIBRARY],
                self.originals,
                settings.library.template,
                settings.library.link,
                self.phones_that_count,
            )
        if settings.release.enabled:
            stages[renditions.RELEASED] = lambda: ReleaseStage(self.roots, self.destinations, settings.release.copies)
        return stages

    def _delivery_stages(self, name: str, destination: Destination) -> dict[str, Callable[[], Stage[Any]]]:
        staged, uploaded, verified = (deliveries.stage_name(name, step) for step in STEPS)
        if isinstance(destination, ICloudPhotos):
            rules = self.icloud.rules(name)
            return {
                staged: lambda: ICloudStagedStage(destination, rules, compressing=bool(self.tiers)),
                uploaded: lambda: ICloudUploadedStage(
                    destination, rules, self.originals, self.roots, self.icloud.room(name)
                ),
                verified: lambda: ICloudVerifiedStage(destination, rules, self.originals, self.roots),
            }
        if isinstance(destination, PixelFolder):
            return {
                staged: lambda: PixelStagedStage(destination, self.phone_room(name)),
                uploaded: lambda: PixelUploadedStage(destination, self.originals, self.roots, self.settings.timezone),
                verified: lambda: PixelVerifiedStage(destination, self.originals, self.roots),
            }
        return {
            staged: lambda: StagedStage(destination, compressing=bool(self.tiers)),
            uploaded: lambda: UploadedStage(destination, self.originals, self.roots),
            verified: lambda: VerifiedStage(
                destination, self.originals, self.roots, self.destinations, self.settings.release.copies
            ),
        }

    def queries(self, *, aged: bool) -> list[WorkQuery]:
        """Returns what every stage has yet to do.

        Args:
            aged: Also what has only grown older since it was decided.
        """
        present = [name for name, spec in self.sources.items() if is_there(spec.path)]
        found = [sources.to_store_from(present), to_deduplicate]
        if self.icloud.sources:
            found.append(sources.to_store_from(list(self.icloud.sources), sources.ICLOUD_ORIGINALS))
        if self.icloud.with_sidecars:
            found.append(sidecars.to_write(self.icloud.with_sidecars))
        if self.tiers:
            found.append(renditions.to_compress(tier_dates(self.tiers, self.today), aged=aged))
        for name, destination in self.destinations.items():
            found += self._delivery_queries(name, destination)
        if self.settings.library.enabled:
            found.append(to_sort(self.phones_that_count))
        if self.settings.release.enabled:
            found.append(renditions.to_release)
        return found

    def _delivery_queries(self, name: str, destination: Destination) -> list[WorkQuery]:
        if isinstance(destination, PixelFolder):
            room, entry = self.phone_room(name), destination.settings
            return [
                room.query(room.plan()),
                phone_room.to_place(name, newest_first=room.newest_first),
                phone_room.to_verify_or_empty(name, entry.keep_hours),
            ]
        waits = bool(self.tiers) and destination.deliver_what == "rendition"
        return [
            deliveries.to_stage(name, decided_only=waits),
            deliveries.in_state(name, "uploaded", "staged"),
            deliveries.to_verify(name, replacing=destination.on_new_rendition == "replace"),
        ]

    def due_dates(self, *, aged: bool, redo: work.Redo = "failed", unseen: bool = False) -> list[date]:
        """Returns the dates at which a run of now would find something to do.

        Args:
            aged: Also what has only grown older since it was decided.
            redo: Which failures count.
            unseen: Also deliveries that nobody has looked at for long, as many as one run looks at.
        """
        rules = ClaimRules(lease_id=0, redo=redo, max_attempts=self.settings.runs.max_attempts)
        days: set[date] = set()
        # What waits for room there is due once that is asked for again.
        full = [] if redo == "all" else [deliveries.stage_name(name, "uploaded") for name in self.icloud.without_room()]
        with self.engine.connect() as connection:
            for query in self.queries(aged=aged):
                if query.stage not in full:
                    days.update(work.due_dates(connection, query, rules))
            for name, entry in self._archives.items() if unseen else ():
                old = deliveries.longest_unseen(connection, name, entry.recheck_days, LOOKS)
                days.update(one.partition_date for one in old)
        return sorted(days)

    def recheck(self, name: str) -> Rechecked:
        """Looks again at what an archive was proven to hold long ago; of iCloud the changes feed tells what is gone."""
        if name not in self._archives:
            return Rechecked(0, [], False)
        return recheck(self.engine, self.destinations[name], self._archives[name].recheck_days)

    def prepare(self, before_migration: Callable[[str], None] | None = None) -> None:
        """Gets the catalog and the roots ready; cheap when they are.

        Args:
            before_migration: Makes a dump before an existing catalog is changed.

        Raises:
            RefusedForSafety: A root lacks its marker, or a fixed setting was changed.
            NewerSchema: The catalog belongs to a newer version.
        """
        migrate(self.engine, before_migration)
        with self.engine.begin() as connection:
            config.lock_start(connection)
            self._hold_fixed_settings(connection)
            ensure_roots(connection, self.roots)
            self._tell_new_destinations(connection)
            self._doubt_moved_destinations(connection)
            self._begin_anew_at_other_accounts(connection)
        self.clean_up()

    def prepare_to_look(self) -> None:
        """Gives a database that has no catalog its tables, and touches nothing else; for a dry run.

        Raises:
            RunStopped: The catalog was written by an earlier version, so it cannot be read as it is.
        """
        with self.engine.connect() as connection:
            version, wanted = schema_version(connection), newest_version()
        if version is None:
            migrate(self.engine)
        elif version != wanted:
            raise RunStopped(
                f"The catalog stands at version {version} and this program knows {wanted}; a dry run changes nothing. "
                "Run without --dry-run, or start `up`: it is brought up to date then, after a dump."
            )

    def clean_up(self) -> list[str]:
        """Frees what killed runs had claimed; returns their run ids."""
        dead = clean_up_after_dead_runs(self.engine, self.written_folders, layout.folders_of_day)
        return [lease.run_id for lease in dead]

    def problems(self) -> list[str]:
        """Returns what is wrong with the roots, in words."""
        with self.engine.connect() as connection:
            return check_roots(connection, self.roots)

    def _hold_fixed_settings(self, connection: Any) -> None:
        for key, value in (
            ("start_date", self.settings.start_date.isoformat()),
            ("timezone", self.settings.timezone),
        ):
            fixed = config.fix_config(connection, key, value)
            if fixed != value:
                raise RefusedForSafety(
                    f"The setting {key} is {value}, but this home was started with {fixed}, and its photos are dated "
                    f"by it. Set it back to {fixed} in mediapipe.toml. Nothing was touched."
                )

    def _tell_new_destinations(self, connection: Any) -> None:
        known = config.get_config(connection, "destinations") or []
        for name in self.destinations:
            if name not in known:
                deliveries.enqueue_everything(connection, name)
        # One that was switched off is told everything again when it comes back: what came meanwhile, it was not told.
        config.set_config(connection, "destinations", sorted(self.destinations))
        self._tell_changed_rules(connection)

    def _tell_changed_rules(self, connection: Any) -> None:
        """Has what a destination did not get decided anew when its settings have changed."""
        entries = {name: self.settings.icloud_destinations[name] for name in self.icloud.destinations}
        rules: dict[str, list[Any]] = {
            name: [one.deliver, sorted(one.accept), one.missing_only] for name, one in entries.items()
        }
        phones = {name: one for name, one in self.settings.pixels.items() if one.enabled}
        rules |= {name: [one.deliver, one.quota] for name, one in phones.items()}
        known = config.get_config(connection, "destination_rules") or {}
        for name, rule in rules.items():
            if known.get(name) not in (None, rule):
                left_out.queue_again(connection, name)
        if known | rules != known:
            config.set_config(connection, "destination_rules", known | rules)

    def _doubt_moved_destinations(self, connection: Any) -> None:
        """Has everything proven anew at a destination that has another path or another disk than the last time."""
        known = config.get_config(connection, PLACES) or {}
        places = {
            name: {"path": to_text(str(one.path)), "disk": to_text(present_disk(one.path))}
            for name, one in self.destinations.items()
            if one.path is not None
        }
        for name, place in places.items():
            before = known.get(name, place)
            if before != place:
                was, now = (f"{one['path']} ({one['disk']})" for one in (before, place))
                deliveries.doubt_everything(connection, name, f"it moved from {was} to {now} and is proven anew")
        config.set_config(connection, PLACES, known | places)

    def _begin_anew_at_other_accounts(self, connection: Any) -> None:
        """What one Apple ID's library holds says nothing of another's, though the destination has kept its name."""
        known = config.get_config(connection, APPLE_IDS) or {}
        now = {
            name: self.icloud.accounts[self.settings.icloud_destinations[name].account].apple_id.casefold()
            for name in self.icloud.destinations
        }
        for name, apple_id in now.items():
            if known.get(name, apple_id) != apple_id:
                icloud_uploads.begin_anew(connection, name, "the destination belongs to another Apple ID now")
                left_out.queue_again(connection, name)
        if known | now != known:
            config.set_config(connection, APPLE_IDS, known | now)
