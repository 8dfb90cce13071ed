"""The `up` that runs on a home: where it says so (`up.json`), and how somebody else ends it.

Belongs here: what another process may know of a running `up`. Does not belong here: what `up` does (`up`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from media.files import atomic_write


@dataclass(frozen=True)
class UpInfo:
    """A running `up`, as `up.json` describes it.

    Attributes:
        pid: Its process id.
        create_time: When that process began, because numbers are given again.
        port: The webserver's port.
        url: Where a person opens it.
        code_server_port: Where the shared code server listens, on loopback.
        children: Name and process id of each child that runs.
    """

    pid: int
    create_time: float
    port: int
    url: str
    code_server_port: int
    children: dict[str, int]


def is_up(home: Path) -> UpInfo | None:
    """Returns the `up` that runs on this home, or None."""
    try:
        content = json.loads(_info_path(home).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    info = UpInfo(**content)
    return info if _is_alive(info) else None


def write_info(home: Path, port: int, url: str, code_server_port: int, children: Mapping[str, int]) -> None:
    """Writes that this process is the `up` of a home.

    Args:
        home: The home folder.
        port: The webserver's port.
        url: Where a person opens it.
        code_server_port: Where the shared code server listens.
        children: Name and process id of each child that runs.
    """
    own = psutil.Process()
    info = UpInfo(own.pid, own.create_time(), port, url, code_server_port, dict(children))
    with atomic_write(_info_path(home), "up") as handle:
        handle.write(json.dumps(dataclasses.asdict(info), indent=2).encode() + b"\n")


def remove_info(home: Path) -> None:
    """Removes what `write_info` wrote."""
    _info_path(home).unlink(missing_ok=True)


def end_up(home: Path, timeout: float) -> list[str]:
    """Ends the `up` of a home.

    Args:
        home: The home folder.
        timeout: Seconds that it gets before it is killed (its watchdog then ends its children).

    Returns:
        What was done, in lines for a person.
    """
    info = is_up(home)
    if info is None:
        return []
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGTERM)
    if _wait_until(lambda: not _is_alive(info), timeout):
        return [f"Ended the platform at {info.url}."]
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGKILL)
    _wait_until(lambda: not any(map(psutil.pid_exists, info.children.values())), 15)
    return [f"Killed the platform at {info.url}: it did not end within {timeout:.0f} s."]


def _is_alive(info: UpInfo) -> bool:
    try:
        process = psutil.Process(info.pid)
        return abs(process.create_time() - info.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _info_path(home: Path) -> Path:
    return home.expanduser().resolve() / "run" / "up.json"


def _wait_until(happened: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
