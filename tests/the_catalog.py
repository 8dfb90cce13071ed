"""A real catalog for tests: one embedded server for the session, emptied before each test, and rows in few words."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from catalog import leases, sources, tables
from catalog.engine import open_engine
from catalog.migrate import migrate
from catalog.work import ClaimRules, Scope
from media.files import ROOT_MARKER
from pipeline.run import Run
from resources.compute import Task
from resources.postgres import EmbeddedPostgres

DAY = date(2024, 5, 17)
NOON = datetime(2024, 5, 17, 12, 0)
ALWAYS = Scope(date(1900, 1, 1), date(2100, 1, 1))
_number = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty server; whoever asks first starts it."""
    postgres = EmbeddedPostgres(tmp_path_factory.getbasetemp() / "server")
    with postgres as url:
        admin = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with admin.connect() as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = off"))  # nothing here has to survive a power cut
            connection.execute(text("SELECT pg_reload_conf()"))
        yield url
        if (pid := postgres.pid()) is not None:
            os.kill(pid, signal.SIGQUIT)  # at once: its files are thrown away


@pytest.fixture(scope="session")
def migrated(server: str) -> str:
    engine = open_engine(server)
    migrate(engine)
    engine.dispose()
    return server


@pytest.fixture
def engine(migrated: str) -> Iterator[Engine]:
    """The catalog, without a row."""
    engine = open_engine(migrated)
    names = ", ".join(table.fullname for table in tables.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def sha(number: int) -> str:
    return f"{number:064x}"


def add_observation(connection: Connection, **given: Any) -> int:
    number = next(_number)
    sources.register_source(connection, given.get("source", "photos"), "folder", "/photos")
    values: dict[str, Any] = {
        "source": "photos",
        "source_id": f"IMG_{number}.JPG",
        "version": "1-1",
        "folder": "",
        "stem_key": f"img_{number}",
        "kind": "photo",
        "size": 1,
        "mtime_ns": 1,
        "capture_local": NOON,
        "capture_provenance": "exif",
        "partition_date": DAY,
        **given,
    }
    inserted = connection.execute(tables.source_files.insert().values(values).returning(tables.source_files.c.id))
    return int(inserted.scalar_one())


def add_content(connection: Connection, **given: Any) -> int:
    number = next(_number)
    values: dict[str, Any] = {
        "sha256": sha(number),
        "size": 1,
        "kind": "photo",
        "format": "jpeg",
        "mime": "image/jpeg",
        "stored_root": "originals",
        "stored_path": f"2024/05/17/IMG_{number}.JPG",
        "capture_local": NOON,
        "capture_provenance": "exif",
        "partition_date": DAY,
        "state": "kept",
        **given,
    }
    inserted = connection.execute(tables.media_files.insert().values(values).returning(tables.media_files.c.id))
    return int(inserted.scalar_one())


def add_stored(connection: Connection, path: str, **given: Any) -> int:
    """Adds a content and the observation that it was kept from."""
    from resources.folder import folder_of, stem_key

    content = add_content(connection, **given)
    shared = {key: given[key] for key in ("kind", "partition_date", "capture_local") if key in given}
    add_observation(
        connection,
        source_id=path,
        folder=folder_of(path),
        stem_key=stem_key(path),
        state="kept",
        media_file_id=content,
        **shared,
    )
    return content


@contextlib.contextmanager
def lease(engine: Engine, run_id: str = "run") -> Iterator[int]:
    """A living lease, in a session of its own."""
    with engine.connect() as session:
        lease_id = leases.open_lease(session, run_id)
        yield lease_id
        leases.close_lease(session, lease_id)


def rules(lease_id: int, redo: Any = "failed", max_attempts: int = 5) -> ClaimRules:
    return ClaimRules(lease_id, redo, max_attempts)


class InlinePool:
    """A pool that does each task at once, in this process."""

    workers = 2

    def close(self) -> None:
        """Has nothing to end."""

    def submit(self, task: Task, timeout: float) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task.function(*task.arguments, **task.options))
        except Exception as error:
            future.set_exception(error)
        return future


def a_run(engine: Engine, lease_id: int, **given: Any) -> Run:
    given = {"pool": InlinePool(), "scope": ALWAYS, **given}
    return Run(engine=engine, run_id="run", lease_id=lease_id, **given)


def a_root(folder: Path) -> Path:
    """A folder of ours with its marker, as a first start makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ROOT_MARKER).write_text("{}")
    return folder
