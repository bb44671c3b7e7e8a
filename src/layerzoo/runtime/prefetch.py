"""Work done ahead by other threads, results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = min(4, os.cpu_count() or 1)


def prefetch(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    ahead: int,
    threads: int = _THREADS,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """``work`` of every item, in order; up to ``ahead`` results (and one a thread) are made before they are asked for.

    prepare: what each thread does first.
    An exception of ``work`` is raised in its item's place. However the iteration ends, no thread is left behind.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="layerzoo", initializer=prepare)
    pending: deque[Future[Result]] = deque()
    try:
        for item in iterator:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead + threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
