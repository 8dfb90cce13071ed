"""The embedded PostgreSQL server: who starts it, who stops it, and what it refuses to touch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy import create_engine, text

from resources.postgres import EmbeddedPostgres
from resources.postgres_access import MARKER, DumpNotPossible, dump, is_embedded, normalise_url, restore, wait_for
from resources.postgres_home import HomeRefused, Mount, refuse_mount
from resources.postgres_server import SERVER_LOCK
from resources.postgres_tools import DatabaseUnavailable

CHECKOUT = Path(__file__).parents[1]
HOLDER = """
import sys
from pathlib import Path
from resources.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
print(postgres.acquire(), flush=True)
sys.stdin.read()
postgres.release()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    EmbeddedPostgres(home).stop()


@contextlib.contextmanager
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that takes a lease when it starts, and gives it back when its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(happened: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def answer(url: str, statement: str) -> object:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def test_a_fresh_home_gets_a_database_that_is_stopped_by_its_last_user(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    with postgres as url:
        assert normalise_url(url) == url == postgres.url()
        assert answer(url, "SELECT current_database()") == "mediapipe"
        assert answer(url, "SHOW fsync") == "on"
        assert answer(url, "SHOW listen_addresses") == ""
        assert postgres.holders() == [os.getpid()]
        assert set(json.loads((home / MARKER).read_text())) == {"id", "created"}
    assert not postgres.is_running()
    assert postgres.holders() == []


def test_what_was_written_is_there_after_a_restart(home: Path) -> None:
    with EmbeddedPostgres(home) as url:
        answer(url, "CREATE TABLE kept AS SELECT 1 AS n")
    with EmbeddedPostgres(home) as url:
        assert answer(url, "SELECT n FROM kept") == 1


def test_a_lease_of_another_process_keeps_the_server_running(home: Path) -> None:
    with holder(home) as other:
        assert "mediapipe" in line_of(other)
        postgres = EmbeddedPostgres(home)
        postgres.acquire()
        assert postgres.holders() == sorted([os.getpid(), other.pid])
        postgres.release()
        assert postgres.is_running()
        other.communicate()
        assert not postgres.is_running()


def test_a_killed_holder_counts_as_dead(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    with holder(home) as other:
        line_of(other)
        postgres.acquire()
        other.kill()
        other.wait()
        eventually(lambda: postgres.holders() == [os.getpid()])
    postgres.release()
    assert not postgres.is_running()


def test_a_server_whose_only_holder_was_killed_is_taken_over_or_stopped(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    with holder(home) as other:
        line_of(other)
        other.kill()
        other.wait()
    assert postgres.is_running()
    assert postgres.stop_if_unused()
    assert not postgres.is_running()


def test_many_processes_that_start_at_once_share_one_server(home: Path) -> None:
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(holder(home)) for _ in range(4)]
        assert len({line_of(other) for other in others}) == 1
        assert len(EmbeddedPostgres(home).holders()) == 4
        for other in others:
            other.communicate()
        assert not EmbeddedPostgres(home).is_running()


def test_two_leases_of_one_object_need_two_releases(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.acquire()
    postgres.acquire()
    postgres.release()
    assert postgres.is_running()
    postgres.release()
    assert not postgres.is_running()


def test_a_held_server_stays_until_it_is_stopped(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.hold()
    with postgres:
        pass
    assert postgres.is_running()
    assert postgres.stop()
    assert not postgres.is_running()
    assert not postgres.stop()
    with postgres:
        pass
    assert not postgres.is_running()


def _ends_by_ctrl_c(process: subprocess.Popen[str]) -> bool:
    """Presses Ctrl-C once more: one that comes while Python collects garbage is swallowed."""
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2)
    return process.poll() is not None


def test_ctrl_c_of_the_starter_is_not_for_the_server(home: Path) -> None:
    with holder(home) as other:
        line_of(other)
        eventually(lambda: _ends_by_ctrl_c(other))
        assert EmbeddedPostgres(home).is_running()


def test_a_killed_server_is_started_again_without_loss(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    url = postgres.acquire()
    answer(url, "CREATE TABLE kept AS SELECT 1 AS n")
    for _ in range(3):
        pid = postgres.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not postgres.is_running())
        with EmbeddedPostgres(home) as again:
            assert answer(again, "SELECT n FROM kept") == 1
    postgres.release()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.acquire()
    pid_file = home / "database" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.release()
    # As after a restart of a container: the number is somebody else's now.
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert not postgres.is_running()
    with postgres as url:
        assert answer(url, "SELECT 1") == 1


def test_a_missing_database_folder_is_never_replaced_by_an_empty_one(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "database").rename(home / "elsewhere")
    with pytest.raises(HomeRefused, match="is gone or incomplete"):
        EmbeddedPostgres(home).acquire()
    assert not (home / "database").exists()
    (home / "elsewhere").rename(home / "database")
    with EmbeddedPostgres(home) as url:
        assert answer(url, "SELECT 1") == 1


def test_a_database_without_its_version_file_is_left_alone(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "database" / "PG_VERSION").unlink()
    with pytest.raises(HomeRefused, match="is gone or incomplete"):
        EmbeddedPostgres(home).acquire()
    (home / MARKER).unlink()
    with pytest.raises(HomeRefused, match="holds files but no database"):
        EmbeddedPostgres(home).acquire()
    assert (home / "database" / "base").is_dir()


def test_a_lost_marker_is_written_again_beside_a_whole_database(home: Path) -> None:
    with EmbeddedPostgres(home) as url:
        answer(url, "CREATE TABLE kept AS SELECT 1 AS n")
    (home / MARKER).unlink()
    with EmbeddedPostgres(home) as url:
        assert answer(url, "SELECT n FROM kept") == 1
    assert (home / MARKER).is_file()


def test_a_database_of_another_version_is_refused(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "database" / "PG_VERSION").write_text("16\n")
    with pytest.raises(HomeRefused, match="made by PostgreSQL 16"):
        EmbeddedPostgres(home).acquire()


def test_a_killed_first_start_leaves_nothing_in_the_way(home: Path) -> None:
    unfinished = home / "database.new"
    unfinished.mkdir(parents=True)
    (unfinished / "half").write_text("")
    with EmbeddedPostgres(home) as url:
        assert answer(url, "SELECT 1") == 1
    assert not unfinished.exists()


@pytest.mark.parametrize("name", ["x" * 120, "my photos, of Zoë's $HOME"])
def test_a_home_whose_path_does_not_fit_a_socket_works(tmp_path: Path, name: str) -> None:
    one, two = EmbeddedPostgres(tmp_path / name), EmbeddedPostgres(tmp_path / f"{name}2")
    with one as first, two as second:
        assert first != second
        answer(first, "CREATE TABLE mine AS SELECT 1 AS n")
        assert answer(second, "SELECT to_regclass('mine')") is None
    assert not one.is_running()
    assert not two.is_running()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_can_have_a_home_below_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "home") as url:
        assert answer(url, "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o701
    assert (closed / "home" / "database").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_normal_user_has_a_server_of_their_own_account(home: Path) -> None:
    for folder in home.parents:
        folder.chmod(folder.stat().st_mode | 0o001)
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    # The interpreter may be in a folder that only root reads, so the account changes after the imports.
    become_nobody = "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    script = HOLDER.replace("postgres = ", f"import os; {become_nobody}postgres = ")
    process = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert (home / "database").stat().st_uid == 65534
    with pytest.raises(HomeRefused, match="belongs to the account"):
        EmbeddedPostgres(home).acquire()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "9p", "exfat", "fuseblk"])
def test_a_home_on_a_network_or_a_simple_file_system_is_refused(kind: str) -> None:
    mounts = [Mount("/", "ext4"), Mount("/mnt/nas", kind), Mount("/mnt/nas2", "ext4")]
    with pytest.raises(HomeRefused, match="/mnt/nas"):
        refuse_mount(Path("/mnt/nas/photos/home"), mounts)
    refuse_mount(Path("/mnt/nas2/home"), mounts)
    refuse_mount(Path("/mnt/nas2/home"), [Mount("/mnt/nas2", kind), Mount("/mnt/nas2", "xfs")])
    refuse_mount(Path("/home/me"), mounts)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_postgresql_url_gets_the_one_driver(scheme: str) -> None:
    assert normalise_url(f"{scheme}://me:p%40ss@nas:5433/db") == "postgresql+psycopg2://me:p%40ss@nas:5433/db"


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "mysql://me:secret@nas/db", "me:secret@nas", "postgres://me:secret@nas:x/db"]
)
def test_another_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        normalise_url(url)
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1 ") as caught:
        wait_for("postgres://me:secret@127.0.0.1:1/db", 0.3)
    assert "secret" not in str(caught.value)


