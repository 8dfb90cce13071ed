"""What was made from the originals, or why an original was kept.

Belongs here: queries on `renditions` and on the decision that a content stands at. Does not belong
here: tiers and encoders (`media`), or whether a file may leave its place (`pipeline.proofs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from catalog.work import WorkQuery

COMPRESSED = "compressed_media"
RELEASED = "released_media"

# What a newer decision has replaced and still stands in renditions/. One that waits for a proof is asked
# about again when its time has come, so that a run never meets it twice.
to_release = WorkQuery(
    stage=RELEASED,
    table="renditions r JOIN media_files m ON m.id = r.media_file_id",
    alias="r",
    where="r.superseded_at IS NOT NULL AND r.retired_at IS NULL AND r.outcome = 'made' "
    "AND r.id IS DISTINCT FROM m.rendition_id AND (r.release_after IS NULL OR r.release_after <= now())",
    date="m.partition_date",
)

_AT_HAND = "m.missing_since IS NULL"  # of what is missing nothing can be made; what was made of it stays


@dataclass(frozen=True, slots=True)
class TierDates:
    """One tier's settings and the capture days to which they apply today, both ends included."""

    fingerprint: str
    first: date
    last: date


def to_compress(tiers: Sequence[TierDates], *, aged: bool = True) -> WorkQuery:
    """Returns what has yet to be decided under the settings of today.

    Args:
        tiers: Each tier with its days; together they cover every day once.
        aged: Also take files that were decided under another tier or other settings.
    """
    undecided = "m.deduplicated_at IS NOT NULL AND m.plan_fingerprint IS NULL"
    if not aged:
        return WorkQuery(COMPRESSED, "media_files m", "m", f"{undecided} AND {_AT_HAND}", "m.partition_date")
    stale = []
    params: dict[str, object] = {}
    for number, tier in enumerate(tiers):
        # Two ranges instead of <>: each of them is found in the index.
        for side in "<>":
            stale.append(
                f"(m.plan_fingerprint {side} :fingerprint_{number} "
                f"AND m.partition_date BETWEEN :tier_first_{number} AND :tier_last_{number})"
            )
        params[f"fingerprint_{number}"] = tier.fingerprint
        params[f"tier_first_{number}"] = tier.first
        params[f"tier_last_{number}"] = tier.last
    where = f"(({undecided}) OR {' OR '.join(stale)}) AND {_AT_HAND}"
    return WorkQuery(COMPRESSED, "media_files m", "m", where, "m.partition_date", params)


@dataclass(frozen=True, slots=True)
class Rendition:
    """A rendition that was made."""

    id: int
    media_file_id: int
    path: str
    sha256: str
    size: int


_DECIDE = """
    INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, sha256, size,
        width, height, format, detail, seconds, run_id)
    VALUES (:media_file_id, :plan_fingerprint, :tier,
        (SELECT count(*) + 1 FROM renditions WHERE media_file_id = :media_file_id AND outcome = 'made'),
        :outcome, :path, :sha256, :size, :width, :height, :format, :detail, :seconds, :run_id)
"""
# The same bytes under the same settings are the rendition that there was: it becomes the present one again.
_MADE_BEFORE = """
    ON CONFLICT (media_file_id, plan_fingerprint, sha256) DO UPDATE SET
        superseded_at = NULL, release_after = NULL, trash_path = NULL, retired_at = NULL
"""
_KEPT_BEFORE = """
    ON CONFLICT (media_file_id, plan_fingerprint) WHERE outcome = 'kept_original' DO UPDATE SET
        tier = EXCLUDED.tier, detail = EXCLUDED.detail, seconds = EXCLUDED.seconds, run_id = EXCLUDED.run_id
"""


