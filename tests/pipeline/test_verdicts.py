"""What a destination says of a delivery, and what is believed of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import deliveries, work
from catalog.counts import destination_counts
from mediapipe_assets.checks import checks_of
from pipeline.proofs import NotProven, prove
from resources.delivery import Acknowledgement, Evidence, Intent, NotNow, Verdict
from tests.aging_home import Home
from tests.proof_files import BYTES, Elsewhere, doomed, marked, said_to_be, sha256
from tests.the_catalog import ALWAYS, DAY, rules


@dataclass(frozen=True, slots=True)
class Telling(Elsewhere):
    """An archive that shows whatever a test wants it to."""

    shown: Callable[[Intent], Evidence] | None = None
    busy: NotNow | None = None

    def deliver(self, intent: Intent) -> Acknowledgement:
        if self.busy is not None:
            raise self.busy
        return Elsewhere.deliver(self, intent)

    def evidence(self, intent: Intent) -> Evidence:
        return Elsewhere.evidence(self, intent) if self.shown is None else self.shown(intent)


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Home:
    return Home(engine, tmp_path / "home")


def telling(home: Home, **given: Any) -> None:
    home.archive = Telling("archive", home.archive.path, "both", "keep", **given)


def shown(verdict: Verdict = "verified", reason: str | None = None, **facts: object) -> Callable[[Intent], Evidence]:
    return lambda intent: Evidence(verdict, facts, reason)


def states(home: Home) -> list[str]:
    return [row.state for row in home.rows("SELECT state FROM deliveries ORDER BY id")]


def work_rows(home: Home) -> list[Any]:
    return home.rows("SELECT stage, attempts, error, not_before > now() AS waits FROM work")


OTHER = sha256(b"other bytes")


@pytest.mark.parametrize(
    "facts",
    [{}, {"listed": True}, {"sha256": OTHER}, {"sha256": None}, {"size": 11}],
    ids=["nothing", "only a listing", "other bytes", "no hash", "only a size"],
)
def test_verified_without_facts_about_exactly_these_bytes_is_not_believed(home: Home, facts: dict[str, Any]) -> None:
    home.stage()
    home.upload()
    telling(home, shown=shown(**facts))
    report = home.verify()
    assert report.counts == {"failed": 1}
    assert "does not show" in report.failures[0][1]
    assert states(home) == ["uploaded"]


def test_evidence_of_another_size_is_not_believed(home: Home) -> None:
    home.stage()
    home.upload()
    telling(home, shown=lambda intent: Evidence("verified", {"sha256": intent.sha256, "size": intent.size + 1}))
    assert home.verify().counts == {"failed": 1}
    assert states(home) == ["uploaded"]


def test_evidence_proves_only_the_bytes_that_its_facts_name() -> None:
    seen = {"sha256": sha256(BYTES), "size": len(BYTES)}
    assert Evidence("verified", seen).proves(sha256(BYTES), len(BYTES))
    assert not Evidence("verified", seen).proves(OTHER, len(BYTES))
    assert not Evidence("verified", seen).proves(sha256(BYTES), len(BYTES) + 1)
    assert not Evidence("pending", seen).proves(sha256(BYTES), len(BYTES))
    assert not Evidence("verified").proves(sha256(BYTES), len(BYTES))


def test_evidence_by_another_checksum_of_the_same_bytes_counts_when_that_checksum_was_shown() -> None:
    seen = {"sha256": sha256(BYTES), "size": len(BYTES), "by": "apple_checksum"}
    assert Evidence("verified", {**seen, "apple_checksum": "AQ=="}).proves(sha256(BYTES), len(BYTES))
    for missing in ({}, {"apple_checksum": None}, {"apple_checksum": ""}):
        assert not Evidence("verified", {**seen, **missing}).proves(sha256(BYTES), len(BYTES))


def test_a_proof_takes_no_evidence_of_another_size(tmp_path: Path) -> None:
    shows = shown(sha256=sha256(BYTES), size=len(BYTES) + 1)
    vague = Telling("archive", marked(tmp_path / "archive"), shown=shows)
    with pytest.raises(NotProven, match="does not show which bytes"):
        prove(doomed(tmp_path / "IMG.jpg"), [said_to_be(vague)], 1)


# What is not to be said yet.


def test_what_is_pending_waits_without_a_failure_and_is_asked_about_again(home: Home) -> None:
    home.stage()
    home.upload()
    telling(home, shown=lambda intent: Evidence("pending", reason="not indexed yet", ask_again_seconds=600))
    report = home.verify()
    assert report.counts == {"pending": 1}
    assert report.failures == []
    assert report.notes[0][1] == "not indexed yet"
    assert report.metrics()["pending"] == 1
    assert states(home) == ["uploaded"]
    assert work_rows(home) == [("archive/verified_media", 0, None, True)]
    assert home.verify().done == 0  # its time has not come

    telling(home)
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE work SET not_before = now() - interval '1 s'"))
    assert home.verify().counts == {"verified": 1}
    assert work_rows(home) == []
    (row,) = home.rows("SELECT reason FROM deliveries")
    assert row.reason is None


def test_a_destination_that_cannot_take_a_file_now_gets_it_later(home: Home) -> None:
    home.stage()
    telling(home, busy=NotNow("the daily allowance is used up", 3600))
    report = home.upload()
    assert (report.counts, report.failures) == ({"pending": 1}, [])
    assert states(home) == ["staged"]
    assert home.upload().done == 0
    telling(home)
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE work SET not_before = now() - interval '1 s'"))
    assert home.upload().counts == {"uploaded": 1}


def test_not_now_comes_back_from_a_worker_as_it_was() -> None:
    one = pickle.loads(pickle.dumps(NotNow("wait", 60)))
    assert (str(one), one.reason, one.seconds) == ("wait", "wait", 60)


def test_what_waits_is_no_due_day_before_its_time_and_counts_as_pending_everywhere(home: Home) -> None:
    home.stage()
    home.upload()
    telling(home, shown=shown("pending", "not indexed yet"))
    home.verify()
    due = deliveries.to_verify("archive", replacing=False)
    with home.engine.begin() as connection:
        assert work.due_dates(connection, due, rules(0)) == []
        counts = destination_counts(connection)["archive"]
        assert (counts.uploaded, counts.verified, counts.failed, counts.pending) == (1, 0, 0, 1)
        connection.execute(text("UPDATE work SET not_before = now() - interval '1 s'"))
        assert work.due_dates(connection, due, rules(0)) == [DAY]


def test_the_check_shows_what_waits_as_pending_and_warns_and_a_failure_as_an_error(home: Home) -> None:
    home.stage()
    home.upload()
    telling(home, shown=shown("pending", "not indexed yet"))
    home.verify()
    check = every_delivery_is_proven(home)
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert (check.metadata["pending"].value, check.metadata["failed"].value) == (1, 0)
    (record,) = check.metadata["files"].value.records
    assert (record.data["state"], record.data["reason"]) == ("pending", "not indexed yet")

    telling(home, shown=shown("unverifiable", "other bytes"))
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))
    home.verify()
    check = every_delivery_is_proven(home)
    assert (check.passed, check.severity.value) == (False, "ERROR")
    assert (check.metadata["pending"].value, check.metadata["failed"].value) == (0, 1)


def every_delivery_is_proven(home: Home) -> Any:
    from pipeline.assembly import Platform
    from resources.settings import load_settings

    platform = Platform(load_settings(home.original.parent / "settings", environ={}), home.engine)
    platform.settings.home.mkdir(exist_ok=True)
    for root in platform.roots.values():
        root.mkdir(exist_ok=True)
    checks = {one.check_name: one for one in checks_of("archive/verified_media", platform, ALWAYS)}
    return checks["every_delivery_is_proven"]
