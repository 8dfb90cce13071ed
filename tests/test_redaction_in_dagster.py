"""A run that does all it can to tell the secrets of its home: neither a file nor a table holds one afterwards."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import make_url

from resources.database import database
from resources.postgres_access import _connection_options
from resources.postgres_tools import run_tool
from resources.redaction import MASK
from resources.settings import load_settings
from services.up import prepare_dagster_home
from tests.conftest import Home

# What stays of each secret however it is quoted and escaped, and what tells it from the others.
CORES = ("Hr9x7Zk4mQ2wLp0sVtYbNcXdFgEjUiOo5", "Vq8Lm3pX", "Zq3s7vKxw0PdhT2RbYn81LmCe", "Tr0ub4dor9", "739184")
SECRETS = {
    "MEDIAPIPE_TELEGRAM__BOT_TOKEN": f"8123456789:AA{CORES[0]}",
    "MEDIAPIPE_NOTIFY__URLS": f"mailto://anna:{CORES[1]}%22%26@example.com,discord://1098765432101234567/{CORES[2]}",
}
PASSWORD = f'"{CORES[3]}\\ß &'
CODE = CORES[4]
TALKS = """
import logging, os, sys, threading, urllib.parse, warnings
from pathlib import Path

import dagster as dg
import httpx
from telegram.error import InvalidToken

import mediapipe_assets.definitions  # as the code server and every run do
from pipeline.failures import in_words
from resources import redaction
from resources.database import database
from resources.settings import load_settings
from services.up import dagster_environment

settings = load_settings()
code = sys.stdin.read().strip()
redaction.hide(code)
token = settings.telegram.bot_token.get_secret_value()
password = settings.sources["icloud"].password.get_secret_value()
known = [token, password, *settings.notify.addresses, urllib.parse.unquote(settings.notify.addresses[0]), code]
known += [repr(one) for one in known] + [urllib.parse.quote(one) for one in known]


def fail(secret):
    try:
        raise InvalidToken(f"The token `{secret}` was rejected by the server.")
    except InvalidToken as error:
        error.add_note(secret)
        raise RuntimeError(f"it failed with {secret}") from error


@dg.op(out=dg.Out(str))
def talks(context):
    later = logging.getLogger("made.later")
    for secret in known:
        context.log.debug(f"told {secret}")
        context.log.info("told %s", secret)
        dg.get_dagster_logger("of.dagster").warning("told %s of %d", secret, "no number")
        later.warning("told %(it)s", {"it": secret})
        warnings.warn(secret)
        thread = threading.Thread(target=fail, args=(secret,))
        thread.start()
        thread.join()
        try:
            fail(secret)
        except RuntimeError as error:
            later.exception("it failed")
            context.log.error("it failed", exc_info=error)
            context.add_output_metadata({"reason": in_words(error)})
    httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))).get(
        f"https://api.telegram.org/bot{token}/getMe"
    )
    return "done"


@dg.op
def fails(context, before):
    fail(" ".join(known))


@dg.job
def job():
    fails(talks())


with database(settings) as url:
    os.environ.update(dagster_environment(settings.home, url))
    with dg.DagsterInstance.get() as instance:
        loud = {"loggers": {"console": {"config": {"log_level": "DEBUG"}}}}
        result = job.execute_in_process(instance=instance, run_config=loud, raise_on_error=False)
        print(result.success, len(instance.all_logs(result.run_id)))
fail(" ".join(known))
"""
LOUD = "\npython_logs: {managed_python_loggers: [root], python_log_level: DEBUG}\n"


def test_a_run_that_tells_every_secret_leaves_none_of_them_anywhere(home: Home) -> None:
    own = home.path / "secrets"
    own.mkdir(parents=True)
    (own / "password").write_text(PASSWORD, "utf-8")
    home.environment |= {
        **SECRETS,
        "MEDIAPIPE_ICLOUD__APPLE_ID": "anna@example.com",
        "MEDIAPIPE_ICLOUD__PASSWORD_FILE": str(own / "password"),
    }
    folder = prepare_dagster_home(home.path)
    with open(folder / "dagster.yaml", "a", encoding="utf-8") as config:
        config.write(LOUD)
    (home.path / "talks.py").write_text(TALKS, "utf-8")
    said = home.python("talks", says=CODE)
    assert said.code == 1, said.err
    assert said.out.startswith("False "), said.err
    tables = _dump(home.path)
    places = {"stdout": said.out, "stderr": said.err, "tables": tables, **_files(home.path, apart=own)}

    assert [(name, core) for name, text in places.items() for core in CORES if core in text] == []
    # They were told, and what stands around them is still there.
    assert f"told {MASK}" in tables
    assert f"it failed with {MASK}" in tables
    assert f"The token `{MASK} {MASK} " in tables
    assert f"https://api.telegram.org/bot{MASK}/getMe" in tables
    assert f"RuntimeError: it failed with {MASK}" in said.err
    errors = [text for name, text in places.items() if name.endswith(".err")]
    assert any(f"UserWarning: {MASK}" in text and "Exception in thread" in text for text in errors)


def _dump(home: Path) -> str:
    with database(load_settings(home, environ={})) as url:
        return run_tool("pg_dump", [*_connection_options(make_url(url)), "--format=plain"])


def _files(home: Path, *, apart: Path) -> dict[str, str]:
    """Every file below a home, the database's own among them; what is not text is read as if it were."""
    found = {}
    for base, _, names in os.walk(home):
        for path in (Path(base, name) for name in names):
            if path.is_file() and not path.is_relative_to(apart):
                found[str(path.relative_to(home))] = path.read_bytes().decode("latin-1")
    return found
