"""Real Syncthing programs for the tests: the version of Debian 12 and that of Debian 13, from the distribution itself.

They are unpacked into a folder, not installed. Where the machine has no apt, the tests that need them are skipped.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RELEASES = {"1.19": "bookworm", "1.29": "trixie"}
CACHE = Path(tempfile.gettempdir()) / f"mediapipe-syncthing-{os.getuid()}"


def program(version: str) -> Path | None:
    """Returns the program of a version, unpacked now where it was not yet; None where it cannot be had."""
    folder = CACHE / version
    found = folder / "usr" / "bin" / "syncthing"
    with _alone():
        if not found.exists() and not _unpack(RELEASES[version], folder):
            return None
    return found


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(mode=0o755, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(release: str, folder: Path) -> bool:
    """Downloads the package of a release as apt does, with lists of its own, and unpacks it."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    work = CACHE / release
    shutil.rmtree(work, ignore_errors=True)
    for name in ("parts", "lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True)
    if (source := _source(release)) is None:
        return False
    (work / "parts" / "debian.sources").write_text(source)
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": work / "parts",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work,
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    for command in ([*apt, "update"], [*apt, "download", "syncthing"]):
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=200)
        if done.returncode != 0:
            return False
    package = next(work.glob("syncthing_*.deb"))
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=60)
    shutil.rmtree(work)
    return True


def _source(release: str) -> str | None:
    """Returns the machine's own package source, for another release of the same distribution."""
    for file in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for entry in re.split(r"\n\s*\n", file.read_text()):
            if re.search(r"^URIs:.*/debian/?\s*$", entry, re.MULTILINE):
                return re.sub(r"^Suites:.*$", f"Suites: {release}", entry, flags=re.MULTILINE) + "\n"
    listed = Path("/etc/apt/sources.list")
    for line in listed.read_text().splitlines() if listed.exists() else ():
        if match := re.match(r"deb (\[[^]]*\] )?(\S+/debian/?) ", line):
            return f"Types: deb\nURIs: {match[2]}\nSuites: {release}\nComponents: main\n"
    return None
