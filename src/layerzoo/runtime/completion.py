"""Complete the declaration of a layer with facts from traces of its network: axes, shape, tokens, cost, depth."""

from __future__ import annotations

from dataclasses import replace

from layerzoo.errors import LayerError
from layerzoo.runtime.axes import AxisLayout
from layerzoo.runtime.cut import find_call, shape_of
from layerzoo.runtime.tracer import BATCH_SIZE, Tracer
from layerzoo.spec import Layer


def complete_layer(tracer: Tracer, layer: Layer, *, keep_shape: bool = False) -> Layer:
    """Return the layer with all facts that traces show.

    Declared axes and prefix tokens stay, and must fit. Sizes and costs are those of this network at this input size.

    Args:
        keep_shape: keep a declared shape, even where the trace contradicts it.
    Raises: LayerError.
    """
    model = tracer.spec.id
    call = find_call(tracer.trace, layer, model=model)
    shape = shape_of(tracer.trace, layer, model=model)
    layout = None if _has_axes_and_prefix(tracer, layer) else tracer.layout(call, layer)
    axes = layer.axes or (layout.axes if layout else None)
    if axes is not None and len(axes) != len(shape):
        raise LayerError(
            f"{model}, layer {layer.name}: the declared axes '{' '.join(axes)}' do not fit its shape {shape}"
        )
    shape = selected_shape(layer, axes, shape, model=model)
    step = call.end if layer.at == "output" else call.start
    flops, total = tracer.trace.flops_until(step), tracer.flops
    return replace(
        layer,
        axes=axes,
        shape=layer.shape if keep_shape and layer.shape else _without_batch(shape, axes),
        prefix_tokens=_prefix_tokens(tracer, layer, layout, axes),
        params=tracer.trace.params_until(step),
        flops=flops,
        depth=round(flops / total, 4) if total else None,
    )


def complete_layers(tracer: Tracer, layers: tuple[Layer, ...], *, keep_shape: bool = False) -> tuple[Layer, ...]:
    """Complete layers, and sort them by when their activations exist. Arguments, errors: :func:`complete_layer`."""
    completed = [complete_layer(tracer, layer, keep_shape=keep_shape) for layer in layers]
    return tuple(sorted(completed, key=lambda layer: find_call(tracer.trace, layer, model=tracer.spec.id).end))


def selected_shape(
    layer: Layer, axes: tuple[str, ...] | None, shape: tuple[int, ...], *, model: str
) -> tuple[int, ...]:
    """Return the shape of the tokens that a layer selects from an activation.

    Raises: LayerError where the activation has fewer tokens.
    """
    if layer.last_tokens is None:
        return shape
    sizes = dict(zip(axes or (), shape, strict=False))
    if not 0 < layer.last_tokens <= sizes.get("token", 0):
        raise LayerError(
            f"{model}, layer {layer.name}: there are no last {layer.last_tokens} tokens on the axes "
            f"'{' '.join(axes or ('unknown',))}' of {shape}"
        )
    return tuple((sizes | {"token": layer.last_tokens}).values())


def _has_axes_and_prefix(tracer: Tracer, layer: Layer) -> bool:
    """Return whether the declaration of a layer states everything that larger inputs could show."""
    needs_prefix = "token" in (layer.axes or ()) and tracer.preprocess.modality in ("vision", "video")
    return layer.axes is not None and (layer.prefix_tokens is not None or not needs_prefix)


def _prefix_tokens(tracer: Tracer, layer: Layer, layout: AxisLayout | None, axes: tuple[str, ...] | None) -> int | None:
    if layer.prefix_tokens is not None or axes is None or "token" not in axes:
        return layer.prefix_tokens
    if layout is not None and layout.prefix_tokens is not None:
        return layout.prefix_tokens - (layer.suffix_tokens or 0)
    return 0 if tracer.preprocess.modality == "text" else None


def _without_batch(shape: tuple[int, ...], axes: tuple[str, ...] | None) -> tuple[int, ...] | None:
    if axes is None or "batch" not in axes:
        return shape[1:] if shape[:1] == (BATCH_SIZE,) else None
    return tuple(size for size, axis in zip(shape, axes, strict=True) if axis != "batch")
