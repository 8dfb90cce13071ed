"""What tests of iCloud start from."""

from tests.icloud_clients import account, api, connect, icloud, library, session_folder
from tests.icloud_home import home, make_home
from tests.the_catalog import connection, engine, migrated, server

__all__ = [
    "account",
    "api",
    "connect",
    "connection",
    "engine",
    "home",
    "icloud",
    "library",
    "make_home",
    "migrated",
    "server",
    "session_folder",
]
