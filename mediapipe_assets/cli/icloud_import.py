"""`mediapipe-assets icloud import-existing DIR` and `icloud import`: photos that need no download of ours.

Belongs here: the words of these two commands, and the order of their steps. Does not belong here: the steps
(`pipeline.icloud_import`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediapipe_assets.cli import ERROR, FAILED_FILES, OK, say

if TYPE_CHECKING:
    from mediapipe_assets.cli.progress import Display
    from pipeline.assembly import Platform
    from pipeline.icloud_import import Matched, Plan
    from resources.icloudpd import Ended

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done; no photo is copied or remembered.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.command("import-existing")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, readable=False))
@_DRY_RUN
@_JSON
def import_existing(folder: Path, dry_run: bool, as_json: bool) -> int:
    """Take over a tree of icloudpd, of osxphotos or of your own, so that iCloud is not downloaded again.

    Files are known by their bytes, never by their names. DIR is only read; the next `run` copies from there.
    """
    from mediapipe_assets.platform import open_platform
    from resources.folder import list_names

    place = folder.expanduser().absolute()
    list_names(place)
    with open_platform(prepare=True) as platform:
        _require_library(platform)
        _read_unread_libraries(platform)
        found = _match(platform, list(platform.icloud.sources), place, record=not dry_run)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **_report(found)}))
    else:
        _say_matched(found, dry_run)
    return OK


@click.command("import")
@click.option("--engine", type=click.Choice(["icloudpd"]), required=True, help="What downloads; `run` needs none.")
@_DRY_RUN
@_JSON
def import_first(engine: str, dry_run: bool, as_json: bool) -> int:
    """Download a whole library for the first time with icloudpd; every file is then compared with iCloud.

    What icloudpd brings incomplete, or not at all, the next `run` downloads.
    """
    from mediapipe_assets.cli.icloud import sync_all
    from mediapipe_assets.platform import open_platform

    with open_platform(prepare=True) as platform:
        _require_library(platform)
        looks = sync_all(platform)
        if looks.trouble is not None:
            raise looks.trouble
        plans = _plans(platform)
        reports = [_planned(one) if dry_run else _import(platform, one) for one in plans]
    if as_json:
        click.echo(json.dumps({"engine": engine, "dry_run": dry_run, "libraries": reports}))
    if dry_run:
        return OK
    if not all(one["complete"] for one in reports):
        return ERROR
    return OK if all(one["reconciled"] for one in reports) else FAILED_FILES


def _require_library(platform: Platform) -> None:
    from mediapipe_assets.cli.icloud import require_library

    require_library(platform)


def _read_unread_libraries(platform: Platform) -> None:
    """Reads the libraries that never were: there is nothing yet to compare with."""
    from catalog.icloud import library_state
    from mediapipe_assets.cli.icloud import sync_all

    with platform.engine.connect() as connection:
        states = [library_state(connection, name) for name in platform.icloud.sources]
    if all(state is not None and state.complete_at is not None for state in states):
        return
    say("iCloud was not read yet, so that is done first.")
    looks = sync_all(platform)
    if looks.trouble is not None:
        raise looks.trouble


def _match(platform: Platform, sources: list[str], folder: Path, *, record: bool) -> Matched:
    from pipeline.icloud_import import match

    with _display() as display:

        def show(done: int, total: int, seconds: float) -> None:
            display.show("files compared", done, total, seconds)

        return match(platform.engine, sources, folder, record=record, progress=show)


def _display() -> Display:
    from rich.console import Console

    from mediapipe_assets.cli.progress import Display

    return Display(Console(stderr=True))


def _report(found: Matched) -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "files": found.files,
        "matched": found.matched,
        "bytes_saved": found.bytes_saved,
        "known": found.known,
        "not_found": found.to_download.files,
        "not_found_bytes": found.to_download.bytes,
        "unknown": found.unknown,
        "unknown_first": found.unknown_first,
        "others": found.others,
        "unreadable": [{"file": path, "reason": reason} for path, reason in found.unreadable],
    }


def _say_matched(found: Matched, dry_run: bool) -> None:
    say(f"Looked at {found.files} files in {found.folder}; nothing there was changed.")
    say(
        f"{found.matched} files that iCloud holds and that were still to be downloaded are there: "
        f"{_size(found.bytes_saved)} need not be downloaded."
    )
    if found.to_download.files:
        say(f"{found.to_download.files} were not found ({_size(found.to_download.bytes)}); they are downloaded.")
    if found.unknown:
        say(f"{found.unknown} photos and films there are not in iCloud. Nothing takes them in by itself:")
        for path in found.unknown_first:
            say(f"  {path}")
        if found.unknown > len(found.unknown_first):
            say(f"  … and {found.unknown - len(found.unknown_first)} more")
        say(f"To take them in too: mediapipe-assets run --source {found.folder}")
    _say_unreadable(found)
    if dry_run:
        say("Dry run: nothing was written.")
    elif found.matched:
        say("The next `mediapipe-assets run` copies them and compares every byte again. Leave the folder until then.")


def _say_unreadable(found: Matched) -> None:
    if found.unreadable:
        say(f"{len(found.unreadable)} could not be read:")
    for path, reason in found.unreadable[:20]:
        say(f"  {path}: {reason}")


# --- icloudpd ----------------------------------------------------------------------------------------------------


def _plans(platform: Platform) -> list[Plan]:
    from pipeline import layout
    from pipeline.icloud_import import plan

    staging = platform.roots[layout.STAGING]
    plans = []
    for name, entry in platform.icloud.sources.items():
        if entry.library != "personal":
            say(f"{name}: a shared library is left to `mediapipe-assets run`, which downloads it without icloudpd.")
            continue
        plans.append(plan(platform.icloud, name, staging))
    return plans


def _planned(wanted: Plan) -> dict[str, Any]:
    say(
        f"{wanted.source}: {wanted.waiting.files} files are still to come ({_size(wanted.waiting.bytes)}). icloudpd "
        f"would download the library ({_size(wanted.whole.bytes)}) into {wanted.tree}. Dry run: nothing was written."
    )
    return _amounts(wanted)


def _amounts(wanted: Plan) -> dict[str, Any]:
    return {
        "name": wanted.source,
        "tree": str(wanted.tree),
        "to_download": wanted.waiting.files,
        "to_download_bytes": wanted.waiting.bytes,
        "library_bytes": wanted.whole.bytes,
    }


def _import(platform: Platform, wanted: Plan) -> dict[str, Any]:
    from pipeline import layout
    from pipeline.icloud_import import fill_tree, refuse_full_disk

    if not wanted.waiting.files:
        say(f"{wanted.source}: nothing waits to be downloaded.")
        return {**_amounts(wanted), "downloaded": 0, "complete": True, "reconciled": True, "problems": []}
    refuse_full_disk(wanted, platform.roots[layout.ORIGINALS])
    say(f"{wanted.source}: icloudpd downloads into {wanted.tree}. It may be interrupted and goes on from there.")
    ended = _download(platform, wanted, fill_tree)
    _read_what_came_meanwhile(platform, wanted.source)
    found = _match(platform, [wanted.source], wanted.tree, record=True)
    _say_imported(ended, found)
    strangers = found.unknown + found.others + len(found.unreadable)
    return {
        **_amounts(wanted),
        "downloaded": ended.files,
        "complete": ended.complete,
        "reconciled": strangers == 0,
        "throttled": ended.throttled,
        "problems": list(ended.errors),
        **_report(found),
    }


def _download(platform: Platform, wanted: Plan, fill_tree: Callable[..., Ended]) -> Ended:
    from pipeline import layout

    start = time.monotonic()
    with _display() as display:

        def show(files: int) -> None:
            display.show("files by icloudpd", files, max(files, wanted.waiting.files), time.monotonic() - start)

        return fill_tree(platform.icloud, wanted, platform.roots[layout.STAGING], show)


def _read_what_came_meanwhile(platform: Platform, source: str) -> None:
    """Reads iCloud once more, for icloudpd may have brought what is newer than our own reading."""
    from resources.icloud_errors import ICloudError

    try:
        platform.icloud.sync(source, platform.date_rules(), wait_seconds=60.0)
    except ICloudError as error:
        say(f"{source}: {error}")


def _say_imported(ended: Ended, found: Matched) -> None:
    if not ended.complete:
        why = "Apple asked for fewer requests." if ended.throttled else "" if ended.errors else "It does not say why."
        say(f"icloudpd did not come to its end. {why}".rstrip())
        for words in ended.errors:
            say(f"  {words}")
        say("Run it again, and it goes on; or `mediapipe-assets run`, which downloads what is missing.")
    say(f"icloudpd downloaded {ended.files} files. {found.matched} are Apple's, byte by byte, and wait to be stored.")
    broken = found.unknown + found.others
    if broken:
        say(f"{broken} are not what iCloud holds: cut off, or changed there meanwhile. None of them is taken:")
        for path in found.unknown_first:
            say(f"  {path}")
    _say_unreadable(found)
    if found.to_download.files:
        say(
            f"{found.to_download.files} files ({_size(found.to_download.bytes)}) are downloaded by the next run; among "
            "them is what icloudpd does not fetch: edits, RAW halves, hidden photos."
        )
    say(
        f"Now run: mediapipe-assets run. It copies from {found.folder} and compares every byte again. Nothing is "
        "deleted there; once that run has ended well, you may delete the folder."
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
