"""Speaking to a PostgreSQL server, whoever runs it.

Belongs here: one form of its URL, waiting until it answers, words for a person when it does not, dump and restore.
Does not belong here: starting a server (`resources.postgres_server`), tables and queries (`catalog`).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from urllib.parse import quote

import psycopg2
import psycopg2.errors
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from media.files import commit_part, make_folder, part_path
from resources.postgres_tools import DatabaseUnavailable, run_tool

DATABASE = "mediapipe"
MARKER = ".mediapipe-home"
SUPERUSER = "postgres"
DRIVER = "postgresql+psycopg2"
PORT = 5432  # only names the socket file; nothing listens on the network


class DumpNotPossible(Exception):
    """This database is dumped and restored by other means; the message says which."""


# --- any server ---


def normalise_url(url: str) -> str:
    """Returns a PostgreSQL URL with the driver that everything here was tested with.

    Args:
        url: `postgres://`, `postgresql://` or `postgresql+psycopg2://`, as providers write it.

    Raises:
        DatabaseUnavailable: It is not a PostgreSQL URL.
    """
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        # Never the original error: it quotes the URL, and the URL has the password.
        raise DatabaseUnavailable(
            "The database URL cannot be read. It looks like postgresql://user:password@host:5432/database; "
            "write special characters of the password as %40 for @, %2F for / and so on."
        ) from None
    if parsed.drivername.split("+")[0] not in ("postgres", "postgresql"):
        raise DatabaseUnavailable(
            f"The database must be PostgreSQL, and this URL begins with {parsed.drivername}://. "
            "Use postgresql://user:password@host:5432/database, or no URL at all for the embedded database."
        )
    plain = parsed.set(drivername=DRIVER).render_as_string(hide_password=False)
    # A folder after `?host=` stays readable and without %, which Alembic's own settings would take for a reference.
    place, mark, query = plain.partition("?")
    return place + mark + query.replace("%2F", "/")


def wait_for(url: str, timeout: float) -> None:
    """Returns once the server takes connections to the database.

    Args:
        url: Any URL that `normalise_url` takes.
        timeout: Seconds to keep trying. What time cannot heal (password, database name) fails at once.

    Raises:
        DatabaseUnavailable: With host and port, never the password, and what to do.
    """
    parsed = make_url(normalise_url(url))
    deadline = time.monotonic() + timeout
    while True:
        try:
            _connect(parsed, connect_timeout=max(2, min(5, int(timeout)))).close()
            return
        except psycopg2.OperationalError as error:
            reason = _permanent_reason(str(error), parsed)
            if reason is not None:
                raise DatabaseUnavailable(reason) from None
        if time.monotonic() >= deadline:
            raise DatabaseUnavailable(
                f"No PostgreSQL answers at {_place(parsed)} (waited {timeout:.0f} s). Is the server running, "
                "and is the address right? Without a URL the embedded database is used."
            )
        time.sleep(min(0.25, max(0.0, deadline - time.monotonic())))


def is_embedded(url: str) -> bool:
    """Says whether the server behind `url` is the embedded one of a home on this machine."""
    parsed = make_url(normalise_url(url))
    if not str(parsed.query.get("host", "")).startswith("/"):
        return False
    with contextlib.closing(_connect(parsed)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute("SHOW data_directory")
        row = cursor.fetchone()
    return row is not None and (Path(row[0]).parent / MARKER).is_file()


def dump(url: str, target: Path) -> None:
    """Writes the whole embedded database to one file, whole or not at all.

    Args:
        url: The embedded database.
        target: The file to write, in pg_restore's own format, compressed.

    Raises:
        DumpNotPossible: The database is another server's.
        DatabaseUnavailable: pg_dump failed, or the server does not run.
    """
    parsed = _embedded_only(url, "pg_dump --format=custom --file=mediapipe.dump")
    make_folder(target.parent)
    part = part_path(target, "dump")
    try:
        run_tool("pg_dump", [*_connection_options(parsed), "--format=custom", f"--file={part}"])
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        part.chmod(0o600)
        commit_part(part, target)
    finally:
        part.unlink(missing_ok=True)


def restore(url: str, source: Path) -> None:
    """Puts the embedded database back to what `dump` wrote; the present one is kept as `<name>_replaced`.

    The dump is first read into a new database, so a broken one changes nothing. Open connections are closed.

    Args:
        url: The embedded database.
        source: A file that `dump` wrote.

    Raises:
        DumpNotPossible: The database is another server's.
        DatabaseUnavailable: The dump cannot be read; the present database is as it was.
    """
    parsed = _embedded_only(url, "pg_restore --clean --if-exists --dbname=… mediapipe.dump")
    name = str(parsed.database)
    fresh, replaced = f"{name}_restored", f"{name}_replaced"
    _administer(parsed, f'DROP DATABASE IF EXISTS "{fresh}" WITH (FORCE)', f'CREATE DATABASE "{fresh}"')
    try:
        options = _connection_options(parsed.set(database=fresh))
        run_tool("pg_restore", [*options, "--single-transaction", "--exit-on-error", "--no-owner", str(source)])
    except BaseException:
        _administer(parsed, f'DROP DATABASE IF EXISTS "{fresh}" WITH (FORCE)')
        raise
    _administer(
        parsed,
        f'DROP DATABASE IF EXISTS "{replaced}" WITH (FORCE)',
        # No new connections while the names change.
        f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        f'ALTER DATABASE "{name}" RENAME TO "{replaced}"',
        f'ALTER DATABASE "{fresh}" RENAME TO "{name}"',
        f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true',
    )


def refuse_other_dump(source: Path) -> None:
    """Makes sure that a file is a dump of a catalog.

    Raises:
        DatabaseUnavailable: It is not; the message says what it is.
    """
    listed = run_tool("pg_restore", ["--list", str(source.absolute())])
    if not re.search(r" TABLE mediapipe media_files ", listed):
        raise DatabaseUnavailable(f"{source} is a dump of something else: it holds no catalog of mediapipe-assets.")


def holds_a_catalog(url: str) -> bool:
    """Says whether anything was ever recorded in a database."""
    with contextlib.closing(_connect(make_url(normalise_url(url)))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('mediapipe.media_files') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM mediapipe.media_files) OR EXISTS (SELECT 1 FROM mediapipe.source_files)"
        )
        return cursor.fetchone() == (True,)


def _embedded_only(url: str, command: str) -> URL:
    wait_for(url, 5)
    parsed = make_url(normalise_url(url))
    if not is_embedded(url):
        raise DumpNotPossible(
            f"The database at {_place(parsed)} is not the embedded one and is left to its own backups. "
            f"With PostgreSQL's own tools: {command}"
        )
    return parsed


def _connect(url: URL, connect_timeout: int = 5) -> psycopg2.extensions.connection:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg2.connect(plain, connect_timeout=connect_timeout)


def _permanent_reason(words: str, url: URL) -> str | None:
    if "password authentication failed" in words or "no password supplied" in words:
        return f"PostgreSQL at {_place(url)} refuses user {url.username}: check user and password in the database URL."
    if re.search(r'database ".*" does not exist', words):
        return f"PostgreSQL at {_place(url)} has no database {url.database}: create it with createdb {url.database}"
    if "no pg_hba.conf entry" in words:
        return f"PostgreSQL at {_place(url)} does not let this machine in: allow it in the server's pg_hba.conf."
    if "could not translate host name" in words:
        return f"There is no machine called {url.host}: check the host name in the database URL."
    return None


def _place(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    return f"{host}:{url.port or url.query.get('port') or PORT}"


def _connection_options(url: URL) -> list[str]:
    host, port = url.query.get("host", ""), url.query.get("port", str(PORT))
    return ["-h", str(host), "-p", str(port), "-U", str(url.username), "-d", str(url.database), "--no-password"]


def _administer(url: URL, *statements: str) -> None:
    """Runs statements that cannot be in a transaction, from the database that is always there."""
    with contextlib.closing(_connect(url.set(database="postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def embedded_url(socket_dir: str) -> str:
    """Returns the URL of the embedded server whose socket is in a folder."""
    # The port is named because PGPORT of the environment would count otherwise.
    return f"{DRIVER}://{SUPERUSER}@/{DATABASE}?host={quote(socket_dir, safe='/')}&port={PORT}"


def ensure_database(url: str) -> None:
    """Makes the database of a URL where it is missing."""
    parsed = make_url(url)
    try:
        _connect(parsed, connect_timeout=30).close()
    except psycopg2.OperationalError as error:
        if f'database "{DATABASE}" does not exist' not in str(error):
            raise DatabaseUnavailable(f"The embedded database does not take connections: {error}") from error
        # Two first starts at once both find it missing; the one that comes second finds it made.
        with contextlib.suppress(psycopg2.errors.UniqueViolation, psycopg2.errors.DuplicateDatabase):
            _administer(parsed, f'CREATE DATABASE "{DATABASE}"')
