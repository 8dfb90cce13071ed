"""Runs under attack: what a person has to settle comes up in their middle, and crashes between any two records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog import deliveries
from catalog.icloud import account_state
from pipeline.icloud_account import ask_for_code
from resources.icloud import ICloud
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from services.icloud_standin.srp import verifier
from tests.icloud_clients import PASSWORD
from tests.icloud_library import fill, jpeg
from tests.icloud_uploads import ACCOUNT, BYTES, Home, apple
from tests.icloud_world import World, bodies

Change = Callable[[Account], None]


def locked(account: Account) -> None:
    account.locked = True
    account.expire_session()


def unlocked(account: Account) -> None:
    account.locked = False


def new_terms(account: Account) -> None:
    account.terms_pending = True
    account.expire_cookies()


def terms_accepted(account: Account) -> None:
    account.terms_pending = False


def protected(account: Account) -> None:
    account.advanced_protection = True
    account.expire_cookies()


def web_allowed(account: Account) -> None:
    account.web_access = True


def other_password(account: Account) -> None:
    account.verifier = verifier("another one")
    account.expire_session()


def same_password(account: Account) -> None:
    account.verifier = verifier(PASSWORD)


KEPT_OUT = [
    (locked, unlocked, "unlock"),
    (new_terms, terms_accepted, "terms"),
    (protected, web_allowed, "web_access"),
    (other_password, same_password, "password"),
]


def in_the_middle(monkeypatch: pytest.MonkeyPatch, method: str, number: int, happens: Callable[[], object]) -> None:
    """Lets something happen before the n-th call of one of the client's methods."""
    plain, calls = getattr(ICloud, method), [0]

    def called(self: ICloud, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            happens()
        return plain(self, *given)

    monkeypatch.setattr(ICloud, method, called)


@pytest.mark.parametrize(("happens", "settled", "need"), KEPT_OUT)
def test_downloads_that_a_person_has_to_help_with_wait_and_go_on(
    signed_in: World,
    account: Account,
    library: Library,
    icloud: ICloudStandin,
    monkeypatch: pytest.MonkeyPatch,
    happens: Change,
    settled: Change,
    need: str,
) -> None:
    fill(library, 60)
    signed_in.sync()
    in_the_middle(monkeypatch, "lookup", 2, lambda: happens(account))
    report = signed_in.work()
    assert set(report.counts) == {"stored", "pending"} and not report.failures
    with signed_in.engine.connect() as connection:
        assert account_state(connection, "icloud").needs == need
    icloud.reset_requests()
    assert set(signed_in.work().counts) <= {"pending"} and icloud.request_log() == []
    settled(account)
    assert ask_for_code(signed_in.engine, signed_in.account()) is None, "it is still trusted"
    signed_in.wait_out()
    assert set(signed_in.work().counts) == {"stored"}
    assert signed_in.kept() == bodies(library)


@pytest.fixture
def home(engine: Engine, tmp_path: Path, account: Account) -> Home:
    return Home(engine, tmp_path / "home").login(account)


@pytest.mark.parametrize(("happens", "settled", "need"), KEPT_OUT)
def test_uploads_that_a_person_has_to_help_with_wait_and_go_on(
    home: Home,
    account: Account,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
    happens: Change,
    settled: Change,
    need: str,
) -> None:
    for number in range(5):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    in_the_middle(monkeypatch, "upload", 3, lambda: happens(account))
    report = home.upload()
    assert report.counts == {"uploaded": 2, "pending": 3} and (report.failures, home.attempts) == ([], 0)
    with home.engine.connect() as connection:
        assert account_state(connection, ACCOUNT).needs == need
    settled(account)
    assert ask_for_code(home.engine, home.sign_in) is None, "it is still trusted"
    home.time_passes()
    assert (home.upload().counts, home.verify().counts) == ({"uploaded": 3}, {"verified": 5})
    assert len(library.assets) == 5


def crashing(plain: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def crash(*given: Any, **more: Any) -> Any:
        if after:
            plain(*given, **more)
        raise KeyboardInterrupt

    return crash


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["add_intent", "journal_ids", "upload", "acknowledge_delivery", "record_evidence"])
def test_a_crash_before_or_after_any_record_of_an_upload_leaves_one_photo_proven_once(
    home: Home, library: Library, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    home.photo(jpeg(1))
    place: Any = ICloud if step == "upload" else deliveries
    with monkeypatch.context() as patch:
        patch.setattr(place, step, crashing(getattr(place, step), after=after))
        with pytest.raises(KeyboardInterrupt):
            home.deliver()
    home.icloud.close()
    home.time_passes()
    home.change("DELETE FROM work")  # as what a killed run had claimed is freed
    assert home.sync().files == 0, "what we may have sent is not taken in"
    home.deliver()
    assert (home.states, [asset.checksum for asset in library.assets]) == (["verified"], [apple(jpeg(1))])
    assert home.sync().files == 0


def test_an_upload_while_apple_is_indexing_waits(home: Home, library: Library, icloud: ICloudStandin) -> None:
    home.photo(jpeg(1))
    home.stage()
    icloud.faults.add(Fault("not_indexed"))
    assert home.upload().counts == {"pending": 1}
    home.time_passes()
    assert (home.upload().counts, home.verify().counts) == ({"uploaded": 1}, {"verified": 1})
    assert len(library.assets) == 1


def test_bytes_that_are_cut_off_on_their_way_to_apple_make_no_photo(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(Fault("truncate", where=BYTES))
    assert home.deliver()[2] == {"verified": 1}
    assert [asset.master.original.content.size for asset in library.assets] == [len(jpeg(1))]
