"""The text column of a table: CSV, TSV, JSON Lines or Parquet, read row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO

from layerzoo.media.lines import MAX_LINE_BYTES, lines
from layerzoo.media.sample import UnusableError
from layerzoo.media.written import holds_features

DEFAULT_COLUMN = "text"
# How many rows are looked at to tell columns of text from columns of numbers in a CSV, which does not say.
INSPECTED_ROWS = 1000

Cell = str | bytes | UnusableError


def cells_of_csv(file: BinaryIO, column: str | None, *, delimiter: str) -> Iterator[Cell]:
    """The cell of each row below the header.

    Quotes are as RFC 4180 has them. What is malformed ends the reading, since what follows cannot be trusted. Empty
    lines are no rows, unless there is only one column.
    Raises: UnusableError when the column cannot be told.
    """
    # The limit belongs to the whole process. It is only ever raised, so that a book fits into a cell.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    try:
        header = next(_csv_rows(file, delimiter), [])
        _check_delimiter(header, delimiter)
        is_told = column is not None or DEFAULT_COLUMN in header
        texts = [] if is_told else _columns_of_text(header, _csv_rows(file, delimiter))
        index = header.index(_chosen(column, header, texts))
    except csv.Error as error:
        raise UnusableError(f"malformed: {error}") from error
    try:
        for row in islice(_csv_rows(file, delimiter), 1, None):
            if len(row) == len(header):
                yield row[index].encode("utf-8", "surrogateescape")
            elif row:
                yield UnusableError(f"{len(row)} cells, and the header has {len(header)}")
            elif len(header) == 1:
                yield b""
    except csv.Error as error:
        yield UnusableError(f"malformed from here on ({error}): the rest of the file is not read")


def cells_of_json_lines(file: BinaryIO, column: str | None) -> Iterator[Cell]:
    """The text of each line: a JSON string, or an object's value under the column.

    Raises: UnusableError when the column cannot be told from the first object.
    """
    chosen: str | None = None
    for line in lines(file):
        if isinstance(line, UnusableError):
            yield line
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield UnusableError(f"not JSON: {error}" if line.strip() else "empty line")
            continue
        if not isinstance(row, dict):
            yield _text_or_refusal(row)
            continue
        if chosen is None:
            chosen = _chosen(column, list(row), [name for name, value in row.items() if isinstance(value, str | None)])
        yield (
            _text_or_refusal(row[chosen])
            if chosen in row
            else UnusableError(f"no '{chosen}' among {_listed(list(row))}")
        )


def cells_of_parquet(file: BinaryIO, column: str | None) -> Iterator[Cell]:
    """The text of each row.

    Raises: UnusableError when the column cannot be told, is no text, or the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        if column is None and holds_features(table.metadata.metadata):
            raise UnusableError("features that layerzoo wrote, and no texts")
        schema = table.schema_arrow
        texts = [field.name for field in schema if _is_text(field.type)]
        chosen = _chosen(column, schema.names, texts)
        if chosen not in texts:
            raise UnusableError(
                f"column '{chosen}' holds {schema.field(chosen).type}, not text. Columns of text: {_listed(texts)}"
            )
        for batch in table.iter_batches(batch_size=1024, columns=[chosen]):
            # As bytes: pyarrow checks no UTF-8, and converting one bad value to str would end the whole batch.
            for value in batch.column(0).cast(pa.string()).cast(pa.binary()).to_pylist():
                yield _text_or_refusal(value)
    except (pa.ArrowException, OSError) as error:
        raise UnusableError(f"truncated or damaged: {error}") from error


def _chosen(column: str | None, columns: Sequence[str], texts: Sequence[str]) -> str:
    """The column that is asked for, or called text, or the only one that may hold texts."""
    if column is not None and column not in columns:
        raise UnusableError(f"there is no column '{column}'. Columns: {_listed(columns)}")
    if column is not None:
        return column
    if DEFAULT_COLUMN in columns:
        return DEFAULT_COLUMN
    if len(texts) == 1:
        return texts[0]
    found = f"{len(texts)} columns of text" if texts else "no column of text"
    raise UnusableError(
        f"{found} and none called '{DEFAULT_COLUMN}': say which (column=, --column). Columns: {_listed(columns)}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _text_or_refusal(value: Any) -> Cell:
    if isinstance(value, str | bytes):
        return value
    return UnusableError("no text: null" if value is None else f"no text: the value is a {type(value).__name__}")


def _csv_rows(file: BinaryIO, delimiter: str) -> Iterator[list[str]]:
    """Header and rows, from the beginning of the file. Bytes that are no UTF-8 are kept as lone surrogates."""
    file.seek(0)
    return csv.reader(_csv_lines(file), delimiter=delimiter, strict=True)


def _csv_lines(file: BinaryIO) -> Iterator[str]:
    """Lines with their ends, which belong to a quoted cell, as of a file that is open with ``newline=""``."""
    for line in lines(file, keep_ends=True):
        if isinstance(line, UnusableError):
            raise csv.Error(line)
        yield line.decode("utf-8", "surrogateescape")


def _check_delimiter(header: Sequence[str], delimiter: str) -> None:
    if len(header) == 1 and (other := next((mark for mark in ",;\t|" if mark in header[0]), None)):
        raise UnusableError(f"its columns are separated by {other!r}: separate them with {delimiter!r}")


def _columns_of_text(header: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    """The columns that may hold texts: all but those that hold numbers throughout the first rows."""
    numbers: set[int] = set()
    others: set[int] = set()
    with suppress(csv.Error):  # found again, and reported, where the rows are read
        for row in islice(rows, 1, 1 + INSPECTED_ROWS):
            for i, cell in enumerate(row):
                if cell:
                    (numbers if _is_number(cell) else others).add(i)
    return [name for i, name in enumerate(header) if i not in numbers - others]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_text(type: Any) -> bool:
    import pyarrow as pa

    value_type = type.value_type if pa.types.is_dictionary(type) else type
    return any(is_one(value_type) for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
