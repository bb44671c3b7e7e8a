"""FLOPs of one sample: work that does not depend on the number of samples is counted completely."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from layerzoo.runtime.batch import Batch
from layerzoo.runtime.serialize import deserialize_trace, serialize_trace
from layerzoo.runtime.trace import trace


class Positions(nn.Module):
    """A table of positions that goes through a separate layer, once for all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(5, 6))
        self.project = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.table)


class Codebook(nn.Module):
    """Distances to a table: one product of the batch, and one that does not depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(9, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.table @ self.table.T)[:6, :6]


class Queries(nn.Module):
    """A table that is copied for each sample before it goes through a layer: it grows with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(1, 5, 6))
        self.project = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.table.expand(len(x), -1, -1).contiguous())


def network(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), *parts, nn.Linear(6, 6))


def flops_of_one(make: Callable[[], nn.Module], size: int, *others: int, device: str = "meta") -> list[int]:
    """Return FLOPs up to the end of each part for one sample, from traces of batches of different sizes."""

    def traced(rows: int) -> object:
        with torch.device(device):
            return trace(make(), Batch({"x": torch.ones(rows, 5, 6)}))

    found = traced(size)
    for other in others:
        counted = found.with_single(traced(other))  # type: ignore[attr-defined]
        found = found if counted is found else counted
    again = deserialize_trace(serialize_trace(found))  # type: ignore[arg-type]
    assert again == found
    return [again.flops_until(call.end) for call in again.calls if call.module.isdecimal()]


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: network(Positions()),
        lambda: network(Codebook()),
        lambda: network(Queries()),
        lambda: network(Queries(), Positions(), Codebook()),
    ],
    ids=["positions", "codebook", "queries", "all"],
)
def test_the_flops_of_one_sample_are_those_of_a_batch_of_one(make: Callable[[], nn.Module], device: str) -> None:
    expected = flops_of_one(make, 1, device=device)
    assert flops_of_one(make, 2, 3, 1, device=device) == expected
    assert flops_of_one(make, 3, 2, device=device) == expected


def test_only_operations_independent_of_the_batch_are_constant() -> None:
    def constant(part: nn.Module) -> int:
        return len(trace(network(part), Batch({"x": torch.ones(2, 5, 6)})).constant)

    assert constant(Positions()) == constant(Codebook()) == constant(Queries()) == 1
    assert constant(nn.Linear(6, 6)) == 0


def test_a_trace_with_different_operations_changes_no_cost() -> None:
    found = trace(network(Positions()), Batch({"x": torch.ones(2, 5, 6)}))
    other = trace(network(Positions(), nn.Linear(6, 6)), Batch({"x": torch.ones(1, 5, 6)}))
    assert found.with_single(other) is found
