"""Poolings by name, and whether one fits a layer: decided from the declaration alone, before anything is loaded.

``runtime/pool.py`` computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from layerzoo.errors import PoolingError, nearest, nearest_hint
from layerzoo.spec import Layer

__all__ = ["POOLINGS", "Pooling", "check_pooling", "width"]

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


def check_pooling(pool: str, layer: Layer, *, model: str, masked: bool, cls_token: bool) -> None:
    """Refuse a pooling that the layer's axes or a missing mask do not allow.

    pool: its name. model: the model's id, for the message.
    masked: whether samples of this model differ in length, so that positions need a mask.
    cls_token: whether the first token of every input is a classification token (text).
    Raises: PoolingError, which names the poolings that would do.
    """
    if pool not in POOLINGS:
        close = nearest(pool, list(POOLINGS))
        hint = nearest_hint(close)
        raise PoolingError(f"there is no pooling '{pool}'. {hint}All: {', '.join(POOLINGS)}")
    if reason := _misfit(pool, layer, masked, cls_token):
        fitting = [name for name in POOLINGS if not _misfit(name, layer, masked, cls_token)]
        raise PoolingError(f"{model}, layer {layer.name}: pool='{pool}' {reason}. Possible here: {', '.join(fitting)}")


def _misfit(pool: str, layer: Layer, masked: bool, cls_token: bool) -> str | None:
    if masked and layer.last_tokens is not None:
        return f"cannot tell which of the last {layer.last_tokens} tokens are padding, as samples differ in length"
    if pool == "none":
        return None
    axes = layer.axes
    if axes is None:
        return (
            "needs to know the axes of the activation, and a trace cannot tell them: declare them, as in "
            f"{layer.name}: {{module: {layer.module or '.'}, axes: batch token channel}}"
        )
    positions = [axis for axis in axes if axis in POSITION_AXES]
    shown = " ".join(axes)
    if pool == "flatten" and "object" in axes:
        return f"needs samples of one size, and images differ in the number of objects, on axes '{shown}'"
    if pool == "flatten":
        return (
            f"needs samples of one size, and those of axes '{shown}' differ in length" if masked and positions else None
        )
    if "channel" not in axes:
        return f"needs a channel axis, and the axes are '{shown}'"
    if masked and len(positions) > 1:
        return f"cannot place the padding of samples that differ in length on axes '{shown}'"
    if "token" in axes and layer.prefix_tokens is None:
        return f"needs the number of prefix tokens on axes '{shown}': declare prefix_tokens"
    if pool == "cls" and not ("token" in axes and (layer.prefix_tokens or cls_token)):
        return f"needs a classification token, and there is none on axes '{shown}'"
    if pool == "last" and not (len(positions) == 1 and positions[0] in SEQUENCE_AXES and masked):
        return f"needs a sequence with a known end, and the axes are '{shown}'"
    if pool in {"std", "statistics", "gram"} and not positions:
        return f"needs positions to run over, and the axes are '{shown}'"
    return None


def width(pool: str, layer: Layer) -> int | None:
    """Return the number of features of a sample at a layer; None if it is unknown or varies.

    pool: the name of a pooling that fits the layer: see :func:`check_pooling`.
    """
    if layer.axes is None or layer.shape is None or pool == "none":
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
