"""The text column of a table: CSV, TSV, JSON Lines or Parquet, read row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO

from layerzoo.media import progress
from layerzoo.media.limits import limits, variable_of
from layerzoo.media.lines import MAX_LINE_BYTES, lines
from layerzoo.media.sample import UnusableError
from layerzoo.media.written import holds_features

DEFAULT_COLUMN = "text"
# The number of rows that are inspected to tell columns of text from columns of numbers in a CSV, which has no types.
INSPECTED_ROWS = 1000

_BATCH_BYTES = 16 << 20
_LISTED = 50
"""Columns that a message names."""

Cell = str | bytes | UnusableError


def cells_of_csv(file: BinaryIO, column: str | None, *, delimiter: str) -> Iterator[Cell]:
    """Yield the cell of each row below the header.

    Quotes are as RFC 4180 has them. A malformed row ends the reading, since the rows after it cannot be trusted. Empty
    lines are not rows, unless there is only one column.
    Raises: UnusableError if the column is ambiguous.
    """
    # The limit belongs to the whole process. It is only ever raised, so that a book fits into a cell.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    try:
        header = next(_csv_rows(file, delimiter), [])
        _check_delimiter(header, delimiter)
        is_told = column is not None or DEFAULT_COLUMN in header
        texts = [] if is_told else _columns_of_text(header, _csv_rows(file, delimiter))
        index = header.index(chosen_column(column, header, texts))
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
    """Yield the text of each line: a JSON string, or an object's value under the column.

    Raises: UnusableError if the column does not follow from the first object.
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
            chosen = chosen_column(
                column, list(row), [name for name, value in row.items() if isinstance(value, str | None)]
            )
        yield (
            _text_or_refusal(row[chosen])
            if chosen in row
            else UnusableError(f"no '{chosen}' among {listed(list(row))}")
        )


def cells_of_parquet(file: BinaryIO, column: str | None) -> Iterator[Cell]:
    """Yield the text of each row.

    Raises: UnusableError if the column is ambiguous or not text, or the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        if column is None and holds_features(table.metadata.metadata):
            raise UnusableError("features that layerzoo wrote, and no texts")
        schema = table.schema_arrow
        texts = [field.name for field in schema if _is_text(field.type)]
        chosen = chosen_column(column, schema.names, texts)
        if chosen not in texts:
            raise UnusableError(
                f"column '{chosen}' holds {schema.field(chosen).type}, not text. Columns of text: {listed(texts)}"
            )
        # A dictionary stays one: many rows may hold one long text.
        table = pq.ParquetFile(file, read_dictionary=[chosen])
        for batch in table.iter_batches(batch_size=_rows_of_a_batch(table.metadata), columns=[chosen]):
            progress.beat()
            yield from _cells_of_array(batch.column(0))
    except MemoryError:  # pyarrow's own is one, and an ArrowException
        raise UnusableError(_too_large()) from None
    except (pa.ArrowException, OSError) as error:
        raise UnusableError(f"truncated or damaged: {error}") from error


def _too_large() -> str:
    return (
        f"reading on takes more than {limits().memory_bytes >> 20} MiB of memory, which is the limit. Next: write it "
        f"in smaller row groups, or raise the limit with {variable_of('memory_bytes')}"
    )


def _rows_of_a_batch(metadata: Any) -> int:
    """The number of rows for which a batch has some megabytes, if the file states its size correctly."""
    size: int = sum(metadata.row_group(i).total_byte_size for i in range(min(metadata.num_row_groups, 1000)))
    rows: int = metadata.num_rows
    return max(1, min(1024, _BATCH_BYTES * max(1, rows) // max(1, size)))


def _cells_of_array(column: Any) -> Iterator[Cell]:
    """Yield the cells of a column of a batch, one after the other."""
    import pyarrow as pa

    dictionary = column.dictionary if pa.types.is_dictionary(column.type) else None
    if dictionary is not None and dictionary.nbytes > _BATCH_BYTES:
        # As bytes: pyarrow checks no UTF-8, and converting one bad value to str would end the whole batch.
        texts = dictionary.cast(pa.large_string()).cast(pa.large_binary())
        for index in column.indices:
            position = index.as_py()
            yield _text_or_refusal(None if position is None else texts[position].as_py())
        return
    decoded = column if dictionary is None else column.dictionary_decode()
    for start in range(0, len(decoded), 64):
        part = decoded.slice(start, 64)
        for value in part.cast(pa.large_string()).cast(pa.large_binary()).to_pylist():
            yield _text_or_refusal(value)


def chosen_column(column: str | None, columns: Sequence[str], texts: Sequence[str]) -> str:
    """Return the requested column, or the one called text, or the only one that may hold texts."""
    if column is not None and column not in columns:
        raise UnusableError(f"there is no column '{column}'. Columns: {listed(columns)}")
    if column is not None:
        return column
    if DEFAULT_COLUMN in columns:
        return DEFAULT_COLUMN
    if len(texts) == 1:
        return texts[0]
    problem = f"{len(texts)} columns of text" if texts else "no column of text"
    raise UnusableError(
        f"{problem} and none called '{DEFAULT_COLUMN}': say which (column=, --column). Columns: {listed(columns)}"
    )


def listed(names: Sequence[str]) -> str:
    shortened = ", ".join(name if len(name) <= 100 else f"{name[:97]}…" for name in names[:_LISTED])
    return f"{shortened}, … ({len(names)} in all)" if len(names) > _LISTED else shortened or "none"


def _text_or_refusal(value: Any) -> Cell:
    if isinstance(value, str | bytes):
        return value
    return UnusableError("no text: null" if value is None else f"no text: the value is of type {type(value).__name__}")


def _csv_rows(file: BinaryIO, delimiter: str) -> Iterator[list[str]]:
    """Header and rows, from the beginning of the file. Bytes that are not UTF-8 are kept as lone surrogates."""
    file.seek(0)
    text = _CsvLines(file)
    for row in csv.reader(text, delimiter=delimiter, strict=True):
        text.row_bytes = 0
        yield row


class _CsvLines(Iterator[str]):
    """Lines with their ends, which belong to a quoted cell, as of a file that is open with ``newline=""``.

    row_bytes: the number of bytes of this row that were read. A quoted cell may span any number of lines, and a row any
    number of cells.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._lines = lines(file, keep_ends=True)
        self.row_bytes = 0

    def __next__(self) -> str:
        line = next(self._lines)
        if isinstance(line, UnusableError):
            raise csv.Error(line)
        self.row_bytes += len(line)
        if self.row_bytes > (most := limits().row_bytes):
            raise csv.Error(f"a row of more than {most >> 20} MiB")
        return line.decode("utf-8", "surrogateescape")


def _check_delimiter(header: Sequence[str], delimiter: str) -> None:
    if len(header) == 1 and (actual := next((mark for mark in ",;\t|" if mark in header[0]), None)):
        raise UnusableError(f"its columns are separated by {actual!r}: separate them with {delimiter!r}")


def _columns_of_text(header: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    """Return the columns that may hold texts: all but those that hold numbers throughout the first rows."""
    numbers: set[int] = set()
    texts: set[int] = set()
    with suppress(csv.Error):  # found again, and reported, where the rows are read
        for row in islice(rows, 1, 1 + INSPECTED_ROWS):
            for i, cell in enumerate(row):
                if cell:
                    (numbers if _is_number(cell) else texts).add(i)
    return [name for i, name in enumerate(header) if i not in numbers - texts]


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
