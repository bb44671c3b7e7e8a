"""The tier `shape`: every declared layer runs, and has the declared properties. Weights are random."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Literal

from layerzoo.conformance.report import Finding
from layerzoo.conformance.static import finding
from layerzoo.conformance.subject import ModelSubject, Skip, reason_of
from layerzoo.errors import DeclarationError, LayerzooError, OutsideRepositoryError, PluginError, TraceError
from layerzoo.facts import traced_layers
from layerzoo.plugins.source_line import line_of
from layerzoo.runtime.construct import build_random
from layerzoo.runtime.cut import shape_of
from layerzoo.runtime.declarations import ADVICE, contradictions
from layerzoo.runtime.request import choose_layers, choose_pools
from layerzoo.runtime.trace import signature
from layerzoo.runtime.verification import costs_much, layer_evidence, verify_frames
from layerzoo.spec import AudioPreprocess, Layer

_COSTS = ("depth", "params", "flops")


def build(subject: ModelSubject) -> Iterator[Finding]:
    """Find a network that cannot be built, does not run, or is another one each time."""
    try:
        trace = subject.tracer.trace
        located = subject.located
        rebuilt = build_random(subject.tracer.spec, located.hooks, located.files, 1)
    except OutsideRepositoryError:
        raise  # static-network
    except LayerzooError as error:
        if isinstance(error, PluginError):  # it states the next step
            cause, _, fix = str(error).partition("\nNext: ")
            place = subject.owner.place_of(error)
            yield finding(subject, "shape-build", cause, place=place, fix=fix.split("\n", 1)[0] or None)
            return
        line = line_of(error, subject.located.hooks.folders) if isinstance(error, TraceError) else None
        place = subject.owner.place(line.path, line.number) if line else None
        yield finding(subject, "shape-build", reason_of(error), place=place)
        return
    if signature(rebuilt) != trace.signature:
        yield finding(subject, "shape-build", "the network that was built a second time has other tensors")


def layers(subject: ModelSubject) -> Iterator[Finding]:
    """Find declared layers that do not run, or that are ambiguous, and an order that is not that of execution."""
    declared = subject.tracer.spec.layers
    trace = subject.tracer.trace
    has_wrong_layer = False
    for layer in declared:
        try:
            shape_of(trace, layer, model=subject.spec.id)
        except LayerzooError as error:
            has_wrong_layer = True
            yield finding(subject, "shape-layers", reason_of(error))
    if not declared:
        subject.resolved  # noqa: B018 - names the layers
    elif not has_wrong_layer:
        try:
            ordered = [layer.name for layer in subject.resolved.spec.layers]
        except LayerzooError:
            if any(_fails(check, subject) for check in (axes, width, prefix_tokens, frames)):
                return
            raise
        if ordered != [layer.name for layer in declared]:
            cause = f"the layers are declared in another order than they run in: {', '.join(ordered)}"
            yield finding(subject, "shape-layers", cause)


def _fails(check: Callable[[ModelSubject], Iterator[Finding]], subject: ModelSubject) -> bool:
    """Return whether another check has a finding."""
    try:
        return any(check(subject))
    except Skip:
        return False


def _contradicting(subject: ModelSubject, code: str, part: Literal["axes", "tokens", "shape"]) -> Iterator[Finding]:
    tracer = subject.tracer
    declared = _runnable(subject)
    if not declared:
        raise Skip("no layers are declared: a trace names them")
    base = subject.spec.base and subject.owner.zoo.model(subject.spec.base)
    elsewhere = base.layers if base else ()
    is_costly = costs_much(tracer)
    for layer in declared:
        evidence = layer_evidence(tracer, layer, is_costly=is_costly)
        if evidence is None:
            continue
        modality = tracer.preprocess.modality
        for contradiction in contradictions(layer, evidence, modality, has_own_shape=layer not in elsewhere):
            if contradiction.part == part:
                yield finding(subject, code, f"layer {layer.name}: {contradiction.text}")


def _runnable(subject: ModelSubject) -> list[Layer]:
    """Return the declared layers that run; shape-layers reports the others."""
    runnable = []
    for layer in subject.tracer.spec.layers:
        with contextlib.suppress(LayerzooError):
            shape_of(subject.tracer.trace, layer, model=subject.spec.id)
            runnable.append(layer)
    return runnable


def axes(subject: ModelSubject) -> Iterator[Finding]:
    """Find wrong axes."""
    for layer in _runnable(subject):
        shape = shape_of(subject.tracer.trace, layer, model=subject.spec.id)
        if layer.axes is not None and len(layer.axes) != len(shape):
            sizes = ", ".join(map(str, shape))
            cause = f"layer {layer.name}: declared are the axes '{' '.join(layer.axes)}', and it gives ({sizes})"
            yield finding(subject, "shape-axes", cause)
    yield from _contradicting(subject, "shape-axes", "axes")


def width(subject: ModelSubject) -> Iterator[Finding]:
    """Find wrong shapes."""
    yield from _contradicting(subject, "shape-width", "shape")


def prefix_tokens(subject: ModelSubject) -> Iterator[Finding]:
    """Find wrong numbers of prefix and suffix tokens."""
    yield from _contradicting(subject, "shape-prefix-tokens", "tokens")


def frames(subject: ModelSubject) -> Iterator[Finding]:
    """Find a wrong length or hop of frames."""
    declared = subject.tracer.spec.preprocess
    if not isinstance(declared, AudioPreprocess) or declared.frame_hop_samples is None:
        raise Skip("it declares no frame_hop_samples")
    try:
        verify_frames(subject.tracer, is_costly=costs_much(subject.tracer))
    except DeclarationError as error:
        yield finding(subject, "shape-frames", reason_of(error).removesuffix(f" {ADVICE}"))


def costs(subject: ModelSubject) -> Iterator[Finding]:
    """Find declared costs that differ from those of a trace."""
    declared = [layer for layer in _runnable(subject) if any(getattr(layer, cost) is not None for cost in _COSTS)]
    if not declared:
        raise Skip("no costs of layers are declared")
    bare = tuple(replace(layer, depth=None, params=None, flops=None) for layer in subject.tracer.spec.layers)
    traced = {layer.name: layer for layer in subject.with_layers(bare)}
    for layer in declared:
        traced_layer = traced[layer.name]
        for cost in _COSTS:
            stated, measured = getattr(layer, cost), getattr(traced_layer, cost)
            if stated is not None and measured is not None and abs(stated - measured) > 1e-3 * max(abs(measured), 1e-9):
                yield finding(
                    subject, "shape-costs", f"layer {layer.name}: declared is {cost} {stated}, and it is {measured}"
                )


def default(subject: ModelSubject) -> Iterator[Finding]:
    """Find a default layer or pooling that cannot be used."""
    try:
        choose_pools(subject.resolved, choose_layers(subject.resolved, None), None)
    except LayerzooError as error:
        yield finding(subject, "shape-default", reason_of(error))


def stale(subject: ModelSubject) -> Iterator[Finding]:
    """Find layers that were stored by an earlier trace, or in a catalogue, and differ from those of the network."""
    current = {layer.name: layer for layer in subject.resolved.spec.layers}
    stored = traced_layers(subject.spec)
    if stored is None and not subject.spec.traced_with:
        raise Skip("it was not traced before")
    stale_layers = _differences(stored or subject.spec.layers, current)
    if subject.spec.traced_with:
        bare = subject.with_layers(())
        stale_layers += _differences(subject.spec.layers, {layer.name: layer for layer in bare})
    for text in dict.fromkeys(stale_layers):
        yield finding(subject, "shape-stale", text)


def _differences(stored: tuple[Layer, ...], current: dict[str, Layer]) -> list[str]:
    texts = []
    for layer in stored:
        current_layer = current.get(layer.name)
        if current_layer is None:
            texts.append(f"layer {layer.name} was stored by an earlier trace, and the network has it no longer")
            continue
        changed_fields = [
            field.name for field in fields(Layer) if getattr(layer, field.name) != getattr(current_layer, field.name)
        ]
        if changed_fields := [name for name in changed_fields if name in ("module", "axes", "shape", "prefix_tokens")]:
            listed = ", ".join(
                f"{name} {getattr(layer, name)} (now {getattr(current_layer, name)})" for name in changed_fields
            )
            texts.append(f"layer {layer.name}: an earlier trace stored {listed}")
    return texts


MODEL_CHECKS = {
    "shape-build": build,
    "shape-layers": layers,
    "shape-axes": axes,
    "shape-width": width,
    "shape-prefix-tokens": prefix_tokens,
    "shape-frames": frames,
    "shape-costs": costs,
    "shape-default": default,
    "shape-stale": stale,
}
