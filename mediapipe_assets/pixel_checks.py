"""Asset checks of a phone that Syncthing feeds.

Belongs here: turning what the catalog says of its folder, and a look at the folder itself, into checks. Does not belong
here: asking Syncthing, which the stages and the watch do.

None of them says that a photo is backed up: a phone has it, or had it, and what Google keeps cannot be asked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import dagster as dg
from sqlalchemy import Connection

from catalog import deliveries, phone_room, placed_files
from catalog.deliveries import open_deliveries, stage_name
from catalog.failing import NOTHING, failing_names, failing_rows
from catalog.paths import from_text
from catalog.phone_room import InFolder
from media.files import ROOT_MARKER
from mediapipe_assets.checks import NAMED_FILES, Check, judge_evidence, result_of, stage_check
from mediapipe_assets.icloud_checks import left_out_check
from pipeline.assembly import Platform
from pipeline.pixel_delivery import remembered_folders

MB = 1_000_000


def _judge_quota(platform: Platform, connection: Connection, name: str) -> dg.AssetCheckResult:
    quota, used = platform.settings.pixels[name].quota, placed_files.in_flight(connection, name)
    over = used > quota
    words = f"{used / 1e9:.2f} GB lie in the folder, and {quota / 1e9:.2f} GB may (quota_gb)"
    return result_of(
        int(over),
        ("folder", "reason"),
        [(name, words)],
        "Nothing follows until the phone has taken enough of it; nothing is taken away for it.",
        failing=failing_names([name] if over else []),
        warn=True,
        more={
            "megabytes_in_flight": round(used / MB, 3),
            "quota_megabytes": round(quota / MB, 3),
            "waiting_for_room": phone_room.count_queued(connection, name),
        },
    )


def _judge_standing(platform: Platform, connection: Connection, name: str) -> dg.AssetCheckResult:
    """Looks at every file that the phone does not have yet; the quota bounds them."""
    expected = phone_room.should_stand(connection, name)
    folder = remembered_folders(connection).get(name)
    connection.commit()  # no transaction stays open while the disk is looked at
    bad = _not_standing(folder, expected) if expected else []
    return result_of(
        len(bad),
        ("file", "reason"),
        bad,
        "The next run places again what is gone. What was changed: move it away first.",
        failing=failing_names(path for path, _ in bad),
        more={"looked_at": len(expected)},
    )


def _not_standing(folder: Path | None, expected: list[InFolder]) -> list[tuple[str, str]]:
    if folder is None or not os.path.lexists(folder / ROOT_MARKER):
        where = "unknown" if folder is None else str(folder)
        return [(where, f"the folder has lost its marker ({ROOT_MARKER}): its disk seems to be away")]
    found = ((one.path, _not_as_placed(folder / from_text(one.path), one)) for one in expected)
    return [(path, reason) for path, reason in found if reason is not None]


def _not_as_placed(path: Path, placed: InFolder) -> str | None:
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return "it is no longer in the folder, and the phone does not have it yet"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    if not stat.S_ISREG(seen.st_mode) or seen.st_size != placed.size:
        return "it is another file than the one that was placed"
    return None if seen.st_mtime_ns == placed.mtime_ns else "it was touched since it was placed"


def _judge_delivered(connection: Connection, name: str) -> dg.AssetCheckResult:
    waiting = open_deliveries(connection, name, NAMED_FILES)
    rows = [
        (one.remote_path, one.reason or "it waits for the phone", "failed" if one.failed else "pending")
        for one in waiting.listed
    ]
    return result_of(
        waiting.failed + waiting.pending,
        ("file", "reason", "state"),
        rows,
        "What waits reaches the phone once it is connected. For failed ones see the reasons.",
        failing=failing_rows(connection, deliveries.UNPROVEN, d=name) if waiting.failed else NOTHING,
        warn=not waiting.failed,
        more={"pending": waiting.pending, "failed": waiting.failed},
    )


def _judge_problems(connection: Connection, name: str) -> dg.AssetCheckResult:
    total, named = placed_files.with_problems(connection, name, NAMED_FILES)
    return result_of(
        total,
        ("file", "reason"),
        named,
        "None of them is called delivered. Our own files are untouched; see the reasons.",
        failing=NOTHING,  # each is told at once by `pipeline.pixel_watch`
    )


def _judge_stuck(platform: Platform, connection: Connection, name: str) -> dg.AssetCheckResult:
    hours = platform.settings.pixels[name].stuck_hours
    total, named = placed_files.stuck(connection, name, hours, NAMED_FILES)
    return result_of(
        total,
        ("file", "reason"),
        named,
        "Look whether the phone is on, charged, in the network, and Syncthing runs there with room left.",
        failing=NOTHING,  # a person is told of the phone, not of each file: `pipeline.pixel_watch`
        warn=True,
    )


def pixel_checks(name: str) -> dict[str, list[Check]]:
    """Returns what must hold at a phone."""
    return {
        "staged_media": [
            stage_check(
                "nothing_is_left_behind",
                f"Every kept file that has room in the folder of “{name}” has its intent; others wait for room.",
                stage_name(name, "staged"),
            ),
            left_out_check(name),
            Check(
                "quota_is_kept",
                f"Never more bytes lie in the folder of “{name}” than its quota.",
                lambda platform, connection, _: _judge_quota(platform, connection, name),
            ),
        ],
        "uploaded_media": [
            stage_check(
                "everything_staged_was_placed",
                f"Every file that is staged for “{name}” was placed in the folder.",
                stage_name(name, "uploaded"),
            ),
            Check(
                "staged_files_stand",
                f"Every file that “{name}” does not have yet lies in the folder as it was placed.",
                lambda platform, connection, _: _judge_standing(platform, connection, name),
            ),
        ],
        "verified_media": [
            Check(
                "every_file_reached_the_phone",
                f"Syncthing shows that “{name}” has, or had, every file that was placed. Waiting ones are pending.",
                lambda _, connection, __: _judge_delivered(connection, name),
            ),
            Check(
                "nothing_was_changed_or_deleted",
                "No file was edited on the phone, or changed or deleted in the folder, before the phone had it.",
                lambda _, connection, __: _judge_problems(connection, name),
            ),
            Check(
                "nothing_is_stuck",
                f"Files that lie in the folder reach “{name}” in time.",
                lambda platform, connection, _: _judge_stuck(platform, connection, name),
            ),
            Check(
                "delivered_means_evidence",
                f"Every file that is called delivered to “{name}” has Syncthing's word for exactly its bytes.",
                lambda _, connection, scope: judge_evidence(connection, name, scope),
            ),
        ],
    }
