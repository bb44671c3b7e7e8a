"""From an activation to one vector a row, and from the rows of a sample to one vector.

A long sound or text is several rows. What a pooling computes over each row is chosen so that the rows can be merged
into exactly what the pooling means over all of them: see :func:`merge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from layerzoo.errors import PoolingError
from layerzoo.pooling import POSITION_AXES, SEQUENCE_AXES
from layerzoo.runtime.batch import Batch
from layerzoo.spec import Layer

GEM_EXPONENT = 3.0
"""Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019: learned values near 3."""
GEM_FLOOR = 1e-6
"""Values are raised to this before the power, as in the reference implementation."""

FloatArray = NDArray[np.float32]


def summarise(activation: Tensor, batch: Batch, layer: Layer, pool: str) -> Tensor:
    """Pool the activation of a batch, one row of the result for each row of the batch.

    activation: as the network gives it, with the axes that ``layer`` states.
    Returns: float32 (row, width) that owns its memory; `std` keeps the means beside it, for :func:`merge`.
    `none` gives (row, position…, channel…) in the layer's own order of axes.
    """
    if pool == "none":
        return _batch_first(activation, batch, layer).to(torch.float32, copy=True)
    if pool == "flatten":
        return _batch_first(activation, batch, layer).flatten(1).to(torch.float32, copy=True)
    values = canonical(activation, layer)
    start, end = pooled_positions(batch, layer, values.shape[1])
    prefix = layer.prefix_tokens or 0
    if pool == "cls":
        return values[:, 0].to(torch.float32, copy=True)
    values = values[:, prefix : values.shape[1] - (layer.suffix_tokens or 0)].float()
    position = torch.arange(values.shape[1], device=values.device)[None, :] + prefix
    mask = (start[:, None] <= position) & (position < end[:, None])
    shown = image_positions(batch, layer, activation, values.shape[1])
    return _SUMMARIES[pool](values, mask if shown is None else mask & shown)


def rows_of(summary: Tensor, batch: Batch, layer: Layer, pool: str) -> list[FloatArray]:
    """The summaries of a batch as one array a row; for `none`, without the positions that are padding or context."""
    rows: list[FloatArray] = list(summary.cpu().numpy())
    axis = sequence_axis(layer)
    if pool != "none" or batch.valid is None or axis is None:
        return rows
    starts, ends = (each.tolist() for each in pooled_positions(batch, layer, rows[0].shape[axis]))
    return [row.take(range(start, end), axis=axis) for row, start, end in zip(rows, starts, ends, strict=True)]


def sequence_axis(layer: Layer) -> int | None:
    """Where the axis along which samples differ in length stands, the batch not counted; None without one."""
    axes = [axis for axis in layer.axes or () if axis != "batch"]
    return next((index for index, axis in enumerate(axes) if axis in SEQUENCE_AXES), None)


def canonical(activation: Tensor, layer: Layer) -> Tensor:
    """The activation as (batch, position, channel): all position axes in their order, made one.

    Without position axes there is one position.
    """
    axes = _axes(activation, layer)
    positions = [index for index, axis in enumerate(axes) if axis in POSITION_AXES]
    order = [axes.index("batch"), *positions, axes.index("channel")]
    moved = activation.permute(order)
    return moved.flatten(1, -2) if len(positions) > 0 else moved.unsqueeze(1)


def image_positions(batch: Batch, layer: Layer, activation: Tensor, positions: int) -> Tensor | None:
    """Return (batch, position) which positions of a layer stem from the image and not from its padding.

    The mask of the pixels is brought to the height and width of the layer's map as networks do it that take one: by
    nearest interpolation (DETR, ``DetrConvEncoder.forward``). Tokens are a map in its order where their number is that
    of one map only, at one stride.

    Args:
        activation: as the network returns it, with the axes that ``layer`` states.
        positions: how many positions there are without prefix and suffix tokens.
    Returns: None where nothing is padded, or the positions are no map of the image: then all count.
    """
    if batch.image_mask is None:
        return None
    size = _map_size(layer, activation, batch.image_mask, positions)
    if size is None:
        return None
    shown = functional.interpolate(batch.image_mask[:, None].float(), size=size).bool()[:, 0]
    axes = layer.axes or ()
    if "width" in axes and "height" in axes and axes.index("width") < axes.index("height"):
        shown = shown.transpose(1, 2)
    flat = shown.flatten(1)
    return flat | ~flat.any(1, keepdim=True)  # of an image smaller than a position, all of them count


def _map_size(layer: Layer, activation: Tensor, mask: Tensor, positions: int) -> tuple[int, int] | None:
    """Height and width of the map that a layer's positions are; None where they are none."""
    axes = _axes(activation, layer)
    placed = [axis for axis in axes if axis in POSITION_AXES]
    if sorted(placed) == ["height", "width"]:
        return activation.shape[axes.index("height")], activation.shape[axes.index("width")]
    if placed != ["token"] or layer.name.startswith(_OBJECTS):
        return None
    height, width = mask.shape[1:]
    strides = range(1, max(height, width) + 1)
    sizes = {(-(-height // stride), -(-width // stride)) for stride in strides}
    sizes |= {(height // stride, width // stride) for stride in strides}
    fitting = [size for size in sizes if size[0] * size[1] == positions]
    return fitting[0] if len(fitting) == 1 else None


_OBJECTS = "query."
"""How the layers of a detector are called whose tokens are objects."""


def valid_positions(batch: Batch, layer: Layer, positions: int) -> Tensor:
    """(batch,) how many of the positions at this layer stem from the sample and not from padding.

    A network whose frames are known has made so many of what is true. Another that shortens a sequence does so evenly:
    of P positions over an input of T, the first ceil(P·t/T) see the t true ones. One that lengthens it fills it up on
    the right, to whole windows of attention: the first t are the true ones.
    """
    if batch.valid is None or not _follows_sequence(batch, layer):
        device = next(iter(batch.inputs.values())).device
        return torch.full((batch.size,), positions, device=device)
    return _reached(batch.valid, batch, layer, positions).clamp(min=1 + (layer.prefix_tokens or 0))


def pooled_positions(batch: Batch, layer: Layer, positions: int) -> tuple[Tensor, Tensor]:
    """(batch,) each: where those of the positions at this layer begin and end that are pooled from a row.

    That is all that stem from the sample; of a chunk, those that it stands for.
    """
    valid = valid_positions(batch, layer, positions)
    if batch.spans is None or not _follows_sequence(batch, layer):
        return torch.zeros_like(valid), valid
    start, end = (_reached(place, batch, layer, positions) for place in batch.spans.unbind(1))
    end = end.clamp(min=1 + (layer.prefix_tokens or 0))
    return torch.where(batch.spans[:, 0] == 0, 0, torch.minimum(start, end - 1)), end


def _reached(place: Tensor, batch: Batch, layer: Layer, positions: int) -> Tensor:
    """Where the first so many positions of the input end at a layer."""
    prefix = layer.prefix_tokens or 0
    if batch.frame_hop is not None:
        return prefix + frames_of(place, batch.frame_hop)
    spread = min(positions - prefix, batch.total)
    return prefix + torch.div(place * spread + batch.total - 1, batch.total, rounding_mode="floor")


Samples = TypeVar("Samples", int, Tensor)


def frames_of(samples: Samples, frame_hop: tuple[int, int]) -> Samples:
    """How many whole frames there are in so many samples."""
    frame, hop = frame_hop
    return (samples - frame) // hop + 1


def _follows_sequence(batch: Batch, layer: Layer) -> bool:
    return any(axis in batch.sequence_axes for axis in layer.axes or ())


def _axes(activation: Tensor, layer: Layer) -> tuple[str, ...]:
    if layer.axes is None or len(layer.axes) != activation.ndim:
        raise PoolingError(
            f"layer {layer.name} has the axes {' '.join(layer.axes or ('unknown',))}, "
            f"and its activation the shape {tuple(activation.shape)}"
        )
    return layer.axes


def _batch_first(activation: Tensor, batch: Batch, layer: Layer) -> Tensor:
    """The axes in their order, but the batch first. Where the axes are not known, it must be there already."""
    if layer.axes is not None:
        return activation.movedim(_axes(activation, layer).index("batch"), 0)
    if activation.ndim == 0 or activation.shape[0] != batch.size:
        raise PoolingError(
            f"layer {layer.name}: a batch of {batch.size} gives an activation of {tuple(activation.shape)}; "
            "declare its axes, so that its rows can be told apart"
        )
    return activation


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    if bool(mask.all()):
        return values.mean(1)
    return values.masked_fill(~mask[..., None], 0.0).sum(1) / mask.sum(1, keepdim=True)


def _max(values: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask[..., None], float("-inf")).amax(1)


def _statistics(values: Tensor, mask: Tensor) -> Tensor:
    mean = _mean(values, mask)
    variance = _mean((values - mean[:, None]).square(), mask)
    return torch.cat([mean, variance.sqrt()], dim=1)


def _gem(values: Tensor, mask: Tensor) -> Tensor:
    return _mean(values.clamp(min=GEM_FLOOR).pow(GEM_EXPONENT), mask).pow(1 / GEM_EXPONENT)


def _last(values: Tensor, mask: Tensor) -> Tensor:
    position = torch.arange(values.shape[1], device=values.device)
    return values[torch.arange(len(values), device=values.device), (position * mask).amax(1)]


def _gram(values: Tensor, mask: Tensor) -> Tensor:
    """Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016, eq. 3, per position."""
    true = values.masked_fill(~mask[..., None], 0.0)
    gram = true.transpose(1, 2) @ true / mask.sum(1)[:, None, None]
    rows, columns = torch.triu_indices(gram.shape[1], gram.shape[2], device=gram.device)
    return gram[:, rows, columns]


_SUMMARIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "max": _max,
    "std": _statistics,
    "statistics": _statistics,
    "gem": _gem,
    "last": _last,
    "gram": _gram,
}


def merge(rows: Sequence[FloatArray], weights: Sequence[int], pool: str, *, axis: int = 0) -> FloatArray:
    """One vector for a sample, from the summaries of its rows in their order.

    weights: how many positions were pooled from each row. `mean`, `std`, `statistics`, `gem`, `gram` and `max` come out
    as over all positions at once; `cls` is the mean over the rows; `last` the last row's.
    axis: for `none`, the axis along which rows are joined.
    """
    if pool == "none":
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=axis)
    if len(rows) == 1:
        return _second_half(rows[0]) if pool == "std" else rows[0]
    stacked = np.stack(rows).astype(np.float64)
    share = np.asarray(weights, dtype=np.float64) / sum(weights)
    return _MERGES[pool](stacked, share).astype(np.float32)


def _second_half(statistics: FloatArray) -> FloatArray:
    return statistics[len(statistics) // 2 :]


def _merge_statistics(rows: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    means, deviations = np.split(rows, 2, axis=1)
    mean = share @ means
    variance = share @ (deviations**2 + (means - mean) ** 2)
    return np.concatenate([mean, np.sqrt(variance)])


_MERGES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": lambda rows, share: share @ rows,
    "max": lambda rows, share: rows.max(axis=0),
    "std": lambda rows, share: np.split(_merge_statistics(rows, share), 2)[1],
    "statistics": _merge_statistics,
    "gem": lambda rows, share: (share @ rows**GEM_EXPONENT) ** (1 / GEM_EXPONENT),
    "cls": lambda rows, share: rows.mean(axis=0),
    "last": lambda rows, share: rows[-1],
    "gram": lambda rows, share: share @ rows,
}
