"""Vision towers of the kind of Qwen2-VL, which take the patches of all images in one sequence, and a grid of each.

The activations of such a network have no batch axis. Here a batch of images with the same number of patches is joined
to that sequence, and a child ``rows`` of each block returns the activations of the block with the batch axis. The
network is unchanged, and keeps images apart by their grids.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from layerzoo_hf.parts import arguments

GRID = "grid_thw"
"""The argument of the network with time, height and width of each image, in patches: (image, 3)."""
_PREFIX = "image_"
"""With it begin the processors' outputs for arguments of the tower: ``image_grid_thw``, ``image_merge_sizes``."""
NAME = "rows"
CHAIN: dict[str, Any] = {
    "modules": rf"(.*\.)?(blocks|layers)\.\d+\.{NAME}",
    "stem": rf"(patch_embed|embeddings)\.{NAME}",
    "after": {"neck": rf"merger\.{NAME}"},
    "axes": {r".*": ["batch token channel"]},
    "prefix_tokens": 0,
}
"""Fields of :class:`layerzoo.authoring.Chain` for these towers."""


def passed_with_grid(outputs: Mapping[str, Any], parameters: Collection[str]) -> dict[str, str]:
    """Return the arguments of a tower, by the names of the processor's outputs for them; empty if it takes no grid.

    Args:
        outputs: the outputs of the processor.
        parameters: the arguments of the network.
    """
    if GRID not in parameters or f"{_PREFIX}{GRID}" not in outputs:
        return {}
    return {f"{_PREFIX}{name}": name for name in parameters if isinstance(outputs.get(f"{_PREFIX}{name}"), Tensor)}


def is_with_grid(outputs: Collection[str]) -> bool:
    """Return whether a grid is among the outputs of a processor that a network takes."""
    return f"{_PREFIX}{GRID}" in outputs


def with_batch_axis(network: nn.Module) -> nn.Module:
    """Make a tower take batches of images with the same number of patches, in place.

    Returns: the network, unchanged if it takes no grid.
    """
    names = arguments(network)
    if GRID not in names:
        return network
    batch = _PatchBatch(names[0])
    network.register_forward_pre_hook(batch.join, with_kwargs=True)
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    blocks = [block for modules in lists for block in modules]
    for module in (*blocks, *(child for child in network.children() if child not in lists)):
        if not isinstance(module, nn.ModuleList):
            module.add_module(NAME, nn.Identity())
            module.register_forward_hook(batch.separate)
    return network


class _PatchBatch:
    """Joins a batch, and separates activations into its rows. patches: the argument of the network for the patches."""

    def __init__(self, patches: str) -> None:
        self.patches = patches
        self.rows = self.positions = 0

    def join(
        self, network: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Join (row, patch, width) to (row · patch, width)."""
        if GRID not in inputs:  # the error of the network names the missing argument
            return args, inputs
        patches: Tensor = inputs[self.patches]
        self.rows, self.positions = patches.shape[:2]
        return args, {**inputs, self.patches: patches.flatten(0, 1)}

    def separate(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Pass the activation of a module to its child as (row, token, channel)."""
        activation = output[0] if isinstance(output, tuple) else output
        if isinstance(activation, Tensor) and activation.ndim == 2 and activation.shape[0] % self.rows == 0:
            module.rows(activation.unflatten(0, (self.rows, -1)))  # type: ignore[operator]
