"""What a person is told when something is amiss, as notices: what, where, how many files, and what to do.

Belongs here: the keys and the words of alerts. Does not belong here: finding out (`sensors.alerts`, `pipeline.health`),
or sending (`pipeline.outbox`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from catalog.heartbeats import SENSORS, last_beat
from catalog.icloud import AccountState
from catalog.notifications import Notice, resolve, tell
from catalog.work import Scope
from resources.redaction import redact

SAMPLE = 5
RUN, DISK, ROOM = "run:", "disk:", "room:"
STALLED, BOT_SILENT, DAEMON_SILENT = "stalled", "bot:silent", "daemon:silent"
BOT_SILENCE = timedelta(minutes=3)
DAEMON_SILENCE = timedelta(minutes=5)  # a tick may wait for others that are slow
_LONGEST_REASON = 300
_PLURALS = {"entry": "entries", "library or photo": "libraries or photos"}
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check that failed.

    Attributes:
        asset: Its asset.
        check: Its name.
        digest: Of all failing files.
        files: How many those are.
        noun: What they are: files, or folders, problems and the like.
        sample: A few, each with its reason.
        what_to_do: For the person.
        severe: It is an error and no warning.
        days: Over which the run was that found it, None for one without days.
        run_id: That run.
    """

    asset: str
    check: str
    digest: str
    files: int
    noun: str
    sample: Sequence[tuple[str, str]]
    what_to_do: str
    severe: bool
    days: Scope | None
    run_id: str


def check_prefix(asset: str, check: str) -> str:
    """Returns how the keys of everything begin that is told of a check."""
    return f"check:{asset}:{check}:"


def check_failed(found: FailedCheck) -> Notice:
    """Returns what is told of a failed check: once for each set of failing files."""
    lines = [f"In {found.asset}, found by a run over {days_in_words(found.days)}:"]
    lines += [f"• {_shortened(name)}: {_shortened(reason)}" for name, reason in found.sample[:SAMPLE]]
    if (more := found.files - len(found.sample[:SAMPLE])) > 0:
        lines.append(f"… and {more} more")
    lines.append(f"What to do: {found.what_to_do}")
    return Notice(
        key=check_prefix(found.asset, found.check) + found.digest,
        topic="check",
        severity="error" if found.severe else "warning",
        title=f"Check failed: {found.check.replace('_', ' ')} – {_counted(found.files, found.noun)}",
        body="\n".join(lines),
        path=f"/runs/{found.run_id}",
    )


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed as a whole.

    Attributes:
        root_id: The run that it repeats, or itself.
        run_id: Itself.
        assets: Where it failed; none before the first of them.
        days: Over which it was, None for one without days.
        files: How many files stand failed at these days.
        error: Why, in the person's words.
        killed: Its process ended without a word.
    """

    root_id: str
    run_id: str
    assets: Sequence[str]
    days: Scope | None
    files: int
    error: str
    killed: bool


def run_failed(found: FailedRun) -> Notice:
    """Returns what is told of a failed run: once for it and everything that repeats it."""
    where = ", ".join(found.assets) or "before its first asset"
    lines = [f"Where: {where}, over {days_in_words(found.days)}", _shortened(found.error)]
    if found.files:
        lines.append(f"{_counted(found.files)} at these days stand{_s(found.files)} failed.")
    if found.killed:
        lines.append("What to do: nothing, unless it happens again; then look whether the machine lacks memory.")
    else:
        lines.append(
            "What to do: mend what it says. What is left is tried again by itself, at once by `mediapipe-assets run`."
        )
    return Notice(
        key=f"{RUN}{found.root_id}",
        topic="run",
        severity="warning" if found.killed else "error",
        title="A run was ended from outside" if found.killed else "A run failed",
        body="\n".join(lines),
        path=f"/runs/{found.run_id}",
    )


def tells_of(body: str, error: str) -> bool:
    """Returns whether what was told of a run says the same reason, but for its figures."""
    return _DIGITS.sub("#", _shortened(error)) in _DIGITS.sub("#", body)


def tells_exactly(body: str, error: str) -> bool:
    """Returns whether what was told of a run says literally the same reason."""
    return _shortened(error) in body.splitlines()


def stalled(files: int, stages: Sequence[str], since: datetime) -> Notice:
    """Returns what is told when files wait and none comes to its end."""
    return Notice(
        key=STALLED,
        topic="stalled",
        severity="error",
        title=f"Nothing was finished since {since:%Y-%m-%d %H:%M} UTC",
        body=f"{_counted(files)} wait{_s(files)}, at {', '.join(stages)}.\nWhat to do: look at the runs in the web UI. "
        "One that hangs can be terminated there; the next one goes on where it stopped. If none starts: "
        "mediapipe-assets doctor",
        path="/runs",
    )


def needs_person(state: AccountState) -> Notice:
    """Returns what is told when Apple wants something that only a person can do."""
    return Notice(
        key=f"{account_prefix(state.name)}needs",
        topic="icloud",
        severity="critical",
        title=f"iCloud “{state.name}” waits for you",
        body=f"{state.needs_detail or state.needs}\nUntil then nothing comes from this account and nothing goes there.",
    )


def trust_ends_soon(account: str, step: int, warning: str) -> Notice:
    """Returns what is told in the last days of Apple's trust, once for each step."""
    return Notice(
        key=f"{trust_prefix(account)}{step}",
        topic="icloud",
        severity="warning",
        title=f"iCloud “{account}” will ask for a code soon",
        body=warning,
    )


