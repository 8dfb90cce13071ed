"""A check fails while anything is unresolved at any date: a good run never hides an old failure."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from catalog import bundles, renditions, tables, unsound
from catalog.bundles import LIBRARY
from catalog.deliveries import ensure_batch
from catalog.renditions import COMPRESSED
from catalog.sources import ORIGINALS
from catalog.work import Scope
from mediapipe_assets.checks import checks_of
from mediapipe_assets.stages import _forget
from pipeline.assembly import Platform
from pipeline.stage import work_off
from resources.settings import load_settings
from tests.the_catalog import a_run, add_stored, engine, lease, migrated, server, sha

__all__ = ["engine", "migrated", "server"]
THEN, NOW = date(2019, 7, 14), date(2026, 11, 20)
OLD, NEW = Scope(THEN, THEN), Scope(NOW, NOW)


class Library:
    """A home with photos of two days, each an original, a rendition, a verified copy and a place in the tree."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.engine = engine
        self.platform = Platform(load_settings(folder / "home", environ={}), engine)
        self.platform.prepare()
        self.roots = self.platform.roots
        self.contents = {name: self._add(name, day) for name, day in (("a", THEN), ("b", THEN), ("new", NOW))}
        self.sort(OLD)
        self.sort(NEW)

    def _add(self, name: str, day: date) -> int:
        original, rendition = self.original(name), self.rendition(name)
        for path, quality in ((original, 90), (rendition, 50)):
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (40, 30), "red").save(path, "JPEG", quality=quality)
            path.chmod(0o444)
        with self.engine.begin() as connection:
            given = {"stored_path": original.name, "size": original.stat().st_size, "partition_date": day}
            content = add_stored(connection, f"{name}.jpg", **given)
            renditions.record_decision(connection, self._decision(content, rendition))
            bundle = bundles.add_bundle(connection, content, "single", "", day)
            member = bundles.add_member(connection, bundle, content, "lead", f"{name}.jpg")
            values = {
                "destination": "archive", "bundle_member_id": member, "role": "original", "sha256": sha(content),
                "batch_id": ensure_batch(connection, "archive", "run"), "size": 1, "remote_path": name,
                "state": "verified", "evidence": {"sha256": sha(content)}, "evidence_at": day, "partition_date": day,
            }  # fmt: skip
            connection.execute(tables.deliveries.insert().values(values))
        return content

    @staticmethod
    def _decision(content: int, rendition: Path) -> dict[str, Any]:
        return {
            "media_file_id": content, "plan_fingerprint": "0" * 12, "tier": "t", "run_id": "run", "outcome": "made",
            "path": rendition.name, "sha256": sha(900 + content), "size": rendition.stat().st_size, "width": 40,
            "height": 30, "format": "jpeg", "detail": "", "seconds": 0.0,
        }  # fmt: skip

    def original(self, name: str) -> Path:
        return self.roots["originals"] / f"{name}.jpg"

    def rendition(self, name: str) -> Path:
        return self.roots["renditions"] / f"{name}-smaller.jpg"

    def sort(self, scope: Scope) -> dict[str, int]:
        with lease(self.engine) as lease_id:
            return dict(work_off(self.platform.stage(LIBRARY), a_run(self.engine, lease_id, scope=scope)).counts)

    def check(self, stage: str, name: str, scope: Scope) -> tuple[bool, int]:
        """Whether a check passes after a run over some days, and how much it says is unresolved."""
        (found,) = [one for one in checks_of(stage, self.platform, scope) if one.check_name == name]
        return bool(found.passed), int(str(found.metadata["unresolved"].value))


@pytest.fixture
def library(tmp_path: Path, engine: Engine) -> Library:
    return Library(tmp_path, engine)


def aside(path: Path) -> Path:
    return path.rename(path.with_suffix(".aside"))


def test_missing_originals_stay_unresolved_until_they_are_back(library: Library) -> None:
    def stand_whole(scope: Scope) -> tuple[bool, int]:
        return library.check(ORIGINALS, "originals_stand_whole", scope)

    assert stand_whole(OLD) == stand_whole(NEW) == (True, 0)
    gone = [aside(library.original(name)) for name in ("a", "b")]
    assert stand_whole(NEW) == (True, 0)  # what nobody has looked at is not known
    assert stand_whole(OLD) == (False, 2)
    assert stand_whole(NEW) == (False, 2)
    gone[0].rename(library.original("a"))
    assert stand_whole(NEW) == (False, 1), "it is looked at again without a run over its day"
    gone[1].rename(library.original("b"))
    assert stand_whole(OLD) == stand_whole(NEW) == (True, 0)


def test_what_a_person_has_seen_is_not_named_again_until_it_changes(library: Library) -> None:
    gone = aside(library.original("a"))
    assert library.check(ORIGINALS, "originals_stand_whole", OLD) == (False, 1)
    with library.engine.begin() as connection:
        assert unsound.acknowledge(connection, library.contents["a"])
        assert not unsound.acknowledge(connection, library.contents["a"])
    assert library.check(ORIGINALS, "originals_stand_whole", OLD) == (True, 0)
    gone.chmod(0o644)
    gone.rename(library.original("a"))
    assert library.check(ORIGINALS, "originals_stand_whole", NEW) == (False, 1)


