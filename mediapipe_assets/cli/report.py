"""What a person, or a script, is told: the run, the library, one file.

Belongs here: the JSON objects that scripts rely on, and the same in words. Does not belong here: the
queries (`catalog`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from mediapipe_assets.cli import OK, say

if TYPE_CHECKING:
    from pipeline.assembly import Platform

EARLIER_TARGET = 0.30  # what the earlier system aimed to save


def run_report(platform: Platform, run_ids: Sequence[str], seconds: float) -> dict[str, Any]:
    """Returns what some runs did, as `run --json` prints it."""
    from catalog import logs
    from catalog.bundles import LIBRARY
    from catalog.deliveries import stage_name
    from catalog.media import DEDUPLICATED
    from catalog.renditions import COMPRESSED, RELEASED
    from catalog.sources import ORIGINALS

    with platform.engine.connect() as connection:
        stages = logs.run_metrics(connection, run_ids)

    def figure(stage: str, name: str) -> int:
        return int(stages.get(stage, {}).get(name, 0))

    kept, duplicates = figure(ORIGINALS, "kept"), figure(ORIGINALS, "duplicates")
    rejected, failed = figure(ORIGINALS, "rejected"), figure(ORIGINALS, "failed")
    found = kept + duplicates + rejected + failed
    return {
        "found": found,
        "kept": kept,
        "duplicates": duplicates,
        "renamed": figure(ORIGINALS, "renamed"),
        "restored": figure(ORIGINALS, "restored"),
        "rejected": rejected,
        "damaged": figure(ORIGINALS, "damaged"),
        "failed": failed,
        "failed_later": sum(figure(stage, "failed") for stage in (DEDUPLICATED, COMPRESSED, LIBRARY, RELEASED)),
        "near_duplicates": figure(DEDUPLICATED, "near_duplicates"),
        "renditions": figure(COMPRESSED, "renditions"),
        "bytes_before": figure(COMPRESSED, "bytes_before"),
        "bytes_after": figure(COMPRESSED, "bytes_after"),
        "seconds": round(seconds, 2),
        "files_per_minute": round(60 * found / seconds, 1) if seconds and found else 0.0,
        "destinations": {
            name: {
                "staged": figure(stage_name(name, "staged"), "staged"),
                "uploaded": figure(stage_name(name, "uploaded"), "uploaded"),
                "verified": figure(stage_name(name, "verified"), "verified"),
                "failed": sum(figure(stage_name(name, step), "failed") for step in ("staged", "uploaded", "verified")),
                "bytes": figure(stage_name(name, "verified"), "bytes"),
            }
            for name in platform.destinations
        },
        "runs": list(run_ids),
        "home": str(platform.settings.home),
    }


def print_run_report(platform: Platform, report: Mapping[str, Any], done: Any) -> None:
    """Prints what a run did, in words."""
    from catalog import findings, work

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in done.notes:
        console.print(note)
    if done.still_written:
        console.print(f"{done.still_written} files are still being written; the next run takes them.")
    if not report["runs"]:
        console.print(f"Nothing to do: everything in your folders is known and delivered ({report['seconds']} s).")
        _print_places(console, platform)
        return
    rows = [
        ("found", f"{report['found']} files"),
        ("kept", f"{report['kept']}" + (f", {report['damaged']} of them damaged" if report["damaged"] else "")),
        ("duplicates", str(report["duplicates"])),
        ("rejected", f"{report['rejected']} (no media files, left where they are)"),
        ("failed", str(report["failed"] + report["failed_later"])),
        ("look alike", f"{report['near_duplicates']} pairs proposed, nothing merged"),
        ("compressed", _compressed(report)),
    ]
    if report["restored"]:
        rows.insert(2, ("restored", f"{report['restored']} originals that were missing stand again"))
    for name, one in report["destinations"].items():
        rows.append(
            (
                name,
                f"{one['staged']} staged, {one['uploaded']} uploaded, {one['verified']} verified by reading back, "
                f"{one['failed']} failed ({_megabytes(one['bytes'])})",
            )
        )
    rows.append(("speed", f"{report['files_per_minute']:.0f} files a minute, {report['seconds']} s in all"))
    _print_rows(console, rows)
    with platform.engine.connect() as connection:
        for title, (total, files) in (
            ("Damaged, kept as they are", findings.damaged(connection, 20)),
            ("Rejected", findings.rejected(connection, 20)),
            ("Failed", findings.failed_observations(connection, 20)),
        ):
            _print_named(console, title, total, [(one.path, one.reason) for one in files])
        for query in platform.queries(aged=False)[1:]:
            total, failures = work.failures(connection, query.stage)
            names = findings.names_of(connection, query.stage, [one.row_id for one in failures])
            _print_named(
                console,
                f"Failed at {query.stage}",
                total,
                [(names.get(one.row_id, "?"), one.error) for one in failures],
            )
    _print_places(console, platform)


def _compressed(report: Mapping[str, Any]) -> str:
    before, after = report["bytes_before"], report["bytes_after"]
    share = 1 - after / before if before else 0.0
    return (
        f"{report['renditions']} renditions; {_megabytes(before)} → {_megabytes(after)}, {100 * share:.1f} % saved "
        f"(the earlier system aimed at {100 * EARLIER_TARGET:.0f} %)"
    )


def _megabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _print_rows(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(f"{name:<{width}}  {value}", markup=False)


def _print_named(console: Console, title: str, total: int, files: Sequence[tuple[str, str]]) -> None:
    if not total:
        return
    console.print(f"\n{title}: {total}")
    for path, reason in files:
        console.print(f"  {path}: {reason}", markup=False)
    if total > len(files):
        console.print(f"  … and {total - len(files)} more")


def _print_places(console: Console, platform: Platform) -> None:
    console.print()
    places = [("originals", platform.roots["originals"]), ("renditions", platform.roots["renditions"])]
    places += [(name, platform.roots[f"destination:{name}"]) for name in platform.destinations]
    if platform.settings.library.enabled:
        places.append(("sorted library", platform.roots["library"]))
    _print_rows(console, [(name, str(path)) for name, path in places])
    for name, destination in platform.destinations.items():
        if destination.shares_disk_with(platform.roots["originals"]):
            console.print(
                f"Note: “{name}” is on the same disk as the originals, so it is not a second copy. "
                f"Set destinations.{name}.path in {platform.settings.file} to another disk or a NAS."
            )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def status(as_json: bool) -> int:
    """Say what the library holds and how far it is delivered."""
    import time

    from catalog.counts import destination_counts, library_counts
    from mediapipe_assets.platform import open_platform

    start = time.monotonic()
    with open_platform(prepare=True) as platform:
        with platform.engine.connect() as connection:
            library = asdict(library_counts(connection))
            delivered = {name: asdict(one) for name, one in destination_counts(connection).items()}
        nothing = {"staged": 0, "uploaded": 0, "verified": 0, "failed": 0, "bytes": 0}
        seconds = round(time.monotonic() - start, 2)
        report = {
            **library,
            "seconds": seconds,
            "files_per_minute": 0.0,
            "destinations": {name: delivered.get(name, nothing) for name in {*platform.destinations, *delivered}},
            "home": str(platform.settings.home),
        }
        if as_json:
            click.echo(json.dumps(report))
        else:
            _print_status(platform, report)
    return OK


def _print_status(platform: Platform, report: Mapping[str, Any]) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    before, after = report["bytes_before"], report["bytes_after"]
    share = 100 * (1 - after / before) if before else 0.0
    rows = [
        ("found", f"{report['found']} files, {report['pending']} more wait"),
        ("kept", f"{report['kept']}, {report['damaged']} of them damaged"),
        ("missing", f"{report['missing']} of the kept are no longer where they were left in their source"),
        ("duplicates", f"{report['duplicates']} exact, {report['near_duplicates']} pairs look alike"),
        ("rejected", str(report["rejected"])),
        ("failed", str(report["failed"])),
        (
            "compressed",
            f"{report['renditions']} renditions, {_megabytes(before)} → {_megabytes(after)}, {share:.1f} % saved",
        ),
    ]
    for name, one in report["destinations"].items():
        rows.append((name, f"{one['verified']} of {one['staged']} verified, {one['failed']} failed"))
    _print_rows(console, rows)
    _print_places(console, platform)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def history(file: Path, as_json: bool) -> int:
    """Tell the story of one file: FILE is a path of a source, an original, a rendition or an archived copy."""
    from mediapipe_assets.platform import open_platform

    with open_platform(prepare=True) as platform:
        story = _story(platform, file)
    if as_json:
        click.echo(json.dumps(story, default=str))
    else:
        _print_story(story)
    return OK


def _story(platform: Platform, file: Path) -> dict[str, Any]:
    from catalog import history as stories
    from pipeline.lookup import find

    with platform.engine.connect() as connection:
        found = find(connection, platform, file)
        if found is None:
            raise click.ClickException(f"{file} is not in the catalog. Is it in a watched folder, and was it run over?")
        events = stories.events_of(connection, found.media_file_id, found.source_file_id)
        listed = [
            {"at": one.at.isoformat(), "stage": one.stage, "event": one.event, "detail": one.detail} for one in events
        ]
        if found.media_file_id is None:
            assert found.source_file_id is not None
            seen = stories.describe_observation(connection, found.source_file_id)
            return _observation_story(seen, listed)
        return _content_story(stories.describe_content(connection, found.media_file_id), listed)


def _capture(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "capture_date": row["capture_local"].isoformat(),
        "capture_offset_minutes": row["capture_offset_minutes"],
        "provenance": row["capture_provenance"],
        "flag": row["capture_flag"],
        "partition": row["partition_date"].isoformat(),
    }


def _observation_story(row: Mapping[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "sha256": None,
        **_capture(row),
        "state": row["state"],
        "reason": row["reason"],
        "sources": [f"{row['source']}:{row['source_id']}"],
        "events": events,
    }


def _content_story(content: Mapping[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    media, rendition = content["media"], content["rendition"]
    story = {
        "sha256": media["sha256"],
        **_capture(media),
        "state": media["state"],
        "reason": media["reason"],
        "missing_since": media["missing_since"],
        "size": media["size"],
        "original": f"{media['stored_root']}/{media['stored_path']}",
        "compression": rendition["detail"] if rendition else None,
        "tier": rendition["tier"] if rendition else None,
        "sources": [f"{one['source']}:{one['source_id']} ({one['state']})" for one in content["observations"]],
        "deliveries": [
            {
                "destination": one["destination"],
                "role": one["role"],
                "state": one["state"],
                "path": one["remote_path"],
                "sha256": one["sha256"],
                "evidence_at": one["evidence_at"],
                "reason": one["reason"],
            }
            for one in content["deliveries"]
        ],
        "near_duplicates": content["near_duplicates"],
        "events": events,
    }
    if rendition and rendition["outcome"] == "made":
        story["rendition_sha256"] = rendition["sha256"]
        story["rendition"] = rendition["path"]
    return story


def _print_story(story: Mapping[str, Any]) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    for name, value in story.items():
        if isinstance(value, list):
            console.print(f"{name}:")
            for one in value:
                console.print("  " + (_line(one) if isinstance(one, Mapping) else str(one)))
        elif value is not None:
            console.print(f"{name}: {value}")


def _line(row: Mapping[str, Any]) -> str:
    return "  ".join(str(value) for value in row.values() if value is not None)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
def acknowledge(file: Path) -> int:
    """Say that you have seen that FILE is damaged, missing or rejected; its check then no longer warns."""
    from catalog import findings, media
    from mediapipe_assets.platform import open_platform
    from pipeline.lookup import find

    with open_platform(prepare=True) as platform, platform.engine.begin() as connection:
        found = find(connection, platform, file)
        if found is None:
            raise click.ClickException(f"{file} is not in the catalog.")
        if found.media_file_id is not None:
            news = media.acknowledge(connection, found.media_file_id)
        else:
            news = found.source_file_id is not None and findings.acknowledge_rejected(connection, found.source_file_id)
    say(
        f"Acknowledged: {file}"
        if news
        else f"{os.path.basename(file)} is neither damaged, missing nor rejected; nothing to say."
    )
    return OK
