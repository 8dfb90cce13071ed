"""What the tests share: real camera files, the sample library, and the command line in homes of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from mediapipe_assets.cli import cli
from mediapipe_assets.platform import open_platform
from pipeline.assembly import Platform
from resources import redaction
from services.up import down

CHECKOUT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("mediapipe-assets")
SECONDS = 280


def pytest_configure(config: pytest.Config) -> None:
    """Gives each session a temporary folder of its own.

    The database server of root runs as another account and needs a way through; pytest's common folder is closed
    again by every session that starts beside this one. A test that forgets to say which home it means gets an empty
    one there, and never the one of whoever runs it.
    """
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="mediapipe-tests-data-")
    config.add_cleanup(lambda: shutil.rmtree(os.environ["XDG_DATA_HOME"], ignore_errors=True))
    if config.option.basetemp is None:
        folder = Path(tempfile.mkdtemp(prefix="mediapipe-tests-"))
        config.option.basetemp = str(folder / "t")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real camera files; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MEDIAPIPE_CORPUS", CHECKOUT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        pytest.skip("no corpus of real files here; MEDIAPIPE_CORPUS names its folder")
    return folder


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


@dataclass
class Home:
    """A home folder and the command line in it. Its processes are ended with the test."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def cli(self, *arguments: str | Path, expect: int | None = 0, seconds: float = SECONDS, **variables: str) -> Said:
        """Runs a command to its end.

        Args:
            arguments: Of the command line.
            expect: The exit code that it must have, None for any.
            seconds: After which it is killed and the test fails.
            variables: More of the environment.
        """
        process = self.start(*arguments, **variables)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments} did not end within {seconds} s\n{err}\n{out}") from None
        said = Said(process.returncode, out, err)
        assert expect is None or said.code == expect, f"{arguments} ended with {said.code}\n{err}\n{out}"
        return said

    def python(self, *arguments: str | Path, says: str = "", **variables: str) -> Said:
        """Runs a module of this checkout, or of the home, as `python -m` does; `says` is what it reads."""
        done = subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=self.path,
            env=self._variables({"PYTHONPATH": str(CHECKOUT), **variables}),
            input=says,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
        """Starts a command in a process group of its own."""
        process = subprocess.Popen(
            [str(PROGRAM), *map(str, arguments)],
            env=self._variables(variables),
            cwd=self.path.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def _variables(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIAPIPE_", "DAGSTER_"))}
        # PYTHONPATH may be anything here; the console script finds the packages as installed.
        return {**kept, "MEDIAPIPE_HOME": str(self.path), "COLUMNS": "200", **self.environment, **more}

    def settings(self, toml: str) -> None:
        """Writes `mediapipe.toml`."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "mediapipe.toml").write_text(toml, "utf-8")

    def watch(self, folder: Path, more: str = "", *, start: str = "2021-01-01") -> None:
        """Writes settings with one source whose files need not settle, so that a test need not wait.

        Args:
            folder: The source, called `photos`.
            more: Further lines.
            start: Older photos share the first date, and so one run.
        """
        self.settings(
            f'start_date = {start}\ntimezone = "Europe/Berlin"\n{more}\n'
            f"[sources.photos]\npath = {json.dumps(str(folder))}\nsettle_seconds = 0\n"
        )

    def run(self, *arguments: str | Path, **options: Any) -> Any:
        """Runs the chain and returns its report."""
        return self.cli("run", "--json", *arguments, **options).json

    def status(self) -> Any:
        """What the library holds, without the times."""
        said = self._inside("status", "--json")
        return {name: value for name, value in said.items() if name not in ("seconds", "files_per_minute", "home")}

    def history(self, file: Path | str) -> Any:
        """The story of a file."""
        return self._inside("history", "--json", str(file))

    def _inside(self, *arguments: str) -> Any:
        """Runs a command that only reports in this process, which saves the second that a start takes."""
        result = CliRunner(env=self._only_ours()).invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def _only_ours(self) -> dict[str, str | None]:
        foreign = dict.fromkeys(name for name in os.environ if name.startswith("MEDIAPIPE_"))
        return {**foreign, "MEDIAPIPE_HOME": str(self.path)}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Platform]:
        """The catalog, to look into from here."""
        with open_platform(self.path) as platform:
            yield platform

    def end(self) -> None:
        """Ends every process that was started here, and the database."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.poll() is None:
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.started.clear()
        if self.path.exists():
            down(self.path)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A fresh home."""
    one = Home(tmp_path / "home")
    yield one
    one.end()


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home that the tests of a module share, for what takes long to fill."""
    one = Home(tmp_path_factory.mktemp("shared") / "home")
    yield one
    one.end()


@pytest.fixture
def redacting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The filter as a process has it, for one test, with Python's own hooks below it."""
    for place, name in (
        (logging.Handler, "format"),
        (traceback.TracebackException, "format_exception_only"),
        (warnings, "formatwarning"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(redaction, "_known", redaction._Known())
    factory = logging.getLogRecordFactory()
    redaction.install()
    yield
    logging.setLogRecordFactory(factory)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample library. Tests copy what they change."""
    from media.sample import generate

    folder = tmp_path_factory.mktemp("sample") / "photos"
    generate(folder)
    return folder


@pytest.fixture
def photos(sample: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with some of the sample library's files."""

    def make(*names: str, folder: str = "photos") -> Path:
        return copied(sample, tmp_path / folder, names)

    return make


def copied(library: Path, folder: Path, names: Sequence[str]) -> Path:
    """Copies files with their times, each under its own path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library / name, folder / name)
    return folder


def sha256(path: Path) -> str:
    """The content hash of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def tree(folder: Path, *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: what it is, its mode, and bytes or target; with `times` also when it changed.

    Names are kept as the file system gives them, so that any name can be told.
    """
    found: dict[str, tuple[object, ...]] = {}
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(base, name)
            seen = os.lstat(path)
            what: object = None
            if stat.S_ISLNK(seen.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(seen.st_mode):
                what = sha256(path) if os.access(path, os.R_OK) else seen.st_size
            when = (seen.st_mtime_ns, seen.st_ino) if times else ()
            found[str(path.relative_to(folder))] = (oct(seen.st_mode), what, *when)
    return found


RESULTS = ("originals", "renditions", "archive", "library")


def results(home: Home, *, times: bool = False) -> dict[str, dict[str, tuple[object, ...]]]:
    """What runs leave for the person, root by root; without the markers, whose ids differ from home to home."""
    found = {}
    for root in RESULTS:
        entries = tree(home.path / root, times=times)
        found[root] = {path: what for path, what in entries.items() if Path(path).name != ".mediapipe-root"}
    return found


def temporary_files(home: Home) -> list[str]:
    """Files that a killed process left under a temporary name."""
    return sorted(str(path) for path in home.path.rglob(".mpa-*"))


def processes_of(home: Home) -> list[psutil.Process]:
    """Every living process that belongs to a home."""
    mine = str(home.path)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if mine in words or process.environ().get("MEDIAPIPE_HOME") == mine:
                found.append(process)
    return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
