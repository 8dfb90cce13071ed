"""Taking over what lies on the disk already, by Apple's checksum and never by name; and icloudpd, the real one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from media.apple_checksum import apple_checksum
from resources import icloudpd
from resources.icloud_errors import NeedsPerson, Throttled
from resources.icloudpd import ICloudpdBusy, ICloudpdMissing
from services.icloud_standin import Account, Fault, Library
from tests.conftest import tree
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_home import ICloudHome, MakeHome
from tests.icloud_library import NFC_NAME, NFD_NAME, jpeg, movie, raw

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)


def add(library: Library, name: str, number: int, **more: object) -> None:
    library.add(name, jpeg(number), taken=NOON, offset_seconds=7200, **more)  # type: ignore[arg-type]


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def home(make_home: MakeHome) -> ICloudHome:
    """A home that is signed in."""
    return make_home()


def stored_checksums(home: ICloudHome) -> list[str]:
    files = [path for path in home.originals.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(apple_checksum(path) for path in files)


def apple_has(home: ICloudHome) -> list[str]:
    return sorted(row.version for row in home.rows("SELECT DISTINCT version FROM source_files WHERE gone_at IS NULL"))


# ------------------------------------------------------------------ an existing tree


def test_a_plain_tree_with_other_names_spares_every_download(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1, live=movie(1))
    add(home.library, NFC_NAME, 2, edited=jpeg(2, "edited"))
    add(home.library, "IMG_3.JPG", 3, raw=raw(3))
    own = put(
        tmp_path / "own",
        {
            "Urlaub/Strand ä.jpeg": jpeg(1),
            "Urlaub/film": movie(1),  # without an ending, which says nothing about what it is
            "a/b/c/2.JPG": jpeg(2),
            "a/b/c/2 bearbeitet.JPG": jpeg(2, "edited"),
            "3.bak": jpeg(3),
            "3.DNG": raw(3),
            "not in iCloud.JPG": jpeg(99),
            "notes.txt": b"x" * len(jpeg(1)),
        },
    )
    before = tree(own)
    home.sync()
    said = home.cli("import-existing", own)
    assert (said["files"], said["matched"], said["known"], said["not_found"]) == (8, 6, 6, 0)
    assert said["bytes_saved"] == sum(map(len, (jpeg(1), movie(1), jpeg(2), jpeg(2, "edited"), jpeg(3), raw(3))))
    assert (said["unknown"], said["unknown_first"], said["others"]) == (1, ["not in iCloud.JPG"], 1)
    words = home.words("import-existing", own, "--dry-run")
    assert "6 files that iCloud holds" in words and "not in iCloud.JPG" in words
    assert f"run --source {own}" in words and "nothing was written" in words

    home.apple.reset_requests()
    report = home.work()
    assert report.figures["copied"] == 6 and report.counts["stored"] == 6 and not report.failures
    assert home.downloads() == 0 and home.apple.request_log() == [], "nobody even signs in"
    assert stored_checksums(home) == apple_has(home)
    assert all(path.stat().st_nlink == 1 for path in home.originals.rglob("*.JPG")), "private inodes"
    assert tree(own) == before, "the tree is only read"


def test_a_tree_of_icloudpd_is_taken_over(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    add(home.library, "IMG_1.JPG", 2)
    add(home.library, NFD_NAME, 3, live=movie(3))
    account = home.platform.icloud.accounts["icloud"]
    home.sync()
    old = tmp_path / "old"
    old.mkdir()
    assert icloudpd.download(NAME, account.folder, old, lambda _: None).complete
    said = home.cli("import-existing", old)
    assert (said["files"], said["matched"], said["not_found"], said["unknown"]) == (4, 4, 0, 0)
    home.apple.reset_requests()
    assert home.work().figures["copied"] == 4
    assert home.downloads() == 0 and stored_checksums(home) == apple_has(home)


def test_a_dry_run_remembers_nothing(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    add(home.library, "IMG_2.JPG", 2)
    own = put(tmp_path / "own", {"1.jpg": jpeg(1)})
    home.sync()
    said = home.cli("import-existing", own, "--dry-run")
    assert (said["dry_run"], said["matched"], said["bytes_saved"]) == (True, 1, len(jpeg(1)))
    assert (said["not_found"], said["not_found_bytes"]) == (1, len(jpeg(2)))
    assert home.rows("SELECT 1 FROM source_files WHERE local_path IS NOT NULL") == []


def test_icloud_is_read_first_where_it_never_was(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    own = put(tmp_path / "own", {"1.jpg": jpeg(1)})
    assert home.cli("import-existing", own)["matched"] == 1
    home.apple.reset_requests()
    assert home.cli("import-existing", own)["matched"] == 1
    assert home.apple.request_log() == [], "once it was, Apple is left alone"


def test_it_says_when_somebody_has_to_sign_in(make_home: MakeHome, tmp_path: Path) -> None:
    home = make_home(signed_in=False)
    (tmp_path / "own").mkdir()
    with pytest.raises(NeedsPerson, match="icloud login"):  # which is exit code 4
        home.cli("import-existing", tmp_path / "own")


@pytest.mark.parametrize("what", ["changed", "cut off", "gone", "a link", "a folder"])
def test_a_copy_that_is_another_one_by_now_is_downloaded(home: ICloudHome, tmp_path: Path, what: str) -> None:
    add(home.library, "IMG_1.JPG", 1)
    add(home.library, "IMG_2.JPG", 2)
    own = put(tmp_path / "own", {"1.jpg": jpeg(1), "2.jpg": jpeg(2), "x": jpeg(1)[:-1] + b"!"})
    home.sync()
    assert home.cli("import-existing", own)["matched"] == 2
    victim = own / "1.jpg"
    if what in ("changed", "cut off"):
        victim.write_bytes(jpeg(3) if what == "changed" else jpeg(1)[:100])
    else:
        victim.unlink()
    if what == "a link":
        victim.symlink_to(own / "x")
    if what == "a folder":
        victim.mkdir()
    home.apple.reset_requests()
    report = home.work()
    assert report.counts == {"stored": 2} and report.figures["copied"] == 1 and not report.failures
    assert home.downloads() == 1
    assert [note for _, note in report.notes if str(victim) in note and "downloaded" in note]
    assert stored_checksums(home) == apple_has(home)
    assert not list((home.originals / ".incoming").iterdir())


def test_of_several_copies_the_first_that_can_be_read_counts(
    home: ICloudHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(home.library, "IMG_1.JPG", 1)
    own = put(tmp_path / "own", {"a.jpg": jpeg(1), "b.jpg": jpeg(1), "c.jpg": jpeg(1)})

    def unreadable_a(path: Path) -> str:  # root may read everything, so that modes will not do
        if path.name == "a.jpg":
            raise PermissionError(13, "Permission denied")
        return apple_checksum(path)

    monkeypatch.setattr("pipeline.icloud_import.apple_checksum", unreadable_a)
    home.sync()
    said = home.cli("import-existing", own)
    assert said["unreadable"] == [{"file": "a.jpg", "reason": "Permission denied"}]
    assert (said["matched"], said["known"]) == (1, 2)
    assert home.rows("SELECT local_path FROM source_files")[0].local_path == str(own / "b.jpg")


def test_links_hidden_files_and_the_trash_of_a_nas_are_left_alone(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    hidden = {".hidden.jpg": jpeg(1), ".trash/1.jpg": jpeg(1), "@eaDir/1.jpg": jpeg(1)}
    own = put(tmp_path / "own", hidden)
    put(tmp_path / "elsewhere", {"1.jpg": jpeg(1)})
    (own / "link.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (own / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(own / "pipe.jpg")
    home.sync()
    said = home.cli("import-existing", own)
    assert (said["files"], said["matched"]) == (0, 0)


def test_the_same_photo_twice_in_icloud_is_copied_once(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    add(home.library, "IMG_1.JPG", 1)
    own = put(tmp_path / "own", {"1.jpg": jpeg(1)})
    home.sync()
    said = home.cli("import-existing", own)
    assert (said["matched"], said["bytes_saved"]) == (2, len(jpeg(1)))
    assert home.work().counts == {"stored": 1, "duplicates": 1} and home.downloads() == 0


def test_what_failed_before_is_due_at_once_when_a_copy_is_found(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    home.sync()
    home.apple.faults.add(Fault("flip", where="icloud-content", times=None))
    assert home.work(backoff_seconds=(3600.0,)).counts["failed"] == 1
    own = put(tmp_path / "own", {"1.jpg": jpeg(1)})
    home.cli("import-existing", own)
    assert home.work().counts == {"stored": 1}


def test_files_that_are_here_already_count_as_known(home: ICloudHome, tmp_path: Path) -> None:
    add(home.library, "IMG_1.JPG", 1)
    home.sync()
    home.work()
    own = put(tmp_path / "own", {"1.jpg": jpeg(1)})
    said = home.cli("import-existing", own)
    assert (said["matched"], said["known"], said["unknown"], said["not_found"]) == (0, 1, 0, 0)


# ------------------------------------------------------------------ icloudpd


def test_a_first_import_by_icloudpd_is_reconciled_by_checksum(home: ICloudHome) -> None:
    add(home.library, "IMG_1.JPG", 1, live=movie(1))
    add(home.library, "IMG_1.JPG", 2)  # another photo of the same name and day
    add(home.library, NFC_NAME, 3)
    add(home.library, NFD_NAME, 4)
    add(home.library, "IMG_5.JPG", 5, edited=jpeg(5, "edited"))  # icloudpd does not fetch edits
    said = home.cli("import", "--engine", "icloudpd")["libraries"][0]
    assert (said["complete"], said["reconciled"], said["problems"]) == (True, True, [])
    assert (said["downloaded"], said["matched"], said["not_found"]) == (6, 6, 1)
    place = Path(said["tree"])
    assert place == home.platform.roots["staging"] / "icloud" / "icloudpd"

    home.apple.reset_requests()
    report = home.work()
    assert report.figures["copied"] == 6 and report.counts["stored"] == 7 and home.downloads() == 1
    assert stored_checksums(home) == apple_has(home)
    assert len([path for path in place.rglob("*") if path.is_file()]) == 6, "the tree stays for a person to delete"
    nothing = home.cli("import", "--engine", "icloudpd")["libraries"][0]
    assert (nothing["downloaded"], nothing["to_download"]) == (0, 0)


def test_a_file_that_icloudpd_takes_for_whole_is_not_taken_from_it(home: ICloudHome) -> None:
    add(home.library, "IMG_1.JPG", 1)
    add(home.library, "IMG_2.JPG", 2)
    home.apple.faults.add(Fault("truncate", where="icloud-content", at=100))
    said = home.cli("import", "--engine", "icloudpd", expect=3)["libraries"][0]
    assert said["complete"] and not said["reconciled"]
    assert (said["matched"], said["unknown"], said["not_found"]) == (1, 1, 1)
    report = home.work()
    assert report.counts == {"stored": 2} and report.figures["copied"] == 1
    assert stored_checksums(home) == apple_has(home)


def test_an_error_of_icloudpd_is_told_though_it_calls_itself_done(home: ICloudHome) -> None:
    add(home.library, "IMG_1.JPG", 1)
    add(home.library, "IMG_2.JPG", 2)
    home.apple.faults.add(Fault("answer", where="icloud-content", status=404))
    said = home.cli("import", "--engine", "icloudpd", expect=1)["libraries"][0]
    assert not said["complete"] and "Not Found (404)" in said["problems"] and said["matched"] == 1
    assert home.work().counts == {"stored": 2}


def test_apple_is_left_alone_when_it_turned_icloudpd_away(home: ICloudHome) -> None:
    add(home.library, "IMG_1.JPG", 1)
    home.apple.faults.add(Fault("answer", where="icloud-content", status=503, times=None))
    said = home.cli("import", "--engine", "icloudpd", expect=1)["libraries"][0]
    assert said["throttled"] and not said["complete"] and said["matched"] == 0
    with pytest.raises(Throttled):
        home.sync()


def test_a_dry_run_of_the_import_starts_nothing(home: ICloudHome, monkeypatch: pytest.MonkeyPatch) -> None:
    add(home.library, "IMG_1.JPG", 1)
    monkeypatch.setattr(icloudpd, "program", lambda: pytest.fail("it was started"))
    said = home.cli("import", "--engine", "icloudpd", "--dry-run")["libraries"][0]
    assert (said["to_download"], said["library_bytes"]) == (1, len(jpeg(1)))
    assert not Path(said["tree"]).exists()


# ------------------------------------------------------------------ the process

FAKE = """#!{python}
import json, os, subprocess, sys, time
here = {here!r}
json.dump({{"argv": sys.argv, "env": dict(os.environ)}}, open(here + "/told", "w"))
session = sys.argv[sys.argv.index("--cookie-directory") + 1]
json.dump(os.listdir(session), open(here + "/files", "w"))
print("2026-01-01 00:00:00 INFO     Downloaded /x/1.JPG", flush=True)
if {stays}:
    child = subprocess.Popen(["sleep", "600"])
    open(here + "/child", "w").write(str(child.pid))
    print("2026-01-01 00:00:00 INFO     Downloaded /x/2.JPG", flush=True)
    child.wait()
