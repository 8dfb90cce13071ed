"""Asset checks: what must hold, at the run's days and at all others.

Belongs here: turning the catalog's answers into checks that name files, give reasons and say what to
do. Does not belong here: the queries (`catalog`), or repairing anything.

A check looks at the run's days and fails while anything is unresolved at any other, so that a good
run never hides an old failure. Damaged files only warn, until a person acknowledges them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg
from sqlalchemy import Connection

from catalog import deliveries, findings, unsound, work
from catalog.bundles import LIBRARY
from catalog.deliveries import open_deliveries, stage_name
from catalog.failing import FAILING, FAILING_FILES, NOTHING, Failing, failing_names, failing_rows
from catalog.findings import MadeRendition, StoredOriginal
from catalog.media import DEDUPLICATED
from catalog.paths import to_text
from catalog.renditions import COMPRESSED, RELEASED
from catalog.sources import ORIGINALS
from catalog.work import Scope
from mediapipe_assets.tables import table
from pipeline import layout, soundness
from pipeline.assembly import Platform
from resources.settings_kinds import ICLOUD, PIXEL

NAMED_FILES = 20
LOOKED_AT_AGAIN = 500  # of what is unresolved at other days: a look may take some milliseconds each
STAND_WHOLE = "originals_stand_whole"
ARE_SOUND = "renditions_are_sound"
Looked = TypeVar("Looked", StoredOriginal, MadeRendition)
Judge = Callable[[Platform, Connection, Scope], dg.AssetCheckResult]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold after a stage."""

    name: str
    description: str
    judge: Judge
    blocking: bool = False


def check_specs(stage: str, destination_kind: str | None = None) -> list[dg.AssetCheckSpec]:
    """Returns the checks of a stage as its asset declares them, by what its destination is where it has one.

    They run in the asset's own step. A step of its own for a check of a partitioned asset reads the versions of
    every partition there is, which took 80 ms a check with 13,000 days, and there are a dozen of them.
    """
    return [
        dg.AssetCheckSpec(
            name=check.name,
            asset=dg.AssetKey(stage.split("/")),
            description=check.description,
            blocking=check.blocking,
        )
        for check in _checks(stage, destination_kind)
    ]


def checks_of(stage: str, platform: Platform, scope: Scope) -> list[dg.AssetCheckResult]:
    """Returns what the checks of a stage find now.

    Args:
        stage: The stage's name.
        platform: The home.
        scope: The run's days.
    """
    results = []
    entry = platform.settings.destinations.get(stage.partition("/")[0])
    with platform.engine.connect() as connection:
        for check in _checks(stage, entry.kind if entry is not None else None):
            found = check.judge(platform, connection, scope)
            results.append(
                dg.AssetCheckResult(
                    passed=found.passed,
                    check_name=check.name,
                    severity=found.severity,
                    metadata=found.metadata,
                    description=found.description,
                )
            )
    return results


def _checks(stage: str, destination_kind: str | None) -> list[Check]:
    # They are made of what stands here.
    from mediapipe_assets.icloud_checks import ICLOUD_CHECKS, icloud_destination_checks
    from mediapipe_assets.pixel_checks import pixel_checks

    destination, _, step = stage.partition("/")
    if not step:
        return {**_CHECKS, **ICLOUD_CHECKS}.get(stage, [])
    if destination_kind == PIXEL:  # of what is on a phone nothing is said that is said of a copy
        return pixel_checks(destination).get(step, [])
    of_its_kind = icloud_destination_checks if destination_kind == ICLOUD else _folder_checks
    return [*_destination_checks(destination).get(step, []), *of_its_kind(destination).get(step, [])]


