"""The inputs of a network for one image or clip, where there are more than an array of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["ImageInputs"]


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
