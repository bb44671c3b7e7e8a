"""Write features to a file, batch by batch."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from layerzoo.disk import atomic_path, scratch_path
from layerzoo.errors import EmptyResultError, InputError, OutputError, SampleError, UsageError
from layerzoo.features.digests import RunningDigests
from layerzoo.features.features import Features, LayerArray, check_same_layers, ragged, sample_shape
from layerzoo.features.formats import format_of, load
from layerzoo.features.origin import joined_provenance
from layerzoo.features.summary import Shape, Summary

_ROW_GROUP_BYTES = 8 << 20
"""How much is collected in memory before it is written: enough for a table library to read well."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class FeatureWriter:
    """Writes batches of features to one file, which appears whole when the ``with`` block ends, or not at all.

    What the file holds is ``Features.join`` of the batches; memory does not grow with their number. An exception,
    Ctrl-C included, leaves what stood there before, and no temporary file. So does a run in which every sample failed:
    leaving the ``with`` block then raises :class:`EmptyResultError` where that file has samples, and
    otherwise writes a file that lists the errors. While it writes, the target's folder holds the numbers once for
    ``.parquet`` and twice for the other formats.

        with FeatureWriter("tweets.parquet") as writer:
            for batch in layerzoo.stream("starter/minilm-l6", "tweets.txt"):
                writer.write(batch)

    >>> with layerzoo.FeatureWriter("words.npz") as writer:
    ...     for batch in layerzoo.stream("toy/next-word", ["the cat", "milk"]):
    ...         writer.write(batch)
    >>> layerzoo.Features.load("words.npz").values.shape
    (2, 3)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """path: the file to write, by suffix ``.parquet``, ``.npz`` or ``.safetensors``, or ``.csv`` or ``.npy`` for
        the numbers alone. Raises: UsageError."""
        self._path = Path(path).absolute()
        self._format = format_of(self._path)
        self._waiting: list[Features] = []
        self._waiting_bytes = 0
        self._rows = 0
        self._shapes: dict[str, Shape] = {}
        self._provenance: Mapping[str, Any] = {}
        self._errors: list[SampleError] = []
        self._report: Counter[str] = Counter()
        self._passed_over: list[str] = []
        self._times = RunningTimes()
        self._digests = RunningDigests()

    def __enter__(self) -> Self:
        """Raises: OutputError, before anything is computed, when the file cannot be written there."""
        if not self._path.parent.is_dir():
            raise OutputError(f"cannot write {self._path}: there is no folder {self._path.parent}", path=self._path)
        if self._path.is_dir():
            raise OutputError(f"cannot write {self._path}: it is a folder. Name a file in it", path=self._path)
        from layerzoo.features.parquet import ParquetSink

        with self._translated_disk_errors(), ExitStack() as files:
            self._result = files.enter_context(atomic_path(self._path))
            self._result.touch()
            is_result = self._format.export is None
            collected = self._result if is_result else files.enter_context(scratch_path(self._path.parent))
            self._sink = ParquetSink(collected)
            files.callback(self._let_go)
            self._thread = files.enter_context(ThreadPoolExecutor(1))
            self._files = files.pop_all()
        return self

    def write(self, batch: Features) -> None:
        """Add some samples. The arrays may be changed afterwards.

        Raises: OutputError when the disk is full; UsageError when batches differ in their layers or come from
        different models, the provenance is not valid JSON, or the format cannot hold these layers.

        >>> with layerzoo.FeatureWriter("words.parquet") as writer:
        ...     writer.write(layerzoo.extract("toy/next-word", ["the cat"]))
        >>> len(layerzoo.Features.load("words.parquet"))
        1
        """
        self._add_metadata(batch)
        self._fit(batch)
        with self._translated_disk_errors():
            for part in _parts(batch):
                self._collect(part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._files.__exit__(kind, error, traceback)
            return
        with self._translated_disk_errors(), self._files:
            self._check_not_empty()
            self._finish()

    def _check_not_empty(self) -> None:
        """Raises: EmptyResultError when every sample failed, and the file that would be replaced has samples."""
        if self._errors and not self._rows and _has_samples(self._path):
            raise EmptyResultError(
                f"no sample gave features; {len(self._errors)} failed, the first is {self._errors[0]}. {self._path} is "
                "left as it was. Remove it first to replace it by a file without samples",
                path=self._path,
            )

    def _add_metadata(self, batch: Features) -> None:
        if batch.provenance:
            provenance = joined_provenance(self._provenance, batch.provenance)
            self._provenance = _json_able(provenance) if provenance is not self._provenance else provenance
        self._errors += batch.errors
        self._report.update(batch.report)
        self._passed_over += batch.passed_over
        self._times.add(batch)

    def _fit(self, batch: Features) -> None:
        """Update the shapes of the layers with those of a batch."""
        shapes = {layer: sample_shape(array) for layer, array in batch.by_layer.items()}
        if self._rows:
            check_same_layers(tuple(self._shapes), batch)
        if not self._rows and shapes:
            self._shapes = shapes
        elif len(batch):
            self._shapes = {layer: shape if shape == shapes[layer] else None for layer, shape in self._shapes.items()}
        self._rows += len(batch)
        self._format.check(self._shapes)

    def _collect(self, part: Features) -> None:
        self._waiting.append(_copied(part))
        self._waiting_bytes += _size_bytes(part)
        if self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            part = Features.join(self._waiting)
            digested = self._thread.submit(self._digests.update, part)  # next to the compression
            self._sink.write(part, self._shapes)
            digested.result()
        self._waiting, self._waiting_bytes = [], 0

    def _finish(self) -> None:
        self._flush()
        times = self._times
        digests = self._digests.result(self._shapes)
        summary = Summary(
            self._shapes,
            self._provenance,
            self._errors,
            self._report,
            self._passed_over,
            frame_numbers=times.frame_numbers if any(times.frame_numbers) else (),
            times_s=times.times_s if any(times.times_s) else (),
            start_s=times.start_s if times.has_intervals else (),
            end_s=times.end_s if times.has_intervals else (),
            times_by_layer={name: layer_times for name, layer_times in times.by_layer.items() if any(layer_times)},
            digests=digests,
        )
        with self._sink.finish(summary) as collected:
            if self._format.export is not None:
                self._format.export(collected, self._result)

    def _let_go(self) -> None:
        with suppress(OSError):  # after an error the file is removed, and the first error is the one to report
            self._sink.close()

    @contextmanager
    def _translated_disk_errors(self) -> Iterator[None]:
        with disk_failure(self._path):
            yield


@contextmanager
def disk_failure(path: Path) -> Iterator[None]:
    """Convert an error of the disk within to an error that names the file. Raises: OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {_reason(error, path.parent)}", path=path) from error


