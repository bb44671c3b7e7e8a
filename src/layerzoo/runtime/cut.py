"""Plan a cut: the layers to read, where the network stops, and which tensors and modules it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from layerzoo.errors import LayerError
from layerzoo.layers import unknown_layer
from layerzoo.runtime.trace import Call, Trace, unknown_output
from layerzoo.spec import Layer


@dataclass(frozen=True, slots=True)
class Cut:
    """A validated plan, made from a trace."""

    layers: tuple[Layer, ...]
    """The layers to read, in the requested order, each name once."""
    stop: str
    """The name of the layer whose activation exists last. The forward pass ends with it."""
    tensors: tuple[str, ...]
    """Every parameter and buffer that is read before the stop, under all its names. If the network's path depends on
    its input, also those under the called modules, because another input may need them."""
    modules: frozenset[str]
    """Paths of the modules that must stay: called before the stop, owners of a needed tensor, and their ancestors."""
    signature: str
    """The structure this was planned for; see :func:`layerzoo.runtime.trace.signature`."""


def plan_cut(trace: Trace, layers: Sequence[Layer], *, model: str) -> Cut:
    """Plan to read some layers in one forward pass.

    Raises: LayerError for a module that never runs, that runs several times without a selected call, or that returns
    several values without a selected output. UnknownLayerError for an unknown module.
    """
    unique = tuple({layer.name: layer for layer in layers}.values())
    ready = {layer.name: _ready_at(trace, layer, model) for layer in unique}
    stop = max(reversed(ready), key=lambda name: ready[name])  # of equal steps, the layer that is read last
    finished = {call.module for call in trace.calls if call.end <= ready[stop]}
    other_ways = (name for name in trace.unread if not finished.isdisjoint(_with_ancestors(name)))
    tensors = (*(name for name, step in trace.reads.items() if step < ready[stop]), *other_ways)
    called = {call.module for call in trace.calls if call.start < ready[stop]} | trace.unfinished
    owners = {name.rpartition(".")[0] for name in tensors}
    return Cut(
        layers=unique,
        stop=stop,
        tensors=tensors,
        modules=frozenset(above for path in called | owners for above in _with_ancestors(path)),
        signature=trace.signature,
    )


def find_call(trace: Trace, layer: Layer, *, model: str) -> Call:
    """Return the call that a layer selects. Raises: LayerError, UnknownLayerError."""
    calls = trace.calls_of(layer.module)
    label = f"{model}, layer {layer.name}"
    if not calls:
        paths = list(dict.fromkeys(call.module for call in trace.calls))
        if not any(path == layer.module or path.startswith(f"{layer.module}.") for path in paths):
            raise unknown_layer(f"module:{layer.module}", [f"module:{path}" for path in paths], model)
        raise LayerError(f"{label}: the module {layer.module} is never called; only modules inside it are")
    if layer.call is None and len(calls) > 1:
        raise LayerError(
            f"{label}: the module {layer.module} runs {len(calls)} times; say which, as in module:{layer.module}#0"
        )
    if (layer.call or 0) >= len(calls):
        raise LayerError(
            f"{label}: the module {layer.module} runs {len(calls)} time(s), and call {layer.call} was asked for"
        )
    return calls[layer.call or 0]


def shape_of(trace: Trace, layer: Layer, *, model: str) -> tuple[int, ...]:
    """Return the shape of a layer's activation in the trace, including the batch.

    Raises: LayerError when `output` does not fit.
    """
    call = find_call(trace, layer, model=model)
    shapes: Mapping[int | str | None, tuple[int, ...]] = call.outputs if layer.at == "output" else _received(call)
    if layer.output in shapes:
        return shapes[layer.output]
    module = f"{model}, layer {layer.name}: the module {layer.module or '(the network)'}"
    raise unknown_output(module, shapes, layer.output)


def _received(call: Call) -> dict[int | str | None, tuple[int, ...]]:
    """Return the shapes of a module's inputs. The key None selects the first one."""
    return {None: next(iter(call.inputs.values())), **call.inputs} if call.inputs else {}


def _ready_at(trace: Trace, layer: Layer, model: str) -> int:
    """Return the step at which a layer's activation exists."""
    shape_of(trace, layer, model=model)
    call = find_call(trace, layer, model=model)
    return call.end if layer.at == "output" else call.start


def _with_ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) + 1)]
