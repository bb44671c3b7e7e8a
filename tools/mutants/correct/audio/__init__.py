"""A plugin with a small audio network that takes clips of any length, padded under a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzoo import ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from .waveform import Waveform


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the network with its initial weights."""
    from .network import AudioNetwork

    return AudioNetwork()


@hookimpl
def layerzoo_preprocess(spec: ModelSpec) -> Waveform:
    """Return what adds an attention mask to a clip."""
    from .waveform import Waveform

    return Waveform()
