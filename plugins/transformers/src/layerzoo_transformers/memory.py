"""What transformers remembers for good of one forward pass, and must not of one without values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import wraps
from typing import Any

from torch import nn
from transformers import pytorch_utils


def without_tensor_caches(network: nn.Module) -> nn.Module:
    """The network, whose forward passes leave nothing behind, however they end.

    transformers remembers positions and anchors by size and device, over all networks of a process. Those of a pass
    with fake tensors are fake, and would be taken by the next real network. It remembers nothing while it is compiled.
    """
    forward = network.forward

    @wraps(forward)
    def forgetful(*args: Any, **kwargs: Any) -> Any:
        with _nothing_remembered():
            return forward(*args, **kwargs)

    network.forward = forgetful
    return network


@contextlib.contextmanager
def _nothing_remembered() -> Iterator[None]:
    usual = pytorch_utils.is_torchdynamo_compiling
    pytorch_utils.is_torchdynamo_compiling = lambda: True
    try:
        yield
    finally:  # a trace that has seen enough ends by an exception that hooks of torch are not told of
        pytorch_utils.is_torchdynamo_compiling = usual
