"""Prevent fake tensors in the caches of transformers, which persist after a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import wraps
from typing import Any

from torch import nn
from transformers import pytorch_utils


def without_tensor_caches(network: nn.Module) -> nn.Module:
    """Make the forward passes of a network write no tensor caches of transformers, in place. Return the network.

    transformers caches positions and anchors by size and device, for all networks of a process. Those of a pass with
    fake tensors are fake, and the next real network would read them. It does not cache while it is compiled.
    """
    forward = network.forward

    @wraps(forward)
    def uncached(*args: Any, **kwargs: Any) -> Any:
        with _no_caching():
            return forward(*args, **kwargs)

    network.forward = uncached
    return network


@contextlib.contextmanager
def _no_caching() -> Iterator[None]:
    usual = pytorch_utils.is_torchdynamo_compiling
    pytorch_utils.is_torchdynamo_compiling = lambda: True
    try:
        yield
    finally:  # a trace ends early by an exception that torch does not pass to its hooks
        pytorch_utils.is_torchdynamo_compiling = usual
