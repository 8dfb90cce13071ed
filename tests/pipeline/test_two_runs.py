"""Two runs meet over one member: what one of them made is never lost to a destination."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from catalog import deliveries, renditions
from pipeline.deliver import StagedStage
from resources.archive import ArchiveFolder
from tests.pipeline.test_delivery import ORIGINAL, RENDITION, add_member, add_rendition, rendition_values, sent, stage
from tests.the_catalog import a_run, lease, sha

SECONDS = 20.0


def pixel(replace: bool = False) -> ArchiveFolder:
    return ArchiveFolder("pixel", Path("/nowhere"), "both", "replace" if replace else "keep")


def staged(connection: Connection, engine: Engine, item: Any, replace: bool = False) -> None:
    """Records a member under a lease that nobody asks about here."""
    StagedStage(pixel(replace), compressing=True).record(connection, item, None, a_run(engine, 0))


def load(engine: Engine, member: int) -> Any:
    with engine.connect() as connection:
        (item,) = deliveries.load_members(connection, [member])
    return item


def new_rendition(connection: Connection, content: int, number: int) -> None:
    renditions.record_decision(connection, rendition_values(content, number))
    deliveries.enqueue_members(connection, ["pixel"], content)


class Beside:
    """A transaction of another run, in a thread; it may have to wait for ours."""

    def __init__(self, engine: Engine, work: Callable[[Connection], None]) -> None:
        self._engine, self._work = engine, work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._thread.join(0.5)  # as far as it gets

    def _run(self) -> None:
        with self._engine.begin() as connection:
            self._work(connection)

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def ends(self) -> None:
        self._thread.join(SECONDS)
        assert not self.waits


def queued(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM staging_queue")).scalar_one())


def test_a_rendition_that_came_after_a_member_was_loaded_is_staged_with_it(engine: Engine) -> None:
    content, member = add_member(engine)
    item = load(engine, member)
    add_rendition(engine, content, 1)
    with engine.begin() as ours:
        staged(ours, engine, item)
    assert sent(engine) == [ORIGINAL, RENDITION]


def test_a_rendition_that_is_about_to_be_committed_is_waited_for(engine: Engine) -> None:
    content, member = add_member(engine)
    item = load(engine, member)
    with engine.connect() as theirs, theirs.begin() as transaction:
        new_rendition(theirs, content, 1)
        ours = Beside(engine, lambda connection: staged(connection, engine, item))
        assert ours.waits
        transaction.commit()
    ours.ends()
    assert sent(engine) == [ORIGINAL, RENDITION]


def test_a_rendition_that_comes_while_a_member_is_being_staged_is_due_afterwards(engine: Engine) -> None:
    content, member = add_member(engine)
    item = load(engine, member)
    with engine.connect() as ours, ours.begin() as transaction:
        staged(ours, engine, item)
        theirs = Beside(engine, lambda connection: new_rendition(connection, content, 1))
        transaction.commit()
    theirs.ends()
    assert (sent(engine), queued(engine)) == ([ORIGINAL], 1)
    stage(engine, "both")
    assert (sent(engine), queued(engine)) == ([ORIGINAL, RENDITION], 0)


# A destination that replaces: what is delivered is verified while a newer one is staged.


@pytest.fixture
def outdated(engine: Engine) -> tuple[int, int, int]:
    """A member whose first rendition is uploaded, and whose second one waits in the queue."""
    content, member = add_member(engine)
    add_rendition(engine, content, 1)
    stage(engine, "both")
    with engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'uploaded'"))
        delivery = connection.execute(text("SELECT id FROM deliveries WHERE role = 'rendition'")).scalar_one()
    add_rendition(engine, content, 2)
    return content, member, int(delivery)


def verified(connection: Connection, delivery: int) -> None:
    deliveries.record_evidence(connection, delivery, {"sha256": sha(1), "size": 1})
    deliveries.enqueue_if_outdated(connection, delivery)


def test_a_newer_rendition_is_not_lost_when_the_older_is_verified_at_that_moment(
    engine: Engine, outdated: tuple[int, int, int]
) -> None:
    _, member, delivery = outdated
    item = load(engine, member)
    with engine.connect() as theirs, theirs.begin() as transaction:
        verified(theirs, delivery)
        ours = Beside(engine, lambda connection: staged(connection, engine, item, replace=True))
        assert ours.waits
        transaction.commit()
    ours.ends()
    assert replaced_by(engine) == (sha(2), "renditions/2024/05/17/IMG_1.JPG")


def test_the_older_is_verified_while_the_newer_is_staged_and_the_newer_is_asked_for_again(
    engine: Engine, outdated: tuple[int, int, int]
) -> None:
    _, member, delivery = outdated
    item = load(engine, member)
    with engine.connect() as ours, ours.begin() as transaction:
        staged(ours, engine, item, replace=True)  # the older is on its way still
        theirs = Beside(engine, lambda connection: verified(connection, delivery))
        assert theirs.waits
        transaction.commit()
    theirs.ends()
    assert queued(engine) == 1
    with lease(engine) as lease_id, engine.begin() as connection:
        StagedStage(pixel(replace=True), compressing=True).record(connection, item, None, a_run(engine, lease_id))
    assert replaced_by(engine) == (sha(2), "renditions/2024/05/17/IMG_1.JPG")


def replaced_by(engine: Engine) -> tuple[str, str]:
    with engine.connect() as connection:
        row = connection.execute(text("SELECT sha256, replaces_path FROM deliveries WHERE role = 'rendition'")).one()
    return row.sha256, row.replaces_path