def test_a_missing_database_fails_at_once(home: Path) -> None:
    with EmbeddedPostgres(home) as url:
        wait_for(url, 5)
        with pytest.raises(DatabaseUnavailable, match="has no database nothing"):
            wait_for(url.replace("/mediapipe?", "/nothing?"), 60)


def test_a_dump_brings_back_what_a_migration_lost_and_removes_what_it_made(home: Path, tmp_path: Path) -> None:
    saved = tmp_path / "dumps" / "before.dump"
    with EmbeddedPostgres(home) as url:
        answer(url, "CREATE TABLE files AS SELECT n FROM generate_series(1, 1000) AS n")
        answer(url, "ALTER TABLE files ADD PRIMARY KEY (n)")
        assert is_embedded(url)
        dump(url, saved)
        answer(url, "DELETE FROM files WHERE n > 1")
        answer(url, "CREATE TABLE later (n integer REFERENCES files)")
        with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", ""))):
            restore(url, saved)
        assert answer(url, "SELECT count(*) FROM files") == 1000
        assert answer(url, "SELECT to_regclass('later')") is None
        replaced = url.replace("/mediapipe?", "/mediapipe_replaced?")
        assert answer(replaced, "SELECT count(*) FROM files") == 1
    assert list(saved.parent.iterdir()) == [saved]


