"""Run several batches of an extraction at the same time: in replicas of the network, and on one device one after the
other.

On a CPU, two replicas are faster where one batch is a single audio clip: much of the work is memory traffic, and
kernels that one thread compiles for the length of the clip. Each replica has separate modules over shared tensors,
because hooks and cached values belong to one forward pass.

On a GPU, one thread prepares and copies a batch while another runs the network, and a third reads the results of the
batch before. The network itself runs one batch at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import torch
from torch import Tensor, nn

from layerzoo.runtime.backbone import Backbone, network_of
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.prefetch import prefetch
from layerzoo.runtime.preprocess import AudioPreprocessor

_BATCHES_OF_A_GPU = 3
"""One that is copied, one in the network, one whose results are read."""

Task = TypeVar("Task")
TaskResult = TypeVar("TaskResult")


def run_tasks(
    backbone: Backbone, tasks: Iterable[Task], run: Callable[[Backbone, Task], TaskResult]
) -> Iterator[TaskResult]:
    """Yield the result of ``run`` for each task, in order, in the way that suits the devices of the backbone.

    Raises: the errors of ``run``.
    """
    devices = _devices(backbone)
    at_once = 1 if devices[0].type == "cpu" else _BATCHES_OF_A_GPU
    if len(devices) * at_once == 1:
        return (run(backbone, task) for task in tasks)
    return run_in_replicas(backbone, tasks, run, devices=devices, at_once=at_once)


def _devices(backbone: Backbone) -> tuple[torch.device, ...]:
    """Return the device of each replica.

    In float32 two audio clips at once save 5 % on a CPU, and features would no longer be equal to the library's to the
    bit, which the precision ``library`` promises, too. Networks that draw random numbers share one generator.
    """
    if backbone.variation.random:
        return (backbone.device,)
    is_one_cpu = len(backbone.devices) == 1 and backbone.device.type == "cpu"
    takes_clips = isinstance(backbone.preprocess, AudioPreprocessor)
    if is_one_cpu and takes_clips and backbone.precision not in ("float32", "library"):
        return (backbone.device,) * 2
    return backbone.devices


def run_in_replicas(
    backbone: Backbone,
    tasks: Iterable[Task],
    run: Callable[[Backbone, Task], TaskResult],
    *,
    devices: Sequence[torch.device],
    at_once: int = 1,
) -> Iterator[TaskResult]:
    """Yield the result of ``run`` for each task, in order.

    A single task runs on the backbone itself, as do all tasks of a network that cannot be copied.

    Args:
        backbone: the network.
        tasks: the tasks, which are requested in this thread.
        run: runs one task. Several threads may call it with one replica.
        devices: the device of each replica. Replicas on CPUs share the cores.
        at_once: number of tasks that a replica has at the same time.
    Raises: the errors of ``run``.
    """
    remaining = iter(tasks)
    first = list(islice(remaining, 2))
    tasks = chain(first, remaining)
    replicas = _replicas(backbone, devices) if len(first) == 2 else [backbone]
    if len(replicas) * at_once == 1 or len(first) < 2:
        yield from (run(backbone, task) for task in tasks)
        return
    free: SimpleQueue[Backbone] = SimpleQueue()
    for replica in replicas * at_once:
        free.put(replica)

    def run_in_free_replica(task: Task) -> TaskResult:
        replica = free.get()
        try:
            return run(replica, task)
        finally:
            free.put(replica)

    cores, on_cpu = torch.get_num_threads(), sum(replica.device.type == "cpu" for replica in replicas)
    threads = len(replicas) * at_once
    yield from prefetch(
        tasks, run_in_free_replica, ahead=threads, threads=threads, prepare=partial(_share_cores, cores, max(1, on_cpu))
    )


def _replicas(backbone: Backbone, devices: Sequence[torch.device]) -> list[Backbone]:
    """Return the backbone, and a copy for each further device. On the same device, copies share its tensors."""
    if all(device.type == "cpu" for device in devices) and torch.get_num_threads() < len(devices):
        return [backbone]
    try:
        network = network_of(backbone)
        copies = [replace(backbone, _network=_copy(network, device), device=device) for device in devices[1:]]
    except Exception:  # noqa: BLE001 - a network may hold objects that cannot be copied
        return [backbone]
    return [backbone, *copies]


def _copy(module: CutNetwork, device: torch.device) -> CutNetwork:
    """Return a copy of a network with its tensors on a device."""

    def moved(tensor: Tensor) -> Tensor:
        copied = tensor.detach().to(device)
        if copied.device == tensor.device:
            return tensor
        return nn.Parameter(copied, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied

    tensors = {id(tensor): moved(tensor) for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, tensors)


def _share_cores(cores: int, replicas: int) -> None:
    """Limit torch to a replica's share of the cores in this thread only."""
    torch.get_num_threads()  # from here on torch does not change the number of this thread
    torch.set_num_threads(max(1, cores // replicas))
    thread = Thread(target=torch.set_num_threads, args=(cores,))  # torch applies it to future threads, too
    thread.start()
    thread.join()