def result_of(
    bad: int,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[object]],
    what_to_do: str,
    *,
    failing: Failing,
    warn: bool = False,
    more: dict[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """Returns a check that fails while anything is unresolved, and names up to 20 files with what to do.

    Args:
        bad: How much is unresolved.
        columns: Of the table of files.
        rows: The files, as many as are known.
        what_to_do: For the person.
        failing: All that a person should be told of; not what only waits for its turn, or is told in another way.
        warn: It is a warning and no error.
        more: Further metadata.
    """
    metadata: dict[str, Any] = {"unresolved": bad, **(more or {})}
    metadata |= {FAILING: failing.digest, FAILING_FILES: failing.count}
    if bad:
        metadata["what_to_do"] = what_to_do
        metadata["files"] = table(columns, rows[:NAMED_FILES])
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    description = f"{bad} unresolved. {what_to_do}" if bad else "all well"
    return dg.AssetCheckResult(passed=bad == 0, severity=severity, metadata=metadata, description=description)


def rows_of(connection: Connection, total: int, rows: str, **given: object) -> Failing:
    """Returns all of what a query found; looking again costs something, so only when it found anything."""
    return failing_rows(connection, f"SELECT id FROM {rows}", **given) if total else NOTHING


def _judge_roots(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    problems = platform.problems()
    return result_of(
        len(problems),
        ("problem",),
        [(one,) for one in problems],
        "Mount the disk, then run again.",
        failing=failing_names(problems),
    )


def judge_counts(connection: Connection, scope: Scope, names: Sequence[str]) -> dg.AssetCheckResult:
    """Judges whether every file of some sources is accounted for."""
    counts = findings.observation_counts(connection, scope, names)
    total, failed = findings.failed_observations(connection, NAMED_FILES, names)
    waiting = findings.waiting_observations(connection, names)
    parts = sum(counts.get(name, 0) for name in ("kept", "duplicate", "rejected", "failed"))
    found = sum(counts.get(name, 0) for name in ("kept", "duplicate", "rejected", "failed", "pending"))
    more = {"found": found, "accounted_for": parts, "waiting": waiting, **counts}
    rows = [(one.path, one.reason) for one in failed] + ([("…", f"{waiting} files wait")] if waiting else [])
    return result_of(
        total + waiting,
        ("file", "reason"),
        rows,
        "Failed files are tried again by themselves; see the reasons. Waiting ones are taken by the next run.",
        failing=rows_of(connection, total, f"source_files WHERE {findings.FAILED_OBSERVATIONS}", sources=list(names)),
        more=more,
    )


def _judge_counts(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    return judge_counts(connection, scope, list(platform.settings.folder_sources))


def _look(
    connection: Connection,
    check: str,
    scope: Scope,
    load: Callable[[Connection, Scope, Sequence[int]], Sequence[Looked]],
    judge: Callable[[Sequence[Looked]], Sequence[tuple[Looked, str]]],
    what_to_do: str,
) -> dg.AssetCheckResult:
    """Looks at the run's days and once more at what is unresolved elsewhere, and fails for whatever then is.

    Args:
        connection: The catalog.
        check: The check's name.
        scope: The run's days.
        load: Reads what the catalog says, at some days and of some contents besides.
        judge: Looks at the disks; returns what is unsound, with the reason.
        what_to_do: For the person.
    """
    besides = unsound.to_look_at_again(connection, check, scope, LOOKED_AT_AGAIN)
    stored = load(connection, scope, besides)
    connection.commit()  # no transaction stays open while the disks are looked at
    found = [unsound.Found(one.media_file_id, one.day, one.path, to_text(reason)) for one, reason in judge(stored)]
    unsound.record_look(connection, check, scope, besides, found)
    connection.commit()
    total, named = unsound.unresolved(connection, check, NAMED_FILES)
    rows = [(one.path, one.reason) for one in named]
    failing = NOTHING
    if total:
        query = f"SELECT media_file_id AS id FROM check_findings WHERE {unsound.UNRESOLVED}"
        failing = failing_rows(connection, query, check=check)
    return result_of(total, ("file", "reason"), rows, what_to_do, failing=failing, more={"looked_at": len(stored)})


def _judge_originals(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    return _look(
        connection,
        STAND_WHOLE,
        scope,
        findings.stored_originals,
        lambda stored: soundness.unsound_originals(stored, platform.originals),
        "Copy it from a verified copy into a watched folder, under any name; `mediapipe-assets history FILE` names "
        "them. One that you took away yourself: `mediapipe-assets acknowledge FILE`.",
    )


def _judge_missing(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    phones = platform.phones_that_count
    gone = findings.missing(connection, NAMED_FILES, phones)
    return result_of(
        gone.unproven,
        ("original", "reason"),
        [(one.path, one.reason) for one in gone.named],
        "Put the file back into a watched folder, under any name, or `mediapipe-assets acknowledge FILE`.",
        failing=rows_of(connection, gone.unproven, f"media_files m WHERE {findings.MISSING}", phones=phones),
        more={"left_their_source": gone.total},
    )


def _judge_damaged(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    total, files = findings.damaged(connection, NAMED_FILES)
    return result_of(
        total,
        ("file", "reason"),
        [(one.path, one.reason) for one in files],
        "Look for a better copy. When you have seen it, `mediapipe-assets acknowledge FILE` ends the warning.",
        failing=rows_of(connection, total, f"media_files WHERE {findings.DAMAGED}"),
        warn=True,
    )


def _judge_rejected(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    total, files = findings.rejected(connection, NAMED_FILES)
    return result_of(
        total,
        ("file", "reason"),
        [(one.path, one.reason) for one in files],
        "Move or rename the file, exclude it in mediapipe.toml, or `mediapipe-assets acknowledge FILE`.",
        failing=rows_of(connection, total, f"source_files WHERE {findings.REJECTED}"),
        warn=True,
    )


def _judge_stage(platform: Platform, connection: Connection, stage: str) -> dg.AssetCheckResult:
    query = next((query for query in platform.queries(aged=False) if query.stage == stage), None)
    if query is None:  # switched off: what it has not done is not wanted
        return result_of(0, (), (), "", failing=NOTHING, more={"failed": 0, "waiting": 0})
    due = work.count_due(connection, query)
    failed, rows = work.failures(connection, stage, NAMED_FILES)
    names = findings.names_of(connection, stage, [row.row_id for row in rows])
    listed = [(names.get(row.row_id, str(row.row_id)), row.error) for row in rows]
    if due > failed:
        listed.append(("…", f"{due - failed} files wait for the next run"))
    return result_of(
        max(due, failed),
        ("file", "reason"),
        listed,
        "Failed files are tried again by themselves; see the reasons. Waiting ones are taken by the next run.",
        failing=failing_rows(connection, work.FAILED_ROWS, stage=stage) if failed else NOTHING,
        more={"failed": failed, "waiting": max(0, due - failed)},
    )


def _judge_renditions(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    renditions = platform.roots["renditions"]
    return _look(
        connection,
        ARE_SOUND,
        scope,
        findings.renditions_made,
        lambda made: soundness.unsound_renditions(made, platform.originals, renditions),
        "Run the dates again with redo = all: the rendition is made anew from its original.",
    )


def _judge_deliveries(connection: Connection, name: str) -> dg.AssetCheckResult:
    waiting = open_deliveries(connection, name, NAMED_FILES)
    rows = [
        (one.remote_path, one.reason or f"it is {one.state}", "failed" if one.failed else "pending")
        for one in waiting.listed
    ]
    return result_of(
        waiting.failed + waiting.pending,
        ("file", "reason", "state"),
        rows,
        "Pending files are taken up by a later run. For failed ones see the reasons.",
        failing=failing_rows(connection, deliveries.UNPROVEN, d=name) if waiting.failed else NOTHING,
        warn=not waiting.failed,  # what only waits is neither proven nor wrong
        more={"pending": waiting.pending, "failed": waiting.failed},
    )


def judge_evidence(connection: Connection, name: str, scope: Scope) -> dg.AssetCheckResult:
    """Judges whether everything that is called verified at a destination has evidence of exactly its bytes."""
    total, without = findings.verified_without_evidence(connection, name, NAMED_FILES)
    return result_of(
        total,
        ("file", "reason"),
        without,
        "Run the dates again with redo = all: every delivery is proven anew.",
        failing=rows_of(connection, total, f"deliveries WHERE {findings.WITHOUT_EVIDENCE}", d=name),
        more={"verified": findings.count_verified(connection, name, scope)},
    )


def _judge_disk(platform: Platform, name: str) -> dg.AssetCheckResult:
    destination = platform.destinations.get(name)
    originals = platform.roots["originals"]
    same = destination is not None and destination.shares_disk_with(originals)
    return result_of(
        int(same),
        ("folder", "reason"),
        [
            (
                str(platform.roots.get(layout.destination_root(name))),
                "same disk as the originals, as far as can be told: no second copy",
            )
        ],
        f"Set destinations.{name}.path to a folder on another disk or on a NAS.",
        failing=failing_names([name] if same else []),
        warn=True,
        more={"same_disk": same},
    )


def _judge_library(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    shown = findings.library_entries(connection, scope)
    broken = soundness.broken_entries(shown, platform.roots["library"])
    bad = [(one.path, reason) for one, reason in broken]
    stage = _judge_stage(platform, connection, LIBRARY)
    if not stage.passed:
        return stage
    return result_of(
        len(bad),
        ("entry", "reason"),
        bad,
        "The next run over its day repairs it.",
        failing=failing_names(str(one.member_id) for one, _ in broken),
        more={"looked_at": len(shown)},
    )


def stage_check(name: str, description: str, stage: str) -> Check:
    """Returns the check that nothing failed at a stage and nothing waits for it."""
    return Check(name, description, lambda platform, connection, _: _judge_stage(platform, connection, stage))


_CHECKS = {
    ORIGINALS: [
        Check(
            "roots_have_their_markers",
            "Every folder that we write to carries its marker: its disk is mounted, and it is ours.",
            _judge_roots,
            blocking=True,
        ),
        Check(
            "every_found_file_is_accounted_for",
            "found = kept + duplicates + rejected + failed, nothing waits, nothing failed.",
            _judge_counts,
        ),
        Check(
            STAND_WHOLE,
            "Every original stands where the catalog says, with its size, read-only. Looks at the run's days, and "
            "again at what was found at any other.",
            _judge_originals,
        ),
        Check(
            "what_left_its_source_has_a_copy",
            "Every original that was left in its source and is gone from there has a proven copy elsewhere.",
            _judge_missing,
        ),
        Check(
            "no_file_is_damaged",
            "Names the files that are damaged. They are kept and archived as they are, never compressed.",
            _judge_damaged,
        ),
        Check(
            "no_file_was_rejected",
            "Names the files that look like media by their name and are none. They are left where they are.",
            _judge_rejected,
        ),
    ],
    DEDUPLICATED: [
        stage_check(
            "every_file_is_in_a_bundle",
            "Every kept file was compared and has its place in a bundle.",
            DEDUPLICATED,
        )
    ],
    COMPRESSED: [
        stage_check(
            "every_file_is_decided",
            "Every kept file has a rendition or a reason why its original is kept.",
            COMPRESSED,
        ),
        Check(
            ARE_SOUND,
            "Every rendition opens, is turned as its original is, and has its metadata. Looks at the run's days, and "
            "again at what was found at any other.",
            _judge_renditions,
        ),
    ],
    LIBRARY: [
        Check(
            "library_shows_every_verified_file",
            "Everything that has a proven copy stands in the tree, and no entry leads nowhere.",
            _judge_library,
        )
    ],
    RELEASED: [
        stage_check(
            "nothing_failed_to_be_released",
            "Every rendition that a newer one has replaced went to the trash, or stays for want of a proof.",
            RELEASED,
        )
    ],
}


def _destination_checks(name: str) -> dict[str, list[Check]]:
    return {
        "staged_media": [
            stage_check(
                "nothing_is_left_behind", f"Every kept file has its intent for “{name}”.", stage_name(name, "staged")
            )
        ],
        "uploaded_media": [
            stage_check(
                "everything_staged_was_sent",
                f"Every file that is staged for “{name}” was brought there and acknowledged.",
                stage_name(name, "uploaded"),
            )
        ],
        "verified_media": [
            Check(
                "every_delivery_is_proven",
                f"Every file that was sent to “{name}” is proven to be there. Waiting ones are shown as pending.",
                lambda _, connection, __: _judge_deliveries(connection, name),
            ),
            Check(
                "verified_means_evidence",
                f"Every delivery to “{name}” that is called verified has evidence of exactly its bytes.",
                lambda _, connection, scope: judge_evidence(connection, name, scope),
            ),
        ],
    }


def _folder_checks(name: str) -> dict[str, list[Check]]:
    return {
        "verified_media": [
            Check(
                "stands_on_another_disk",
                f"“{name}” would survive the loss of the disk that holds the originals.",
                lambda platform, _, __: _judge_disk(platform, name),
            ),
        ],
    }
