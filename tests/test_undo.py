"""`mediapipe-assets undo`: what went to the trash stands again where it stood."""

from __future__ import annotations

from tests.conftest import Home


def test_a_file_comes_back_by_either_path_and_never_over_another(home: Home) -> None:
    home.cli("status")
    stood = home.path / "renditions/2024/05/17/a.jpg"
    place = home.path / "trash/2026-11-20/renditions/2024/05/17/a.jpg"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"a rendition")
    said = home.cli("undo", "--json", stood)
    assert said.json == {"from": str(place), "to": str(stood)}
    assert "Brought back" in said.err
    assert stood.read_bytes() == b"a rendition"
    assert not place.exists()

    assert "is in no trash" in home.cli("undo", stood, expect=1).err
    place.write_bytes(b"another")
    refused = home.cli("undo", place, expect=1)
    assert "Nothing was moved: something stands at" in refused.err
    assert (stood.read_bytes(), place.read_bytes()) == (b"a rendition", b"another")


def test_the_trash_is_emptied_only_on_a_clear_word_and_never_of_what_is_young_or_unknown(home: Home) -> None:
    place = home.path / "trash/2020-01-01/renditions/2019/05/17/a.jpg"
    home.cli("status")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"a rendition")
    assert home.status()["trash"] == {"files": 1, "bytes": 11, "oldest": "2020-01-01"}
    assert "--dry-run, then say --yes" in home.cli("trash", "empty", expect=2).err
    assert "trash.keep_days is 90" in home.cli("trash", "empty", "--yes", "--older-than", "30", expect=2).err
    said = home.cli("trash", "empty", "--yes", "--json")
    assert said.json["files"] == 0
    assert said.json["stay"][0]["path"] == str(place)
    assert "the catalog does not know its bytes" in said.err
    looks = {one["what"]: one for one in home.cli("doctor", "--json", expect=None).json}
    assert looks["trash"]["verdict"] == "warning"
    assert "trash empty --dry-run" in looks["trash"]["words"]
    assert place.read_bytes() == b"a rendition"
