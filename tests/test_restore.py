"""`mediapipe-assets restore`: a dump takes the catalog's place only when nobody works with it, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from resources.postgres_access import dump
from tests.conftest import Home, results

PHOTOS = ("DCIM/100APPLE/IMG_0003.JPG", "Camera/IMG_20190714_153012.jpg")


def test_a_dump_takes_the_catalogs_place_and_what_came_later_is_found_again(
    home: Home, photos: Callable[..., Path], sample: Path
) -> None:
    source = photos(PHOTOS[0])
    home.watch(source, start="2021-11-20")
    home.run()
    saved = home.path / "backups" / "saved.dump"
    with home.opened() as platform:
        dump(platform.engine.url.render_as_string(hide_password=False), saved)
        in_use = home.cli("restore", "--replace", saved, expect=5)
        assert "works with it" in in_use.err and "mediapipe-assets down" in in_use.err
    photos(PHOTOS[1])
    home.run()
    before, status = results(home), home.status()

    refused = home.cli("restore", saved, expect=5)
    assert "has a catalog that is not empty" in refused.err and "--replace" in refused.err
    assert home.status() == status

    other = home.path.parent / "other.dump"
    other.write_bytes(b"PGDMP no dump at all")
    assert "pg_restore failed" in home.cli("restore", "--replace", other, expect=1).err
    assert home.status() == status

    said = home.cli("restore", "--replace", saved)
    (aside,) = (home.path / "backups").glob("before-restore-*.dump")
    assert str(aside) in said.err
    assert home.status()["kept"] == 1
    assert results(home) == before
    assert home.run()["kept"] == 1
    assert (home.status()["kept"], home.status()["failed"]) == (2, 0)
    assert before["originals"].items() <= results(home)["originals"].items()

    home.cli("restore", "--replace", aside)
    assert home.status() == status


def test_a_new_home_takes_a_dump_as_it_is(home: Home, photos: Callable[..., Path], tmp_path: Path) -> None:
    home.watch(photos(PHOTOS[0]), start="2021-11-20")
    home.run()
    with home.opened() as platform:
        dump(platform.engine.url.render_as_string(hide_password=False), tmp_path / "saved.dump")
    status, lost = home.status(), home.path / "database"
    lost.rename(home.path / "broken")
    (home.path / ".mediapipe-home").unlink()
    home.cli("restore", tmp_path / "saved.dump")
    assert home.status() == status
    assert home.run()["runs"] == []
