"""A list of services that are kept running: started when what they need serves, and again when they end.

Belongs here: what a service is, and looking after all of them. Does not belong here: which services there are (`up`),
or the life of one process (`processes`).
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from services.processes import ORPHANS_GRACE, Child, Watchdog, end_groups

LINES_PER_TICK = 5
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_KEY_LINE = re.compile(r" - (ERROR|CRITICAL) - |^\w*(Error|Exception): ")

Say = Callable[[str], object]


class Restart(Enum):
    """When a service is started again; after the end of one that did not live long, the pauses grow."""

    WHEN_ENDED = "when it ended"
    WITH_DATABASE = "also when the database was started again"


@dataclass(frozen=True)
class Service:
    """A process that is kept running.

    Attributes:
        name: What a person reads, and the name of its log.
        arguments: What this Python is started with, for instance `-m` and a module.
        env: The whole environment.
        after: The names of those that have to serve before it is started.
        serves: Says whether it serves; asked for those that come after it.
        restart: When it is started again.
    """

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    after: Sequence[str] = ()
    serves: Callable[[], bool] = lambda: True
    restart: Restart = Restart.WHEN_ENDED


class Supervisor:
    """Looks after services, one look after the other."""

    def __init__(self, watchdog: Watchdog, logs: Path, changed: Callable[[], None], complain: Say) -> None:
        """Starts with no service.

        Args:
            watchdog: Is told which groups there are, to end them if this process is killed.
            logs: The folder of their logs.
            changed: Called when one was started or has ended.
            complain: Gets the lines for the person.
        """
        self._watchdog = watchdog
        self._logs = logs
        self._changed = changed
        self._complain = complain
        self._children: dict[str, tuple[Service, Child]] = {}

    def add(self, services: Sequence[Service], folder: Path) -> None:
        """Adds services, to be started by the next looks, in this order; `folder` is where they work."""
        for service in services:
            command = [sys.executable, *service.arguments]
            child = Child(service.name, command, folder, service.env, self._logs / f"{service.name}.log")
            child.begin_log()
            self._children[service.name] = (service, child)

    @property
    def groups(self) -> dict[str, int]:
        """The process group of each that runs, by name."""
        return {name: child.group for name, (_, child) in self._children.items() if child.group is not None}

    def look(self) -> None:
        """Starts what is to run and does not, and repeats the errors that they log."""
        for service, child in self._children.values():
            self._look_after(service, child)
            self._repeat_key_lines(child)

    def database_restarted(self) -> None:
        """Ends those that have to be started again because the database was; the next look starts them."""
        for service, child in self._children.values():
            if service.restart is Restart.WITH_DATABASE and child.group is not None:
                self._watchdog.forget(child.group)
                child.end(ORPHANS_GRACE)

    def end(self, grace: float, hurried: Callable[[], bool]) -> bool:
        """Ends them all.

        Args:
            grace: Seconds that they get.
            hurried: Asked again and again; True ends the waiting.

        Returns:
            True when all of them ended by themselves.
        """

        def asked() -> bool:
            self._reap()
            return hurried()

        by_themselves = end_groups(list(self.groups.values()), grace, asked)
        self._reap()
        return by_themselves

    def _look_after(self, service: Service, child: Child) -> None:
        group = child.group
        code = child.ended()
        if code is not None and group is not None:
            self._watchdog.forget(group)
            self._complain(
                f"{child.name} ended ({_outcome(code)}); starting it again in {child.pause():.0f} s. {child.log}"
            )
            self._changed()
        if child.group is None and child.pause() == 0 and self._may_start(service):
            self._watchdog.watch(child.start())
            self._changed()

    def _may_start(self, service: Service) -> bool:
        return all(self._children[name][0].serves() for name in service.after)

    def _repeat_key_lines(self, child: Child) -> None:
        lines = [_COLOURS.sub("", line) for line in child.new_lines()]
        key = [line for line in lines if _KEY_LINE.search(line)]
        for line in key[:LINES_PER_TICK]:
            self._complain(f"[{child.name}] {line}")
        if len(key) > LINES_PER_TICK:
            self._complain(f"[{child.name}] {len(key) - LINES_PER_TICK} more in {child.log}")

    def _reap(self) -> None:
        for _, child in self._children.values():
            child.reap()


def _outcome(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