def test_a_rendition_that_does_not_open_stays_unresolved_until_it_is_made_anew(library: Library) -> None:
    good = library.rendition("a").read_bytes()
    library.rendition("a").unlink()
    library.rendition("a").write_bytes(bytes(len(good)))
    library.rendition("a").chmod(0o444)
    assert library.check(COMPRESSED, "renditions_are_sound", OLD) == (False, 1)
    assert library.check(COMPRESSED, "renditions_are_sound", NEW) == (False, 1)
    with library.engine.begin() as connection:  # the engine decided to keep the original
        connection.execute(text("UPDATE media_files SET rendition_id = NULL WHERE id = :id"), {"id": 1})
    assert library.check(COMPRESSED, "renditions_are_sound", NEW) == (True, 0)


def test_evidence_of_other_bytes_is_found_at_any_date_by_an_index(library: Library) -> None:
    def evidence(scope: Scope) -> tuple[bool, int]:
        return library.check("archive/verified_media", "verified_means_evidence", scope)

    assert evidence(NEW) == (True, 0)
    with library.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET sha256 = repeat('0', 64) WHERE partition_date = '2019-07-14'"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            text(
                "EXPLAIN SELECT count(*) FROM deliveries WHERE destination = 'archive' AND state = 'verified' "
                "AND (evidence ->> 'sha256') IS DISTINCT FROM sha256"
            )
        )
        assert "ix_deliveries_other_evidence" in "\n".join(plan.scalars())
    assert evidence(NEW) == (False, 2)


def test_broken_entries_of_the_library_are_repaired_by_the_next_run_over_their_day(library: Library) -> None:
    tree = library.roots["library"] / "2019" / "07" / "14"
    library.sort(OLD)
    (tree / "a.jpg").unlink()
    (tree / "b.jpg").unlink()
    (tree / "b.jpg").symlink_to("nowhere.jpg")
    assert library.check(LIBRARY, "library_shows_every_verified_file", OLD) == (False, 2)
    assert library.sort(NEW) == {}
    assert library.sort(OLD) == {"sorted": 2}
    assert sorted(path.read_bytes() == library.original("a").read_bytes() for path in tree.iterdir()) == [True, True]
    assert library.check(LIBRARY, "library_shows_every_verified_file", OLD) == (True, 0)
    assert library.sort(OLD) == {}


def test_entries_follow_originals_that_were_moved(library: Library, tmp_path: Path) -> None:
    moved = tmp_path / "another disk"
    library.roots["originals"].rename(moved)
    settings = load_settings(
        tmp_path / "home",
        overrides={"roots": {"originals": str(moved)}, "library": {"link": "symlink"}},
        environ={},
    )
    library.platform = Platform(settings, library.engine)
    tree = library.roots["library"] / "2019" / "07" / "14"
    for name in ("a", "b"):
        (tree / f"{name}.jpg").unlink()
        (tree / f"{name}.jpg").symlink_to(library.original(name))  # as a file system without reflinks has it
    assert library.sort(OLD) == {"sorted": 2}
    assert (tree / "a.jpg").resolve() == moved / "a.jpg"


def test_an_entry_is_not_made_to_lead_nowhere_and_its_day_stays_unresolved(library: Library) -> None:
    entry = library.roots["library"] / "2019" / "07" / "14" / "a.jpg"
    entry.unlink()
    aside(library.original("a"))
    assert library.sort(OLD) == {"failed": 1}
    assert not entry.is_symlink()
    assert library.check(LIBRARY, "library_shows_every_verified_file", NEW) == (False, 1)


def test_a_release_that_failed_is_unresolved_as_long_as_releases_are_made(library: Library, tmp_path: Path) -> None:
    name = "nothing_failed_to_be_released"
    with library.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO work (stage, row_id, partition_date, attempts, error) "
                "VALUES ('released_media', 1, '2019-07-14', 1, 'it is odd')"
            )
        )
    assert library.check("released_media", name, NEW) == (True, 0)
    settings = load_settings(tmp_path / "home", overrides={"release": {"enabled": True}}, environ={})
    library.platform = Platform(settings, library.engine)
    assert library.check("released_media", name, NEW) == (False, 1)


def test_doing_everything_again_shows_everything_again_under_its_name(library: Library) -> None:
    tree = library.roots["library"] / "2019" / "07" / "14"
    before = sorted(path.name for path in tree.iterdir())
    _forget(SimpleNamespace(platform=library.platform), LIBRARY, OLD)  # type: ignore[arg-type]
    assert library.sort(OLD) == {"sorted": 2}
    assert sorted(path.name for path in tree.iterdir()) == before
    assert library.sort(NEW) == {}
