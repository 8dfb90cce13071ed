"""The entrance: what every rendition has in common, and the reasons for which an original is kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from media import jpeg, renditions
from media.files import ContentMismatch, SourceChanged
from media.kinds import identify
from media.renditions import RenditionResult, make_rendition
from media.tiers import DEFAULT_TIERS, Made, Plan

PLAN = Plan(80, 30, "hevc", 0, True, 0.05)
MTIME = 1_234_567_890_123_456_789


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A noisy JPEG of high quality with an old modification time."""
    path = tmp_path / "photo.JPG"
    noise = np.random.default_rng(1).integers(0, 90, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG", quality=98)
    os.utime(path, ns=(MTIME, MTIME))
    path.chmod(0o444)
    return path


def make(
    original: Path,
    part: Path,
    kind: str = "photo",
    format: str = "jpeg",
    plan: Plan = PLAN,
    sha256: str | None = None,
) -> RenditionResult:
    sha256 = sha256 or hashlib.sha256(original.read_bytes()).hexdigest()
    return make_rendition(str(original), str(part), sha256=sha256, kind=kind, format=format, plan=plan.to_dict())


def test_nothing_is_made_of_an_original_that_no_longer_holds_its_bytes(photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ContentMismatch, match=r"photo\.JPG no longer holds the bytes.*No rendition was made"):
        make_rendition(
            str(photo), str(tmp_path / "part"), sha256="0" * 64, kind="photo", format="jpeg", plan=PLAN.to_dict()
        )
    assert not (tmp_path / "part").exists()


def test_nothing_is_made_of_an_original_that_is_edited_meanwhile(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited(original: Path, part: Path, plan: Plan) -> Made:
        made = jpeg.compress(original, part, plan)
        os.utime(original)
        return made

    monkeypatch.setitem(renditions._ENGINES, "jpeg", edited)
    with pytest.raises(SourceChanged):
        make(photo, tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_a_rendition_is_described_by_the_bytes_that_stand_there(photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    part = tmp_path / ".mpa-x.part"
    result = make(photo, part)
    assert result["outcome"] == "made"
    assert result["size"] == part.stat().st_size < photo.stat().st_size
    assert result["sha256"] == hashlib.sha256(part.read_bytes()).hexdigest()
    assert (result["width"], result["height"], result["extension"]) == (300, 200, ".jpg")
    assert result["detail"] == "JPEG quality 80, full resolution"
    assert json.loads(json.dumps(result)) == result
    assert photo.read_bytes() == before


def test_a_rendition_has_the_time_and_the_attributes_of_its_original(photo: Path, tmp_path: Path) -> None:
    try:
        photo.chmod(0o644)
        os.setxattr(photo, "user.rating", b"5")
    except OSError:
        pytest.skip("this file system has no attributes")
    os.utime(photo, ns=(MTIME, MTIME))
    part = tmp_path / "part"
    assert make(photo, part)["outcome"] == "made"
    assert part.stat().st_mtime_ns == MTIME
    assert os.getxattr(part, "user.rating") == b"5"


@pytest.mark.parametrize(
    ("kind", "format", "words"),
    [
        ("raw", "dng", "RAW"),
        ("sidecar", "aae", "sidecar"),
        ("photo", "heic", "HEIC"),
        ("photo", "avif", "AVIF"),
        ("photo", "webp", "WebP"),
        ("photo", "gif", "GIF"),
        ("photo", "tiff", "TIFF"),
        ("video", "avi", "avi"),
        ("photo", "", "this format"),
        ("photo", "png", "damaged"),
        ("video", "mov", "damaged"),
    ],
)
def test_what_cannot_be_compressed_is_kept_for_a_reason_in_words(
    photo: Path, tmp_path: Path, kind: str, format: str, words: str
) -> None:
    result = make(photo, tmp_path / "part", kind, format)
    assert result["outcome"] == "kept"
    assert words in result["reason"]
    assert not (tmp_path / "part").exists()


def test_photos_are_kept_where_the_plan_says_so(photo: Path, tmp_path: Path) -> None:
    result = make(photo, tmp_path / "part", plan=Plan(0, 0, "hevc", 0, False, 0.1))
    assert "kept as they are" in result["reason"]


def test_a_full_disk_is_an_error_and_leaves_no_part(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = photo.with_name("part")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(renditions, "copy_times_and_xattrs", full)
    with pytest.raises(OSError, match="No space"):
        make(photo, part)
    assert not part.exists()


def test_an_original_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "none.jpg", tmp_path / "part")


def corpus_files(corpus: Path, folder: str) -> list[Path]:
    return sorted(path for path in (corpus / folder).rglob("*") if path.is_file())


def test_every_good_file_is_made_or_kept_for_a_reason(corpus: Path, tmp_path: Path) -> None:
    plan = DEFAULT_TIERS[0].plan
    for path in corpus_files(corpus, "good"):
        identity = identify(path)
        assert identity is not None, path.name
        before = hashlib.sha256(path.read_bytes()).digest()
        result = make(path, tmp_path / "part", str(identity.kind), identity.format, plan)
        if result["outcome"] == "made":
            assert result["size"] <= 0.9 * path.stat().st_size
            assert (tmp_path / "part").stat().st_mtime_ns == path.stat().st_mtime_ns
        else:
            assert "damaged" not in result["reason"], (path.name, result["reason"])
            assert not (tmp_path / "part").exists()
        (tmp_path / "part").unlink(missing_ok=True)
        assert hashlib.sha256(path.read_bytes()).digest() == before


def test_every_bad_file_is_kept_whatever_it_claims_to_be(corpus: Path, tmp_path: Path) -> None:
    for path in corpus_files(corpus, "bad"):
        for kind, format in (("photo", "jpeg"), ("photo", "png"), ("photo", "heic"), ("video", "mov")):
            result = make(path, tmp_path / "part", kind, format)
            assert result["outcome"] == "kept", path.name
            assert result["seconds"] < 30
    assert not (tmp_path / "part").exists()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is the oracle here, and it is not installed")
def test_an_independent_reader_finds_every_tag_with_its_value(corpus: Path, tmp_path: Path) -> None:
    positions = ("MPImage1:MPImageLength", "MPImage2:MPImageStart")
    for path in sorted((corpus / "good").rglob("*.jpg")):
        part = tmp_path / "part.jpg"
        if make(path, part)["outcome"] == "kept":
            continue
        before, after = (tags(file) for file in (path, part))
        assert {name: after.get(name) for name in before if name not in positions} == {
            name: value for name, value in before.items() if name not in positions
        }


def tags(path: Path) -> dict[str, Any]:
    command = ["exiftool", "-json", "-G1", "-a", "-u", "-struct", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    left_out = ("SourceFile", "System:", "ExifTool:", "Composite:", "File:FileSize", "File:EncodingProcess")
    return {name: value for name, value in found.items() if not name.startswith(left_out)}