@dataclass(slots=True)
class RunningTimes:
    """The times of the samples so far, and the numbers of their frames."""

    frame_numbers: list[tuple[int, ...]] = field(default_factory=list)
    times_s: list[tuple[float, ...]] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    end_s: list[float] = field(default_factory=list)
    by_layer: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    has_intervals: bool = False
    count: int = 0

    def add(self, batch: Features) -> None:
        """Add some samples. Where a batch has no times or numbers, its samples have none, or nan."""
        empty: tuple[tuple[float, ...], ...] = ((),) * len(batch)
        unknown = (math.nan,) * len(batch)
        for name in batch.times_by_layer:
            self.by_layer.setdefault(name, [()] * self.count)
        for name, times in self.by_layer.items():
            times += batch.times_by_layer.get(name, empty)
        self.frame_numbers += batch.frame_numbers or ((),) * len(batch)
        self.times_s += batch.times_s or empty
        self.start_s += batch.start_s or unknown
        self.end_s += batch.end_s or unknown
        self.has_intervals = self.has_intervals or bool(batch.start_s)
        self.count += len(batch)


def _has_samples(path: Path) -> bool:
    """Return whether a file holds anything that would be lost: a file that cannot be read as features counts too."""
    if not path.exists():
        return False
    try:
        return len(load(path)) > 0
    except InputError:
        return path.stat().st_size > 0


def _json_able(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raised at the first batch, not after the last."""
    try:
        json.dumps(provenance)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the provenance cannot be written as JSON: {error}") from error
    return provenance


def _reason(error: OSError, folder: Path) -> str:
    if error.errno in _FULL:
        return f"the disk is full, or a limit is reached ({shutil.disk_usage(folder).free:,} bytes are free)"
    if error.errno in _FORBIDDEN:
        return f"the folder {folder} is not writable for you. Choose another one"
    return str(error)


def _parts(batch: Features) -> Iterator[Features]:
    """Yield the batch in pieces of about a row group."""
    rows = max(1, len(batch) * _ROW_GROUP_BYTES // max(1, _size_bytes(batch)))
    for start in range(0, len(batch), rows):
        yield batch.rows(start, start + rows)


def _size_bytes(features: Features) -> int:
    arrays = (_samples_bytes(array) for array in features.by_layer.values())
    return sum(arrays) + sum(map(len, features.ids))


def _samples_bytes(array: LayerArray) -> int:
    return array.nbytes if array.dtype != object else sum(sample.nbytes for sample in array)


def _copied(features: Features) -> Features:
    arrays = {
        name: array.copy() if array.dtype != object else ragged([sample.copy() for sample in array])
        for name, array in features.by_layer.items()
    }
    return Features(features.ids, arrays, start_s=features.start_s, end_s=features.end_s)
