"""The folder on this side: when it may be used, what is placed there, and what takes a file out again."""

import hashlib
import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from media.files import PART_PREFIX, ContentMismatch, RootAway
from media.placing import PlaceTaken
from pipeline.failures import RefusedForSafety, stops_the_run
from pipeline.proofs import Candidate, Doomed, KeptFolder, SafeDeleteProof, prove
from resources.delivery import Intent, NotNow
from resources.pixel import NotReleased, PixelRefused
from tests.pixel_folder import SharedFolder

DAY = date(2024, 2, 29)
STRANGER = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"


def test_a_folder_that_is_set_up_well_may_be_used(shared: SharedFolder) -> None:
    shared.pixel().prepare()
    assert shared.pixel().folder() == shared.here
    assert shared.pixel(folder_path="/elsewhere").folder() == Path("/elsewhere")


@pytest.mark.parametrize("kind", ["sendreceive", "receiveonly"])
def test_a_folder_that_is_not_sendonly_is_refused_and_nothing_is_touched(shared: SharedFolder, kind: str) -> None:
    shared.share_here(kind)
    with pytest.raises(PixelRefused, match=f"is {kind}.*Set it to Send Only") as refused:
        shared.pixel().prepare()
    assert isinstance(stops_the_run(refused.value), RefusedForSafety)
    assert shared.files_here() == {}


def test_a_folder_that_syncthing_does_not_have_is_refused(shared: SharedFolder) -> None:
    with pytest.raises(PixelRefused, match="no folder other"):
        shared.pixel(folder_id="other").prepare()
    with pytest.raises(PixelRefused, match="no folder other"):
        shared.pixel(folder_id="other").folder()


def test_a_phone_that_syncthing_does_not_know_is_refused(shared: SharedFolder) -> None:
    with pytest.raises(PixelRefused, match=f"does not know the phone {STRANGER}"):
        shared.pixel(device_id=STRANGER).prepare()


def test_a_folder_that_is_not_shared_with_the_phone_is_refused(shared: SharedFolder) -> None:
    shared.share_here(devices=[{"deviceID": shared.nas.device}])
    with pytest.raises(PixelRefused, match="is not shared with the phone"):
        shared.pixel().prepare()


def test_a_folder_whose_disk_is_away_is_not_taken_for_an_empty_one(shared: SharedFolder, tmp_path: Path) -> None:
    intent = an_original(tmp_path, b"a photo")
    os.rename(shared.here, tmp_path / "unplugged")
    for folder in (shared.pixel(), shared.pixel(folder_path=str(tmp_path))):
        with pytest.raises(RootAway, match=r"has no \.stfolder"):
            folder.prepare()
        with pytest.raises(RootAway):
            folder.deliver(intent)
    assert not shared.here.exists()


def test_while_syncthing_is_away_files_wait_and_nothing_fails(shared: SharedFolder, tmp_path: Path) -> None:
    placed, pixel = shared.place("a.jpg"), shared.pixel()
    shared.nas.stop()
    try:
        with pytest.raises(NotNow) as later:
            pixel.look(placed)
        assert later.value.stops
        for asked in (pixel.prepare, pixel.folder, lambda: pixel.scan(["a.jpg"])):
            with pytest.raises(NotNow):
                asked()
        with pytest.raises(NotNow):
            pixel.deliver(an_original(tmp_path, b"a photo"))
    finally:
        shared.nas.start()
    shared.wait_for(placed, "delivered")


def test_a_key_that_is_not_taken_lets_files_wait_with_the_reason(shared: SharedFolder) -> None:
    pixel = shared.pixel(api_key=SecretStr("another"))
    for asked in (pixel.prepare, pixel.folder, lambda: pixel.look(shared.place("b.jpg"))):
        with pytest.raises(NotNow, match="does not take the API key"):
            asked()


def test_what_is_no_photo_never_reaches_the_phone_and_a_persons_own_patterns_stay(shared: SharedFolder) -> None:
    (shared.here / ".stignore").write_text("!*.jpg\n*.bak\n")
    shared.pixel().prepare()
    shared.pixel().prepare()
    lines = (shared.here / ".stignore").read_text().split()
    assert lines == ["/.mediapipe-root", ".mpa-*", "!*.jpg", "*.bak"]
    part = f"{PART_PREFIX}tag-0123.part"
    for name in (part, ".mediapipe-root"):
        (shared.here / name).write_bytes(b"ours")
    shared.nas.post("db/scan", folder=shared.folder_id)
    shared.wait_for(shared.place("a.jpg"), "delivered")
    assert sorted(one.name for one in shared.there.iterdir() if not one.name.startswith(".st")) == ["a.jpg"]


