"""Poolings by name, and whether one fits a layer: decided from the declaration alone, before anything is loaded.

``runtime/pool.py`` computes those over the positions of a network's activation, and ``temporal.py`` those over a
sequence of vectors in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod

from layerzoo.errors import PoolingError, nearest, nearest_hint
from layerzoo.spec import Layer

__all__ = [
    "POOLINGS",
    "TEMPORAL_POOLINGS",
    "Pooling",
    "TemporalChoice",
    "TemporalPooling",
    "check_pooling",
    "parse_temporal_pool",
    "width",
]

POSITION_AXES = frozenset({"token", "time", "height", "width", "depth", "frame", "window", "object"})
SEQUENCE_AXES = frozenset({"token", "time", "frame"})
OBJECT_AXIS = "object"


@dataclass(frozen=True, slots=True)
class Pooling:
    """One way from an activation to one vector per sample."""

    name: str
    summary: str
    """What it does, in a few words."""


POOLINGS: dict[str, Pooling] = {
    pooling.name: pooling
    for pooling in (
        Pooling("mean", "mean over positions"),
        Pooling("max", "maximum over positions"),
        Pooling("std", "standard deviation over positions (divided by n, not n - 1)"),
        Pooling("statistics", "mean, then standard deviation: twice the width"),
        Pooling("gem", "generalised mean, exponent 3"),
        Pooling("cls", "the classification token"),
        Pooling("last", "the last true position of a sequence"),
        Pooling("gram", "upper triangle of the Gram matrix of channels over positions (style)"),
        Pooling("flatten", "every value, in the order of the axes"),
        Pooling("none", "the raw activation, padding left out"),
    )
}
"""Every pooling by its name."""


def check_pooling(
    pool: str, layer: Layer, *, model: str, masked: bool, cls_token: bool, is_in_memory: bool = False
) -> None:
    """Refuse a pooling that the layer's axes or a missing mask do not allow.

    pool: its name; one of a plugin is only compared with the axes. model: the model's id, for the message.
    masked: whether samples of this model differ in length, so that positions need a mask.
    cls_token: whether the first token of every input is a classification token (text).
    is_in_memory: whether the network is a module of the caller, and not of a registry.
    Raises: PoolingError, which names the poolings that would do.
    """
    if pool not in POOLINGS and not is_of_plugin(pool):
        close = nearest(pool, list(POOLINGS))
        hint = nearest_hint(close)
        raise PoolingError(f"there is no pooling '{pool}'. {hint}All: {', '.join(POOLINGS)}")
    if reason := _misfit(pool, layer, masked, cls_token, is_in_memory):
        fitting = [name for name in POOLINGS if not _misfit(name, layer, masked, cls_token)]
        raise PoolingError(f"{model}, layer {layer.name}: pool='{pool}' {reason}. Possible here: {', '.join(fitting)}")


def is_of_plugin(pool: str) -> bool:
    """Return whether a pooling is that of a plugin: its name is ``NAMESPACE/NAME``."""
    return "/" in pool


def _misfit(pool: str, layer: Layer, masked: bool, cls_token: bool, is_in_memory: bool = False) -> str | None:
    if masked and layer.last_tokens is not None:
        return f"cannot tell which of the last {layer.last_tokens} tokens are padding, as samples differ in length"
    if pool == "none":
        return None
    axes = layer.axes
    if axes is None:
        declaration = (
            f"layerzoo.wrap(module, layers=[{_layer_code(layer)}])"
            if is_in_memory
            else f"{layer.name}: {{module: {layer.module or '.'}, axes: batch token channel}}"
        )
        return (
            f"needs to know the axes of the activation, and a trace cannot tell them: declare them, as in {declaration}"
        )
    positions = [axis for axis in axes if axis in POSITION_AXES]
    axis_names = " ".join(axes)
    if pool == "flatten" and "object" in axes:
        return f"needs samples of one size, and images differ in the number of objects, on axes '{axis_names}'"
    if pool == "flatten":
        return (
            f"needs samples of one size, and those of axes '{axis_names}' differ in length"
            if masked and positions
            else None
        )
    if "channel" not in axes:
        return f"needs a channel axis, and the axes are '{axis_names}'"
    if masked and len(positions) > 1:
        return f"cannot place the padding of samples that differ in length on axes '{axis_names}'"
    if "token" in axes and layer.prefix_tokens is None:
        return f"needs the number of prefix tokens on axes '{axis_names}': declare prefix_tokens"
    if pool == "cls" and not ("token" in axes and (layer.prefix_tokens or cls_token)):
        return f"needs a classification token, and there is none on axes '{axis_names}'"
    if pool == "last" and not (len(positions) == 1 and positions[0] in SEQUENCE_AXES and masked):
        return f"needs a sequence with a known end, and the axes are '{axis_names}'"
    if (pool in {"std", "statistics", "gram"} or is_of_plugin(pool)) and not positions:
        return f"needs positions to run over, and the axes are '{axis_names}'"
    return None


def _layer_code(layer: Layer) -> str:
    """Return an expression of Python for a layer, with the usual axes for the number of its axes."""
    axes = _USUAL_AXES.get(1 + len(layer.shape or (0, 0)), _USUAL_AXES[3])
    address = layer.address if layer.module else f".{layer.address}"
    return f"layerzoo.Layer(name='NAME', module='{address}', axes={axes})"


_USUAL_AXES = {
    2: ("batch", "channel"),
    3: ("batch", "token", "channel"),
    4: ("batch", "channel", "height", "width"),
    5: ("batch", "channel", "frame", "height", "width"),
}


def width(pool: str, layer: Layer, temporal: TemporalChoice | None = None) -> int | None:
    """Return the number of features of a sample at a layer; None if it is unknown or varies.

    pool: the name of a pooling that fits the layer: see :func:`check_pooling`. The width of a plugin's is unknown.
    temporal: the pooling of a sequence of such vectors.
    """
    if temporal is not None:
        single, factor = width(pool, layer), temporal.width_factor
        return None if single is None or factor is None else single * factor
    if layer.axes is None or layer.shape is None or pool == "none" or is_of_plugin(pool):
        return None
    sizes = dict(zip((axis for axis in layer.axes if axis != "batch"), layer.shape, strict=True))
    if pool == "flatten":
        return prod(sizes.values())
    channels = sizes.get("channel")
    return (
        None
        if channels is None
        else {"statistics": 2 * channels, "gram": channels * (channels + 1) // 2}.get(pool, channels)
    )


@dataclass(frozen=True, slots=True)
class TemporalPooling:
    """One way from a sequence of vectors in time to one vector: see :mod:`layerzoo.temporal` for the formulas."""

    name: str
    summary: str
    """What it does, in a few words."""
    default: float | None = None
    """The number after the colon, as in ``dct:4``, if none is given; None for a pooling without a number."""
    limits: tuple[float, float] = (0, 0)
    """The smallest and the largest number."""


TEMPORAL_POOLINGS: dict[str, TemporalPooling] = {
    pooling.name: pooling
    for pooling in (
        TemporalPooling("mean", "mean over time"),
        TemporalPooling("max", "maximum over time"),
        TemporalPooling("last", "the last vector"),
        TemporalPooling("statistics", "mean, then standard deviation over time: twice the width"),
        TemporalPooling(
            "ema", "exponential moving average with the weight A of the newest vector, at the end", 0.2, (0, 1)
        ),
        TemporalPooling("delta", "mean of the differences between neighbours in time"),
        TemporalPooling(
            "pyramid", "means of 1, 2, 4, … equal segments, in N levels: 2^N - 1 times the width", 3, (1, 8)
        ),
        TemporalPooling("dct", "the N lowest temporal frequencies: N times the width", 4, (1, 64)),
        TemporalPooling("rank", "rank pooling: the direction that orders the vectors in time, of length 1"),
        TemporalPooling("none", "the sequence itself"),
    )
}
"""Every temporal pooling by its name."""


@dataclass(frozen=True, slots=True)
class TemporalChoice:
    """A temporal pooling with its number, as ``dct:4`` states it."""

    name: str
    number: float = 0
    """0 for a pooling without a number."""

    def __str__(self) -> str:
        return self.name if TEMPORAL_POOLINGS[self.name].default is None else f"{self.name}:{self.number:g}"

    @property
    def width_factor(self) -> int | None:
        """The width of the pooled vector divided by that of a vector of the sequence; None for ``none``."""
        if self.name == "none":
            return None
        return {"statistics": 2, "dct": int(self.number), "pyramid": (1 << int(self.number)) - 1}.get(self.name, 1)


def parse_temporal_pool(text: str) -> TemporalChoice:
    """Parse the name of a temporal pooling, with its number if it has one: ``mean``, ``dct``, ``dct:4``, ``ema:0.5``.

    Raises: PoolingError for an unknown name, or for a number that is out of range or does not belong there.
    """
    if not isinstance(text, str):
        raise PoolingError(f"temporal_pool={text!r} is not the name of a temporal pooling. All: {_listed_temporal()}")
    name, colon, digits = text.partition(":")
    pooling = TEMPORAL_POOLINGS.get(name)
    if pooling is None:
        hint = nearest_hint(nearest(name, list(TEMPORAL_POOLINGS)))
        raise PoolingError(f"there is no temporal pooling '{name}'. {hint}All: {_listed_temporal()}")
    if not colon:
        return TemporalChoice(name, pooling.default or 0)
    if pooling.default is None:
        raise PoolingError(f"the temporal pooling '{name}' has no number, and '{text}' gives one")
    low, high = pooling.limits
    is_whole = isinstance(pooling.default, int)
    try:
        number = float(int(digits)) if is_whole else float(digits)
    except ValueError:
        number = math.nan
    if not (low <= number <= high and number > 0):
        kind = f"a whole number from {low:g} to {high:g}" if is_whole else f"a number above {low:g}, at most {high:g}"
        raise PoolingError(
            f"the temporal pooling '{text}' needs {kind} after the colon, as in {name}:{pooling.default:g}"
        )
    return TemporalChoice(name, number)


def _listed_temporal() -> str:
    """Return the names of all temporal poolings, with an example of their number."""
    return ", ".join(str(TemporalChoice(pooling.name, pooling.default or 0)) for pooling in TEMPORAL_POOLINGS.values())
