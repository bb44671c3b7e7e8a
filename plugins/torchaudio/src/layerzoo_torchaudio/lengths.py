"""Clips of different length in one batch of a wav2vec2, HuBERT or WavLM network of torchaudio.

The library's ``lengths`` exclude the padding from attention, but not from the group norm over the whole clip, and
WavLM refuses them. Here all three networks take ``attention_mask``, (batch, sample), and the features of a clip do not
depend on the clips that it shares a batch with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn
from torchaudio.models import Wav2Vec2Model
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from layerzoo.authoring import (
    is_padding,
    mask_group_norms,
    pass_lengths,
    use_lengths,
    zero_padded_frames,
)

_MASKED = -10_000.0
"""What torchaudio's ``Encoder`` adds to the attention to a frame of padding."""


def frame_and_hop(convolutions: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return the length of a frame and the distance between two frames in samples.

    convolutions: (channels, kernel, stride) of each layer, as in ``extractor_conv_layer_config``.
    """
    frame, hop = 1, 1
    for _, kernel, stride in convolutions:
        frame += (kernel - 1) * hop
        hop *= stride
    return frame, hop


def convolutions_of(network: Wav2Vec2Model) -> list[tuple[int, int, int]]:
    """Return (0, kernel, stride) of each convolution of a network: :func:`frame_and_hop` ignores the channels."""
    return [(0, layer.kernel_size, layer.stride) for layer in network.feature_extractor.conv_layers]


def take_attention_mask(network: Wav2Vec2Model) -> None:
    """Make a network take ``attention_mask`` next to ``waveforms``, in place."""
    convolutions = convolutions_of(network)
    frame_hop = frame_and_hop(convolutions)
    first = network.feature_extractor.conv_layers[0]
    mask_group_norms(first, frame_and_hop(convolutions[:1]))
    encoder = network.encoder
    zero_padded_frames(encoder.feature_projection, frame_hop, axis=1)
    for layer in encoder.transformer.layers:
        use_lengths(layer)
        mask = _key_padding if isinstance(layer.attention, WavLMSelfAttention) else _added_mask
        layer.register_forward_pre_hook(partial(mask, frame_hop), with_kwargs=True)
    pass_lengths(network, keep_mask=False)


def _added_mask(
    frame_hop: tuple[int, int], layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Pass the mask that the library's encoder computes from ``lengths`` to each layer, by position."""
    frames = args[0]
    padding = is_padding(layer, frames, frame_hop)
    if padding is None:
        return None
    batch, count, _ = frames.shape
    added = _MASKED * padding[:, None, None, :].to(frames.dtype)
    return (frames, added.expand(batch, 1, count, count), *args[2:]), kwargs


def _key_padding(
    frame_hop: tuple[int, int], layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Pass the mask that WavLM's attention accepts, and that the library never passes."""
    frames = args[0]
    padding = is_padding(layer, frames, frame_hop)
    if padding is None:
        return None
    mask = frames.new_zeros(padding.shape).masked_fill(padding, float("-inf"))
    return args, {**kwargs, "key_padding_mask": mask}
