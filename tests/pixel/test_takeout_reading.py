"""How a Takeout is read: its odd names, its parts, and what a hostile one may not do."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from resources import takeout as reading
from resources.takeout import Sampled, Takeout, TakeoutRefused, Unreadable, json_names
from tests.takeout_world import TAKEN, about, zipped

LONG = "Screenshot_20220207_102421_com.snapchat.android.jpg"


def sampled(*paths: Path) -> dict[str, Sampled]:
    with Takeout(paths) as takeout:
        return {one.name: one for one in takeout.files()}


def laid_out(folder: Path, *names: str, title: str = "the title.jpg") -> dict[str, Sampled]:
    for name in names:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(about(title) if name.endswith(".json") else b"photo")
    return sampled(folder)


@pytest.mark.parametrize(
    ("photo", "sidecar"),
    [
        ("IMG_1234.HEIC", "IMG_1234.HEIC.supplemental-metadata.json"),
        ("IMG_1234.HEIC", "IMG_1234.HEIC.json"),
        ("IMG_1234(1).HEIC", "IMG_1234.HEIC.supplemental-metadata(1).json"),
        ("IMG_1234(1).HEIC", "IMG_1234.HEIC(1).json"),
        ("IMG_1234(1).HEIC", "IMG_1234(1).HEIC.json"),
        ("IMG_1234.HEIC", "IMG_1234.HEIC.suppl.json"),
        ("IMG_1234.JPG", "IMG_1234.json"),
        ("img_1234.jpg", "IMG_1234.JPG.supplemental-metadata.json"),
        ("Screenshot_2017-07-05-10-05-26.png", "Screenshot_2017-07-05-10-05-26.png.supplementa.json"),
        (LONG, "Screenshot_20220207_102421_com.snapchat.androi.json"),
        ("D7157814-D2D5-4A62-AFCE-9CF465CB7D66.jpeg", "D7157814-D2D5-4A62-AFCE-9CF465CB7D66.jpeg.supp.json"),
        ("D7157814-D2D5-4A62-AFCE-9CF465CB7D66(2).jpeg", "D7157814-D2D5-4A62-AFCE-9CF465CB7D66.jpeg.supp(2).json"),
        ("Zu\u0308rich.jpg", "Zürich.jpg.supplemental-metadata.json"),
    ],
)
def test_the_json_of_a_photo_is_found_by_every_name_that_google_gives_it(
    tmp_path: Path, photo: str, sidecar: str
) -> None:
    found = laid_out(tmp_path / "t", photo, sidecar)
    assert {name: (one.title, one.taken) for name, one in found.items()} == {photo: ("the title.jpg", TAKEN)}


def test_a_json_goes_to_its_own_photo_among_numbered_ones(tmp_path: Path) -> None:
    names = {"IMG_1.JPG": "a.jpg", "IMG_1(1).JPG": "b.jpg", "IMG_10.JPG": "c.jpg"}
    sidecars = ("IMG_1.JPG.supplemental-metadata.json", "IMG_1.JPG.supplemental-metadata(1).json", "IMG_10.JPG.json")
    for (photo, title), sidecar in zip(names.items(), sidecars, strict=True):
        (tmp_path / photo).write_bytes(b"photo")
        (tmp_path / sidecar).write_bytes(about(title))
    assert {name: one.title for name, one in sampled(tmp_path).items()} == names


def test_no_name_is_tried_that_another_photo_of_the_folder_would_have() -> None:
    plain, first, second = (set(json_names(name)) for name in ("IMG_1.JPG", "IMG_1(1).JPG", "IMG_1(2).JPG"))
    assert not (plain & first or plain & second or first & second)


def test_an_edited_copy_and_the_film_of_a_live_photo_have_the_time_of_their_photo_and_their_own_name(
    tmp_path: Path,
) -> None:
    names = ("IMG_1.HEIC", "IMG_1.MP4", "IMG_1-edited.JPG", "IMG_1.HEIC.supplemental-metadata.json")
    found = laid_out(tmp_path / "t", *names, title="IMG_1.HEIC")
    assert {one.taken for one in found.values()} == {TAKEN}
    assert {name: (one.title, one.edited) for name, one in found.items()} == {
        "IMG_1.HEIC": ("IMG_1.HEIC", False),
        "IMG_1.MP4": ("IMG_1.MP4", False),
        "IMG_1-edited.JPG": ("IMG_1-edited.JPG", True),
    }


def test_what_is_called_edited_and_has_no_original_beside_it_is_a_photo_like_any_other(tmp_path: Path) -> None:
    found = laid_out(tmp_path / "t", "IMG_1-edited.jpg", "IMG_1-edited.jpg.json")
    assert (found["IMG_1-edited.jpg"].edited, found["IMG_1-edited.jpg"].title) == (False, "the title.jpg")


def test_the_parts_of_an_export_belong_together_also_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    folder = "Takeout/Google フォト/2024 年の写真"
    zipped(tmp_path / "parts" / "takeout-001.zip", {f"{folder}/a.jpg": b"photo"})
    zipped(tmp_path / "parts" / "takeout-002.zip", {f"{folder}/a.jpg.supplemental-metadata.json": about("A.JPG")})
    found = sampled(tmp_path / "parts")
    assert [(one.name, one.title) for one in found.values()] == [(f"{folder}/a.jpg", "A.JPG")]


def test_two_exports_with_the_same_names_are_both_looked_at(tmp_path: Path) -> None:
    files = [{"T/a.jpg": f"photo {n}".encode(), "T/a.jpg.json": about(f"{n}.jpg")} for n in range(2)]
    paths = [zipped(tmp_path / f"{n}.zip", one) for n, one in enumerate(files)]
    with Takeout(paths) as takeout:
        assert [(one.title, b"".join(one.blocks())) for one in takeout.files()] == [
            ("0.jpg", b"photo 0"),
            ("1.jpg", b"photo 1"),
        ]


def test_names_that_would_lead_out_of_the_folder_are_only_names(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    names = ("../../evil.jpg", "/etc/evil.jpg", "C:\\evil.jpg", "T/\x1b[2Jevil.jpg")
    path = zipped(inside / "a.zip", dict.fromkeys(names, b"photo"))
    before = sorted(tmp_path.rglob("*"))
    with Takeout([path]) as takeout:
        files = takeout.files()
        assert {b"".join(one.blocks()) for one in files} == {b"photo"}
    assert len(files) == len(names)
    assert not any("\x1b" in one.name for one in files)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_in_a_folder_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "t" / "more").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "t" / "b.jpg")
    assert sampled(tmp_path / "t") == {}


@pytest.mark.parametrize("count", [1, 40])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, count: int) -> None:
    each = bytes((reading.SMALL * 3) if count == 1 else reading.SMALL // 4)
    files = {f"T/{number}.jpg": each for number in range(count)}
    path = zipped(tmp_path / "bomb.zip", files, zipfile.ZIP_DEFLATED)
    with pytest.raises(TakeoutRefused, match="is not opened"):
        Takeout([path])


def test_a_member_that_lies_about_its_size_or_bytes_is_unreadable_and_the_rest_is_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"T/a.jpg": b"good photo", "T/b.jpg": b"evil photo"})
    path.write_bytes(path.read_bytes().replace(b"evil", b"EVIL"))
    found = sampled_open(path)
    assert found == {"T/a.jpg": b"good photo", "T/b.jpg": None}


def sampled_open(path: Path) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    with Takeout([path]) as takeout:
        for one in takeout.files():
            try:
                found[one.name] = b"".join(one.blocks())
            except Unreadable:
                found[one.name] = None
    return found


def test_a_locked_member_is_unreadable(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"T/a.jpg": b"photo"})
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    raw[6] |= 1
    raw[central + 8] |= 1
    path.write_bytes(raw)
    assert sampled_open(path) == {"T/a.jpg": None}


def test_a_json_that_is_too_large_or_too_deep_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    for name, said in (("a.jpg", b" " * reading.MOST_JSON + about("A")), ("b.jpg", b"[" * 100_000), ("c.jpg", b"7")):
        (folder / name).write_bytes(b"photo")
        (folder / f"{name}.json").write_bytes(said)
    with Takeout([folder]) as takeout:
        assert {one.name: (one.title, one.taken) for one in takeout.files()} == {
            name: (name, None) for name in ("a.jpg", "b.jpg", "c.jpg")
        }
        assert [name for name, _ in takeout.unreadable] == ["a.jpg.json", "b.jpg.json"]


def test_what_is_no_takeout_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    for path in (tmp_path / "a.zip", tmp_path):
        with pytest.raises(TakeoutRefused, match="Download it again"):
            Takeout([path])
    with pytest.raises(TakeoutRefused, match="is not there"):
        Takeout([tmp_path / "b.zip"])
