"""What traces found, in the form in which it is kept: nothing but what JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from layerzoo.runtime.axes import Layout
from layerzoo.runtime.trace import Call, Trace

_SETS = ("parameters", "unfinished", "constant")


def trace_to_plain(found: Trace) -> dict[str, Any]:
    """A trace as JSON can hold it."""
    plain = asdict(found)
    del plain["joins"]
    plain |= {name: sorted(getattr(found, name)) for name in _SETS}
    plain["calls"] = [
        [
            *(call.module, call.index, call.start, call.end, list(call.inputs.items()), list(call.outputs.items())),
            *(call.random if any(call.random) else ()),
        ]
        for call in found.calls
    ]
    return plain


def trace_from_plain(plain: Mapping[str, Any]) -> Trace:
    """The inverse of :func:`trace_to_plain`."""
    calls = tuple(
        Call(module, index, start, end, _shapes(inputs), _shapes(outputs), _drawn(random))
        for module, index, start, end, inputs, outputs, *random in plain["calls"]
    )
    flops = tuple((step, count) for step, count in plain["flops"])
    single = tuple((step, count) for step, count in plain["single"])
    sets = {name: frozenset(plain[name]) for name in _SETS}
    told = {"calls": calls, "flops": flops, "single": single, "unread": tuple(plain["unread"])}
    return Trace(**{**plain, **sets, **told})


def _drawn(random: list[list[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (tuple(random[0]), tuple(random[1])) if random else ((), ())


def _shapes(items: list[tuple[Any, list[int]]]) -> dict[int | str | None, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in items}


def layouts_to_plain(layouts: Mapping[str, Layout] | None) -> dict[str, dict[str, Any]] | None:
    """Layouts as JSON can hold them."""
    return None if layouts is None else {place: asdict(told) for place, told in layouts.items()}


def layouts_from_plain(plain: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Layout] | None:
    """The inverse of :func:`layouts_to_plain`."""
    if plain is None:
        return None
    return {place: Layout(tuple(told["axes"]), told["prefix_tokens"]) for place, told in plain.items()}
