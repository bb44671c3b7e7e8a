"""Features as safetensors, for programs that map files into memory.

Tensors: one per layer, float32. A layer whose samples differ in shape is kept as its numbers in a row, with
``shape of LAYER`` (n, axes) int32 next to it. ``__metadata__`` holds ``ids`` (a JSON list), ``layerzoo`` (JSON) and the
sha256 of the latter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from layerzoo.errors import InputError, OutputError
from layerzoo.features.features import LayerArray
from layerzoo.features.flat import FlatArray, flat_arrays
from layerzoo.features.raw import RawArray, RawLayers
from layerzoo.features.summary import DIGEST_KEY, KEY, Summary

if TYPE_CHECKING:
    from layerzoo.features.parquet import ParquetFeatures

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""The longest header that readers of the format accept. Source: MAX_HEADER_SIZE in safetensors' tensor.rs."""

_DTYPES = {"<f4": "F32", "<i4": "I32"}
_STORED_AS = {stored: numpy for numpy, stored in _DTYPES.items()}


class SafetensorsFeatures:
    """A safetensors file of features."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError, SafetensorError; InputError and others for a header that makes no sense."""
        with safe_open(path, framework="numpy"):  # the library's own checks: lengths, holes, overlaps, types
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            self._header: dict[str, Any] = json.loads(file.read(length))
        self._header_bytes = length
        self._path = path
        self._metadata: dict[str, str] = self._header.pop("__metadata__", {})
        self._opened: RawLayers | None = None
        self._ids: list[str] | None = None

    def __enter__(self) -> SafetensorsFeatures:
        return self

    def __exit__(self, *error: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def __len__(self) -> int:
        return len(self._all_ids)

    @property
    def _all_ids(self) -> list[str]:
        if self._ids is None:
            self._ids = list(json.loads(self._metadata["ids"]))
        return self._ids

    @property
    def _layers(self) -> RawLayers:
        """Raises: InputError where it has tensors that layerzoo does not write."""
        if self._opened is None:
            arrays = {name: _array(fields, self._header_bytes) for name, fields in self._header.items()}
            self._opened = RawLayers(self._path, arrays)
        return self._opened

    @property
    def summary(self) -> Summary:
        return Summary.from_metadata(self._metadata.get(KEY), self._metadata.get(DIGEST_KEY))

    @property
    def is_of_layerzoo(self) -> bool:
        """Whether its metadata have a part that layerzoo writes."""
        return not {KEY, DIGEST_KEY}.isdisjoint(self._metadata)

    def ids(self) -> Iterator[str]:
        """Yield all ids."""
        return iter(self._all_ids)

    def chunks(self, layer: str) -> Iterator[LayerArray]:
        """Yield the samples of a layer, some at a time."""
        return self._layers.chunks(layer)

    def fill(self, layer: str, result: LayerArray) -> Iterator[int]:
        """Read a layer into an array; yield the number of rows that were read so far."""
        return self._layers.fill(layer, result)

    def check(self) -> None:
        """Do nothing: the format has no checksums."""


def _array(fields: Mapping[str, Any], header_bytes: int) -> RawArray:
    start, stop = fields["data_offsets"]
    dtype = _STORED_AS.get(fields["dtype"])
    if dtype is None:
        raise InputError(f"it has a tensor of type {fields['dtype']}, so it was not written by layerzoo")
    return RawArray(dtype, tuple(fields["shape"]), _LENGTH_BYTES + header_bytes + start, stop - start)


def export(stored: ParquetFeatures, path: Path) -> None:
    """Copy a Parquet file of features into a safetensors file, a row group at a time.

    Raises: OSError, OutputError when the ids alone are more than the format allows.
    """
    arrays = list(flat_arrays(stored))
    header = _header(stored, arrays)
    if len(header) > _MAX_HEADER_BYTES:
        raise OutputError(
            f"the ids of {len(stored):,} samples are more than a safetensors file can hold. Write .parquet instead",
            path=path,
        )
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in arrays:
            for part in array.parts():
                file.write(part)


def _header(stored: ParquetFeatures, arrays: Sequence[FlatArray]) -> bytes:
    """Return the JSON at the head of the file, padded with spaces to a multiple of eight bytes, as the format asks."""
    header: dict[str, Any] = {"__metadata__": {"ids": json.dumps(list(stored.ids())), **stored.summary.to_metadata()}}
    start = 0
    for array in arrays:
        stop = start + array.size_bytes
        header[array.name] = {"dtype": _DTYPES[array.dtype.str], "shape": array.shape, "data_offsets": (start, stop)}
        start = stop
    text = json.dumps(header).encode()
    return text.ljust(-(-len(text) // 8) * 8)