def account_prefix(account: str) -> str:
    """Returns how the keys of everything begin that is told of an account."""
    return f"icloud:{account}:"


def trust_prefix(account: str) -> str:
    """Returns how the keys of an account's warnings of its trust begin."""
    return f"{account_prefix(account)}trust:"


def disk_nearly_full(name: str, folders: Sequence[str], free: int, least: float) -> Notice:
    """Returns what is told of a disk with little room.

    Args:
        name: What it is known by: the first of the folders on it.
        folders: What stands on it.
        free: Free bytes.
        least: What the settings ask for, in GB.
    """
    return Notice(
        key=f"{DISK}{name}",
        topic="disk",
        severity="warning",
        title=f"The disk of {name} is nearly full: {free / 1e9:.1f} GB free",
        body=f"On it: {', '.join(folders)}. Less than {least:g} GB is free (notify.least_free_gb).\nWhat to do: make "
        "room, or move one of these folders to another disk and say so in mediapipe.toml.",
    )


def no_room(name: str, shortage: str) -> Notice:
    """Returns what is told of a disk on which the next run finds no room.

    Args:
        name: What it is known by.
        shortage: What is lacking, in words.
    """
    return Notice(
        key=f"{ROOM}{name}",
        topic="disk",
        severity="error",
        title="A run over what waits would find no room, so it would be refused",
        body=f"{shortage}\nNothing is lost: it goes on when there is room.",
    )


def bot_is_silent(last: datetime) -> Notice:
    """Returns what is told when the bot says nothing any more."""
    return Notice(
        key=BOT_SILENT,
        topic="process",
        severity="error",
        title="The bot that sends these messages fell silent",
        body=f"Its last sign of life was on {last:%Y-%m-%d %H:%M} UTC, so messages came late.\nWhat to do: see whether "
        "`mediapipe-assets up` runs, and bot.log in the home's folder `logs`.",
    )


def watch_daemon(connection: Connection, now: datetime) -> bool:
    """Tells when the sensors' ticks fall silent, and takes it back when they go on; for the bot's process to call.

    Args:
        connection: The catalog, in a transaction.
        now: The present moment.

    Returns:
        Whether they are silent.
    """
    last = last_beat(connection, SENSORS)
    if last is None or now - last <= DAEMON_SILENCE:
        resolve(connection, DAEMON_SILENT)
        return False
    tell(
        connection,
        Notice(
            key=DAEMON_SILENT,
            topic="process",
            severity="error",
            title="Nothing watches your photos at the moment",
            body=f"The Dagster daemon's last tick was on {last:%Y-%m-%d %H:%M} UTC: no run starts by itself and no "
            "failure is noticed.\nWhat to do: see whether `mediapipe-assets up` runs, and daemon.log in the home's "
            "folder `logs`.",
        ),
    )
    return True


def days_in_words(days: Scope | None) -> str:
    """Returns the days of a run as a person reads them."""
    if days is None:
        return "no particular day"
    return f"{days.first}" if days.first == days.last else f"{days.first} to {days.last}"


def _counted(count: int, noun: str = "file") -> str:
    return f"1 {noun}" if count == 1 else f"{count} {_PLURALS.get(noun, f'{noun}s')}"


def _s(files: int) -> str:
    return "s" if files == 1 else ""


def _shortened(reason: str) -> str:
    """Returns what somebody else wrote without secrets, without what no database takes, and not too long."""
    plain = redact(reason).encode(errors="replace").decode().replace("\0", "").strip()
    return plain if len(plain) <= _LONGEST_REASON else f"{plain[: _LONGEST_REASON - 1]}…"
