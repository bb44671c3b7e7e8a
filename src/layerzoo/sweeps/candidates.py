"""The candidates of a sweep: layers with a pooling, and combinations of layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import select_all
from layerzoo.runtime import Backbone
from layerzoo.runtime.fine import FINE, FINE_NAME
from layerzoo.runtime.several import bytes_to_load, load_several, milliseconds_per_sample, usual_layers
from layerzoo.spec import ModelSpec
from layerzoo.sweeps.collection import Collected
from layerzoo.sweeps.evaluation import Vectors

_REPEATED = re.compile(r"(?:block|stage)\.\d+")
_TIMED = 8
"""Samples whose forward pass is timed."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A candidate before it is measured."""

    model: str
    layer: str
    pool: str
    layers: tuple[str, ...]
    source: Vectors
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_default: bool = False

    def matrix(self) -> NDArray[np.float32]:
        """Return (sample, channel), the layers of a combination side by side."""
        return self.source.matrices[0] if len(self.source.matrices) == 1 else np.concatenate(self.source.matrices, 1)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCandidates:
    """A model that reads all its candidate layers."""

    backbone: Backbone
    meanings: Mapping[str, tuple[str, str]]
    """The layer and the pooling by name of a layer of the backbone."""
    default: str
    """The default layer of the model."""


def layers_by_model(specs: Sequence[ModelSpec], layers: Sequence[str]) -> list[list[str]]:
    """Return the selectors for each model. Of several models, each gets those that select a layer of it.

    Args:
        specs: the models.
        layers: names or selectors.
    Raises: UnknownLayerError, LayerError for a selector without a layer in any model, and for a model without any.
    """
    if len(specs) == 1 or not layers:
        return [list(layers) for _ in specs]
    failures: dict[str, LayerError | UnknownLayerError] = {}
    selectors_by_model = []
    for spec in specs:
        fitting = []
        for selector in layers:
            try:
                if selector != FINE and not FINE_NAME.fullmatch(selector):
                    select_all(spec.layers, [selector], model=spec.id)
                fitting.append(selector)
            except (LayerError, UnknownLayerError) as error:
                failures[selector] = error
        if not fitting:
            raise next(iter(failures.values()))
        selectors_by_model.append(fitting)
    selected = {selector for selectors in selectors_by_model for selector in selectors}
    if (unknown := next((selector for selector in layers if selector not in selected), None)) is not None:
        raise failures[unknown]
    return selectors_by_model


def load_candidates(
    model: str | ModelSpec, spec: ModelSpec, layers: Sequence[str], pools: Sequence[str], network: Mapping[str, Any]
) -> LoadedCandidates:
    """Load a model with the layers to compare.

    Args:
        model: an id, or a spec.
        spec: the same with all facts about its layers.
        layers: names or selectors. Empty: the usual ones.
        pools: names of poolings. Empty: the default pooling of each layer.
        network: its device and precision.
    Raises: the errors of :func:`layerzoo.load`.
    """
    selectors = list(layers) or usual_layers(spec)
    if FINE in selectors:
        selectors = [*usual_layers(spec), *selectors]
    default = select_all(spec.layers, [spec.default.layer], model=spec.id)[0].name
    return LoadedCandidates(*load_several(model, selectors, pools, **network), default)


def candidates_of(
    loaded: LoadedCandidates, collected: Collected, rows: NDArray[np.intp], sources: Sequence[Any], *, combine: bool
) -> list[Candidate]:
    """Return the candidates of one model, with the cost of each.

    Args:
        loaded: the model.
        collected: its features of all samples.
        rows: the numbers of the samples that are used.
        sources: of all samples; a few of those that are used are timed.
        combine: also return combinations of the blocks.
    """
    backbone = loaded.backbone
    milliseconds = milliseconds_per_sample(backbone, [sources[row] for row in rows[:_TIMED]])
    sizes = bytes_to_load(backbone)
    is_whole = len(rows) == len(sources)
    candidates = []
    for layer in backbone.layers:
        name, pool = loaded.meanings[layer.name]
        matrix = collected.by_layer[layer.name]
        vectors = Vectors([matrix if is_whole else matrix[rows]])
        facts = {
            "depth": layer.depth,
            "params": layer.params,
            "flops": layer.flops,
            "milliseconds": milliseconds.get(layer.name),
            "bytes": sizes[layer.name],
        }
        candidates.append(Candidate(backbone.spec.id, name, pool, (name,), vectors, facts, name == loaded.default))
    return candidates + (_combined(candidates) if combine else [])


def _combined(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the mean over the blocks, and the principal components of all blocks, for each pooling."""
    combined = []
    for pool in dict.fromkeys(candidate.pool for candidate in candidates):
        blocks = [
            candidate for candidate in candidates if candidate.pool == pool and _REPEATED.fullmatch(candidate.layer)
        ]
        if len(blocks) < 2:
            continue
        names = tuple(name for block in blocks for name in block.layers)
        deepest = max(blocks, key=lambda block: block.facts.get("depth") or 0.0).facts
        matrices = [block.source.matrices[0] for block in blocks]
        parts = [(f"PCA of {len(blocks)} layers", Vectors(matrices, reduce=True))]
        if len({matrix.shape[1] for matrix in matrices}) == 1:
            parts.insert(0, (f"mean of {len(blocks)} layers", Vectors([np.mean(matrices, axis=0)])))
        combined += [Candidate(blocks[0].model, name, pool, names, source, deepest) for name, source in parts]
    return combined
