"""Features as Parquet, the format of layerzoo, which any table library can read, row group by row group.

Columns: ``id`` (string); for the windows of recordings ``start_s`` and ``end_s`` (float64, in seconds); and one per
layer, named as the layer is:

- vectors of one width m: ``fixed_size_list<float32>[m]``;
- anything else: ``struct<values: list<float32>, shape: list<int32>>``: a sample's numbers in C order, and its shape.

The metadata of the file hold, under the key ``layerzoo``, the JSON of ``summary.py``, and its sha256 next to it. Every
page has a checksum, which other readers can verify too.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from layerzoo.disk import scratch_path
from layerzoo.errors import SampleError
from layerzoo.features.features import INTERVAL, Features, LayerArray, sample_shape, stacked
from layerzoo.features.stored import copied
from layerzoo.features.summary import DIGEST_KEY, KEY, Shape, Summary

_LARGE_ROW_GROUP_BYTES = 64 << 20
"""Larger row groups, which other programs write, are read in batches."""
_BATCH_BYTES = 8 << 20
_TABLE_CHUNK_NUMBERS = 1 << 26
"""The approximate number of values of a table that share a chunk. A list column counts them in 32 bits."""
_NUMBERS = pa.list_(pa.field("element", pa.float32(), nullable=False))
PART_KEY = "layerzoo.part"
"""The key of the facts of a part of a run, in the metadata of its file: see :mod:`layerzoo.features.part`."""
_SIZES = pa.list_(pa.field("element", pa.int32(), nullable=False))
_TENSOR = pa.struct([pa.field("values", _NUMBERS, nullable=False), pa.field("shape", _SIZES, nullable=False)])


class ParquetFeatures:
    """A Parquet file of features, read a row group at a time."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError, ArrowException."""
        self._file = pq.ParquetFile(path, page_checksum_verification=True)
        self._rows: tuple[list[int], list[tuple[int, str, str]]] | None = None
        self._is_part = PART_KEY.encode() in (self._file.metadata.metadata or {})

    def __enter__(self) -> ParquetFeatures:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        """Return the number of samples with features."""
        rows = int(self._file.metadata.num_rows)
        return rows - len(self.rows()[1]) if self._is_part else rows

    @property
    def summary(self) -> Summary:
        metadata = self._file.metadata.metadata or {}
        summary = Summary.from_metadata(metadata.get(KEY.encode()), metadata.get(DIGEST_KEY.encode()))
        if self._is_part:
            errors = [SampleError(name, reason) for _, name, reason in self.rows()[1]]
            return replace(summary, errors=[*summary.errors, *errors])
        return summary

    def rows(self) -> tuple[list[int], list[tuple[int, str, str]]]:
        """Return, of a part of a run, the numbers in the manifest of the samples with features; and the number, the id
        and the reason of every other sample."""
        if self._rows is None:
            self._rows = self._read_rows()
        return self._rows

    def _read_rows(self) -> tuple[list[int], list[tuple[int, str, str]]]:
        numbers: list[int] = []
        failed: list[tuple[int, str, str]] = []
        for index in range(self._file.num_row_groups):
            group = self._file.read_row_group(index, columns=["id", "row", "error"])
            is_failed = pc.is_valid(group.column("error"))
            numbers += group.column("row").filter(pc.invert(is_failed)).to_pylist()
            failed += [
                tuple(row[name] for name in ("row", "id", "error")) for row in group.filter(is_failed).to_pylist()
            ]
        return numbers, failed

    @property
    def is_of_layerzoo(self) -> bool:
        """Whether its metadata have a part that layerzoo writes."""
        return not {KEY.encode(), DIGEST_KEY.encode()}.isdisjoint(self._file.metadata.metadata or {})

    def ids(self) -> Iterator[str]:
        """Yield all ids."""
        for column in self._columns("id"):
            yield from column.to_pylist()

    def chunks(self, layer: str) -> Iterator[LayerArray]:
        """Yield the arrays of one layer, a row group each."""
        return map(_decoded, self._columns(layer))

    def fill(self, layer: str, result: LayerArray) -> Iterator[int]:
        """Read a layer into an array; yield the number of rows that were read so far."""
        return copied((_decoded(column, copy=False) for column in self._columns(layer)), layer, result)

    def check(self) -> None:
        """Every page was read with its checksum."""

    def row_groups(self) -> Iterator[Features]:
        """Ids and arrays of every row group, without the summary."""
        for index in range(self._file.num_row_groups):
            group = self._file.read_row_group(index)
            if self._is_part:
                group = group.filter(pc.is_null(group.column("error"))).drop_columns(["row", "error"])
            columns = dict(zip(group.schema.names, group.columns, strict=True))
            ids = columns.pop("id").to_pylist()
            start_s, end_s = (tuple(columns.pop(name).to_pylist()) if name in columns else () for name in INTERVAL)
            arrays = {layer: _decoded(column.combine_chunks()) for layer, column in columns.items()}
            yield Features(ids, arrays, start_s=start_s, end_s=end_s)

    def _columns(self, name: str) -> Iterator[Any]:
        # Asked for "block.1", pyarrow also reads "block.1.attn", as if that were a field inside it: choose again.
        names = [name, "error"] if self._is_part else [name]
        for index in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(index)
            # The ids of a file that is not compressed take four bytes each, and the length of the text. Fewer bytes for
            # all columns are runs of one value, which may be any number of bytes in memory.
            is_plain = group.total_byte_size >= 4 * group.num_rows
            if group.num_rows <= 1 or (is_plain and group.total_byte_size <= _LARGE_ROW_GROUP_BYTES):
                yield _successful(self._file.read_row_group(index, columns=names), name).combine_chunks()
                continue
            rows = max(1, min(1024, group.num_rows * _BATCH_BYTES // max(1, group.total_byte_size)))
            for batch in self._file.iter_batches(batch_size=rows, row_groups=[index], columns=names):
                yield _successful(batch, name)


def _successful(rows: Any, name: str) -> Any:
    """Return a column of some rows, of a part without the rows of failed samples."""
    column = rows.column(name)
    return (
        column.filter(pc.is_null(rows.column("error"))) if "error" in rows.schema.names and name != "error" else column
    )


class ParquetSink:
    """A Parquet file to which features are written as row groups."""

    def __init__(self, path: Path) -> None:
        """path: nothing is written there before the first row group."""
        self._path = path
        self._writer: Any = None
        self._widths: dict[str, int | None] = {}
        self._has_intervals = False

    def write(self, features: Features, shapes: Mapping[str, Shape]) -> None:
        """Write one row group. shapes: of each layer, this row group included. Raises: OSError."""
        if self._writer is None:
            self._open(shapes, has_intervals=bool(features.start_s))
        elif any(width is not None and width != _width(shapes[layer]) for layer, width in self._widths.items()):
            self._write_anew(shapes)
        table = _table(features, self._widths, has_intervals=self._has_intervals)
        self._writer.write_table(table, row_group_size=max(1, len(features)))

    def finish(self, summary: Summary) -> ParquetFeatures:
        """End the file. Returns it, opened for reading. Raises: OSError."""
        if self._writer is None:
            self._open(summary.shapes, has_intervals=bool(summary.start_s))
        self._writer.add_key_value_metadata(summary.to_metadata())
        self.close()
        return ParquetFeatures(self._path)

    def close(self) -> None:
        """Let go of the file; without :meth:`finish` it is not a file of features. Raises: OSError."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, shapes: Mapping[str, Shape], *, has_intervals: bool) -> None:
        self._has_intervals = has_intervals
        self._widths = {layer: _width(shape) for layer, shape in shapes.items()}
        # A dictionary and minima of floats have no use, and cost time.
        self._writer = pq.ParquetWriter(
            self._path,
            _schema(self._widths, has_intervals=has_intervals),
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def _write_anew(self, shapes: Mapping[str, Shape]) -> None:
        """Vectors turned out to differ in width: the file so far again, with columns that hold any shape."""
        self.close()
        with scratch_path(self._path.parent) as previous_path:
            shutil.copyfile(self._path, previous_path)  # a move would take along the lock that protects the file
            self._open(shapes, has_intervals=self._has_intervals)
            with ParquetFeatures(previous_path) as stored:
                for features in stored.row_groups():
                    self.write(features, shapes)


def _seconds(values: Sequence[float], count: int) -> Any:
    return pa.array(values or [math.nan] * count, pa.float64())


def to_table(features: Features) -> pa.Table:
    """Return features as a table with the columns of a file: see the top of this module."""
    widths = {layer: _width(sample_shape(array)) for layer, array in features.by_layer.items()}
    numbers = sum(int(np.size(sample)) for array in features.by_layer.values() for sample in array[:1])
    rows = max(1, _TABLE_CHUNK_NUMBERS // max(1, numbers))
    parts = [features.rows(start, start + rows) for start in range(0, len(features), rows)] or [features]
    return pa.concat_tables([_table(part, widths, has_intervals=bool(features.start_s)) for part in parts])


def _table(features: Features, widths: Mapping[str, int | None], *, has_intervals: bool) -> pa.Table:
    seconds = [_seconds(getattr(features, name), len(features)) for name in INTERVAL if has_intervals]
    columns = [encoded(features[layer], width) for layer, width in widths.items()]
    schema = _schema(widths, has_intervals=has_intervals)
    return pa.table([pa.array(features.ids, pa.string()), *seconds, *columns], schema=schema)


def _schema(widths: Mapping[str, int | None], *, has_intervals: bool) -> pa.Schema:
    seconds = [pa.field(name, pa.float64(), nullable=False) for name in INTERVAL if has_intervals]
    columns = [pa.field(layer, column_type(width), nullable=False) for layer, width in widths.items()]
    return pa.schema([pa.field("id", pa.string(), nullable=False), *seconds, *columns])


def _width(shape: Shape) -> int | None:
    """Return the m of a column of vectors; None for a column of tensors."""
    return shape[0] if shape is not None and len(shape) == 1 and shape[0] > 0 else None


def column_type(width: int | None) -> Any:
    """Return the type of the column of a layer. width: of its vectors; None for arrays of any shape."""
    return _TENSOR if width is None else pa.list_(pa.field("element", pa.float32(), nullable=False), width)


def encoded(array: LayerArray, width: int | None) -> Any:
    """Return the samples of a layer as a column. width: as for :func:`column_type`."""
    if width is not None:
        return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), type=column_type(width))
    values = [np.ravel(sample) for sample in array]
    shapes = [np.array(np.shape(sample), dtype=np.int32) for sample in array]
    return pa.StructArray.from_arrays([_lists(values, _NUMBERS), _lists(shapes, _SIZES)], fields=list(_TENSOR))


def _lists(parts: list[Any], type: Any) -> Any:
    offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int32)
    flat = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, type.value_type), type=type)


def _decoded(column: Any, *, copy: bool = True) -> LayerArray:
    """Return the samples of a column. copy: also vectors that could share the memory of the column."""
    if isinstance(column, pa.FixedSizeListArray):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        vectors = flat.reshape(len(column), column.type.list_size)
        return np.array(vectors) if copy else vectors
    values, shapes = column.flatten()
    flat, starts = (
        values.flatten().to_numpy(zero_copy_only=False),
        values.offsets.to_numpy() - values.offsets[0].as_py(),
    )
    samples = zip(starts[:-1], starts[1:], shapes.to_pylist(), strict=True)
    return stacked([np.array(flat[start:stop].reshape(shape)) for start, stop, shape in samples])
