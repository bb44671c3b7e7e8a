"""The frozen inputs of a run: a row for each sample, in order, written once.

Columns: ``id``; ``kind``; ``path`` (absolute, or a URL) with ``size``, ``mtime_ns`` and ``etag`` of the file; ``data``
(a text, or the bytes of a sample); ``reason`` (why an input is not a sample). Kinds: ``file``, ``url``, ``text`` (a
str), ``bytes`` (an encoded file, or a text with the encoding of its file) and ``failed``.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from layerzoo.errors import InputError, SampleError
from layerzoo.features.features import storable
from layerzoo.media.decoder import Workers
from layerzoo.media.sample import Sample, shown
from layerzoo.media.samples import Item, samples
from layerzoo.media.source import why
from layerzoo.spec import Modality
from layerzoo.weights.network.objects import ObjectReader, RemoteObject, fetch_file, is_url, listing

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("data", pa.large_binary()),
        pa.field("reason", pa.string()),
    ]
)
_ROWS_OF_A_GROUP = 8192
_BYTES_OF_A_GROUP = 16 << 20


class ManifestRow(NamedTuple):
    """One input of a run, with the names of the columns."""

    id: str
    kind: str
    path: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    data: bytes | None = None
    reason: str | None = None


@dataclass(slots=True)
class FoundInputs:
    """Counts of the inputs in a manifest."""

    rows: int = 0
    passed_over: int = 0
    """The number of files that are of another kind than what is extracted."""


def write_manifest(
    path: Path,
    inputs: Any,
    modality: Modality,
    *,
    column: str | None = None,
    ids: str | Iterable[str] | None = None,
) -> FoundInputs:
    """Find all samples of some inputs, and write them in order.

    Args:
        path: the file to write.
        inputs: as for :func:`layerzoo.extract`; a str, or a str in a list, may also be a URL.
        modality: of the model.
        column: the column of a table that has the samples.
        ids: as for :func:`layerzoo.extract`.
    Raises: InputError for inputs that are unusable as a whole, or that cannot be read again; OSError.
    """
    counts = FoundInputs()
    waiting: list[ManifestRow] = []
    waiting_bytes = 0
    with pq.ParquetWriter(
        path,
        _SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=["kind"],  # a dictionary of ids and texts takes time and saves nothing
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for row in _rows(inputs, modality, counts, column=column, ids=ids):
            waiting.append(row)
            waiting_bytes += len(row.data or b"")
            counts.rows += 1
            if len(waiting) == _ROWS_OF_A_GROUP or waiting_bytes >= _BYTES_OF_A_GROUP:
                writer.write_table(_table(waiting))
                waiting, waiting_bytes = [], 0
        if waiting:
            writer.write_table(_table(waiting))
    return counts


def _table(rows: Sequence[ManifestRow]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([_column(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], _SCHEMA)


def _column(values: Sequence[Any], type: Any) -> Any:
    """Return a column. One without any value, as most are for texts, takes no time."""
    return pa.nulls(len(values), type) if values.count(None) == len(values) else pa.array(values, type)


def _rows(
    inputs: Any, modality: Modality, counts: FoundInputs, *, column: str | None, ids: str | Iterable[str] | None
) -> Iterator[ManifestRow]:
    names = inputs if isinstance(inputs, list | tuple) else [inputs]
    urls = [os.fspath(name) for name in names if _is_url_input(name, modality, inputs)]
    if not urls:
        with Workers() as decoder:
            items = samples(inputs, modality, column=column, ids=ids, decoder=decoder)
            yield from map(_row, items)
            counts.passed_over += len(items.passed_over)
        return
    if ids is not None:
        raise InputError("ids= is for inputs in memory. The samples of a URL have their URLs as ids")
    for name in names:
        if not _is_url_input(name, modality, inputs):
            yield from _rows([name], modality, counts, column=column, ids=None)
        elif modality == "text":
            yield from _texts_of_url(_url(name), column, counts)
        else:
            yield from map(_url_row, listing(_url(name)))


def _is_url_input(name: Any, modality: Modality, inputs: Any) -> bool:
    """Return whether an input is a URL: a str in a list is a text for a text model, and a path is not."""
    if isinstance(name, os.PathLike):  # Path("s3://bucket/a") has one slash
        return is_url(_url(name))
    return isinstance(name, str) and is_url(name) and (modality != "text" or name is inputs)


def _url(name: str | os.PathLike[str]) -> str:
    """Return a URL, with the two slashes that pathlib reduces to one."""
    text = os.fspath(name)
    scheme, separator, path = text.partition(":/")
    if scheme == "file" and not path.startswith("/"):
        path = f"//{path}"
    return f"{scheme}://{path.removeprefix('/')}" if separator else text


def _texts_of_url(url: str, column: str | None, counts: FoundInputs) -> Iterator[ManifestRow]:
    """Yield the texts of the files at a URL. The files are copied to this machine, one after the other."""
    for remote in listing(url):
        with tempfile.TemporaryDirectory(prefix="layerzoo-input-") as folder:
            copy = Path(folder, Path(remote.url).name)
            fetch_file(remote.url, copy)
            for row in _rows(str(copy), "text", counts, column=column, ids=None):
                yield row._replace(id=row.id.replace(shown(copy), remote.url, 1))


def _url_row(remote: RemoteObject) -> ManifestRow:
    return ManifestRow(remote.url, "url", remote.url, remote.size, etag=remote.etag)


def _row(item: Item) -> ManifestRow:
    """Return the row of a sample. Raises: InputError for one in memory that cannot be written."""
    name = storable(item.id)
    if isinstance(item, SampleError):
        return ManifestRow(name, "failed", reason=storable(item.reason))
    source = item.source
    if type(source) is bytes:  # a text of a file: there may be millions
        return ManifestRow(name, "bytes", None, None, None, None, source)
    if isinstance(source, str):
        return ManifestRow(name, "text", data=source.encode("utf-8", "surrogatepass"))
    if isinstance(source, bytes | bytearray | memoryview):
        return ManifestRow(name, "bytes", data=bytes(source))
    if isinstance(source, os.PathLike):
        return _file_row(name, os.path.abspath(os.fspath(source)))  # noqa: PTH100
    raise InputError(
        f"{name}: a run can be continued at any time, so its samples are files, texts, bytes or rows of a table, and "
        f"this is an object of type {type(source).__name__} in memory. Write it to a file, or use layerzoo.stream"
    )


def _file_row(name: str, path: str) -> ManifestRow:
    encoded = os.fsencode(path)
    try:
        state = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        return ManifestRow(name, "failed", storable(path), data=encoded, reason=why(error))
    exact = encoded if storable(path) != path else None
    return ManifestRow(name, "file", storable(path), state.st_size, state.st_mtime_ns, data=exact)


class Manifest:
    """A written manifest, read by ranges of rows."""

    def __init__(self, path: Path) -> None:
        """Raises: InputError for a file that is damaged."""
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a manifest that can be read: {error}") from error
        groups = self._file.metadata.num_row_groups
        counts = (self._file.metadata.row_group(index).num_rows for index in range(groups))
        self._starts = [0, *accumulate(counts)]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, first: int, stop: int) -> ManifestRows:
        """Return the rows from one number to another, which is not among them."""
        begin = bisect_right(self._starts, first) - 1
        end = bisect_left(self._starts, stop, lo=begin + 1)
        groups = self._file.read_row_groups(range(begin, end))
        part = groups.slice(first - self._starts[begin], stop - first)
        return ManifestRows(first, [_values(column) for column in part.columns])


class ManifestRows(Mapping[int, ManifestRow]):
    """Consecutive rows of a manifest, by number.

    A row is made when it is read: a million tuples that stay in memory slow down every garbage collection.
    """

    def __init__(self, first: int, columns: Sequence[Sequence[Any]]) -> None:
        """Args: first: the number of the first row. columns: the values of each column of the manifest."""
        self._first = first
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._first + len(self)))

    def __getitem__(self, number: int) -> ManifestRow:
        if number not in range(self._first, self._first + len(self)):
            raise KeyError(number)
        return ManifestRow._make(column[number - self._first] for column in self._columns)

    def numbered(self) -> Iterator[tuple[int, ManifestRow]]:
        """Yield all rows with their numbers, in order."""
        return enumerate(map(ManifestRow._make, zip(*self._columns, strict=True)), start=self._first)

    def ids(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """Return the ids of some rows."""
        names, first = self._columns[_ID], self._first
        return tuple([names[number - first] for number in numbers])

    def files(self, numbers: Iterable[int]) -> list[int]:
        """Return those of some rows that are files."""
        kinds, first = self._columns[_KIND], self._first
        return [number for number in numbers if kinds[number - first] == "file"]


_ID, _KIND = map(ManifestRow._fields.index, ("id", "kind"))


def _values(column: Any) -> list[Any]:
    """Return the values of a column. One without any takes no time."""
    return [None] * len(column) if column.null_count == len(column) else column.to_pylist()


def sample_of(number: int, row: ManifestRow, *, is_retry: bool = False) -> Item:
    """Return the sample of a row, with its number as its id.

    Args:
        number: of the row.
        row: see above.
        is_retry: take a file as it is now, and not only as it was when the run began.
    """
    name = str(number)
    if row.kind == "bytes":  # the texts of files: there may be millions
        return Sample(name, row.data or b"")
    match row.kind:
        case "failed" if row.data is None or not is_retry:
            return SampleError(name, str(row.reason))
        case "file" | "failed":
            path = os.fsdecode(row.data) if row.data else str(row.path)
            if not is_retry and (reason := changed_since(row)) is not None:
                return SampleError(name, reason)
            return Sample(name, Path(path))
        case "url":
            assert row.path is not None
            return Sample(name, ObjectReader(RemoteObject(row.path, row.size, row.etag), accepts_changes=is_retry))
    return Sample(name, (row.data or b"").decode("utf-8", "surrogatepass"))


def changed_since(row: ManifestRow) -> str | None:
    """Return how a file differs from the one that the manifest lists; None where it does not."""
    if row.kind != "file":
        return None
    try:
        state = os.stat(os.fsdecode(row.data) if row.data else str(row.path))  # noqa: PTH116
    except (OSError, ValueError) as error:
        return f"{why(error)}; the file was there when the run began"
    if (state.st_size, state.st_mtime_ns) == (row.size, row.mtime_ns):
        return None
    change = f"{row.size:,} bytes, now {state.st_size:,}" if state.st_size != row.size else "another time of change"
    return f"changed since the run began ({change}). Next: --retry-failed takes the file as it is now"
