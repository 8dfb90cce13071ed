"""The one filter that keeps secrets out of every text that a process of ours writes for later.

Belongs here: which texts are secret, in which spellings, and the few places of Python where text leaves a process.
Does not belong here: what is logged. Secrets in what a person asks to see are masked by `Settings.masked`.

It sits where nobody who logs can pass it by, whatever their logger, handler or formatter:
- a record is freed of secrets when it is made, so that also those who keep records see none, Dagster among them;
- a finished line once more, for what formatters add;
- the text of an exception where Python makes it: logging takes it there, and so does Dagster for what it stores of a
  failed step or tick, and shows in its pages;
- warnings, and the errors that end a process or a thread.

Text that code of ours makes of an error and stores itself goes through `redact`. A worker of the pool has nothing to
hide: it is told no setting, and what it raises is put into words by the run.
"""

from __future__ import annotations

import html
import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from resources.http import without_queries

if TYPE_CHECKING:
    from pydantic import BaseModel

MASK = "********"
LEAST = 6  # characters of a secret that is hidden wherever it occurs; Apple's codes have six
# The password of a database may be an ordinary word, such as the name of a program or of one of our modules. Hidden
# everywhere it would make nonsense of every line and tell by its absence what it is; it is hidden where a password
# stands, by the shapes below.
_WORD = re.compile(r"[A-Za-z]?[a-z_]{1,16}")
_TOKEN = re.compile(r"(?=.*\d)[^.]{12,}", re.DOTALL)  # a part of an address that nobody chose for its meaning
_BOT = re.compile(r"\d+:(.{20,})")
# They log the address of each request, and that of a photo opens it to whoever reads it.
_LOGGERS_OF_REQUESTS = ("urllib3", "httpx", "httpcore", "requests")

_QUOTE = r"\\*[\"']"
_QUOTED = r"[^\r\n\"'\\]+"
_BARE = r"[^\s\"'\\,;&<>()\[\]{}]+"
_NAME = r"(?i:password|passwd|passphrase|pwd|secret|token|api_?key)"
_HEADER = r"(?i:authorization|cookie|x-[a-z-]*(?:key|token))"
# What is secret by how it looks; the group is what stays of it.
_TOKENS = re.compile(
    r":(?<=\d{5}:)[A-Za-z0-9_-]{30,}|%3[Aa](?<=\d{5}%3.)[A-Za-z0-9_-]{30,}"  # a bot's, behind its number
    r"|sb_secret_[A-Za-z0-9_-]+"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"  # a JWT
)
_NAMED = re.compile(
    r"(://[^\s/:@?#\"']*:)[^\s/@\"']+(?=@)"
    rf"|({_HEADER}(?:{_QUOTE} *[:,] *b?{_QUOTE}|: *)){_QUOTED}"
    rf"|({_NAME}(?:={_QUOTE}|{_QUOTE} *: *{_QUOTE})){_QUOTED}"
    rf"|({_NAME}=){_BARE}"
)
# One of these is in each text that `_NAMED` finds something in; most lines have none, and are not searched for it.
_NAMES = ("://", "authorization", "cookie", "x-", "passw", "passphrase", "pwd", "secret", "token", "key")


