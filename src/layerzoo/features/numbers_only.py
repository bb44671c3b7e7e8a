"""Formats that hold the numbers alone, for programs that read nothing else: CSV and ``.npy``.

``.csv``: a header, and a row for each sample: its id; for the windows of recordings ``start_s`` and ``end_s``, in
seconds; and the columns ``LAYER_0``, ``LAYER_1``, … of each pooled layer.
``.npy``: the array of the only layer, (n, …) float32, without ids and times.
Neither holds provenance or digests, so that :meth:`Features.load` does not read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from layerzoo.errors import InputError, UsageError
from layerzoo.features.features import INTERVAL, LayerArray, column_names
from layerzoo.features.flat import flat_arrays
from layerzoo.features.summary import Shape

if TYPE_CHECKING:
    from layerzoo.features.parquet import ParquetFeatures

_READ_WITH = {
    ".csv": "pandas.read_csv(path, index_col='id') reads the numbers",
    ".npy": "numpy.load(path) reads the numbers",
}


def refuse(path: Path) -> Any:
    """Raises: InputError, since such a file holds no provenance and no digests."""
    suffix = path.suffix.lower()
    raise InputError(
        f"{suffix} files have no provenance and no digests. {_READ_WITH[suffix]}. To load it, save .parquet"
    )


def check_csv(shapes: Mapping[str, Shape]) -> None:
    """Raises: UsageError for a layer whose samples are not vectors of one length."""
    for layer, shape in shapes.items():
        if shape is None or len(shape) != 1:
            described = "differ in shape" if shape is None else f"have the shape {shape}"
            raise UsageError(
                f"a .csv file holds one vector for each sample, and the samples of layer {layer} {described}. "
                "Pool the layer, as in pool='mean', or write .parquet"
            )


def check_npy(shapes: Mapping[str, Shape]) -> None:
    """Raises: UsageError for several layers, or for samples that differ in shape."""
    if len(shapes) > 1:
        raise UsageError(
            f"a .npy file holds one layer, and there are {len(shapes)}: {', '.join(shapes)}. "
            "Write .npz, or choose one layer"
        )
    for layer, shape in shapes.items():
        if shape is None:
            raise UsageError(
                f"a .npy file holds samples of one shape, and those of layer {layer} differ. Pool the layer, as in "
                "pool='mean', or write .npz"
            )


def export_csv(stored: ParquetFeatures, path: Path) -> None:
    """Copy a Parquet file of features into a CSV file, a row group at a time. Raises: OSError."""
    summary = stored.summary
    shapes, intervals = summary.shapes, INTERVAL if summary.start_s else ()
    names = [name for layer, shape in shapes.items() for name in column_names(layer, (shape or (0,))[0])]
    seconds = [(name, pa.float64()) for name in intervals]
    schema = pa.schema([("id", pa.string()), *seconds, *((name, pa.float32()) for name in names)])
    start = 0
    with pc.CSVWriter(path, schema) as writer:
        for part in stored.row_groups():
            rows = slice(start, start + len(part))
            numbers = [column for layer in shapes for column in _columns(part[layer])]
            times = [pa.array(getattr(summary, name)[rows], pa.float64()) for name in intervals]
            writer.write_table(pa.table([pa.array(part.ids, pa.string()), *times, *numbers], schema=schema))
            start = rows.stop


def _columns(array: LayerArray) -> list[Any]:
    return [pa.array(np.ascontiguousarray(column)) for column in array.T]


def export_npy(stored: ParquetFeatures, path: Path) -> None:
    """Copy the layer of a Parquet file of features into a ``.npy`` file, a row group at a time. Raises: OSError."""
    with path.open("wb") as file:
        arrays = list(flat_arrays(stored))
        if not arrays:  # every sample failed before the layer was known
            np.save(file, np.empty((0, 0), np.float32))
        for array in arrays:
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in array.parts():
                file.write(part)
