"""From what a caller asks for to completed layers with their poolings. Every mistake of the caller surfaces here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from layerzoo.errors import LayerError, UnknownLayerError, UsageError
from layerzoo.layers import MAX_PATTERNS, select, select_all
from layerzoo.pooling import check_pooling
from layerzoo.runtime.blueprint import Blueprint
from layerzoo.spec import Layer

LayerChoice = str | Sequence[str] | None
PoolChoice = str | Mapping[str, str] | None


def choose_layers(blueprint: Blueprint, layer: LayerChoice) -> tuple[Layer, ...]:
    """The layers that are asked for, completed, in the order asked for.

    Raises: UsageError, LayerError, UnknownLayerError.
    """
    spec = blueprint.spec
    asked = spec.default.layer if layer is None else layer
    selectors = [asked] if isinstance(asked, str) or not isinstance(asked, Iterable) else list(asked)
    if not all(isinstance(selector, str) for selector in selectors):
        raise UsageError(f"layer={layer!r} is neither the name of a layer nor a list of names")
    if not selectors:
        raise UsageError("no layer is asked for: leave `layer` out for the model's default")
    chosen = select_all(spec.layers, selectors, model=spec.id)
    known = {found.name for found in spec.layers}
    return tuple(found if found.name in known else blueprint.complete(found) for found in chosen)


def choose_pools(blueprint: Blueprint, layers: Sequence[Layer], pool: PoolChoice) -> dict[str, str]:
    """Layer name → pooling.

    pool: one for all; or a mapping from layer names or selectors, of which later ones count more. What is missing gets
    the default: the model's own at its default layer, else `mean`.
    Raises: PoolingError when one does not fit its layer, UsageError when one is for a layer that is not asked for.
    """
    spec = blueprint.spec
    given = _given(blueprint, layers, pool)
    default = _default_names(blueprint)
    pools = {
        layer.name: given.get(layer.name, spec.default.pool if layer.name in default else "mean") for layer in layers
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


def _default_names(blueprint: Blueprint) -> set[str]:
    """The layers that the model's default means; where it means none, whoever asks for it is told."""
    spec = blueprint.spec
    try:
        return {found.name for found in select(spec.layers, spec.default.layer, model=spec.id)}
    except (LayerError, UnknownLayerError):
        return set()


def _given(blueprint: Blueprint, layers: Sequence[Layer], pool: PoolChoice) -> dict[str, str]:
    """The poolings that are asked for, by layer name."""
    asked = [layer.name for layer in layers]
    if pool is None:
        return {}
    if isinstance(pool, str):
        return dict.fromkeys(asked, pool)
    if not isinstance(pool, Mapping) or not all(isinstance(word, str) for pair in pool.items() for word in pair):
        raise UsageError(f"pool={pool!r} is neither the name of a pooling nor a mapping from layers to such names")
    most = MAX_PATTERNS + len(blueprint.spec.layers)
    if len(pool) > most:
        raise UsageError(f"poolings are given for {len(pool):,} layers, and at most {most:,} can be")
    given: dict[str, str] = {}
    for selector, name in pool.items():
        meant = {layer.name for layer in select(blueprint.spec.layers, selector, model=blueprint.spec.id)}
        if meant.isdisjoint(asked):
            raise UsageError(f"a pooling is given for {selector}, and that is not among the layers: {', '.join(asked)}")
        given |= dict.fromkeys(meant & set(asked), name)
    return given
