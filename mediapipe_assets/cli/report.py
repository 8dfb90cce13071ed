"""What a person, or a script, is told: the run, the library, one file.

Belongs here: the JSON objects that scripts rely on, and the same in words. Does not belong here: the
queries (`catalog`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from mediapipe_assets.cli import OK, say

if TYPE_CHECKING:
    from catalog.work import Left, Scope
    from pipeline.assembly import Platform

_NO_FAILURES = {"pending": "pending", "left_out": "left out on purpose"}
EARLIER_TARGET = 0.30  # what the earlier system aimed to save


@dataclass(slots=True)
class Done:
    """What a `run` command did, and where.

    Attributes:
        run_ids: The Dagster runs that it started.
        seconds: How long it took in all.
        still_written: Files that are still being written, left for the next run.
        notes: What else the person should know.
        scope: The days that were asked for.
        destination: The destination that was asked for, None for all.
        sign_in: Whether a person has to sign in to iCloud before that goes on.
    """

    scope: Scope
    destination: str | None = None
    run_ids: list[str] = field(default_factory=list)
    seconds: float = 0.0
    still_written: int = 0
    notes: list[str] = field(default_factory=list)
    sign_in: bool = False


def run_report(platform: Platform, done: Done) -> dict[str, Any]:
    """Returns what some runs did, as `run --json` prints it.

    A file counts as failed when it stands failed at the end, at any stage and whichever run tried it last: it is then
    not among the kept ones, although its original may be stored. So found = kept + duplicates + rejected + failed
    holds, and a file that cannot be delivered is never passed over because no run tried it just now.
    """
    from catalog import findings, logs
    from catalog.deliveries import stage_name
    from catalog.media import DEDUPLICATED
    from catalog.renditions import COMPRESSED
    from catalog.sources import STORING
    from pipeline.left import failed_files, left_over

    with platform.engine.connect() as connection:
        stages = logs.run_metrics(connection, done.run_ids)
        failed = failed_files(platform, connection, done.scope, done.destination)
        spoilt = findings.how_stored(connection, done.run_ids, sorted(failed.contents))
        left = left_over(platform, connection)

    def figure(stage: str, name: str) -> int:
        return int(stages.get(stage, {}).get(name, 0))

    def stored(name: str) -> int:
        return sum(figure(stage, name) for stage in STORING)

    kept = stored("kept") - len(spoilt)
    duplicates, rejected = stored("duplicates"), stored("rejected")
    worked_on = sum(stored(name) for name in ("kept", "duplicates", "rejected", "failed"))
    retries = [one.next_try for one in left if one.next_try is not None]
    return {
        "found": kept + duplicates + rejected + failed.count,
        "kept": kept,
        "duplicates": duplicates,
        "renamed": stored("renamed"),
        "restored": stored("restored"),
        "rejected": rejected,
        "damaged": stored("damaged") - sum(event == "damaged" for event in spoilt.values()),
        "failed": failed.count,
        "failed_later": len(failed.contents),
        "near_duplicates": figure(DEDUPLICATED, "near_duplicates"),
        "renditions": figure(COMPRESSED, "renditions"),
        "bytes_before": figure(COMPRESSED, "bytes_before"),
        "bytes_after": figure(COMPRESSED, "bytes_after"),
        "seconds": round(done.seconds, 2),
        "files_per_minute": round(60 * worked_on / done.seconds, 1) if done.seconds else 0.0,
        "destinations": {
            name: {
                "staged": figure(stage_name(name, "staged"), "staged"),
                "uploaded": figure(stage_name(name, "uploaded"), "uploaded"),
                # A phone is said to have been delivered to, and nothing more.
                (reached := "delivered" if name in platform.settings.pixels else "verified"): figure(
                    stage_name(name, "verified"), reached
                ),
                "pending": sum(figure(stage_name(name, step), "pending") for step in ("uploaded", "verified")),
                "left_out": sum(figure(stage_name(name, step), "left_out") for step in ("staged", "uploaded")),
                "failed": failed.at_destination(name),
                "bytes": figure(stage_name(name, "verified"), "bytes"),
            }
            for name in platform.destinations
        },
        "left": {
            "waiting": sum(one.waiting for one in left),
            "failed": sum(one.failed for one in left),
            "given_up": sum(one.given_up for one in left),
            "next_try": min(retries).isoformat() if retries else None,
            "still_written": done.still_written,
            "notes": list(done.notes),
        },
        "runs": list(done.run_ids),
        "home": str(platform.settings.home),
    }


def print_run_report(platform: Platform, report: Mapping[str, Any], done: Done) -> None:
    """Prints what a run did, in words, and what it left."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in done.notes:
        console.print(note, markup=False)
    if done.still_written:
        console.print(f"{done.still_written} files are still being written; the next run takes them.")
    if report["runs"]:
        _print_figures(console, platform, report)
    else:
        _print_nothing_done(console, platform, report)
    _print_files(console, platform, seen_before=not report["runs"])
    _print_left(console, platform)
    _print_places(console, platform)


