"""The library in figures.

Belongs here: sums over the whole catalog, for `status` and for a person who looks. Does not belong
here: what one run did (`catalog.logs.run_metrics`); nothing that a run needs, for these queries grow
with the library.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from catalog import left_out
from catalog.deliveries import pending_deliveries


@dataclass(frozen=True, slots=True)
class LibraryCounts:
    """found = kept + duplicates + rejected + failed; damaged and missing are parts of kept; pending comes on top."""

    found: int
    kept: int
    duplicates: int
    rejected: int
    damaged: int
    missing: int
    failed: int
    pending: int
    renditions: int
    bytes_before: int
    bytes_after: int
    near_duplicates: int


@dataclass(frozen=True, slots=True)
class DestinationCounts:
    """How far one destination has come, in files and bytes; what is pending or left out is no failure.

    Attributes:
        delivered: What reached a phone, however much further it came; it is not among the verified ones.
        freed_on_phone: What the phone has deleted of that.
        confirmed: What a sample of Google Photos held of that.
    """

    staged: int = 0
    uploaded: int = 0
    verified: int = 0
    delivered: int = 0
    freed_on_phone: int = 0
    confirmed: int = 0
    pending: int = 0
    left_out: int = 0
    failed: int = 0
    bytes: int = 0


def library_counts(connection: Connection) -> LibraryCounts:
    """Counts the whole library."""
    observed = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE state = 'duplicate') AS duplicates, "
            "count(*) FILTER (WHERE state = 'rejected' AND gone_at IS NULL) AS rejected, "
            "count(*) FILTER (WHERE state = 'failed') AS failed, "
            "count(*) FILTER (WHERE state = 'pending') AS pending FROM source_files"
        )
    ).one()
    kept = connection.execute(
        text(
            "SELECT count(*) AS kept, count(*) FILTER (WHERE m.state = 'damaged') AS damaged, "
            "count(m.missing_since) AS missing, "
            "count(m.rendition_id) AS renditions, coalesce(sum(m.size), 0) AS before, "
            "coalesce(sum(coalesce(r.size, m.size)), 0) AS after "
            "FROM media_files m LEFT JOIN renditions r ON r.id = m.rendition_id"
        )
    ).one()
    near = connection.execute(
        text("SELECT count(*) FROM duplicate_files WHERE kind = 'near' AND decision = 'proposed'")
    ).scalar_one()
    return LibraryCounts(
        found=kept.kept + observed.duplicates + observed.rejected + observed.failed,
        kept=kept.kept,
        duplicates=observed.duplicates,
        rejected=observed.rejected,
        damaged=kept.damaged,
        missing=kept.missing,
        failed=observed.failed,
        pending=observed.pending,
        renditions=kept.renditions,
        bytes_before=int(kept.before),
        bytes_after=int(kept.after),
        near_duplicates=int(near),
    )


def destination_counts(connection: Connection) -> dict[str, DestinationCounts]:
    """Counts every destination's deliveries; each step includes those that went further."""
    rows = connection.execute(
        text(
            "SELECT d.destination, count(*) AS staged, count(*) FILTER (WHERE d.state IN ('uploaded', 'verified')) "
            "AS uploaded, count(*) FILTER (WHERE d.state = 'verified' AND p.delivery_id IS NULL) AS verified, "
            "count(p.delivered_at) AS delivered, count(p.freed_at) AS freed, count(p.confirmed_at) AS confirmed, "
            "coalesce(sum(d.size) FILTER (WHERE d.state = 'verified'), 0) AS bytes FROM deliveries d "
            "LEFT JOIN placed_files p ON p.delivery_id = d.id GROUP BY d.destination"
        )
    ).all()
    failed = {
        row.destination: row.failed
        for row in connection.execute(
            text(
                "SELECT split_part(stage, '/', 1) AS destination, count(*) AS failed FROM work "
                "WHERE error IS NOT NULL AND stage LIKE '%/%' GROUP BY 1"
            )
        )
    }
    pending, withheld = pending_deliveries(connection), left_out.counts(connection)
    counts = {
        row.destination: DestinationCounts(
            staged=row.staged,
            uploaded=row.uploaded,
            verified=row.verified,
            delivered=row.delivered,
            freed_on_phone=row.freed,
            confirmed=row.confirmed,
            pending=pending.get(row.destination, 0),
            left_out=withheld.get(row.destination, 0),
            failed=failed.get(row.destination, 0),
            bytes=int(row.bytes),
        )
        for row in rows
    }
    # One that was sent nothing may have been kept from everything.
    return {name: DestinationCounts(left_out=count) for name, count in withheld.items()} | counts
