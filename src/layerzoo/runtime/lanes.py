"""Two forward passes at once, each on half of the cores: what is faster on a CPU where a pass is a single sound, and
much of it is memory, and kernels made for its length by one thread.

Each lane has the network's modules for itself, because hooks, and what a network remembers, belong to one pass.
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

_LANES = 2

Work = TypeVar("Work")
Done = TypeVar("Done")


def in_lanes(backbone: Backbone, works: Iterable[Work], run: Callable[[Backbone, Work], Done]) -> Iterator[Done]:
    """What ``run`` makes of each work, in their order. A single one has all cores, as has a network that cannot be
    copied. Raises: what ``run`` raises."""
    remaining = iter(works)
    first = list(islice(remaining, _LANES))
    works = chain(first, remaining)
    lanes = _lanes(backbone) if len(first) == _LANES and torch.get_num_threads() >= _LANES else [backbone]
    if len(lanes) == 1:
        yield from (run(backbone, work) for work in works)
        return
    free: SimpleQueue[Backbone] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def pass_through(work: Work) -> Done:
        lane = free.get()
        try:
            return run(lane, work)
        finally:
            free.put(lane)

    cores = torch.get_num_threads()
    yield from prefetch(works, pass_through, ahead=_LANES, threads=_LANES, prepare=partial(_take_cores, cores))


def _lanes(backbone: Backbone) -> list[Backbone]:
    """The backbone, and others over the same tensors."""
    tensors = {id(tensor): tensor for tensor in (*backbone.module.parameters(), *backbone.module.buffers())}
    try:
        copies = [copy.deepcopy(backbone.module, dict(tensors)) for _ in range(_LANES - 1)]
    except Exception:  # noqa: BLE001 - a network is foreign code, and may hold what cannot be copied
        return [backbone]
    return [backbone, *(replace(backbone, module=module) for module in copies)]


def _take_cores(of: int) -> None:
    """Have torch use a lane's share of the cores in this thread, and in no other."""
    torch.get_num_threads()  # from here on torch leaves the number of this thread as it is
    torch.set_num_threads(of // _LANES)
    others = Thread(target=torch.set_num_threads, args=(of,))  # torch has noted it for threads to come, too
    others.start()
    others.join()
