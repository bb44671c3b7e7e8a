"""The inputs of a network for one sample, where there are more than a single array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["AudioInputs", "ImageInputs"]


@dataclass(frozen=True, slots=True)
class AudioInputs:
    """The inputs of a network for one window of audio, as the hook ``layerzoo_preprocess`` may return them.

    inputs: arrays by the names of the network's arguments, without the batch axis; the audio comes first.
    mask: the name of the input that is an attention mask, (position,): 1 for the recording and, at the end, 0 for
        padding. None: the network takes none.
    mask_is_optional: True if a mask of ones may be omitted, and if the network ignores padding under the mask. Clips of
        different length then share a batch, padded with zeros.
    """

    inputs: Mapping[str, NDArray[Any]]
    mask: str | None = None
    mask_is_optional: bool = False


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """The inputs of a network for one image or clip, as the hook ``layerzoo_preprocess`` may return them.

    inputs: arrays by the names of the network's arguments, without the batch axis; the pixels come first.
    mask: 1 for the image and 0 for padding: (height, width) for pixels of that size, or (token,) for pixels that are a
        list of patches with the padding at the end. None without padding. The mask applies to pooling only; a network
        with a mask as an argument has it among its inputs, too.
    """

    inputs: Mapping[str, NDArray[Any]]
    mask: NDArray[Any] | None = None
