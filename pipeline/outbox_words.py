"""The words of a message: one notice, many of one topic, or a day.

Belongs here: turning rows of the outbox into a `Message`, within the length that a messenger takes. Does not belong
here: when it is sent (`pipeline.outbox`), or the words of a single notice (`pipeline.alerts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from catalog.counts import DestinationCounts, LibraryCounts
from catalog.day import DayCounts
from catalog.notification_sends import DIGEST, Waiting
from resources.messages import Message
from resources.settings_alerts import SEVERITIES

# Telegram takes 4,096 characters, which it counts as UTF-16 does.
LONGEST_TITLE, LONGEST_BODY, LONGEST_LINK = 200, 3_400, 300
RUNS = "/runs"
SAMPLE = 5
DIGEST_SAMPLE = 15
AGAIN = "Perhaps you have had this already: the last attempt to send it was not answered.\n\n"


def message_of(rows: Sequence[Waiting], web: str) -> Message:
    """Returns what is sent for some rows.

    Args:
        rows: In the order of the outbox; of one topic, or all for the digest.
        web: The address of the web UI.
    """
    if rows[0].digest:
        title, body = _digest(rows)
    elif len(rows) == 1:
        title, body = rows[0].title, rows[0].body
    else:
        title, body = _many(rows)
    again = AGAIN if any(row.maybe_sent for row in rows) else ""
    return Message(
        title=cut(title, LONGEST_TITLE),
        body=cut(again + body, LONGEST_BODY),
        severity=max((row.severity for row in rows), key=SEVERITIES.index),
        link=_link(rows, web),
        count=sum(row.topic != DIGEST for row in rows),
    )


def day_in_words(
    day: date, done: DayCounts, library: LibraryCounts, destinations: dict[str, DestinationCounts]
) -> tuple[str, str]:
    """Returns title and text of a day's summary."""
    failed = library.failed + sum(one.failed for one in destinations.values())
    pending = library.pending + sum(one.pending for one in destinations.values())
    lines = [
        f"Arrived: {done.arrived} {'file' if done.arrived == 1 else 'files'}, {_size(done.arrived_bytes)}",
        f"Made smaller: {done.renditions}, {_size(done.saved_bytes)} saved",
        f"Delivered: {done.delivered}, verified: {done.verified}",
        f"Now failed: {failed}, pending: {pending}",
    ]
    return f"Daily digest, {day:%Y-%m-%d}", "\n".join(lines)


def cut(words: str, longest: int) -> str:
    """Returns a text that is at most so long, as UTF-16 counts, with an ellipsis where something is missing."""
    encoded = words.encode("utf-16-le", "replace")
    if len(encoded) <= 2 * longest:
        return words
    return encoded[: 2 * (longest - 1)].decode("utf-16-le", "ignore") + "…"


def _many(rows: Sequence[Waiting]) -> tuple[str, str]:
    same = len({row.title for row in rows}) == 1
    title = f"{len(rows)} × {rows[0].title}" if same else f"{rows[0].title} – and {len(rows) - 1} more"
    share = (LONGEST_BODY - 200) // SAMPLE
    parts = [cut(row.body if same and row.body else f"• {row.title}\n{row.body}".rstrip(), share) for row in rows]
    return title, _sample(parts, SAMPLE, "\n\n")


def _digest(rows: Sequence[Waiting]) -> tuple[str, str]:
    summaries = [row for row in rows if row.topic == DIGEST]
    notices = [row for row in rows if row.topic != DIGEST]
    title = summaries[-1].title if summaries else f"{len(notices)} notices"
    told: dict[str, int] = {}
    for row in notices:
        told[row.title] = told.get(row.title, 0) + 1
    lines = [cut(f"• {what}" + (f" ({count} times)" if count > 1 else ""), 150) for what, count in told.items()]
    parts = [row.body for row in summaries if row.body]
    if lines:
        parts.append(_sample(lines, DIGEST_SAMPLE, "\n"))
    return title, "\n\n".join(parts)


def _sample(parts: Sequence[str], most: int, between: str) -> str:
    rest = [f"… and {len(parts) - most} more"] if len(parts) > most else []
    return between.join([*parts[:most], *rest])


def _link(rows: Sequence[Waiting], web: str) -> str | None:
    paths = {row.path for row in rows if row.topic != DIGEST}
    path = paths.pop() if len(paths) == 1 else _above(paths)
    if path is None or len(web + path) > LONGEST_LINK:
        return None
    return web + path


def _above(paths: set[str | None]) -> str | None:
    """Returns the page that lists what several paths lead to."""
    return RUNS if paths and all((path or "").startswith(RUNS) for path in paths) else None


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"