def test_a_broken_dump_changes_nothing(home: Path, tmp_path: Path) -> None:
    saved = tmp_path / "whole.dump"
    with EmbeddedPostgres(home) as url:
        answer(url, "CREATE TABLE files AS SELECT n, repeat(md5(n::text), 9) AS t FROM generate_series(1, 20000) AS n")
        dump(url, saved)
        saved.write_bytes(saved.read_bytes()[:-5000])
        answer(url, "DELETE FROM files WHERE n > 1")
        with pytest.raises(DatabaseUnavailable, match="pg_restore failed"):
            restore(url, saved)
        assert answer(url, "SELECT count(*) FROM files") == 1
        databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'mediapipe%'"
        assert answer(url, databases) == 1


def test_a_server_that_is_not_the_embedded_one_is_not_dumped(home: Path, tmp_path: Path) -> None:
    with EmbeddedPostgres(home) as url:
        (home / MARKER).rename(home / "aside")
        try:
            with pytest.raises(DumpNotPossible, match="pg_dump --format=custom"):
                dump(url, tmp_path / "x.dump")
        finally:
            (home / "aside").rename(home / MARKER)


def test_taking_a_lease_of_a_running_server_is_fast(home: Path) -> None:
    with EmbeddedPostgres(home):
        other = EmbeddedPostgres(home)
        started = time.perf_counter()
        for _ in range(10):
            other.acquire()
            other.release()
        assert (time.perf_counter() - started) / 10 < 0.1


def test_nothing_of_the_server_is_left_after_its_last_user(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    folder = str(home / "database")
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if folder in (p.info["cmdline"] or [])]
    assert left == []


def test_a_server_in_another_container_is_never_started_a_second_time(home: Path) -> None:
    apart = ["unshare", "--pid", "--ipc", "--fork", "--mount-proc"]  # as a container that has the same home on a volume
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no namespaces can be made here")
    with EmbeddedPostgres(home) as url:
        answer(url, "CREATE TABLE kept AS SELECT 1 AS n")
        pid_file = (home / "database" / "postmaster.pid").read_text()
        started = time.monotonic()
        other = subprocess.run(
            [*apart, sys.executable, "-c", HOLDER, str(home)],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert time.monotonic() - started < 20
        assert other.returncode != 0
        assert "HomeRefused" in other.stderr and "cannot be seen from here" in other.stderr, other.stderr
        assert (home / "database" / "postmaster.pid").read_text() == pid_file
        assert answer(url, "SELECT n FROM kept") == 1
    alone = subprocess.run(
        [*apart, sys.executable, "-c", HOLDER, str(home)], cwd=CHECKOUT, stdin=subprocess.DEVNULL, check=False
    )
    assert alone.returncode == 0


def test_the_lock_of_the_server_lives_exactly_as_long_as_the_server(home: Path) -> None:
    def is_free() -> bool:
        with open(home / SERVER_LOCK) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    postgres = EmbeddedPostgres(home)
    with holder(home) as other:
        line_of(other)
        other.kill()  # its starter may be gone
        other.wait()
    assert not is_free()
    assert postgres.stop_if_unused()
    assert is_free()
