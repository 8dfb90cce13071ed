"""`doctor`: what is right and wrong with the installation, and what to do.

Belongs here: one look at each part, without changing anything. Does not belong here: repairing; what `--fix` sets up is
asked for by `doctor_pixel`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click
from rich.console import Console

from mediapipe_assets.cli import ERROR, OK

if TYPE_CHECKING:
    from pipeline.assembly import Platform

LITTLE_ROOM = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at: `ok`, `warning` or `problem`, and what to do; a `step` is for a person to do."""

    what: str
    verdict: str
    words: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.option("--fix", is_flag=True, help="Set up the Syncthing on this side for the phone; nothing else is changed.")
def doctor(as_json: bool, fix: bool) -> int:
    """Check settings, database, folders, room and destinations, and say what to change."""
    looks = list(_looks(fix=fix))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in looks]))
    else:
        console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        marks = {"ok": "✓", "warning": "!", "problem": "✗", "step": "→"}
        for one in looks:
            console.print(f"{marks[one.verdict]} {one.what}: {one.words}")
    return ERROR if any(one.verdict == "problem" for one in looks) else OK


def _looks(*, fix: bool) -> Iterator[Look]:
    from mediapipe_assets.platform import open_platform
    from pipeline.failures import RunStopped
    from resources.postgres_home import HomeRefused
    from resources.postgres_tools import DatabaseUnavailable
    from resources.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        yield Look("settings", "problem", str(error))
        return
    yield Look("settings", "ok", f"home {settings.home}, file {settings.file}")
    if settings.timezone == "UTC":
        yield Look("time zone", "warning", "UTC; set timezone before the first run if your videos were taken elsewhere")
    try:
        with open_platform(prepare=True) as platform:
            yield Look("database", "ok", "answers, its schema is up to date")
            yield from _platform_looks(platform, fix=fix)
    except (DatabaseUnavailable, HomeRefused) as error:
        yield Look("database", "problem", str(error))
    except RunStopped as error:
        yield Look("folders", "problem", str(error))


def _icloud_looks(platform: Platform) -> Iterator[Look]:
    """Holds the formats that are uploaded against what Apple did with them when they were tried."""
    from catalog.icloud_uploads import self_tests

    with platform.engine.connect() as connection:
        tests = self_tests(connection)
    for name, entry in platform.settings.icloud_destinations.items():
        if not entry.enabled:
            continue
        for one in entry.accept:
            tried = tests.get(entry.account, {}).get(one, {})
            if tried.get("taken") is False and tried.get("reason"):
                words = f"Apple refused {one} when it was tried ({tried['reason']}); take it out of"
                yield Look(f"destination {name}", "warning", f"{words} destinations.{name}.accept")


def _platform_looks(platform: Platform, *, fix: bool) -> Iterator[Look]:
    from mediapipe_assets.cli.doctor_pixel import pixel_looks
    from resources.folder import SourceMissing, list_names
    from services.running import is_up

    yield Look("folders", "ok", "every folder that we write to carries its marker")
    if not platform.sources:
        yield Look("sources", "warning", "no folder is watched; mediapipe-assets run --source DIR")
    for name, spec in platform.sources.items():
        try:
            list_names(spec.path)
            yield Look(f"source {name}", "ok", str(spec.path))
        except SourceMissing as error:
            yield Look(f"source {name}", "problem", str(error))
    for name, root in platform.roots.items():
        free = shutil.disk_usage(root).free
        if free < LITTLE_ROOM:
            yield Look(f"room at {name}", "warning", f"{free / 1e9:.1f} GB free at {root}")
    for name, destination in platform.destinations.items():
        if destination.shares_disk_with(platform.roots["originals"]):
            yield Look(
                f"destination {name}", "warning", "same disk as the originals, as far as can be told: no second copy"
            )
        else:
            yield Look(f"destination {name}", "ok", destination.place)
    yield from _icloud_looks(platform)
    yield from pixel_looks(platform.settings, platform.now(), fix=fix)
    yield _trash_look(platform)
    running = is_up(platform.settings.home)
    yield Look("services", "ok", f"running at {running.url}" if running else "not running; mediapipe-assets up")


def _trash_look(platform: Platform) -> Look:
    from pipeline.emptying import summary

    found, keep = summary(platform.roots), platform.settings.trash.keep_days
    if found.oldest is None:
        return Look("trash", "ok", "empty")
    words = f"{found.files} files, {found.bytes / 1e6:.1f} MB, the oldest of {found.oldest}"
    if (platform.today - found.oldest).days <= keep:
        return Look("trash", "ok", f"{words}; kept for {keep} days at least")
    return Look("trash", "warning", f"{words}, longer than {keep} days; mediapipe-assets trash empty --dry-run")
