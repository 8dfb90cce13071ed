"""Dagster's own processes: the shared code server, and webserver and daemon as its clients.

Belongs here: how each is started, what they find on their way (workspace, tables), and what they answer. Does not
belong here: keeping them running (`supervisor`), or their order among others (`up`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from resources.postgres_tools import DatabaseUnavailable
from services.supervisor import Restart, Service

LOCATION = "mediapipe_assets"
CODE_SERVER = "code-server"
OURS = ("-m", "services.dagster_process")  # as `-m` alone, with secrets kept out of the log
_LOCATIONS = """{ workspaceOrError { ... on PythonError { message } ... on Workspace { locationEntries {
  name locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


def dagster_services(
    env: Mapping[str, str], workspace: Path, module: str, *, code_server_port: int, host: str, port: int
) -> list[Service]:
    """Returns Dagster's processes.

    Args:
        env: Their whole environment.
        workspace: The file that leads to the code server; its folder is theirs.
        module: The module with the definitions.
        code_server_port: Where the code server listens, on loopback.
        host: Where the webserver listens.
        port: The webserver's port.
    """
    server = [*OURS, "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(code_server_port), "-m", module]
    webserver = [*OURS, "dagster_webserver", "-h", host, "-p", str(port), "-w", str(workspace)]
    daemon = [*OURS, "dagster._daemon", "run", "-w", str(workspace)]
    return [
        Service(
            CODE_SERVER,
            [*server, "--location-name", LOCATION, "--log-level", "warning"],
            env,
            serves=lambda: answers("127.0.0.1", code_server_port),
        ),
        # Its clients would show an error until they look again, so they wait until it serves. The webserver alone keeps
        # connections open, and answers once with an error for each dead one.
        Service("webserver", webserver, env, after=[CODE_SERVER], restart=Restart.WITH_DATABASE),
        Service("daemon", daemon, env, after=[CODE_SERVER]),
    ]


def workspace_of(port: int) -> str:
    """Returns the workspace whose one location is the code server at a port."""
    return (
        "# Written by `mediapipe-assets up`: webserver and daemon share one code server.\n"
        "load_from:\n"
        f"  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {LOCATION}}}\n"
    )


def create_tables_once(url: str, folder: Path, env: Mapping[str, str]) -> None:
    """Lets one process make Dagster's tables; three that start on an empty database get in each other's way."""
    plain = url.replace("+psycopg2", "", 1)
    with contextlib.closing(psycopg2.connect(plain)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.runs') IS NOT NULL AND to_regclass('public.event_logs') IS NOT NULL")
        if cursor.fetchone() == (True,):
            return
    code = "from dagster import DagsterInstance; DagsterInstance.get().dispose()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=dict(env), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DatabaseUnavailable(f"Dagster cannot make its tables: {done.stderr.strip()[-2000:]}")


def location_state(url: str) -> str | None:
    """Returns "" when the code location is loaded, its error when it is not, None while the answer is not there."""
    body = json.dumps({"query": _LOCATIONS}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            found: dict[str, Any] = json.load(response)["data"]["workspaceOrError"]
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    if "message" in found:
        return str(found["message"]).strip()
    for entry in found["locationEntries"]:
        loaded = entry["locationOrLoadError"]
        if entry["name"] == LOCATION and loaded is not None:
            return str(loaded.get("message", "")).strip()
    return None


def answers(host: str, port: int) -> bool:
    """Says whether something listens at an address."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
