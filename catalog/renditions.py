"""What was made from the originals, or why an original was kept.

Belongs here: queries on `renditions` and on the decision that a content stands at. Does not belong
here: tiers and encoders (`media`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from catalog.work import WorkQuery

COMPRESSED = "compressed_media"


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
        return WorkQuery(COMPRESSED, "media_files m", "m", undecided, "m.partition_date")
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
    where = f"(({undecided}) OR {' OR '.join(stale)})"
    return WorkQuery(COMPRESSED, "media_files m", "m", where, "m.partition_date", params)


@dataclass(frozen=True, slots=True)
class Rendition:
    """A rendition that was made."""

    id: int
    media_file_id: int
    path: str
    sha256: str
    size: int


def record_decision(connection: Connection, values: Mapping[str, object]) -> int:
    """Writes what was decided for a content under one fingerprint and makes it the present decision.

    Returns:
        The rendition row's id.
    """
    rendition_id: int = connection.execute(
        text(
            """
            INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, sha256, size,
                width, height, format, detail, seconds, run_id)
            VALUES (:media_file_id, :plan_fingerprint, :tier,
                (SELECT count(*) + 1 FROM renditions WHERE media_file_id = :media_file_id AND outcome = 'made'
                    AND plan_fingerprint <> :plan_fingerprint),
                :outcome, :path, :sha256, :size, :width, :height, :format, :detail, :seconds, :run_id)
            ON CONFLICT (media_file_id, plan_fingerprint) DO UPDATE SET tier = EXCLUDED.tier,
                outcome = EXCLUDED.outcome, path = EXCLUDED.path, sha256 = EXCLUDED.sha256, size = EXCLUDED.size,
                width = EXCLUDED.width, height = EXCLUDED.height, format = EXCLUDED.format,
                detail = EXCLUDED.detail, seconds = EXCLUDED.seconds, run_id = EXCLUDED.run_id, retired_at = NULL
            RETURNING id
            """
        ),
        dict(values),
    ).scalar_one()
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


def made_in(connection: Connection, first: date, last: date) -> list[tuple[int, str, str, int, str]]:
    """Returns (content, original's path, rendition's path, size, sha256) of the present renditions of some days."""
    rows = connection.execute(
        text(
            "SELECT m.id, m.stored_path, r.path, r.size, r.sha256 FROM media_files m "
            "JOIN renditions r ON r.id = m.rendition_id WHERE m.partition_date BETWEEN :first AND :last ORDER BY m.id"
        ),
        {"first": first, "last": last},
    )
    return [(row.id, row.stored_path, row.path, row.size, row.sha256) for row in rows]


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