def _print_nothing_done(console: Console, platform: Platform, report: Mapping[str, Any]) -> None:
    left = report["left"]
    if any(left[name] for name in ("waiting", "failed", "still_written", "notes")) or report["failed"]:
        console.print(f"Nothing was done, for nothing can be done now; see what is left ({report['seconds']} s).")
    else:
        where = "your folders and in iCloud" if platform.icloud.sources else "your folders"
        console.print(f"Nothing to do: everything in {where} is known and delivered ({report['seconds']} s).")


def _print_figures(console: Console, platform: Platform, report: Mapping[str, Any]) -> None:
    rows = [
        ("found", f"{report['found']} files"),
        ("kept", f"{report['kept']}" + (f", {report['damaged']} of them damaged" if report["damaged"] else "")),
        ("duplicates", str(report["duplicates"])),
        ("rejected", f"{report['rejected']} (no media files, left where they are)"),
        ("failed", str(report["failed"])),
        ("look alike", f"{report['near_duplicates']} pairs proposed, nothing merged"),
        ("compressed", _compressed(report)),
    ]
    if report["restored"]:
        rows.insert(2, ("restored", f"{report['restored']} originals that were missing stand again"))
    for name, one in report["destinations"].items():
        done = f"{_sent(platform, name, one)}, {_waiting(one)}{one['failed']} failed ({_megabytes(one['bytes'])})"
        rows.append((name, done))
    rows.append(("speed", f"{report['files_per_minute']:.0f} files a minute, {report['seconds']} s in all"))
    _print_rows(console, rows)
    _print_left_out(console, platform, [name for name, one in report["destinations"].items() if one["left_out"]])


def _sent(platform: Platform, name: str, one: Mapping[str, Any]) -> str:
    if name in platform.settings.pixels:
        return f"{one['staged']} staged, {one['uploaded']} placed in the folder, {one['delivered']} delivered"
    how = "by Apple's checksum" if name in platform.settings.icloud_destinations else "by reading back"
    return f"{one['staged']} staged, {one['uploaded']} uploaded, {one['verified']} verified {how}"


def _print_left_out(console: Console, platform: Platform, destinations: Sequence[str]) -> None:
    """Says why files do not go to a destination; which files, the check `left_out_on_purpose` names."""
    from catalog.left_out import left_out_of

    for name in destinations:
        with platform.engine.connect() as connection:
            found = left_out_of(connection, name, 0)
        console.print(f"\nLeft out of {name} on purpose, at any date: {found.count}", markup=False)
        for reason, count in found.reasons.items():
            console.print(f"  {count}: {reason}", markup=False)


def _print_files(console: Console, platform: Platform, *, seen_before: bool) -> None:
    """Names the files that need an eye; what was rejected or damaged only with the run that may have found it."""
    from catalog import findings, work

    with platform.engine.connect() as connection:
        named = [] if seen_before else [("Damaged, kept as they are", findings.damaged(connection, 20))]
        named += [] if seen_before else [("Rejected", findings.rejected(connection, 20))]
        for title, (total, files) in [*named, ("Failed", findings.failed_observations(connection, 20))]:
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


def _print_left(console: Console, platform: Platform) -> None:
    from pipeline.left import left_over

    with platform.engine.connect() as connection:
        left = left_over(platform, connection)
    if left:
        console.print("\nLeft to do, at any date:")
    for one in left:
        console.print(f"  {one.stage}: {'; '.join(_in_words(one, platform.settings.runs.max_attempts))}", markup=False)


def _in_words(left: Left, attempts: int) -> Iterator[str]:
    if (due := left.waiting - left.put_off) > 0:
        yield f"{due} wait for the next run"
    if left.put_off_until is not None:
        yield f"{left.put_off} wait for their time, from {left.put_off_until.astimezone():%Y-%m-%d %H:%M} on"
    if (again := left.failed - left.given_up) > 0:
        when = f" from {left.next_try.astimezone():%Y-%m-%d %H:%M} on" if left.next_try else ""
        yield f"{again} failed and are tried again{when}"
    if left.given_up:
        yield (
            f"{left.given_up} failed {attempts} times and are not tried again by themselves; mend what the reason "
            f"says, then: mediapipe-assets run --redo all --from {left.first} --to {left.last}"
        )


