"""Asset checks of iCloud: is every photo here, is every byte Apple's, and does the sign-in last.

Belongs here: turning what the catalog knows of iCloud into checks that say what to do. Does not belong here: asking
Apple (`icloud_sensor`), or the checks of the other stages (`mediapipe_assets.checks`).
"""

import dagster as dg
from sqlalchemy import Connection

from catalog import icloud, icloud_uploads, left_out
from catalog.failing import NOTHING, failing_names, failing_rows
from catalog.sidecars import SIDECARS
from catalog.sources import ICLOUD_ORIGINALS
from catalog.work import Scope
from mediapipe_assets.checks import NAMED_FILES, Check, judge_counts, result_of, stage_check
from mediapipe_assets.tables import table
from pipeline.assembly import Platform
from pipeline.icloud_account import trust_warning


def _judge_files(platform: Platform, connection: Connection, scope: Scope) -> dg.AssetCheckResult:
    return judge_counts(connection, scope, list(platform.icloud.sources))


def _judge_count(platform: Platform, connection: Connection, _: Scope) -> dg.AssetCheckResult:
    """Compares what Apple counts with what its feed listed, and names photos that bring no file."""
    rows: list[tuple[str, str]] = []
    bad, failing = 0, list[str]()
    for name in platform.icloud.sources:
        state = icloud.library_state(connection, name)
        if state is None or state.complete_at is None:
            rows.append((name, "it was not read to its end yet"))
            bad += 1
            continue
        counted = icloud.count_live(connection, name)
        if state.apple_count is not None and state.apple_count != counted:
            rows.append((name, f"Apple counts {state.apple_count} photos and lists {counted}"))
            bad += abs(state.apple_count - counted)
            failing.append(name)
        total, named = icloud.without_file(connection, name, NAMED_FILES)
        rows += named
        bad += total
        if total:
            photos = f"SELECT id FROM icloud_records WHERE {icloud.WITHOUT_FILE}"
            failing.append(failing_rows(connection, photos, source=name).digest)
    words = "Apple may still be counting. If it stays so for days, look at the library on icloud.com."
    return result_of(bad, ("library or photo", "reason"), rows, words, failing=failing_names(failing), warn=True)


def _judge_checksums(platform: Platform, connection: Connection, _: Scope) -> dg.AssetCheckResult:
    total, rows = icloud.other_checksums(connection, list(platform.icloud.sources), NAMED_FILES)
    words = "Keep the file in iCloud, and report this: a stored file does not have Apple's checksum."
    more = {"not_comparable": icloud.count_incomparable(connection, list(platform.icloud.sources))}
    failing = (
        failing_rows(connection, icloud.OTHER_CHECKSUMS, sources=list(platform.icloud.sources)) if total else NOTHING
    )
    return result_of(total, ("file", "what was stored"), rows, words, failing=failing, more=more)


def _judge_sign_in(platform: Platform, connection: Connection, _: Scope) -> dg.AssetCheckResult:
    """Shows how each sign-in stands; a person is told of it by `pipeline.alerts`, also when no run looks."""
    rows, lost = [], 0
    for account in platform.icloud.accounts.values():
        state = icloud.account_state(connection, account.name)
        if state.needs is not None:
            rows.append((account.name, state.needs_detail or state.needs))
            lost += 1
        elif warning := trust_warning(state, account.trust_days, platform.now()):
            rows.append((account.name, warning))
        elif state.throttled_until is not None and state.throttled_until > platform.now():
            until = f"{state.throttled_until:%Y-%m-%d %H:%M} UTC"
            rows.append((account.name, f"left alone until {until}: Apple asked for fewer requests, or did not answer"))
    words = "Run: mediapipe-assets icloud login"
    return result_of(len(rows), ("account", "what"), rows, words, failing=NOTHING, warn=lost == 0)


ICLOUD_CHECKS = {
    ICLOUD_ORIGINALS: [
        Check(
            "every_icloud_file_is_accounted_for",
            "Every file that iCloud lists is here, or named with the reason.",
            _judge_files,
        ),
        Check(
            "icloud_counts_agree",
            "The library holds as many photos as Apple counts, and each brings its file.",
            _judge_count,
        ),
        Check(
            "icloud_checksums_agree",
            "Every stored file has the checksum that Apple gives for it.",
            _judge_checksums,
        ),
        Check(
            "icloud_sign_in_lasts",
            "Apple accepts the session, its trust is not about to end, and it asks for no patience.",
            _judge_sign_in,
        ),
    ],
    SIDECARS: [
        stage_check(
            "every_sidecar_is_written",
            "What iCloud knows of each photo stands in the sidecar beside its original.",
            SIDECARS,
        )
    ],
}


def _judge_visible(connection: Connection, name: str) -> dg.AssetCheckResult:
    total, unseen = icloud_uploads.unseen_uploads(connection, name, NAMED_FILES)
    rows = [
        (one.remote_path, one.reason or "not looked for yet", f"pending since {one.since:%Y-%m-%d %H:%M} UTC")
        for one in unseen
    ]
    words = "Apple shows an upload after about 20 seconds, at times much later. A later run looks again by itself."
    return result_of(
        total, ("file", "reason", "state"), rows, words, failing=NOTHING, warn=True, more={"pending": total}
    )


def _judge_left_out(connection: Connection, name: str) -> dg.AssetCheckResult:
    """Names what does not go there; that is a decision and no failure, so it always passes."""
    found = left_out.left_out_of(connection, name, NAMED_FILES)
    metadata: dict[str, object] = {"left_out": found.count}
    if found.count:
        metadata["reasons"] = table(("reason", "files"), [(why, str(count)) for why, count in found.reasons.items()])
        metadata["files"] = table(("file", "reason"), found.named)
    words = f"{found.count} files are left out on purpose; see the reasons." if found.count else "nothing is left out"
    return dg.AssetCheckResult(passed=True, metadata=metadata, description=words)  # type: ignore[arg-type]


def left_out_check(name: str) -> Check:
    """Returns the check that names what does not go to a destination."""
    return Check(
        "left_out_on_purpose",
        f"Names what does not go to “{name}”, with the reason: never a failure, never hidden.",
        lambda _, connection, __: _judge_left_out(connection, name),
    )


def icloud_destination_checks(name: str) -> dict[str, list[Check]]:
    """Returns what must hold at an iCloud library that photos are sent to, beside what holds at any destination."""
    return {
        "staged_media": [left_out_check(name)],
        "verified_media": [
            Check(
                "uploads_are_visible",
                f"Apple shows every photo that was uploaded to “{name}”. Those that it does not show yet are pending.",
                lambda _, connection, __: _judge_visible(connection, name),
            )
        ],
    }
