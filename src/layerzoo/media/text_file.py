"""The texts in a file: its lines, or the text column of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from layerzoo.errors import SampleError
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.limits import limits
from layerzoo.media.lines import lines
from layerzoo.media.sample import Sample, UnusableError, shown
from layerzoo.media.sniff import looks_like, other_format, sniff
from layerzoo.media.source import opened
from layerzoo.media.table import Cell, cells_of_csv, cells_of_json_lines, cells_of_parquet

_TABLES: dict[str, Callable[[BinaryIO, str | None], Iterator[Cell]]] = {
    ".csv": partial(cells_of_csv, delimiter=","),
    ".tsv": partial(cells_of_csv, delimiter="\t"),
    ".jsonl": cells_of_json_lines,
    ".ndjson": cells_of_json_lines,
    ".parquet": cells_of_parquet,
}
_BINARY = {".parquet"}
"""Formats that a library reads which is not written in Python."""


def texts(path: Path, column: str | None, decoder: Decoder = IN_PROCESS) -> Iterator[Sample | SampleError]:
    """Yield each text of a file, with the id ``path:ROW``; rows and lines count from 1, and a header does not count.

    decoder: reads files of a binary format.
    Raises: UnusableError when the file as a whole is: empty, of another kind, without a column to take.
    """
    values = _decoded(path, column, decoder) if path.suffix.lower() in _BINARY else cells(path, column)
    yield from numbered(values, shown(path))


def cells(path: Path, column: str | None) -> Iterator[Cell]:
    """Yield each text of a file, or the error of its row. Raises: as :func:`texts`."""
    with opened(path) as file:
        reader = _TABLES.get(path.suffix.lower())
        _check_text(file, path)
        if reader is None and column is not None:
            raise UnusableError(
                f"has lines and no columns, so '{column}' means nothing. Tables are {', '.join(_TABLES)}"
            )
        yield from reader(file, column) if reader else lines(file)


def _decoded(path: Path, column: str | None, decoder: Decoder) -> Iterator[Cell]:
    try:
        for part in decoder.stream("texts", path, {"column": column}):
            at = 0
            for length in part.facts["lengths"]:
                if isinstance(length, str):
                    yield UnusableError(length)
                else:
                    yield part.data[at : at + length]
                    at += length
    except SampleError as error:  # of a file, which knows no rows
        raise UnusableError(error.reason) from error


def numbered(values: Iterator[Cell], name: str) -> Iterator[Sample | SampleError]:
    """Yield a sample for each text, and a failure for each refusal. After very many failures the rest is not read."""
    failed, most = 0, limits().failed_rows
    for row, cell in enumerate(values, start=1):
        row_id = f"{name}:{row}"
        if not isinstance(cell, UnusableError):
            yield Sample(row_id, cell)
            continue
        failed += 1
        if failed > most:
            yield SampleError(row_id, f"more than {most:,} rows before this one cannot be used: the rest is not read")
            return
        yield SampleError(row_id, str(cell))


def _check_text(file: BinaryIO, path: Path) -> None:
    suffix, content = path.suffix.lower(), sniff(file)
    if (content.format if content else None) != ("parquet" if suffix == ".parquet" else None):
        raise UnusableError(f"not {suffix if suffix in _TABLES else 'text'}: {looks_like(file)}")
    if content is None and (noun := other_format(file)) is not None:
        raise UnusableError(f"not text: looks like {noun}")
    head = file.read(4096)
    file.seek(0)
    if content is None and head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise UnusableError("UTF-16: save it as UTF-8")
    if content is None and b"\0" in head:
        raise UnusableError("not text: it holds null bytes")
    if suffix == ".json":
        raise UnusableError("one JSON document has no lines of text: write one object a line (.jsonl)")
