"""Leases: a run lives exactly as long as the session that holds its lock."""

from __future__ import annotations

import time

from sqlalchemy import Connection, Engine, text

from catalog import leases, sources, work
from tests.the_catalog import ALWAYS, add_observation, lease, rules


def _dead(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [one.run_id for one in leases.dead_leases(connection)]


def _killed(engine: Engine, run_id: str) -> int:
    session = engine.connect()
    lease_id = leases.open_lease(session, run_id)
    session.invalidate()
    deadline = time.monotonic() + 10
    while run_id not in _dead(engine):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return lease_id


def test_a_lease_lives_while_its_session_does(engine: Engine, connection: Connection) -> None:
    with lease(engine, "alive"):
        assert leases.living_runs(connection) == {"alive"}
        assert _dead(engine) == []
    connection.rollback()
    assert leases.living_runs(connection) == set()
    assert _dead(engine) == []  # it was closed, so nobody has to be buried


def test_a_lease_outlives_the_transactions_of_its_session(engine: Engine, connection: Connection) -> None:
    with engine.connect() as session:
        leases.open_lease(session, "alive")
        session.execute(text("SELECT 1"))
        session.rollback()
        assert leases.living_runs(connection) == {"alive"}
        session.invalidate()


def test_a_killed_run_is_dead_until_it_is_buried(engine: Engine) -> None:
    lease_id = _killed(engine, "killed")
    with engine.begin() as connection:
        assert leases.ended_runs(connection, ["killed"]) == set()
        leases.bury_lease(connection, lease_id)
        assert leases.ended_runs(connection, ["killed"]) == {"killed"}
    assert _dead(engine) == []


def test_burying_frees_claims_and_keeps_failures(engine: Engine) -> None:
    with engine.begin() as connection:
        claimed, failed = add_observation(connection), add_observation(connection)
    session = engine.connect()
    lease_id = leases.open_lease(session, "killed")
    with engine.begin() as connection:
        assert work.claim(connection, sources.to_store, ALWAYS, rules(lease_id), 9) == [claimed, failed]
        work.fail(connection, sources.ORIGINALS, failed, lease_id, "it broke", [3600.0])
        assert leases.days_of(connection, lease_id) != []
    session.invalidate()
    with engine.begin() as connection:
        leases.bury_lease(connection, lease_id)
        assert connection.execute(text("SELECT row_id, lease_id, attempts FROM work")).all() == [(failed, None, 1)]


def test_a_run_that_holds_another_lease_has_not_ended(engine: Engine, connection: Connection) -> None:
    with lease(engine, "again"):
        pass
    with lease(engine, "again"):
        assert leases.ended_runs(connection, ["again", "never seen"]) == set()
