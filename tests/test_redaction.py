"""Nothing that is secret leaves a process in a text, whoever writes it and however it is spelt by then."""

from __future__ import annotations

import contextlib
import html
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import dagster as dg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mediapipe_assets.cli import say
from pipeline.failures import in_words
from resources import redaction
from resources.redaction import LEAST, MASK, hide, is_hidden_everywhere, redact
from resources.settings import load_settings
from services.up import _complain
from tests.conftest import Home

TOKEN = "8123456789:AAHr-x9_Zk4mQ2wLp0sVtYbNcXdFgEjUiOo"
BEHIND = TOKEN.partition(":")[2]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJlLW9mLWl0"
WEBHOOK = "discord://1098765432101234567/Zq3_s7vKxw0PdhT2RbYn81LmCe"
MAIL = "mailto://anna:m4il%20pass@example.com?to=bert@example.com"
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Stars are what is put in their place, so they are told apart from nothing.
secrets = st.text(st.characters(exclude_characters="*"), min_size=LEAST, max_size=40).filter(is_hidden_everywhere)
encodable = st.text(st.characters(exclude_characters="*", codec="utf-8"), min_size=LEAST, max_size=40).filter(
    is_hidden_everywhere
)


def hide_only(secret: str) -> None:
    """Forgets what other examples hid; `redacting` puts everything back."""
    redaction._known = redaction._Known()
    hide(secret)


class _Lines(io.StringIO):
    """A file that keeps its lines apart."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(line)


class _Keeping(logging.Handler):
    """Takes what it needs from the record itself, as Dagster's does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept += [record.getMessage(), str(record.msg), repr(record.args)]


class _Plain(logging.Formatter):
    """Makes its lines without Python's help."""

    def format(self, record: logging.LogRecord) -> str:
        shown = f"{record.msg} {record.args} {getattr(record, 'more', '')}"
        return shown + (str(record.exc_info[1]) if record.exc_info else "")


@contextlib.contextmanager
def heard(name: str = "some.library.of.theirs") -> Iterator[tuple[logging.Logger, _Lines, _Keeping]]:
    """A logger with one handler of each kind: on it, on its ancestor, with a formatter of its own, and a keeper."""
    out, keeping = _Lines(), _Keeping()
    ours, theirs, odd = (logging.StreamHandler(out) for _ in range(3))
    theirs.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    odd.setFormatter(_Plain())
    parent, child = logging.getLogger(name), logging.getLogger(f"{name}.later")
    parent.setLevel(logging.DEBUG)
    child.addHandler(ours)
    for handler in (theirs, odd, keeping):
        parent.addHandler(handler)
    try:
        yield child, out, keeping
    finally:
        child.removeHandler(ours)
        for handler in (theirs, odd, keeping):
            parent.removeHandler(handler)


def raised(words: str, cause: str = "") -> Exception:
    try:
        try:
            raise ValueError(cause)
        except ValueError as error:
            raise RuntimeError(words) from error
    except RuntimeError as error:
        error.add_note(f"noted: {cause}")
        return error


# --- whatever is logged ---


@QUICK
@given(before=st.text(), secret=secrets, after=st.text())
@example(before="", secret='a"b\\c d', after="\\")
@example(before="\n", secret="some\nlines", after="\n")
@example(before="", secret="\ud800\ud800\ud800\ud800\ud800\ud800", after="")
def test_no_handler_ever_gets_a_secret(redacting: None, before: str, secret: str, after: str) -> None:
    hide_only(secret)
    text = before + secret + after
    error = raised(text, cause=secret)
    with heard() as (logger, out, keeping):
        logger.warning(text.replace("%", "%%"))
        logger.info("%s", text)
        logger.info("%(it)s", {"it": text})
        logger.debug("%s of %d", text, "not a number")
        logger.info(error)
        logger.error("it failed", exc_info=error, extra={"more": text}, stack_info=True)
    said = [*out.lines, *keeping.kept]
    assert [one for one in said if secret in one] == []
    assert sum(MASK in one for one in said) > len(said) / 2


def test_a_record_that_was_made_elsewhere_is_free_of_secrets_once_it_is_a_line(redacting: None) -> None:
    hide("s3cret-of-mine")
    with heard() as (logger, out, _):
        logger.handle(logging.makeLogRecord({"levelno": 30, "msg": "%s", "args": ("s3cret-of-mine",)}))
    assert out.lines[0] == f"{MASK}\n"


