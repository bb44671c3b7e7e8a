"""Attention masks among the inputs of one sample: which positions of its row are the sample, and which are padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError

PIXEL_MASK = "pixel_mask"
"""The name of an input that is 1 for the pixels of an image and 0 for padding, (height, width), as in DETR."""
_TOKEN_MASKS = ("attention_mask", "input_mask", "mask")
"""Names of an input that is 1 for the sample and 0 for padding, as in transformers."""
_TORCH_MASK = "key_padding_mask"
"""End of the names of an input that is 1 for padding, as in ``torch.nn.Transformer``."""
_UNCLEAR_MASK = "padding_mask"
"""A name that libraries use for both."""
_DECODER = "decoder_"
_LENGTHS = ("length", "lengths", "input_length", "input_lengths", "seq_lengths", "src_lengths")


class ValidRange(NamedTuple):
    """The positions of a sample in its row."""

    valid: int
    """Number of positions of the sample."""
    total: int
    """Number of positions of the row, including padding."""
    offset: int = 0
    """The first position of the sample: after the padding, where it is on the left."""


def mask_name(inputs: Mapping[str, NDArray[Any]]) -> str | None:
    """Return the name of the attention mask among the inputs of a sample; None without one.

    A mask has one axis, which is as long as an axis of another input.

    Args:
        inputs: arrays by the name of the network's argument, without the batch axis.
    """
    sizes = {size for name, array in inputs.items() if not is_mask_name(name) for size in array.shape}
    masks = [name for name, array in inputs.items() if is_mask_name(name) and array.ndim == 1 and len(array) in sizes]
    return masks[0] if masks else None


def is_mask_name(name: str) -> bool:
    """Return whether an argument of this name takes an attention mask."""
    return name in _TOKEN_MASKS or name.endswith((_TORCH_MASK, _UNCLEAR_MASK))


def valid_range(name: str, mask: NDArray[Any]) -> ValidRange:
    """Return the positions of a sample that its attention mask shows.

    Args:
        name: the name of the mask, which shows whether 1 is the sample or padding.
        mask: (position,) of booleans or numbers. With negative numbers, it is added to the scores of an attention.
    Raises: SampleError for a mask that pooling cannot apply: with holes, or without any position of the sample.
    """
    is_sample = _is_sample(name, mask)
    positions = np.flatnonzero(is_sample)
    if len(positions) == 0:
        raise SampleError("mask", f"its {name} marks all {len(mask)} positions as padding")
    first, end = int(positions[0]), int(positions[-1]) + 1
    if end - first != len(positions):
        raise SampleError(
            "mask",
            f"its {name} excludes positions inside the sample ({end - first - len(positions)}), and pooling excludes "
            "padding at the ends only. Next: pass the sample without these positions",
        )
    return ValidRange(len(positions), len(mask), first)


def check_padding(inputs: Mapping[str, NDArray[Any]], positions: ValidRange) -> None:
    """Refuse padding that the inputs of a network describe in a way that pooling cannot apply.

    Args:
        inputs: arrays by the name of the network's argument, without the batch axis.
        positions: the positions of the sample.
    Raises: SampleError for padding of a network with two sequences, and for a number of positions without a mask.
    """
    if positions.valid < positions.total and (names := [name for name in inputs if name.startswith(_DECODER)]):
        raise SampleError(
            "mask",
            f"it has padding, and the network takes a second sequence ({', '.join(names)}), so that the padding at its "
            "layers is unknown. Next: pass each sample without padding",
        )
    sizes = {size for array in inputs.values() for size in array.shape}
    for name in set(_LENGTHS) & inputs.keys():
        length = int(inputs[name].item()) if inputs[name].size == 1 else 0
        if positions.valid == positions.total and 0 < length < max(sizes, default=0) and length not in sizes:
            raise SampleError(
                "mask",
                f"its {name} is {length} of {max(sizes)} positions, and pooling excludes padding by an attention_mask "
                "only. Next: pass each sample without padding; samples may differ in length",
            )


def _is_sample(name: str, mask: NDArray[Any]) -> NDArray[np.bool_]:
    if mask.dtype.kind == "f" and bool((mask < 0).any()):
        return np.asarray(mask == 0)
    marked = np.asarray(mask != 0)
    if name.endswith(_TORCH_MASK):
        return ~marked
    if name.endswith(_UNCLEAR_MASK) and not (marked.all() or not marked.any()):
        raise SampleError(
            "mask",
            f"its {name} is 1 for padding in some libraries, and 0 in others. Next: pass each sample without padding, "
            "or wrap a module that takes attention_mask, 1 for the sample and 0 for padding",
        )
    return np.ones_like(marked) if name.endswith(_UNCLEAR_MASK) else marked


__all__ = ["PIXEL_MASK", "ValidRange", "check_padding", "is_mask_name", "mask_name", "valid_range"]
