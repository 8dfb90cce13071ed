"""Services are started after what they need, again when they end, and all of them are ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.processes import Watchdog, living
from services.supervisor import Restart, Service, Supervisor

WAITING = ["-c", "import time; time.sleep(99)"]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    one = Supervisor(Watchdog(tmp_path), tmp_path / "logs", lambda: said.append("changed"), said.append)
    yield one
    one.end(5.0, lambda: False)


def looking(supervisor: Supervisor, happened: Callable[[], bool]) -> None:
    """Looks after the services until something has happened."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        supervisor.look()
        time.sleep(0.05)


def test_a_service_is_started_once_those_before_it_serve(supervisor: Supervisor, tmp_path: Path) -> None:
    serving: list[str] = []
    supervisor.add(
        [
            Service("server", WAITING, os.environ, serves=lambda: bool(serving)),
            Service("client", WAITING, os.environ, after=["server"]),
            Service("alone", WAITING, os.environ),
        ],
        tmp_path,
    )
    supervisor.look()
    supervisor.look()
    assert set(supervisor.groups) == {"server", "alone"}
    serving.append("now")
    supervisor.look()
    assert set(supervisor.groups) == {"server", "client", "alone"}


def test_one_that_ends_is_told_and_started_again_with_its_own_environment(
    supervisor: Supervisor, tmp_path: Path, said: list[str]
) -> None:
    code = "import os; open('starts', 'a').write(os.environ['WHO']); raise SystemExit(3)"
    supervisor.add([Service("short", ["-c", code], {**os.environ, "WHO": "x"})], tmp_path)
    starts = tmp_path / "starts"
    looking(supervisor, lambda: starts.exists() and starts.read_text() == "xx")
    (told,) = {line for line in said if line.startswith("short ended") and "in 1 s" in line}
    assert "with code 3" in told and str(tmp_path / "logs" / "short.log") in told


def test_what_it_logs_as_an_error_is_repeated(supervisor: Supervisor, tmp_path: Path, said: list[str]) -> None:
    code = "import time; print('ValueError: no such thing', flush=True); print('fine', flush=True); time.sleep(99)"
    supervisor.add([Service("talker", ["-c", code], os.environ)], tmp_path)
    looking(supervisor, lambda: "[talker] ValueError: no such thing" in said)
    assert not any("fine" in line for line in said)


def test_with_the_database_only_those_are_started_again_that_ask_for_it(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.add(
        [
            Service("with it", WAITING, os.environ, restart=Restart.WITH_DATABASE),
            Service("without", WAITING, os.environ),
        ],
        tmp_path,
    )
    supervisor.look()
    before = supervisor.groups
    supervisor.database_restarted()
    assert supervisor.groups == {"without": before["without"]}
    supervisor.look()
    assert supervisor.groups["without"] == before["without"]
    assert supervisor.groups["with it"] not in (before["with it"], None)


def test_all_of_them_are_ended_and_one_that_will_not_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(99)"
    supervisor.add([Service("good", WAITING, os.environ), Service("deaf", ["-c", deaf], os.environ)], tmp_path)
    log = tmp_path / "logs" / "deaf.log"
    looking(supervisor, lambda: log.exists() and "on" in log.read_text())
    groups = list(supervisor.groups.values())
    assert len(groups) == 2
    assert not supervisor.end(0.3, lambda: False)
    assert living(groups) == set()
