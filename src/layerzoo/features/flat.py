"""The arrays of an export: a layer's samples in one array, or their numbers in a row where they differ in shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerzoo.features.features import SHAPE_OF, FloatArray, LayerArray, ragged

if TYPE_CHECKING:
    from layerzoo.features.parquet import ParquetFeatures

_NUMBERS, _SIZES = np.dtype("<f4"), np.dtype("<i4")


@dataclass(frozen=True, slots=True)
class FlatArray:
    """An array to be written, whose bytes come a row group at a time."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[bytes]]
    """Its bytes, in C order."""

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def flat_arrays(stored: ParquetFeatures) -> Iterator[FlatArray]:
    """Yield the arrays of every layer. If samples differ in shape there are two: numbers and shapes (n, axes)."""
    for layer, shape in stored.summary.shapes.items():
        numbers = partial(_numbers, stored, layer)
        if shape is not None:
            yield FlatArray(layer, _NUMBERS, (len(stored), *shape), numbers)
        else:
            shapes = _shapes(stored, layer)
            yield FlatArray(layer, _NUMBERS, (int(_sizes(shapes).sum()),), numbers)
            yield FlatArray(SHAPE_OF + layer, _SIZES, shapes.shape, partial(_one_block, shapes))


def split(numbers: FloatArray, shapes: npt.NDArray[Any]) -> LayerArray:
    """Return samples from their concatenated numbers. shapes: (n, axes). Returns: (n,) object.

    Raises: ValueError when numbers and shapes do not fit.
    """
    sizes = _sizes(shapes)
    if sizes.sum() != numbers.size:
        raise ValueError(f"it has {numbers.size} numbers for samples of {sizes.sum()} in all")
    parts = np.split(numbers, np.cumsum(sizes)[:-1]) if len(sizes) else []
    return ragged([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])


def _numbers(stored: ParquetFeatures, layer: str) -> Iterator[bytes]:
    for chunk in stored.chunks(layer):
        for part in chunk if chunk.dtype == object else (chunk,):
            yield part.astype(_NUMBERS, copy=False).tobytes()


def _one_block(array: npt.NDArray[Any]) -> Iterator[bytes]:
    yield array.tobytes()


def _shapes(stored: ParquetFeatures, layer: str) -> npt.NDArray[Any]:
    shapes = [np.shape(sample) for chunk in stored.chunks(layer) for sample in chunk]
    return np.array(shapes, dtype=_SIZES).reshape(len(shapes), -1 if shapes else 0)


def _sizes(shapes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.asarray(np.prod(shapes, axis=1), dtype=np.int64)
