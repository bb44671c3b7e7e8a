"""Compute the features of finished samples from their pooled rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError, UsageError
from layerzoo.features import Features
from layerzoo.features.features import stacked
from layerzoo.pooling import width
from layerzoo.runtime.backbone import Backbone
from layerzoo.runtime.pending import PendingSample
from layerzoo.runtime.plan import ExtractionPlan
from layerzoo.runtime.pool import PooledRow, merge, sequence_axis
from layerzoo.runtime.preprocess import TextPreprocessor, VideoPreprocessor
from layerzoo.spec import Layer

FloatArray = NDArray[np.float32]

_SMALLEST_NORM = 1e-12
"""The smallest divisor of a vector, so that zeros stay zeros, as in torch.nn.functional.normalize."""


def features_of(plan: ExtractionPlan, samples: list[PendingSample]) -> Features:
    """Return the features of finished samples. Raises: SampleError for the first failed one, if the plan is strict."""
    vectors = [_vectors(plan, sample) for sample in samples]
    failed = tuple(sample.error for sample in samples if sample.error is not None)
    if failed and plan.strict:
        raise failed[0]
    good = [(sample, by_layer) for sample, by_layer in zip(samples, vectors, strict=True) if sample.error is None]
    report: Counter[str] = Counter()
    for sample in samples:
        if sample.error is None or sample.row_count == 0:  # samples that fail in the network are not counted
            report.update(sample.report)
    return Features(
        ids=tuple(sample.id for sample, _ in good),
        by_layer={name: stacked([by_layer[name] for _, by_layer in good]) for name in plan.pools} if good else {},
        errors=failed,
        provenance=_provenance(plan),
        report=dict(report),
        times_s=tuple(_times(sample) for sample, _ in good) if plan.keeps_frames else (),
        frame_numbers=tuple(_frame_numbers(sample) for sample, _ in good) if plan.keeps_frames else (),
    )


def empty_matrices(plan: ExtractionPlan) -> dict[str, FloatArray]:
    """Return a matrix without rows for each layer, for an extraction in which no sample succeeded."""
    return {
        name: np.empty((0, width(pool, layer_named(plan.backbone, name)) or 0), np.float32)
        for name, pool in plan.pools.items()
    }


def require_channel_axes(backbone: Backbone, pools: Mapping[str, str]) -> None:
    """Raises: UsageError for an unpooled layer without a known channel axis, whose vectors cannot be normalized."""
    if backbone.preprocess.rows_are_samples:
        return
    for name, pool in pools.items():
        axes = layer_named(backbone, name).axes
        if pool == "none" and "channel" not in (axes or ()):
            raise UsageError(
                f"{backbone.spec.id}, layer {name}: normalize=True with pool='none' needs a channel axis, and the axes "
                f"are '{' '.join(axes or ('unknown',))}'. Pool the layer, or declare its axes"
            )


def layer_named(backbone: Backbone, name: str) -> Layer:
    """Return a layer of a backbone by its name."""
    return next(layer for layer in backbone.layers if layer.name == name)


def _times(sample: PendingSample) -> tuple[float, ...]:
    return tuple(sample.times_s.get(number, math.nan) for number in range(sample.done))


def _frame_numbers(sample: PendingSample) -> tuple[int, ...]:
    return tuple(sample.frame_numbers[number] for number in range(sample.done) if number in sample.frame_numbers)


def _provenance(plan: ExtractionPlan) -> dict[str, Any]:
    backbone = plan.backbone
    text_inputs = backbone.preprocess if isinstance(backbone.preprocess, TextPreprocessor) else None
    layers = {name: address for name, address in plan.provenance["layers"].items() if name in plan.pools}
    return {
        **plan.provenance,
        "layers": layers,
        "pooling": dict(plan.pools),
        "normalize": plan.normalize,
        "image_pooling": dict(plan.row_pools) if plan.keeps_frames else None,
        **backbone.variation.to_plain(),
        "special_tokens": plan.special_tokens if text_inputs else None,
        **_sampling_of(backbone),
        "overlap": backbone.preprocess.overlap,
        "prompt": text_inputs.prompt.text if text_inputs else None,
    }


def _sampling_of(backbone: Backbone) -> dict[str, Any]:
    preprocess = backbone.preprocess
    return {"sampling": preprocess.sampling.to_plain()} if isinstance(preprocess, VideoPreprocessor) else {}


def _vectors(plan: ExtractionPlan, sample: PendingSample) -> dict[str, FloatArray]:
    """Return the features of a finished sample by layer. Sets ``sample.error`` where they are missing or not finite."""
    if sample.error is not None:
        return {}
    vectors = {}
    for name in plan.pools:
        rows = [sample.pooled[name][number] for number in range(sample.done)]
        vector = _vector(plan, name, rows)
        if vector is None:
            sample.error = SampleError(sample.id, _no_positions(plan, name))
            break
        if plan.normalize:
            vector = _normalized(vector, _channel_axis(plan.backbone, name, plan.pools[name]))
        vectors[name] = vector
        if not np.isfinite(vector).all():
            sample.error = SampleError(
                sample.id, f"its features at layer {name} are not finite (nan or inf) in {plan.backbone.precision}"
            )
    return vectors


def _vector(plan: ExtractionPlan, name: str, rows: list[PooledRow]) -> FloatArray | None:
    """Merge the rows of one sample at one layer; None if no row has a position to pool."""
    pool, row_pool = plan.pools[name], plan.row_pools[name]
    if plan.backbone.preprocess.rows_are_samples:
        frames = np.stack([merge([values], [1], row_pool) for values, _ in rows])
        return frames if pool == "none" else frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    if pool != "cls":
        rows = [row for row in rows if row.positions]
    if not rows:
        return None
    axis = sequence_axis(layer_named(plan.backbone, name)) or 0
    return merge([row.values for row in rows], [row.positions or 0 for row in rows], pool, axis=axis)


def _no_positions(plan: ExtractionPlan, name: str) -> str:
    layer = layer_named(plan.backbone, name)
    excluded = [
        f"{count} {kind} tokens" for kind in ("prefix", "suffix") if (count := getattr(layer, f"{kind}_tokens") or 0)
    ]
    if not plan.special_tokens:
        excluded.append("its special tokens")
    return f"no positions are left to pool at layer {name} without {' and '.join(excluded) or 'padding'}"


def _normalized(vectors: FloatArray, axis: int) -> FloatArray:
    """Divide vectors along an axis by their length."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=axis, keepdims=True)
    unit: FloatArray = (vectors / np.maximum(lengths, _SMALLEST_NORM)).astype(np.float32)
    return unit


def _channel_axis(backbone: Backbone, name: str, pool: str) -> int:
    """Return the axis of a sample's features that holds channels, counted from the last."""
    axes = layer_named(backbone, name).axes
    if pool != "none" or axes is None or backbone.preprocess.rows_are_samples:
        return -1
    without_batch = [axis for axis in axes if axis != "batch"]
    return without_batch.index("channel") - len(without_batch)