@QUICK
@given(secret=encodable)
@example(secret="m4il pass/wörd\"'\\&<é😀>%+")
def test_a_secret_is_known_in_every_spelling(redacting: None, secret: str) -> None:
    hide_only(secret)
    spelt = [
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe="").lower() if secret.islower() else quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(repr(secret))),
        repr(secret),
        ascii(secret)[1:-1],
        repr(secret.encode())[2:-1],
        html.escape(secret),
    ]
    for one in spelt:
        assert redact(f"x{one}x").strip("x\\\"'") == MASK, one


@QUICK
@given(st.text(st.characters(exclude_characters=":=/")))
def test_text_without_a_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("word", ["photos", "postgres", "mediapipe_assets", "abc12", ""])
def test_a_short_secret_or_an_ordinary_word_is_hidden_where_a_password_stands_and_nowhere_else(
    redacting: None, word: str
) -> None:
    hide(word)
    assert redact(f"taken in: {word}/2021/IMG_1.JPG") == f"taken in: {word}/2021/IMG_1.JPG"
    if word:
        assert redact(f"postgresql://me:{word}@host/db") == f"postgresql://me:{MASK}@host/db"
        assert redact(f"host=here password={word} port=1") == f"host=here password={MASK} port=1"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (
            f"HTTP Request: POST https://api.telegram.org/bot{TOKEN}/getMe",
            "HTTP Request: POST https://api.telegram.org/",
        ),
        (f"The token `{TOKEN}` was rejected by the server.", "was rejected by the server."),
        ("key sb_secret_Ab3-x_9", "key "),
        (f"user {JWT} signed in", "signed in"),
        ("Authorization: Bearer abc.def", "Authorization: "),
        ("{'Authorization': 'Basic eGU6eA==', 'Accept': '*'}", "'Accept': '*'}"),
        ("[(b'authorization', b'Bearer abcdef')]", ")]"),
        ('{\\"X-API-Key\\": \\"abc\\", \\"n\\": 1}', '\\"n\\": 1}'),
        ("X-Apple-Session-Token: abc==", "X-Apple-Session-Token: "),
        ("login?user=me&password=abc&n=1", "login?user=me&password=********&n=1"),
        ("connect(password='a b c', port=1)", ", port=1)"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_without_being_known(text: str, safe: str) -> None:
    said = redact(text)
    assert MASK in said
    assert safe in said
    for secret in (BEHIND, "Ab3-x", JWT, "abc", "eGU6", "a b c"):
        assert secret not in said or secret not in text
    assert redact(said) == said


def test_a_code_that_happens_to_be_within_a_token_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._Known())
    hide(TOKEN[1:7])
    assert BEHIND not in redact(f"The token `{TOKEN}` was rejected by the server.")
    for text in (f"The code was {TOKEN[1:7]}.", f"text=code%20{TOKEN[1:7]}&n=1", f"code={TOKEN[1:7]}"):
        assert TOKEN[1:7] not in redact(text)


# --- where else a text leaves a process ---


def test_the_address_of_a_request_ends_at_its_question_mark(redacting: None) -> None:
    for name in ("urllib3.connectionpool", "httpx"):
        with heard(name) as (logger, out, _):
            logger.debug('https://host:443 "GET %s HTTP/1.1" %s', "/B/file?ckc=com.apple&key=x", 200)
        assert '"GET /B/file?… HTTP/1.1" 200' in out.lines[0]
        assert "ckc" not in "".join(out.lines)


def test_what_dagster_stores_of_an_error_holds_no_secret_at_any_depth(redacting: None) -> None:
    from dagster._utils.error import serializable_error_info_from_exc_info

    hide("s3cret-of-mine")
    error = raised("outer s3cret-of-mine", cause="inner s3cret-of-mine")
    stored = dg.serialize_value(serializable_error_info_from_exc_info((type(error), error, error.__traceback__)))
    assert "s3cret" not in stored
    assert "outer" in stored
    assert "inner" in stored


