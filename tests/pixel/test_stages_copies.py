"""A phone is no copy: no original, no rendition and no count ever relies on it, unless its owner says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog import bundles, findings, history
from catalog.counts import destination_counts
from catalog.day import day_counts
from catalog.emptied import still_wanted
from catalog.findings import MadeRendition
from catalog.work import count_due
from mediapipe_assets.checks import checks_of
from mediapipe_assets.definitions import build_defs
from mediapipe_assets.stages import _forget
from pipeline import layout
from pipeline.assembly import Platform
from pipeline.proofs import Candidate, Doomed, NotProven, prove
from pipeline.reached import in_figures, in_words
from pipeline.release import ReleaseStage
from pipeline.soundness import unsound_renditions
from resources.delivery import Evidence, Intent
from resources.pixel import PixelFolder
from resources.settings import load_settings
from tests.pixel_world import DEVICE, World
from tests.proof_files import Elsewhere, marked, put, sha256
from tests.the_catalog import ALWAYS, DAY, engine, migrated, server

__all__ = ["engine", "migrated", "server"]
NAME = "20240517_IMG_1.JPG"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


def platform_of(world: World, home: Path, **given: Any) -> Platform:
    entry = {"folder_id": "camera", "device_id": DEVICE, "folder_path": str(world.folder), **given}
    settings = load_settings(home, overrides={"destinations": {"pixel": {**entry, "enabled": True}}}, environ={})
    return Platform(settings, world.engine)


def lose_the_original(world: World) -> None:
    world.change("UPDATE media_files SET missing_since = now()")


@pytest.mark.parametrize(("phones", "unproven"), [([], 1), (["another"], 1), (["pixel"], 0)])
def test_a_missing_original_is_not_covered_by_a_phone(world: World, phones: list[str], unproven: int) -> None:
    world.photo(b"a photo")
    world.deliver()
    assert world.states == ["verified"]
    lose_the_original(world)
    with world.engine.connect() as connection:
        assert findings.missing(connection, 20, phones).unproven == unproven


def test_what_a_phone_freed_covers_nothing_even_where_phones_count(world: World) -> None:
    world.photo(b"a photo")
    world.deliver()
    world.change("UPDATE placed_files SET freed_at = now()")
    lose_the_original(world)
    with world.engine.connect() as connection:
        assert findings.missing(connection, 20, ["pixel"]).unproven == 1


def test_the_check_of_missing_originals_asks_the_settings_whether_a_phone_counts(world: World, tmp_path: Path) -> None:
    world.photo(b"a photo")
    world.deliver()
    lose_the_original(world)
    for counts in (False, True):
        platform = platform_of(world, tmp_path / "home", counts_as_copy=counts)
        platform.prepare()
        found = {one.check_name: one for one in checks_of("folder_originals", platform, ALWAYS)}
        assert found["what_left_its_source_has_a_copy"].passed is counts


@pytest.mark.parametrize(("phones", "shown"), [([], 0), (["pixel"], 1)])
def test_the_library_shows_what_has_a_copy_and_a_phone_is_none(world: World, phones: list[str], shown: int) -> None:
    world.photo(b"a photo")
    world.deliver()
    with world.engine.connect() as connection:
        assert count_due(connection, bundles.to_sort(phones)) == shown


class Eager(PixelFolder):
    """A phone that would swear to anything."""

    __slots__ = ()

    def evidence(self, intent: Intent) -> Evidence:
        return Evidence("verified", {"sha256": intent.sha256, "size": intent.size, "read_back": True})


def test_no_proof_is_made_of_what_a_phone_says(world: World, tmp_path: Path) -> None:
    data = b"a rendition"
    path = put(tmp_path / "renditions" / "a.jpg", data)
    doomed = Doomed(path, str(path), sha256(data), len(data), "rendition")
    intent = Intent("/nowhere", "a.jpg", sha256(data), len(data), "L1")
    phone = Eager("pixel", world.settings, world.pixel.syncthing)
    with pytest.raises(NotProven, match="counts_as_copy is false"):
        prove(doomed, [Candidate(phone, intent, "rendition")], 1)
    counting = Eager("pixel", world.settings.model_copy(update={"counts_as_copy": True}), world.pixel.syncthing)
    prove(doomed, [Candidate(counting, intent, "rendition")], 1)


def test_a_superseded_rendition_is_not_released_because_a_phone_got_it(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, deliver="rendition")
    member = world.photo(b"the original")
    world.rendition(member, b"small")
    world.deliver()
    old = world.roots[layout.RENDITIONS] / f"{member}-{sha256(b'small')[:8]}.jpg"
    world.rendition(member, b"less")
    world.change("UPDATE renditions SET superseded_at = now() WHERE size = 5")
    report = world.work(ReleaseStage(world.roots, {"pixel": world.pixel}, 1))
    assert report.counts == {"waiting": 1} and "0 of 1 copies proven" in report.notes[0][1]
    archive = Elsewhere("archive", marked(tmp_path / "archive"))
    assert old.read_bytes() == b"small" and archive.counts_as_copy


def test_a_trash_keeps_what_lies_in_a_phones_folder(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, deliver="rendition")
    world.rendition(world.photo(b"the original"), b"small")
    world.deliver()
    with engine.connect() as connection:
        assert still_wanted(connection, sha256(b"small")) == "it lies in the folder of “pixel” still"
    world.change("UPDATE placed_files SET emptied_at = now()")
    with engine.connect() as connection:
        assert still_wanted(connection, sha256(b"small")) is None


def test_the_figures_call_nothing_on_a_phone_verified(world: World) -> None:
    for number in range(3):
        world.photo(b"photo %d" % number, f"IMG_{number}.JPG")
    world.deliver()
    world.change("UPDATE placed_files SET freed_at = now() WHERE delivery_id = 1")
    world.change("UPDATE placed_files SET confirmed_at = now(), confirmed_by = 'hash' WHERE delivery_id = 2")
    with world.engine.connect() as connection:
        counts = destination_counts(connection)["pixel"]
    assert (counts.verified, counts.delivered, counts.freed_on_phone, counts.confirmed) == (0, 3, 1, 1)
    assert "verified" not in in_figures(counts, phone=True)
    assert in_figures(counts, phone=True)["delivered"] == 3
    words = in_words(counts, phone=True)
    assert words == ("3 of 3 delivered to the phone (1 freed there since, 1 confirmed in a sample of Google Photos)")
    assert not {"delivered", "freed_on_phone", "confirmed"} & set(in_figures(counts, phone=False))


def test_a_files_story_says_how_far_it_came_on_the_phone(world: World) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()

    def state() -> str:
        with world.engine.connect() as connection:
            return str(history.describe_content(connection, 1)["deliveries"][0]["state"])

    assert state() == "uploaded"
    world.phone.sync()
    world.verify()
    assert state() == "delivered"
    world.change("UPDATE placed_files SET freed_at = now()")
    assert state() == "freed_on_phone"
    world.change("UPDATE placed_files SET confirmed_at = now(), confirmed_by = 'metadata'")
    assert state() == "sample_confirmed"
    events = [row.event for row in world.rows("SELECT event FROM pipeline_logs ORDER BY id")]
    assert events == ["staged original", "placed original", "delivered original"]


def test_the_days_summary_counts_a_phone_as_delivered_and_never_as_verified(world: World) -> None:
    from datetime import UTC, datetime, timedelta

    world.photo(b"a photo")
    world.deliver()
    now = datetime.now(UTC)
    with world.engine.connect() as connection:
        done = day_counts(connection, now - timedelta(hours=1), now + timedelta(hours=1))
    assert (done.delivered, done.verified) == (1, 0)


def test_a_run_that_redoes_everything_takes_no_delivery_back(world: World, tmp_path: Path) -> None:
    from types import SimpleNamespace

    world.photo(b"a photo")
    world.deliver()
    platform = platform_of(world, tmp_path / "home")
    _forget(SimpleNamespace(platform=platform), "pixel/verified_media", ALWAYS)  # type: ignore[arg-type]
    assert world.states == ["verified"]


def test_a_phone_is_not_told_to_stand_on_the_originals_disk(world: World, tmp_path: Path) -> None:
    platform = platform_of(world, tmp_path / "home")
    assert platform.destinations["pixel"].path is None
    assert not platform.destinations["pixel"].shares_disk_with(world.roots[layout.ORIGINALS])


# ------------------------------------------------------------------ checks


class Checked:
    def __init__(self, world: World, home: Path, **given: Any) -> None:
        self.platform = platform_of(world, home, quota_gb=(world.settings.quota + 0.5) / 1e9, **given)

    def __call__(self, stage: str, name: str) -> tuple[bool, int, int]:
        """Whether a check passes, how much is unresolved, and of how much a person is told."""
        found = {one.check_name: one for one in checks_of(f"pixel/{stage}_media", self.platform, ALWAYS)}
        figures = found[name].metadata
        unresolved, failing = (int(str(figures[key].value)) for key in ("unresolved", "failing_files"))
        return bool(found[name].passed), unresolved, failing


@pytest.fixture
def check(world: World, tmp_path: Path) -> Checked:
    return Checked(world, tmp_path / "home")


def test_after_a_whole_run_every_check_of_a_phone_passes(world: World, check: Checked) -> None:
    world.photo(b"a photo")
    world.deliver()
    for stage in ("staged", "uploaded", "verified"):
        for found in checks_of(f"pixel/{stage}_media", check.platform, ALWAYS):
            assert found.passed, (found.check_name, found.metadata)


def test_what_waits_for_room_is_nothing_left_behind(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path, quota=10)
    check = Checked(world, tmp_path / "home")
    for number in range(3):
        world.photo(b"photo 12%d" % number, f"IMG_{number}.JPG")
    assert check("staged", "nothing_is_left_behind") == (False, 1, 0)
    world.stage()
    assert check("staged", "nothing_is_left_behind") == (True, 0, 0)
    assert check("uploaded", "everything_staged_was_placed") == (False, 1, 0)
    world.place()
    assert check("uploaded", "everything_staged_was_placed") == (True, 0, 0)


def test_a_staged_file_that_is_gone_or_touched_is_named_until_it_stands_again(world: World, check: Checked) -> None:
    world.photo(b"one", "IMG_1.JPG")
    world.photo(b"two", "IMG_2.JPG")
    world.stage()
    world.place()
    assert check("uploaded", "staged_files_stand") == (True, 0, 0)
    (world.folder / NAME).unlink()
    assert check("uploaded", "staged_files_stand") == (False, 1, 1)
    (world.folder / "20240517_IMG_2.JPG").chmod(0o644)
    (world.folder / "20240517_IMG_2.JPG").write_bytes(b"TWO")
    assert check("uploaded", "staged_files_stand") == (False, 2, 2)
    marker = world.folder / ".mediapipe-root"
    marker.rename(world.folder.parent / "aside")
    assert check("uploaded", "staged_files_stand") == (False, 1, 1)


def test_a_problem_fails_its_check_which_tells_nobody_as_the_watch_does(world: World, check: Checked) -> None:
    world.photo(b"a photo")
    world.stage()
    world.place()
    world.phone.problems[NAME] = "it was changed on the phone"
    world.verify()
    assert check("verified", "nothing_was_changed_or_deleted") == (False, 1, 0)
    assert check("verified", "every_file_reached_the_phone") == (False, 1, 0)


def test_a_folder_that_nothing_leaves_is_stuck_but_not_while_the_phone_takes_files(
    world: World, check: Checked
) -> None:
    world.photo(b"old", "IMG_1.JPG")
    world.photo(b"new", "IMG_2.JPG")
    world.stage()
    world.place()
    assert check("verified", "nothing_is_stuck") == (True, 0, 0)
    world.change("UPDATE placed_files SET placed_at = now() - interval '2 days' WHERE delivery_id = 1")
    assert check("verified", "nothing_is_stuck") == (False, 1, 0)
    world.change("UPDATE placed_files SET delivered_at = now(), facts = '{}' WHERE delivery_id = 2")
    assert check("verified", "nothing_is_stuck") == (True, 0, 0)


def test_a_lowered_quota_is_named(world: World, tmp_path: Path) -> None:
    world.photo(b"a photo")
    world.stage()
    low = Checked(world, tmp_path / "home")
    object.__setattr__(low.platform.settings.pixels["pixel"], "quota_gb", 5.5e-9)
    assert low("staged", "quota_is_kept") == (False, 1, 1)


def test_a_new_quota_has_what_was_left_out_decided_anew(world: World, tmp_path: Path) -> None:
    world.photo(b"x" * 2_000)
    for quota, left in ((1e-6, 1), (1e-6, 1), (1e-5, 0)):
        platform = platform_of(world, tmp_path / "home", quota_gb=quota)
        platform.prepare()
        world.work(platform.stage("pixel/staged_media"))
        assert len(world.left_out) == left
    assert world.states == ["staged"]


def test_a_phone_has_its_own_checks_and_none_of_a_copy(tmp_path: Path) -> None:
    entry = {"folder_id": "camera", "device_id": DEVICE, "enabled": True}
    there = {"destinations": {"pixel": entry}}
    defs = build_defs(load_settings(tmp_path / "home", overrides=there, environ={}))
    graph = defs.resolve_asset_graph()
    names = {key.name for key in graph.asset_check_keys if key.asset_key.path[0] == "pixel"}
    assert {"quota_is_kept", "staged_files_stand", "nothing_was_changed_or_deleted", "nothing_is_stuck"} <= names
    assert not {"every_delivery_is_proven", "verified_means_evidence", "stands_on_another_disk"} & names


def test_a_rendition_that_has_a_second_name_in_the_folder_is_sound(tmp_path: Path) -> None:
    made = put(tmp_path / "r.jpg", b"1")
    made.chmod(0o444)
    (tmp_path / "camera.jpg").hardlink_to(made)
    one = MadeRendition(1, DAY, "r.jpg", 1, "jpeg", "", "")
    assert unsound_renditions([one], {}, tmp_path) == []
