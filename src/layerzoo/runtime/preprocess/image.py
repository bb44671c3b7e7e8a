"""Images: from any form of an image to the pixels that a network takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import ProcessorError, SampleError, UsageError
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.inputs import ImageInputs
from layerzoo.media.limits import free_unused, limits, variable_of
from layerzoo.media.operations import Part, array_of
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, as_float32, is_tensor
from layerzoo.spec import ImagePreprocess, Modality

_LARGE_PIXELS = 8_000_000
_LARGE = Lock()
"""Held while a library's processor has a large image: it takes several copies of it."""
_NEAR = 1 / 50
PIXELS = "pixels"
"""The name of the only input of a network, which is passed by position."""
DecodeChoice = Literal["exact", "fast"]
"""How images are decoded. `exact`: as the model's library does, bit for bit. `fast`: JPEGs are decoded at the smallest
scale (1/8, 1/4 or 1/2) at which they still are at least twice as large as the preprocessing resizes them to. Other
formats, and images in memory, are decoded as before."""


class ImagePreprocessor(Preprocessor):
    """Decode an image and apply the declared values, or the processor of the model's library.

    Args:
        declared: the declared values. With a `processor`, they describe what ``transform`` does.
        transform: the answer of the hook ``layerzoo_preprocess`` for the model, applied instead of the declared values.
        decode: ``"fast"`` decodes large JPEGs at a reduced scale.
    """

    modality: Modality = "vision"
    takes_images = True

    def __init__(
        self,
        declared: ImagePreprocess,
        transform: Callable[..., Any] | None = None,
        *,
        decode: DecodeChoice = "exact",
    ) -> None:
        self.declared = declared
        self._transform = transform
        self.decode: DecodeChoice = decode

    def decoding_fast(self) -> ImagePreprocessor:
        """Return the same preprocessing, with large JPEGs decoded at a reduced scale.

        Where the preprocessing depends on the size of the image, images are decoded as before, and a warning is logged.
        """
        if self._resizes_every_image:
            return ImagePreprocessor(self.declared, self._transform, decode="fast")
        logging.getLogger("layerzoo").warning(
            "decode='fast' has no effect: %s does not resize every image to one size, so that its result depends on "
            "the scale at which an image is decoded",
            self.declared.processor or "the preprocessing of this model",
        )
        return self

    @cached_property
    def _resizes_every_image(self) -> bool:
        """Whether an image at half the scale gives nearly the same pixels. A processor of a library is tried on one."""
        if self._transform is None:
            return self.declared.resize != "none"
        if self.declared.variable_size or self.declared.refused is not None:
            return False
        try:
            full, half = (self.row_of(_smooth_image(self.declared.size_px, scale)) for scale in (4, 2))
        except Exception:  # noqa: BLE001 - a processor may raise anything
            return False
        return full.inputs.keys() == half.inputs.keys() and all(
            _is_near(array, half.inputs[name]) for name, array in full.inputs.items()
        )

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        if is_tensor(source):
            return Prepared([InputRow({PIXELS: self._ready(source)})])
        self.check_usable()
        options = {"preprocess": self.applied}
        if self.decode == "fast":
            options["reduce"] = self.declared
        return decoder.result("image", source, options, self._prepared)

    def _prepared(self, parts: Iterator[Part]) -> Prepared:
        (part,) = parts
        return Prepared([self.row_of_part(part)])

    @property
    def applied(self) -> ImagePreprocess | None:
        """The declared preprocessing that a decoder applies; None if the model's library applies it here."""
        return None if self._transform else self.declared

    def row_of_part(self, part: Part) -> InputRow:
        """Return the row of a decoded image."""
        return InputRow({PIXELS: array_of(part)}) if self._transform is None else self.row_of(part.data)

    def check_usable(self) -> None:
        """Raises: ProcessorError for a model whose processor cannot be called with an image alone."""
        if self.declared.refused is not None:
            raise ProcessorError(
                f"{self.declared.refused}. Next: declare the values of `preprocess:` in a registry.yaml",
                processor=self.declared.processor or "",
            )

    def row_of(self, image: Any) -> InputRow:
        """Return the row of an RGB ``PIL.Image``."""
        from layerzoo.media.image import to_array

        if self._transform is None:
            return row_of(to_array(image, self.declared))
        pixels = image.width * image.height
        if pixels > (most := limits().processor_pixels):
            raise SampleError(
                "image",
                f"{image.width} × {image.height} pixels, and the limit is {most:,} for the processor of a model's "
                f"library. Next: make it smaller, or raise the limit with {variable_of('processor_pixels')}",
            )
        if pixels <= _LARGE_PIXELS:
            return row_of(self._transform(image))
        with _LARGE:
            try:
                return row_of(self._transform(image))
            finally:
                free_unused()

    def bucket(self, row: InputRow) -> Any:
        return shapes_of(row)  # images, and preprocessed tensors, may differ in size

    def collate(self, rows: Any) -> Batch:
        return collate(rows, masked=any(is_patch_list(row) for row in rows))

    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        row = enlarged(self._example, enlargement)
        return None if row is None else self.collate([row] * count)

    @cached_property
    def _example(self) -> InputRow:
        if self._transform is None or self.declared.refused is not None:
            return InputRow({PIXELS: np.zeros((3, *self.declared.size_px), np.float32)})
        return self.row_of(example_image(self.declared.size_px))

    def _ready(self, tensor: Any) -> NDArray[np.float32]:
        """Check the shape of a tensor of the caller, which counts as preprocessed."""
        if not tensor.is_floating_point():
            raise SampleError(
                "tensor",
                f"a tensor of {str(tensor.dtype).removeprefix('torch.')} is not preprocessed. For the pixels of an "
                "image, declare its axes, as in layout='NCHW'",
            )
        array = as_float32(tensor)
        if array.ndim != 3 or array.shape[0] != 3:
            raise SampleError("tensor", f"a preprocessed image is (3, height, width), and this is {array.shape}")
        return array


