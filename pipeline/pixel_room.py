"""The room in a phone's folder: which bundles may enter it now, and the words for those that wait.

Belongs here: the quota, in whole bundles and in the order of the days. Does not belong here: the stages that follow it
(`pipeline.pixel_delivery`), or the free space of the disk, which only whoever writes there can judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from catalog import phone_room, placed_files
from catalog.phone_room import Waiting
from catalog.work import ALL_DAYS, Scope, WorkQuery
from resources.settings_pixel import PixelDestination


@dataclass(frozen=True, slots=True)
class Plan:
    """What may enter the folder now.

    Attributes:
        bundles: Their ids; those that are larger than the quota are among them, to be left out.
        full: Whether others have to wait for room.
    """

    bundles: Sequence[int]
    full: bool


def entering(waiting: Sequence[Waiting], quota: int, used: int) -> Plan:
    """Returns the bundles that may enter: strictly in order, so that a large one is not overtaken for ever.

    Args:
        waiting: In the order in which they go.
        quota: Most bytes that may lie in the folder.
        used: Bytes that lie there, or are about to.
    """
    free = quota - used
    found: list[int] = []
    for one in waiting:
        if one.size <= quota:
            if one.size > max(free, 0):
                return Plan(found, True)
            free -= one.size
        found.append(one.id)
    return Plan(found, False)


@dataclass(frozen=True, slots=True)
class PhoneRoom:
    """The folder of one phone, as far as its quota goes.

    Attributes:
        engine: The catalog.
        name: The destination.
        settings: Its section.
        compressing: Whether renditions are made at all.
    """

    engine: Engine
    name: str
    settings: PixelDestination
    compressing: bool

    @property
    def renditions(self) -> bool:
        """Whether renditions go there, where there are any."""
        return self.settings.deliver == "rendition"

    @property
    def newest_first(self) -> bool:
        """Whether the newest days go first."""
        return self.settings.order == "newest"

    def plan(self, scope: Scope = ALL_DAYS) -> Plan:
        """Returns which bundles of some days may enter now."""
        with self.engine.connect() as connection:
            waiting = phone_room.bundles_in_order(
                connection,
                self.name,
                scope,
                renditions=self.renditions,
                decided_only=self.renditions and self.compressing,
                newest_first=self.newest_first,
            )
            return entering(waiting, self.settings.quota, placed_files.in_flight(connection, self.name))

    def query(self, plan: Plan) -> WorkQuery:
        """Returns the members of the bundles of a plan."""
        return phone_room.to_stage(self.name, plan.bundles, newest_first=self.newest_first)

    def untold(self, connection: Connection, bundle_id: int) -> tuple[list[int], int]:
        """Returns the members of a bundle that the phone was not told of, and their bytes together."""
        found = phone_room.untold_members(connection, self.name, bundle_id, renditions=self.renditions)
        return [member for member, _ in found], sum(size for _, size in found)

    def fits(self, connection: Connection, size: int) -> bool:
        """Returns whether so many bytes fit now; the caller holds `phone_room.lock`."""
        return placed_files.in_flight(connection, self.name) + size <= self.settings.quota

    def too_large(self, size: int) -> str | None:
        """Returns why a bundle of a size never goes there, None when it may."""
        if size <= self.settings.quota:
            return None
        return f"it has more bytes than may lie in the folder at once ({_gb(self.settings.quota)}: quota_gb)"

    def full_in_words(self) -> str:
        """Returns how full the folder is, and what waits for room."""
        with self.engine.connect() as connection:
            used = placed_files.in_flight(connection, self.name)
            waiting = phone_room.count_queued(connection, self.name)
        return (
            f"{_gb(used)} of {_gb(self.settings.quota)} lie in the folder, so {waiting} files wait for room: they "
            "follow by themselves once the phone has taken what is there"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
