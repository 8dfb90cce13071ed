"""Where pure file tasks run: a pool of processes of which any may die or be killed.

Belongs here: sizing the pool, the limit of memory for a worker, the timeout of a task. Does not
belong here: what a task does (`media`), or what its result means (`pipeline`).

`ComputePool.submit` is all that the pipeline knows of it, so that another kind of cluster can stand
behind the same function.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future, InvalidStateError
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import psutil
from pebble import ProcessExpired, ProcessPool

_MB = 1 << 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerDied(Exception):
    """The process that worked on one file ended; the file may have crashed its decoder."""


@dataclass(frozen=True, slots=True)
class Task:
    """A pure function on files, with plain values; it travels to a worker and brings back a small dict.

    Attributes:
        function: What to do.
        arguments: Its arguments.
        options: Its keywords.
        here: It needs a session that only the run's own process has; it travels nowhere, and one is done at a time.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    here: bool = False


def fitting_workers(wanted: int, worker_memory_mb: int) -> int:
    """Returns how many workers this machine carries.

    Args:
        wanted: A number that a person set, 0 for as many as fit.
        worker_memory_mb: What one worker may take, in MiB.
    """
    if wanted > 0:
        return wanted
    by_memory = int(psutil.virtual_memory().available * 0.6 // (worker_memory_mb * _MB))
    return max(1, min(len(os.sched_getaffinity(0)), by_memory))


class ComputePool:
    """A pool of spawned processes. The dead or timed-out task alone fails."""

    def __init__(self, workers: int, worker_memory_mb: int) -> None:
        """Starts no process yet: workers are spawned with the first task.

        Args:
            workers: Number of processes, at least 1.
            worker_memory_mb: Memory of one worker in MiB; a task that wants more fails with MemoryError.
        """
        self.workers = workers
        self._memory = worker_memory_mb * _MB
        self._pool: ProcessPool | None = None
        self._flying: set[Future[Any]] = set()

    def submit(self, task: Task, timeout: float) -> Future[Any]:
        """Hands a task to a worker.

        Args:
            task: What to do.
            timeout: Seconds after which the worker is killed and the future fails with TimeoutError.

        Returns:
            The task's result or its own error; `WorkerDied` when its worker ended, or the pool was closed.
        """
        try:
            return self._schedule(task, timeout)
        except RuntimeError:
            # So many workers were killed at once that the pool gave up; its futures end as cancelled.
            self.close()
            return self._schedule(task, timeout)

    def _schedule(self, task: Task, timeout: float) -> Future[Any]:
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.workers,
                initializer=_prepare_worker,
                initargs=(self._memory,),
                context=multiprocessing.get_context("spawn"),
            )
        scheduled: Future[Any] = self._pool.schedule(
            task.function, args=list(task.arguments), kwargs=dict(task.options), timeout=timeout
        )
        future: Future[Any] = Future()
        self._flying.add(future)
        future.add_done_callback(self._flying.discard)
        scheduled.add_done_callback(lambda done: _pass_on(done, future))
        return future

    def close(self) -> None:
        """Ends every worker at once; tasks that still run end with `WorkerDied`, which their claims survive."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]  # pebble annotates in part
            self._pool.join()
            self._pool = None
        for future in list(self._flying):  # the pool leaves some of them without an end
            _fail(future, WorkerDied("with its pool"))

    def __enter__(self) -> ComputePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pass_on(scheduled: Future[Any], future: Future[Any]) -> None:
    """Ends a future as the pool's own ended, in words that every kind of pool shares."""
    try:
        result = scheduled.result()
    except ProcessExpired as error:
        _fail(future, WorkerDied(f"exit code {error.exitcode}"))
    except (CancelledError, BrokenExecutor):
        _fail(future, WorkerDied("with its pool"))
    except BaseException as error:  # the task's own, whatever it is: nobody else would hear of it
        _fail(future, error)
    else:
        with contextlib.suppress(InvalidStateError):
            future.set_result(result)


def _fail(future: Future[Any], error: BaseException) -> None:
    with contextlib.suppress(InvalidStateError):  # it ended by itself just now
        future.set_exception(error)


def _prepare_worker(memory: int) -> None:
    _die_with_parent()
    # One thread a worker: the pool is the parallelism, and two levels of it only fight over the cores.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    # Ctrl-C is for the run, which then ends the pool in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _die_with_parent() -> None:
    """Has the kernel end this worker together with its run.

    A worker that outlived a killed run would go on writing after the next run has cleaned up behind it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)  # it died before this was said
