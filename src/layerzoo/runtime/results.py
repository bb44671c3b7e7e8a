"""Compute the features of finished samples from their pooled rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import NoObjectsError, SampleError, UsageError
from layerzoo.features import Features
from layerzoo.features.features import stacked, unit_vectors
from layerzoo.features.origin import of_layers
from layerzoo.pooling import OBJECT_AXIS, TemporalChoice, parse_temporal_pool, width
from layerzoo.runtime.backbone import Backbone
from layerzoo.runtime.pending import PendingSample
from layerzoo.runtime.plan import ExtractionPlan
from layerzoo.runtime.pool import PooledRow, merge, sequence_axis
from layerzoo.runtime.preprocess import TextPreprocessor, VideoPreprocessor
from layerzoo.runtime.preprocess.image import decoding_of
from layerzoo.runtime.windowing import RunningPool
from layerzoo.spec import Layer
from layerzoo.temporal import pool_sequence

FloatArray = NDArray[np.float32]


def features_of(plan: ExtractionPlan, samples: list[PendingSample], recordings: RecordingPooler) -> Features:
    """Return the features of finished samples.

    Args:
        plan: of the extraction.
        samples: the next ones, in order.
        recordings: pools the windows of a recording. It keeps the vectors of a recording until its last window is
        complete.
    Raises: SampleError for the first failed one, if the plan is strict.
    """
    results = recordings.merged([(sample, _vectors(plan, sample)) for sample in samples])
    failed = tuple(sample.error for sample, _ in results if sample.error is not None)
    if failed and plan.strict:
        raise failed[0]
    succeeded = [(sample, by_layer) for sample, by_layer in results if sample.error is None]
    if plan.reuse is not None:
        for sample, by_layer in succeeded:
            if sample.digest is not None and not sample.cached:
                plan.reuse.keep(sample.digest, by_layer, sample.report)
    report: Counter[str] = Counter()
    for sample, _ in results:
        if sample.error is None or sample.row_count == 0:  # samples that fail in the network are not counted
            report.update(sample.report)
    intervals = [sample.interval_s for sample, _ in succeeded if sample.interval_s is not None]
    return Features(
        ids=tuple(sample.id for sample, _ in succeeded),
        by_layer={name: stacked([by_layer[name] for _, by_layer in succeeded]) for name in plan.pools}
        if succeeded
        else {},
        errors=failed,
        provenance=extraction_provenance(plan),
        report=dict(report),
        frame_numbers=tuple(_frame_numbers(sample) for sample, _ in succeeded) if plan.keeps_frames else (),
        start_s=tuple(start for start, _ in intervals),
        end_s=tuple(end for _, end in intervals),
        **_times_of([sample for sample, _ in succeeded], plan),
    )


def _times_of(samples: Sequence[PendingSample], plan: ExtractionPlan) -> dict[str, Any]:
    """Return the times of frames, as fields of Features."""
    if plan.keeps_frames:
        return {"times_s": tuple(map(_times, samples))} if any(sample.times_s for sample in samples) else {}
    if not plan.frame_grids or not samples:
        return {}
    names = list(plan.frame_grids)
    differing = [name for name in names[1:] if _frames(plan, name) != _frames(plan, names[0])]
    times = {name: tuple(_audio_times(plan, name, sample) for sample in samples) for name in [names[0], *differing]}
    return {"times_s": times.pop(names[0]), "times_by_layer": times}


def _frames(plan: ExtractionPlan, name: str) -> tuple[object, ...]:
    """Return the values that determine the times of a layer's frames."""
    layer = plan.layer[name]
    shape, axis = layer.shape, sequence_axis(layer)
    return plan.frame_grids[name], layer.suffix_tokens, None if shape is None or axis is None else shape[axis]


def _audio_times(plan: ExtractionPlan, name: str, sample: PendingSample) -> tuple[float, ...]:
    """Return the time of each frame of a sample at an unpooled layer, in seconds from the start of the recording."""
    axis, grid = sequence_axis(plan.layer[name]) or 0, plan.frame_grids[name]
    rows = ((sample.starts_s[number], sample.pooled[name][number]) for number in range(sample.done))
    return tuple(start + time for start, row in rows if row.positions for time in grid.times_s(row.values.shape[axis]))


