"""Networks that compute frames from audio: exclude the padding on the right of each clip from operations over time.

A network states once where its clips end (:func:`pass_lengths`); its modules then use it (:func:`mask_group_norms`,
:func:`zero_padded_frames`, :func:`lengths_of`). The output for a clip without padding stays bitwise equal.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

FrameHop = tuple[int, int]
"""The number of samples of the first frame, and from the start of a frame to the start of the next."""

_LENGTHS = "lengths"
"""Attribute of a module: the number of samples of each clip in the batch; None if no clip is padded."""


Samples = TypeVar("Samples", int, Tensor)


def frames_of(samples: Samples, frame_hop: FrameHop) -> Samples:
    """Return the number of whole frames of a clip.

    Args:
        samples: the length of the clip in samples.
        frame_hop: of the convolutions up to these frames.
    """
    frame, hop = frame_hop
    return (samples - frame) // hop + 1


def pass_lengths(network: nn.Module, *, keep_mask: bool) -> None:
    """Tell every module that uses lengths where the clips of each batch end, from the input ``attention_mask``.

    Args:
        network: the whole network; call this after its modules use lengths.
        keep_mask: whether the network's own code takes ``attention_mask`` too.
    """
    network.register_forward_pre_hook(partial(_set_lengths, keep_mask=keep_mask), with_kwargs=True)


def use_lengths(module: nn.Module) -> None:
    """Make a module one that :func:`lengths_of` knows the lengths for."""
    setattr(module, _LENGTHS, None)


def lengths_of(module: nn.Module) -> list[int] | None:
    """Return the number of samples of each clip in the current batch; None if no clip is padded."""
    lengths: list[int] | None = getattr(module, _LENGTHS)
    return lengths


def is_padding(module: nn.Module, frames: Tensor, frame_hop: FrameHop) -> Tensor | None:
    """Return which frames of the current batch lie after their clip.

    Args:
        module: a module that uses lengths.
        frames: (batch, frame, channel).
        frame_hop: of the convolutions up to these frames.
    Returns: (batch, frame), True for padding; None if no clip is padded.
    """
    lengths = lengths_of(module)
    if lengths is None:
        return None
    ends = torch.tensor([frames_of(int(samples), frame_hop) for samples in lengths], device=frames.device)
    return torch.arange(frames.shape[1], device=frames.device) >= ends[:, None]


def mask_group_norms(encoder: nn.Module, frame_hop: FrameHop) -> None:
    """Replace each group norm by one that computes its statistics over the frames of each clip only, in place.

    Args:
        encoder: the module that contains them.
        frame_hop: of the convolutions up to the norm.
    """
    for layer in list(encoder.modules()):
        for name, norm in list(layer.named_children()):
            if type(norm) is nn.GroupNorm:
                setattr(layer, name, MaskedGroupNorm(norm, frame_hop))


def zero_padded_frames(module: nn.Module, frame_hop: FrameHop, *, axis: int) -> None:
    """Set the frames after each clip to zero in the output of a module, in place.

    Args:
        module: returns (batch, channel, frame) or (batch, frame, channel).
        frame_hop: of the convolutions up to its output.
        axis: the axis of frames, 1 or 2.
    """
    use_lengths(module)
    module.register_forward_hook(partial(_zero_padding, frame_hop, axis))


class MaskedGroupNorm(nn.GroupNorm):
    """A group norm over the frames of each clip without its padding; the output at padding is zero."""

    def __init__(self, norm: nn.GroupNorm, frame_hop: FrameHop) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, affine=False)
        self.affine = norm.affine
        self.weight, self.bias = norm.weight, norm.bias
        self._frame_hop = frame_hop
        use_lengths(self)

    def forward(self, input: Tensor) -> Tensor:
        lengths = lengths_of(self)
        if lengths is None:
            return super().forward(input)
        ends = [frames_of(int(samples), self._frame_hop) for samples in lengths]
        rows = [super(MaskedGroupNorm, self).forward(row[None, :, :end]) for row, end in zip(input, ends, strict=True)]
        return torch.cat([functional.pad(row, (0, input.shape[-1] - row.shape[-1])) for row in rows])


def _set_lengths(
    network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, keep_mask: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mask = kwargs.get("attention_mask")
    lengths = None if mask is None else mask.sum(-1).tolist()
    for module in network.modules():
        if hasattr(module, _LENGTHS):
            setattr(module, _LENGTHS, lengths)
    if not keep_mask:
        kwargs = {name: value for name, value in kwargs.items() if name != "attention_mask"}
    return args, kwargs


def _zero_padding(frame_hop: FrameHop, axis: int, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
    padding = is_padding(module, output if axis == 1 else output.transpose(1, 2), frame_hop)
    return None if padding is None else output.masked_fill(padding.unsqueeze(3 - axis), 0.0)
