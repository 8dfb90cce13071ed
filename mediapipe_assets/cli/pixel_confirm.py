"""`mediapipe-assets pixel confirm`: what a sample of Google Photos shows.

Belongs here: the words of this command. Does not belong here: the comparison (`pipeline.takeout_confirm`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediapipe_assets.cli import ERROR, FAILED_FILES, OK, say

if TYPE_CHECKING:
    from pipeline.takeout_confirm import Confirmation
    from resources.settings import Settings

NAMED = 10


@click.command()
@click.option(
    "--takeout",
    "paths",
    metavar="DIR|ZIP",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="Folder or zip file of a Google Takeout; several times for the parts of one.",
)
@click.option("--destination", metavar="NAME", help="Which phone; needed where there are several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def confirm(paths: tuple[Path, ...], destination: str | None, as_json: bool) -> int:
    """Compare a Takeout of Google Photos with what was delivered to the phone, and record what it confirms.

    The Takeout is only read. By hash: Google Photos holds the very bytes. By metadata, which is weaker: it holds a
    photo of the same name, time and measures, and of other bytes. Exit code 3 when anything was not recognised.
    """
    from rich.console import Console

    from mediapipe_assets.cli.progress import Display
    from mediapipe_assets.platform import open_platform
    from pipeline.takeout_confirm import confirm as compared
    from resources.takeout import Takeout, TakeoutRefused

    try:
        with (
            Takeout([path.expanduser().absolute() for path in paths]) as takeout,
            open_platform(prepare=True) as platform,
            Display(Console(stderr=True)) as display,
        ):
            name = _phone(platform.settings, destination)

            def show(done: int, total: int, seconds: float) -> None:
                display.show("files compared", done, total, seconds)

            found = compared(platform.engine, name, takeout, show)
    except TakeoutRefused as error:
        say(f"Error: {error}")
        return ERROR
    if as_json:
        click.echo(json.dumps(_report(found)))
    _say(found)
    return OK if found.complete else FAILED_FILES


def _phone(settings: Settings, wanted: str | None) -> str:
    names = sorted(settings.pixels)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return wanted
    there = f"there is: {', '.join(names)}" if names else "none is set up; see docs/pixel.md"
    words = "say which phone with --destination" if wanted is None else f"there is no phone called {wanted}"
    raise click.UsageError(f"{words}; {there}")


def _report(found: Confirmation) -> dict[str, Any]:
    return {
        "destination": found.destination,
        "files": found.files,
        "confirmed_by_hash": found.by_hash,
        "confirmed_by_metadata": found.by_metadata,
        "newly_confirmed": found.newly_confirmed,
        "not_delivered": found.not_delivered,
        "edited": found.edited,
        "trashed": found.trashed,
        "not_found": [{"file": name, "reason": reason} for name, reason in found.not_found],
        "unreadable": [{"file": name, "reason": reason} for name, reason in found.unreadable],
        "from": None if found.first is None else found.first.isoformat(),
        "to": None if found.last is None else found.last.isoformat(),
        "delivered_and_not_in_sample": found.missing,
        "delivered_and_not_in_sample_first": found.missing_first,
    }


def _say(found: Confirmation) -> None:
    if not found.files:
        say("There is no photo or film in it, so nothing is confirmed.")
    else:
        say(
            f"Of {found.files} files in the sample {found.by_hash} are what was delivered to {found.destination}, byte "
            f"by byte; {found.newly_confirmed} deliveries are newly confirmed."
        )
    if found.by_metadata:
        say(
            f"{found.by_metadata} have the name, time and measures of a delivered file and other bytes: weaker, and "
            "likely when the backup is not in Original quality."
        )
    if found.not_delivered:
        say(f"{found.not_delivered} are known, but were not seen to reach the phone; they stay unconfirmed.")
    if found.edited:
        say(f"{found.edited} are copies that were edited in Google Photos; they are not compared.")
    _list("lie in the trash of Google Photos and confirm nothing; restore them there", found.trashed)
    _list("fit nothing that was delivered", [f"{name}: {reason}" for name, reason in found.not_found])
    _list("cannot be read", [f"{name}: {reason}" for name, reason in found.unreadable])
    if found.missing:
        words = f"delivered files of {found.first} to {found.last} are not in the sample"
        _list(
            f"{words}; a whole export of these days would show whether Google Photos lacks them",
            found.missing_first,
            found.missing,
        )
    say("A sample says nothing of what is not in it.")


def _list(words: str, names: list[str], count: int | None = None) -> None:
    if not names:
        return
    whole = len(names) if count is None else count
    say(f"{whole} {words}:")
    for name in names[:NAMED]:
        say(f"  {name}")
    if whole > NAMED:
        say(f"  and {whole - NAMED} more")
