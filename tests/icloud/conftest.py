"""What tests of iCloud start from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from services.icloud_standin import Account
from tests.icloud_clients import account, api, connect, icloud, library, session_folder
from tests.icloud_home import make_home
from tests.icloud_world import World
from tests.the_catalog import connection, engine, migrated, server

__all__ = [
    "account",
    "api",
    "connect",
    "connection",
    "engine",
    "icloud",
    "library",
    "make_home",
    "migrated",
    "server",
    "session_folder",
]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the pauses out of what waits for an Apple that stumbles."""
    monkeypatch.setattr("resources.icloud_session._PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr("resources.icloud_session.REQUESTS_A_SECOND", 1e6)
    monkeypatch.setattr("resources.icloud_download.FIRST_PAUSE", 0.0)


@pytest.fixture
def world(tmp_path: Path, engine: Engine, account: Account, hurried: None) -> Iterator[World]:
    """A home with one account, to which nobody has signed in yet."""
    yield World(tmp_path, engine)


@pytest.fixture
def signed_in(world: World, account: Account) -> World:
    """The same, signed in."""
    world.sign_in(account)
    return world