class RecordingPooler:
    """Pools the vectors of each recording's windows, if the caller wants that."""

    def __init__(self, plan: ExtractionPlan) -> None:
        self._plan = plan
        self._pool = parse_temporal_pool(plan.windowing.temporal_pool if plan.windowing is not None else "none")
        self._running = RunningPool(self._pool)
        self._error: SampleError | None = None

    def merged(
        self, results: list[tuple[PendingSample, dict[str, FloatArray]]]
    ) -> list[tuple[PendingSample, dict[str, FloatArray]]]:
        """Return each finished recording with its pooled vectors. A recording fails with its first failed window."""
        if not self._plan.pools_windows:
            return results
        finished = []
        for sample, vectors in results:
            if sample.is_first:
                self._running, self._error = RunningPool(self._pool), None
            self._error = self._error or sample.error
            if self._error is None:
                self._running.add(vectors)
            if not sample.is_last:
                continue
            sample.error = self._error
            if sample.interval_s is not None:
                sample.interval_s = (0.0, sample.interval_s[1])
            finished.append((sample, {} if self._error else self._pooled()))
        return finished

    def _pooled(self) -> dict[str, FloatArray]:
        pooled = self._running.result()
        return {name: unit_vectors(vector, -1) for name, vector in pooled.items()} if self._plan.normalize else pooled


def empty_matrices(plan: ExtractionPlan) -> dict[str, FloatArray]:
    """Return a matrix without rows for each layer, for an extraction in which no sample succeeded."""
    return {name: np.empty((0, size or 0), np.float32) for name, size in widths_of(plan).items()}


def widths_of(plan: ExtractionPlan) -> dict[str, int | None]:
    """Return the number of features of a sample at each layer; None where it is unknown or varies."""
    return {name: width(pool, plan.layer[name], _temporal(plan, name)) for name, pool in plan.pools.items()}


def _temporal(plan: ExtractionPlan, name: str) -> TemporalChoice | None:
    """Return the temporal pooling of a layer: of the rows of a sample, or of the windows of a recording."""
    if plan.windowing is not None and plan.pools_windows:
        return parse_temporal_pool(plan.windowing.temporal_pool)
    return plan.temporal.get(name)


def require_channel_axes(backbone: Backbone, pools: Mapping[str, str]) -> None:
    """Raises: UsageError for an unpooled layer without a known channel axis, whose vectors cannot be normalized."""
    if backbone.preprocess.rows_are_samples:
        return
    axes_by_layer = {layer.name: layer.axes for layer in backbone.layers}
    for name, pool in pools.items():
        axes = axes_by_layer[name]
        if pool == "none" and "channel" not in (axes or ()):
            raise UsageError(
                f"{backbone.spec.id}, layer {name}: normalize=True with pool='none' needs a channel axis, and the axes "
                f"are '{' '.join(axes or ('unknown',))}'. Pool the layer, or declare its axes"
            )


def _times(sample: PendingSample) -> tuple[float, ...]:
    return tuple(sample.times_s.get(number, math.nan) for number in range(sample.done))


def _frame_numbers(sample: PendingSample) -> tuple[int, ...]:
    return tuple(sample.frame_numbers[number] for number in range(sample.done) if number in sample.frame_numbers)


def extraction_provenance(plan: ExtractionPlan) -> dict[str, Any]:
    """Return the provenance of the features of a plan."""
    backbone = plan.backbone
    text_inputs = backbone.preprocess if isinstance(backbone.preprocess, TextPreprocessor) else None
    return {
        **of_layers(plan.provenance, plan.pools),
        "pooling": dict(plan.pools),
        "normalize": plan.normalize,
        "image_pooling": dict(plan.row_pools) if plan.pools != plan.row_pools else None,
        "temporal_pool": {name: str(choice) for name, choice in plan.temporal.items()} or None,
        **backbone.variation.to_plain(),
        "special_tokens": plan.special_tokens if backbone.preprocess.knows_special_tokens else None,
        "sampling": _sampling_of(backbone),
        "overlap": backbone.preprocess.overlap,
        "windows": None if plan.windowing is None else asdict(plan.windowing),
        "prompt": text_inputs.prompt.text if text_inputs else None,
        "decode": decoding_of(backbone.preprocess),
    }


