"""The whole command when Apple wants a person in the middle of its downloads: what it says, keeps, and takes up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.stage import CLAIM_BATCH
from services.icloud_standin import Account, ICloudStandin, Library
from tests.conftest import Home, temporary_files
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_home import sign_in as sign_in_here
from tests.icloud_library import jpeg
from tests.icloud_world import CONTENT, TrustEnds, bodies, sign_in

MORE = 6  # than one batch: their addresses are asked for once the first batch is under way
NOON = datetime(2026, 5, 17, 10, 0, tzinfo=UTC)
SIGN_IN, OK = 4, 0
SETTINGS = """
start_date = 2026-05-01
timezone = "Europe/Berlin"
[compression]
enabled = false
[library]
enabled = false
[destinations.archive]
enabled = false
"""


@pytest.fixture
def in_icloud(home: Home, account: Account, library: Library, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that is signed in to a library of a few more photos than one batch has."""
    home.settings(SETTINGS)
    home.environment = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
    for variable, value in home.environment.items():
        monkeypatch.setenv(variable, value)
    for number in range(CLAIM_BATCH + MORE):
        library.add(f"IMG_{number:04d}.JPG", jpeg(number), taken=NOON + timedelta(seconds=number), offset_seconds=7200)
    with home.opened() as platform:
        platform.prepare()
        sign_in_here(platform, account)
    return home


def observed(home: Home) -> dict[str, int]:
    with home.opened() as platform, platform.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT state, count(*) FROM source_files WHERE role = 'lead' GROUP BY state")
        return dict(rows.tuples().all())


def kept(home: Home) -> dict[str, bytes]:
    """Every photo that is kept, by its Apple checksum."""
    with home.opened() as platform, platform.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT apple_checksum, stored_path FROM media_files WHERE kind = 'photo'"
        ).all()
        folder: Path = platform.settings.roots.originals
    return {checksum: (folder / path).read_bytes() for checksum, path in rows}


def downloads(icloud: ICloudStandin) -> int:
    return sum(CONTENT in host for _, host, _ in icloud.request_log())


def test_a_run_whose_trust_ends_among_its_downloads_ends_with_4_and_goes_on_after_the_code(
    in_icloud: Home, account: Account, library: Library, icloud: ICloudStandin
) -> None:
    home = in_icloud
    ends = icloud.faults.add(TrustEnds("answer", "records/lookup$", after=1, status=421, account=account))
    said = home.cli("run", "--json", expect=SIGN_IN)
    report: Any = said.json
    assert ends.happened == 1
    notes = [one for one in report["left"]["notes"] if "mediapipe-assets icloud login" in one]
    assert len(notes) == 1 and "Apple asks for a code" in notes[0]
    assert (report["failed"], report["kept"], report["left"]["waiting"]) == (0, CLAIM_BATCH, MORE)
    assert observed(home) == {"kept": CLAIM_BATCH, "pending": MORE}
    assert len(kept(home)) == CLAIM_BATCH and kept(home).items() <= bodies(library).items()
    assert temporary_files(home) == [] and account.codes_sent == 1, "nobody is sent a code unasked"

    icloud.reset_requests()
    said = home.cli("run", expect=SIGN_IN)
    assert "Apple asks for a code" in said.err and "icloud login" in said.err
    assert icloud.request_log() == [], "whatever waits for a person asks Apple nothing"

    sign_in(home, account)
    icloud.reset_requests()
    report = home.cli("run", "--json", expect=OK).json
    assert (report["kept"], report["failed"], report["left"]["waiting"], report["left"]["notes"]) == (MORE, 0, 0, [])
    assert kept(home) == bodies(library)
    assert downloads(icloud) == MORE, "what was here already is not fetched again"
