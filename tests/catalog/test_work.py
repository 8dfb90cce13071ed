"""Claims: every due row is somebody's once, failures wait their turn, the dead lose what they held."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from catalog import leases, sources, work
from catalog.work import Scope
from tests.the_catalog import ALWAYS, DAY, add_observation, lease, rules

QUERY = sources.to_store
STAGE = QUERY.stage


def add_rows(engine: Engine, count: int) -> list[int]:
    with engine.begin() as connection:
        return [add_observation(connection) for _ in range(count)]


def claim(engine: Engine, lease_id: int, limit: int = 100, **given: object) -> list[int]:
    with engine.begin() as connection:
        return work.claim(connection, QUERY, ALWAYS, rules(lease_id, **given), limit)  # type: ignore[arg-type]


def fail(engine: Engine, lease_id: int, row: int, *seconds: float) -> bool:
    with engine.begin() as connection:
        return work.fail(connection, STAGE, row, lease_id, "it broke", seconds or (3600.0,))


def release(engine: Engine, lease_id: int) -> None:
    with engine.begin() as connection:
        work.release(connection, lease_id)


def test_two_connections_never_get_the_same_row(engine: Engine) -> None:
    rows = add_rows(engine, 300)
    start = threading.Barrier(3)
    got: dict[int, list[int]] = {0: [], 1: [], 2: []}

    def worker(number: int) -> None:
        with lease(engine, f"run {number}") as lease_id:
            start.wait()
            while ids := claim(engine, lease_id, 5):
                got[number] += ids
            start.wait()

    threads = [threading.Thread(target=worker, args=(number,)) for number in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got[0] + got[1] + got[2]) == rows


def test_rows_that_another_transaction_is_claiming_are_passed_over(engine: Engine) -> None:
    rows = add_rows(engine, 4)
    with lease(engine) as mine, lease(engine) as theirs, engine.begin() as unfinished:
        first = work.claim(unfinished, QUERY, ALWAYS, rules(mine), 2)
        assert first == rows[:2]
        assert claim(engine, theirs, 2) == rows[2:]


def test_only_the_days_of_the_run_are_claimed_the_oldest_first(engine: Engine) -> None:
    with engine.begin() as connection:
        late, early, outside = (
            add_observation(connection, partition_date=DAY + timedelta(days=days)) for days in (1, 0, 2)
        )
    with lease(engine) as mine, engine.begin() as connection:
        found = work.claim(connection, QUERY, Scope(DAY, DAY + timedelta(days=1)), rules(mine), 9)
    assert found == [early, late]
    assert outside not in found


def test_the_claims_of_a_killed_run_are_taken_over_and_it_can_record_nothing_more(engine: Engine) -> None:
    rows = add_rows(engine, 3)
    killed = engine.connect()
    dead = leases.open_lease(killed, "killed")
    assert claim(engine, dead) == rows
    with lease(engine) as mine:
        assert claim(engine, mine) == []
        killed.invalidate()  # its session ends, and with it the lock
        _until_dead(engine, dead)
        assert claim(engine, mine) == rows
        with engine.begin() as connection:
            assert not work.finish(connection, STAGE, rows[0], dead)
            assert not work.fail(connection, STAGE, rows[1], dead, "late", [1.0])
            assert work.finish(connection, STAGE, rows[0], mine)


def _until_dead(engine: Engine, lease_id: int) -> None:
    for _ in range(200):
        with engine.connect() as connection:
            if lease_id in [one.id for one in leases.dead_leases(connection)]:
                return
        threading.Event().wait(0.02)
    raise AssertionError("the lease still lives")


def test_a_failure_is_not_met_twice_in_one_run(engine: Engine) -> None:
    (row,) = add_rows(engine, 1)
    with lease(engine) as mine:
        assert claim(engine, mine) == [row]
        assert fail(engine, mine, row, 0.0)
        assert claim(engine, mine) == []
        assert claim(engine, mine, redo="all") == []


def test_a_failure_waits_for_its_back_off_and_the_pause_grows(engine: Engine, connection: Connection) -> None:
    (row,) = add_rows(engine, 1)
    pauses = []
    for _ in range(3):
        with lease(engine) as mine:
            assert claim(engine, mine) == [row]
            fail(engine, mine, row, 60.0, 600.0)
            release(engine, mine)
        with lease(engine) as next_run:
            assert claim(engine, next_run) == []
        with engine.begin() as session:
            pauses.append(session.execute(text("SELECT not_before - changed_at FROM work")).scalar_one())
            session.execute(text("UPDATE work SET not_before = now() - interval '1 second'"))
    assert pauses == [timedelta(seconds=60), timedelta(seconds=600), timedelta(seconds=600)]


def test_each_failure_says_how_many_there_were(engine: Engine) -> None:
    (row,) = add_rows(engine, 1)
    for attempts in (1, 2):
        with lease(engine) as mine, engine.begin() as session:
            work.claim(session, QUERY, ALWAYS, rules(mine), 9)
            assert work.fail(session, STAGE, row, mine, "it broke", [0.0]) == attempts
            assert work.fail(session, STAGE, row, 0, "not mine", [0.0]) == 0


def test_after_so_many_attempts_a_row_waits_for_a_person(engine: Engine) -> None:
    (row,) = add_rows(engine, 1)
    for _ in range(2):
        with lease(engine) as mine:
            assert claim(engine, mine, max_attempts=2) == [row]
            fail(engine, mine, row, 0.0)
            release(engine, mine)
    with lease(engine) as mine:
        assert claim(engine, mine, max_attempts=2) == []
        assert claim(engine, mine, max_attempts=2, redo="all") == [row]


@pytest.mark.parametrize(("redo", "waits", "found"), [("none", False, False), ("failed", False, True),
                                                       ("failed", True, False), ("all", True, True)])  # fmt: skip
def test_redo_says_which_failures_are_tried_again(engine: Engine, redo: str, waits: bool, found: bool) -> None:
    (row,) = add_rows(engine, 1)
    with lease(engine) as mine:
        claim(engine, mine)
        fail(engine, mine, row, 3600.0 if waits else 0.0)
        release(engine, mine)
    with lease(engine) as mine:
        with engine.connect() as connection:
            assert work.due_dates(connection, QUERY, rules(mine, redo)) == ([DAY] if found else [])
        assert claim(engine, mine, redo=redo) == ([row] if found else [])


def test_what_was_claimed_and_not_finished_is_given_back_without_an_attempt(engine: Engine) -> None:
    rows = add_rows(engine, 2)
    with lease(engine) as mine:
        claim(engine, mine)
        release(engine, mine)
    with lease(engine) as mine:
        assert claim(engine, mine) == rows
    with engine.connect() as connection:
        assert connection.execute(text("SELECT sum(attempts) FROM work")).scalar() == 0


def test_what_is_put_off_waits_for_its_time_and_counts_neither_as_a_failure_nor_as_an_attempt(
    engine: Engine, connection: Connection
) -> None:
    (row,) = add_rows(engine, 1)
    with lease(engine) as mine:
        assert claim(engine, mine) == [row]
        with engine.begin() as session:
            assert work.defer(session, STAGE, row, mine, 3600)
        assert claim(engine, mine) == []
        release(engine, mine)
    for redo, found in (("none", []), ("failed", []), ("all", [DAY])):
        assert work.due_dates(connection, QUERY, rules(0, redo)) == found
    assert work.failures(connection, STAGE) == (0, [])
    with engine.begin() as session:
        session.execute(text("UPDATE work SET not_before = now() - interval '1 s'"))
    with lease(engine) as mine:
        assert claim(engine, mine, redo="none") == [row]
        release(engine, mine)
    assert connection.execute(text("SELECT count(*) FROM work")).scalar() == 0


def test_a_failure_that_is_put_off_at_the_next_try_keeps_its_attempts_and_loses_its_reason(engine: Engine) -> None:
    (row,) = add_rows(engine, 1)
    for defer in (False, True):
        with lease(engine) as mine:
            claim(engine, mine)
            if defer:
                with engine.begin() as session:
                    assert work.defer(session, STAGE, row, mine, 0)
            else:
                fail(engine, mine, row, 0.0)
            release(engine, mine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT attempts, error FROM work")).one() == (1, None)
    with engine.begin() as session:
        assert not work.defer(session, STAGE, row, 0, 0)  # it is nobody's


def test_what_is_left_says_how_much_of_it_waits_for_its_time_and_until_when(engine: Engine) -> None:
    later, _now = add_rows(engine, 2)
    with lease(engine) as mine:
        claim(engine, mine)
        with engine.begin() as session:
            assert work.defer(session, STAGE, later, mine, 3600)
        release(engine, mine)
    with engine.connect() as connection:
        left = work.left_over(connection, QUERY, 5)
        assert (left.waiting, left.put_off, left.failed) == (2, 1, 0)
        until = connection.execute(text("SELECT not_before FROM work WHERE row_id = :id"), {"id": later}).scalar()
        assert left.put_off_until == until


def test_failures_are_counted_at_all_dates_and_forgotten_only_where_told(engine: Engine) -> None:
    with engine.begin() as connection:
        here = add_observation(connection)
        there = add_observation(connection, partition_date=DAY + timedelta(days=9))
    with lease(engine) as mine:
        claim(engine, mine)
        for row in (here, there):
            fail(engine, mine, row)
        with engine.begin() as connection:
            work.forget_failures(connection, STAGE, Scope(DAY, DAY))  # a living run still holds it
            assert work.failures(connection, STAGE)[0] == 2
        release(engine, mine)
    with engine.begin() as connection:
        work.forget_failures(connection, STAGE, Scope(DAY, DAY))
        total, failures = work.failures(connection, STAGE)
    assert (total, [(one.row_id, one.error) for one in failures]) == (1, [(there, "it broke")])
