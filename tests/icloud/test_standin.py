"""Signing in to the stand-in with the real pyicloud, and what happens when what was kept of it expires."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
import requests
from pyicloud import PyiCloudService
from pyicloud.exceptions import (
    PyiCloudAcceptTermsException,
    PyiCloudAccountLockedException,
    PyiCloudAPIResponseException,
    PyiCloudConnectionException,
    PyiCloudFailedLoginException,
    PyiCloudTrustedDevicePromptException,
)

from services.icloud_standin import Fault
from tests.icloud_clients import NAME, PASSWORD, push_code

ROOT = Path(__file__).resolve().parents[2]


def test_a_code_from_the_device_is_taken_by_a_second_process_without_the_password(account, connect):
    first = connect(pause_2fa=True)
    assert first.requires_2fa and not first.is_trusted_session
    assert account.code is None and account.codes_sent == 0, "with pause_2fa nothing is sent unasked"
    push_code(first)
    assert account.codes_sent == 1

    second = connect(None, authenticate=False)
    second.use_existing_trusted_device_code()
    assert second.validate_2fa_code(account.code)
    assert second.is_trusted_session and not second.requires_2fa
    assert account.code is None, "a code works once"


def test_a_code_comes_by_text_message_where_there_is_no_device(icloud, connect):
    account = icloud.account(NAME, PASSWORD, trusted_device=False, phones=("+49 ••81",))
    api = connect()
    assert api.requires_2fa and api.two_factor_delivery_method == "sms"
    assert account.codes_sent == 1
    assert api.validate_2fa_code(account.code)
    assert api.is_trusted_session


def test_a_text_message_too_can_be_asked_for_in_one_process_and_used_in_another(icloud, connect):
    account = icloud.account(NAME, PASSWORD, trusted_device=False, phones=("+49 ••81", "+49 ••17"))
    first = connect(pause_2fa=True)
    assert account.codes_sent == 0
    first._auth_data = first._get_mfa_auth_options()
    assert first._request_sms_2fa_code() and account.codes_sent == 1

    second = connect(None, authenticate=False)
    # The page after the password, which the second process may ask for too, says which phone it was.
    second._auth_data = second._get_mfa_auth_options()
    second._set_two_factor_delivery_state("sms")
    assert second.validate_2fa_code(account.code)
    assert second.is_trusted_session and account.codes_sent == 1


def test_where_the_push_service_is_out_of_reach_the_clients_detour_leads_to_a_text_message(account, connect):
    with pytest.raises(OSError):
        connect()
    api = connect(authenticate=False)

    def unreachable(*_: object) -> None:
        raise PyiCloudTrustedDevicePromptException("the push service is not used")

    api._trusted_device_bridge._websocket_factory = unreachable
    api.authenticate()
    assert api.two_factor_delivery_method == "sms" and account.codes_sent == 1
    assert api.validate_2fa_code(account.code)


def test_a_right_code_that_is_answered_with_409_counts(icloud, account, connect):
    icloud.faults.add(Fault("odd_accept"))
    api = connect(pause_2fa=True)
    push_code(api)
    api.use_existing_trusted_device_code()
    assert api.validate_2fa_code(account.code)


def test_a_wrong_code_is_refused_and_the_right_one_still_works(account, connect):
    api = connect(pause_2fa=True)
    push_code(api)
    api.use_existing_trusted_device_code()
    wrong = "000000" if account.code != "000000" else "111111"
    with pytest.raises(PyiCloudAPIResponseException, match="-21669"):
        api._validate_trusted_device_code(wrong)
    assert not api.validate_2fa_code(wrong)
    assert api.validate_2fa_code(account.code)


@pytest.mark.parametrize("name", [NAME, "nobody@example.com"])
def test_a_wrong_password_and_an_unknown_name_are_refused_alike(account, connect, session_folder, name):
    with pytest.raises(PyiCloudFailedLoginException, match="Invalid email/password") as refused:
        PyiCloudService(name, "not it", cookie_directory=str(session_folder))
    assert refused.value.__cause__.code == 401
    assert "-20101" in str(refused.value.__cause__)


def test_a_locked_account_says_so(account, connect):
    account.locked = True
    with pytest.raises(PyiCloudAccountLockedException):
        connect()


def test_new_terms_are_asked_for_and_can_be_accepted(api, account, connect):
    account.terms_pending = True
    account.expire_cookies()
    with pytest.raises(PyiCloudAcceptTermsException):
        connect()
    accepted = connect(accept_terms=True)
    assert accepted.is_trusted_session and not account.terms_pending


def test_a_security_key_is_asked_for_instead_of_a_code(account, connect):
    account.security_keys = ("YubiKey",)
    api = connect()
    assert api.security_key_names == ["YubiKey"] and account.codes_sent == 0


@pytest.mark.parametrize("status", [503, 429, 502])
@pytest.mark.parametrize("step", ["init", "complete"])
def test_trouble_at_the_password_looks_like_a_wrong_one_but_for_its_cause(icloud, account, connect, status, step):
    icloud.faults.add(Fault("answer", where=f"/signin/{step}$", status=status))
    with pytest.raises(PyiCloudFailedLoginException) as failed:
        connect()
    assert failed.value.__cause__.code == status


@pytest.mark.parametrize("step", ["init", "complete"])
def test_a_connection_that_breaks_off_at_the_password_is_told_as_such(icloud, account, connect, step):
    icloud.faults.add(Fault("drop", where=f"/signin/{step}$"))
    with pytest.raises(PyiCloudConnectionException):
        connect()


def test_a_session_lives_on_without_a_person_until_trust_expires(api, icloud, account, connect):
    icloud.reset_requests()
    assert connect().is_trusted_session
    assert _pages(icloud) == ["validate"]

    account.expire_cookies()
    icloud.reset_requests()
    assert connect(None).is_trusted_session, "the session token suffices"
    assert _pages(icloud) == ["validate", "accountLogin"]

    account.expire_session()
    icloud.reset_requests()
    with pytest.raises(PyiCloudFailedLoginException, match="No password"):
        connect(None)
    assert connect().is_trusted_session, "the password and the trust suffice"
    assert "init" in _pages(icloud)

    account.expire_trust()
    codes = account.codes_sent
    again = connect(pause_2fa=True)
    assert again.requires_2fa and not again.is_trusted_session
    push_code(again)
    assert account.codes_sent == codes + 1


def test_expired_cookies_are_refused_as_icloud_does(api, icloud, account):
    account.expire_cookies()
    answer = requests.post("https://setup.icloud.com/setup/ws/1/validate", data="null", timeout=10)
    assert answer.status_code == 421
    assert answer.json() == {"success": False, "error": "Missing X-APPLE-WEBAUTH-TOKEN cookie"}


def test_with_advanced_data_protection_a_device_has_to_allow_the_web(api, account, monkeypatch):
    monkeypatch.setattr("pyicloud.base.time.sleep", lambda seconds: None)
    account.advanced_protection = True
    with pytest.raises(PyiCloudAPIResponseException, match="Unable to request PCS access"):
        _ = api.photos
    account.web_access = True
    assert len(api.photos.all) == 0


def test_signing_out_ends_the_session(api, icloud, connect):
    assert api.logout(clear_local_session=False)["remote_logout_confirmed"]
    icloud.reset_requests()
    connect(None)
    assert _pages(icloud) == ["validate", "accountLogin"]


def test_it_never_leads_anywhere_else(icloud):
    answer = requests.get("https://www.example.com/", timeout=10)
    assert answer.status_code == 404 and answer.json() == {"error": "No such host"}
    assert icloud.requests[("www.example.com", "GET", "/")] == 1


def test_its_certificates_are_trusted_only_by_whoever_was_pointed_at_them(icloud, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(requests.exceptions.SSLError):
        requests.get("https://setup.icloud.com/", timeout=10)


def test_the_password_is_not_kept(icloud, account, api, session_folder):
    assert PASSWORD not in repr(vars(account))
    kept = b"".join(path.read_bytes() for path in session_folder.iterdir())
    assert PASSWORD.encode() not in kept


def test_as_a_program_it_serves_a_small_library_until_it_is_told_to_end(tmp_path):
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "services.icloud_standin", "--folder", str(tmp_path / "demo")]
    with subprocess.Popen(
        [*command, "--port-file", str(port_file), "--demo"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not port_file.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            port = int(port_file.read_text())
            with pytest.raises(OSError), urlopen(f"http://127.0.0.1:{port}/", timeout=10):
                pass  # it is a proxy for TLS, and no page
        finally:
            os.kill(process.pid, signal.SIGTERM)
        told = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert f"export HTTPS_PROXY=http://127.0.0.1:{port}" in told.splitlines()


def _pages(icloud):
    return [path.rpartition("/")[2] for _, _, path in icloud.request_log()]
