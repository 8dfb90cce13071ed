"""What happened to a file, and figures over time.

Belongs here: writing the catalog's own log and metrics. Does not belong here: the program's log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, text


def log_event(
    connection: Connection,
    *,
    run_id: str,
    stage: str,
    event: str,
    media_file_id: int | None = None,
    source_file_id: int | None = None,
    detail: str | None = None,
) -> None:
    """Adds one line to a file's history, in the transaction of what it tells about."""
    connection.execute(
        text(
            "INSERT INTO pipeline_logs (run_id, stage, event, media_file_id, source_file_id, detail) "
            "VALUES (:run_id, :stage, :event, :media_file_id, :source_file_id, :detail)"
        ),
        {
            "run_id": run_id,
            "stage": stage,
            "event": event,
            "media_file_id": media_file_id,
            "source_file_id": source_file_id,
            "detail": detail,
        },
    )


def add_metrics(connection: Connection, run_id: str, stage: str, values: Mapping[str, float]) -> None:
    """Keeps a stage's figures of one run."""
    rows = [{"run_id": run_id, "stage": stage, "name": name, "value": value} for name, value in values.items()]
    if rows:
        connection.execute(
            text("INSERT INTO pipeline_metrics (run_id, stage, name, value) VALUES (:run_id, :stage, :name, :value)"),
            rows,
        )


def last_finished(connection: Connection) -> datetime | None:
    """Returns when a stage last came to an end with a file, None before the first time; failures are no end."""
    at: datetime | None = connection.execute(
        text("SELECT at FROM pipeline_logs WHERE event <> 'failed' ORDER BY id DESC LIMIT 1")
    ).scalar()
    return at


def run_metrics(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Returns the sums of some runs' figures, by stage and name."""
    rows = connection.execute(
        text(
            "SELECT stage, name, sum(value) AS value FROM pipeline_metrics "
            "WHERE run_id = ANY(:ids) GROUP BY stage, name"
        ),
        {"ids": list(run_ids)},
    )
    sums: dict[str, dict[str, float]] = {}
    for row in rows:
        sums.setdefault(row.stage, {})[row.name] = row.value
    return sums


def figures_by_day(connection: Connection, run_id: str, stage: str) -> dict[date, dict[str, int]]:
    """Returns how often each event happened at a stage in one run, by the file's date."""
    rows = connection.execute(
        text(
            # What a run looked at has its day; what it turned out to be may be known from another.
            "SELECT coalesce(s.partition_date, m.partition_date) AS day, l.event, count(*) AS n FROM pipeline_logs l "
            "LEFT JOIN media_files m ON m.id = l.media_file_id LEFT JOIN source_files s ON s.id = l.source_file_id "
            "WHERE l.run_id = :run_id AND l.stage = :stage GROUP BY 1, 2 ORDER BY 1, 2"
        ),
        {"run_id": run_id, "stage": stage},
    )
    days: dict[date, dict[str, int]] = {}
    for row in rows:
        days.setdefault(row.day, {})[row.event] = row.n
    return days
