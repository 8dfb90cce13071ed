"""The real pyicloud, led to the stand-in: fixtures and helpers of the tests that talk to iCloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyicloud import PyiCloudService

from services.icloud_standin import Account, ICloudStandin, Library

NAME, PASSWORD = "a@example.com", "correct horse bättery"
Connect = Callable[..., PyiCloudService]


@pytest.fixture
def icloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ICloudStandin]:
    with ICloudStandin(tmp_path / "icloud") as standin:
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)
        yield standin


@pytest.fixture
def account(icloud: ICloudStandin) -> Account:
    return icloud.account(NAME, PASSWORD, trusted_device=True, phones=("+49 ••• •••••81",))


@pytest.fixture
def library(account: Account) -> Library:
    return account.library()


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    return tmp_path / "session"


@pytest.fixture
def connect(icloud: ICloudStandin, session_folder: Path) -> Connect:
    """Makes a client of the account's session, as a new process would."""

    def client(password: str | None = PASSWORD, **options: object) -> PyiCloudService:
        return PyiCloudService(NAME, password, cookie_directory=str(session_folder), **options)

    return client


def push_code(api: PyiCloudService) -> None:
    """Asks for a code on the trusted device."""
    headers = api._get_auth_headers({"Accept": "application/json"})
    api.session.put(f"{api._auth_endpoint}/verify/trusteddevice/securitycode", headers=headers)


@pytest.fixture
def api(account: Account, connect: Connect) -> PyiCloudService:
    """A client that is signed in and trusted."""
    client = connect(pause_2fa=True)
    push_code(client)
    client.use_existing_trusted_device_code()
    assert client.validate_2fa_code(account.code)
    return client
