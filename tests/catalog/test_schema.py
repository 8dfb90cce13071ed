"""The schema: what the migrations make is what the tables say."""

from __future__ import annotations

from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, make_url, text

from catalog import tables
from catalog.engine import open_engine
from catalog.migrate import NewerSchema, _config, migrate, schema_version
from tests.the_catalog import DAY, NOON, sha


def test_the_migrated_database_is_exactly_what_the_tables_say(migrated: str) -> None:
    # Without a search path: Alembic would otherwise report the default schema's tables under no schema.
    engine = create_engine(migrated)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table": "schema_version",
                "version_table_schema": tables.SCHEMA,
                "include_name": lambda name, kind, _: kind != "schema" or name == tables.SCHEMA,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_every_check_constraint_of_the_tables_is_in_the_database(migrated: str) -> None:
    # Alembic does not compare CHECK constraints.
    declared = {
        f"{table.name}.{constraint.name}"
        for table in tables.metadata.sorted_tables
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    engine = create_engine(migrated)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT c.relname || '.' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'c' AND n.nspname = :schema"
            ),
            {"schema": tables.SCHEMA},
        )
        assert set(rows.scalars()) == declared
    engine.dispose()


def test_migrating_a_database_that_is_up_to_date_changes_nothing_and_says_so(migrated: str) -> None:
    engine = open_engine(migrated)
    dumps: list[str] = []
    assert migrate(engine, dumps.append) is False
    assert dumps == []
    engine.dispose()


def test_a_catalog_of_the_first_version_is_brought_up_to_date_with_what_it_holds(server: str) -> None:
    with create_engine(server, isolation_level="AUTOCOMMIT").connect() as admin:
        admin.execute(text("CREATE DATABASE older"))
    engine = open_engine(make_url(server).set(database="older").render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {tables.SCHEMA}"))
        command.upgrade(_config(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO media_files (sha256, size, kind, format, mime, stored_root, stored_path, capture_local, "
                "capture_provenance, partition_date, state) "
                "VALUES ('a', 1, 'photo', 'jpeg', 'image/jpeg', 'originals', 'a', now(), 'exif', now(), 'kept')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, sha256, "
                "size, detail, run_id) VALUES (1, 'one', 't', 1, 'made', 'a.jpg', 'b', 1, '', 'r'), "
                "(1, 'two', 't', 2, 'kept_original', NULL, NULL, NULL, '', 'r')"
            )
        )
    assert migrate(engine) is True
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT plan_fingerprint, path FROM renditions ORDER BY id")).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [("one", "a.jpg"), ("two", None)]


def test_a_schema_that_is_newer_than_the_program_is_refused_and_left_as_it_is(migrated: str) -> None:
    engine = open_engine(migrated)
    with engine.connect() as connection:
        ours = schema_version(connection)
    try:
        _set_version(engine, "9999")
        with pytest.raises(NewerSchema, match="newer mediapipe-assets"):
            migrate(engine)
        with engine.connect() as connection:
            assert schema_version(connection) == "9999"
    finally:
        _set_version(engine, ours)
        engine.dispose()


def _set_version(engine: Engine, version: str | None) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version_num = :version"), {"version": version})


def test_what_left_its_source_before_that_could_be_said_is_missing_after_the_migration(server: str) -> None:
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS earlier"))
        connection.execute(text("CREATE DATABASE earlier"))
    admin.dispose()
    engine = open_engine(make_url(server).set(database="earlier").render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {tables.SCHEMA}"))
        command.upgrade(_config(connection), "0001")
        connection.execute(text("INSERT INTO sources (name, kind, location) VALUES ('photos', 'folder', '/photos')"))
        for number, (root, path, gone) in enumerate(
            [
                ("source:photos", "gone.jpg", "now()"),
                ("source:photos", "a.jpg", "NULL"),
                ("originals", "b.jpg", "now()"),
            ]
        ):
            _add_as_before(connection, number, root, path, gone)
    assert migrate(engine, lambda revision: None)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT stored_path FROM media_files WHERE missing_since IS NOT NULL"))
        assert list(rows.scalars()) == ["gone.jpg"]
    engine.dispose()


def _add_as_before(connection: Connection, number: int, root: str, path: str, gone: str) -> None:
    same = {"kind": "photo", "size": 1, "state": "kept", "capture_local": NOON, "capture_provenance": "exif"}
    same["partition_date"] = DAY
    content = _insert(
        connection,
        "media_files",
        {**same, "sha256": sha(number), "format": "jpeg", "mime": "", "stored_root": root, "stored_path": path},
    )
    seen = {"source": "photos", "source_id": path, "version": "1-1", "folder": "", "stem_key": "a", "mtime_ns": 1}
    observation = _insert(connection, "source_files", {**same, **seen, "media_file_id": content})
    connection.execute(text(f"UPDATE source_files SET gone_at = {gone} WHERE id = {observation}"))


def _insert(connection: Connection, table: str, values: dict[str, Any]) -> int:
    # Not by the tables' definitions, which have columns that were not there yet.
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    query = text(f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING id")
    return int(connection.execute(query, values).scalar_one())