print("2026-01-01 00:00:00 INFO     All photos and videos have been downloaded")
"""


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return put(tmp_path / "icloud", {"aexamplecom.session": b"{}", "aexamplecom.cookiejar": b"#LWP"})


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, *, stays: bool = False) -> Path:
    path = folder / "fake-icloudpd"
    path.write_text(FAKE.format(python=sys.executable, here=str(folder), stays=stays))
    path.chmod(0o755)
    monkeypatch.setattr(icloudpd, "program", lambda: path)
    return path


def test_it_is_told_nothing_that_deletes_and_never_the_password(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = put(tmp_path, {"ca.pem": b""}) / "ca.pem"
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("MEDIAPIPE_ICLOUD__PASSWORD", PASSWORD)
    fake(tmp_path, monkeypatch)
    (tmp_path / "tree").mkdir()
    ended = icloudpd.download(NAME, session, tmp_path / "tree", lambda _: None)
    assert ended.complete and ended.files == 1
    told = json.loads((tmp_path / "told").read_text())
    options = " ".join(told["argv"][1:])
    assert not re.search("delet|keep-icloud|remove|password [^p]|-p ", options.replace(str(tmp_path), ""))
    for wanted in (
        "--password-provider parameter",
        "--file-match-policy name-id7",
        "--keep-unicode-in-filenames",
        "--live-photo-mov-filename-policy original",
        "--log-level info",
    ):
        assert wanted in options
    assert PASSWORD not in options and PASSWORD not in told["env"].values()
    assert (told["env"]["TZ"], told["env"]["HTTPS_PROXY"]) == ("UTC", "http://127.0.0.1:9")
    assert told["env"]["REQUESTS_CA_BUNDLE"] == str(bundle)
    assert not [name for name in told["env"] if name.startswith("MEDIAPIPE")]
    assert sorted(json.loads((tmp_path / "files").read_text())) == ["aexamplecom", "aexamplecom.session"]
    assert sorted(path.name for path in session.iterdir()) == ["aexamplecom.cookiejar", "aexamplecom.session"]


def test_an_interrupt_ends_it_with_all_that_it_started(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, stays=True)
    (tmp_path / "tree").mkdir()

    def interrupt_at_the_second(files: int) -> None:
        if files == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        icloudpd.download(NAME, session, tmp_path / "tree", interrupt_at_the_second)
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert not list(session.glob("icloudpd-*")), "the copy of the session is gone"


def test_one_that_outlived_us_keeps_a_second_from_its_tree(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, stays=True)
    (tmp_path / "tree").mkdir()
    code = (
        "import sys; from pathlib import Path; from resources import icloudpd\n"
        "icloudpd.program = lambda: Path(sys.argv[1])\n"
        "icloudpd.download('a@example.com', Path(sys.argv[2]), Path(sys.argv[3]), lambda _: None)"
    )
    arguments = [str(tmp_path / "fake-icloudpd"), str(session), str(tmp_path / "tree")]
    us = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=Path(icloudpd.__file__).parents[1])
    end = time.monotonic() + 20
    while not (tmp_path / "child").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    left = psutil.Process(us.pid).children(recursive=True)
    us.kill()
    us.wait()
    try:
        with pytest.raises(ICloudpdBusy):
            icloudpd.download(NAME, session, tmp_path / "tree", lambda _: None)
    finally:
        os.killpg(left[0].pid, signal.SIGKILL)


def test_a_machine_without_it_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ICloudpdMissing, match="pip install"):
        icloudpd.program()


def test_the_account_is_nobody_elses_meanwhile(
    home: ICloudHome, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import icloud_account

    add(home.library, "IMG_1.JPG", 1)
    home.sync()
    seen = []

    def busy(apple_id: str, folder: Path, place: Path, on_file: object) -> icloudpd.Ended:
        with (
            pytest.raises(icloud_account.AccountBusy),
            icloud_account.owned(home.engine, home.platform.icloud.accounts["icloud"]),
        ):
            pass
        seen.append(apple_id)
        return icloudpd.Ended(0, True, 0, ())

    monkeypatch.setattr(icloudpd, "download", busy)
    home.cli("import", "--engine", "icloudpd")
    assert seen == [NAME]
