"""How far a destination has come, in words and figures, for whoever tells it.

Belongs here: what may be said of which kind of destination. Does not belong here: counting (`catalog.counts`).

A phone is never said to hold a proven copy or a backup: a file is delivered there, was freed there again, or was found
in a sample of Google Photos.
"""

from __future__ import annotations

from dataclasses import asdict

from catalog.counts import DestinationCounts

ON_A_PHONE = ("delivered", "freed_on_phone", "confirmed")


def in_figures(counts: DestinationCounts, *, phone: bool) -> dict[str, int]:
    """Returns the figures of a destination that scripts may rely on."""
    found = asdict(counts)
    for name in ("verified",) if phone else ON_A_PHONE:
        del found[name]
    return found


def in_words(counts: DestinationCounts, *, phone: bool) -> str:
    """Returns how far a destination has come, without what waits or failed there."""
    if not phone:
        return f"{counts.verified} of {counts.staged} verified"
    more = [f"{counts.freed_on_phone} freed there since"] if counts.freed_on_phone else []
    more += [f"{counts.confirmed} confirmed in a sample of Google Photos"] if counts.confirmed else []
    return f"{counts.delivered} of {counts.staged} delivered to the phone" + (f" ({', '.join(more)})" if more else "")
