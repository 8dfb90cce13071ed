"""What is due, who has taken it, and what failed: one small mechanism for every stage.

Belongs here: claiming rows in short batches, recording failures with their back-off, counting what
is left. Does not belong here: which rows a stage wants (its `WorkQuery`), or what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from sqlalchemy import Connection, text

from catalog.leases import JUST_CLAIMED, LIVING_LEASES

Redo = Literal["none", "failed", "all"]


@dataclass(frozen=True, slots=True)
class WorkQuery:
    """The rows that a stage has yet to work on, as SQL fragments.

    Attributes:
        stage: The stage's name, for instance `compressed_media`.
        table: The FROM clause; the first alias is the row that is claimed.
        alias: That alias.
        where: The predicate of a row that is due, in words of the catalog.
        date: The column that holds the row's partition date.
        params: Values of the predicate's parameters.
        order: In which order rows of one date are taken, for stages whose result depends on it.
        newest_first: The newest date is taken first.
    """

    stage: str
    table: str
    alias: str
    where: str
    date: str
    params: Mapping[str, object] = field(default_factory=dict)
    order: str = ""
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """The dates that a run works on, both ends included."""

    first: date
    last: date


ALL_DAYS = Scope(date.min, date.max)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Under which rules rows are claimed.

    Attributes:
        lease_id: The run's lease.
        redo: `none` leaves failures alone, `failed` tries them again after their back-off, `all` at once.
        max_attempts: After so many failures a row waits for a person.
    """

    lease_id: int
    redo: Redo
    max_attempts: int


# A row that is somebody's, or that waits. Failed rows, and those that were put off, keep the lease that
# did so, so that one run never meets the same one twice.
_TAKEN = f"""
    EXISTS (SELECT 1 FROM work w WHERE w.stage = :stage AND w.row_id = {{row}} AND (
        w.lease_id IN ({LIVING_LEASES})
        OR (w.error IS NULL AND w.not_before > now() AND :redo <> 'all')
        OR (w.error IS NOT NULL AND (:redo = 'none'
            OR (:redo = 'failed' AND (w.not_before > now() OR w.attempts >= :max_attempts))))))
"""


def _taken(query: WorkQuery) -> str:
    return _TAKEN.format(row=f"{query.alias}.id")


def claim(connection: Connection, query: WorkQuery, scope: Scope, rules: ClaimRules, limit: int) -> list[int]:
    """Takes up to `limit` due rows for a run; the caller commits at once.

    Returns:
        The ids, oldest date first unless the query says otherwise. Rows that another living run holds are passed over.
    """
    order = query.order or f"{query.alias}.id"
    days = "DESC" if query.newest_first else "ASC"
    statement = f"""
        WITH due AS (
            SELECT {query.alias}.id AS row_id, {query.date} AS day, {order} AS place FROM {query.table}
            WHERE {query.where} AND {query.date} BETWEEN :first AND :last AND NOT {_taken(query)}
            ORDER BY {query.date} {days}, {order} LIMIT :limit FOR UPDATE OF {query.alias} SKIP LOCKED
        ), taken AS (
            INSERT INTO work AS w (stage, row_id, lease_id, partition_date)
            SELECT :stage, row_id, :lease_id, day FROM due
            ON CONFLICT (stage, row_id) DO UPDATE SET lease_id = :lease_id, changed_at = now(),
                not_before = CASE WHEN w.error IS NOT NULL THEN w.not_before END
            WHERE w.lease_id IS NULL OR w.lease_id NOT IN ({LIVING_LEASES})
            RETURNING row_id
        )
        SELECT row_id FROM taken JOIN due USING (row_id) ORDER BY day {days}, place
    """
    parameters = {
        **query.params,
        "stage": query.stage,
        "first": scope.first,
        "last": scope.last,
        "lease_id": rules.lease_id,
        "redo": rules.redo,
        "max_attempts": rules.max_attempts,
        "limit": limit,
    }
    return list(connection.execute(text(statement), parameters).scalars())


def finish(connection: Connection, stage: str, row_id: int, lease_id: int) -> bool:
    """Ends a claim in the transaction that records its result.

    Returns:
        False when the claim is no longer this lease's: the result must then not be recorded.
    """
    result = connection.execute(
        text("DELETE FROM work WHERE stage = :stage AND row_id = :row_id AND lease_id = :lease_id"),
        {"stage": stage, "row_id": row_id, "lease_id": lease_id},
    )
    return result.rowcount == 1


