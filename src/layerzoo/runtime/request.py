"""Choose layers and poolings from the arguments of a caller. All mistakes in these arguments are reported here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from layerzoo.errors import LayerError, UnknownLayerError, UsageError
from layerzoo.layers import MAX_PATTERNS, select, select_all
from layerzoo.plugins.pooling import plugin_pooling
from layerzoo.pooling import check_pooling, is_of_plugin
from layerzoo.runtime.fine import FINE, FINE_NAME, fine_layers
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.spec import IN_MEMORY, Layer

LayerChoice = str | Sequence[str] | None
PoolChoice = str | Mapping[str, str] | None


def choose_layers(resolved: ResolvedModel, layer: LayerChoice) -> tuple[Layer, ...]:
    """Return the requested layers with all facts, in the requested order.

    Raises: UsageError, LayerError, UnknownLayerError.
    """
    spec = resolved.spec
    requested = spec.default.layer if layer is None else layer
    selectors = [requested] if isinstance(requested, str) or not isinstance(requested, Iterable) else list(requested)
    if not all(isinstance(selector, str) for selector in selectors):
        raise UsageError(f"layer={layer!r} is neither the name of a layer nor a list of names")
    if not selectors:
        raise UsageError("no layer is requested: omit `layer` for the model's default")
    chosen = _selected(resolved, selectors)
    declared = {candidate.name for candidate in spec.layers}
    return tuple(candidate if candidate.name in declared else resolved.complete(candidate) for candidate in chosen)


def _selected(resolved: ResolvedModel, selectors: Sequence[str]) -> list[Layer]:
    """Return the layers of selectors, which may name activations inside blocks. Raises: LayerError."""
    spec = resolved.spec
    names = {layer.name for layer in spec.layers}
    if not any(selector == FINE or (FINE_NAME.fullmatch(selector) and selector not in names) for selector in selectors):
        return select_all(spec.layers, selectors, model=spec.id)
    fine = fine_layers(resolved)
    expanded = [
        name for selector in selectors for name in ([layer.name for layer in fine] if selector == FINE else [selector])
    ]
    return select_all((*spec.layers, *fine), expanded, model=spec.id)


def choose_pools(resolved: ResolvedModel, layers: Sequence[Layer], pool: PoolChoice) -> dict[str, str]:
    """Return layer name → pooling.

    Args:
        pool: one for all layers; or a mapping from layer names or selectors, where later entries override earlier ones.
            Layers without an entry get the default: the model's own at its default layer, else `mean`.
    Raises: PoolingError when a pooling does not fit its layer, UsageError for an entry of a layer that is not
        requested.
    """
    requested = _requested(resolved, layers, pool)
    pools = {**default_pools(resolved, layers), **requested}
    check_pools(resolved, layers, pools)
    return pools


def default_pools(resolved: ResolvedModel, layers: Sequence[Layer]) -> dict[str, str]:
    """Return layer name → pooling where the caller requests none. It may not fit the layer: see :func:`check_pools`."""
    spec, default = resolved.spec, _default_names(resolved)
    return {layer.name: spec.default.pool if layer.name in default else "mean" for layer in layers}


def check_pools(resolved: ResolvedModel, layers: Sequence[Layer], pools: Mapping[str, str]) -> None:
    """Raises: PoolingError when the pooling of a layer does not fit it. pools: layer name → pooling."""
    for layer in layers:
        check_pooling(
            pools[layer.name],
            layer,
            model=resolved.spec.id,
            masked=resolved.preprocess.variable_length,
            cls_token=resolved.preprocess.cls_token,
            is_in_memory=resolved.spec.builder == IN_MEMORY,
        )
        if is_of_plugin(pools[layer.name]):
            plugin_pooling(pools[layer.name])


def _default_names(resolved: ResolvedModel) -> set[str]:
    """Return the names of the model's default layers; none if the default selects none. Requesting it is an error."""
    spec = resolved.spec
    try:
        return {layer.name for layer in select(spec.layers, spec.default.layer, model=spec.id)}
    except (LayerError, UnknownLayerError):
        return set()


def _requested(resolved: ResolvedModel, layers: Sequence[Layer], pool: PoolChoice) -> dict[str, str]:
    """Return the requested poolings, by layer name."""
    names = [layer.name for layer in layers]
    if pool is None:
        return {}
    if isinstance(pool, str):
        return dict.fromkeys(names, pool)
    if not isinstance(pool, Mapping) or not all(isinstance(word, str) for pair in pool.items() for word in pair):
        raise UsageError(f"pool={pool!r} is neither the name of a pooling nor a mapping from layers to such names")
    most = MAX_PATTERNS + len(resolved.spec.layers)
    if len(pool) > most:
        raise UsageError(f"poolings are given for {len(pool):,} layers, and at most {most:,} can be")
    requested: dict[str, str] = {}
    for selector, name in pool.items():
        selected = {layer.name for layer in select(resolved.spec.layers, selector, model=resolved.spec.id)}
        if selected.isdisjoint(names):
            raise UsageError(f"a pooling is given for {selector}, and that is not among the layers: {', '.join(names)}")
        requested |= dict.fromkeys(selected & set(names), name)
    return requested
