"""A plugin with a small vision transformer, and weights in its package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzoo import ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the network with its initial weights."""
    from .network import VisionNetwork

    return VisionNetwork(**spec.args.to_dict())
