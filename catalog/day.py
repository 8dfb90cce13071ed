"""What happened between two moments, in figures.

Belongs here: sums over what was recorded with its time. Does not belong here: how the library stands
(`catalog.counts`), or what one run did (`catalog.logs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Contents that arrived, renditions that were made of contents, and deliveries, each with its bytes if known."""

    arrived: int = 0
    arrived_bytes: int = 0
    renditions: int = 0
    saved_bytes: int = 0
    delivered: int = 0
    verified: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened at all."""
        return not (self.arrived or self.renditions or self.delivered or self.verified)


def day_counts(connection: Connection, since: datetime, until: datetime) -> DayCounts:
    """Counts what happened after a moment, up to another one."""
    row = connection.execute(
        text(
            """
            SELECT a.n, a.bytes, r.n, r.bytes, d.delivered, d.verified
            FROM (SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes FROM media_files
                WHERE created_at > :since AND created_at <= :until) a,
            (SELECT count(*) AS n, coalesce(sum(m.size - r.size), 0) AS bytes FROM renditions r
                JOIN media_files m ON m.id = r.media_file_id
                WHERE r.outcome = 'made' AND r.created_at > :since AND r.created_at <= :until) r,
            (SELECT count(*) FILTER (WHERE event LIKE 'uploaded %' OR event LIKE 'found %' OR event LIKE 'delivered %')
                    AS delivered,
                count(*) FILTER (WHERE event LIKE 'verified %') AS verified FROM pipeline_logs
                WHERE at > :since AND at <= :until AND strpos(stage, '/') > 0) d
            """
        ),
        {"since": since, "until": until},
    ).one()
    return DayCounts(*map(int, row))
