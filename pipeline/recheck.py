"""Looking again at what was proven long ago, without reading it.

Belongs here: one bounded look at the deliveries of a destination that were seen longest ago. Does not belong here:
proving them anew, which reads every byte and is what follows for whatever is amiss (`pipeline.deliver`).

A proof says what a destination held at its time. A disk that is exchanged, or emptied by hand, says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from catalog import deliveries
from catalog.deliveries import LastSeen
from catalog.paths import from_text
from media.files import RootAway
from pipeline.destination import Destination

LOOKS = 200  # in one run: a stat each, also on a slow NAS a matter of seconds
ENOUGH = 20  # so many looks say something about all the others


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What one look found.

    Attributes:
        looked: How many deliveries were looked at.
        amiss: Path and reason of those that are due again.
        everything: Whether so many were amiss that every delivery of the destination is due again.
    """

    looked: int
    amiss: list[tuple[str, str]]
    everything: bool


def recheck(engine: Engine, destination: Destination, days: int, limit: int = LOOKS) -> Rechecked:
    """Looks at the deliveries that were seen longest ago; what is amiss is due again.

    Args:
        engine: The catalog.
        destination: Where they are.
        days: Only those that were not seen for so many days.
        limit: At most so many.
    """
    with engine.connect() as connection:
        old = deliveries.longest_unseen(connection, destination.name, days, limit)
    seen, amiss = _look(destination, old)
    looked = len(seen) + len(amiss)
    everything = looked >= ENOUGH and 2 * len(amiss) > looked
    with engine.begin() as connection:
        deliveries.mark_seen(connection, [one.id for one in seen])
        for one, reason in amiss:
            deliveries.doubt_delivery(connection, one.id, reason)
        if everything:
            reason = f"{len(amiss)} of {looked} copies that were looked at are amiss, so each is proven anew"
            deliveries.doubt_everything(connection, destination.name, reason)
    return Rechecked(looked, [(one.remote_path, reason) for one, reason in amiss], everything)


def _look(destination: Destination, old: Sequence[LastSeen]) -> tuple[list[LastSeen], list[tuple[LastSeen, str]]]:
    """Returns what is in its place, and what is amiss; it ends early when the destination cannot be looked at."""
    seen: list[LastSeen] = []
    amiss: list[tuple[LastSeen, str]] = []
    for one in old:
        try:
            reason = destination.glance(from_text(one.remote_path), one.size)
        except (RootAway, OSError):  # what is away has lost nothing; whoever delivers there says so
            break
        if reason is None:
            seen.append(one)
        else:
            amiss.append((one, reason))
    return seen, amiss