def _sampling_of(backbone: Backbone) -> dict[str, Any] | None:
    preprocess = backbone.preprocess
    return preprocess.sampling.to_plain() if isinstance(preprocess, VideoPreprocessor) else None


def _vectors(plan: ExtractionPlan, sample: PendingSample) -> dict[str, FloatArray]:
    """Return the features of a finished sample by layer. Sets ``sample.error`` where they are missing or not finite."""
    if sample.error is not None:
        return {}
    if sample.cached:
        return {name: sample.cached[name].values for name in plan.pools}
    vectors = {}
    for name in plan.pools:
        rows = [sample.pooled[name][number] for number in range(sample.done)]
        vector = _vector(plan, name, rows)
        if vector is None:
            sample.error = _no_positions(plan, name, sample.id)
            break
        if plan.normalize and not plan.pools_windows:
            is_raw = plan.pools[name] == "none" and name not in plan.temporal
            vector = unit_vectors(vector, _channel_axis(plan.layer[name]) if is_raw else -1)
        vectors[name] = vector
        if not np.isfinite(vector).all():
            sample.error = SampleError(
                sample.id, f"its features at layer {name} are not finite (nan or inf) in {plan.backbone.precision}"
            )
    return vectors


def _vector(plan: ExtractionPlan, name: str, rows: list[PooledRow]) -> FloatArray | None:
    """Merge the rows of one sample at one layer; None if no row has a position to pool."""
    pool, row_pool = plan.pools[name], plan.row_pools[name]
    has_objects = OBJECT_AXIS in (plan.layer[name].axes or ())
    if plan.backbone.preprocess.rows_are_samples:
        nonempty = [row for row in rows if row.positions] if has_objects else rows
        if plan.temporal[name].name == "none" and len(nonempty) < len(rows):
            return None
        rows = nonempty
    elif pool != "cls" and not (pool == "none" and has_objects):  # no objects are an array without rows
        rows = [row for row in rows if row.positions]
    if not rows:
        return None
    if name in plan.temporal:
        return pool_sequence(np.stack([merge([values], [1], row_pool) for values, _ in rows]), plan.temporal[name])
    axis = (sequence_axis(plan.layer[name]) or 0) if pool == "none" else 0
    return merge([row.values for row in rows], [row.positions or 0 for row in rows], pool, axis=axis)


def _no_positions(plan: ExtractionPlan, name: str, sample_id: str) -> SampleError:
    """Return the error for a sample without any position to pool at a layer."""
    layer = plan.layer[name]
    if OBJECT_AXIS in (layer.axes or ()):
        return NoObjectsError(
            sample_id,
            f"no objects are found in it, so that there are none to pool at layer {name}. Next: pool='none' gives an "
            "array without rows for it, errors='skip' continues without it, and some detectors have an argument for "
            "the least score of an object",
        )
    excluded = [
        f"{count} {kind} tokens" for kind in ("prefix", "suffix") if (count := getattr(layer, f"{kind}_tokens") or 0)
    ]
    if not plan.special_tokens:
        excluded.append("its special tokens")
    reason = f"no positions are left to pool at layer {name} without {' and '.join(excluded) or 'padding'}"
    return SampleError(sample_id, reason)


def _channel_axis(layer: Layer) -> int:
    """Return the axis of a sample's unpooled features that holds channels, counted from the last."""
    axes = layer.axes
    if axes is None:
        return -1
    without_batch = [axis for axis in axes if axis != "batch"]
    return without_batch.index("channel") - len(without_batch)
