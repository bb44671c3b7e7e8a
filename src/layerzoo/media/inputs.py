"""What a network receives of one image or clip, where that is more than an array of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """What the hook ``layerzoo_preprocess`` may return for one image or one clip.

    inputs: arrays by the names of the network's arguments, without the batch axis; the pixels come first.
    mask: 1 for what shows the image and 0 for padding: (height, width) for pixels of that size, or (token,) for pixels
        that are a list of patches, whose padding comes last. None where nothing is padded. It guides pooling only; a
        network that takes it has it among its inputs, too.
    """

    inputs: Mapping[str, NDArray[Any]]
    mask: NDArray[Any] | None = None
