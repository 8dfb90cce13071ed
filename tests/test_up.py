"""`up`: the whole platform starts, heals and ends, and leaves no process behind. With tiny definitions of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from resources.postgres import EmbeddedPostgres
from resources.settings import load_settings
from services.processes import Child, end_groups, living
from services.running import UpInfo, is_up
from services.up import _Platform, _StopRequest, dagster_environment, down, prepare_dagster_home, up

CHECKOUT = Path(__file__).parents[1]
DEFINITIONS = """
import time
import dagster as dg

@dg.asset
def slow():
    time.sleep(300)

job = dg.define_asset_job("job", "*")
defs = dg.Definitions(assets=[slow], jobs=[job], executor=dg.in_process_executor)
"""
START = """
import sys
from pathlib import Path
from services.up import up
sys.exit(up(Path(sys.argv[1]), database_url=None, host="127.0.0.1", port=int(sys.argv[2]), module="tiny_definitions"))
"""
LAUNCH = """mutation { launchRun(executionParams: {mode: "default", runConfigData: {}, selector: {
  repositoryLocationName: "mediapipe_assets", repositoryName: "__repository__", pipelineName: "job"}}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
LOCATION = "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }"


@dataclass
class Platform:
    """An `up` of the test's own."""

    home: Path
    port: int
    process: subprocess.Popen[str]

    def info(self) -> UpInfo:
        found = is_up(self.home)
        assert found is not None
        return found

    def ask(self, query: str) -> Any:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.info().url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)["data"]

    def answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            entries = self.ask(LOCATION)["workspaceOrError"]["locationEntries"]
            return [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]
        return False

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Platform]:
    """Starts `up` and waits until it says that it is ready."""
    (folder / "tiny_definitions.py").write_text(DEFINITIONS)
    home, port = folder / "home", free_port()
    path = os.pathsep.join([str(CHECKOUT), str(folder), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(home), str(port)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}  (ready after"), line
        yield Platform(home, port, process)
    finally:
        down(home, 30)
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with started(tmp_path_factory.mktemp("up")) as platform:
        yield platform


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(happened: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    def lives(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [process for process in processes if lives(process)]


def test_it_starts_everything_and_the_definitions_are_loaded(platform: Platform) -> None:
    info = platform.info()
    assert platform.answers()
    assert info.pid == platform.process.pid
    assert info.url == f"http://127.0.0.1:{platform.port}"
    assert set(info.children) == {"code-server", "webserver", "daemon"}
    assert EmbeddedPostgres(platform.home).holders() == [info.pid]
    assert stat.S_IMODE((platform.home / "run").stat().st_mode) == 0o700


def test_only_loopback_is_listened_on(platform: Platform) -> None:
    addresses = {
        entry.laddr.ip.removeprefix("::ffff:")
        for process in platform.processes()
        for entry in process.net_connections("inet")
        if entry.status == psutil.CONN_LISTEN and entry.laddr
    }
    assert addresses == {"127.0.0.1"}


def test_every_process_has_the_environment_of_this_home(platform: Platform) -> None:
    url = EmbeddedPostgres(platform.home).url()
    assert url is not None
    for pid in platform.info().children.values():
        assert dagster_environment(platform.home, url).items() <= psutil.Process(pid).environ().items()


def test_the_whole_platform_fits_into_its_memory(platform: Platform) -> None:
    assert sum(process.memory_info().rss for process in platform.processes()) < 1.5 * 2**30


def test_a_second_one_on_the_same_home_is_refused_and_told_where_the_first_is(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up(platform.home, database_url=None, host="127.0.0.1", port=free_port()) == 1
    words = capsys.readouterr().err
    assert "runs already" in words
    assert platform.info().url in words


@pytest.mark.parametrize("name", ["daemon", "webserver", "code-server"])
def test_a_killed_process_is_started_again(platform: Platform, name: str) -> None:
    before = platform.info().children[name]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: platform.info().children.get(name, before) != before)
    eventually(platform.answers)


def test_a_killed_database_is_started_again_and_no_answer_is_lost_after_it(platform: Platform) -> None:
    postgres = EmbeddedPostgres(platform.home)
    before, webserver = postgres.pid(), platform.info().children["webserver"]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: postgres.is_running() and postgres.pid() != before)
    eventually(lambda: platform.info().children.get("webserver", webserver) != webserver)
    eventually(platform.answers)
    assert all(platform.ask(RUNS)["runsOrError"] is not None for _ in range(10))


def test_down_ends_everything_and_a_run_in_progress_is_recorded(platform: Platform) -> None:
    eventually(platform.answers)
    run = platform.ask(LAUNCH)["launchRun"]["run"]["runId"]
    eventually(lambda: {"runId": run, "status": "STARTED"} in platform.ask(RUNS)["runsOrError"]["results"])
    everything = platform.processes()
    began = time.monotonic()
    assert down(platform.home, 60) == [f"Ended the platform at http://127.0.0.1:{platform.port}."]
    assert time.monotonic() - began < 25
    assert platform.process.wait(5) == 0
    assert alive(everything) == []
    assert is_up(platform.home) is None
    assert down(platform.home) == ["Nothing was running."]
    with EmbeddedPostgres(platform.home) as url:
        from sqlalchemy import create_engine, text

        with create_engine(url).begin() as connection:
            found = connection.execute(text("SELECT status FROM runs WHERE run_id = :run"), {"run": run}).scalar()
    assert found == "FAILURE"  # which the daemon may take up again; STARTED would block a slot


def test_a_killed_supervisor_leaves_nothing_running(tmp_path: Path) -> None:
    with started(tmp_path) as platform:
        everything = platform.processes()
        os.kill(platform.process.pid, signal.SIGKILL)
        eventually(lambda: alive(everything) == [], timeout=10)
        assert is_up(platform.home) is None
        assert EmbeddedPostgres(platform.home).holders() == []


def test_another_host_than_this_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert up(tmp_path / "home", database_url=None, host="0.0.0.0", port=3000) == 1
    assert "no login" in capsys.readouterr().err
    assert not (tmp_path / "home" / "database").exists()


def test_a_taken_port_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert up(tmp_path / "home", database_url=None, host="127.0.0.1", port=port) == 1
    words = capsys.readouterr().err
    assert f"Port {port} is taken" in words
    assert f"--port {port + 1}" in words
    assert is_up(tmp_path / "home") is None


def test_an_up_file_of_a_dead_process_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    content = {"pid": os.getpid(), "create_time": 1.0, "port": 1, "url": "", "code_server_port": 2, "children": {}}
    (tmp_path / "run" / "up.json").write_text(json.dumps(content))
    assert is_up(tmp_path) is None


def test_the_dagster_home_gets_the_repositorys_own_settings_and_no_secret(tmp_path: Path) -> None:
    folder = prepare_dagster_home(tmp_path)
    assert folder == tmp_path.resolve() / "dagster"
    assert (folder / "dagster.yaml").read_bytes().startswith((CHECKOUT / "dagster.yaml").read_bytes())
    settings = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert settings["storage"] == {"postgres": {"postgres_url": {"env": "MEDIAPIPE_DAGSTER_URL"}}}
    env = dagster_environment(tmp_path, "postgres://me:secret@nas/db")
    assert env["MEDIAPIPE_DAGSTER_URL"] == "postgresql+psycopg2://me:secret@nas/db"
    assert env["DAGSTER_EVENT_BATCH_SIZE"] == "1000"


def test_the_links_of_the_bot_lead_to_the_port_that_is_served(tmp_path: Path) -> None:
    platform = _Platform(tmp_path, None, "127.0.0.1", 4321, True, "some.module", print, _StopRequest())
    bot = platform._services({"MEDIAPIPE_WEB__PORT": "3000"}, tmp_path)[-1]
    assert load_settings(tmp_path, environ=bot.env).web.port == 4321


def test_the_pauses_between_starts_grow(tmp_path: Path) -> None:
    child = Child("short", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path, os.environ, tmp_path / "short.log")
    pauses = []
    for _ in range(3):
        child.start()
        eventually(lambda: child.ended() == 3)
        pauses.append(round(child.pause()))
    assert pauses == [1, 2, 4]


def test_a_group_that_will_not_end_is_killed_with_its_grandchildren(tmp_path: Path) -> None:
    deaf = "import signal, time, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); print(1); time.sleep(99)"
    child = Child("deaf", [sys.executable, "-u", "-c", deaf], tmp_path, os.environ, tmp_path / "deaf.log")
    group = child.start()
    eventually(lambda: child.log.read_text().count("1") == 2)
    assert not end_groups([group], 0.3)
    child.reap()
    assert living([group]) == set()


def test_a_child_that_dies_takes_its_grandchildren_with_it(tmp_path: Path) -> None:
    parent = "import os, time\nif os.fork() == 0:\n    time.sleep(99)\nraise SystemExit(1)"
    child = Child("parent", [sys.executable, "-c", parent], tmp_path, os.environ, tmp_path / "parent.log")
    group = child.start()
    eventually(lambda: child.ended() == 1)
    assert living([group]) == set()


def test_lines_of_a_log_are_read_once_and_whole(tmp_path: Path) -> None:
    child = Child("log", [], tmp_path, {}, tmp_path / "logs" / "x.log")
    child.begin_log()
    with child.log.open("a") as log:
        log.write("one\ntw")
        log.flush()
        assert child.new_lines() == ["one"]
        log.write("o\n")
        log.flush()
        assert child.new_lines() == ["two"]
    assert child.new_lines() == []
    child.begin_log()
    assert child.log.with_name("x.log.1").read_text() == "one\ntwo\n"
