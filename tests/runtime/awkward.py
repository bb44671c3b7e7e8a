"""Small networks, each with one property that breaks naive ways of cutting a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InPlace(nn.Module):
    """An in-place activation overwrites what the module before it returned (ResNet, RegNet, DenseNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.deep = nn.Conv2d(4, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x += 1.0
        return self.deep(x)


class Shared(nn.Module):
    """One module runs three times (ALBERT)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return self.head(x)


class ReadsUncalled(nn.Module):
    """Weights of modules that are never called are read (nn.MultiheadAttention.out_proj, BEiT, WavLM, Mamba)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.borrowed = nn.Linear(8, 8)
        self.after = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = F.linear(x, self.borrowed.weight)
        return self.after(x)


class OwnTensors(nn.Module):
    """A parent reads its tensors before its children run, and after some of them (class token, positions)."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.full((1, 1, 8), 0.5))
        self.positions = nn.Parameter(torch.linspace(-1, 1, 17 * 8).reshape(1, 17, 8))
        self.scale = nn.Parameter(torch.ones(8))
        self.register_buffer("shift", torch.arange(8.0), persistent=False)
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.positions + self.shift
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x) * self.scale


class RunsOutOfOrder(nn.Module):
    """Modules run in another order than they are defined in, and one does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(4, 2, 1)
        self.unused = nn.Conv2d(3, 3, 1)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)))


class SeveralOutputs(nn.Module):
    """Modules return tuples, lists and mappings."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return self.conv(x), None

    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 2, stride=2)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.fine(x), self.coarse(x)]

    class Named(nn.Module):
        def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
            return {"mean": levels[0].mean((2, 3)), "max": levels[1].amax((2, 3))}

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.pyramid, self.named = self.Pair(), self.Pyramid(), self.Named()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        first, _ = self.pair(x)
        found = self.named(self.pyramid(first))
        return self.head(torch.cat([found["mean"], found["max"]], dim=1))


class Tied(nn.Module):
    """Two modules share one weight, and one module has two paths."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(16, 8, bias=False)
        self.again = nn.ModuleList([self.encode])
        self.decode = nn.Linear(16, 8, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(F.pad(self.encode(x.flatten(1)[:, :16]), (0, 8)))


@dataclass(frozen=True)
class Awkward:
    """A network and a valid input size."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 16, 16)


AWKWARD = {
    made.__name__: Awkward(made)
    for made in (InPlace, Shared, ReadsUncalled, OwnTensors, RunsOutOfOrder, SeveralOutputs, Tied)
}
