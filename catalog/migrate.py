"""Brings a database to this version's schema: forward only, one process at a time.

Belongs here: applying migrations and refusing a schema that is newer than this program. Does not
belong here: the migrations themselves (`catalog/migrations/versions`), or making the dump.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from catalog.tables import SCHEMA

MIGRATION_LOCK = 0x6D70_0001


class NewerSchema(Exception):
    """The database was written by a newer version of this program."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def newest_version() -> str:
    """Returns the revision that this program brings databases to."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def schema_version(connection: Connection) -> str | None:
    """Returns the revision that the database stands at, None for an empty one."""
    context = MigrationContext.configure(
        connection, opts={"version_table": "schema_version", "version_table_schema": SCHEMA}
    )
    return context.get_current_revision()


def migrate(engine: Engine, before_change: Callable[[str], None] | None = None) -> bool:
    """Applies what is missing, under an advisory lock.

    Args:
        engine: The catalog.
        before_change: Called with the present revision before an existing schema is changed: makes the dump.

    Returns:
        Whether anything was applied.

    Raises:
        NewerSchema: The database knows a revision that this program does not.
    """
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(_config(connection))
        if schema_version(connection) == script.get_current_head():
            return False
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        current = schema_version(connection)
        if current == script.get_current_head():
            return False
        if current is not None:
            _refuse_newer(script, current)
            if before_change is not None:
                before_change(current)
        command.upgrade(_config(connection), "head")
    return True


def _refuse_newer(script: ScriptDirectory, current: str) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    if current not in known:
        raise NewerSchema(
            f"The catalog was written by a newer mediapipe-assets (schema {current}); this one knows up to "
            f"{script.get_current_head()}. Update the program; nothing was changed."
        )
