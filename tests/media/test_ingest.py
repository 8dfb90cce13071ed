"""Taking one file in: what is kept, what is refused, and that nothing half-done is ever left."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from media.ingest import THUMBNAIL_EDGE, ingest, look_at_copy
from media.kinds import Kind

STORED_KEYS = {
    "outcome", "sha256", "apple_checksum", "size", "kind", "format", "mime", "width", "height", "orientation",
    "duration_seconds", "phash", "damage", "thumbnail", "make", "model", "content_identifier", "image_unique_id",
    "subsec", "burst_id", "has_gps",
}  # fmt: skip


def picture(path: Path, size: tuple[int, int] = (800, 600), kind: str = "JPEG") -> Path:
    Image.effect_noise((size[0] // 8, size[1] // 8), 90).resize(size).convert("RGB").save(path, kind)
    return path


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_good_photo_is_stored_with_everything_that_is_known_of_it(tmp_path: Path) -> None:
    source, part = picture(tmp_path / "a.JPG"), tmp_path / "a.part"
    os.utime(source, ns=(10**18, 10**18 + 123_456_789))
    result = ingest(str(source), str(part), thumbnail=str(tmp_path / "far" / "away" / "t.jpg"))
    assert set(result) == STORED_KEYS
    assert json.loads(json.dumps(result)) == result
    assert result["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (result["outcome"], result["kind"], result["format"], result["damage"]) == ("stored", "photo", "jpeg", None)
    assert (result["width"], result["height"], result["orientation"]) == (800, 600, 1)
    assert len(result["phash"] or "") == 64
    assert part.read_bytes() == source.read_bytes()
    status = os.stat(part)
    assert stat.S_IMODE(status.st_mode) == 0o444
    assert status.st_mtime_ns == 10**18 + 123_456_789
    assert status.st_ino != os.stat(source).st_ino
    with Image.open(tmp_path / "far" / "away" / "t.jpg") as thumbnail:
        assert (thumbnail.format, max(thumbnail.size)) == ("JPEG", THUMBNAIL_EDGE)


def test_every_good_file_is_stored_whole(tmp_path: Path, corpus: Path) -> None:
    for path in sorted((corpus / "good").rglob("*.*")):
        part, thumbnail = tmp_path / "x.part", tmp_path / f"{path.name}.jpg"
        before = os.stat(path)
        result = ingest(str(path), str(part), thumbnail=str(thumbnail))
        assert (result["outcome"], result["damage"]) == ("stored", None), path.name
        assert part.read_bytes() == path.read_bytes()
        assert (os.stat(path).st_mtime_ns, os.stat(path).st_mode) == (before.st_mtime_ns, before.st_mode)
        pruned = result["kind"] == Kind.RAW
        assert thumbnail.exists() == result["thumbnail"] == (result["phash"] is not None) == (not pruned), path.name


def test_every_bad_file_is_left_alone_or_kept_with_its_damage_named(tmp_path: Path, corpus: Path) -> None:
    rejected = set()
    for path in sorted((corpus / "bad").iterdir()):
        part = tmp_path / "x.part"
        part.unlink(missing_ok=True)
        result = ingest(str(path), str(part), thumbnail=str(tmp_path / "t.jpg"))
        if result["outcome"] == "rejected":
            rejected.add(path.name)
            assert not part.exists()
            continue
        assert result["outcome"] == "stored"
        assert result["damage"], path.name
        assert str(tmp_path) not in result["damage"]
        assert result["phash"] is None
        assert part.read_bytes() == path.read_bytes()
    assert rejected == {"empty.jpg", "text_named.heic", "unknown_format.jpg"}


def test_files_with_one_md5_are_never_one_content(tmp_path: Path, corpus: Path) -> None:
    for one, two in (
        ("collision1.jpg", "collision2.jpg"),
        ("collision1.png", "collision2.png"),
        ("md5-1.mp4", "md5-2.mp4"),
    ):
        first = ingest(str(corpus / "md5twins" / one), str(tmp_path / "a"))
        second = ingest(str(corpus / "md5twins" / two), str(tmp_path / "b"), known=[first["sha256"]])
        assert (first["outcome"], second["outcome"]) == ("stored", "stored")
        assert first["sha256"] != second["sha256"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jpg", b"", "empty"),
        ("a.heic", b"not a picture\n", "ends in .heic"),
        ("a.txt", b"hello there", "no photo, film or sidecar"),
        ("a.jpg", b"\xef\xbf\xbd\xef\xbf\xbd\0\x10JFIF", "as text"),
    ],
)
def test_what_is_no_media_is_left_where_it_is_and_the_reason_says_so(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    result = ingest(str(source), str(tmp_path / "part"), thumbnail=str(tmp_path / "t.jpg"))
    assert set(result) == {"outcome", "reason"}
    assert result["outcome"] == "rejected"
    assert words in result["reason"]
    assert "left where it is" in result["reason"]
    assert files_in(tmp_path) == {name}


def test_a_known_content_is_a_duplicate_and_leaves_no_part(tmp_path: Path) -> None:
    source, twin = picture(tmp_path / "a.jpg"), tmp_path / "b.jpg"
    twin.write_bytes(source.read_bytes())
    first = ingest(str(source), str(tmp_path / "1.part"))
    for part in (str(tmp_path / "2.part"), None):
        result = ingest(str(twin), part, known=["0" * 64, first["sha256"]], thumbnail=str(tmp_path / "t.jpg"))
        assert result == {key: first[key] for key in ("sha256", "apple_checksum", "size")} | {"outcome": "duplicate"}
    assert files_in(tmp_path) == {"a.jpg", "b.jpg", "1.part"}


def test_a_damaged_photo_is_kept_byte_for_byte_with_a_thumbnail_of_what_is_left(tmp_path: Path) -> None:
    whole = picture(tmp_path / "whole.jpg").read_bytes()
    source = tmp_path / "half.jpg"
    source.write_bytes(whole[: len(whole) // 2])
    result = ingest(str(source), str(tmp_path / "part"), thumbnail=str(tmp_path / "t.jpg"))
    assert result["outcome"] == "stored"
    assert "breaks off" in (result["damage"] or "")
    assert result["thumbnail"] is True
    assert (tmp_path / "part").read_bytes() == source.read_bytes()


# Every decoder is replaced by one that kills its process, as hostile bytes do to a real one.
DEADLY = """
import json, os, signal, sys
import av, pillow_heif, simplejpeg
from PIL import Image
from media.ingest import ingest

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

