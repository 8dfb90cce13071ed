"""Discovery and originals under attack: a library that is suddenly empty, hostile names, a crash after the rename."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog import media
from pipeline.icloud_sync import Library as Source
from pipeline.icloud_sync import sync
from resources.icloud import Answer
from services.icloud_standin import Account, ICloudStandin, Library
from tests.icloud_clients import NAME
from tests.icloud_library import fill, jpeg, movie
from tests.icloud_world import Feed, World, bodies

SHARED = "SharedSync-6D3C5D84-2A3A-4B7E-9E2B-5A1D3C0F7E11"
HOSTILE = [
    "../../../etc/passwd", "..", ".", ".JPG", ".mediapipe-root", "/abs/x.JPG", "a\\b.JPG", "a\nb.JPG", "a\0b.JPG",
    "-rf.JPG", "IMG.JPG ", " ", "", "IMG.JPG.part", "IMG_1.xmp", "x.aae", "${f}.JPG", "%00.JPG", "\u202egpj.exe",
    "x" * 300 + ".JPG", "x." + "y" * 300, "é" * 140 + ".JPG", "😀" * 63 + ".HEIC", "img_0001.jpg", "IMG_0001.JPG",
    unicodedata.normalize("NFC", "é.JPG"), unicodedata.normalize("NFD", "é.JPG"),
]  # fmt: skip


def test_a_shared_library_that_is_suddenly_empty_takes_nothing_along(
    family: World, account: Account, library: Library
) -> None:
    shared = account.library(SHARED)
    fill(shared, 10)
    family.sign_in(account)
    family.sync("family")
    before, zone = family.known("family"), family.value("SELECT zone FROM icloud_libraries")
    with family.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE icloud_libraries SET sync_token = NULL")
    nothing = Feed(lambda token: Answer([], str(shared.position), False))  # nobody counts a shared library
    sync(family.engine, nothing, Source("family", NAME.casefold(), zone), family.platform.date_rules())
    assert family.known("family") == before
    assert family.sync("family").complete and family.work().counts["stored"] == len(before)
    assert family.kept() == bodies(shared)


def test_no_name_leads_anywhere_or_loses_a_photo(signed_in: World, library: Library) -> None:
    for number, name in enumerate(HOSTILE):
        more: dict[str, Any] = {"live": movie(number)} if number % 3 == 0 else {}
        library.add(name, jpeg(number), taken=None, offset_seconds=0, edited=jpeg(number, "edited"), **more)
    signed_in.sync()
    report = signed_in.work()
    assert set(report.counts) == {"stored"} and not report.failures
    assert set(signed_in.work("icloud_sidecars").counts) == {"written"}
    assert signed_in.kept() == bodies(library), "no sidecar is written over an original either"
    root = signed_in.settings.roots.originals
    outside = [path for path in signed_in.folder.rglob("*passwd*") if root not in path.parents]
    assert outside == [] and all("\n" not in path.name for path in root.rglob("*"))


def test_a_crash_between_the_rename_and_the_record_costs_no_file_and_makes_no_second_one(
    signed_in: World, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library, 6)
    signed_in.sync()
    plain, left = media.add_content, iter((True, True, False))

    def crashing(*given: Any) -> int:
        if not next(left, True):
            raise KeyboardInterrupt
        return plain(*given)

    with monkeypatch.context() as patch:
        patch.setattr(media, "add_content", crashing)
        with pytest.raises(KeyboardInterrupt):
            signed_in.work()
    signed_in.platform.clean_up()
    assert not signed_in.work().failures
    root = signed_in.settings.roots.originals
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert signed_in.kept() == bodies(library) and len(files) == len(bodies(library))


def test_an_edit_that_is_taken_back_and_a_photo_that_is_purged_take_nothing_away_here(
    signed_in: World, library: Library
) -> None:
    asset = library.add("IMG_1.JPG", jpeg(1), taken=None, offset_seconds=0)

    def arrive() -> set[str]:
        signed_in.sync()
        signed_in.work()
        return set(signed_in.kept())

    seen = [arrive()]
    library.edit(asset, jpeg(2))
    seen.append(arrive())
    library.change(asset, edited=None)
    seen.append(arrive())
    library.edit(asset, jpeg(3))
    seen.append(arrive())
    library.purge(asset)
    seen.append(arrive())
    assert [len(kept) for kept in seen] == [1, 2, 2, 3, 3]


@pytest.fixture
def family(icloud: ICloudStandin, tmp_path: Any, engine: Engine, hurried: None) -> Iterator[World]:
    """A home with an account's own library, and the shared one that it takes part in."""
    shared = {"kind": "icloud", "account": "icloud", "library": "shared"}
    yield World(tmp_path, engine, accounts={"icloud": {"kind": "icloud", "apple_id": NAME}, "family": shared})


@pytest.mark.parametrize("owned", [True, False], ids=["own", "of another"])
def test_photos_of_a_shared_library_are_downloaded_and_one_that_is_in_both_is_one_content(
    family: World, account: Account, library: Library, owned: bool
) -> None:
    shared = account.library(SHARED, owned=owned)
    fill(library, 6), fill(shared, 7, seed=2)
    for one in (library, shared):
        one.add("same.JPG", jpeg(77), taken=None, offset_seconds=0)
    family.sign_in(account)
    for name in ("icloud", "family"):
        family.sync(name)
    report = family.work()
    assert report.counts["duplicates"] == 1 and not report.failures
    assert family.kept() == bodies(library) | bodies(shared)
