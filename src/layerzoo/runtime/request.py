"""From what a caller asks for to completed layers with their poolings. Every mistake of the caller surfaces here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerzoo.errors import UsageError
from layerzoo.layers import select
from layerzoo.pooling import check_pooling
from layerzoo.runtime.blueprint import Blueprint
from layerzoo.spec import Layer

LayerChoice = str | Sequence[str] | None
PoolChoice = str | Mapping[str, str] | None


def choose_layers(blueprint: Blueprint, layer: LayerChoice) -> tuple[Layer, ...]:
    """The layers that are asked for, completed, in the order asked for. Raises: LayerError, UnknownLayerError."""
    spec = blueprint.spec
    selectors = [spec.default.layer] if layer is None else [layer] if isinstance(layer, str) else list(layer)
    if not selectors:
        raise UsageError("no layer is asked for: leave `layer` out for the model's default")
    chosen = [found for selector in selectors for found in select(spec.layers, selector, model=spec.id)]
    known = {found.name for found in spec.layers}
    return tuple(found if found.name in known else blueprint.complete(found) for found in dict.fromkeys(chosen))


def choose_pools(blueprint: Blueprint, layers: Sequence[Layer], pool: PoolChoice) -> dict[str, str]:
    """Layer name → pooling.

    pool: one for all; or a mapping from layer names or selectors, in which what is missing gets the default: the
    model's own at its default layer, else `mean`.
    Raises: PoolingError when one does not fit its layer.
    """
    spec = blueprint.spec
    given = _by_name(blueprint, pool) if isinstance(pool, Mapping) else {layer.name: pool for layer in layers if pool}
    if strangers := set(given) - {layer.name for layer in layers}:
        raise UsageError(f"a pooling is given for {', '.join(sorted(strangers))}, and that layer is not asked for")
    default = {found.name for found in select(spec.layers, spec.default.layer, model=spec.id)} if spec.layers else set()
    pools = {
        layer.name: given.get(layer.name) or (spec.default.pool if layer.name in default else "mean")
        for layer in layers
    }
    for layer in layers:
        check_pooling(
            pools[layer.name],
            layer,
            model=spec.id,
            masked=blueprint.preprocess.variable_length,
            cls_token=blueprint.preprocess.cls_token,
        )
    return pools


def _by_name(blueprint: Blueprint, pool: Mapping[str, str]) -> dict[str, str]:
    spec = blueprint.spec
    return {
        found.name: name for selector, name in pool.items() for found in select(spec.layers, selector, model=spec.id)
    }
