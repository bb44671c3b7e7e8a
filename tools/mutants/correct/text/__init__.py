"""A plugin with a small text encoder and its own tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzoo import ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from .words import Words


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the network with its initial weights."""
    from .network import TextNetwork

    return TextNetwork()


@hookimpl
def layerzoo_preprocess(spec: ModelSpec) -> Words:
    """Return the tokenizer."""
    from .words import Words

    return Words()
