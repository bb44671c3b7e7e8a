"""Trace a model, and refuse a declaration that the trace contradicts. :mod:`layerzoo.runtime.declarations` compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from layerzoo.runtime.batch import Batch
from layerzoo.runtime.completion import selected_shape
from layerzoo.runtime.cut import find_call, shape_of
from layerzoo.runtime.declarations import LayerEvidence, check_cls_token, check_frames, check_layer
from layerzoo.runtime.description import known_chain
from layerzoo.runtime.naming import name_layers
from layerzoo.runtime.trace import Trace
from layerzoo.runtime.tracer import BATCH_SIZE, Tracer
from layerzoo.spec import AudioPreprocess, Layer, ModelSpec, TextPreprocess, reference_input

_LARGE_FLOPS = 20_000_000_000
"""Above that, a network that can only be traced by running it is not run again to check its declaration."""


def verify_declaration(tracer: Tracer, declared: ModelSpec, elsewhere: Sequence[Layer]) -> None:
    """Refuse a declaration written by hand that a trace contradicts. Generated catalogues are not checked.

    Args:
        declared: the spec without the additions of the library.
        elsewhere: layers whose shapes may have been stated for another size of the input.
    Raises: DeclarationError.
    """
    spec = tracer.spec
    if isinstance(spec.preprocess, TextPreprocess) and spec.preprocess.cls_token:
        library_fields = (tracer.hooks.describe(spec, tracer.files) or {}).get("preprocess") or {}
        check_cls_token(spec, tracer.preprocess, library_fields.get("cls_token"))
    preprocess = spec.preprocess if spec.layers else declared.preprocess
    has_hop = isinstance(preprocess, AudioPreprocess) and preprocess.frame_hop_samples is not None
    if spec.traced_with or not (spec.layers or has_hop):
        return
    is_costly = costs_much(tracer)
    for layer in spec.layers:
        if (evidence := layer_evidence(tracer, layer, is_costly=is_costly)) is not None:
            has_own = layer not in elsewhere
            check_layer(layer, evidence, model=spec.id, modality=tracer.preprocess.modality, has_own_shape=has_own)
    if has_hop:
        verify_frames(tracer, is_costly=is_costly)


def costs_much(tracer: Tracer) -> bool:
    """Return whether a network takes too long to be run at further input sizes."""
    return tracer.full_trace().mode == "real" and tracer.flops > _LARGE_FLOPS


def layer_evidence(tracer: Tracer, layer: Layer, *, is_costly: bool) -> LayerEvidence | None:
    """Return the evidence of traces about a layer; None where nothing is declared that they could contradict.

    Args:
        tracer: of the model.
        layer: as it is declared.
        is_costly: trace at the model's own input size only.
    Raises: LayerError where the layer does not fit the network.
    """
    spec = tracer.spec
    has_tokens = layer.prefix_tokens is not None or bool(layer.suffix_tokens) or layer.last_tokens is not None
    needs_probes = layer.axes is not None or has_tokens
    if not needs_probes and layer.shape is None:
        return None
    call = find_call(tracer.trace, layer, model=spec.id)
    shape = shape_of(tracer.trace, layer, model=spec.id)
    if layer.axes is not None and len(layer.axes) != len(shape):
        return None  # completing the layer raises the error
    layout = tracer.layout(call, layer) if needs_probes and not is_costly else None
    axes = layer.axes or (layout.axes if layout else None)
    return LayerEvidence(
        shape=selected_shape(layer, axes, shape, model=spec.id),
        layout=layout,
        batch_size=BATCH_SIZE,
        example=reference_input(spec.preprocess) if spec.preprocess else "the example",
        added=_added_tokens(tracer.trace, layer, axes, shape) if has_tokens else None,
    )


def _added_tokens(
    trace: Trace, layer: Layer, axes: tuple[str, ...] | None, shape: tuple[int, ...]
) -> tuple[int, int] | None:
    """Count the tokens that the network adds before those of the input and after them; None without a token axis."""
    at = next((at for at, axis in enumerate(axes or ()) if axis in ("token", "time", "frame")), None)
    return None if at is None else trace.added_tokens(layer, at, shape[at])


def _layers_over_time(tracer: Tracer, *, is_costly: bool) -> list[Layer]:
    """Return the declared layers with a time axis; else those that the trace names, else the outputs of all modules."""
    if is_costly:
        return [layer for layer in tracer.spec.layers if "time" in (layer.axes or ())]
    calls = [call for call in tracer.trace.calls if call.module and None in call.outputs]
    named_layers = name_layers(tracer.trace, known_chain(tracer.spec, tracer.hooks, tracer.files))
    module_layers = [
        Layer(name=f"module:{call.module}#{call.index}", module=call.module, call=call.index) for call in calls
    ]
    for layers in (tracer.spec.layers, named_layers, module_layers):
        with_axes = [replace(layer, axes=tracer.axes(layer)) for layer in layers]
        if over_time := [layer for layer in with_axes if "time" in (layer.axes or ())]:
            return over_time
    return []


def verify_frames(tracer: Tracer, *, is_costly: bool) -> None:
    """Compare the declared frames with those of layers that have a time axis, at one or two lengths of the input.

    Raises: DeclarationError.
    """
    layers = _layers_over_time(tracer, is_costly=is_costly)
    example = tracer.preprocess.example(BATCH_SIZE)
    longer = tracer.preprocess.example(BATCH_SIZE, "length")
    longer_trace = None if longer is None else tracer.enlarged(longer, "length")
    pairs = [(example, tracer.trace), (longer, longer_trace)]

    def frames(trace: Trace) -> list[int]:
        shapes = [shape_of(trace, layer, model=tracer.spec.id) for layer in layers]
        return [shape[(layer.axes or ()).index("time")] for layer, shape in zip(layers, shapes, strict=True)]

    traced = [
        (_samples(tracer.spec, batch, times=times), frames(trace))
        for times, (batch, trace) in enumerate(pairs, start=1)
        if batch is not None and trace is not None
    ]
    check_frames(tracer.spec, layers, traced)


def _samples(spec: ModelSpec, batch: Batch, *, times: int) -> int:
    """Return the number of audio samples that a network received: those of the batch, or of its window if that is
    longer.

    times: the length of the window, as a multiple of the declared one.
    """
    declared = spec.preprocess
    if isinstance(declared, AudioPreprocess) and declared.window_s is not None:
        return max(batch.total, times * round(declared.window_s * declared.sample_rate_hz))
    return batch.total