def fail(
    connection: Connection, stage: str, row_id: int, lease_id: int, error: str, backoff_seconds: Sequence[float]
) -> int:
    """Records a failure of one row.

    Args:
        connection: The catalog.
        stage: The stage that failed it.
        row_id: The row.
        lease_id: The lease that holds it.
        error: Why, in the person's words.
        backoff_seconds: How long to leave it alone, by number of attempts; the last value repeats.

    Returns:
        How often it has failed by now; 0 when the claim is no longer this lease's.
    """
    steps = list(backoff_seconds)
    attempts = connection.execute(
        text(
            """
            UPDATE work SET attempts = attempts + 1, error = :error, changed_at = now(),
                not_before = now() + make_interval(secs => (CAST(:steps AS float8[]))[LEAST(attempts + 1, :count)])
            WHERE stage = :stage AND row_id = :row_id AND lease_id = :lease_id RETURNING attempts
            """
        ),
        {
            "stage": stage,
            "row_id": row_id,
            "lease_id": lease_id,
            "error": error,
            "steps": steps,
            "count": len(steps),
        },
    ).scalar()
    return int(attempts or 0)


def defer(connection: Connection, stage: str, row_id: int, lease_id: int, seconds: float) -> bool:
    """Puts a row off: it is left alone for a while, which counts neither as an attempt nor as a failure.

    Returns:
        False when the claim is no longer this lease's.
    """
    result = connection.execute(
        text(
            "UPDATE work SET error = NULL, changed_at = now(), not_before = now() + make_interval(secs => :seconds) "
            "WHERE stage = :stage AND row_id = :row_id AND lease_id = :lease_id"
        ),
        {"stage": stage, "row_id": row_id, "lease_id": lease_id, "seconds": seconds},
    )
    return result.rowcount == 1


def due_at_once(connection: Connection, stage: str, row_ids: Sequence[int]) -> None:
    """Ends the waiting of rows that failed or were put off, as if they were new: something else is known of them now.

    A run that has them in hand keeps them until it ends.
    """
    connection.execute(
        text(
            "UPDATE work SET error = NULL, attempts = 0, not_before = NULL, changed_at = now() "
            "WHERE stage = :stage AND row_id = ANY(CAST(:ids AS bigint[]))"
        ),
        {"stage": stage, "ids": list(row_ids)},
    )


def give_back(connection: Connection, stage: str, row_ids: Sequence[int], lease_id: int) -> None:
    """Ends the claims of rows that have moved to another date, where they are due anew."""
    connection.execute(
        text(
            "DELETE FROM work WHERE stage = :stage AND row_id = ANY(CAST(:ids AS bigint[])) "
            f"AND (lease_id IS NULL OR lease_id = :lease_id OR lease_id NOT IN ({LIVING_LEASES}))"
        ),
        {"stage": stage, "ids": list(row_ids), "lease_id": lease_id},
    )


def release(connection: Connection, lease_id: int) -> None:
    """Gives back every row that a lease had claimed and not finished."""
    connection.execute(text(f"DELETE FROM work WHERE lease_id = :id AND {JUST_CLAIMED}"), {"id": lease_id})
    connection.execute(text("UPDATE work SET lease_id = NULL WHERE lease_id = :id"), {"id": lease_id})


def forget_failures(connection: Connection, stage: str, scope: Scope) -> None:
    """Makes the failures of some dates look new, for a run that is told to redo everything."""
    connection.execute(
        text(
            "DELETE FROM work WHERE stage = :stage AND partition_date BETWEEN :first AND :last "
            f"AND (lease_id IS NULL OR lease_id NOT IN ({LIVING_LEASES}))"
        ),
        {"stage": stage, "first": scope.first, "last": scope.last},
    )


def due_dates(connection: Connection, query: WorkQuery, rules: ClaimRules) -> list[date]:
    """Returns the dates at which a run of now would find something to do, in order."""
    statement = f"SELECT DISTINCT {query.date} AS day FROM {query.table} WHERE {query.where} AND NOT {_taken(query)}"
    parameters = {
        **query.params,
        "stage": query.stage,
        "redo": rules.redo,
        "max_attempts": rules.max_attempts,
    }
    return sorted(connection.execute(text(statement), parameters).scalars())


def count_due(connection: Connection, query: WorkQuery, scope: Scope | None = None) -> int:
    """Counts what is due, failures included, at some dates or at all."""
    within = f" AND {query.date} BETWEEN :first AND :last" if scope else ""
    parameters = dict(query.params)
    if scope:
        parameters.update(first=scope.first, last=scope.last)
    statement = f"SELECT count(*) FROM {query.table} WHERE {query.where}{within}"
    return int(connection.execute(text(statement), parameters).scalar_one())


def count_ready(connection: Connection, query: WorkQuery, max_attempts: int) -> int:
    """Counts what could be worked on now, at any date, whether a run has it in hand or not.

    That is not what waits for its time, after a failure or because it was put off, nor what is not tried again.
    """
    statement = f"""
        SELECT count(*) FROM {query.table} LEFT JOIN work w ON w.stage = :stage AND w.row_id = {query.alias}.id
        WHERE {query.where} AND coalesce(w.not_before <= now(), true) AND coalesce(w.attempts < :max_attempts, true)
    """
    parameters = {**query.params, "stage": query.stage, "max_attempts": max_attempts}
    return int(connection.execute(text(statement), parameters).scalar_one())


