"""Copy batches to a device, next to the running network where the device can do so."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from layerzoo.runtime.batch import Batch

if TYPE_CHECKING:
    from torch.cuda import Stream


def to_device(batch: Batch, device: torch.device, memory_format: torch.memory_format | None = None) -> Batch:
    """Copy a batch to a device, and convert its four-dimensional inputs to a memory format, if one is given.

    For CUDA, the batch is pinned and copied in a separate stream, so that the copy runs next to the forward pass of
    an earlier batch. Later work of the current stream waits for the copy.
    """
    if device.type != "cuda":
        return batch.to(device, memory_format)
    copies, current = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        placed = batch._with_tensors(_pinned).to(device, memory_format, non_blocking=True)
    current.wait_stream(copies)

    def used_by_current(tensor: Tensor) -> Tensor:
        tensor.record_stream(current)  # its memory was allocated in the other stream
        return tensor

    return placed._with_tensors(used_by_current)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_cuda else tensor.pin_memory()


@cache
def _copy_stream(device: torch.device) -> Stream:
    """Return the stream in which batches are copied to a CUDA device."""
    return torch.cuda.Stream(device)