def _compressed(report: Mapping[str, Any]) -> str:
    before, after = report["bytes_before"], report["bytes_after"]
    share = 1 - after / before if before else 0.0
    return (
        f"{report['renditions']} renditions; {_megabytes(before)} → {_megabytes(after)}, {100 * share:.1f} % saved "
        f"(the earlier system aimed at {100 * EARLIER_TARGET:.0f} %)"
    )


def _waiting(one: Mapping[str, Any]) -> str:
    return "".join(f"{one[name]} {words}, " for name, words in _NO_FAILURES.items() if one[name])


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
    places = [(name, str(platform.roots[name])) for name in ("originals", "renditions")]
    places += [(name, destination.place) for name, destination in platform.destinations.items()]
    if platform.settings.library.enabled:
        places.append(("sorted library", str(platform.roots["library"])))
    _print_rows(console, places)
    for name, destination in platform.destinations.items():
        if destination.shares_disk_with(platform.roots["originals"]):
            console.print(
                f"Note: “{name}” is on the same disk as the originals, as far as can be told, so it is no second copy. "
                f"Set destinations.{name}.path in {platform.settings.file} to another disk or a NAS."
            )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def status(as_json: bool) -> int:
    """Say what the library holds and how far it is delivered."""
    import time

    from catalog import findings
    from catalog.counts import DestinationCounts, destination_counts, library_counts
    from mediapipe_assets.platform import open_platform
    from pipeline.emptying import summary
    from pipeline.left import failed_files
    from pipeline.reached import in_figures
    from pipeline.switches import paused_since

    start = time.monotonic()
    with open_platform(prepare=True) as platform:
        with platform.engine.connect() as connection:
            paused = paused_since(connection)
            library = asdict(library_counts(connection))
            delivered = destination_counts(connection)
            # As in the report of a run: what stands failed at a later stage counts as failed, not as kept.
            failed = failed_files(platform, connection).contents
            library["kept"] -= len(failed)
            library["failed"] += len(failed)
            library["damaged"] -= findings.count_damaged(connection, sorted(failed))
        thrown_away = summary(platform.roots)
        seconds = round(time.monotonic() - start, 2)
        report = {
            **library,
            "paused_since": paused.isoformat() if paused else None,
            "seconds": seconds,
            "files_per_minute": 0.0,
            "destinations": {
                name: in_figures(delivered.get(name, DestinationCounts()), phone=name in platform.settings.pixels)
                for name in {*platform.destinations, *delivered}
            },
            "trash": {
                "files": thrown_away.files,
                "bytes": thrown_away.bytes,
                "oldest": thrown_away.oldest.isoformat() if thrown_away.oldest else None,
            },
            "home": str(platform.settings.home),
        }
        if as_json:
            click.echo(json.dumps(report))
        else:
            _print_status(platform, report)
    return OK


def _print_status(platform: Platform, report: Mapping[str, Any]) -> None:
    from catalog.counts import DestinationCounts
    from pipeline.reached import in_words
    from pipeline.switches import pause_in_words

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
        words = in_words(DestinationCounts(**one), phone=name in platform.settings.pixels)
        rows.append((name, f"{words}, {_waiting(one)}{one['failed']} failed"))
    if (trash := report["trash"])["files"]:
        rows.append(("trash", f"{trash['files']} files, {_megabytes(trash['bytes'])}, the oldest of {trash['oldest']}"))
    if since := report["paused_since"]:
        rows.insert(0, ("paused", pause_in_words(datetime.fromisoformat(since))))
    _print_rows(console, rows)
    _print_left_out(console, platform, [name for name, one in report["destinations"].items() if one["left_out"]])
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
    """Say that you have seen that FILE is damaged, rejected or missing; its check then no longer names it."""
    from catalog import findings, media, unsound
    from mediapipe_assets.platform import open_platform
    from pipeline.lookup import find

    with open_platform(prepare=True) as platform, platform.engine.begin() as connection:
        found = find(connection, platform, file)
        if found is None:
            raise click.ClickException(f"{file} is not in the catalog.")
        if found.media_file_id is not None:
            damaged = media.acknowledge(connection, found.media_file_id)
            news = unsound.acknowledge(connection, found.media_file_id) or damaged
        else:
            news = found.source_file_id is not None and findings.acknowledge_rejected(connection, found.source_file_id)
    say(
        f"Acknowledged: {file}"
        if news
        else f"{os.path.basename(file)} is neither damaged nor rejected nor missing; nothing to say."
    )
    return OK
