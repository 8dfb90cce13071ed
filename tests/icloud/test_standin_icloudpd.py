"""The real icloudpd on the stand-in, with a copy of a session that pyicloud has signed in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from media.apple_checksum import apple_checksum
from services.icloud_standin import Fault
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import NFC_NAME, jpeg, movie, raw

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
PROGRAM = Path(sys.executable).with_name("icloudpd")
DONE = "All photos and videos have been downloaded"


@pytest.fixture
def run(api, icloud, session_folder, tmp_path):
    """Runs icloudpd into a folder and returns what it said and the checksums of what it wrote."""
    copy, target = tmp_path / "copy", tmp_path / "target"

    def once(*options: str) -> tuple[int, str, dict[str, str]]:
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        (session,) = session_folder.glob("*.session")
        shutil.copy(session, copy)
        # The same cookies under the name that icloudpd looks for.
        shutil.copy(session.with_suffix(".cookiejar"), copy / session.stem)
        command = [str(PROGRAM), "--username", NAME, "--cookie-directory", str(copy), "--directory", str(target)]
        command += ["--password-provider", "parameter", "--file-match-policy", "name-id7", "--no-progress-bar"]
        command += ["--keep-unicode-in-filenames", "--live-photo-mov-filename-policy", "original"]
        command += ["--log-level", "info", *options]
        assert PASSWORD not in " ".join(command)
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=dict(os.environ)
        )
        written = {path.name: apple_checksum(path) for path in target.rglob("*") if path.is_file()}
        return ended.returncode, ended.stdout + ended.stderr, written

    return once


def test_it_signs_in_with_a_copied_session_and_downloads_what_is_there(run, icloud, library, account):
    library.add("IMG_1.HEIC", jpeg(1), taken=NOON, offset_seconds=7200, live=movie(1))
    library.add(NFC_NAME, jpeg(2), taken=NOON, offset_seconds=7200, edited=jpeg(2, "edited"))
    library.add("IMG_3.JPG", jpeg(3), taken=None, offset_seconds=0, raw=raw(3))
    library.add("IMG_3.JPG", jpeg(4), taken=NOON, offset_seconds=0)
    library.add("clip.MOV", movie(5), taken=NOON, offset_seconds=0)
    library.add("hidden.JPG", jpeg(6), taken=NOON, offset_seconds=0, hidden=True)
    codes = account.codes_sent
    code, said, written = run()
    assert code == 0 and DONE in said and "ERROR" not in said
    originals = {asset.checksum for asset in library.assets if not asset.hidden}
    assert originals <= set(written.values())
    assert len(written) == 6, "the originals and the Live Photo's video; edits and RAW files need other sizes"
    assert account.codes_sent == codes

    library.add("IMG_9.JPG", jpeg(9), taken=NOON, offset_seconds=0)
    icloud.reset_requests()
    _, said, written = run()
    downloads = [path for _, host, path in icloud.request_log() if "icloud-content" in host]
    assert len(written) == 7 and len(downloads) == 1 and DONE in said


def test_it_takes_a_body_that_was_cut_off_for_a_whole_one(run, icloud, library):
    asset = library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=0)
    icloud.faults.add(Fault("truncate", where="icloud-content", at=100))
    code, said, written = run()
    assert code == 0 and DONE in said
    assert list(written.values()) != [asset.checksum], "which is why its files are reconciled by checksum"


def test_it_fails_at_once_when_the_copied_session_has_expired(run, account, library):
    library.add("IMG_1.JPG", jpeg(1), taken=NOON, offset_seconds=0)
    account.expire_session()
    codes = account.codes_sent
    _, said, written = run()
    assert DONE not in said and written == {} and account.codes_sent == codes
