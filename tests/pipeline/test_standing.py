"""A photo is held only where it stands: what is missing is said, and taken again from wherever it comes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from catalog import bundles, deliveries, findings, media, renditions, sources, work
from catalog.counts import library_counts
from media.files import RootAway
from pipeline.deduplicate import DeduplicationStage
from pipeline.deliver import StagedStage, UploadedStage, VerifiedStage
from pipeline.discovery import FolderSpec, look
from pipeline.failures import RunStopped
from pipeline.library import LibraryStage
from pipeline.originals import OriginalsStage
from pipeline.stage import Stage, StageReport, work_off
from pipeline.storing import SourceRoot
from resources.archive import ArchiveFolder
from tests.conftest import sha256
from tests.pipeline.test_discovery import later, photo
from tests.the_catalog import a_root, a_run, lease


class Library:
    """A home with sources that are copied or left where they are, an archive, and a tree to browse."""

    def __init__(self, folder: Path, engine: Engine, **copied: bool) -> None:
        self.engine, self.copied = engine, copied
        names = ("originals", "renditions", "library", "archive", "trash")
        self.roots = {name: a_root(folder / name) for name in names} | {"thumbnails": folder / "thumbnails"}
        self.sources = {name: folder / "sources" / name for name in copied}
        for path in self.sources.values():
            path.mkdir(parents=True)
            photo(path / "always there.jpg", shade=250 - len(path.name))

    def look(self) -> None:
        for name, path in self.sources.items():
            look(self.engine, FolderSpec(name, path, self.copied[name], away_share=1.0), later())

    def store(self) -> StageReport:
        self.look()
        roots = {name: SourceRoot(path, self.copied[name]) for name, path in self.sources.items()}
        return self.work(OriginalsStage(self.roots, roots, 30.0, later()))

    def work(self, *stages: Stage[Any]) -> StageReport:
        with lease(self.engine) as lease_id:
            return [work_off(stage, a_run(self.engine, lease_id)) for stage in stages][-1]

    def bundle(self) -> None:
        self.work(DeduplicationStage(self.roots, ["archive"], near=False, threshold=0, correlation=1.0))

    def archive(self) -> StageReport:
        self.bundle()
        destination = ArchiveFolder("archive", self.roots["archive"], "original")
        return self.work(
            StagedStage(destination, compressing=False),
            UploadedStage(destination, self.originals, self.roots),
            VerifiedStage(destination, self.originals, self.roots),
            LibraryStage(self.roots["library"], self.originals, "{name}", "symlink"),
        )

    @property
    def originals(self) -> dict[str, Path]:
        return {"originals": self.roots["originals"]} | {f"source:{name}": at for name, at in self.sources.items()}

    def rows(self, columns: str, table: str, where: str = "true") -> list[Any]:
        with self.engine.connect() as connection:
            query = text(f"SELECT {columns} FROM {table} WHERE {where} ORDER BY id")
            return [tuple(row) for row in connection.execute(query)]

    def stands(self, path: Path) -> tuple[str, str, bool]:
        """Where the content of a file stands, and whether it is missing."""
        wanted = f"sha256 = '{sha256(path)}'"
        (row,) = self.rows("stored_root, stored_path, missing_since IS NOT NULL", "media_files", wanted)
        return row

    def kept(self, path: Path) -> bytes:
        """The bytes at the place where the content of a file stands."""
        root, stored, missing = self.stands(path)
        assert not missing
        return (self.originals[root] / stored).read_bytes()

    def events(self) -> list[str]:
        return [event for (event,) in self.rows("event", "pipeline_logs")]

    def found_is_accounted_for(self) -> None:
        with self.engine.connect() as connection:
            counts = library_counts(connection)
        assert counts.found == counts.kept + counts.duplicates + counts.rejected + counts.failed
        assert (counts.failed, counts.pending) == (0, 0)
        assert counts.kept == len(self.rows("id", "media_files"))


Make = Callable[..., Library]


@pytest.fixture
def make(tmp_path: Path, engine: Engine) -> Make:
    return lambda **copied: Library(tmp_path, engine, **copied)


def vanish(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("harm", [vanish, shorten])
@pytest.mark.parametrize("stays", [True, False])
def test_a_photo_that_is_copied_back_takes_the_place_of_its_original_that_is_missing(
    make: Make, harm: Callable[[Path], None], stays: bool
) -> None:
    library = make(a=True)
    source = photo(library.sources["a"] / "a.jpg")
    library.store()
    root, stored, _ = library.stands(source)
    harm(library.originals[root] / stored)
    back = source.with_name("again.jpg")
    back.write_bytes(source.read_bytes())
    if not stays:
        source.unlink()
    assert library.store().counts == {"restored": 1}
    assert library.kept(back) == back.read_bytes()
    if harm is vanish:
        assert library.stands(back)[:2] == (root, stored)
    assert (library.originals[root] / library.stands(back)[1]).stat().st_mode & 0o777 == 0o444
    assert "restored" in library.events()
    library.found_is_accounted_for()
    assert library.store().done == 0
    assert list(library.roots["originals"].rglob(".mpa-*")) == []


def test_an_original_whose_whole_folder_vanished_is_restored_there(make: Make) -> None:
    library = make(a=True)
    source = photo(library.sources["a"] / "a.jpg")
    library.store()
    root, stored, _ = library.stands(source)
    folder = (library.originals[root] / stored).parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    source.rename(source.with_name("b.jpg"))
    assert library.store().counts["restored"] == 1
    assert library.kept(source.with_name("b.jpg"))


def test_a_disk_of_originals_that_is_away_makes_no_original_missing(make: Make) -> None:
    library = make(a=True)
    source = photo(library.sources["a"] / "a.jpg")
    library.store()
    before = library.stands(source)
    source.with_name("b.jpg").write_bytes(source.read_bytes())
    aside = library.roots["originals"].with_name("aside")
    library.roots["originals"].rename(aside)
    library.roots["originals"].mkdir()
    with pytest.raises((RunStopped, RootAway)):
        library.store()
    library.engine.dispose()  # its lease ends with its session
    library.roots["originals"].rmdir()
    aside.rename(library.roots["originals"])
    assert library.store().counts == {"duplicates": 1}
    assert library.stands(source) == before


def test_what_was_left_in_one_source_and_deleted_there_is_kept_when_it_comes_to_a_copied_one(make: Make) -> None:
    library = make(left=False, copied=True)
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    here = library.sources["copied"] / "trip.jpg"
    here.write_bytes(source.read_bytes())
    source.unlink()
    assert library.store().counts == {"restored": 1}
    root, stored, missing = library.stands(here)
    assert (root, missing) == ("originals", False)
    assert (library.roots["originals"] / stored).read_bytes() == here.read_bytes()
    library.found_is_accounted_for()


@pytest.mark.parametrize("other", ["copied", "also_left"])
def test_a_duplicate_in_another_source_is_taken_when_the_file_that_was_left_is_deleted(make: Make, other: str) -> None:
    library = make(left=False, **{other: other == "copied"})
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    copy = library.sources[other] / "b.jpg"
    copy.write_bytes(source.read_bytes())
    assert library.store().counts == {"duplicates": 1}
    source.unlink()
    report = library.store()
    assert report.done == 1
    assert library.stands(copy)[0] == ("originals" if other == "copied" else "source:also_left")
    assert library.kept(copy) == copy.read_bytes()
    library.found_is_accounted_for()
    assert library.store().done == 0


def test_a_deleted_file_that_was_left_in_place_is_followed_to_its_duplicate_and_delivered_from_there(
    make: Make,
) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    copy = photo(library.sources["left"] / "b.jpg")
    library.store()
    library.bundle()
    source.unlink()
    destination = ArchiveFolder("archive", library.roots["archive"], "original")
    staged = StagedStage(destination, compressing=False)
    uploaded = UploadedStage(destination, library.originals, library.roots)
    assert library.work(staged, uploaded).counts == {"uploaded": 1, "failed": 1}
    library.look()
    assert library.stands(copy) == ("source:left", "b.jpg", False)
    assert library.work(uploaded).counts == {"uploaded": 1}
    assert "restored" in library.events()
    assert library.rows("id", "duplicate_files") == []
    library.found_is_accounted_for()


def test_the_tree_to_browse_shows_the_place_to_which_a_photo_has_moved(make: Make) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    photo(library.sources["left"] / "b.jpg")
    library.store()
    library.archive()
    entry = library.roots["library"] / "a.jpg"
    assert entry.resolve() == source
    source.unlink()
    library.look()
    assert library.archive().counts == {"sorted": 1}
    assert entry.resolve() == source.with_name("b.jpg")
    assert library.archive().done == 0


def test_a_file_that_goes_from_where_it_was_left_is_missing_until_it_comes_back(make: Make) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    aside = library.sources["left"].parent / "a.jpg"
    source.rename(aside)
    library.look()
    assert library.stands(aside) == ("source:left", "a.jpg", True)
    aside.rename(source)
    library.look()
    assert library.stands(source) == ("source:left", "a.jpg", False)
    assert library.events()[-2:] == ["missing", "restored"]
    assert library.store().done == 0


def missing(library: Library) -> tuple[int, int, list[str]]:
    with library.engine.connect() as connection:
        found = findings.missing(connection, 20)
        assert library_counts(connection).missing == found.total
    return found.total, found.unproven, [one.path for one in found.named]


def test_a_photo_that_was_replaced_where_it_was_left_is_taken_beside_the_one_that_was_there(make: Make) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg", shade=1)
    library.store()
    library.archive()
    first = sha256(source)
    before = library.rows("sha256, state, remote_path", "deliveries")
    photo(source, shade=200)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    assert library.store().counts == {"stored": 1}
    assert library.stands(source) == ("source:left", "a.jpg", False)
    wanted = f"sha256 = '{first}'"
    assert library.rows("state, missing_since IS NOT NULL", "media_files", wanted) == [("kept", True)]
    assert missing(library) == (1, 0, [])  # it is counted, and there is a proven copy of it
    library.archive()
    after = library.rows("sha256, state, remote_path", "deliveries")
    assert set(before) < set(after)
    assert {state for _, state, _ in after} == {"verified"}
    assert {sha256(library.roots["archive"] / path) for _, _, path in after} == {one for one, _, _ in after}
    library.found_is_accounted_for()


def test_a_photo_that_was_replaced_before_a_copy_of_it_was_proven_is_named_until_a_person_has_seen_it(
    make: Make,
) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg", shade=1)
    library.store()
    photo(source, shade=200)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    library.store()
    assert missing(library) == (1, 1, ["a.jpg"])
    ((lost,),) = library.rows("id", "media_files", "missing_since IS NOT NULL")
    with library.engine.begin() as connection:
        assert media.acknowledge(connection, lost)
        assert not media.acknowledge(connection, lost)
    assert missing(library) == (1, 0, [])


def test_a_replaced_photo_that_turns_up_again_is_restored(make: Make) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg", shade=1)
    library.store()
    old = source.read_bytes()
    photo(source, shade=200)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    library.store()
    back = source.with_name("old.jpg")
    back.write_bytes(old)
    library.store()
    assert library.stands(back) == ("source:left", "old.jpg", False)
    assert library.stands(source) == ("source:left", "a.jpg", False)
    assert missing(library) == (0, 0, [])


def test_our_own_rendition_that_came_back_is_no_place_for_its_original(make: Make) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    rendition = library.sources["left"].parent / "made.jpg"
    photo(rendition, shade=7)
    (content,) = library.rows("id", "media_files", f"sha256 = '{sha256(source)}'")[0]
    add_rendition(library, content, rendition)
    back = library.sources["left"] / "from the phone.jpg"
    back.write_bytes(rendition.read_bytes() + b"\xff" * 9)  # of another size, as a rendition is
    with library.engine.begin() as connection:
        connection.execute(text("UPDATE renditions SET sha256 = :sha"), {"sha": sha256(back)})
    assert library.store().counts == {"duplicates": 1}
    source.unlink()
    library.look()
    assert library.rows("stored_path, missing_since IS NOT NULL", "media_files", f"id = {content}") == [("a.jpg", True)]


def add_rendition(library: Library, content: int, made: Path) -> None:
    (library.roots["renditions"] / "r.jpg").write_bytes(made.read_bytes())
    with library.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, sha256, "
                "size, detail, run_id) VALUES (:id, 'f', 't', 1, 'made', 'r.jpg', :sha, :size, '', 'run')"
            ),
            {"id": content, "sha": sha256(made), "size": made.stat().st_size},
        )


def test_a_rendition_that_is_all_that_is_left_of_a_photo_is_kept_when_it_comes_back(make: Make) -> None:
    library = make(a=True)
    source = photo(library.sources["a"] / "a.jpg")
    library.store()
    (content,) = library.rows("id", "media_files", f"sha256 = '{sha256(source)}'")[0]
    made = photo(library.sources["a"].parent / "made.jpg", shade=7)
    add_rendition(library, content, made)
    root, stored, _ = library.stands(source)
    (library.originals[root] / stored).unlink()
    one = library.sources["a"] / "one.jpg"
    one.write_bytes(made.read_bytes())
    assert library.store().counts == {"duplicates": 1}  # the rendition itself stands
    (library.roots["renditions"] / "r.jpg").unlink()
    one.rename(one.with_name("two.jpg"))
    assert library.store().counts == {"stored": 1}
    assert library.kept(one.with_name("two.jpg")) == made.read_bytes()


def test_what_is_missing_is_not_waited_for_and_what_was_delivered_of_it_stays(make: Make) -> None:
    library = make(left=False)
    source = photo(library.sources["left"] / "a.jpg")
    library.store()
    library.archive()
    source.unlink()
    library.look()
    assert library.archive().done == 0
    with library.engine.connect() as connection:
        left = deliveries.open_deliveries(connection, "archive")
        assert (left.failed, left.pending) == (0, 0)
        for query, others in (
            (bundles.to_sort(), 0),
            (renditions.to_compress([], aged=False), 1),
            (sources.to_store, 0),
        ):
            assert work.count_due(connection, query) == others
