"""Run work ahead in threads, and return the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = min(4, os.cpu_count() or 1)
_SHORT_S = 0.0002
"""Work that takes less is done by the caller: to hand it to a thread takes about 0.1 ms, because both take turns at the
lock of the interpreter."""
_TRIALS = 4
"""Items in a row that have to take longer before threads are used: the first ones may wait for imports."""


def prefetch(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    ahead: int,
    threads: int = THREADS,
    prepare: Callable[[], None] | None = None,
    size: Callable[[Result], int] = lambda result: 0,
    most: int = 0,
    late: Callable[[], None] = lambda: None,
    stop: Callable[[], None] = lambda: None,
    may_be_short: Callable[[Item], bool] = lambda item: False,
) -> Generator[Result]:
    """Yield ``work(item)`` for each item, in order. Up to ``ahead`` results, and one per thread, are computed in
    advance.

    Args:
        prepare: is called first in each thread.
        size: returns the size of a result. No new work starts while the sizes of waiting results exceed ``most``.
        late: is called when a result is requested before it is ready.
        stop: is called when the iteration ends early, to end running work.
        may_be_short: returns whether the work on an item may take less than 0.2 ms. The caller then does it itself,
            until several such items in a row took longer.
    An exception of ``work`` is raised in place of its result. However the iteration ends, all threads have ended.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="layerzoo", initializer=prepare)
    pending: deque[Future[tuple[Result, int]]] = deque()
    ready = _SharedTotal()
    trials = _TRIALS

    def measured(item: Item) -> tuple[Result, int]:
        result = work(item)
        result_size = size(result)
        ready.add(result_size)
        return result, result_size

    def first() -> Result:
        future = pending.popleft()
        if not future.done():
            late()
        result, result_size = future.result()
        ready.add(-result_size)
        return result

    try:
        for item in iterator:
            if trials and may_be_short(item):
                while pending:
                    yield first()
                began = perf_counter()
                result = work(item)
                trials = _TRIALS if perf_counter() - began < _SHORT_S else trials - 1
                yield result
                continue
            pending.append(pool.submit(measured, item))
            while pending and (len(pending) > ahead + threads or ready.total > most):
                yield first()
        while pending:
            yield first()
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _SharedTotal:
    """A sum that several threads add to."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = Lock()

    def add(self, number: int) -> None:
        with self._lock:
            self.total += number
