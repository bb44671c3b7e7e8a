"""Images: from any form of an image to the pixels that a network takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError
from layerzoo.extras import needs
from layerzoo.runtime.axes import Stretch
from layerzoo.runtime.batch import Batch, Row, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, as_float32, is_tensor
from layerzoo.spec import ImagePreprocess, Modality


class ImagePreprocessor(Preprocessor):
    modality: Modality = "vision"

    def __init__(self, declared: ImagePreprocess, transform: Callable[..., Any] | None = None) -> None:
        self.declared = declared
        self._transform = transform

    def rows(self, source: Any) -> Prepared:
        if is_tensor(source):
            return Prepared([Row({"pixels": self._ready(source)})])
        with needs("image"):
            from layerzoo.media import image
        return Prepared([self.row_of(image.decode(source))])

    def row_of(self, picture: Any) -> Row:
        """picture: an RGB PIL.Image."""
        from layerzoo.media import image

        made = self._transform(picture) if self._transform else image.to_array(picture, self.declared)
        return Row({"pixels": np.asarray(made, dtype=np.float32)})

    def bucket(self, row: Row) -> Any:
        return row.inputs["pixels"].shape  # preprocessed tensors may differ in size

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        height, width = self.declared.size_px
        if stretch not in (None, "all", "height", "width"):
            return None
        shape = (
            3,
            height * (2 if stretch in ("all", "height") else 1),
            width * (2 if stretch in ("all", "width") else 1),
        )
        return collate([Row({"pixels": np.zeros(shape, np.float32)})] * count)

    def _ready(self, tensor: Any) -> NDArray[np.float32]:
        """A tensor of the caller is taken as preprocessed, so its shape must be right."""
        array = as_float32(tensor)
        if array.ndim != 3 or array.shape[0] != 3:
            raise SampleError("tensor", f"a preprocessed picture is (3, height, width), and this is {array.shape}")
        return array
