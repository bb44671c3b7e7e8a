"""Networks that compute frames from a waveform with convolutions: exclude the padding on the right from the result.

The library excludes it from attention, but neither from a norm over the whole clip nor from convolutions over frames.
The output for a clip without padding stays bitwise equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def frame_and_hop(config: Any) -> tuple[int, int] | None:
    """Return the length of a frame and the distance between two frames in samples; None for a network that does not
    take a waveform."""
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
    """Return True if :func:`leave_out_padding` covers every operation that mixes frames before attention.

    A batch norm before a convolution is not covered: it changes the zeros after a clip, which the convolution reads.
    """
    return not getattr(config, "conv_pos_batch_norm", False)


def leave_out_padding(network: nn.Module) -> nn.Module:
    """Apply the ``attention_mask`` of samples to the norms over time and the convolutions over frames, in place.

    Returns: the network, unchanged if it does not take a waveform.
    """
    config: Any = getattr(network, "config", None)
    known = frame_and_hop(config)
    encoder = getattr(network, "feature_extractor", None)
    if known is None or not isinstance(encoder, nn.Module):
        return network
    for layer in encoder.modules():
        for name, norm in layer.named_children():
            if type(norm) is nn.GroupNorm:  # the library has one after the first convolution only
                setattr(layer, name, MaskedGroupNorm(norm, (config.conv_kernel[0], config.conv_stride[0])))
    positions = getattr(getattr(network, "encoder", None), "pos_conv_embed", None)
    for layer in getattr(positions, "layers", ()):  # each one reads the output of the previous one at the padding
        setattr(layer, _LENGTHS, None)
        layer.register_forward_hook(partial(_zero_padding, known))
    network.register_forward_pre_hook(_set_lengths, with_kwargs=True)
    return network


class MaskedGroupNorm(nn.GroupNorm):
    """A group norm over the frames of each clip without its padding; the output at padding is zero."""

    def __init__(self, norm: nn.GroupNorm, frame_hop: tuple[int, int]) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, affine=False)
        self.affine = norm.affine
        self.weight, self.bias = norm.weight, norm.bias
        self._frame_hop = frame_hop
        setattr(self, _LENGTHS, None)

    def forward(self, input: Tensor) -> Tensor:
        lengths = getattr(self, _LENGTHS)
        if lengths is None:
            return super().forward(input)
        ends = [_frames(samples, self._frame_hop) for samples in lengths]
        rows = [super(MaskedGroupNorm, self).forward(row[None, :, :end]) for row, end in zip(input, ends, strict=True)]
        return torch.cat([functional.pad(row, (0, input.shape[-1] - row.shape[-1])) for row in rows])


_LENGTHS = "lengths"
"""Attribute of a module: the number of samples of each clip in the batch; None if no clip is padded."""


def _set_lengths(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    mask = kwargs.get("attention_mask")
    lengths = None if mask is None else mask.sum(-1).tolist()
    for module in network.modules():
        if hasattr(module, _LENGTHS):
            setattr(module, _LENGTHS, lengths)


def _zero_padding(frame_hop: tuple[int, int], layer: nn.Module, args: Any, output: Tensor) -> Tensor | None:
    """Return the output, (batch, channel, frame), with zeros for the frames after each clip."""
    lengths = getattr(layer, _LENGTHS)
    if lengths is None:
        return None
    ends = torch.tensor([_frames(samples, frame_hop) for samples in lengths], device=output.device)
    is_padding = torch.arange(output.shape[-1], device=output.device) >= ends[:, None]
    return output.masked_fill(is_padding[:, None], 0.0)


def _frames(samples: int, frame_hop: tuple[int, int]) -> int:
    frame, hop = frame_hop
    return (int(samples) - frame) // hop + 1
