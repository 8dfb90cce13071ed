"""Sidecars beside originals from iCloud: written once stored, and again for what changed, not for the library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from catalog import sidecars
from catalog.sidecars import SIDECARS
from media.files import ROOT_MARKER
from media.sidecars import sidecar_of
from services.icloud_standin import Account, Asset
from tests.icloud_home import ICloudHome, MakeHome
from tests.icloud_library import fill, jpeg, movie, raw

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)


@pytest.fixture
def home(make_home: MakeHome) -> ICloudHome:
    """A home that is signed in."""
    return make_home()


def add(home: ICloudHome, name: str, number: int, **more: object) -> Asset:
    return home.library.add(name, jpeg(number), taken=NOON, offset_seconds=7200, **more)  # type: ignore[arg-type]


def bring(home: ICloudHome) -> None:
    home.sync()
    home.work()
    home.work(SIDECARS)


def sidecar_files(home: ICloudHome) -> list[Path]:
    return sorted(home.originals.rglob("*.xmp"))


def sidecar(home: ICloudHome) -> str:
    (path,) = sidecar_files(home)
    return path.read_text()


def due(home: ICloudHome) -> int:
    return int(home.rows("SELECT count(*) AS n FROM icloud_records WHERE sidecar_due IS NOT NULL")[0].n)


def test_what_icloud_knows_stands_beside_the_original(home: ICloudHome) -> None:
    add(
        home,
        "IMG_1.JPG",
        1,
        title="Strand",
        caption="Ein schöner Tag",
        favourite=True,
        location=(52.5163, 13.3777),
        albums=("Reisen", "Familie"),
        live=movie(1),
    )
    home.sync()
    home.work()
    report = home.work(SIDECARS)
    assert report.counts == {"written": 1}
    (path,) = sidecar_files(home)
    original = path.with_name(path.name.removesuffix(".xmp"))
    assert original.read_bytes() == jpeg(1), "one for the photo, none for its film"
    said = path.read_text()
    for words in ("Strand", "Ein schöner Tag", "Albums/Reisen", "Albums|Familie", "<xmp:Rating>5<", "52,30.978000N"):
        assert words in said
    assert "2024-05-17T14:00:00+02:00" in said
    assert home.work(SIDECARS).counts == {} and due(home) == 0
    assert home.rows("SELECT 1 FROM media_files WHERE stored_path LIKE '%.xmp'") == [], "it is no original"
    assert home.rows("SELECT event FROM pipeline_logs WHERE stage = 'icloud_sidecars'")[0].event == "sidecar"


def test_nothing_is_written_before_the_original_is_here(home: ICloudHome) -> None:
    add(home, "IMG_1.JPG", 1)
    home.sync()
    assert home.work(SIDECARS).counts == {} and sidecar_files(home) == []
    home.work()
    assert home.work(SIDECARS).counts == {"written": 1}


def test_every_later_change_is_written(home: ICloudHome) -> None:
    asset = add(home, "IMG_1.JPG", 1)
    album = home.library.album("Reisen")
    bring(home)
    changes = [
        (lambda: home.library.favourite(asset, True), "<xmp:Rating>5<", True),
        (lambda: home.library.describe(asset, "So war es"), "So war es", True),
        (lambda: home.library.rename(asset, "Titel"), "Titel", True),
        (lambda: home.library.hide(asset, True), "Hidden", True),
        (lambda: home.library.move(asset, NOON - timedelta(days=400), 3600), "2023-04-13T13:00:00+01:00", True),
        (lambda: home.library.put_in_album(asset, album), "Albums/Reisen", True),
        (lambda: home.library.change(album, name="Weite Reisen"), "Albums/Weite Reisen", True),
        (lambda: home.library.change(album, deleted=True), "Weite Reisen", False),
        (lambda: home.library.favourite(asset, False), "xmp:Rating", False),
    ]
    for change, words, there in changes:
        change()
        found = home.sync()
        assert found.sidecars == 1, words
        assert home.work().counts == {}
        assert home.work(SIDECARS).counts == {"written": 1}, words
        assert (words in sidecar(home)) is there, words
    assert due(home) == 0


def test_a_photo_that_leaves_an_album_for_good_is_told(home: ICloudHome) -> None:
    asset = add(home, "IMG_1.JPG", 1)
    relation = home.library.put_in_album(asset, home.library.album("Reisen"))
    bring(home)
    assert "Reisen" in sidecar(home)
    home.library.remove(relation)
    bring(home)
    assert "Reisen" not in sidecar(home)


def test_what_is_due_grows_with_what_changed(home: ICloudHome) -> None:
    assets = fill(home.library, 60)
    bring(home)
    assert due(home) == 0 and len(sidecar_files(home)) == 60
    home.library.favourite(assets[7], True)
    home.library.describe(assets[9], "neu")
    assert home.sync().sidecars == 2
    assert home.work(SIDECARS).counts == {"written": 2}
    # The whole library is read from the beginning, and nothing is news.
    with home.engine.begin() as connection:
        connection.execute(text("UPDATE icloud_libraries SET sync_token = NULL"))
    assert home.sync().sidecars == 0 and due(home) == 0


def test_a_change_while_a_sidecar_is_written_leaves_it_due(home: ICloudHome) -> None:
    add(home, "IMG_1.JPG", 1)
    home.sync()
    home.work()
    query = sidecars.to_write(["icloud"])
    with home.engine.begin() as connection:
        (record,) = connection.execute(
            text(f"SELECT r.id FROM {query.table} WHERE {query.where}"), query.params
        ).scalars()
        (subject,) = sidecars.load(connection, [record], ["icloud"])
    with home.engine.begin() as connection:
        assert sidecars.make_due(connection, "icloud", [subject.name]) == 1
    with home.engine.begin() as connection:
        sidecars.written(connection, subject.id, subject.due)
    assert due(home) == 1


def test_a_sidecar_that_is_not_ours_is_left_and_named(home: ICloudHome) -> None:
    asset = add(home, "IMG_1.JPG", 1)
    home.sync()
    home.work()
    (original,) = home.originals.rglob("IMG_1*.JPG")
    sidecar_of(original).write_text("<x:xmpmeta x:xmptk='darktable'/>")
    report = home.work(SIDECARS)
    assert report.counts == {"not_ours": 1} and "not ours" in report.notes[0][1]
    home.library.favourite(asset, True)
    bring(home)
    assert sidecar(home) == "<x:xmpmeta x:xmptk='darktable'/>"


def test_the_sidecar_of_a_deleted_photo_stays(home: ICloudHome) -> None:
    asset = add(home, "IMG_1.JPG", 1, caption="bleibt")
    bring(home)
    home.library.delete(asset)
    bring(home)
    home.library.purge(asset)
    bring(home)
    assert "bleibt" in sidecar(home)


def test_an_original_that_a_folder_brought_first_gets_its_sidecar_too(make_home: MakeHome, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "Ferien.jpg").write_bytes(jpeg(1))
    home = make_home(more={"photos": {"kind": "folder", "path": str(photos), "settle_seconds": 0}})
    take_folder(home)
    add(home, "IMG_1.JPG", 1, title="aus iCloud")
    bring(home)
    assert home.states() == {"kept": 1, "duplicate": 1}
    (path,) = sidecar_files(home)
    assert path.name.startswith("Ferien-") and "aus iCloud" in path.read_text()


def test_nothing_is_written_into_a_source(make_home: MakeHome, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "Ferien.jpg").write_bytes(jpeg(1))
    home = make_home(more={"photos": {"kind": "folder", "path": str(photos), "settle_seconds": 0, "mode": "reference"}})
    take_folder(home)
    add(home, "IMG_1.JPG", 1)
    home.sync()
    home.work()
    assert home.work(SIDECARS).counts == {"left_in_place": 1} and due(home) == 0
    assert [path.name for path in photos.iterdir()] == ["Ferien.jpg"] and sidecar_files(home) == []


def take_folder(home: ICloudHome) -> None:
    from pipeline.discovery import look

    look(home.engine, home.platform.sources["photos"], home.platform.date_rules(), record=True)
    home.work("folder_originals")


def test_of_two_photos_with_one_original_the_first_has_the_sidecar(home: ICloudHome) -> None:
    first = add(home, "IMG_1.JPG", 1, title="der erste")
    second = add(home, "IMG_1.JPG", 1, title="der zweite")
    bring(home)
    names = [row.folder for row in home.rows("SELECT folder FROM source_files WHERE role = 'lead' ORDER BY id")]
    assert sorted(names) == sorted([first.record_name, second.record_name])
    said = sidecar(home)
    assert names[0] in said and names[1] not in said
    loser = first if names[1] == first.record_name else second
    home.library.rename(loser, "noch einmal")
    assert home.sync().sidecars == 1
    assert home.work(SIDECARS).counts == {"of_another_photo": 1}
    assert sidecar(home) == said and due(home) == 0


def test_a_photo_in_two_libraries_has_the_sidecar_of_the_first(make_home: MakeHome, account: Account) -> None:
    home = make_home(more={"family": {"kind": "icloud", "account": "icloud", "library": "shared"}})
    add(home, "IMG_1.JPG", 1, title="meins")
    shared = account.library("SharedSync-0C5B4A1E-7F0D-4B8C-9E57-0F5B3B1C2D3E")
    shared.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=7200, title="unseres")
    home.sync()
    home.sync("family")
    home.work()
    home.work(SIDECARS)
    assert "meins" in sidecar(home) and "unseres" not in sidecar(home)


def test_of_a_raw_pair_the_picture_has_the_sidecar(home: ICloudHome) -> None:
    home.library.add("IMG_1.DNG", raw(1), taken=NOON, offset_seconds=0, raw=None, title="nur RAW")
    add(home, "IMG_2.JPG", 2, raw=raw(2), title="Paar")
    bring(home)
    assert sorted(path.name.rpartition(".")[0].rpartition(".")[2] for path in sidecar_files(home)) == ["DNG", "JPG"]


def test_switched_off_there_is_none_and_later_all_are_written(make_home: MakeHome) -> None:
    home = make_home(sidecars=False)
    add(home, "IMG_1.JPG", 1)
    home.sync()
    home.work()
    with pytest.raises(KeyError):
        home.platform.stage(SIDECARS)
    assert SIDECARS not in [query.stage for query in home.platform.queries(aged=True)]
    again = make_home(signed_in=False)
    assert SIDECARS in [query.stage for query in again.platform.queries(aged=True)]
    assert again.work(SIDECARS).counts == {"written": 1}


def test_a_disk_that_is_away_stops_the_run_and_leaves_it_due(home: ICloudHome) -> None:
    from pipeline.failures import RunStopped

    add(home, "IMG_1.JPG", 1)
    home.sync()
    home.work()
    away = home.originals.with_name("away")
    home.originals.rename(away)
    home.originals.mkdir()
    with pytest.raises(RunStopped, match="marker"):
        home.work(SIDECARS)
    assert list(home.originals.iterdir()) == [] and due(home) == 1
    assert (away / ROOT_MARKER).exists()
