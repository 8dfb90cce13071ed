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
