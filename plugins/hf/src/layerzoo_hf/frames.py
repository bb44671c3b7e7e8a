"""Networks that compute frames from a waveform with convolutions: exclude the padding on the right from the result.

The library excludes it from attention, but neither from a norm over the whole clip nor from convolutions over frames.
The output for a clip without padding stays bitwise equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from layerzoo.authoring import mask_group_norms, pass_lengths, zero_padded_frames


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
    geometry = frame_and_hop(config)
    encoder = getattr(network, "feature_extractor", None)
    if geometry is None or not isinstance(encoder, nn.Module):
        return network
    mask_group_norms(encoder, (config.conv_kernel[0], config.conv_stride[0]))  # one, after the first convolution
    positions = getattr(getattr(network, "encoder", None), "pos_conv_embed", None)
    for layer in getattr(positions, "layers", ()):  # each one reads the output of the previous one at the padding
        zero_padded_frames(layer, geometry, axis=2)
    pass_lengths(network, keep_mask=True)
    return network
