"""Axes and prefix tokens are inferred from the change of activations with the size of the input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from layerzoo.runtime.axes import AxisLayout, Enlargement, Probes, infer_layout
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.trace import Trace, trace


class Patches(nn.Module):
    """Tokens of patches after some prefix tokens; then the mean as a map of one pixel."""

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


def traced(stride: int, prefix: int, side: int) -> Probes:
    sizes = {"height": (2, 2 * side, side), "width": (2, side, 2 * side), "all": (3, 2 * side, 2 * side)}

    def run(batch: int, height: int, width: int) -> Trace:
        return trace(Patches(stride, prefix), Batch({"x": torch.zeros(batch, 3, height, width)}))

    return Probes(base=run(2, side, side), enlarged={enlargement: run(*size) for enlargement, size in sizes.items()})


def without(probes: Probes, *refused: Enlargement) -> Probes:
    kept = {enlargement: found for enlargement, found in probes.enlarged.items() if enlargement not in refused}
    return Probes(base=probes.base, enlarged=kept)


def layout(probes: Probes, module: str) -> AxisLayout | None:
    return infer_layout(probes, probes.base.calls_of(module)[0], None)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(("side", "stride"), [(24, 4), (28, 8), (20, 8), (14, 4)])
def test_tokens_whose_number_is_constant_are_prefix_tokens_for_any_rounding(
    prefix: int, side: int, stride: int
) -> None:
    assert layout(traced(stride, prefix, side), "tokens") == AxisLayout(("batch", "token", "channel"), prefix)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_square_images_suffice_to_infer_tokens(prefix: int) -> None:
    square = without(traced(4, prefix, 24), "height", "width")
    assert layout(square, "tokens") == AxisLayout(("batch", "token", "channel"), prefix)


def test_rounded_square_images_give_no_false_prefix_token() -> None:
    square = without(traced(8, 0, 20), "height", "width")
    assert layout(square, "tokens") == AxisLayout(("batch", "token", "channel"), None)


def test_square_images_do_not_distinguish_height_and_width() -> None:
    assert layout(without(traced(4, 0, 24), "height", "width"), "conv") is None


def test_height_and_width_are_inferred_from_inputs_of_other_sizes() -> None:
    assert layout(traced(4, 0, 24), "conv") == AxisLayout(("batch", "channel", "height", "width"), None)


def test_changing_one_side_alone_does_not_distinguish_height_and_tokens() -> None:
    assert layout(without(traced(4, 0, 24), "width"), "tokens") is None


def test_a_map_of_one_pixel_has_height_and_width() -> None:
    assert layout(traced(4, 0, 24), "pixel") == AxisLayout(("batch", "channel", "height", "width"), None)


class Windows(nn.Module):
    """Windows before the batch axis, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.windows(x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(-1, 64, 3))


def test_an_axis_of_windows_is_not_the_batch_axis() -> None:
    sizes = {"height": (2, 32, 16), "width": (2, 16, 32), "all": (3, 32, 32)}
    base, *larger = (
        trace(Windows(), Batch({"x": torch.zeros(batch, 3, height, width)}))
        for batch, height, width in ((2, 16, 16), *sizes.values())
    )
    probes = Probes(base=base, enlarged=dict(zip(sizes, larger, strict=True)))
    assert layout(probes, "windows") is None


class Prompted(nn.Module):
    """A text after prefix tokens that the network adds."""

    def __init__(self, prefix: int, shortens: int = 1) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 6)
        self.prompt = nn.Parameter(torch.zeros(1, prefix, 6))
        self.tokens = nn.Identity()
        self.shortens = shortens

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)[:, :: self.shortens]
        return self.tokens(torch.cat([self.prompt.expand(len(x), -1, -1), x], dim=1))


@pytest.mark.parametrize(("prefix", "shortens", "message"), [(0, 1, 0), (5, 1, 5), (0, 4, 0), (5, 4, None)])
def test_prefix_tokens_of_a_text_are_inferred_if_it_is_not_shortened(
    prefix: int, shortens: int, message: int | None
) -> None:
    def run(batch: int, length: int) -> Trace:
        return trace(Prompted(prefix, shortens), Batch({"x": torch.zeros(batch, length, dtype=torch.long)}))

    found = layout(Probes(base=run(2, 16), enlarged={"length": run(2, 32), "all": run(3, 32)}), "tokens")
    assert found == AxisLayout(("batch", "token", "channel"), message)
