"""What is sent, once; and a tree to browse that overwrites nobody's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import bundles, deliveries, renditions, tables
from catalog.findings import MadeRendition, StoredOriginal
from pipeline.deliver import StagedStage, UploadedStage
from pipeline.failures import RunStopped
from pipeline.library import LibraryStage
from pipeline.soundness import unsound_originals, unsound_renditions
from pipeline.stage import StageReport, work_off
from resources.archive import ArchiveFolder
from tests.the_catalog import DAY, a_root, a_run, add_stored, lease, sha


def add_member(engine: Engine, name: str = "IMG_1.JPG", **given: Any) -> tuple[int, int]:
    with engine.begin() as connection:
        content = add_stored(connection, name, **given)
        bundle = bundles.add_bundle(connection, content, "single", "", DAY)
        member = bundles.add_member(connection, bundle, content, "lead", name)
        deliveries.enqueue_members(connection, ["pixel"], content)
    assert member is not None
    return content, member


def rendition_values(content: int, number: int) -> dict[str, Any]:
    return {
        "media_file_id": content, "plan_fingerprint": sha(number)[-12:], "tier": "t", "run_id": "run",
        "outcome": "made", "path": f"{number}.jpg", "sha256": sha(number), "size": 1, "width": 1, "height": 1,
        "format": "jpeg", "detail": "", "seconds": 0.0,
    }  # fmt: skip


def add_rendition(engine: Engine, content: int, number: int) -> None:
    with engine.begin() as connection:
        renditions.record_decision(connection, rendition_values(content, number))
        deliveries.enqueue_members(connection, ["pixel"], content)


def stage(engine: Engine, what: Any) -> StageReport:
    destination = ArchiveFolder("pixel", Path("/nowhere"), what)
    with lease(engine) as lease_id:
        return work_off(StagedStage(destination, compressing=False), a_run(engine, lease_id))


def sent(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT role, remote_path FROM deliveries ORDER BY id"))
        return [(row.role, row.remote_path) for row in rows]


ORIGINAL = ("original", "originals/2024/05/17/IMG_1.JPG")
RENDITION = ("rendition", "renditions/2024/05/17/IMG_1.JPG")


@pytest.mark.parametrize(
    ("what", "roles"), [("original", [ORIGINAL]), ("rendition", [RENDITION]), ("both", [ORIGINAL, RENDITION])]
)
def test_a_destination_gets_what_it_takes_and_nothing_twice(engine: Engine, what: str, roles: list[Any]) -> None:
    content, _ = add_member(engine)
    add_rendition(engine, content, 1)
    stage(engine, what)
    assert sent(engine) == roles
    add_rendition(engine, content, 2)  # the photo reached its next tier
    stage(engine, what)
    assert sent(engine) == roles


def test_a_photo_that_went_as_its_original_is_not_sent_again_when_it_ages(engine: Engine) -> None:
    content, _ = add_member(engine)
    stage(engine, "rendition")
    assert sent(engine) == [ORIGINAL]  # nothing was worth making of it
    add_rendition(engine, content, 1)
    stage(engine, "rendition")
    assert sent(engine) == [ORIGINAL]


def test_a_rendition_that_comes_late_completes_a_destination_that_takes_both(engine: Engine) -> None:
    content, _ = add_member(engine)
    stage(engine, "both")
    add_rendition(engine, content, 1)
    stage(engine, "both")
    assert sent(engine) == [ORIGINAL, RENDITION]


def test_a_destination_whose_disk_is_away_stops_the_run_before_a_file_is_tried(engine: Engine, tmp_path: Path) -> None:
    archive = ArchiveFolder("pixel", tmp_path / "mount", "original")
    archive.path.mkdir()  # an empty mount point
    add_member(engine)
    stage(engine, "original")
    roots = {name: tmp_path / name for name in ("renditions", "trash")}
    with lease(engine) as lease_id, pytest.raises(RunStopped, match=r"disk seems to be away\. Mount it, then run"):
        work_off(UploadedStage(archive, {"originals": tmp_path}, roots), a_run(engine, lease_id))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM work")).scalar_one() == 0
    assert list(archive.path.iterdir()) == []


# ------------------------------------------------------------------ the library


class Shelf:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self.engine = engine
        self.original = folder / "originals" / "a.jpg"
        self.library = a_root(folder / "library")
        self.original.parent.mkdir()
        self.original.write_bytes(b"the photo")
        _, self.member = add_member(engine, stored_path="a.jpg")
        with engine.begin() as connection:
            values = {
                "destination": "pixel", "bundle_member_id": self.member, "role": "original", "sha256": sha(1),
                "batch_id": deliveries.ensure_batch(connection, "pixel", "run"), "size": 1, "remote_path": "a",
                "state": "verified", "evidence": {}, "evidence_at": "2024-05-17", "partition_date": DAY,
            }  # fmt: skip
            connection.execute(tables.deliveries.insert().values(values))

    def sort(self) -> StageReport:
        originals = {"originals": self.original.parent}
        stage = LibraryStage(self.library, originals, "{year}/{name}", "auto")
        with lease(self.engine) as lease_id:
            return work_off(stage, a_run(self.engine, lease_id))


def test_what_is_verified_is_shown(tmp_path: Path, engine: Engine) -> None:
    shelf = Shelf(tmp_path, engine)
    assert shelf.sort().counts == {"sorted": 1}
    assert (shelf.library / "2024" / "IMG_1.JPG").read_bytes() == b"the photo"
    assert shelf.sort().done == 0


def test_a_file_that_somebody_put_into_the_library_is_not_overwritten(tmp_path: Path, engine: Engine) -> None:
    shelf = Shelf(tmp_path, engine)
    own = shelf.library / "2024" / "IMG_1.JPG"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"somebody's own picture")
    assert shelf.sort().counts == {"sorted": 1}
    assert own.read_bytes() == b"somebody's own picture"
    assert len(list(own.parent.iterdir())) == 2


def test_a_link_that_a_killed_run_made_is_taken_over(tmp_path: Path, engine: Engine) -> None:
    shelf = Shelf(tmp_path, engine)
    shelf.sort()
    with engine.begin() as connection:
        connection.execute(text("UPDATE bundle_members SET library_path = NULL"))
    assert shelf.sort().counts == {"sorted": 1}
    assert [path.name for path in (shelf.library / "2024").iterdir()] == ["IMG_1.JPG"]


# ------------------------------------------------------------------ soundness


def test_originals_that_are_gone_short_writable_or_shared_are_named(tmp_path: Path) -> None:
    for name, mode in (("sound", 0o444), ("writable", 0o644), ("short", 0o444), ("shared", 0o444)):
        (tmp_path / name).write_bytes(b"1234")
        (tmp_path / name).chmod(mode)
    (tmp_path / "other").hardlink_to(tmp_path / "shared")
    stored = [
        StoredOriginal(1, DAY, "originals", name, 5 if name == "short" else 4)
        for name in ("sound", "writable", "short", "shared", "missing")
    ]
    found = unsound_originals(stored, {"originals": tmp_path})
    assert {one.path for one, _ in found} == {"writable", "short", "shared", "missing"}


def test_an_original_whose_source_left_the_settings_is_named_and_breaks_no_check(tmp_path: Path) -> None:
    gone = StoredOriginal(1, DAY, "source:old", "a.jpg", 1)
    ((one, reason),) = unsound_originals([gone], {"originals": tmp_path})
    assert (one.path, reason) == ("a.jpg", "its source old is no longer in the settings")
    (tmp_path / "r.jpg").write_bytes(b"1")
    (tmp_path / "r.jpg").chmod(0o444)
    made = MadeRendition(1, DAY, "r.jpg", 1, "jpeg", "source:old", "a.jpg")
    assert unsound_renditions([made], {"originals": tmp_path}, tmp_path) == []
