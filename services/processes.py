"""Child processes: started in groups of their own, ended as groups, and never left behind.

Belongs here: one child's life, ending process groups, and the watchdog that does so when its owner was killed.
Does not belong here: which children there are and in which order they start (`up`).

The watchdog is this module run as a program. It reads the groups' numbers from a pipe; when the pipe ends without a
good-bye its owner was killed, and it ends the groups and an unused database server. It imports next to nothing until
then, because it waits for as long as the platform runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOG_LIMIT = 10 << 20
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
STEADY_AFTER = 60.0  # a child that lived this long starts its pauses afresh
ORPHANS_GRACE = 5.0
_GOODBYE = "bye"


@dataclass
class Child:
    """A process that is to run for as long as its owner does.

    Attributes:
        name: What a person reads, and the name of its log.
        command: Program and arguments.
        folder: The working folder.
        env: The whole environment.
        log: Where its output goes; opened for appending, so that it may be cut while the child runs.
        next_start: The monotonic time before which it is not started again.
    """

    name: str
    command: Sequence[str]
    folder: Path
    env: Mapping[str, str]
    log: Path
    next_start: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _pause: float = FIRST_PAUSE
    _read: int = field(default=0, repr=False)

    @property
    def group(self) -> int | None:
        """The process id, which is the group's number too, while the child counts as running."""
        return None if self._process is None else self._process.pid

    def start(self) -> int:
        """Starts the process in a session of its own, so that Ctrl-C reaches only its owner; returns its group."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                list(self.command),
                cwd=self.folder,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started = time.monotonic()
        return self._process.pid

    def ended(self) -> int | None:
        """Returns the exit code once when the process has ended, and plans its next start; else None.

        What is left of its group is ended too: grandchildren would work on unseen, beside their successors.
        """
        if self._process is None:
            return None
        code = self._process.poll()
        if code is None:
            return None
        end_groups([self._process.pid], ORPHANS_GRACE)
        self._process = None
        now = time.monotonic()
        if now - self._started > STEADY_AFTER:
            self._pause = FIRST_PAUSE
        self.next_start = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return code

    def end(self, grace: float) -> None:
        """Ends it on purpose; it may be started again at once."""
        if self._process is not None:
            end_groups([self._process.pid], grace)
            self._process.wait()
            self._process = None

    def pause(self) -> float:
        """Returns the seconds until the next start may happen."""
        return max(0.0, self.next_start - time.monotonic())

    def reap(self) -> None:
        """Takes the exit status of a process that was ended with its group."""
        if self._process is not None:
            self._process.poll()

    def begin_log(self) -> None:
        """Keeps the log of the last time under another name and begins a new one."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.is_file():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        self.log.touch(mode=0o600)
        self._read = 0

    def new_lines(self) -> list[str]:
        """Returns what was logged since the last call, in whole lines, and cuts a log that has grown too long."""
        with open(self.log, "rb") as log:
            log.seek(self._read)
            content = log.read(LOG_LIMIT)
        whole = content.rfind(b"\n") + 1
        self._read += whole
        if self._read > LOG_LIMIT:
            self._cut()
        return content[:whole].decode("utf-8", errors="replace").splitlines()

    def _cut(self) -> None:
        older = self.log.with_name(f"{self.log.name}.1")
        older.write_bytes(self.log.read_bytes())
        os.truncate(self.log, 0)
        self._read = 0


def living(groups: Collection[int]) -> set[int]:
    """Returns those process groups that have a living member; a zombie is not alive."""
    import psutil

    found: set[int] = set()
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.info["status"] != psutil.STATUS_ZOMBIE:
                found.add(os.getpgid(process.pid))
    return found.intersection(groups)


def end_groups(groups: Collection[int], grace: float, hurried: Callable[[], bool] = lambda: False) -> bool:
    """Ends process groups: SIGTERM, and SIGKILL for what is left after `grace` seconds.

    Args:
        groups: The groups' numbers; those that ended already are passed over.
        grace: Seconds.
        hurried: Asked again and again; True ends the waiting.

    Returns:
        True when all of them ended by themselves.
    """
    left = living(groups)
    _signal(left, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline and not hurried():
        time.sleep(0.05)
        left = living(left)
    if not left:
        return True
    _signal(left, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while living(left) and time.monotonic() < deadline:
        time.sleep(0.05)
    return False


def _signal(groups: Collection[int], sign: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, sign)


class Watchdog:
    """Ends the groups that it was told of if this process is killed without a chance to do so."""

    def __init__(self, home: Path) -> None:
        """Starts nothing yet; `home` is where an unused database server is stopped."""
        self._home = home
        self._groups: set[int] = set()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The watchdog's process id."""
        return None if self._process is None else self._process.pid

    def ensure(self) -> None:
        """Starts the watchdog if it does not run, and tells it all groups."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._home)],
            # The folder of the package: `-m` finds it there, wherever the person stands.
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for group in self._groups:
            self._tell(f"+{group}")

    def watch(self, group: int) -> None:
        """Adds a group."""
        self._groups.add(group)
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """Takes a group out that has ended: its number may be given to a stranger."""
        self._groups.discard(group)
        self._tell(f"-{group}")

    def dismiss(self) -> None:
        """Ends the watchdog, with nothing left to do for it."""
        if self._process is None:
            return
        self._tell(_GOODBYE)
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # A dead watchdog is started again by `ensure`, which tells it everything.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def _watch(home: Path) -> None:
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)  # it ends with its owner, however that ends
    groups: set[int] = set()
    for line in sys.stdin:
        words = line.strip()
        if words == _GOODBYE:
            return
        (groups.add if words.startswith("+") else groups.discard)(int(words[1:]))
    end_groups(groups, ORPHANS_GRACE)
    from resources.postgres import EmbeddedPostgres

    EmbeddedPostgres(home).stop_if_unused()


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
