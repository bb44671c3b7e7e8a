"""Video: from a file to sampled frames, each preprocessed as an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from layerzoo.extras import needs
from layerzoo.runtime.axes import Stretch
from layerzoo.runtime.batch import Batch, Row, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor
from layerzoo.runtime.preprocess.image import ImagePreprocessor
from layerzoo.spec import Modality, VideoPreprocess


class VideoPreprocessor(Preprocessor):
    modality: Modality = "video"

    def __init__(self, declared: VideoPreprocess) -> None:
        self.declared = declared
        self.rows_are_samples = not declared.joint
        self._image = ImagePreprocessor(declared.image)

    def rows(self, source: Any) -> Prepared:
        with needs("video"):
            from layerzoo.media import video
        frames = video.sample_frames(source, self.declared.frames)
        rows = [replace(self._image.row_of(frame.image), time_s=frame.time_s) for frame in frames]
        return Prepared([_clip(rows)] if self.declared.joint else rows)

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        frame = self._image.example(1, stretch)
        if frame is None or not self.declared.joint:
            return self._image.example(count, stretch)
        row = Row({"pixels": frame.inputs["pixels"][0].numpy()})
        return collate([_clip([row] * self.declared.frames)] * count)


def _clip(frames: Sequence[Row]) -> Row:
    """Pictures as one input: (frame, channel, height, width)."""
    return Row({name: np.stack([frame.inputs[name] for frame in frames]) for name in frames[0].inputs})
