"""Nothing that is secret stands anywhere it could be read: logs, arguments, the catalog, what Dagster records."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from catalog import icloud as records
from resources import icloud_errors as errors
from services.icloud_standin import Account, ICloudStandin
from tests.conftest import Home, processes_of
from tests.icloud_clients import NAME
from tests.icloud_library import fill, jpeg
from tests.icloud_world import World, sign_in

PASSWORD = "Tr0ub4dor-sehr-geheim"
PLACE = (48.858093, 2.294694)
POSITION = ("48.858", "2.29469")
ADDRESS = ("ckc=com.apple", "ckc%3D")  # of a signed address's query
NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
# Every Python process of a run writes all that it logs to a file of its own.
LOG_EVERYTHING = """
import logging, os
logging.basicConfig(level=logging.DEBUG, filename=os.path.join({folder!r}, f"{{os.getpid()}}.log"))
"""


@contextlib.contextmanager
def watched(home: Home) -> Iterator[set[str]]:
    """Notes the arguments of every process of a home, and the environment of those that are not Python, meanwhile."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for process in processes_of(home):
                with contextlib.suppress(psutil.Error):
                    words = process.cmdline()
                    if words[-3:-1] != ["icloud", "code"]:  # which a person types with the code
                        seen.add(" ".join(words))
                    if process.name().startswith("postgres"):
                        seen.add(str(process.environ()))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def secrets_of(account: Account, codes: list[str]) -> dict[str, re.Pattern[str]]:
    words = [PASSWORD, *account.session_tokens, *account.trust_tokens, *account.cookies]
    return {
        "password or token": re.compile("|".join(map(re.escape, words))),
        "code": re.compile("|".join(rf"(?<![\d.]){one}(?!\d)" for one in codes)),
        "signed address": re.compile("|".join(map(re.escape, ADDRESS))),
        "position": re.compile("|".join(map(re.escape, POSITION))),
    }


def cells(home: Home) -> Iterator[tuple[str, str]]:
    """Every text in every table of the home's database, Dagster's tables among them."""
    with home.opened() as platform, platform.engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT table_schema, table_name, column_name FROM information_schema.columns "
                "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') "
                "AND data_type IN ('text', 'character varying', 'json', 'jsonb', 'ARRAY', 'bytea')"
            )
        ).all()
        assert len(columns) > 100
        for schema, table, column in columns:
            query = f'SELECT "{column}"::text FROM "{schema}"."{table}" WHERE "{column}" IS NOT NULL'
            for (value,) in connection.execute(text(query)):
                yield f"{table}.{column}", value


def test_a_whole_run_leaves_no_secret_anywhere(home: Home, icloud: ICloudStandin, tmp_path: Path) -> None:
    account = icloud.account(NAME, PASSWORD, trusted_device=True)
    library = account.library()
    fill(library, 10)
    library.add("paris.jpg", jpeg(99), taken=NOON, offset_seconds=7200, location=PLACE, caption="Ein Turm")
    logs = tmp_path / "logs"
    logs.mkdir()
    logs.chmod(0o777)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(LOG_EVERYTHING.format(folder=str(logs)))
    home.settings('start_date = 2026-06-01\ntimezone = "Europe/Berlin"\n')
    home.environment = {"MEDIAPIPE_ICLOUD__APPLE_ID": NAME, "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD}
    home.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")])
    codes: list[str] = []
    plain = account.send_code

    def send_code(to: str) -> None:
        plain(to)
        codes.append(str(account.code))

    account.send_code = send_code  # type: ignore[method-assign]
    with watched(home) as arguments:
        sign_in(home, account)
        account.expire_session()  # so that the run signs in with the password
        synced = home.cli("icloud", "sync", "--json")
        ran = home.cli("run", "--json")
    assert codes and ran.json["found"] >= 11 and len(list(logs.iterdir())) >= 4
    found = secrets_of(account, codes)
    texts = {"argv": "\n".join(arguments), "sync": synced.out + synced.err, "run": ran.out + ran.err}
    texts |= {f"log {path.name}": path.read_text(errors="replace") for path in logs.iterdir()}
    ends = (".log", ".err", ".out", ".toml")
    kept = [path for path in home.path.rglob("*") if path.is_file() and path.suffix in ends]
    texts |= {str(path): path.read_text(errors="replace") for path in kept}
    assert any("icloud" in words for words in texts.values())
    leaks = [f"{what} in {where}" for where, words in texts.items() for what, one in found.items() if one.search(words)]
    positions = 0
    for where, value in cells(home):
        for what, one in found.items():
            if not one.search(value):
                continue
            if (what, where) == ("position", "icloud_records.fields"):
                positions += 1
            else:
                leaks.append(f"{what} in {where}: {value[:200]}")
    assert leaks == [] and positions == 1, "the place is known, and known in one place"


def test_a_statement_that_fails_tells_no_values(world: World) -> None:
    with world.engine.begin() as connection, pytest.raises(DBAPIError) as failed:
        records.put_records(
            connection,
            "no such source",
            [{"name": "R", "kind": "asset", "parent": None, "state": "live", "fields": {"location": PLACE}}],
        )
    assert not any(one in str(failed.value) for one in POSITION)
    assert not any(one in "".join(map(str, failed.value.args)) for one in POSITION)


def test_no_message_holds_an_address() -> None:
    answer: Any = Exception("https://cvws.icloud-content.com/B/x?s=SECRET&ckc=com.apple CONFLICT")
    said = str(errors.translated(answer))
    assert "SECRET" not in said and "cvws" not in said
