"""The preprocessing: the waveform, and a mask of its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from layerzoo.media.inputs import AudioInputs

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Waveform:
    """From (time,) float32 to the waveform and its mask."""

    def __call__(self, samples: NDArray[np.float32]) -> AudioInputs:
        mask = np.ones(len(samples), np.int64)
        inputs: dict[str, NDArray[Any]] = {"waveform": samples, "attention_mask": mask}
        return AudioInputs(inputs, mask="attention_mask", mask_is_optional=True)
