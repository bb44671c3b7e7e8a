"""Infer which axis of an activation is which, from how its size changes with the size of the input. Never guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Literal

from layerzoo.runtime.trace import Call, Key, Trace

Enlargement = Literal["all", "height", "width", "length"]


@dataclass(frozen=True)
class Probes:
    """Traces of one network at several input sizes.

    base: the trace at the model's own size.
    enlarged: traces of larger inputs, by the larger dimension: an image of twice the height or width, or a sequence of
        twice the length; in `all`, each of these and also the batch. Sizes that the network refuses are absent.
    sequence_axis: the name of the positions of a sequence, `token` or `time`.
    """

    base: Trace
    enlarged: Mapping[Enlargement, Trace]
    sequence_axis: str = "token"

    @cached_property
    def sides(self) -> frozenset[Enlargement]:
        """Dimensions in which the network accepts another size while the rest of the input keeps its size."""
        return frozenset(self.enlarged) - {"all"}

    def grown(self, call: Call, key: Key, at: str) -> dict[Enlargement, tuple[int, ...]] | None:
        """Return the shape of one activation in each larger trace; None where it is missing from one."""
        grown_shapes = {
            enlargement: _shape(calls[call.module, call.index], key, at)
            for enlargement, calls in self._calls.items()
            if (call.module, call.index) in calls
        }
        shapes = {enlargement: shape for enlargement, shape in grown_shapes.items() if shape is not None}
        return shapes if shapes.keys() == self.enlarged.keys() else None

    @cached_property
    def _calls(self) -> dict[Enlargement, dict[tuple[str, int], Call]]:
        return {
            enlargement: {(call.module, call.index): call for call in trace.calls}
            for enlargement, trace in self.enlarged.items()
        }


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """The axes of one activation, and its prefix tokens where it has a token axis."""

    axes: tuple[str, ...]
    prefix_tokens: int | None


def infer_layout(probes: Probes, call: Call, key: Key, *, at: str = "output") -> AxisLayout | None:
    """Infer the layout of an activation; None where the probes do not show it.

    An axis is `batch` if it grows with the batch; `height`, `width`, `token` or `time` if it grows with that
    dimension of the input; `channel` if it is the only axis that does not change. Two axes of size 1 after the
    channels are the `height` and `width` of a map that was pooled to one pixel. All other axes stay unknown: for
    example, two axes that grow together in a network that accepts square images only.
    """
    shape = _shape(call, key, at)
    if shape is None or "all" not in probes.enlarged:
        return None
    grown = probes.grown(call, key, at)
    if grown is None or any(len(grown_shape) != len(shape) for grown_shape in grown.values()):
        return None
    axes = _with_pixel(tuple(_name(axis, shape, grown, probes) for axis in range(len(shape))), shape)
    if "?" in axes or "batch" not in axes or len(set(axes)) != len(axes):
        return None
    labelled = tuple("channel" if axis == "" else axis for axis in axes)
    return AxisLayout(axes=labelled, prefix_tokens=_prefix_tokens(labelled, shape, grown, _received(probes.base)))


def _shape(call: Call, key: Key, at: str) -> tuple[int, ...] | None:
    return (call.outputs if at == "output" else call.inputs).get(key)


def _name(axis: int, shape: tuple[int, ...], grown: Mapping[Enlargement, tuple[int, ...]], probes: Probes) -> str:
    """Return the name of an axis, from the enlargements that change it; '' for an axis that never changes, '?' for
    an ambiguous one."""
    change = {enlargement for enlargement, grown_shape in grown.items() if grown_shape[axis] != shape[axis]}
    if not change:
        return ""
    if "all" not in change:
        return "?"
    sides = change - {"all"}
    if not sides and (shape[axis], grown["all"][axis]) == (probes.base.batch_size, probes.enlarged["all"].batch_size):
        return "batch"
    if sides == {"length"}:
        return probes.sequence_axis
    if sides == {"height", "width"} or not probes.sides:
        return "token"
    return next(iter(sides)) if len(sides) == 1 and probes.sides >= {"height", "width"} else "?"


def _with_pixel(axes: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Name the axes of a single pixel, which keep their size for any input."""
    return (*axes[:2], "height", "width") if axes == ("batch", "", "", "") and shape[2:] == (1, 1) else axes


def _prefix_tokens(
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    grown: Mapping[Enlargement, tuple[int, ...]],
    received: tuple[int, ...],
) -> int | None:
    """Count the tokens that do not grow with the input, from the total number of tokens at several sizes.

    With p of them before r rows of c columns, n = p + rc. Rows depend only on the height and columns only on the width,
    so that (n_height - p)(n_width - p) = (n - p)(n_all - p), even if sizes are rounded. For a network that accepts
    square images only, n and n_all are known: n_all = p + 4rc, if nothing is rounded. Otherwise rc is not a square.
    With p of them before a text of t tokens, n = p + t and n_length = p + 2t.

    received: the shape of the network's input.
    """
    if "token" not in axes:
        return None
    sizes = {enlargement: grown_shape[axes.index("token")] for enlargement, grown_shape in grown.items()}
    n, n_all = shape[axes.index("token")], sizes["all"]
    if "length" in sizes:
        over, under = 2 * n - sizes["length"], 1
    elif "height" in sizes:
        over, under = n * n_all - sizes["height"] * sizes["width"], n + n_all - sizes["height"] - sizes["width"]
    else:
        over, under = 4 * n - n_all, 3
    if under == 0 or over % under or not 0 <= over // under <= n:
        return None
    prefix = over // under
    if "length" in sizes:
        is_exact = prefix == 0 or n - prefix == received[1]
    elif "height" in sizes:
        is_exact = True
    else:
        is_exact = len(received) == 4 and received[2] == received[3] and isqrt(n - prefix) ** 2 == n - prefix
    return prefix if is_exact else None


def _received(trace: Trace) -> tuple[int, ...]:
    """Return the shape of the network's input."""
    return next(iter(trace.calls[0].inputs.values()), ())
