"""Read the features of all candidate layers in one pass over the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.bounds import free_memory
from layerzoo.errors import InputError, SampleError, UsageError
from layerzoo.features import Features
from layerzoo.heads.listing import numbered_error
from layerzoo.media.sample import Sample
from layerzoo.pooling import parse_temporal_pool, width
from layerzoo.runtime import Backbone, stream
from layerzoo.spec import Layer

_SHARE = 0.8
"""Of the free memory that features may take. The rest is for the copies that are scaled and fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """The features of one model."""

    by_layer: Mapping[str, NDArray[np.float32]]
    """(sample, channel) by name of the layer; NaN for samples that failed."""
    done: NDArray[np.bool_]
    """(sample,) whether it has features."""
    errors: Sequence[SampleError]
    provenance: Mapping[str, Any]


def collect(backbone: Backbone, samples: Sequence[Sample], arguments: Mapping[str, Any]) -> Collected:
    """Extract the features of all layers of a backbone, pooled on the way.

    Args:
        backbone: reads the layers.
        samples: the inputs.
        arguments: further arguments of :func:`layerzoo.extract`.
    Raises: the errors of :func:`layerzoo.extract`; UsageError for features that are no vectors.
    """
    matrices: dict[str, NDArray[np.float32]] = {}
    done = np.zeros(len(samples), bool)
    failures: list[SampleError] = []
    provenance: Mapping[str, Any] = {}
    pieces = stream(
        backbone,
        [sample.source for sample in samples],
        ids=[str(number) for number in range(len(samples))],
        **arguments,
    )
    for piece in _with_ids_in_errors(pieces, samples):
        provenance = provenance or piece.provenance
        failures += [numbered_error(error, samples) for error in piece.errors]
        if not len(piece):
            continue
        rows = [int(number) for number in piece.ids]
        done[rows] = True
        for name, array in piece.by_layer.items():
            if array.ndim != 2:
                raise UsageError(
                    f"{backbone.spec.id}, layer {name}: a sweep needs a vector of each sample, and these have the "
                    f"shape {array.shape[1:]}. Next: choose another pool="
                )
            if name not in matrices:
                matrices[name] = np.full((len(samples), array.shape[1]), np.nan, np.float32)
            matrices[name][rows] = array
    return Collected(matrices, done, failures, provenance)


def _with_ids_in_errors(pieces: Iterator[Features], samples: Sequence[Sample]) -> Iterator[Features]:
    try:
        yield from pieces
    except SampleError as error:
        raise numbered_error(error, samples) from error.__cause__


def check_sweep_memory(
    backbones: Sequence[Backbone], samples: int, temporal_pool: str | None, free: Callable[[], int | None] = free_memory
) -> int:
    """Compare the memory that the features take with the memory that is free.

    Args:
        backbones: that the features come from.
        samples: their number.
        temporal_pool: as for :func:`layerzoo.extract`.
        free: returns the free memory in bytes; None where it is unknown.
    Returns: the memory of the features, in bytes.
    Raises: InputError, before anything is computed.
    """
    temporal = None if temporal_pool is None else parse_temporal_pool(temporal_pool)
    values = sum(
        width(backbone.pools[layer.name], layer, temporal) or _channels(layer)
        for backbone in backbones
        for layer in backbone.layers
    )
    needed, available = 4 * values * samples, free()
    if available is not None and needed > _SHARE * available:
        raise InputError(
            f"the features of {samples:,} samples, {values:,} numbers each, need {needed / 1e9:,.3g} GB of memory, and "
            f"you have {available / 1e9:,.3g} GB: pick fewer layers, fewer poolings or fewer samples"
        )
    return needed


def _channels(layer: Layer) -> int:
    """Return the size of the last axis of a layer, for one whose width is unknown."""
    return layer.shape[-1] if layer.shape else 0
