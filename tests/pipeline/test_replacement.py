"""At a destination that replaces, a newer rendition takes the place of the older once it is proven."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipeline.proofs import KeptFolder
from pipeline.trash import find_trashed, undo_release
from resources.archive import ArchiveFolder
from tests.aging_home import Home
from tests.proof_files import Elsewhere, sha256


@pytest.fixture
def replacing(engine: Engine, tmp_path: Path) -> Home:
    return Home(engine, tmp_path / "home", replace=True)


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeptFolder, "shares_disk_with", lambda self, folder: False)


def archived(home: Home) -> dict[str, bytes]:
    """What the archive holds of renditions, its trash included."""
    found = home.archive.path.glob("**/renditions/**/*.*")
    return {str(path.relative_to(home.archive.path)): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.usefixtures("other_disk")
def test_a_newer_rendition_takes_the_place_of_the_older_once_it_is_proven(replacing: Home) -> None:
    home = replacing
    first, data = home.age()
    second = home.made()[1].read_bytes()
    new_name = f"renditions/2024/05/17/IMG_1-{sha256(second)[:12]}.JPG"
    day = home.today.isoformat()
    assert archived(home) == {new_name: second, f".trash/{day}/renditions/2024/05/17/IMG_1.JPG": data}
    (row,) = home.rows("SELECT * FROM deliveries WHERE role = 'rendition'")
    assert (row.remote_path, row.sha256, row.state) == (new_name, sha256(second), "verified")
    assert (row.replaces_path, row.replaces_sha256) == (None, None)
    assert first.read_bytes() == data  # it was the proof
    (log,) = home.rows("SELECT detail FROM pipeline_logs WHERE event = 'replaced'")
    assert ".trash/" in log.detail
    assert "proven at renditions: " in log.detail
    assert not any(report.done for report in home.deliver())
    found = find_trashed(
        {**home.roots, "destination:archive": home.archive.path}, home.archive.path / "renditions/2024/05/17/IMG_1.JPG"
    )
    assert found is not None
    undo_release(home.engine, found)
    assert archived(home)["renditions/2024/05/17/IMG_1.JPG"] == data


def test_on_one_disk_both_stay_and_the_reason_is_told(replacing: Home) -> None:
    home = replacing
    home.compress()
    home.deliver()
    home.today += timedelta(days=730)
    home.compress()
    home.stage()
    home.upload()
    assert home.verify().counts == {"verified": 1}
    report = home.verify()
    assert report.counts == {"waiting": 1}
    assert "on the same disk" in report.notes[0][1]
    assert len(archived(home)) == 2
    assert not (home.archive.path / ".trash").exists()
    assert home.verify().done == 0


@pytest.mark.usefixtures("other_disk")
@pytest.mark.parametrize("killed", ["staged", "copied", "uploaded", "verified", "moved"])
def test_a_replacement_that_was_killed_anywhere_is_finished_by_the_next_run(
    replacing: Home, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    home = replacing
    home.compress()
    home.deliver()
    (old,) = home.made()
    data = old.read_bytes()
    home.today += timedelta(days=730)
    home.compress()

    class Killed(BaseException):
        pass

    def dying(real: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def die(*arguments: Any) -> Any:
            if after:
                real(*arguments)
            raise Killed

        return die

    home.stage()
    with monkeypatch.context() as patched:
        if killed == "copied":
            patched.setattr(Elsewhere, "deliver", dying(ArchiveFolder.deliver, after=True))
        if killed == "verified":
            patched.setattr(Elsewhere, "release", dying(ArchiveFolder.release, after=False))
        if killed == "moved":
            patched.setattr(Elsewhere, "release", dying(ArchiveFolder.release, after=True))
        if killed == "uploaded":
            home.upload()
        if killed == "copied":
            with pytest.raises(Killed):
                home.upload()
        if killed in ("verified", "moved"):
            home.upload()
            home.verify()
            with pytest.raises(Killed):
                home.verify()
    in_place = home.archive.path / "renditions/2024/05/17/IMG_1.JPG"
    assert in_place.exists() == (killed != "moved")
    with home.engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))  # as the start of the next run does
    home.deliver()
    second = home.made()[1].read_bytes()
    assert sorted(archived(home).values(), key=len) == sorted([second, data], key=len)
    assert not in_place.exists()
    (row,) = home.rows("SELECT state, sha256, replaces_path FROM deliveries WHERE role = 'rendition'")
    assert tuple(row) == ("verified", sha256(second), None)
    assert not any(report.done for report in home.deliver())


@pytest.mark.usefixtures("other_disk")
@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ("local changed", "holds other bytes"),
        ("local gone", "nothing stands at"),
        ("new one gone", "the new rendition is not proven now"),
    ],
)
def test_without_a_proof_the_older_stays_beside_the_newer(replacing: Home, spoilt: str, reason: str) -> None:
    home = replacing
    home.compress()
    home.deliver()
    (old,) = home.made()
    data = old.read_bytes()
    home.today += timedelta(days=730)
    home.compress()
    home.stage()
    home.upload()
    home.verify()
    if spoilt == "local changed":
        os.chmod(old, 0o644)
        old.write_bytes(b"changed")
    elif spoilt == "local gone":
        old.unlink()
    else:
        (there,) = [path for path, held in archived(home).items() if held != data]
        (home.archive.path / there).unlink()
    report = home.verify()
    assert report.counts == {"waiting": 1}
    assert reason in report.notes[0][1]
    assert archived(home)["renditions/2024/05/17/IMG_1.JPG"] == data
    (row,) = home.rows("SELECT replaces_path FROM deliveries WHERE role = 'rendition'")
    assert row.replaces_path == "renditions/2024/05/17/IMG_1.JPG"


@pytest.mark.usefixtures("other_disk")
def test_a_rendition_that_is_newer_still_waits_its_turn_and_then_goes(replacing: Home) -> None:
    home = replacing
    home.compress()
    home.stage()  # the first is on its way
    home.today += timedelta(days=730)
    home.compress()
    home.deliver()  # it arrives; nothing is replaced under way
    assert len(archived(home)) == 1
    home.deliver()
    assert [path.startswith(".trash") for path in sorted(archived(home))] == [True, False]
