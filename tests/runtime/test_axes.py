"""Axes and prefix tokens, told by how activations change with the size of the input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from layerzoo.runtime.axes import Layout, Probes, infer_layout
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.trace import Trace, trace


class Patches(nn.Module):
    """Tokens of patches, some of its own in front; then the mean as a map of one pixel."""

    def __init__(self, stride: int, prefix: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride, padding=1)
        self.prefix = nn.Parameter(torch.zeros(1, prefix, 6))
        self.tokens = nn.Identity()
        self.pixel = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.tokens(torch.cat([self.prefix.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1))
        return self.pixel(x.mean((2, 3), keepdim=True))


def layout(module: str, *, stride: int, prefix: int, side: int = 24) -> Layout | None:
    sizes = {"batch": (3, side, side), "height": (2, 2 * side, side), "width": (2, side, 2 * side)}

    def traced(batch: int, height: int, width: int) -> Trace:
        return trace(Patches(stride, prefix), Batch({"x": torch.zeros(batch, 3, height, width)}))

    base = traced(2, side, side)
    probes = Probes(base=base, stretched={stretch: traced(*size) for stretch, size in sizes.items()})
    return infer_layout(probes, base.calls_of(module)[0], None)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_that_do_not_grow_stand_in_front(prefix: int) -> None:
    assert layout("tokens", stride=4, prefix=prefix) == Layout(("batch", "token", "channel"), prefix)


@pytest.mark.parametrize(("side", "stride"), [(28, 8), (20, 8), (14, 4)])
def test_where_sizes_are_rounded_no_token_is_taken_for_one_in_front(side: int, stride: int) -> None:
    assert layout("tokens", stride=stride, prefix=0, side=side) == Layout(("batch", "token", "channel"), None)


def test_a_map_of_one_pixel_keeps_its_height_and_width() -> None:
    assert layout("pixel", stride=4, prefix=0) == Layout(("batch", "channel", "height", "width"), None)
