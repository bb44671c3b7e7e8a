"""Group the rows of samples into batches of bounded size, sorted by length where lengths differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from layerzoo.runtime.batch import InputRow
from layerzoo.runtime.preprocess import Preprocessor


class PlacedRow(NamedTuple):
    """A row of a sample."""

    sample: int
    """The number of its sample among the inputs."""
    number: int
    """Its number among the rows of the sample."""
    row: InputRow


class BatchLimit(NamedTuple):
    """The maximum size of a batch."""

    rows: int
    positions: int | None = None
    """Of all rows together, including padding. None: unlimited."""
    sort_batches: int = 16
    """Number of batches whose rows are sorted by length together, if rows differ in size."""
    bytes: int | None = None
    """Of the inputs of all rows together. Twice as many wait to be sorted. None: unlimited."""


BATCHES = {
    "vision": BatchLimit(32),
    "text": BatchLimit(256, 2048, sort_batches=64),
    "audio": BatchLimit(8, 4_000_000),
    "video": BatchLimit(8),
}
"""Large enough to keep two cores busy, small enough for the activations of a large network. The positions of audio are
its samples: at most 256 MB of them wait in memory to be sorted. With 8 frames in a batch, and not 32, decoding and
computing overlap more (2.1 and not 1.7 clips/s), and an hour of video takes 1.3 GB and not 1.7."""
_SUFFICIENT_SHARE = 1 / 4
"""A batch with this share of its positions ends where the next row would need padding. 2,100 tweets take 0.6 % more
positions than without padding, in 55 batches; with 35 full batches, 2.8 %."""


def batches(rows: Iterator[PlacedRow], preprocess: Preprocessor, limit: BatchLimit) -> Iterator[list[PlacedRow]]:
    """Group rows into batches: in their order if all have one size, else sorted by length within a bounded window."""
    window = limit.sort_batches if preprocess.uneven_rows else 1
    pending: list[PlacedRow] = []
    positions = size = 0
    for placed in rows:
        pending.append(placed)
        positions += placed.row.total
        size += row_bytes(placed.row)
        has_bytes = limit.bytes is not None and size >= min(window, 2) * limit.bytes
        has_positions = bool(limit.positions) and positions >= window * (limit.positions or 0)
        if has_bytes or has_positions or len(pending) == window * limit.rows:
            yield from _by_length(pending, preprocess, limit)
            pending, positions, size = [], 0, 0
    yield from _by_length(pending, preprocess, limit)


def row_bytes(row: InputRow) -> int:
    """Return the size of a row's inputs in bytes."""
    return sum(array.nbytes for array in row.inputs.values())


def _by_length(pending: list[PlacedRow], preprocess: Preprocessor, limit: BatchLimit) -> Iterator[list[PlacedRow]]:
    """Yield batches, starting with the longest rows. Rows are padded to the longest of their batch."""
    buckets: dict[Any, list[PlacedRow]] = {}
    for placed in pending:
        buckets.setdefault(preprocess.bucket(placed.row), []).append(placed)
    for bucket in buckets.values():
        ordered = sorted(bucket, key=lambda placed: placed.row.total, reverse=True)
        while ordered:
            most = limit.rows if limit.bytes is None else max(1, limit.bytes // max(1, row_bytes(ordered[0].row)))
            size = _batch_size([placed.row.total for placed in ordered[: min(most, limit.rows)]], limit)
            yield ordered[:size]
            ordered = ordered[size:]


def _batch_size(lengths: list[int], limit: BatchLimit) -> int:
    """Choose the number of rows of the next batch, from lengths in descending order."""
    if limit.positions is None:
        return len(lengths)
    longest = lengths[0]
    most = max(1, min(len(lengths), limit.positions // longest))
    sufficient = range(max(1, math.ceil(_SUFFICIENT_SHARE * limit.positions / longest)), most)
    return next((size for size in sufficient if lengths[size] < lengths[size - 1]), most)
