"""Numbers that have the same bytes in a file as in memory: the arrays of numpy archives and of safetensors files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerzoo.errors import InputError
from layerzoo.features.features import SHAPE_OF, LayerArray
from layerzoo.features.flat import split

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class RawArray:
    """The place of an array in a file."""

    dtype: str
    """As numpy writes it: ``<f4``."""
    shape: tuple[int, ...]
    start: int
    """The place of its first byte in the file."""
    size_bytes: int


class RawLayers:
    """The layers of a file that holds each as an array."""

    def __init__(self, path: Path, arrays: Mapping[str, RawArray]) -> None:
        """Raises: OSError; InputError where an array is not as long as its shape, or ends after the file."""
        self._file = io.FileIO(path)
        self.arrays = arrays
        size = path.stat().st_size
        for name, array in arrays.items():
            count = np.dtype(array.dtype).itemsize
            for axis in array.shape:
                count *= axis
            if min(array.shape, default=0) < 0 or count != array.size_bytes or array.start + count > size:
                self.close()
                raise InputError(
                    f"its array {name} of shape {array.shape} is not {array.size_bytes:,} bytes of the file"
                )

    def close(self) -> None:
        self._file.close()

    def read(self, name: str, dtype: str) -> LayerArray:
        """Return a whole array. Raises: InputError where there is none of this type."""
        array = self._array(name, dtype)
        result = np.empty(array.shape, array.dtype)
        self._read_into(result.reshape(-1).view(np.uint8).data, array.start)
        return result

    def chunks(self, layer: str) -> Iterator[LayerArray]:
        """Yield the samples of a layer, about 8 MB at a time; those that differ in shape all at once."""
        if SHAPE_OF + layer in self.arrays:
            yield split(self.read(layer, "<f4"), self.read(SHAPE_OF + layer, "<i4"))
            return
        array = self._array(layer, "<f4")
        row_bytes = array.size_bytes // max(1, array.shape[0])
        rows = max(1, _CHUNK_BYTES // max(1, row_bytes))
        for first in range(0, array.shape[0], rows):
            part = np.empty((min(rows, array.shape[0] - first), *array.shape[1:]), np.float32)
            self._read_into(part.reshape(-1).view(np.uint8).data, array.start + first * row_bytes)
            yield part

    def fill(self, layer: str, result: LayerArray) -> Iterator[int]:
        """Read a layer into an array; yield the number of rows that were read so far. Raises: InputError for another
        shape."""
        array = self._array(layer, "<f4")
        if array.shape != result.shape:
            raise InputError(f"layer {layer} is an array of shape {array.shape}, where {result.shape} is declared")
        memory = result.reshape(-1).view(np.uint8).data
        row_bytes = array.size_bytes // max(1, len(result))
        for start in range(0, len(memory), _CHUNK_BYTES):
            part = memory[start : start + _CHUNK_BYTES]
            self._read_into(part, array.start + start)
            yield (start + len(part)) // row_bytes
        if not len(memory):
            yield len(result)

    def _array(self, name: str, dtype: str) -> RawArray:
        array = self.arrays[name]
        if array.dtype != dtype or not array.shape:
            raise InputError(f"its array {name} is of type {array.dtype}, and should be {dtype}")
        return array

    def _read_into(self, memory: memoryview, start: int) -> None:
        self._file.seek(start)
        while memory:
            if not (count := self._file.readinto(memory)):
                raise InputError("it ends in the middle of an array: it was cut short while it was read")
            memory = memory[count:]
