"""Features as safetensors, for programs that map files into memory.

Tensors: one per layer, float32. A layer whose samples differ in shape is kept as its numbers in a row, with
``shape of LAYER`` (n, axes) int32 beside it. ``__metadata__`` holds ``ids`` (a JSON list) and ``layerzoo`` (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from layerzoo.errors import OutputError
from layerzoo.features.features import SHAPE_OF, Features, LayerArray
from layerzoo.features.flat import FlatArray, flat_arrays, split
from layerzoo.features.summary import Summary

if TYPE_CHECKING:
    from layerzoo.features.parquet import ParquetFeatures

DAMAGE = (OSError, ValueError, KeyError, TypeError, SafetensorError)
"""What reading a file raises that is no file of features."""

_MAX_HEADER_BYTES = 100_000_000
"""What readers of the format accept. Source: MAX_HEADER_SIZE in safetensors' tensor.rs."""

_DTYPES = {"<f4": "F32", "<i4": "I32"}


def load(path: Path) -> Features:
    """The features in a safetensors file. Raises: InputError, or one of DAMAGE."""
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())

        def chunks(layer: str) -> Iterator[LayerArray]:
            tensor, shapes = file.get_tensor(layer), SHAPE_OF + layer
            yield split(tensor, file.get_tensor(shapes)) if shapes in names else tensor

        metadata = file.metadata() or {}
        summary = Summary.from_json(metadata.get("layerzoo"))
        return summary.features(json.loads(metadata["ids"]), chunks)


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
    """The JSON at the head of the file, padded with spaces to a multiple of eight bytes, as the format asks."""
    header: dict[str, Any] = {
        "__metadata__": {"ids": json.dumps(list(stored.ids())), "layerzoo": stored.summary.to_json()}
    }
    start = 0
    for array in arrays:
        stop = start + array.size_bytes
        header[array.name] = {"dtype": _DTYPES[array.dtype.str], "shape": array.shape, "data_offsets": (start, stop)}
        start = stop
    text = json.dumps(header).encode()
    return text.ljust(-(-len(text) // 8) * 8)
