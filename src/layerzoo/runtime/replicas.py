"""Run two replicas of a network in parallel, each on half of the cores.

This is faster on a CPU where one batch is a single audio clip: much of the work is memory traffic, and kernels that one
thread compiles for the length of the clip. Each replica has separate modules over shared tensors, because hooks and
cached values belong to one forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import torch

from layerzoo.runtime.backbone import Backbone
from layerzoo.runtime.prefetch import prefetch

_REPLICAS = 2

Task = TypeVar("Task")
TaskResult = TypeVar("TaskResult")


def run_in_replicas(
    backbone: Backbone, tasks: Iterable[Task], run: Callable[[Backbone, Task], TaskResult]
) -> Iterator[TaskResult]:
    """Yield the result of ``run`` for each task, in order.

    A single task uses all cores, as does a network that cannot be copied.
    Raises: the errors of ``run``.
    """
    remaining = iter(tasks)
    first = list(islice(remaining, _REPLICAS))
    tasks = chain(first, remaining)
    replicas = _replicas(backbone) if len(first) == _REPLICAS and torch.get_num_threads() >= _REPLICAS else [backbone]
    if len(replicas) == 1:
        yield from (run(backbone, task) for task in tasks)
        return
    free: SimpleQueue[Backbone] = SimpleQueue()
    for replica in replicas:
        free.put(replica)

    def run_in_free_replica(task: Task) -> TaskResult:
        replica = free.get()
        try:
            return run(replica, task)
        finally:
            free.put(replica)

    cores = torch.get_num_threads()
    yield from prefetch(
        tasks, run_in_free_replica, ahead=_REPLICAS, threads=_REPLICAS, prepare=partial(_share_cores, cores)
    )


def _replicas(backbone: Backbone) -> list[Backbone]:
    """Return the backbone, and copies over the same tensors."""
    tensors = {id(tensor): tensor for tensor in (*backbone.module.parameters(), *backbone.module.buffers())}
    try:
        copies = [copy.deepcopy(backbone.module, dict(tensors)) for _ in range(_REPLICAS - 1)]
    except Exception:  # noqa: BLE001 - a network may hold objects that cannot be copied
        return [backbone]
    return [backbone, *(replace(backbone, module=module) for module in copies)]


def _share_cores(cores: int) -> None:
    """Limit torch to a replica's share of the cores in this thread only."""
    torch.get_num_threads()  # from here on torch does not change the number of this thread
    torch.set_num_threads(cores // _REPLICAS)
    others = Thread(target=torch.set_num_threads, args=(cores,))  # torch applies it to future threads, too
    others.start()
    others.join()