def with_decoding(preprocess: Preprocessor, decode: str, *, model: str) -> Preprocessor:
    """Return the same preprocessing with a way of decoding images.

    Args:
        preprocess: of a model.
        decode: a :data:`DecodeChoice`.
        model: its id, for the message.
    Raises: UsageError for another value, or for a model that takes no images.
    """
    if decode not in (choices := get_args(DecodeChoice)):
        raise UsageError(f"decode={decode!r} is not one of {', '.join(choices)}")
    if decode == "exact":
        return preprocess
    if not isinstance(preprocess, ImagePreprocessor):
        accepted = "images" if preprocess.modality == "vision" else preprocess.modality
        raise UsageError(f"decode='fast' is for image files, and {model} takes {accepted}")
    return preprocess.decoding_fast()


def decoding_of(preprocess: Preprocessor) -> DecodeChoice | None:
    """Return how images are decoded; None for a preprocessing without images."""
    return preprocess.decode if isinstance(preprocess, ImagePreprocessor) else None


def _smooth_image(size_px: tuple[int, int], scale: int) -> Any:
    """Return an RGB ``PIL.Image`` of smooth waves, a quarter wider than a height and width times a scale. It shows the
    same at every scale."""
    from PIL import Image

    height, width = size_px[0] * scale, size_px[1] * scale * 5 // 4
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width)[None, :] + 0.5) / width
    waves = [np.sin(7 * x + 3 * y), np.cos(4 * x - 6 * y), np.sin(5 * x * y + 2)]
    return Image.fromarray(np.stack([127.5 + 100 * wave for wave in waves], axis=-1).astype(np.uint8))


def _is_near(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Return whether two arrays have one shape, and differ by at most a fiftieth of their spread."""
    if first.shape != second.shape:
        return False
    difference = first.astype(np.float64) - second.astype(np.float64)
    return bool(np.sqrt(np.mean(difference**2)) <= _NEAR * max(float(first.std()), 1e-6))


def example_image(size_px: tuple[int, int]) -> Any:
    """Return an RGB ``PIL.Image`` of a height and width, without any uniform area that a processor would crop."""
    from PIL import Image

    height, width = size_px
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([y % 251, x % 241, (x + y) % 239], axis=-1).astype(np.uint8))


def row_of(transformed: Any) -> InputRow:
    """Return the row of a transform's result: an array, or :class:`ImageInputs`.

    A single input is passed to the network by position, several by their names.
    """
    if not isinstance(transformed, ImageInputs):
        return InputRow({PIXELS: as_float32(transformed)})
    inputs = dict(transformed.inputs)
    if len(inputs) == 1:
        inputs = {PIXELS: next(iter(inputs.values()))}
    if transformed.mask is None:
        return InputRow(inputs)
    if transformed.mask.ndim == 1:
        return InputRow(inputs, valid=int(transformed.mask.sum()), total=len(transformed.mask))
    return InputRow(inputs, image_mask=transformed.mask.astype(bool))


def shapes_of(row: InputRow) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the shape of every input of a row. Rows of equal shapes may share a batch."""
    return tuple((name, array.shape) for name, array in row.inputs.items())


def is_patch_list(row: InputRow) -> bool:
    """Return whether a row is a list of patches, with valid and padded positions."""
    return row.total > 1


def enlarged(row: InputRow, enlargement: Enlargement | None) -> InputRow | None:
    """Return a row for an image twice as high, wide or both; None where its inputs have no such axis.

    Every input whose last two axes are the height and width of the pixels is repeated along them.
    """
    if enlargement is None:
        return row
    size = next(iter(row.inputs.values())).shape[-2:]
    if enlargement not in ("all", "height", "width") or is_patch_list(row):
        return None
    axes = {"all": (-2, -1), "height": (-2,), "width": (-1,)}[enlargement]
    inputs = {
        name: _repeated(array, axes) if array.ndim >= 2 and array.shape[-2:] == size else array
        for name, array in row.inputs.items()
    }
    mask = None if row.image_mask is None else _repeated(row.image_mask, axes)
    return replace(row, inputs=inputs, image_mask=mask)


def _repeated(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    for axis in axes:
        array = array.repeat(2, axis=axis)
    return array
