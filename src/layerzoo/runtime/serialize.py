"""Convert traces and layouts to JSON-able data and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from layerzoo.runtime.axes import AxisLayout
from layerzoo.runtime.trace import Call, Trace

_SETS = ("parameters", "unfinished", "constant")


def serialize_trace(trace: Trace) -> dict[str, Any]:
    """Convert a trace to JSON-able data. Its ``joins`` are left out."""
    data = asdict(trace)
    del data["joins"]
    data |= {name: sorted(getattr(trace, name)) for name in _SETS}
    data["calls"] = [
        [
            *(call.module, call.index, call.start, call.end, list(call.inputs.items()), list(call.outputs.items())),
            *(call.random if any(call.random) else ()),
        ]
        for call in trace.calls
    ]
    return data


def deserialize_trace(data: Mapping[str, Any]) -> Trace:
    """Invert :func:`serialize_trace`."""
    calls = tuple(
        Call(module, index, start, end, _shapes(inputs), _shapes(outputs), _random(random))
        for module, index, start, end, inputs, outputs, *random in data["calls"]
    )
    flops = tuple((step, count) for step, count in data["flops"])
    single = tuple((step, count) for step, count in data["single"])
    sets = {name: frozenset(data[name]) for name in _SETS}
    sequences = {"calls": calls, "flops": flops, "single": single, "unread": tuple(data["unread"])}
    return Trace(**{**data, **sets, **sequences})


def _random(random: list[list[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (tuple(random[0]), tuple(random[1])) if random else ((), ())


def _shapes(items: list[tuple[Any, list[int]]]) -> dict[int | str | None, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in items}


def serialize_layouts(layouts: Mapping[str, AxisLayout] | None) -> dict[str, dict[str, Any]] | None:
    """Convert layouts to JSON-able data."""
    return None if layouts is None else {activation: asdict(layout) for activation, layout in layouts.items()}


def deserialize_layouts(data: Mapping[str, Mapping[str, Any]] | None) -> dict[str, AxisLayout] | None:
    """Invert :func:`serialize_layouts`."""
    if data is None:
        return None
    return {
        activation: AxisLayout(tuple(layout["axes"]), layout["prefix_tokens"]) for activation, layout in data.items()
    }
