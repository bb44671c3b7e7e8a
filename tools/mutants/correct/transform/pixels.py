"""The preprocessing: squash to 24 × 24 pixels, and normalise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

MEAN = (0.4, 0.45, 0.5)
STD = (0.2, 0.22, 0.24)


class Pixels:
    """From an RGB image to (channel, height, width) float32."""

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        from PIL.Image import Resampling

        resized = image.resize((24, 24), Resampling.BILINEAR)
        pixels = np.asarray(resized, dtype=np.float32) / 255
        normalized = (pixels - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
        return np.ascontiguousarray(normalized.transpose(2, 0, 1), dtype=np.float32)
