"""Video: from a file to sampled frames, which are preprocessed one by one or as one clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from layerzoo.errors import PluginError
from layerzoo.extras import needs
from layerzoo.runtime.axes import Stretch
from layerzoo.runtime.batch import Batch, Row, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor
from layerzoo.runtime.preprocess.image import ImagePreprocessor, example_image, row_of, shapes_of, stretched
from layerzoo.spec import Modality, VideoPreprocess


class VideoPreprocessor(Preprocessor):
    """Sample the frames of a video and preprocess them.

    Args:
        declared: how many frames are sampled, and how they are preprocessed.
        transform: what the hook ``layerzoo_preprocess`` gave: for a joint clip, applied to the list of its frames; else
            to each frame, as for images.
        model: the model's id, for the message. plugin: who should say what is missing.
    Raises: PluginError where nothing says how frames are preprocessed.
    """

    modality: Modality = "video"

    def __init__(
        self, declared: VideoPreprocess, transform: Callable[..., Any] | None = None, *, model: str, plugin: str
    ) -> None:
        if declared.image is None:
            raise PluginError(
                f"{model} does not declare how its frames are preprocessed, and its library does not say either. "
                "Next: declare `preprocess: {image: …}`",
                plugin=plugin,
            )
        self.declared = declared
        self.rows_are_samples = not declared.joint
        self._image = ImagePreprocessor(declared.image, None if declared.joint else transform)
        self._clip = transform if declared.joint else None

    def rows(self, source: Any) -> Prepared:
        self._image.check_usable()
        with needs("video"):
            from layerzoo.media import video
        frames = video.sample_frames(source, self.declared.frames)
        if self.declared.joint:
            return Prepared([self._clip_of([frame.image for frame in frames])])
        return Prepared([replace(self._image.row_of(frame.image), time_s=frame.time_s) for frame in frames])

    def _clip_of(self, images: Sequence[Any]) -> Row:
        """Return what a network takes of a clip's frames, RGB ``PIL.Image`` each."""
        return row_of(self._clip(images)) if self._clip else _stacked([self._image.row_of(image) for image in images])

    def bucket(self, row: Row) -> Any:
        return shapes_of(row)

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        if not self.declared.joint:
            return self._image.example(count, stretch)
        row = stretched(self._example, stretch)
        return None if row is None else collate([row] * count)

    @cached_property
    def _example(self) -> Row:
        assert self._image.declared is not None
        if self._clip is None or self._image.declared.refused is not None:
            pixels = np.zeros((3, *self._image.declared.size_px), np.float32)
            return _stacked([Row({"pixels": pixels})] * self.declared.frames)
        return self._clip_of([example_image(self._image.declared.size_px)] * self.declared.frames)


def _stacked(frames: Sequence[Row]) -> Row:
    """Images as one input: (frame, channel, height, width)."""
    return Row({name: np.stack([frame.inputs[name] for frame in frames]) for name in frames[0].inputs})