class Deadly:
    create = die

Image.open = simplejpeg.decode_jpeg = simplejpeg.decode_jpeg_header = av.open = pillow_heif.open_heif = die
av.CodecContext = Deadly
source, part, thumbnail, decode = sys.argv[1:]
print(json.dumps(ingest(source, part, thumbnail=thumbnail, decode=decode == "yes")))
"""


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "xiaomi_gps.heic", "quicktime.mov"])
def test_a_file_that_kills_its_decoder_is_stored_byte_for_byte_without_a_decode(
    tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    source, part, thumbnail = tmp_path / name, tmp_path / "part", tmp_path / "t.jpg"
    if name.startswith("a."):
        picture(source, kind={".jpg": "JPEG", ".png": "PNG"}[source.suffix])
    else:
        shutil.copyfile(request.getfixturevalue("corpus") / "good" / name, source)
    os.utime(source, ns=(10**18, 10**18))
    content = source.read_bytes()

    def run(decode: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", DEADLY, str(source), str(part), str(thumbnail), decode]
        return subprocess.run(arguments, check=False, capture_output=True, text=True)

    assert run("yes").returncode == -signal.SIGKILL  # or this would prove nothing
    part.unlink(missing_ok=True)  # what a killed worker leaves
    survivor = run("no")
    assert survivor.returncode == 0, survivor.stderr
    result = json.loads(survivor.stdout)
    assert set(result) == STORED_KEYS
    assert (result["outcome"], result["damage"], result["size"]) == ("stored", None, len(content))
    assert result["sha256"] == hashlib.sha256(content).hexdigest()
    assert part.read_bytes() == source.read_bytes() == content
    assert (stat.S_IMODE(os.stat(part).st_mode), os.stat(part).st_mtime_ns) == (0o444, 10**18)
    assert files_in(tmp_path) == {name, "part"}


def test_without_a_decode_nothing_is_claimed_of_what_was_not_looked_at(tmp_path: Path) -> None:
    source = picture(tmp_path / "half.jpg")
    source.write_bytes(source.read_bytes()[:-2000])
    looked, kept = (ingest(str(source), str(tmp_path / name), decode=name == "looked") for name in ("looked", "kept"))
    assert looked["damage"]
    known = {"outcome", "sha256", "apple_checksum", "size", "kind", "format", "mime"}
    assert {key: looked[key] for key in known} == {key: kept[key] for key in known}  # type: ignore[literal-required]
    unknown = STORED_KEYS - known - {"orientation", "thumbnail", "has_gps"}
    assert {kept[key] for key in unknown} == {None}  # type: ignore[literal-required]
    assert (kept["orientation"], kept["thumbnail"], kept["has_gps"]) == (1, False, False)


def test_without_a_decode_a_known_content_is_still_a_duplicate_and_what_is_no_media_still_refused(
    tmp_path: Path,
) -> None:
    source, text = picture(tmp_path / "a.jpg"), tmp_path / "b.jpg"
    text.write_bytes(b"no picture")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert ingest(str(source), str(tmp_path / "part"), known=[digest], decode=False)["outcome"] == "duplicate"
    assert ingest(str(text), str(tmp_path / "part"), decode=False)["outcome"] == "rejected"
    assert files_in(tmp_path) == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize("name", ["a.jpg", "b.JPG", "c.aae"])
def test_a_copy_that_was_read_first_and_looked_at_later_is_known_as_one_that_was_taken_at_once(
    tmp_path: Path, name: str
) -> None:
    source, part = picture(tmp_path / name), tmp_path / "2.part"
    if name == "b.JPG":
        source.write_bytes(source.read_bytes()[:-2000])
    elif name == "c.aae":
        source.write_bytes(b"<plist/>")
    at_once = ingest(str(source), str(tmp_path / "1.part"), thumbnail=str(tmp_path / "1.jpg"))
    read = ingest(str(source), str(part), decode=False)
    hashes: Any = {key: read[key] for key in ("sha256", "apple_checksum", "size")}  # type: ignore[literal-required]
    assert look_at_copy(str(part), name, hashes, thumbnail=str(tmp_path / "2.jpg")) == at_once
    assert look_at_copy(str(part), name, hashes, decode=False) == read
    assert part.read_bytes() == source.read_bytes()


def test_a_worker_is_not_burdened_with_what_it_never_uses() -> None:
    program = "import sys, media.ingest, media.renditions; print({'scipy', 'imagehash', 'pandas'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"


def test_without_a_part_the_file_is_looked_at_where_it_is(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    result = ingest(str(source), None)
    assert set(result) == STORED_KEYS
    assert (result["outcome"], result["damage"], result["thumbnail"]) == ("stored", None, False)
    assert files_in(tmp_path) == {"a.jpg"}
    assert stat.S_IMODE(os.stat(source).st_mode) != 0o444


def test_sidecars_are_stored_without_a_decode(tmp_path: Path) -> None:
    source = tmp_path / "IMG_0001.AAE"
    source.write_bytes(b'<?xml version="1.0"?><plist/>')
    result = ingest(str(source), str(tmp_path / "part"), thumbnail=str(tmp_path / "t.jpg"))
    assert set(result) == STORED_KEYS
    assert (result["outcome"], result["kind"], result["format"]) == ("stored", "sidecar", "aae")
    assert (result["damage"], result["phash"], result["thumbnail"], result["width"]) == (None, None, False, None)
    assert (tmp_path / "part").read_bytes() == source.read_bytes()


def test_a_thumbnail_that_cannot_be_written_is_no_failure_of_the_file(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    (tmp_path / "blocked").write_bytes(b"a file where a folder should be")
    result = ingest(str(source), str(tmp_path / "part"), thumbnail=str(tmp_path / "blocked" / "t.jpg"))
    assert (result["outcome"], result["damage"], result["thumbnail"]) == ("stored", None, False)
    assert (tmp_path / "part").read_bytes() == source.read_bytes()


def test_a_missing_source_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ingest(str(tmp_path / "gone.jpg"), str(tmp_path / "part"))
    assert files_in(tmp_path) == set()


def test_a_target_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        ingest(str(source), str(tmp_path / "taken"))
    assert files_in(tmp_path) == {"a.jpg"}


def test_a_source_that_is_being_written_is_left_for_the_next_run(tmp_path: Path) -> None:
    """A writer in another process touches the file as fast as it can while it is taken in."""
    source, part = tmp_path / "a.jpg", tmp_path / "part"
    picture(source)
    with open(source, "ab") as handle:
        handle.truncate(64 << 20)  # long enough for a writer to be in time
    writer = os.fork()
    if writer == 0:
        for number in itertools.count(1):
            os.utime(source, ns=(number, number))
    try:
        while os.stat(source).st_mtime_ns > 10**15:
            time.sleep(0.01)
        result = ingest(str(source), str(part))
    finally:
        os.kill(writer, 9)
        os.waitpid(writer, 0)
    assert result["outcome"] == "changed"
    assert "next run" in result["reason"]
    assert not part.exists()


def test_the_source_is_never_opened_for_writing(tmp_path: Path, corpus: Path) -> None:
    source = tmp_path / "a.heic"
    source.write_bytes((corpus / "good" / "xiaomi_gps.heic").read_bytes())
    source.chmod(0o444)
    before = os.stat(source)
    ingest(str(source), str(tmp_path / "part"), thumbnail=str(tmp_path / "t.jpg"))
    after = os.stat(source)
    assert (before.st_mtime_ns, before.st_ctime_ns, before.st_mode) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_mode,
    )


def test_attributes_of_the_source_travel_with_it(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    try:
        os.setxattr(source, "user.album", b"summer")
    except OSError:
        pytest.skip("this file system holds no attributes")
    ingest(str(source), str(tmp_path / "part"))
    assert os.getxattr(tmp_path / "part", "user.album") == b"summer"


def test_the_task_runs_in_a_spawned_worker_that_stays_small(tmp_path: Path, corpus: Path) -> None:
    sources = [corpus / "good" / name for name in ("galaxy_s9_gps.jpg", "iphone7_12mp.heic", "phone_1440_gps.mp4")]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for source in sources:
            result = pool.submit(
                ingest, str(source), str(tmp_path / "part"), thumbnail=str(tmp_path / "t.jpg")
            ).result()
            assert result["outcome"] == "stored"
        assert pool.submit(_resident_megabytes).result() < 160


def _resident_megabytes() -> int:
    # Not `ru_maxrss`: that one starts at what the parent of a spawned process held.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("VmHWM"))
