"""What was proven once is looked at again: a disk that was exchanged or emptied says nothing by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import deliveries
from media.files import ROOT_MARKER
from pipeline import assembly
from pipeline.recheck import ENOUGH, Rechecked, recheck
from tests.aging_home import Home
from tests.pipeline.test_assembly import archives, platform
from tests.pipeline.test_delivery import add_member
from tests.the_catalog import DAY

DAYS = 30


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Home:
    one = Home(engine, tmp_path / "home")
    one.compress()
    one.deliver()
    assert states(one) == {"original": "verified", "rendition": "verified"}
    return one


def states(home: Home) -> dict[str, str]:
    return {row.role: row.state for row in home.rows("SELECT role, state FROM deliveries")}


def age(engine: Engine, days: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE deliveries SET seen_at = now() - make_interval(days => :days), "
                "evidence_at = now() - make_interval(days => :days)"
            ),
            {"days": days},
        )


def look(home: Home, **given: Any) -> Rechecked:
    return recheck(home.engine, home.archive, DAYS, **given)


def copies(home: Home) -> dict[str, Path]:
    rows = home.rows("SELECT role, remote_path FROM deliveries")
    return {row.role: home.archive.path / row.remote_path for row in rows}


def test_a_copy_that_went_missing_is_found_named_and_delivered_again(home: Home) -> None:
    age(home.engine, DAYS + 1)
    lost = copies(home)["original"]
    lost.unlink()
    found = look(home)
    assert (found.looked, found.everything) == (2, False)
    ((path, reason),) = found.amiss
    assert lost.name in path
    assert "no longer at" in reason
    assert states(home) == {"original": "uploaded", "rendition": "verified"}
    with home.engine.connect() as connection:
        waiting = deliveries.open_deliveries(connection, "archive")
    assert [(one.remote_path, one.reason) for one in waiting.listed] == [(path, reason)]
    home.verify()
    home.upload()
    home.verify()
    assert lost.read_bytes() == home.original.read_bytes()
    assert states(home) == {"original": "verified", "rendition": "verified"}


def test_a_copy_of_another_size_is_proven_anew_and_fails_with_its_reason(home: Home) -> None:
    age(home.engine, DAYS + 1)
    copies(home)["original"].write_bytes(b"short")
    assert "5 bytes instead of" in look(home).amiss[0][1]
    report = home.verify()
    assert report.counts == {"failed": 1}
    assert "does not hold the bytes" in report.failures[0][1]


def test_what_is_in_its_place_stays_verified_with_the_evidence_that_it_has(home: Home) -> None:
    age(home.engine, DAYS + 1)
    before = home.rows("SELECT id, evidence_at, state, changed_at FROM deliveries ORDER BY id")
    assert look(home) == Rechecked(2, [], False)
    assert home.rows("SELECT id, evidence_at, state, changed_at FROM deliveries ORDER BY id") == before
    assert look(home).looked == 0


def test_young_evidence_is_left_alone(home: Home) -> None:
    age(home.engine, DAYS - 1)
    copies(home)["original"].unlink()
    assert look(home).looked == 0


def test_one_look_is_bounded_and_takes_what_was_seen_longest_ago(home: Home) -> None:
    age(home.engine, DAYS + 1)
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET seen_at = seen_at - interval '1 day' WHERE role = 'rendition'"))
    for path in copies(home).values():
        path.unlink()
    ((path, _),) = look(home, limit=1).amiss
    assert path.startswith("renditions/")
    assert states(home) == {"original": "verified", "rendition": "uploaded"}


def test_a_destination_that_is_away_has_lost_nothing(home: Home) -> None:
    age(home.engine, DAYS + 1)
    home.archive.path.rename(home.archive.path.with_name("unmounted"))
    home.archive.path.mkdir()
    assert look(home) == Rechecked(0, [], False)
    assert states(home) == {"original": "verified", "rendition": "verified"}


@pytest.mark.parametrize(("lost", "everything"), [(ENOUGH // 2, False), (ENOUGH // 2 + 1, True)])
def test_when_most_copies_are_gone_every_one_is_proven_anew(
    engine: Engine, tmp_path: Path, lost: int, everything: bool
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / ROOT_MARKER).write_text("{}")
    home = platform(engine, tmp_path, destinations=archives(tmp_path, "archive"))
    for number in range(ENOUGH + 3):
        _, member = add_member(engine, f"{number}.jpg")
        verified_delivery(engine, member, f"{number}.jpg")
        if number >= lost:
            (archive / f"{number}.jpg").write_bytes(b"1")
    age(engine, DAYS + 1)
    found = recheck(engine, home.destinations["archive"], DAYS, limit=ENOUGH)
    assert (found.looked, len(found.amiss), found.everything) == (ENOUGH, lost, everything)
    with engine.connect() as connection:
        uploaded = connection.execute(text("SELECT count(*) FROM deliveries WHERE state = 'uploaded'")).scalar()
    assert uploaded == (ENOUGH + 3 if everything else lost)


def verified_delivery(engine: Engine, member: int, path: str) -> None:
    with engine.begin() as connection:
        values = {
            "destination": "archive", "bundle_member_id": member, "role": "original", "sha256": f"{member:064x}",
            "batch_id": deliveries.ensure_batch(connection, "archive", "run"), "size": 1, "remote_path": path,
            "partition_date": DAY,
        }  # fmt: skip
        deliveries.add_intent(connection, values)
        delivery = connection.execute(text("SELECT max(id) FROM deliveries")).scalar_one()
        deliveries.record_evidence(connection, delivery, {"sha256": values["sha256"], "size": 1})


def test_days_with_long_unseen_copies_are_due_at_night_and_not_every_hour(engine: Engine, tmp_path: Path) -> None:
    home = platform(engine, tmp_path, destinations=archives(tmp_path, "archive"))
    home.prepare()
    _, member = add_member(engine, "a.jpg")
    verified_delivery(engine, member, "a.jpg")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM staging_queue"))
        connection.execute(text("UPDATE media_files SET deduplicated_at = now(), plan_fingerprint = 'x'"))
        connection.execute(text("UPDATE bundle_members SET library_path = 'x', library_target = 'y'"))
    assert home.due_dates(aged=False, unseen=True) == []
    age(engine, DAYS + 1)
    assert home.due_dates(aged=False) == []
    assert home.due_dates(aged=False, unseen=True) == [DAY]
    assert len(home.recheck("archive").amiss) == 1
    assert home.due_dates(aged=False) == [DAY]


@pytest.mark.parametrize("what", ["path", "disk"])
def test_a_destination_on_another_disk_or_path_is_proven_anew(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    home = platform(engine, tmp_path, destinations=archives(tmp_path, "archive"))
    home.prepare()
    _, member = add_member(engine, "a.jpg")
    verified_delivery(engine, member, "a.jpg")
    home.prepare()
    assert only_delivery(engine) == ("verified", None)
    if what == "disk":
        monkeypatch.setattr(assembly, "present_disk", lambda folder: "ext4 UUID=another")
    else:
        (tmp_path / "archive").rename(tmp_path / "elsewhere")
        moved = {"archive": {"kind": "archive", "path": str(tmp_path / "elsewhere")}}
        home = platform(engine, tmp_path, destinations=moved)
    home.prepare()
    state, reason = only_delivery(engine)
    assert state == "uploaded"
    assert "moved from" in str(reason)
    with engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'verified', reason = NULL"))
    home.prepare()
    assert only_delivery(engine) == ("verified", None)


def only_delivery(engine: Engine) -> tuple[str, str | None]:
    with engine.connect() as connection:
        row = connection.execute(text("SELECT state, reason FROM deliveries")).one()
    return row.state, row.reason
