"""Files of features that are open for reading, in any format, and the checks of their contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from layerzoo.bounds import free_memory
from layerzoo.errors import InputError
from layerzoo.features.digests import ArrayDigest, IdsDigest, LayerDigest, digest_of
from layerzoo.features.features import Features, LayerArray, layer_of, ragged
from layerzoo.features.origin import of_layers
from layerzoo.features.summary import Summary

_NUMBER_BYTES = 4
_SMALL_BYTES = 256 << 20
_LARGEST_RATIO = 20_000
"""How much larger in memory than in its file features may be, beyond _SMALL_BYTES. A row group of 8 MB of zeros takes
more than 400 bytes, so a file beyond this was not written by layerzoo."""


class StoredFeatures(Protocol):
    """A file of features, read in parts. Any method may raise any Exception for a file that is damaged."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def __len__(self) -> int:
        """Return the number of samples that its header states."""

    @property
    def summary(self) -> Summary: ...

    @property
    def is_of_layerzoo(self) -> bool:
        """Whether its metadata have a part that layerzoo writes."""

    def ids(self) -> Iterator[str]: ...

    def chunks(self, layer: str) -> Iterator[LayerArray]:
        """Yield the samples of a layer, some at a time."""

    def fill(self, layer: str, result: LayerArray) -> Iterator[int]:
        """Read a layer whose samples have one shape into an array; yield the number of rows that were read so far."""

    def check(self) -> None:
        """Read the file once more as other programs do, with the checksums of its format. Raises where one is wrong."""


def read(stored: StoredFeatures, path: Path, layers: Sequence[str] | None = None) -> Features:
    """Read features, and check the digests of all that is returned.

    Args:
        stored: the open file.
        path: its path.
        layers: those to read; None: all.
    Raises: InputError for damaged values; MemoryError for features that are too large; UnknownLayerError; any Exception
        for malformed data.
    """
    summary = stored.summary
    chosen = list(summary.shapes) if layers is None else list(dict.fromkeys(layers))
    for name in chosen:
        layer_of(summary.shapes, name)
    _check_size(stored, summary, path, chosen)
    ids = list(stored.ids())
    _check_ids(ids, len(stored), summary)
    return Features(
        ids=tuple(ids),
        by_layer={name: _layer(stored, name, summary, len(ids)) for name in chosen},
        provenance=summary.provenance if layers is None else of_layers(summary.provenance, chosen),
        errors=tuple(summary.errors),
        report=summary.report,
        passed_over=tuple(summary.passed_over),
        times_s=tuple(tuple(times) for times in summary.times_s),
        frame_numbers=tuple(tuple(numbers) for numbers in summary.frame_numbers),
        start_s=tuple(summary.start_s),
        end_s=tuple(summary.end_s),
        times_by_layer={
            name: tuple(map(tuple, times)) for name, times in summary.times_by_layer.items() if name in chosen
        },
    )


def verify(stored: StoredFeatures, path: Path) -> bool:
    """Read all of a file, with little memory, and check everything in it.

    Returns: whether it has digests. Raises: as :func:`read`.
    """
    summary = stored.summary
    _check_size(stored, summary, path, list(summary.shapes))
    _check_ids(list(stored.ids()), len(stored), summary)
    for name, shape in summary.shapes.items():
        digest, count = LayerDigest(), 0
        for chunk in stored.chunks(name):
            _check_shape(name, chunk, shape)
            digest.update(chunk)
            count += len(chunk)
        _check_count(name, count, len(stored))
        _check_digest(name, digest.hexdigest(), summary)
    stored.check()
    return summary.digests is not None


def _check_size(stored: StoredFeatures, summary: Summary, path: Path, layers: Sequence[str]) -> None:
    """Refuse arrays that cannot be in a file of this size, or do not fit in memory, before they are read.

    layers: those that will be read.
    """
    rows, file_bytes = len(stored), path.stat().st_size
    sizes = {
        name: rows * _NUMBER_BYTES * _product(shape) for name, shape in summary.shapes.items() if shape is not None
    }
    required = sum(sizes.get(name, 0) for name in layers)
    claimed = sum(sizes.values())
    if (
        rows < 0
        or claimed + rows > max(_SMALL_BYTES, _LARGEST_RATIO * file_bytes)
        or rows > max(1 << 20, 1000 * file_bytes)
    ):
        raise InputError(f"it claims {rows:,} samples of {claimed:,} bytes in all, in a file of {file_bytes:,} bytes")
    available = free_memory()
    if available is not None and required > available:
        raise MemoryError(
            f"it holds {required:,} bytes of numbers, and {available:,} bytes of memory are available. "
            "A table library can read it a part at a time"
        )


def _product(shape: Sequence[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def _check_ids(ids: Sequence[str], count: int, summary: Summary) -> None:
    if len(ids) != count or not all(type(name) is str for name in ids):
        raise InputError(f"it claims {count:,} samples, and has {len(ids):,} ids")
    if summary.digests is not None:
        digest = IdsDigest()
        digest.update(ids)
        if digest.hexdigest() != summary.digests.ids:
            raise InputError("its ids are damaged: their digest is not the one that was written with them")


def _layer(stored: StoredFeatures, name: str, summary: Summary, n: int) -> LayerArray:
    shape = summary.shapes[name]
    if shape is None:
        array = ragged([sample for chunk in stored.chunks(name) for sample in chunk])
        _check_count(name, len(array), n)
        if summary.digests is not None:
            _check_digest(name, digest_of(array), summary)
        return array
    result = np.empty((n, *shape), dtype=np.float32)
    filled = 0
    with ArrayDigest(result) as digest:
        for filled in stored.fill(name, result):
            if summary.digests is not None:
                digest.advance(filled)
        _check_count(name, filled, n)
        if summary.digests is not None:
            digest.advance(n)
            _check_digest(name, digest.hexdigest(), summary)
    return result


def _check_count(layer: str, rows: int, n: int) -> None:
    if rows != n:
        raise InputError(f"it has {n:,} ids and {rows:,} rows of numbers in layer {layer}")


def _check_shape(layer: str, chunk: LayerArray, shape: tuple[int, ...] | None) -> None:
    if shape is not None and chunk.shape[1:] != shape:
        raise InputError(f"layer {layer} has samples of shape {chunk.shape[1:]}, where {shape} is declared")


def _check_digest(layer: str, digest: str, summary: Summary) -> None:
    """Raises: InputError where the numbers of a layer are not those that were written."""
    if summary.digests is not None and digest != summary.digests.layers[layer]:
        raise InputError(f"the numbers of layer {layer} are damaged: their digest is not the one that was written")


def copied(chunks: Iterator[LayerArray], layer: str, result: LayerArray) -> Iterator[int]:
    """Copy chunks into an array; yield the number of rows that were read so far. Raises: InputError where they do not
    fit."""
    start = 0
    for chunk in chunks:
        _check_shape(layer, chunk, result.shape[1:])
        if start + len(chunk) > len(result):
            raise InputError(f"it has {len(result):,} ids and more rows of numbers in layer {layer}")
        result[start : start + len(chunk)] = chunk
        start += len(chunk)
        yield start
