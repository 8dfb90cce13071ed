"""What lies on this machine already is stored in one run, also while Apple cannot be asked for the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from media.apple_checksum import apple_checksum
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.icloud_home import ICloudHome, MakeHome, sign_in
from tests.icloud_library import jpeg

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
EACH = 9  # photos that lie here, and as many that do not


def throttled(icloud: ICloudStandin, account: Account) -> None:
    icloud.faults.add(Fault("answer", where="records/lookup$", status=503, times=None))


def away(icloud: ICloudStandin, account: Account) -> None:
    icloud.faults.add(Fault("drop", times=None))


def wants_a_person(icloud: ICloudStandin, account: Account) -> None:
    account.expire_trust()


@pytest.fixture
def half_here(make_home: MakeHome, hurried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ICloudHome:
    """A home that has read a library, every other photo of which lies in a folder; two photos are claimed at a time."""
    monkeypatch.setattr("pipeline.stage.CLAIM_BATCH", 2)
    home = make_home()
    own = tmp_path / "own"
    own.mkdir()
    for number in range(2 * EACH):
        taken = NOON + timedelta(minutes=number)
        home.library.add(f"IMG_{number}.JPG", jpeg(number), taken=taken, offset_seconds=7200)
        if number % 2:
            (own / f"{number}.jpg").write_bytes(jpeg(number))
    home.sync()
    assert home.cli("import-existing", own)["matched"] == EACH
    return home


def kept(home: ICloudHome) -> set[str]:
    return {apple_checksum(path) for path in home.originals.rglob("*.JPG")}


def copies(library: Library) -> set[str]:
    """Apple's checksums of the photos that lie here."""
    return {asset.master_name for number, asset in enumerate(library.assets) if number % 2}


@pytest.mark.parametrize("trouble", [throttled, away, wants_a_person])
def test_while_apple_cannot_be_asked_everything_that_lies_here_is_stored(
    half_here: ICloudHome, account: Account, trouble: Callable[[ICloudStandin, Account], None]
) -> None:
    home = half_here
    trouble(home.apple, account)
    report = home.work()
    assert (report.counts["stored"], report.figures["copied"], report.failures) == (EACH, EACH, [])
    assert 0 < report.counts["pending"] <= 4, "of what Apple has alone no more is claimed"
    assert report.notes[0][0] == "icloud_originals", "it says what holds up the rest"
    assert kept(home) == copies(home.library)
    assert home.states() == {"kept": EACH, "pending": EACH}
    assert home.work().counts["stored"] == 0

    home.apple.faults.clear()
    account_rests = "UPDATE icloud_accounts SET throttled_until = NULL, needs = NULL"
    with home.engine.begin() as connection:
        connection.exec_driver_sql(account_rests)
        connection.exec_driver_sql("UPDATE work SET not_before = now() - interval '1 s'")
    if trouble is wants_a_person:
        sign_in(home.platform, account)
    assert home.work().counts == {"stored": EACH}
    assert home.states() == {"kept": 2 * EACH}
    assert kept(home) == {asset.master_name for asset in home.library.assets}


def test_a_copy_that_is_no_longer_apples_waits_for_apple(
    half_here: ICloudHome, account: Account, tmp_path: Path
) -> None:
    home = half_here
    (tmp_path / "own" / "17.jpg").write_bytes(jpeg(99))
    (tmp_path / "own" / "15.jpg").unlink()
    wants_a_person(home.apple, account)
    report = home.work()
    assert (report.counts["stored"], report.failures) == (EACH - 2, [])
    assert kept(home) < copies(home.library), "other bytes are not taken for Apple's"
    sign_in(home.platform, account)
    assert home.work().counts == {"stored": EACH + 2}
    assert kept(home) == {asset.master_name for asset in home.library.assets}
