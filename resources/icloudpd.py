"""icloudpd as a process: a second way to bring a whole library here, for the first time.

Belongs here: its arguments, its environment, the copy of the session that it is handed, and how it ends. Does not
belong here: what its files are worth (`pipeline.icloud_import`): it takes half a file for a whole one, and says that
all is well when Apple refused everything.

It never gets an option that deletes anything, in iCloud or here, and never the password. The Apple ID stands in its
arguments, because it can be told in no other way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from resources.http import ca_bundle, without_queries
from resources.icloud_errors import ICloudError

NAME = "icloudpd"
DONE = "have been downloaded"
REFUSED = "temporary refusing"  # said as if it were no trouble, with exit code 0
NAMED_ERRORS = 10
LOCK = ".icloudpd.lock"
_COPY = "icloudpd-"
_LONGEST_LINE = 300
_END_SECONDS = 10.0
_ERROR = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL)\s+(?P<words>.*)")
_CRASH = "Traceback (most recent call last)"
_FILE = re.compile(r"^\S+ \S+ INFO\s+Downloaded ")
# All that it needs to know of ours. The password, which may stand in a variable, is not among it.
_HANDED_ON = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE",
    "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


class ICloudpdMissing(ICloudError):
    """The program is not installed."""


class ICloudpdBusy(ICloudError):
    """It is at work in this tree already."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended.

    Attributes:
        code: Its exit code, which says little: it is 0 after a wrong password too.
        said_done: Whether it said that everything has been downloaded.
        files: Files that it said to have downloaded.
        errors: The first of the errors that it named.
        throttled: Whether Apple asked for fewer requests.
    """

    code: int
    said_done: bool
    files: int
    errors: tuple[str, ...]
    throttled: bool = False

    @property
    def complete(self) -> bool:
        """Whether it came to its end without an error; whether its files are whole is another question."""
        return self.code == 0 and self.said_done and not self.errors and not self.throttled


def program() -> Path:
    """Returns the program: the one beside this Python, else the one of PATH.

    Raises:
        ICloudpdMissing: There is none.
    """
    beside = Path(sys.executable).with_name(NAME)
    if beside.is_file():
        return beside
    found = shutil.which(NAME)
    if found is None:
        raise ICloudpdMissing("icloudpd is not installed. Install it (pip install icloudpd==1.32.3), or just `run`.")
    return Path(found)


def arguments(apple_id: str, session: Path, tree: Path) -> list[str]:
    """Returns its arguments.

    Args:
        apple_id: The account.
        session: A folder with a copy of the account's session.
        tree: The folder to fill.
    """
    return [
        "--username", apple_id,
        "--cookie-directory", str(session),
        "--directory", str(tree),
        # Without one, so that a session that has ended fails at once, and no code is sent.
        "--password-provider", "parameter",
        # Else one of two photos with one name and size is passed over, and letters beyond ASCII are dropped.
        "--file-match-policy", "name-id7",
        "--keep-unicode-in-filenames",
        "--live-photo-mov-filename-policy", "original",
        "--no-progress-bar",
        "--log-level", "info",
    ]  # fmt: skip


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Returns its environment: how to reach Apple and whom to trust, and the zone by which it names folders.

    Args:
        given: The environment of this process.
    """
    handed = {name: given[name] for name in _HANDED_ON if name in given}
    bundle = ca_bundle()
    if isinstance(bundle, str):
        handed["REQUESTS_CA_BUNDLE"] = bundle  # it knows no SSL_CERT_FILE
    return {**handed, "TZ": "UTC", "PYTHONUNBUFFERED": "1"}


def download(apple_id: str, session_folder: Path, tree: Path, on_file: Callable[[int], None]) -> Ended:
    """Runs it until it ends. The caller holds the lease of the account.

    Args:
        apple_id: The account.
        session_folder: Where its session is kept.
        tree: The folder to fill; it exists.
        on_file: Called with the number of files downloaded so far.

    Raises:
        ICloudpdMissing: It is not installed.
        ICloudpdBusy: It is at work in this tree already.
        KeyboardInterrupt: It was ended with everything that it had started.
    """
    with _locked(tree) as lock, session_copy(session_folder, apple_id) as session:
        process = subprocess.Popen(
            [str(program()), *arguments(apple_id, session, tree)],
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
        try:
            return _listen(process, on_file)
        except BaseException:
            _end(process)
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def session_copy(folder: Path, apple_id: str) -> Iterator[Path]:
    """Yields a folder with a copy of an account's session, which is gone afterwards.

    A copy, because icloudpd writes the files anew in a form of its own.
    """
    for left in folder.glob(f"{_COPY}*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
    name = "".join(one for one in apple_id if re.match(r"\w", one))
    with tempfile.TemporaryDirectory(prefix=_COPY, dir=folder) as made:
        copy = Path(made)  # mode 0700
        shutil.copyfile(folder / f"{name}.session", copy / f"{name}.session")
        # The same cookies, under the name by which icloudpd looks for them.
        shutil.copyfile(folder / f"{name}.cookiejar", copy / name)
        yield copy


@contextlib.contextmanager
def _locked(tree: Path) -> Iterator[int]:
    """Holds a tree's lock. The process inherits it, so that it is held even if we are killed and it lives on."""
    handle = os.open(tree.parent / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ICloudpdBusy(f"icloudpd is still at work in {tree}. Wait for it, or end it.") from None
        yield handle
    finally:
        os.close(handle)


def _listen(process: subprocess.Popen[bytes], on_file: Callable[[int], None]) -> Ended:
    assert process.stdout is not None
    said_done, throttled, files = False, False, 0
    errors: list[str] = []
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        said_done = said_done or DONE in line
        throttled = throttled or REFUSED in line
        if _FILE.match(line):
            files += 1
            on_file(files)
        elif (error := _ERROR.match(line)) or line.startswith(_CRASH):
            words = error["words"] if error else "icloudpd crashed"
            if len(errors) < NAMED_ERRORS:
                errors.append(without_queries(words)[:_LONGEST_LINE])
    return Ended(process.wait(), said_done, files, tuple(errors), throttled)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started: they share a group, and its output, which closes with the last one."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        if _has_fallen_silent(process, _END_SECONDS):
            break
    process.wait()


def _has_fallen_silent(process: subprocess.Popen[bytes], seconds: float) -> bool:
    assert process.stdout is not None
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([process.stdout], [], [], left)
        if ready and not os.read(process.stdout.fileno(), 65536):
            return True
    return False