def due_volume(
    connection: Connection, query: WorkQuery, size: str, scope: Scope, rules: ClaimRules, limit: int = 0
) -> tuple[int, int]:
    """Returns how many rows a run of now would claim, and the sum of a size over them.

    Args:
        connection: The catalog.
        query: The stage's rows.
        size: SQL of one row's bytes.
        scope: The run's days.
        rules: Under which it claims.
        limit: It claims at most so many; 0 for all.
    """
    first = f"ORDER BY {query.date}, {query.order or f'{query.alias}.id'} LIMIT :limit" if limit else ""
    statement = f"""
        SELECT count(*) AS files, coalesce(sum(due.size), 0) AS bytes FROM (
            SELECT {size} AS size FROM {query.table}
            WHERE {query.where} AND {query.date} BETWEEN :first AND :last AND NOT {_taken(query)} {first}
        ) due
    """
    parameters = {
        **query.params,
        "stage": query.stage,
        "first": scope.first,
        "last": scope.last,
        "redo": rules.redo,
        "max_attempts": rules.max_attempts,
        **({"limit": limit} if limit else {}),
    }
    row = connection.execute(text(statement), parameters).one()
    return int(row.files), int(row.bytes)


@dataclass(frozen=True, slots=True)
class Failure:
    """One row that failed: when it was last tried, how often, and why."""

    row_id: int
    partition_date: date
    attempts: int
    error: str


FAILED_ROWS = "SELECT row_id AS id FROM work WHERE stage = :stage AND error IS NOT NULL"


def failures(connection: Connection, stage: str, limit: int = 20) -> tuple[int, list[Failure]]:
    """Returns how many rows of a stage stand failed at any date, and the newest few."""
    total = int(
        connection.execute(
            text("SELECT count(*) FROM work WHERE stage = :stage AND error IS NOT NULL"), {"stage": stage}
        ).scalar_one()
    )
    rows = connection.execute(
        text(
            "SELECT row_id, partition_date, attempts, error FROM work WHERE stage = :stage AND error IS NOT NULL "
            "ORDER BY changed_at DESC LIMIT :limit"
        ),
        {"stage": stage, "limit": limit},
    )
    return total, [Failure(row.row_id, row.partition_date, row.attempts, row.error) for row in rows]


@dataclass(frozen=True, slots=True)
class Left:
    """What a stage has yet to do.

    Attributes:
        stage: Its name.
        waiting: Rows that were not tried yet, or that a run has in hand.
        put_off: Those of them whose time has not come.
        put_off_until: When the first of these is looked at again.
        failed: Rows that failed when they were last tried.
        given_up: Those of them that are not tried again by themselves.
        next_try: When the first of the others is tried again.
        first: The first day of those given up.
        last: The last one.
    """

    stage: str
    waiting: int
    put_off: int
    put_off_until: datetime | None
    failed: int
    given_up: int
    next_try: datetime | None
    first: date | None
    last: date | None


def left_over(connection: Connection, query: WorkQuery, max_attempts: int) -> Left:
    """Returns what is left to do at a stage, at any date."""
    ended = "w.error IS NOT NULL AND w.attempts >= :max_attempts"
    put_off = "w.error IS NULL AND w.not_before > now()"
    statement = f"""
        SELECT count(*) FILTER (WHERE w.error IS NULL) AS waiting, count(*) FILTER (WHERE {put_off}) AS put_off,
            min(w.not_before) FILTER (WHERE {put_off}) AS put_off_until, count(w.error) AS failed,
            count(*) FILTER (WHERE {ended}) AS given_up,
            min(w.not_before) FILTER (WHERE w.error IS NOT NULL AND w.attempts < :max_attempts) AS next_try,
            min({query.date}) FILTER (WHERE {ended}) AS first, max({query.date}) FILTER (WHERE {ended}) AS last
        FROM {query.table} LEFT JOIN work w ON w.stage = :stage AND w.row_id = {query.alias}.id WHERE {query.where}
    """
    parameters = {**query.params, "stage": query.stage, "max_attempts": max_attempts}
    return Left(query.stage, *connection.execute(text(statement), parameters).one())


def failed_rows(connection: Connection, query: WorkQuery, scope: Scope | None = None) -> list[int]:
    """Returns the rows of a stage that failed when they were last tried and are due still, at some dates or at all."""
    within = f" AND {query.date} BETWEEN :first AND :last" if scope else ""
    days = {"first": scope.first, "last": scope.last} if scope else {}
    statement = (
        f"SELECT {query.alias}.id FROM {query.table} JOIN work w ON w.stage = :stage AND w.row_id = {query.alias}.id "
        f"AND w.error IS NOT NULL WHERE {query.where}{within}"
    )
    parameters = {**query.params, **days, "stage": query.stage}
    return list(connection.execute(text(statement), parameters).scalars())
