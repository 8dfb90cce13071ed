"""Signing in: as far as it goes without a person, what is said when one is needed, and when Apple is left alone."""

from __future__ import annotations

import contextlib
import json
import logging
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog.icloud import AccountState, account_state
from mediapipe_assets import cli, platform
from pipeline import icloud_account
from pipeline.icloud_account import AccountBusy, LeftAlone, NoCodeAwaited, ask_for_code, enter_code, silence
from resources.icloud_errors import Away, NeedsPerson, Throttled
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from services.icloud_standin.srp import verifier
from tests.icloud_clients import NAME, PASSWORD
from tests.icloud_library import fill
from tests.icloud_world import LISTING, World, as_it_is


def state(world: World) -> AccountState:
    with world.engine.connect() as connection:
        return account_state(connection, "icloud")


def pages(icloud: ICloudStandin) -> list[str]:
    """The last word of each address that was asked for since the last look."""
    found = [path.rpartition("/")[2] for _, _, path in icloud.request_log()]
    icloud.reset_requests()
    return found


def wrong(account: Account) -> str:
    return "111111" if account.code == "000000" else "000000"


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on this home, and returns its exit code and what it said."""

    @contextlib.contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[Any]:
        yield world.platform

    monkeypatch.setattr(platform, "open_platform", opened)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mediapipe-assets", *words])
        capfd.readouterr()
        code = cli._code_of()
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


# ------------------------------------------------------------------ without a person


@pytest.mark.parametrize(
    "gone, asked",
    [
        ("", {"validate"}),
        ("expire_cookies", {"validate", "accountLogin"}),
        ("expire_session", {"validate", "accountLogin", "init", "complete"}),
    ],
)
def test_what_has_expired_is_made_good_without_a_person(
    signed_in: World, account: Account, icloud: ICloudStandin, library: Library, gone: str, asked: set[str]
) -> None:
    fill(library, 3)
    signed_in.sync()
    if gone:
        getattr(account, gone)()
    icloud.reset_requests()
    assert signed_in.sync().complete
    steps = {"validate", "accountLogin", "init", "complete"}
    assert steps & set(pages(icloud)) == asked and account.codes_sent == 1


def test_when_the_trust_is_gone_a_person_is_needed_and_no_code_is_sent_unasked(
    signed_in: World, account: Account, icloud: ICloudStandin
) -> None:
    account.expire_trust()
    with pytest.raises(NeedsPerson, match="icloud login") as needs:
        signed_in.sync()
    assert needs.value.need == "code" and account.codes_sent == 1
    icloud.reset_requests()
    for _ in range(3):
        with pytest.raises(NeedsPerson):
            signed_in.sync()
    assert pages(icloud) == [], "what a person has to do is not tried again and again"
    signed_in.sign_in(account)
    assert signed_in.sync().complete and account.codes_sent == 2


@pytest.mark.parametrize("devices", [True, False])
def test_a_code_may_be_asked_for_here_and_handed_in_there(world: World, icloud: ICloudStandin, devices: bool) -> None:
    account = icloud.account(NAME, PASSWORD, trusted_device=devices, phones=("+49 ••81", "+49 ••17"))
    sent = ask_for_code(world.engine, world.account())
    assert sent is not None and sent.by == ("device" if devices else "sms")
    assert (state(world).needs, account.codes_sent) == ("code", 1)
    assert not enter_code(world.engine, world.account(), wrong(account))
    assert not enter_code(world.engine, world.account(), "12 34")
    assert state(world).needs == "code" and account.code is not None
    assert enter_code(world.engine, world.account(), account.code)
    now = state(world)
    assert now.needs is None and now.trusted_at is not None and now.code_by is None
    assert world.sync().complete and account.codes_sent == 1


def test_a_right_code_that_apple_answers_with_409_counts(world: World, account: Account, icloud: ICloudStandin) -> None:
    icloud.faults.add(Fault("odd_accept"))
    world.sign_in(account)
    assert world.sync().complete


def test_the_digits_of_a_code_may_be_parted_and_what_is_no_code_is_called_that(
    world: World, account: Account, icloud: ICloudStandin, command: Callable[..., tuple[int, str, str]]
) -> None:
    ask_for_code(world.engine, world.account())
    digits = str(account.code)
    icloud.reset_requests()
    code, _, said = command("icloud", "code", "12x")
    assert code == 2 and "six digits" in said and "Apple did not" not in said and pages(icloud) == []
    code, _, said = command("icloud", "code", f"{digits[:3]} {digits[3:]}")
    assert code == 0 and "Signed in" in said


def test_a_code_that_nobody_awaits_leaves_a_sound_sign_in_alone(signed_in: World) -> None:
    with pytest.raises(NoCodeAwaited):
        enter_code(signed_in.engine, signed_in.account(), "123456")
    assert state(signed_in).needs is None and signed_in.sync().complete


def test_a_code_is_awaited_for_ten_minutes(world: World, account: Account) -> None:
    ask_for_code(world.engine, world.account(), now=world.now)
    world.ahead = timedelta(minutes=11)
    with pytest.raises(NoCodeAwaited, match="icloud login"):
        enter_code(world.engine, world.account(), str(account.code), now=world.now)
    ask_for_code(world.engine, world.account(), now=world.now)
    assert account.codes_sent == 2
    assert enter_code(world.engine, world.account(), str(account.code), now=world.now)


# ------------------------------------------------------------------ what a person has to do


def test_a_wrong_password_is_never_tried_a_second_time_by_itself(
    world: World, account: Account, icloud: ICloudStandin, command: Callable[..., tuple[int, str, str]]
) -> None:
    right, account.verifier = account.verifier, verifier("another one")
    code, _, said = command("icloud", "sync")
    assert code == 4 and "MEDIAPIPE_ICLOUD__PASSWORD" in said and PASSWORD not in said
    assert pages(icloud).count("complete") == 1
    for _ in range(3):
        assert command("icloud", "sync")[0] == 4
    assert pages(icloud) == []
    account.verifier = right
    world.sign_in(account)
    assert command("icloud", "sync")[0] == 0


def test_a_password_that_was_forgotten_is_not_called_wrong(
    world: World, account: Account, icloud: ICloudStandin
) -> None:
    with pytest.raises(NeedsPerson, match="No password is set") as needs:
        ask_for_code(world.engine, replace(world.account(), password=None))
    assert needs.value.need == state(world).needs == "password"
    assert "complete" not in pages(icloud) and account.codes_sent == 0


def lock(account: Account) -> None:
    account.locked = True


def new_terms(account: Account) -> None:
    account.terms_pending = True


def protect(account: Account) -> None:
    account.advanced_protection = True


def add_key(account: Account) -> None:
    account.security_keys = ("YubiKey",)


@pytest.mark.parametrize(
    "happens, expires, need, words",
    [
        (lock, "expire_session", "unlock", "iforgot.apple.com"),
        (new_terms, "expire_cookies", "terms", "icloud.com"),
        (protect, "expire_cookies", "web_access", "Access iCloud Data on the Web"),
        (add_key, "expire_trust", "security_key", "plug the key in"),
        (None, "expire_trust", "code", "six digits"),
    ],
)
def test_what_keeps_us_out_is_told_apart_in_words_with_exit_code_4(
    signed_in: World,
    account: Account,
    icloud: ICloudStandin,
    command: Callable[..., tuple[int, str, str]],
    happens: Callable[[Account], None] | None,
    expires: str,
    need: str,
    words: str,
) -> None:
    if happens is not None:
        happens(account)
    getattr(account, expires)()
    begun = time.monotonic()
    code, _, said = command("icloud", "sync", "--json")
    assert (code, state(signed_in).needs) == (4, need)
    assert words in said and said.count("\n") < 4 and "Traceback" not in said
    assert time.monotonic() - begun < 8, "nothing here waits for a person"
    status = json.loads(command("icloud", "status", "--json")[1])
    assert (status["signed_in"], status["needs"]) == (False, need)
    icloud.reset_requests()
    assert command("icloud", "sync")[0] == 4 and pages(icloud) == []


def test_once_the_person_has_done_it_everything_goes_on(
    signed_in: World, account: Account, command: Callable[..., tuple[int, str, str]]
) -> None:
    account.advanced_protection = True
    assert command("icloud", "sync")[0] == 4
    account.web_access = True
    assert command("icloud", "login")[0] == 0
    assert command("icloud", "sync")[0] == 0


def test_a_security_key_that_is_not_plugged_in_is_asked_for_again(
    world: World, account: Account, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    account.security_keys = ("YubiKey",)
    monkeypatch.setattr("pyicloud.base.CtapHidDevice.list_devices", lambda: iter(()))
    code, _, said = command("icloud", "login")
    assert code == 4 and "plug the key in" in said and account.codes_sent == 0


def test_an_account_without_two_factors_is_told_what_apple_wants(
    world: World, icloud: ICloudStandin, command: Callable[..., tuple[int, str, str]]
) -> None:
    icloud.faults.add(Fault("answer", where="/signin/complete$", status=412, body={"authType": "sa"}))
    code, _, said = command("icloud", "sync")
    assert code == 4 and "two-factor" in said


# ------------------------------------------------------------------ one at a time


def test_two_who_want_a_code_at_once_are_sent_one(world: World, account: Account) -> None:
    found: list[Any] = []
    askers = [
        threading.Thread(target=lambda: found.append(ask_for_code(world.engine, world.account()))) for _ in range(2)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found[0] == found[1] and account.codes_sent == 1
    assert enter_code(world.engine, world.account(), str(account.code))


def test_a_second_login_does_not_tell_the_first_that_the_code_has_come(world: World, account: Account) -> None:
    begun = world.now()
    ask_for_code(world.engine, world.account())
    ask_for_code(world.engine, world.account())
    assert not icloud_account.trusted_since(world.engine, world.account(), begun)
    enter_code(world.engine, world.account(), str(account.code))
    assert icloud_account.trusted_since(world.engine, world.account(), begun)


def test_one_process_at_a_time_speaks_for_an_account(signed_in: World, icloud: ICloudStandin) -> None:
    with icloud_account.owned(signed_in.engine, signed_in.account()):
        icloud.reset_requests()
        with pytest.raises(AccountBusy):
            signed_in.sync()
        assert pages(icloud) == []
    assert signed_in.sync().complete


def test_the_sessions_files_are_for_their_owner_alone(signed_in: World) -> None:
    folder = signed_in.account().folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.suffix for path in folder.iterdir()} == {".session", ".cookiejar"}
    folder.chmod(0o755)
    signed_in.sync()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# ------------------------------------------------------------------ leaving Apple alone


def throttled(world: World) -> timedelta:
    """For how long Apple is left alone."""
    until = state(world).throttled_until
    return until - world.now() if until is not None else timedelta()


def test_the_hour_that_apple_asks_for_survives_a_new_process(
    signed_in: World, icloud: ICloudStandin, library: Library, engine: Engine, command: Callable[..., Any]
) -> None:
    fill(library, 3)
    icloud.faults.add(Fault("answer", where=LISTING, status=429, retry_after=3600))
    code, _, said = command("icloud", "sync")
    assert code == 1 and "Nothing is lost" in said
    assert timedelta(minutes=59) < throttled(signed_in) <= timedelta(hours=1)
    icloud.reset_requests()
    another = World(signed_in.folder, engine)
    with pytest.raises(LeftAlone, match="left alone until"):
        another.sync()
    with pytest.raises(LeftAlone):
        ask_for_code(engine, another.account(), now=another.now)
    status = json.loads(command("icloud", "status", "--json")[1])
    assert datetime.fromisoformat(status["throttled_until"]) > another.now() + timedelta(minutes=59)
    assert status["signed_in"] and pages(icloud) == [], "nothing is asked before the hour has passed"
    another.ahead = timedelta(hours=1, seconds=1)
    assert another.sync().complete and another.known() == as_it_is(library)
    assert state(another).throttled_count == 0 and state(another).throttled_until is None


def test_each_time_in_a_row_the_silence_doubles_until_it_went_well(
    signed_in: World, icloud: ICloudStandin, library: Library
) -> None:
    fill(library, 3)
    refusal = icloud.faults.add(Fault("answer", where=LISTING, status=503, times=None))
    minutes = []
    for _ in range(8):
        with pytest.raises(Throttled):
            signed_in.sync()
        minutes.append(round(throttled(signed_in) / timedelta(minutes=1)))
        signed_in.ahead += throttled(signed_in) + timedelta(seconds=1)
    assert minutes == [15, 30, 60, 120, 240, 480, 720, 720]
    icloud.faults.remove(refusal)
    signed_in.sync()
    icloud.faults.add(Fault("answer", where=LISTING, status=503))
    with pytest.raises(Throttled):
        signed_in.sync()
    assert round(throttled(signed_in) / timedelta(minutes=1)) == 15


def test_a_silence_is_never_shorter_than_apple_asks_for() -> None:
    assert silence(0, 86_400) == timedelta(days=1)
    assert silence(3, 60) == timedelta(hours=2)
    assert silence(1000, None) == timedelta(hours=12)


@pytest.mark.parametrize(
    "page, status", [("validate", 503), ("accountLogin", 429), ("init", 503), ("init", 429), ("complete", 503)]
)
def test_apple_that_throttles_a_sign_in_is_asked_nothing_more(
    signed_in: World, account: Account, icloud: ICloudStandin, page: str, status: int
) -> None:
    if page != "validate":
        account.expire_cookies()
    if page in ("init", "complete"):
        account.expire_session()
    icloud.faults.add(Fault("answer", where=f"/{page}$", status=status, times=None, retry_after=1800))
    icloud.reset_requests()
    with pytest.raises(Throttled):
        signed_in.sync()
    asked = pages(icloud)
    assert asked.count(page) == 1 and asked[-1] == page, "the ladder ends where Apple asks for patience"
    assert throttled(signed_in) > timedelta(minutes=29) and state(signed_in).needs is None
    with pytest.raises(LeftAlone):
        signed_in.sync()
    assert pages(icloud) == []


@pytest.mark.parametrize("page, kind", [("init", "answer"), ("complete", "answer"), ("complete", "drop")])
def test_a_sign_in_that_nobody_answers_is_no_wrong_password_and_no_loop(
    signed_in: World, account: Account, icloud: ICloudStandin, page: str, kind: Any
) -> None:
    account.expire_session()
    trouble = icloud.faults.add(Fault(kind, where=f"/{page}$", status=502, times=None))
    icloud.reset_requests()
    with pytest.raises(Away):
        signed_in.sync()
    assert pages(icloud).count(page) == 1
    assert state(signed_in).needs is None and timedelta() < throttled(signed_in) <= timedelta(minutes=2)
    for _ in range(5):
        with pytest.raises(LeftAlone):
            signed_in.sync()
    assert pages(icloud) == []
    icloud.faults.remove(trouble)
    signed_in.ahead = timedelta(minutes=3)
    assert signed_in.sync().complete and account.codes_sent == 1


def test_a_line_that_breaks_off_is_tried_again_and_a_session_lost_after_that_too(
    signed_in: World, icloud: ICloudStandin, library: Library
) -> None:
    fill(library, 3)
    icloud.faults.add(Fault("drop", where=LISTING, times=3))
    icloud.faults.add(Fault("answer", where=LISTING, status=421))
    assert signed_in.sync().complete and signed_in.known() == as_it_is(library)


def test_a_session_that_is_lost_again_at_once_is_no_reason_to_sign_in_over_and_over(
    signed_in: World, icloud: ICloudStandin
) -> None:
    icloud.faults.add(Fault("answer", where=LISTING, status=421, times=None))
    icloud.reset_requests()
    with pytest.raises(Away):
        signed_in.sync()
    assert pages(icloud).count("accountLogin") <= 4


# ------------------------------------------------------------------ how it stands


def test_the_status_names_what_scripts_rely_on(
    world: World, account: Account, library: Library, command: Callable[..., tuple[int, str, str]]
) -> None:
    fill(library, 20)
    code, out, _ = command("icloud", "status", "--json")
    before = json.loads(out)
    assert code == 0 and {name: before[name] for name in ("signed_in", "needs", "throttled_until", "assets")} == {
        "signed_in": False,
        "needs": None,
        "throttled_until": None,
        "assets": 0,
    }
    assert before["last_sync"] is None
    world.sign_in(account)
    code, out, _ = command("icloud", "sync", "--json")
    assert {"assets", "new", "changed", "deleted", "requests", "bytes"} <= set(json.loads(out))
    after = json.loads(command("icloud", "status", "--json")[1])
    assert after["signed_in"] and after["assets"] == 20 and after["accounts"][0]["apple_id"] == NAME
    assert abs(datetime.fromisoformat(after["last_sync"]) - world.now()) < timedelta(minutes=1)
    assert "signed in" in command("icloud", "status")[2]


@pytest.mark.parametrize(
    "days, says",
    [(50, None), (52.9, None), (53.1, "about 7"), (57.1, "about 3"), (59.1, "about 1 day."), (70, "any day now")],
)
def test_the_end_of_the_trust_is_announced_a_week_before(days: float, says: str | None) -> None:
    trusted = AccountState("icloud", trusted_at=datetime(2026, 11, 1, tzinfo=UTC))
    warning = icloud_account.trust_warning(trusted, 60, datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=days))
    assert (warning is not None) == (says is not None)
    assert warning is None or (str(says) in warning and "icloud login --renew" in warning)
    assert icloud_account.trust_warning(AccountState("icloud"), 60, datetime.now(UTC)) is None


def test_a_trust_can_be_renewed_before_it_ends(
    signed_in: World, account: Account, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, said = command("icloud", "login")
    assert code == 0 and "no code is needed" in said and account.codes_sent == 1
    begun = signed_in.now()
    assert ask_for_code(signed_in.engine, signed_in.account(), renew=True) is not None
    assert account.codes_sent == 2
    assert ask_for_code(signed_in.engine, signed_in.account(), renew=True) is not None
    assert account.codes_sent == 2, "it was sent a moment ago"
    assert enter_code(signed_in.engine, signed_in.account(), str(account.code))
    trusted_at = state(signed_in).trusted_at
    assert trusted_at is not None and trusted_at > begun and signed_in.sync().complete


def test_pyicloud_keeps_its_debug_lines_to_itself() -> None:
    assert not logging.getLogger("pyicloud.session").isEnabledFor(logging.DEBUG)
