"""A plugin with a small convolutional network, and its own preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzoo import ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from .pixels import Pixels


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the network with its initial weights."""
    from .network import PixelNetwork

    return PixelNetwork()


@hookimpl
def layerzoo_preprocess(spec: ModelSpec) -> Pixels:
    """Return the preprocessing, which the declaration describes."""
    from .pixels import Pixels

    return Pixels()