def test_a_file_is_placed_whole_and_read_only_with_the_time_of_its_original(
    shared: SharedFolder, tmp_path: Path
) -> None:
    intent = an_original(tmp_path, b"a photo")
    said = shared.pixel().deliver(intent)
    target = shared.here / intent.remote_path
    status = target.stat()
    assert target.read_bytes() == b"a photo"
    assert status.st_mode & 0o777 == 0o444
    assert status.st_ino != os.stat(intent.source).st_ino
    assert said.remote_ids == {"mtime_ns": os.stat(intent.source).st_mtime_ns}
    assert not said.recovered
    assert shared.pixel().deliver(intent).recovered
    assert sorted(shared.files_here()) == [intent.remote_path]


def test_what_stands_there_is_not_overwritten(shared: SharedFolder, tmp_path: Path) -> None:
    intent = an_original(tmp_path, b"a photo")
    (shared.here / intent.remote_path).write_bytes(b"somebody's")
    with pytest.raises(PlaceTaken):
        shared.pixel().deliver(intent)
    assert shared.files_here() == {intent.remote_path: b"somebody's"}


def test_other_bytes_than_promised_are_not_placed(shared: SharedFolder, tmp_path: Path) -> None:
    intent = an_original(tmp_path, b"a photo")
    Path(intent.source).write_bytes(b"damaged")
    with pytest.raises(ContentMismatch):
        shared.pixel().deliver(intent)
    assert shared.files_here() == {}


def test_a_phone_counts_as_a_copy_only_where_the_owner_says_so_and_while_it_has_the_file(
    shared: SharedFolder, tmp_path: Path
) -> None:
    intent, pixel = an_original(tmp_path, b"a photo"), shared.pixel(counts_as_copy=True)
    placed = shared.place(intent.remote_path, b"a photo")
    shared.wait_for(placed, "delivered")
    assert shared.pixel().evidence(intent).verdict == "unverifiable"
    assert pixel.evidence(intent).proves(intent.sha256, intent.size)
    assert pixel.evidence(replace(intent, sha256="00" * 32)).verdict == "unverifiable"
    (shared.there / intent.remote_path).unlink()
    shared.scan_phone()
    shared.wait_for(placed, "freed_on_phone")
    assert pixel.evidence(intent).reason == "the phone has deleted it since"


def test_a_file_that_was_changed_here_with_its_time_kept_does_not_count_as_a_copy(
    shared: SharedFolder, tmp_path: Path
) -> None:
    intent = an_original(tmp_path, b"a photo")
    placed = shared.place(intent.remote_path, b"a photo")
    shared.wait_for(placed, "delivered")
    shared.put(intent.remote_path, b"damaged", placed.mtime_ns)
    assert shared.pixel(counts_as_copy=True).evidence(intent).verdict == "unverifiable"


def test_a_file_leaves_the_folder_on_a_proof_of_its_own_alone(shared: SharedFolder, tmp_path: Path) -> None:
    intent, pixel = an_original(tmp_path, b"a photo"), shared.pixel()
    placed = shared.place(intent.remote_path, b"a photo")
    other = shared.place("other.jpg", b"another")
    for one in (placed, other):
        shared.wait_for(one, "delivered")
    proof = a_proof(shared, intent, tmp_path)
    with pytest.raises(NotReleased):
        pixel.release(proof, "other.jpg", DAY)
    pixel.release(proof, intent.remote_path, DAY)
    pixel.scan([intent.remote_path])
    assert sorted(shared.files_here()) == ["other.jpg"]
    shared.wait_for(shared.place("later.jpg"), "delivered")
    assert shared.is_on_phone(intent.remote_path)


def test_a_file_that_holds_other_bytes_than_its_proof_stays(shared: SharedFolder, tmp_path: Path) -> None:
    intent = an_original(tmp_path, b"a photo")
    shared.put(intent.remote_path, b"a photo")
    proof = a_proof(shared, intent, tmp_path)
    shared.put(intent.remote_path, b"edited!")
    with pytest.raises(ContentMismatch):
        shared.pixel().release(proof, intent.remote_path, DAY)
    assert shared.files_here() == {intent.remote_path: b"edited!"}


def an_original(folder: Path, content: bytes) -> Intent:
    source = folder / "IMG_0001.jpg"
    source.write_bytes(content)
    os.utime(source, ns=(1_500_000_000_000_000_789, 1_500_000_000_000_000_789))
    return Intent(str(source), "20240229_IMG_0001.jpg", hashlib.sha256(content).hexdigest(), len(content), "tag")


def a_proof(shared: SharedFolder, intent: Intent, kept: Path) -> SafeDeleteProof:
    """Proves the copy that we keep, as if it stood on another disk."""
    subject = f"pixel:{intent.remote_path}"
    doomed = Doomed(shared.here / intent.remote_path, subject, intent.sha256, intent.size, "original", "pixel")
    witness = OnAnotherDisk("originals", kept)
    return prove(doomed, [Candidate(witness, replace(intent, remote_path="IMG_0001.jpg"), "original")], 1)


class OnAnotherDisk(KeptFolder):
    def shares_disk_with(self, folder: Path) -> bool:
        return False