def test_a_warning_holds_no_secret(redacting: None) -> None:
    hide("s3cret-of-mine")
    assert warnings.formatwarning("with s3cret-of-mine", UserWarning, "file.py", 1, "") == (
        f"file.py:1: UserWarning: with {MASK}\n"
    )


def test_the_last_words_of_a_process_and_of_a_thread_hold_no_secret(
    redacting: None, capsys: pytest.CaptureFixture[str]
) -> None:
    hide("s3cret-of-mine")
    error = raised("ended by s3cret-of-mine")
    sys.excepthook(RuntimeError, error, error.__traceback__)

    def work() -> None:
        raise error

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()

    class Ends:
        def __del__(self) -> None:
            raise error

    Ends()
    said = capsys.readouterr().err
    assert said.count(f"RuntimeError: ended by {MASK}") == 3
    assert "Exception in thread worker" in said
    assert "s3cret" not in said


def test_the_reason_that_a_file_gets_holds_no_secret(redacting: None) -> None:
    hide("s3cret-of-mine")
    assert in_words(ValueError("with s3cret-of-mine")) == f"ValueError: with {MASK}"


# --- which secrets there are ---


def test_every_secret_of_the_settings_is_hidden_once_they_are_read(redacting: None, tmp_path: Path) -> None:
    load_settings(
        environ={
            "MEDIAPIPE_HOME": str(tmp_path),
            "MEDIAPIPE_DATABASE_URL": "postgresql://me:d4ta%2Fbase@db.example.com/photos",
            "MEDIAPIPE_TELEGRAM__BOT_TOKEN": TOKEN,
            "MEDIAPIPE_NOTIFY__URLS": f"{MAIL},{WEBHOOK},ntfy://topic",
            "MEDIAPIPE_ICLOUD__APPLE_ID": "anna@example.com",
            "MEDIAPIPE_ICLOUD__PASSWORD": "Apple-P4ss, wörd",
        }
    )
    for secret in (
        *(TOKEN, quote(TOKEN, safe=""), BEHIND),
        *(MAIL, "m4il%20pass", "m4il pass", WEBHOOK, "Zq3_s7vKxw0PdhT2RbYn81LmCe", "ntfy://topic"),
        *("d4ta%2Fbase", "d4ta/base", "Apple-P4ss, wörd", quote("Apple-P4ss, wörd")),
    ):
        assert redact(f"<{secret}>") == f"<{MASK}>"
    kept = "anna@example.com is at db.example.com/photos, topic discord"
    assert redact(kept) == kept


def test_a_later_secret_is_hidden_as_well_and_a_longer_one_wholly(redacting: None) -> None:
    hide("123456")
    hide("1234567890")
    assert redact("code 123456, number 1234567890.") == f"code {MASK}, number {MASK}."


# --- who else speaks ---


def test_what_up_repeats_of_a_log_and_what_a_command_ends_with_hold_no_secret(
    redacting: None, capsys: pytest.CaptureFixture[str]
) -> None:
    hide("s3cret-of-mine")
    _complain("[daemon] ERROR - told s3cret-of-mine")
    say("Error: told s3cret-of-mine")
    assert capsys.readouterr().err == f"[daemon] ERROR - told {MASK}\nError: told {MASK}\n"


def test_a_program_of_dagsters_runs_as_by_itself_and_logs_no_secret(home: Home) -> None:
    home.path.mkdir()
    (home.path / "theirs").mkdir()
    (home.path / "theirs" / "__main__.py").write_text(
        "import logging, os, sys\n"
        "logging.error('told %s', os.environ['MEDIAPIPE_TELEGRAM__BOT_TOKEN'])\n"
        "print(__name__, sys.argv[1:])\n"
        "raise SystemExit(7)\n"
    )
    said = home.python("services.dagster_process", "theirs", "-p", "1", MEDIAPIPE_TELEGRAM__BOT_TOKEN=TOKEN)
    assert (said.code, said.out, said.err) == (7, "__main__ ['-p', '1']\n", f"ERROR:root:told {MASK}\n")


def test_a_wrong_setting_keeps_no_program_of_dagsters_from_running(home: Home) -> None:
    home.settings("nonsense = 1")
    (home.path / "theirs.py").write_text("print('runs')\n")
    said = home.python("services.dagster_process", "theirs")
    assert (said.code, said.out) == (0, "runs\n")
    assert "nonsense is no setting" in said.err
