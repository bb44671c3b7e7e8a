"""What transformers remembers for good of one forward pass, and must not of one without values."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import pytorch_utils


def without_memory(network: nn.Module) -> nn.Module:
    """The network, whose forward passes leave nothing behind.

    transformers remembers positions and anchors by size and device, over all networks of a process. Those of a pass
    with fake tensors are fake, and would be taken by the next real network. It remembers nothing while it is compiled.
    """
    usual = pytorch_utils.is_torchdynamo_compiling

    def forget(*_: Any) -> None:
        pytorch_utils.is_torchdynamo_compiling = lambda: True

    def restore(*_: Any) -> None:
        pytorch_utils.is_torchdynamo_compiling = usual

    network.register_forward_pre_hook(forget)
    network.register_forward_hook(restore, always_call=True)
    return network
