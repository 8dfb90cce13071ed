"""What /health and /logs look at, in words for a small screen.

Belongs here: one short line for each part, and the last problems without a folder in them: folders may be named after
places. Does not belong here: judging and telling by itself (`pipeline.alerts`, `sensors.alerts`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection

from catalog import findings, heartbeats, icloud, logs, notifications, twofa, work
from pipeline import switches
from pipeline.assembly import Platform
from pipeline.health import disks_of
from pipeline.icloud_account import trust_warning
from pipeline.left import left_over

SILENCE = timedelta(minutes=5)  # a daemon that is busy may be late by some minutes
FILES_NAMED, NOTICES_NAMED, LINES_NAMED, LONGEST_REASON = 3, 5, 2, 160
# From where a path begins to its last separator: folders may have blanks in their names, so rather too much is cut.
_FOLDERS = re.compile(r"(?<![\w.:/\\])~?[/\\].*[/\\](?=\S)|(?:[^\s/\\“\"'(]+[/\\])+(?=[^\s/\\])")


def health(platform: Platform) -> str:
    """Returns how the parts of the installation are."""
    with platform.engine.connect() as connection:
        lines = [
            "Database: answers",
            _daemon(platform, connection),
            *_apple(platform, connection),
            _last_file(platform, connection),
            _backlog(platform, connection),
        ]
        paused = switches.paused_since(connection)
    if paused is not None:
        lines.append(f"Paused {ago(platform.now() - paused)} ago; /resume goes on")
    return "\n".join([*lines, *_disks(platform)])


def _daemon(platform: Platform, connection: Connection) -> str:
    beat = heartbeats.last_beat(connection, heartbeats.SENSORS)
    if beat is None:
        return "Daemon: not running; on the machine: mediapipe-assets up"
    silent = platform.now() - beat
    words = "; it should say so every minute. On the machine: mediapipe-assets up" if silent > SILENCE else ""
    return f"Daemon: last heard of {ago(silent)} ago{words}"


def _apple(platform: Platform, connection: Connection) -> Iterator[str]:
    for account in platform.icloud.accounts.values():
        state = icloud.account_state(connection, account.name)
        if state.needs is not None:
            words = str(state.needs_detail) if state.needs != "code" else _code_wanted(connection, account.name)
        elif state.signed_in_at is None:
            words = "not signed in yet; /2fa signs in"
        else:
            words = trust_warning(state, account.trust_days, platform.now()) or "signed in"
        if state.throttled_until is not None and state.throttled_until > platform.now():
            words += f"; left alone for {ago(state.throttled_until - platform.now())}, as Apple asked"
        yield f"Apple, “{account.name}”: {words}"


def _code_wanted(connection: Connection, account: str) -> str:
    if twofa.open_request_of(connection, account) is not None:
        return "wants a code; reply here with its six digits"
    return "wants a code; /2fa has Apple send one"


def _last_file(platform: Platform, connection: Connection) -> str:
    at = logs.last_finished(connection)
    return f"Last file done: {ago(platform.now() - at)} ago" if at is not None else "Last file done: none yet"


def _backlog(platform: Platform, connection: Connection) -> str:
    left = left_over(platform, connection)
    waiting, failed = sum(one.waiting for one in left), sum(one.failed for one in left)
    given_up = sum(one.given_up for one in left)
    words = f"{waiting} steps wait, {failed} failed" if waiting or failed else "nothing waits"
    return f"Backlog: {words}" + (f", {given_up} of them need you; /logs" if given_up else "")


def _disks(platform: Platform) -> Iterator[str]:
    for disk in disks_of(platform):
        yield f"Disk of {', '.join(disk.folders)}: {megabytes(disk.free)} free"
    away = [name for name, folder in platform.roots.items() if not folder.exists()]
    if away:
        yield f"Away: the folder of {', '.join(away)}; look at the mount"


def problems(platform: Platform) -> str:
    """Returns what was told and still holds, and what stands failed."""
    with platform.engine.connect() as connection:
        lines = [*_told(platform, connection), *_failed(platform, connection)]
    return "\n".join(lines) or "No problems: nothing stands failed, and nothing that was told still holds."


def _told(platform: Platform, connection: Connection) -> Iterator[str]:
    total, newest = notifications.unresolved(connection, NOTICES_NAMED)
    for at, title, body in newest:
        yield f"{ago(platform.now() - at)} ago: {without_folders(title)}"
        yield from (f"  {without_folders(line)[:LONGEST_REASON]}" for line in body.splitlines()[:LINES_NAMED])
    if total > len(newest):
        yield f"… and {total - len(newest)} more"


def _failed(platform: Platform, connection: Connection) -> Iterator[str]:
    total, named = findings.failed_observations(connection, FILES_NAMED)
    yield from _named("not stored", total, [(one.path, one.reason) for one in named])
    for query in platform.queries(aged=False):
        total, failures = work.failures(connection, query.stage, FILES_NAMED)
        names = findings.names_of(connection, query.stage, [one.row_id for one in failures])
        files = [(names.get(one.row_id, "?"), one.error) for one in failures]
        yield from _named(f"failed at {query.stage}", total, files)


def _named(what: str, total: int, files: list[tuple[str, str]]) -> Iterator[str]:
    if not total:
        return
    yield f"{total} {'file' if total == 1 else 'files'} {what}"
    for path, reason in files:
        yield f"  {Path(path).name}: {without_folders(reason)[:LONGEST_REASON]}"


def without_folders(words: str) -> str:
    """Cuts the folders off every path in a text and leaves the names."""
    return _FOLDERS.sub("", words)


def ago(span: timedelta) -> str:
    """Returns a span of time in its largest unit."""
    seconds = max(0, round(span.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} s"


def megabytes(size: float) -> str:
    """Returns a size as a person reads it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
