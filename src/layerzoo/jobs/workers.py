"""Named jobs in processes of their own: one that crashes, hangs or takes all memory costs its own result only."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

Work = Callable[[str], Mapping[str, Any]]
"""What is done for a name; a function of a module, so that another process can find it."""

_PROCESSES = multiprocessing.get_context("spawn")
_JOBS_OF_A_PROCESS = 100
"""After so many a fresh process takes over: what a library keeps for good does not add up."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one job may take."""

    seconds: float
    memory_bytes: int | None = None


def results(
    names: Iterable[str], work: Work, limits: WorkerLimits, *, processes: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and the result of each job, in the order in which they are done.

    A job that raises, ends its process or goes beyond a limit has the result ``{"failed": why}``.
    """
    waiting = iter(names)
    busy: list[_Worker] = []
    try:
        for name in waiting:
            busy.append(_Worker(work, limits))
            busy[-1].begin(name)
            if len(busy) == processes:
                break
        while busy:
            for worker in _done(busy):
                yield worker.name, worker.result()
                if (following := next(waiting, None)) is None:
                    worker.stop()
                    busy.remove(worker)
                else:
                    worker.begin(following)
    finally:
        for worker in busy:
            worker.stop()


def _done(busy: list[_Worker]) -> list[_Worker]:
    """The workers that have a result, or will never have one; waits for the first."""
    first = min(worker.deadline for worker in busy)
    ready = wait([worker.pipe for worker in busy], timeout=max(0.0, first - time.monotonic()))
    return [worker for worker in busy if worker.pipe in ready or worker.deadline <= time.monotonic()]


class _Worker:
    """A process that does one job after the other, and is replaced when it is lost or has done enough."""

    def __init__(self, work: Work, limits: WorkerLimits) -> None:
        self._work = work
        self._limits = limits
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=_serve, args=(theirs, self._work, self._limits.memory_bytes), daemon=True
        )
        with _without_interrupts():
            self._process.start()
        theirs.close()
        self._jobs = 0

    def begin(self, name: str) -> None:
        if self._jobs == _JOBS_OF_A_PROCESS or not self._process.is_alive():
            self.stop()
            self._start()
        self.name = name
        self.deadline = time.monotonic() + self._limits.seconds
        self._jobs += 1
        with contextlib.suppress(ConnectionError):  # then the result says that the process is gone
            self.pipe.send(name)

    def result(self) -> Mapping[str, Any]:
        """What came of the job that was begun last."""
        try:
            if self.pipe.poll():
                received: Mapping[str, Any] = self.pipe.recv()
                return received
        except (EOFError, ConnectionError):
            self._process.join()
            return {"failed": f"its process ended with {_named(self._process.exitcode)}"}
        self.stop()
        return {"failed": f"it took longer than {self._limits.seconds:g} s"}

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _named(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {signal.Signals(-exit_code).name}"
    return f"code {exit_code}"


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C is for this process: one that is started inside never hears of it, and this one does afterwards."""
    resource_tracker.ensure_running()  # it lets interrupts through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, work: Work, memory_bytes: int | None) -> None:
    """The life of a worker: jobs come through the pipe until nobody is at its other end."""
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            pipe.send(_tried(work, pipe.recv()))
            gc.collect()  # an error keeps what it went through in a circle: it may be a network of many gigabytes


def _tried(work: Work, name: str) -> Mapping[str, Any]:
    try:
        return work(name)
    except Exception as error:  # noqa: BLE001 - whatever a network raises is what came of it
        told = [type(error).__name__, *str(error).splitlines()[:1]]
        return {"failed": ": ".join(told)}