class _Known:
    """The secrets that this process was told: codes, which are all digits, as one pattern, and the others as one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self.pattern: re.Pattern[str] | None = None
        self.codes: re.Pattern[str] | None = None

    def add(self, values: Iterable[str]) -> None:
        with self._lock:
            every = self._values.union(value for value in values if is_hidden_everywhere(value))
            if every != self._values:
                codes = {value for value in every if value.isascii() and value.isdigit()}
                self.pattern, self.codes = _pattern(every - codes), _pattern(codes)
                self._values = every


def _pattern(secrets: Collection[str]) -> re.Pattern[str] | None:
    # The longest first: of two that begin alike, the shorter would leave the rest of the longer one.
    spelt = map(_spellings, sorted(secrets, key=len, reverse=True))
    return re.compile("|".join(spelt)) if secrets else None


_known = _Known()


def install(settings: BaseModel | None = None) -> None:
    """Keeps secrets out of everything that this process logs from now on. To be called first; again does no harm.

    Args:
        settings: Whose secrets are hidden. `load_settings` tells those that it read by itself.
    """
    if settings is not None:
        hide_secrets_of(settings)
    _keep_out_of_last_words()
    if not hasattr(logging.Handler.format, "redacts"):
        _keep_out_of_records()
        _keep_out_of_lines_and_errors()


def hide(secret: str) -> None:
    """Hides a text for as long as the process lives, for instance a code; too short a one cannot be hidden.

    Args:
        secret: At least `LEAST` characters that are no ordinary word.
    """
    _known.add([secret])


def hide_secrets_of(settings: BaseModel) -> None:
    """Hides every secret of the settings."""
    _known.add(part for secret in _secrets(settings) for part in _parts(secret))


def is_hidden_everywhere(secret: str) -> bool:
    """Returns whether a secret is told apart from ordinary text; another is hidden only where a password stands."""
    return len(secret.strip()) >= LEAST and not _WORD.fullmatch(secret)


def redact(text: str) -> str:
    """Returns a text with stars in place of every secret."""
    if _known.pattern is not None:
        text = _known.pattern.sub(MASK, text)
    text = _TOKENS.sub(MASK, text)
    # After what is known by its look, which the digits of a code that happen to be in it would spoil.
    if _known.codes is not None:
        text = _known.codes.sub(MASK, text)
    lower = text.lower()
    return _NAMED.sub(_masked, text) if any(name in lower for name in _NAMES) else text


def _masked(found: re.Match[str]) -> str:
    return found[found.lastindex or 0] + MASK


# --- which texts are secret ---


def _secrets(settings: BaseModel) -> Iterator[str]:
    from resources import settings_schema as schema  # which takes long to import, and `--help` has no settings

    values = settings.model_dump()
    for key in schema.secret_keys(type(settings), values):
        value: Any = values
        for step in key.split("."):
            value = value.get(step) if value is not None else None
        if value is not None:
            yield value.get_secret_value()


def _parts(secret: str) -> Iterator[str]:
    """Yields a secret and what of it is one by itself."""
    if "://" not in secret:
        yield secret
        if bot := _BOT.fullmatch(secret):
            yield bot[1]
        return
    for address in re.split(r",\s*(?=[a-zA-Z][a-zA-Z0-9+.-]*://)", secret):
        yield from _parts_of_address(address.strip())


def _parts_of_address(address: str) -> Iterator[str]:
    scheme, _, rest = address.partition("://")
    if not scheme.startswith("postgres"):  # where a database is, is no secret
        yield address
    password = re.split(r"[/?#]", rest)[0].rpartition("@")[0].partition(":")[2]
    tokens = [part for part in re.split(r"[/?#&=@:]+", rest) if _TOKEN.fullmatch(part)]
    for part in (password, *tokens):
        yield part
        yield unquote(part)


def _spellings(secret: str) -> str:
    """Returns the pattern of a secret, however often it was quoted, escaped or percent-encoded on its way."""
    parts = re.findall(r"[A-Za-z0-9]+|\\+|.", secret, re.DOTALL)
    return "".join(_spellings_of(part) for part in parts)


def _spellings_of(part: str) -> str:
    if part.isascii() and part.isalnum():
        return part
    if part[0] == "\\":
        return r"(?:\\|%5[cC])+"
    encoded = quote(part, safe="", errors="surrogatepass")
    octets = repr(part.encode("utf-8", "surrogatepass"))[2:-1]
    spelt = {json.dumps(part)[1:-1], ascii(part)[1:-1], octets, encoded, encoded.lower(), html.escape(part)}
    spelt |= {f"%{ord(part):02X}", f"%{ord(part):02x}"} if part.isascii() else set()
    if part == " ":
        spelt.add("+")
    escaped = [re.escape(one).replace(r"\\", r"\\+") for one in sorted(spelt, key=len, reverse=True)]
    return rf"(?:{'|'.join(escaped)}|\\*{re.escape(part)})"


# --- where text leaves a process ---


def _keep_out_of_records() -> None:
    make = logging.getLogRecordFactory()

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.msg, record.args = _message(record), ()
        return record

    logging.setLogRecordFactory(make_redacted)


def _message(record: logging.LogRecord) -> str:
    try:
        words = record.getMessage()
    except Exception:  # logging would print the arguments as they are, with what is wrong with them
        words = f"{record.msg} (its arguments do not fit: {record.args!r})"
    asks = (record.name or "").startswith(_LOGGERS_OF_REQUESTS)  # `makeLogRecord` gives it a name only afterwards
    return redact(without_queries(words) if asks else words)


def _keep_out_of_lines_and_errors() -> None:
    format_line = logging.Handler.format
    format_error = traceback.TracebackException.format_exception_only
    format_warning = warnings.formatwarning

    def redacted_line(self: logging.Handler, record: logging.LogRecord) -> str:
        return redact(format_line(self, record))

    def redacted_error(error: traceback.TracebackException, *args: Any, **kwargs: Any) -> Iterator[str]:
        return map(redact, format_error(error, *args, **kwargs))

    def redacted_warning(*args: Any, **kwargs: Any) -> str:
        return redact(format_warning(*args, **kwargs))

    redacted_line.redacts = True  # type: ignore[attr-defined]
    logging.Handler.format = redacted_line  # type: ignore[method-assign]
    traceback.TracebackException.format_exception_only = redacted_error  # type: ignore[method-assign, assignment]
    warnings.formatwarning = redacted_warning


def _keep_out_of_last_words() -> None:
    """Prints in Python what Python would print in C; whoever has put a hook of their own there prints in Python too."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _say_error
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _say_error_of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _say_error_in_passing


def _say_error(kind: type[BaseException], error: BaseException | None, trace: Any, where: str = "") -> None:
    if sys.stderr is not None:  # a process without one has nobody to tell
        sys.stderr.write(redact(where + "".join(traceback.format_exception(kind, error, trace))))


def _say_error_of_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit:
        name = found.thread.name if found.thread is not None else threading.get_ident()
        _say_error(found.exc_type, found.exc_value, found.exc_traceback, f"Exception in thread {name}:\n")


def _say_error_in_passing(found: sys.UnraisableHookArgs) -> None:
    where = f"{found.err_msg or 'Exception ignored in'}: {found.object!r}\n"
    _say_error(found.exc_type, found.exc_value, found.exc_traceback, where)
