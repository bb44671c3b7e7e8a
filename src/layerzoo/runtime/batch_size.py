"""Choose the size of batches from the memory that is free on a device."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerzoo.errors import UsageError
from layerzoo.media.limits import limits
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.backbone import Backbone, network_of
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.batching import BATCHES, BatchLimit

BatchSize = int | Literal["auto"] | None
"""Rows of a batch; ``auto`` for as many as fit into the free memory; None for the default of the modality."""

_LARGEST = {
    "vision": BatchLimit(256),
    "text": BatchLimit(1024, 65_536, sort_batches=16),
    "audio": BatchLimit(64, 32_000_000),
    "video": BatchLimit(256),
}
"""The largest batches on a GPU of any size. Larger ones should not be faster, which was not measured."""
_SHARE = 0.7
"""Of the free memory that the activations of a batch may take. The rest is for the batches that are copied next, for
what kernels use in addition, and for fragmentation."""
_FEW, _MORE = 2, 4
"""Numbers of rows with which memory is measured."""


def check_batch_size(batch_size: Any) -> None:
    """Raises: UsageError for anything but a number of rows, ``auto`` or None."""
    if batch_size is None or (isinstance(batch_size, str) and batch_size == "auto"):
        return
    if not (hasattr(batch_size, "__index__") and batch_size >= 1):
        raise UsageError(f"batch_size={batch_size!r} is neither a number of rows, 1 or more, nor 'auto'")


def batch_limit(backbone: Backbone, pools: Mapping[str, str], batch_size: BatchSize) -> BatchLimit:
    """Return the maximum size of a batch.

    Args:
        backbone: the network.
        pools: layer name → pooling.
        batch_size: as requested.
    """
    if isinstance(batch_size, str):
        shared = [device for device in backbone.devices if device == backbone.device]
        limit = automatic_limit(backbone, pools, free_bytes(backbone.device) // len(shared))
        logging.getLogger("layerzoo").info("%s: batch_size='auto' is %s", backbone.spec.id, limit)
        return limit
    if batch_size:
        return BatchLimit(batch_size)
    modality = backbone.preprocess.modality
    if modality == "video" and backbone.device.type != "cpu":
        modality = "vision"  # small batches are for the cores that also decode
    return BATCHES[modality]._replace(bytes=limits().batch_bytes)


def automatic_limit(backbone: Backbone, pools: Mapping[str, str], free: int) -> BatchLimit:
    """Return the largest batch whose activations fit into the free memory of the backbone's device.

    On a CPU, it is at most the default of the modality, because larger batches are not faster there.

    Args:
        backbone: the network, which is run on a few examples to measure its memory.
        pools: layer name → pooling.
        free: free memory, in bytes.
    """
    modality = backbone.preprocess.modality
    most = (BATCHES if backbone.device.type == "cpu" else _LARGEST)[modality]._replace(bytes=limits().batch_bytes)
    memory = _measure(backbone, pools)
    if memory is None:
        return most
    available = max(0, int(_SHARE * free) - memory.fixed)
    if most.positions is None or memory.positions is None:
        return most._replace(rows=_at_least_one(available // memory.row, most.rows))
    positions = available // max(1, round(memory.row / memory.positions))
    return most._replace(positions=_at_least_one(positions, most.positions))


def _at_least_one(number: int, most: int) -> int:
    return max(1, min(number, most))


class _Memory(NamedTuple):
    """The memory that a forward pass takes, in bytes."""

    fixed: int
    row: int
    positions: int | None
    """Of a row, where rows differ in length. Then ``row`` is for the longest one."""


def _measure(backbone: Backbone, pools: Mapping[str, str]) -> _Memory | None:
    """Run the network on a few examples. None for a model without an example, or whose network fails on it."""
    row = _row_bytes(backbone, pools)
    if row is None:
        return None
    fixed, per_row, length = row
    if not backbone.preprocess.variable_length:
        return _Memory(fixed, per_row, None)
    longer = _row_bytes(backbone, pools, "length")
    if longer is None or longer[2] != 2 * length:  # the network takes one length
        return _Memory(fixed, per_row, length)
    return _Memory(fixed, *_longest(length, per_row, max(per_row, longer[1]), _most_positions(backbone)))


def _row_bytes(
    backbone: Backbone, pools: Mapping[str, str], enlargement: Enlargement | None = None
) -> tuple[int, int, int] | None:
    """Return the memory of a forward pass without rows and that of each row, in bytes, and the positions of a row."""
    small_batch, large_batch = (backbone.preprocess.example(count, enlargement) for count in (_FEW, _MORE))
    if small_batch is None or large_batch is None:
        return None
    try:
        small_peak, large_peak = peak_bytes(backbone, small_batch, pools), peak_bytes(backbone, large_batch, pools)
    except Exception:  # noqa: BLE001 - a network may raise anything; a sample on which it fails is reported when it runs
        return None
    row = max(1, (large_peak - small_peak) // (_MORE - _FEW))
    return max(0, small_peak - _FEW * row), row, small_batch.total


def _longest(length: int, row: int, row_of_twice: int, most: int) -> tuple[int, int]:
    """Extrapolate the memory of a row of some length, and of twice the length, to the longest row.

    Memory grows linearly with the length, and with its square where attention holds all pairs of positions.
    Returns: the memory of the longest row in bytes, and its length.
    """
    square = max(0.0, (row_of_twice - 2 * row) / (2 * length**2))
    linear = row / length - square * length
    most = max(most, length)
    return max(1, round(linear * most + square * most**2)), most


def _most_positions(backbone: Backbone) -> int:
    """Return the length of the longest row: that of a text model; else that of twice the example."""
    declared = backbone.spec.preprocess
    most = getattr(declared, "max_tokens", None)
    example = backbone.preprocess.example(1)
    return int(most) if most else 2 * (example.total if example is not None else 1)


def peak_bytes(backbone: Backbone, batch: Batch, pools: Mapping[str, str]) -> int:
    """Return the memory that a forward pass over a batch takes at most, in bytes, without weights.

    Of a CUDA device, it is what its allocator reports; elsewhere, the sum of all tensors that exist at the same time.
    """
    if backbone.device.type == "cuda":
        torch.cuda.synchronize(backbone.device)
        allocated = int(torch.cuda.memory_allocated(backbone.device))
        torch.cuda.reset_peak_memory_stats(backbone.device)
        backbone.pool_rows(batch, pools)
        return int(torch.cuda.max_memory_allocated(backbone.device)) - allocated
    with _LiveTensors(backbone) as live:
        backbone.pool_rows(batch, pools)
    return int(live.peak)


class _LiveTensors(TorchDispatchMode):
    """Measure the memory of the tensors that operations return, while these tensors exist."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        module = network_of(backbone)
        self._own = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._own:
                    self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return result


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device, in bytes: of a CPU, the memory that the system can provide
    without swapping."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # another system than Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
