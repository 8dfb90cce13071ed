"""What a person is told when a phone does not get its photos: the keys, and the words.

Belongs here: these notices. Does not belong here: finding out (`pipeline.pixel_watch`), or sending (`pipeline.outbox`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from catalog.notifications import Notice
from resources.redaction import redact

TOPIC = "pixel"
SAMPLE = 5


def prefix(destination: str) -> str:
    """Returns how the keys of everything begin that is told of a phone."""
    return f"{TOPIC}:{destination}:"


def problem_prefix(destination: str) -> str:
    """Returns how the keys of everything begin that is told of a phone's single files; the delivery's id follows."""
    return f"{prefix(destination)}problem:"


def away_key(destination: str) -> str:
    """Returns the key of what is told when Syncthing on this side cannot be asked."""
    return f"{prefix(destination)}away"


def unseen_key(destination: str) -> str:
    """Returns the key of what is told when the phone was not seen for long."""
    return f"{prefix(destination)}unseen"


def stuck_key(destination: str) -> str:
    """Returns the key of what is told when files wait and none arrives."""
    return f"{prefix(destination)}stuck"


def folder_prefix(destination: str) -> str:
    """Returns how the keys of what is told about the folder begin; what is wrong follows."""
    return f"{prefix(destination)}folder:"


def away(destination: str, since: datetime, words: str) -> Notice:
    """Returns what is told when Syncthing on this side cannot be asked."""
    return Notice(
        key=away_key(destination),
        topic=TOPIC,
        severity="error",
        title=f"Syncthing does not answer, so nothing is known of the phone “{destination}”",
        body=f"{redact(words)}\nSince {since:%Y-%m-%d %H:%M} UTC. Nothing is lost; it goes on by itself when Syncthing "
        "answers.\nWhat to do: see whether Syncthing runs on the NAS, then: mediapipe-assets doctor",
    )


def unseen(destination: str, last_seen: datetime | None, hours: float, files: int) -> Notice:
    """Returns what is told when the phone was not seen for long.

    Args:
        destination: The phone's.
        last_seen: When it was connected for the last time, None when it never was.
        hours: After how many this is told.
        files: How many wait for it.
    """
    when = "never" if last_seen is None else f"last on {last_seen:%Y-%m-%d %H:%M} UTC"
    return Notice(
        key=unseen_key(destination),
        topic=TOPIC,
        severity="warning",
        title=f"The phone “{destination}” was not seen for {hours:g} hours",
        body=f"Syncthing was connected with it {when}. Waiting for it: {_files(files)}.\nWhat to do: see that the "
        "phone is charged and in the same network, and open Syncthing on it. Take it out of Android's battery "
        f"optimisation if that happens again (destinations.{destination}.unseen_hours sets when this is told).",
    )


def stuck(destination: str, since: datetime, files: int) -> Notice:
    """Returns what is told when files wait and none arrives, though the phone was seen."""
    return Notice(
        key=stuck_key(destination),
        topic=TOPIC,
        severity="error",
        title=f"No file reached the phone “{destination}” since {since:%Y-%m-%d %H:%M} UTC",
        body=f"Waiting in its folder: {_files(files)}.\nWhat to do: open Syncthing on the phone. Has it taken the "
        "folder, is the folder not paused there, has the phone room left, and may Syncthing run as things are there "
        "(Wi-Fi, charging)?",
    )


def folder_wrong(destination: str, kind: str, words: Sequence[str]) -> Notice:
    """Returns what is told when the folder is not set up so that files reach the phone and are safe.

    Args:
        destination: The phone's.
        kind: What is wrong in a word; one of a kind is told at a time.
        words: What is wrong, and what to do.
    """
    lines = [f"• {redact(one)}" for one in words[:SAMPLE]]
    if (more := len(words) - len(lines)) > 0:
        lines.append(f"… and {more} more")
    return Notice(
        key=f"{folder_prefix(destination)}{kind}",
        topic=TOPIC,
        severity="error",
        title=f"The folder of the phone “{destination}” needs you",
        body="\n".join([*lines, "What to do: mediapipe-assets doctor says what to change, step by step."]),
    )


def problem(destination: str, delivery_id: int, path: str, words: str) -> Notice:
    """Returns what is told of one file that does not reach the phone as it is here."""
    return Notice(
        key=f"{problem_prefix(destination)}{delivery_id}",
        topic=TOPIC,
        severity="error",
        title=f"{path} does not reach the phone “{destination}”",
        body=f"{words}\nYour original is safe in the library.",
    )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
