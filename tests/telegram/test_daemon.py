"""The whole of it: a real `up`, Apple wants a code in mid-download, a person in Telegram, a check that fails."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from pipeline.stage import CLAIM_BATCH
from resources.database import database
from resources.postgres_access import _connection_options
from resources.postgres_tools import run_tool
from resources.settings import load_settings
from services.icloud_standin import Account, ICloudStandin, Library
from tests.conftest import Home
from tests.icloud_clients import NAME, PASSWORD, library
from tests.icloud_library import jpeg
from tests.icloud_world import TrustEnds, bodies, sign_in
from tests.telegram_standin import OWNER, TOKEN, TelegramStandin
from tests.test_up import free_port

__all__ = ["library"]
MORE = 6  # than one batch: their addresses are asked for once the first batch is under way
NOON = datetime(2026, 5, 17, 10, 0, tzinfo=UTC)
PATIENCE = 200.0
SETTINGS = """
start_date = 2026-05-01
timezone = "Europe/Berlin"
[runs]
sensor_seconds = 5
[compression]
enabled = false
[library]
enabled = false
"""


class Watched:
    """A home in whose catalog a test looks while everything runs."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def value(self, query: str) -> Any:
        with self.home.opened() as platform, platform.engine.connect() as connection:
            return connection.execute(text(query)).scalar()

    def until(self, query: str, wanted: Any) -> None:
        end = time.monotonic() + PATIENCE
        while (found := self.value(query)) != wanted:
            assert time.monotonic() < end, f"{query}: {found} in place of {wanted}"
            time.sleep(0.5)

    def dump(self) -> str:
        with database(load_settings(self.home.path, environ={})) as url:
            return run_tool("pg_dump", [*_connection_options(make_url(url)), "--format=plain"])


def alerts(telegram: TelegramStandin, words: str) -> list[str]:
    return [one.text for one in telegram.messages if words in one.text]


def eventually(telegram: TelegramStandin, holds: Callable[[], Any]) -> Any:
    return telegram.until(holds, seconds=PATIENCE)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_the_person_brings_the_code_and_is_told_what_failed(
    home: Home,
    telegram: TelegramStandin,
    icloud: ICloudStandin,
    account: Account,
    library: Library,
    corpus: Path,
    tmp_path: Path,
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    home.settings(SETTINGS + f'[sources.folder]\npath = "{photos}"\nsettle_seconds = 0\n')
    home.environment = {
        "MEDIAPIPE_ICLOUD__APPLE_ID": NAME,
        "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD,
        "MEDIAPIPE_TELEGRAM__BASE_URL": telegram.url,
        "MEDIAPIPE_TELEGRAM__BOT_TOKEN": TOKEN,
        "MEDIAPIPE_TELEGRAM__CHAT_ID": str(OWNER),
    }
    for number in range(CLAIM_BATCH + MORE):
        library.add(f"IMG_{number:04d}.JPG", jpeg(number), taken=NOON + timedelta(seconds=number), offset_seconds=7200)
    sign_in(home, account)
    first_code, watched = account.code, Watched(home)
    icloud.faults.add(TrustEnds("answer", "records/lookup$", after=1, status=421, account=account))
    port = free_port()
    process = home.start("up", "--port", str(port))

    # Apple wants a code in mid-download, the person answers, and the same run ends verified.
    asked = eventually(telegram, lambda: next(iter(alerts(telegram, "Apple wants a code")), None))
    codes = [one for one in (first_code, account.code) if one]
    assert account.code is not None and account.code not in asked
    reply = telegram.says(account.code)
    watched.until("SELECT count(*) FROM deliveries WHERE state = 'verified'", CLAIM_BATCH + MORE)
    assert watched.value("SELECT count(*) FROM media_files") == len(bodies(library))
    assert watched.value("SELECT count(DISTINCT run_id) FROM pipeline_logs WHERE stage = 'icloud_originals'") == 1
    assert reply in telegram.deleted, "the code does not stay in the chat"
    assert account.codes_sent == 2

    # A file that cannot be read whole fails a check: one message, which stays one when nothing new fails.
    shutil.copy(corpus / "bad" / "truncated_jpeg.jpg", photos / "first.jpg")
    failed = eventually(telegram, lambda: alerts(telegram, "no file is damaged – 1 file"))
    assert len(failed) == 1 and "first" in failed[0]
    assert f"http://127.0.0.1:{port}/runs/" in failed[0]
    telegram.says("/run")
    eventually(telegram, lambda: alerts(telegram, "Asked for: a run"))
    shutil.copy(corpus / "bad" / "truncated_third.jpg", photos / "second.jpg")
    again = eventually(telegram, lambda: alerts(telegram, "no file is damaged – 2 files"))
    assert len(again) == 1 and "second" in again[0]
    assert len(alerts(telegram, "no file is damaged")) == 2, "one for each set of files"

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    logs = {str(one): one.read_text(errors="replace") for one in (home.path / "logs").rglob("*") if one.is_file()}
    places = {**logs, "stderr": err, "tables": watched.dump()}
    secrets = [re.escape(one) for one in (TOKEN, TOKEN.partition(":")[2], PASSWORD)]
    # Six digits may also be a piece of a time or of a hash.
    secrets += [rf"(?<![\w.]){code}(?!\w)" for code in codes]
    assert [(name, one) for name, words in places.items() for one in secrets if re.search(one, words)] == []
