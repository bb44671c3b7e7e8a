"""Networks that make frames of raw sound with convolutions, and what they are taught here: to leave out what a sound
was filled up with on the right.

The library hides it from attention, but not from a norm over a whole sound, nor from convolutions over frames. What it
computes of a sound that is not filled up stays the same to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def frame_and_hop(config: Any) -> tuple[int, int] | None:
    """How many samples a network makes its first frame of, and how many later each next one begins; None for a network
    that makes none of raw sound."""
    kernels, strides = (getattr(config, name, None) for name in ("conv_kernel", "conv_stride"))
    if not isinstance(kernels, Sequence) or not isinstance(strides, Sequence) or len(kernels) != len(strides):
        return None
    squeezed = getattr(config, "squeeze_factor", 1)
    frame, hop = 1, 1
    for kernel, stride in zip((*kernels, squeezed), (*strides, squeezed), strict=True):
        frame += (kernel - 1) * hop
        hop *= stride
    return frame, hop


def can_leave_out_padding(config: Any) -> bool:
    """Whether nothing but what is minded here mixes frames before attention: a batch norm before a convolution would
    make something of the zeros behind a sound, which that convolution sees."""
    return not getattr(config, "conv_pos_batch_norm", False)


def leave_out_padding(network: nn.Module) -> nn.Module:
    """The network, in place, such that an ``attention_mask`` of samples holds for its norms over time, and for its
    convolutions over frames. Of any other network, nothing is changed."""
    config: Any = getattr(network, "config", None)
    known = frame_and_hop(config)
    encoder = getattr(network, "feature_extractor", None)
    if known is None or not isinstance(encoder, nn.Module):
        return network
    for layer in encoder.modules():
        for name, norm in layer.named_children():
            if type(norm) is nn.GroupNorm:  # the library has one behind the first convolution, and nowhere else
                setattr(layer, name, MaskedGroupNorm(norm, (config.conv_kernel[0], config.conv_stride[0])))
    positions = getattr(getattr(network, "encoder", None), "pos_conv_embed", None)
    for layer in getattr(positions, "layers", ()):  # a stack, each of which sees what the one before has made of zeros
        setattr(layer, _TRUE, None)
        layer.register_forward_hook(partial(_blank, known))
    network.register_forward_pre_hook(_tell, with_kwargs=True)
    return network


class MaskedGroupNorm(nn.GroupNorm):
    """A group norm over the true positions of each row; what is behind them becomes zero."""

    def __init__(self, norm: nn.GroupNorm, frame_hop: tuple[int, int]) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, affine=False)
        self.affine = norm.affine
        self.weight, self.bias = norm.weight, norm.bias
        self._frame_hop = frame_hop
        setattr(self, _TRUE, None)

    def forward(self, input: Tensor) -> Tensor:
        true = getattr(self, _TRUE)
        if true is None:
            return super().forward(input)
        ends = [_frames(samples, self._frame_hop) for samples in true]
        rows = [super(MaskedGroupNorm, self).forward(row[None, :, :end]) for row, end in zip(input, ends, strict=True)]
        return torch.cat([functional.pad(row, (0, input.shape[-1] - row.shape[-1])) for row in rows])


_TRUE = "true_samples"
"""The attribute in which a module is told how long each sound of the batch is; None where all are whole."""


def _tell(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    mask = kwargs.get("attention_mask")
    true = None if mask is None else mask.sum(-1).tolist()
    for module in network.modules():
        if hasattr(module, _TRUE):
            setattr(module, _TRUE, true)


def _blank(frame_hop: tuple[int, int], layer: nn.Module, args: Any, output: Tensor) -> Tensor | None:
    """(batch, channel, frame) with zeros for the frames behind each sound."""
    true = getattr(layer, _TRUE)
    if true is None:
        return None
    ends = torch.tensor([_frames(samples, frame_hop) for samples in true], device=output.device)
    behind = torch.arange(output.shape[-1], device=output.device) >= ends[:, None]
    return output.masked_fill(behind[:, None], 0.0)


def _frames(samples: int, frame_hop: tuple[int, int]) -> int:
    frame, hop = frame_hop
    return (int(samples) - frame) // hop + 1
