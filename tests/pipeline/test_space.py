"""The room that a run needs: everything that it would write, and nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from catalog import bundles, deliveries, tables
from catalog.work import Scope
from pipeline import space
from pipeline.assembly import Platform
from resources.settings import load_settings
from tests.the_catalog import DAY, add_observation, add_stored, sha

GB = 1_000_000_000
THAT_DAY = Scope(DAY, DAY)
ANOTHER_DAY = Scope(date(2020, 1, 1), date(2020, 1, 1))


class Home:
    def __init__(self, folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "photos").mkdir()
        (folder / "photos" / "a.jpg").touch()  # an empty source is taken for away
        self.folder, self.engine = folder, engine
        self.needed: dict[str, int] = {}
        self.deliver = {"archive": "both", "nas": "original"}
        monkeypatch.setattr(space, "shortages", self._remember)

    def _remember(self, writes: Any) -> list[Any]:
        self.needed = {path.name: size for path, size in writes}
        return []

    def needs(self, **given: Any) -> dict[str, float]:
        """What a run would write, in GB, by the folder's name; without the little for thumbnails and the catalog."""
        destinations = {
            name: {"kind": "archive", "path": str(self.folder / name), "deliver": what}
            for name, what in self.deliver.items()
        }
        sources = {"photos": {"kind": "folder", "path": str(self.folder / "photos")}}
        settings = load_settings(
            self.folder / "home", overrides={"sources": sources, "destinations": destinations}, environ={}
        )
        platform = Platform(settings, self.engine)
        platform.prepare()
        space.estimate(platform, **given)
        return {name: round(size / GB, 2) for name, size in self.needed.items() if name not in ("thumbnails", "home")}


@pytest.fixture
def home(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(tmp_path, engine, monkeypatch)


NOTHING = {"originals": 0, "renditions": 0, "archive": 0, "nas": 0}


def decide(connection: Connection, content: int, **given: Any) -> None:
    values = {
        "media_file_id": content, "plan_fingerprint": sha(len(given))[-12:], "tier": "t", "generation": 1, "detail": "",
        "run_id": "run", **given,
    }  # fmt: skip
    connection.execute(tables.renditions.insert().values(values))


def add_member(engine: Engine, size: int, **given: Any) -> int:
    with engine.begin() as connection:
        content = add_stored(connection, f"{size}.jpg", size=size, **given)
        if "plan_fingerprint" in given:
            decide(connection, content, outcome="kept_original")
        bundle = bundles.add_bundle(connection, content, "single", "", DAY)
        member = bundles.add_member(connection, bundle, content, "lead", f"{size}.jpg")
        assert member is not None
        return member


def test_nothing_due_needs_no_room(home: Home) -> None:
    assert home.needs() == NOTHING


def test_what_was_observed_is_counted_wherever_it_will_be_written(home: Home) -> None:
    with home.engine.begin() as connection:
        add_observation(connection, size=10 * GB)
        add_observation(connection, size=2 * GB, kind="raw")
    assert home.needs() == {"originals": 12, "renditions": 9, "archive": 21, "nas": 12}


def test_only_the_runs_days_stages_and_limit_count(home: Home) -> None:
    with home.engine.begin() as connection:
        add_observation(connection, size=10 * GB)
        add_observation(connection, size=10 * GB)
    assert home.needs(scope=ANOTHER_DAY) == NOTHING
    assert home.needs(scope=THAT_DAY, limit=1) == {"originals": 10, "renditions": 9, "archive": 19, "nas": 10}
    assert home.needs(stages=["folder_originals"]) == NOTHING | {"originals": 20}
    assert home.needs(stages=["archive/verified_media", "released_media"]) == NOTHING
    assert home.needs(unrecorded=(1, 5 * GB))["nas"] == 25


def test_a_file_that_is_in_its_pause_is_not_counted(home: Home) -> None:
    with home.engine.begin() as connection:
        row = add_observation(connection, size=10 * GB, state="failed", reason="it is odd")
        connection.execute(
            tables.work.insert().values(
                stage="folder_originals", row_id=row, partition_date=DAY, attempts=1, error="it is odd",
                not_before=text("now() + interval '1 hour'"),
            )
        )  # fmt: skip
    assert home.needs() == NOTHING
    assert home.needs(redo="all")["originals"] == 10


def test_a_destination_that_is_added_to_a_large_library_needs_room_for_all_of_it(home: Home) -> None:
    home.deliver = {"archive": "both"}
    member = add_member(home.engine, 10 * GB, plan_fingerprint="0" * 12)
    assert home.needs()["archive"] == 10
    with home.engine.begin() as connection:  # it was delivered there
        connection.execute(text("DELETE FROM staging_queue"))
        values = {
            "destination": "archive", "bundle_member_id": member, "role": "original", "sha256": sha(1),
            "batch_id": deliveries.ensure_batch(connection, "archive", "run"), "size": 10 * GB, "remote_path": "a",
            "state": "verified", "evidence": {"sha256": sha(1)}, "evidence_at": DAY, "partition_date": DAY,
        }  # fmt: skip
        connection.execute(tables.deliveries.insert().values(values))
    home.deliver["nas"] = "original"
    assert (home.needs()["archive"], home.needs()["nas"]) == (0, 10)
    assert home.needs(scope=ANOTHER_DAY) == NOTHING
    with home.engine.begin() as connection:  # told again, as after it was switched off
        deliveries.enqueue_everything(connection, "archive")
    assert home.needs()["archive"] == 0


def test_what_is_staged_and_not_sent_yet_is_counted_once(home: Home) -> None:
    home.deliver = {"archive": "original"}
    member = add_member(home.engine, 10 * GB, plan_fingerprint="0" * 12)
    home.needs()
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM staging_queue"))
        values = {
            "destination": "archive", "bundle_member_id": member, "role": "original", "sha256": sha(1),
            "batch_id": deliveries.ensure_batch(connection, "archive", "run"), "size": 10 * GB, "remote_path": "a",
            "partition_date": DAY,
        }  # fmt: skip
        deliveries.add_intent(connection, values)
    assert home.needs()["archive"] == 10
    assert home.needs(scope=ANOTHER_DAY)["archive"] == 0


def test_what_is_not_compressed_yet_is_counted_after_a_kill_too(home: Home) -> None:
    home.deliver = {"archive": "both"}
    add_member(home.engine, 10 * GB, deduplicated_at=DAY)
    assert home.needs() == {"originals": 0, "renditions": 9, "archive": 19}


def test_photos_that_age_need_no_more_room_than_their_present_renditions(home: Home) -> None:
    home.deliver = {"archive": "both"}
    add_member(home.engine, 10 * GB, deduplicated_at=DAY, plan_fingerprint="0" * 12)
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM staging_queue"))
        decide(connection, 1, outcome="made", path="a", sha256=sha(2), size=4 * GB)
        connection.execute(text("UPDATE media_files SET rendition_id = 2"))
    home.deliver = {}
    assert home.needs()["renditions"] == 4
