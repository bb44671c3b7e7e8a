"""Read many layers of a model in one pass, some of them with several poolings, and measure the cost of each."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from layerzoo.errors import LayerzooError, SampleError
from layerzoo.layers import select_all
from layerzoo.pooling import POSITION_AXES, check_pooling
from layerzoo.runtime.backbone import Backbone, network_of, resolved_model, with_layers
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.cut import plan_cut
from layerzoo.runtime.devices import DeviceChoice
from layerzoo.runtime.loading import load
from layerzoo.runtime.precision import RequestedPrecision
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.spec import IN_MEMORY, Layer, ModelSpec

_USUAL = re.compile(r"(?:branch\.\d+\.)?(?:stem|block\.\d+|stage\.\d+|norm|pooled|embedding)")
"""The layers of a sweep if none are chosen. The blocks within stages are more, and can be chosen."""
_RUNS = 3
"""Timed forward passes after the first one; the median counts."""
_ROWS = 16
"""The most rows in a timed forward pass."""


def load_several(
    model: str | ModelSpec,
    layers: Sequence[str],
    pools: Sequence[str] = (),
    *,
    weights: str | os.PathLike[str] | None = None,
    device: DeviceChoice = "cpu",
    precision: RequestedPrecision = "float32",
) -> tuple[Backbone, dict[str, tuple[str, str]]]:
    """Load a network that reads each layer with each pooling that fits it.

    Args:
        model: an id, or a spec.
        layers: names or selectors.
        pools: names of poolings. Empty: the default pooling of each layer.
        weights: as for :func:`layerzoo.load`.
        device: as for :func:`layerzoo.load`.
        precision: as for :func:`layerzoo.load`.
    Returns: the backbone, and for each name of its layers its layer and pooling. A layer with
        several poolings has a name for each.
    Raises: the errors of :func:`layerzoo.load`; PoolingError for a pooling that fits none of the layers.
    """
    options: dict[str, Any] = {"weights": weights, "device": device, "precision": precision}
    if not pools:
        backbone = load(model, layer=list(layers), **options)
        return backbone, {name: (name, pool) for name, pool in backbone.pools.items()}
    backbone = load(model, layer=list(layers), pool="none", **options)
    resolved, meanings, variants = resolved_model(backbone), {}, []
    refusals: list[LayerzooError] = []
    for layer in backbone.layers:
        has_positions = not POSITION_AXES.isdisjoint(layer.axes or POSITION_AXES)
        for pool in list(dict.fromkeys(pools))[: None if has_positions else 1]:  # without positions all are equal
            try:
                _check(resolved, layer, pool)
            except LayerzooError as error:
                refusals.append(error)
                continue
            name = layer.name if len(pools) == 1 else f"{layer.name} {pool}"
            meanings[name] = (layer.name, pool)
            variants.append(replace(layer, name=name))
    if not variants:
        raise refusals[0]
    return with_layers(backbone, variants, {name: pool for name, (_, pool) in meanings.items()}), meanings


def usual_layers(spec: ModelSpec) -> list[str]:
    """Return the names of the layers to compare if none are chosen: those with channels, and the default ones.

    Args:
        spec: with all facts about its layers.
    """
    names = [
        layer.name
        for layer in spec.layers
        if _USUAL.fullmatch(layer.name) and "channel" in (layer.axes or ("channel",))
    ]
    default = select_all(spec.layers, [spec.default.layer], model=spec.id)
    return list(dict.fromkeys([*names, *(layer.name for layer in default)]))


def _check(resolved: ResolvedModel, layer: Layer, pool: str) -> None:
    """Raises: PoolingError where a pooling does not fit a layer."""
    preprocess = resolved.preprocess
    masked, cls_token = preprocess.variable_length, preprocess.cls_token
    is_in_memory = resolved.spec.builder == IN_MEMORY
    check_pooling(pool, layer, model=resolved.spec.id, masked=masked, cls_token=cls_token, is_in_memory=is_in_memory)


def bytes_to_load(backbone: Backbone) -> dict[str, int]:
    """Return the size of the tensors that a cut at each layer alone needs, by name of the layer.

    Args:
        backbone: from :func:`load_several`.
    """
    network, trace = network_of(backbone), resolved_model(backbone).tracer.reaching(backbone.layers, stop_early=False)
    sizes = {
        name: tensor.numel() * tensor.element_size()
        for name, tensor in (*network.network.named_parameters(), *network.network.named_buffers())
    }
    return {
        layer.name: sum(sizes.get(name, 0) for name in plan_cut(trace, [layer], model=backbone.spec.id).tensors)
        for layer in backbone.layers
    }


def milliseconds_per_sample(backbone: Backbone, sources: Sequence[Any]) -> dict[str, float]:
    """Measure the time from the start of a forward pass to each layer, for one sample, without decoding.

    Args:
        backbone: from :func:`load_several`.
        sources: a few samples. Those that cannot be decoded are skipped.
    Returns: milliseconds by name of the layer: the median of three runs. Empty if no sample can be used.
    """
    batch, samples = _batch(backbone, sources)
    if batch is None:
        return {}
    runs = [_timed(backbone, batch) for _ in range(_RUNS + 1)][1:]
    return {name: 1000 * median(run[name] for run in runs) / samples for name in runs[0]}


def _batch(backbone: Backbone, sources: Sequence[Any]) -> tuple[Batch | None, int]:
    """Return a batch of rows that may share one, and the number of their samples."""
    rows: list[Any] = []
    samples = 0
    for source in sources:
        try:
            more = list(backbone.preprocess.rows(source).rows)
        except SampleError:
            continue
        keys = {backbone.preprocess.bucket(row) for row in rows + more}
        if rows and (len(keys) > 1 or len(rows) + len(more) > _ROWS):
            break
        rows += more
        samples += 1
    return (backbone.preprocess.collate(rows) if rows else None), samples


def _timed(backbone: Backbone, batch: Batch) -> dict[str, float]:
    reached: dict[str, float] = {}

    def read(layer: Layer, activation: Tensor) -> Tensor:
        if activation.device.type == "cuda":
            torch.cuda.synchronize(activation.device)
        reached[layer.name] = time.perf_counter()
        return activation.new_empty(0)

    started = time.perf_counter()
    backbone.read(batch, read)
    return {name: moment - started for name, moment in reached.items()}
