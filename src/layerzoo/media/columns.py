"""The samples in a column of a table in memory: pandas, polars, pyarrow, and Hugging Face ``datasets``.

None of these libraries is imported: an object of one of them exists only where the caller has imported it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from layerzoo.errors import InputError, SampleError
from layerzoo.media import dataset
from layerzoo.media.audio_input import Audio
from layerzoo.media.sample import UnusableError
from layerzoo.media.sniff import NOUNS
from layerzoo.media.table import INSPECTED_ROWS, chosen_column, listed
from layerzoo.spec import Modality

_ARROW_ROWS = 64
_FEATURE_OF: dict[Modality, str] = {"vision": "Image", "audio": "Audio", "video": "Video"}
"""The class of ``datasets`` for a column of each modality."""


@dataclass(frozen=True, slots=True)
class TableInMemory:
    """A table that a program holds.

    names: of its columns. candidates: returns those that may hold samples of a modality. values: yields the cells of a
    column by its position. index: yields the label of each row, where the rows have labels. length: the number of rows;
    None where it is unknown.
    """

    names: Sequence[str]
    candidates: Callable[[Modality], Sequence[str]]
    values: Callable[[int], Iterator[Any]]
    index: Callable[[], Iterator[str]] | None = None
    length: int | None = None


def table_in_memory(value: Any) -> TableInMemory | None:
    """Return a value as a table; None for a type that layerzoo cannot read as one. A single column is a table too."""
    if (hub := _dataset(value)) is not None:
        return hub
    pandas, polars, arrow = (sys.modules.get(name) for name in ("pandas", "polars", "pyarrow"))
    if pandas is not None and isinstance(value, pandas.Series):
        value = value.to_frame(name="" if value.name is None else value.name)
    if pandas is not None and isinstance(value, pandas.DataFrame):
        frame = value
        return _inspected(
            [str(name) for name in frame.columns],
            lambda position: iter(frame.iloc[:, position]),
            length=len(frame),
            index=lambda: map(str, frame.index),
        )
    if polars is not None and isinstance(value, polars.Series):
        value = value.to_frame()
    if arrow is not None and isinstance(value, arrow.Array | arrow.ChunkedArray):
        value = arrow.table({"": value})
    if polars is not None and isinstance(value, polars.DataFrame):
        frame = value
        return _inspected(frame.columns, lambda position: iter(frame.to_series(position)), length=len(frame))
    if arrow is not None and isinstance(value, arrow.Table | arrow.RecordBatch):
        table = value
        return _inspected(table.schema.names, lambda position: _cells(table.column(position)), length=table.num_rows)
    return None


def _inspected(names: Sequence[str], values: Callable[[int], Iterator[Any]], **facts: Any) -> TableInMemory:
    """Return a table whose columns are classified by their first cells."""

    def candidates(modality: Modality) -> Sequence[str]:
        kinds = str if modality == "text" else (str, bytes, Path)
        usable = []
        for position, name in enumerate(names):
            first = _first_cell(values(position))
            if isinstance(first, kinds) or (modality != "text" and first is not None and not _is_number(first)):
                usable.append(name)
        return usable

    return TableInMemory(names, candidates, values, **facts)


def _first_cell(cells: Iterator[Any]) -> Any:
    """Return the first cell of a column that is not empty; None if there is none among the first rows."""
    return next((cell for cell in islice(cells, INSPECTED_ROWS) if not is_null(cell)), None)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, bool | int | float | complex | np.number)


def _cells(column: Any) -> Iterator[Any]:
    """Yield the cells of a column of pyarrow, some at a time."""
    for start in range(0, len(column), _ARROW_ROWS):
        yield from column.slice(start, _ARROW_ROWS).to_pylist()


def _dataset(value: Any) -> TableInMemory | None:
    """Return a dataset of Hugging Face as a table. Images and audio are read as stored, and decoded by layerzoo.

    A transform that was set with ``set_transform`` is applied; other formats, such as "torch", are not.
    """
    datasets = sys.modules.get("datasets")
    if datasets is None or not isinstance(value, datasets.Dataset | datasets.IterableDataset):
        return None
    is_map = isinstance(value, datasets.Dataset)
    is_transformed = is_map and value.format["type"] == "custom"
    features = value.features if value.features is not None and not is_transformed else {}
    names = list(features) or list(value.column_names or _first_keys(value))
    unformatted = value if is_transformed or not is_map else value.with_format(None)

    def candidates(modality: Modality) -> Sequence[str]:
        if not features:
            return names
        if modality == "text":
            return [name for name, feature in features.items() if getattr(feature, "dtype", "") in _STRINGS]
        return [name for name, feature in features.items() if type(feature).__name__ == _FEATURE_OF[modality]]

    def values(position: int) -> Iterator[Any]:
        name = names[position]
        if is_transformed:
            return (row if isinstance(row, SampleError) else row[name] for row in dataset.items(unformatted))
        selected = unformatted.select_columns([name])
        if type(features.get(name)).__name__ in _FEATURE_OF.values():
            selected = selected.cast_column(name, type(features[name])(decode=False))
        return (row[name] for row in selected)

    return TableInMemory(names, candidates, values, length=len(value) if is_map else None)


_STRINGS = {"string", "large_string", "string_view"}


def _first_keys(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    return next(iter(rows), {})


def position_of(table: TableInMemory, column: str | None, modality: Modality) -> int:
    """Return the position of the column that holds the samples.

    Args:
        table: see above.
        column: its name. None: for texts, the one called "text" or the only one of text; else the only one that may
            hold samples.
        modality: of the samples.
    Raises: InputError if there is no such column, or it is ambiguous, or holds something else.
    """
    if column is not None and column not in table.names:
        raise InputError(f"there is no column {column!r}. Columns: {listed(table.names)}")
    candidates = table.candidates(modality)
    if column is None and modality == "text":
        try:
            column = chosen_column(None, table.names, candidates)
        except UnusableError as refusal:
            raise InputError(str(refusal)) from refusal
    elif column is None:
        if len(candidates) != 1:
            raise InputError(
                f"{len(candidates) or 'no'} columns may hold {NOUNS[modality]}: say which, as in column='image'. "
                f"Columns: {listed(table.names)}"
            )
        column = candidates[0]
    if list(table.names).count(column) > 1:
        raise InputError(f"several columns are called {column!r}. Rename them. Columns: {listed(table.names)}")
    position = list(table.names).index(column)
    first = _first_cell(table.values(position))
    if _is_number(first):
        raise InputError(
            f"column {column!r} holds numbers ({type(first).__name__}), not {NOUNS[modality]}. Columns that may hold "
            f"{NOUNS[modality]}: {listed(candidates)}"
        )
    return position


def sample_of(cell: Any, modality: Modality) -> Any:
    """Return the sample in a cell, in a form that the decoder of a modality takes; an UnusableError for none."""
    if isinstance(cell, np.ndarray):
        return cell
    if is_null(cell):
        return UnusableError(f"no {NOUNS[modality].removesuffix('s')}: null")
    if isinstance(cell, Mapping):
        return _of_mapping(cell, modality)
    if type(cell).__name__ == "AudioDecoder":
        return UnusableError(
            "an audio decoder. Pass the dataset itself and the name of its column, as in column='audio'"
        )
    if type(cell).__module__.startswith("polars"):  # a cell of a list or array is a Series
        return cell.to_numpy()
    return str(cell) if isinstance(cell, np.str_) else cell


def _of_mapping(cell: Mapping[str, Any], modality: Modality) -> Any:
    """Return the sample in a cell of ``datasets``: a stored file, or audio with its rate."""
    if modality == "audio" and {"array", "sampling_rate"} <= cell.keys():
        return Audio(np.asarray(cell["array"]), int(cell["sampling_rate"]))
    if modality != "text" and cell.keys() == {"bytes", "path"}:
        stored = cell["path"] if cell["bytes"] is None else cell["bytes"]
        return UnusableError("no file: null") if stored is None else stored
    return UnusableError(
        f"a dict with the keys {listed([str(key) for key in cell])}. Pass the sample itself, or a table with column="
    )


def is_null(cell: Any) -> bool:
    """Return whether a cell is empty: None, not a number, or pandas' values for that."""
    is_nan = isinstance(cell, float | np.floating) and math.isnan(cell)
    return cell is None or is_nan or type(cell).__name__ in ("NAType", "NaTType")
