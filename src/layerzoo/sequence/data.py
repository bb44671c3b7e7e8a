"""Sequences of vectors, as estimators receive them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SequenceDataError
from layerzoo.features.features import Features, ragged

SequenceArray = NDArray[Any]
"""(sample,) object: an array (time, channel) float32 of each sample."""


def as_sequences(inputs: Any) -> SequenceArray | None:
    """Return the sequences of some samples.

    Args:
        inputs: a list, a Series of pandas or polars, or a one-dimensional array of objects, of arrays (time, channel);
            an array (sample, time, channel); or :class:`layerzoo.Features` of one layer, extracted with
            ``temporal_pool="none"``.
    Returns: (sample,) object, of float32 arrays (time, channel). None for inputs that are no sequences, such as an
        array of two axes.
    Raises: SequenceDataError for sequences that are empty, differ in their number of channels, or hold values that are
        not finite numbers.
    """
    if isinstance(inputs, Features):
        inputs = inputs.values
    if isinstance(inputs, np.ndarray) and inputs.ndim == 3:
        inputs = list(inputs)
    elif type(inputs).__name__ == "Series":
        inputs = inputs.to_list()  # list() would keep the nested cells of polars as Series
    if not _holds_sequences(inputs):
        return None
    sequences = [_as_sequence(sample, number) for number, sample in enumerate(inputs)]
    widths = {sequence.shape[1] for sequence in sequences}
    if len(widths) > 1:
        raise SequenceDataError(
            f"the sequences differ in their number of channels: {', '.join(map(str, sorted(widths)))}"
        )
    return ragged(sequences)


def _holds_sequences(inputs: Any) -> bool:
    """Return whether the first sample of a collection has two axes."""
    if isinstance(inputs, np.ndarray):
        return inputs.ndim == 1 and inputs.dtype == object and len(inputs) > 0 and np.ndim(inputs[0]) == 2
    return isinstance(inputs, Sequence) and len(inputs) > 0 and not isinstance(inputs, str) and _axes(inputs[0]) == 2


def _axes(sample: Any) -> int:
    """Return the number of axes of an array or a nested list; 0 for anything else."""
    try:
        return np.ndim(sample)
    except (TypeError, ValueError):
        return 0


def _as_sequence(sample: Any, number: int) -> NDArray[np.float32]:
    array = np.asarray(sample)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise SequenceDataError(
            f"sequence {number} has the shape {array.shape}, and a sequence is (time, channel), not empty"
        )
    if array.dtype.kind not in "biuf":
        raise SequenceDataError(f"sequence {number} holds values of the type {array.dtype}, and not numbers")
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise SequenceDataError(f"sequence {number} holds NaN or infinity")
    return values


def single_steps(vectors: NDArray[Any]) -> SequenceArray:
    """Return each row of an array (sample, channel) as a sequence of one vector."""
    return ragged([row[None, :].astype(np.float32) for row in vectors])
