"""Which axis of an activation is which, told by how it changes with the size of the input. Never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Literal

from layerzoo.runtime.trace import Call, Key, Trace

Stretch = Literal["batch", "height", "width", "length"]


@dataclass(frozen=True, slots=True)
class Probes:
    """Traces of one network at several input sizes.

    base: the trace at the model's own size.
    stretched: traces in which one thing about the input differs, by what it is: a larger batch, a picture of twice
    the height or width, a sequence of twice the length. What the network refuses is absent.
    sequence_axis: what the positions of a sequence are called here, `token` or `time`.
    """

    base: Trace
    stretched: Mapping[Stretch, Trace]
    sequence_axis: str = "token"


@dataclass(frozen=True, slots=True)
class Layout:
    """The axes of one activation, and its prefix tokens where it has a token axis."""

    axes: tuple[str, ...]
    prefix_tokens: int | None


def infer_layout(probes: Probes, call: Call, key: Key, *, at: str = "output") -> Layout | None:
    """The layout of an activation, or None when the probes cannot tell it.

    An axis is `batch` when it grows as the batch does; `height`, `width`, `token` or `time` when it grows with that
    side of the input; `channel` when it is the one axis that does not change. Two axes of size 1 behind the
    channels are the `height` and `width` of a map that was pooled to one pixel. Everything else stays unknown.
    """
    shape = _shape(call, key, at)
    if shape is None or not probes.stretched:
        return None
    grown = {stretch: _same_place(trace, call, key, at) for stretch, trace in probes.stretched.items()}
    if any(other is None or len(other) != len(shape) for other in grown.values()):
        return None
    changes = [
        frozenset(stretch for stretch, other in grown.items() if other is not None and other[axis] != size)
        for axis, size in enumerate(shape)
    ]
    axes = _with_pixel(tuple(_name(change, probes) for change in changes), shape)
    if not _is_sound(axes, shape, probes, grown):
        return None
    named = tuple("channel" if axis == "" else axis for axis in axes)
    return Layout(axes=named, prefix_tokens=_prefix_tokens(named, shape, grown, is_square=_is_square(probes.base)))


def _shape(call: Call, key: Key, at: str) -> tuple[int, ...] | None:
    return (call.outputs if at == "output" else call.inputs).get(key)


def _same_place(trace: Trace, call: Call, key: Key, at: str) -> tuple[int, ...] | None:
    found = next((other for other in trace.calls_of(call.module) if other.index == call.index), None)
    return None if found is None else _shape(found, key, at)


def _name(change: frozenset[Stretch], probes: Probes) -> str:
    """The word for an axis that changes with these stretches; '' for one that never changes, '?' for a riddle."""
    if not change:
        return ""
    if change == {"batch"}:
        return "batch"
    if change == {"height", "width"}:
        return "token"
    if change == {"length"}:
        return probes.sequence_axis
    if len(change) == 1 and change <= {"height", "width"}:
        return next(iter(change))
    return "?"


def _with_pixel(axes: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """The axes, with those of a single pixel named: it keeps its size whatever the input's."""
    return (*axes[:2], "height", "width") if axes == ("batch", "", "", "") and shape[2:] == (1, 1) else axes


def _is_sound(
    axes: tuple[str, ...], shape: tuple[int, ...], probes: Probes, grown: Mapping[Stretch, tuple[int, ...] | None]
) -> bool:
    """Whether each word stands once at most, and the batch axis is the batch itself (not windows times batch)."""
    if "?" in axes or len(set(axes)) != len(axes) or "batch" not in axes:
        return False
    batch = axes.index("batch")
    larger = grown["batch"]
    return (
        shape[batch] == probes.base.batch_size
        and larger is not None
        and larger[batch] == probes.stretched["batch"].batch_size
        and _tells_channel(axes, probes)
    )


def _tells_channel(axes: tuple[str, ...], probes: Probes) -> bool:
    """An axis that never changed is a channel only if some stretch of the input could have changed it."""
    return "" not in axes or bool(set(probes.stretched) - {"batch"})


def _prefix_tokens(
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    grown: Mapping[Stretch, tuple[int, ...] | None],
    *,
    is_square: bool,
) -> int | None:
    """Tokens that do not grow with the input: with p of them, n = p + m and, at twice the input, n' = p + 2m.

    Where a network rounds its sizes, m is not doubled. For a square picture that shows: then m is no square.
    """
    if "token" not in axes:
        return None
    axis = axes.index("token")
    found = {2 * shape[axis] - other[axis] for name, other in grown.items() if name != "batch" and other is not None}
    prefix = found.pop() if len(found) == 1 else -1
    covering = shape[axis] - prefix
    if prefix < 0 or covering < 0:
        return None
    return None if is_square and isqrt(covering) ** 2 != covering else prefix


def _is_square(trace: Trace) -> bool:
    """Whether the network was given square pictures."""
    received = next(iter(trace.calls[0].inputs.values()), ())
    return len(received) == 4 and received[2] == received[3]
