"""Every test here works on the one real catalog of the session."""

from tests.the_catalog import connection, engine, migrated, server

__all__ = ["connection", "engine", "migrated", "server"]
