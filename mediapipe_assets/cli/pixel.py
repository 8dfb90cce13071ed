"""`mediapipe-assets pixel …`: how far a phone's photos came, and one look at the phone.

Belongs here: these commands and their words. Does not belong here: the look (`pipeline.pixel_watch`), or delivering
(`mediapipe-assets run`).
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from mediapipe_assets.cli import OK, say
from mediapipe_assets.cli.pixel_confirm import confirm

if TYPE_CHECKING:
    from pipeline.assembly import Platform
    from pipeline.pixel_watch import Watched
    from resources.pixel import PixelFolder

DEFAULT = "pixel"
NAMED_PROBLEMS = 10
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
_DESTINATION = click.option("--destination", metavar="NAME", help="Which phone; needed where there are several.")


@click.group()
def pixel() -> None:
    """Say how far your photos came on the way to the phone, and look at it through Syncthing."""


pixel.add_command(confirm)


@pixel.command()
@_DESTINATION
@_JSON
def status(destination: str | None, as_json: bool) -> int:
    """Say what reached the phone and what waits; while Syncthing is away, as it was last known."""
    from mediapipe_assets.platform import open_platform
    from pipeline.pixel_watch import glance

    with open_platform(prepare=True) as platform:
        folder = _folder(platform, destination)
        found = glance(platform.engine, folder, platform.now())
        folder.close()
        state = _state(platform, found)
    _show(found, state, as_json)
    return OK


@pixel.command()
@click.option("--once", is_flag=True, help="Look once. Without it: every watch_seconds, until Ctrl-C.")
@_DESTINATION
@_JSON
def watch(once: bool, destination: str | None, as_json: bool) -> int:
    """Do what the sensor of a running `up` does: note what reached the phone, and tell what is amiss.

    It starts no run: a running `up` does that by itself, or `mediapipe-assets run --destination pixel`.
    """
    from mediapipe_assets.platform import open_platform
    from pipeline.pixel_watch import look

    with open_platform(prepare=True) as platform:
        folder = _folder(platform, destination)
        while True:
            found = look(platform.engine, folder, platform.now())
            _show(found, _state(platform, found) | _news(platform, found), as_json)
            if once:
                break
            time.sleep(folder.settings.watch_seconds)
        folder.close()
    return OK


def _folder(platform: Platform, name: str | None) -> PixelFolder:
    from resources.pixel import PixelFolder

    entries = {key: entry for key, entry in platform.settings.pixels.items() if entry.enabled}
    if not entries:
        raise click.UsageError(
            "no phone is set up. Set MEDIAPIPE_SYNCTHING__URL, MEDIAPIPE_SYNCTHING__API_KEY, "
            f"MEDIAPIPE_SYNCTHING__FOLDER_ID and MEDIAPIPE_SYNCTHING__DEVICE_ID, or [destinations.{DEFAULT}] in "
            f"{platform.settings.file}"
        )
    wanted = name or (next(iter(entries)) if len(entries) == 1 else DEFAULT)
    if wanted not in entries:
        raise click.UsageError(f"say which phone with --destination; there is: {', '.join(sorted(entries))}")
    return PixelFolder.of(wanted, entries[wanted])


def _state(platform: Platform, found: Watched) -> dict[str, Any]:
    from catalog import phone_watch, placed_files

    entry = platform.settings.pixels[found.destination]
    with platform.engine.connect() as connection:
        counts = placed_files.counts(connection, found.destination)
        waiting = phone_watch.waiting(connection, found.destination, entry.deliver)
    return {
        "destination": found.destination,
        "connected": found.connected,
        "last_seen": None if found.last_seen is None else found.last_seen.isoformat(timespec="seconds"),
        "staged": counts.staged,
        "delivered": counts.delivered,
        "freed_on_phone": counts.freed_on_phone,
        "confirmed": counts.confirmed,
        "pending": waiting.files,
        "bytes_in_flight": counts.in_flight,
        "bytes_on_phone": waiting.on_phone,
        "problems": [{"problem": words, "files": files} for words, files in counts.problems.items()],
        "syncthing": found.away,
    }


def _news(platform: Platform, found: Watched) -> dict[str, Any]:
    from pipeline.pixel_days import due_for_phone

    days = [] if found.away is not None else due_for_phone(platform, found.destination, None).days
    return {
        "newly_delivered": found.delivered,
        "newly_freed_on_phone": found.freed,
        "new_problems": found.problems,
        "due": [day.isoformat() for day in days],
    }


def _show(found: Watched, state: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(state))
        return
    for line in _in_words(found, state):
        say(line)


def _in_words(found: Watched, state: dict[str, Any]) -> list[str]:
    seen = "never seen" if found.last_seen is None else f"last seen {found.last_seen.astimezone():%Y-%m-%d %H:%M}"
    lines = [f"{found.destination}: {'connected' if found.connected else f'not connected, {seen}'}"]
    if found.away is not None:
        lines.append(f"  {found.away} What follows is as it was last known.")
    if found.busy:
        lines.append("  Another look at this phone is under way; this one did nothing.")
    lines.append(
        f"  delivered {state['delivered']} ({state['bytes_on_phone'] / 1e6:.1f} MB on the phone), of which "
        f"{state['freed_on_phone']} freed on the phone, {state['confirmed']} confirmed by a sample"
    )
    lines.append(
        f"  on the way {state['pending']}, of which {state['staged']} lie in the folder "
        f"({state['bytes_in_flight'] / 1e6:.1f} MB, with what was delivered and stays for a while)"
    )
    if state.get("newly_delivered") or state.get("newly_freed_on_phone"):
        lines.append(f"  new: {state['newly_delivered']} delivered, {state['newly_freed_on_phone']} freed on the phone")
    if due := state.get("due"):
        lines.append(f"  a run has something to do at {len(due)} days, {due[0]} to {due[-1]}")
    problems = state["problems"]
    lines += [f"  ✗ {one['files']} files: {one['problem']}" for one in problems[:NAMED_PROBLEMS]]
    if problems:
        lines.append("  Your originals are safe in the library; `mediapipe-assets doctor` checks the set-up.")
    return lines