def record_decision(connection: Connection, values: Mapping[str, object]) -> int:
    """Writes what was decided for a content under one fingerprint and makes it the present decision.

    What was made before and has other bytes keeps its row, so that it is recognised wherever it turns up.

    Returns:
        The rendition row's id.
    """
    before = _MADE_BEFORE if values["outcome"] == "made" else _KEPT_BEFORE
    rendition_id: int = connection.execute(text(f"{_DECIDE} {before} RETURNING id"), dict(values)).scalar_one()
    connection.execute(
        text(
            "UPDATE renditions SET superseded_at = now() WHERE media_file_id = :id AND id <> :present "
            "AND outcome = 'made' AND superseded_at IS NULL"
        ),
        {"id": values["media_file_id"], "present": rendition_id},
    )
    connection.execute(
        text(
            "UPDATE media_files SET plan_fingerprint = :fingerprint, "
            "rendition_id = CASE WHEN :outcome = 'made' THEN CAST(:rendition_id AS bigint) END WHERE id = :id"
        ),
        {
            "fingerprint": values["plan_fingerprint"],
            "outcome": values["outcome"],
            "rendition_id": rendition_id,
            "id": values["media_file_id"],
        },
    )
    return rendition_id


def keep_present(connection: Connection, media_file_id: int, fingerprint: str) -> bool:
    """Makes the present rendition the decision again, when it was made under a fingerprint; returns whether it was."""
    result = connection.execute(
        text(
            "UPDATE media_files m SET plan_fingerprint = :fingerprint FROM renditions r "
            "WHERE m.id = :id AND r.id = m.rendition_id AND r.plan_fingerprint = :fingerprint"
        ),
        {"id": media_file_id, "fingerprint": fingerprint},
    )
    return result.rowcount == 1


def path_of_same(connection: Connection, media_file_id: int, fingerprint: str, sha256: str) -> str | None:
    """Returns where the same bytes, made under the same settings before, stand or stood."""
    return connection.execute(
        text(
            "SELECT path FROM renditions WHERE media_file_id = :id AND plan_fingerprint = :fingerprint "
            "AND sha256 = :sha256"
        ),
        {"id": media_file_id, "fingerprint": fingerprint, "sha256": sha256},
    ).scalar()


