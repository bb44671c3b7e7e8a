"""Devices on which a network can be run to trace its structure."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from layerzoo.errors import TraceError
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.construct import TraceMode, fake_tensors, trace_mode
from layerzoo.runtime.trace import Trace, trace


class Careful(nn.Module):
    """A network that reads a number in its constructor, and inspects its input unless it is traced, like networks
    with masks."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.linspace(0, 1, 3, device="cpu")[1].item()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, FakeTensor) and x.sum().item() < 0:
            raise ValueError("negative")
        hidden: torch.Tensor = self.second(self.first(x) * self.rate) * self.scale
        return hidden


def traced(kind: TraceMode) -> Trace:
    with trace_mode(kind):
        network = Careful()
        if kind != "faked":
            return trace(network, Batch({"x": torch.ones(2, 4)}))
        with fake_tensors(network):
            return trace(network, Batch({"x": torch.ones(2, 4)}))


def test_a_network_on_the_meta_device_runs_if_it_can_detect_tracing() -> None:
    with pytest.raises(TraceError, match=r"Tensor\.item\(\) cannot be called on meta tensors"):
        traced("meta")
    with pytest.raises(Exception, match="_local_scalar_dense"):
        traced("fake")
    found, expected = traced("faked"), traced("real")
    assert [(call.module, call.outputs) for call in found.calls] == [
        (call.module, call.outputs) for call in expected.calls
    ]
    assert found.reads.keys() == expected.reads.keys() == {
        "first.weight", "second.weight", "first.bias", "second.bias", "scale"
    }  # fmt: skip
    assert (found.sizes, found.signature, found.parameters) == (expected.sizes, expected.signature, expected.parameters)
    assert sum(flops for _, flops in found.flops) == sum(flops for _, flops in expected.flops) > 0