def path_is_free(connection: Connection, path: str) -> bool:
    """Returns whether no rendition has a path, and keeps it free for this transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:path, 2))"), {"path": path})
    return connection.execute(text("SELECT 1 FROM renditions WHERE path = :path"), {"path": path}).scalar() is None


def forget_decisions(connection: Connection, first: date, last: date) -> None:
    """Makes the engine decide again for some days; what stands remains until then."""
    connection.execute(
        text("UPDATE media_files SET plan_fingerprint = NULL WHERE partition_date BETWEEN :first AND :last"),
        {"first": first, "last": last},
    )


def is_our_rendition(connection: Connection, sha256: str) -> int | None:
    """Returns the content from which these bytes were made here, None when they are not ours."""
    return connection.execute(
        text("SELECT media_file_id FROM renditions WHERE sha256 = :sha256 ORDER BY id LIMIT 1"), {"sha256": sha256}
    ).scalar()


def standing_rendition(connection: Connection, sha256: str) -> tuple[str, int] | None:
    """Returns path and size of a rendition with these bytes that was not moved away."""
    row = connection.execute(
        text("SELECT path, size FROM renditions WHERE sha256 = :sha256 AND retired_at IS NULL ORDER BY id LIMIT 1"),
        {"sha256": sha256},
    ).one_or_none()
    return None if row is None else (row.path, row.size)


def largest_savings(connection: Connection, run_id: str, limit: int = 10) -> list[tuple[str, int, int, str]]:
    """Returns (original's path, bytes before, bytes after, detail) of a run's largest savings."""
    rows = connection.execute(
        text(
            "SELECT m.stored_path, m.size AS before, r.size AS after, r.detail FROM renditions r "
            "JOIN media_files m ON m.id = r.media_file_id WHERE r.run_id = :run_id AND r.outcome = 'made' "
            "ORDER BY m.size - r.size DESC LIMIT :limit"
        ),
        {"run_id": run_id, "limit": limit},
    )
    return [(row.stored_path, row.before, row.after, row.detail) for row in rows]


@dataclass(frozen=True, slots=True)
class Held:
    """A delivery that has, or is to get, the bytes of a rendition."""

    destination: str
    remote_path: str
    role: str
    state: str
    remote_ids: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Superseded:
    """A rendition that a newer decision has replaced.

    Attributes:
        held: Who was sent exactly these bytes.
    """

    id: int
    media_file_id: int
    path: str
    sha256: str
    size: int
    held: tuple[Held, ...]


def load_superseded(connection: Connection, ids: Sequence[int]) -> list[Superseded]:
    """Returns superseded renditions in the order of `ids`; one that has become the present one is left out."""
    rows = connection.execute(
        text(
            f"SELECT r.id, r.media_file_id, r.path, r.sha256, r.size FROM {to_release.table} "
            f"WHERE r.id = ANY(:ids) AND {to_release.where}"
        ),
        {"ids": list(ids)},
    ).all()
    held: dict[int, list[Held]] = {}
    for row in connection.execute(
        text(
            "SELECT r.id, d.destination, d.remote_path, d.role, d.state, d.remote_ids FROM renditions r "
            "JOIN bundle_members b ON b.media_file_id = r.media_file_id "
            "JOIN deliveries d ON d.bundle_member_id = b.id AND d.sha256 = r.sha256 "
            "WHERE r.id = ANY(:ids) ORDER BY d.id"
        ),
        {"ids": list(ids)},
    ):
        held.setdefault(row[0], []).append(Held(*row[1:]))
    found = {
        row.id: Superseded(row.id, row.media_file_id, row.path, row.sha256, row.size, tuple(held.get(row.id, ())))
        for row in rows
    }
    return [found[row_id] for row_id in ids if row_id in found]


def intend_release(connection: Connection, rendition_id: int, trash_path: str) -> None:
    """Writes where a rendition is about to go, so that it is found there if the run is killed."""
    connection.execute(
        text("UPDATE renditions SET trash_path = :path WHERE id = :id AND retired_at IS NULL"),
        {"id": rendition_id, "path": trash_path},
    )


def release_place(connection: Connection, rendition_id: int) -> str | None:
    """Returns where a rendition is about to go below the trash, None when that was not decided."""
    return connection.execute(text("SELECT trash_path FROM renditions WHERE id = :id"), {"id": rendition_id}).scalar()


def retire(connection: Connection, rendition_id: int, trash_path: str) -> None:
    """Records that a rendition stands in the trash."""
    connection.execute(
        text("UPDATE renditions SET retired_at = now(), trash_path = :path WHERE id = :id"),
        {"id": rendition_id, "path": trash_path},
    )


def wait_for_proof(connection: Connection, rendition_id: int, hours: float) -> None:
    """Leaves a rendition in its place, to be asked about again later."""
    connection.execute(
        text(
            "UPDATE renditions SET trash_path = NULL, release_after = now() + make_interval(secs => :seconds) "
            "WHERE id = :id"
        ),
        {"id": rendition_id, "seconds": hours * 3600},
    )


def ask_again_for_proof(connection: Connection, first: date, last: date) -> None:
    """Has the waiting renditions of some days asked about at once, save those that a person brought back."""
    connection.execute(
        text(
            "UPDATE renditions r SET release_after = NULL FROM media_files m WHERE m.id = r.media_file_id "
            "AND r.superseded_at IS NOT NULL AND r.retired_at IS NULL AND r.release_after < 'infinity' "
            "AND m.partition_date BETWEEN :first AND :last"
        ),
        {"first": first, "last": last},
    )


def bring_back(connection: Connection, path: str) -> int | None:
    """Records that a person brought a rendition back to its path; it is not released again by itself.

    Returns:
        The content that it was made from, None when the path is not known.
    """
    return connection.execute(
        text(
            "UPDATE renditions SET retired_at = NULL, trash_path = NULL, release_after = 'infinity' "
            "WHERE path = :path RETURNING media_file_id"
        ),
        {"path": path},
    ).scalar()
