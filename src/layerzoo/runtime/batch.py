"""Rows of samples, and the batches that a network receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from layerzoo.pooling import SEQUENCE_AXES


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row of a batch: an image, a window of audio, a text or a chunk of one, or a frame of a video."""

    inputs: Mapping[str, NDArray[Any]]
    """By the name of the network's argument, without the batch axis."""
    valid: int = 1
    """Number of positions (audio samples, tokens) of the sample in this row."""
    total: int = 1
    """Number of positions of the row, including padding."""
    time_s: float | None = None
    """Time of a video frame, in seconds from the start of the video; of a clip, that of its first frame."""
    frame_number: int | None = None
    """Number of a video frame in its video, from 0, in the order of display."""
    start_s: float = 0.0
    """Start of a row of audio, in seconds from the start of the recording."""
    interval_s: tuple[float, float] | None = None
    """Start and end of the window that the row belongs to, in seconds from the start of the recording. Given if each
    window of a recording is a sample."""
    span: tuple[int, int] | None = None
    """Start and end of the pooled positions, counted from the first valid one; the others are the context that a chunk
    of a text shares with its neighbours. None: all valid positions."""
    special: tuple[int, int] = (0, 0)
    """Number of the tokenizer's special tokens at the beginning and at the end of its valid positions."""
    offset: int = 0
    """The first valid position, in a row that is padded on the left."""
    mask: str | None = None
    """Name of the input that is an attention mask, (position,); None for rows without one, and for texts."""
    mask_is_optional: bool = False
    """Whether a mask of ones may be omitted, and rows may be padded under the mask."""
    image_mask: NDArray[np.bool_] | None = None
    """(height, width): True for pixels of the image, False for padding. None: no padding."""

    @property
    def weight(self) -> int:
        """Weight of the row among the rows of its sample, at layers without positions to count."""
        start, end = self.span or (0, self.valid)
        return end - start

    def without_special(self) -> InputRow:
        """Return the row with its special tokens outside the span that is pooled."""
        start, end = self.span or (0, self.valid)
        first, last = self.special[0], self.valid - self.special[1]
        start = min(max(start, first), self.valid)
        return replace(self, span=(start, max(start, min(end, last))))


@dataclass(frozen=True, slots=True)
class Batch:
    """Stacked rows.

    inputs: tensors with a batch axis, by the name of the network's argument; a single one is passed by position.
    valid: (batch,) number of valid positions of each row out of ``total``; None if no row is padded.
    times_s: times of video frames, in seconds from the start of their video; None for other rows.
    spans: (batch, 2) start and end of the pooled positions of each row, counted from its first valid one; None: all
        valid positions.
    offsets: (batch,) first valid position of each row; None: position 0, with padding on the right.

    >>> layerzoo.load("toy/next-word").preprocess(["the cat", "meat"]).valid
    tensor([2, 1])
    """

    inputs: Mapping[str, Tensor]
    valid: Tensor | None = None
    total: int = 1
    """Number of positions of each row, including padding."""
    times_s: tuple[float | None, ...] | None = None
    sequence_axes: frozenset[str] = SEQUENCE_AXES
    """The axes of an activation that run along a row, on which its valid positions are contiguous."""
    spans: Tensor | None = None
    offsets: Tensor | None = None
    frame_hop: tuple[int, int] | None = None
    """Length and hop of a frame in positions, if known."""
    example_total: int | None = None
    """Number of positions of the example input, to which the shapes of layers refer; None if unknown."""
    image_mask: Tensor | None = None
    """(batch, height, width): True for pixels of the image, False for padding; None without padding."""
    as_mapping: bool = False
    """Whether the network takes all inputs as one argument, a mapping."""

    @property
    def size(self) -> int:
        """Number of rows.

        >>> layerzoo.load("toy/next-word").preprocess(["the cat", "meat"]).size
        2
        """
        return int(next(iter(self.inputs.values())).shape[0])

    def __len__(self) -> int:
        return self.size

    def to(
        self,
        device: torch.device | str,
        memory_format: torch.memory_format | None = None,
        *,
        non_blocking: bool = False,
    ) -> Batch:
        """Move the batch to a device, and convert its four-dimensional inputs to a memory format, if one is given.

        non_blocking: return before a copy from pinned memory is complete.

        >>> layerzoo.load("toy/next-word").preprocess(["the cat"]).to("meta").inputs["input_ids"].device.type
        'meta'
        """

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        def in_format(tensor: Tensor) -> Tensor:
            return tensor.contiguous(memory_format=memory_format) if memory_format and tensor.ndim == 4 else tensor

        moved = self._with_tensors(move)
        return replace(moved, inputs={name: in_format(tensor) for name, tensor in moved.inputs.items()})

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with the result of a function for each of its tensors."""

        def changed(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return replace(
            self,
            inputs={name: change(tensor) for name, tensor in self.inputs.items()},
            valid=changed(self.valid),
            spans=changed(self.spans),
            offsets=changed(self.offsets),
            image_mask=changed(self.image_mask),
        )

    def cast(self, dtype: torch.dtype) -> Batch:
        """Return the batch with its floating-point inputs in another dtype.

        >>> batch = layerzoo.Batch({"pixels": torch.zeros(1, 3, 4, 4)})
        >>> batch.cast(torch.bfloat16).inputs["pixels"].dtype
        torch.bfloat16
        """
        inputs = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in self.inputs.items()
        }
        return replace(self, inputs=inputs)

    def run(self, network: nn.Module) -> Any:
        """Run a network on this batch, and return its output.

        >>> backbone = layerzoo.load("toy/next-word")
        >>> backbone.preprocess(["the cat"]).run(layerzoo.build("toy/next-word")).shape
        torch.Size([1, 2, 8])
        """
        if self.as_mapping:
            return network(dict(self.inputs))
        tensors = list(self.inputs.values())
        return network(tensors[0]) if len(tensors) == 1 else network(**self.inputs)


def collate(
    rows: Sequence[InputRow],
    *,
    pad: Mapping[str, int] | None = None,
    masked: bool = False,
    sequence_axes: frozenset[str] = SEQUENCE_AXES,
) -> Batch:
    """Stack rows to a batch. If lengths differ, the last axis is padded on the right.

    Args:
        pad: padding value by the name of the input.
        masked: keep the lengths of the rows without padding as ``valid``.
        sequence_axes: axes of an activation that run along a row.
    """
    total = max(row.total for row in rows)
    inputs = {name: _stack([row.inputs[name] for row in rows], (pad or {}).get(name)) for name in rows[0].inputs}
    valid = torch.tensor([row.valid for row in rows]) if masked else None
    times_s = tuple(row.time_s for row in rows) if any(row.time_s is not None for row in rows) else None
    has_spans = any(row.span is not None for row in rows)
    spans = torch.tensor([row.span or (0, row.valid) for row in rows]) if has_spans else None
    offsets = torch.tensor([row.offset for row in rows]) if any(row.offset for row in rows) else None
    return Batch(
        inputs=inputs,
        valid=valid,
        total=total,
        times_s=times_s,
        sequence_axes=sequence_axes,
        spans=spans,
        offsets=offsets,
        image_mask=_image_mask(rows),
    )


def _image_mask(rows: Sequence[InputRow]) -> Tensor | None:
    """Stack the masks of images; None if no row has padding."""
    masks = [row.image_mask for row in rows if row.image_mask is not None]
    if not masks or all(mask.all() for mask in masks):
        return None
    full_mask = np.ones_like(masks[0])
    return torch.from_numpy(np.stack([full_mask if row.image_mask is None else row.image_mask for row in rows]))


def _stack(arrays: Sequence[NDArray[Any]], pad: int | None) -> Tensor:
    if pad is not None and len({array.shape for array in arrays}) > 1:
        longest = max(array.shape[-1] for array in arrays)
        arrays = [
            np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, longest - array.shape[-1])], constant_values=pad)
            for array in arrays
        ]
    return torch.from_numpy(np.stack(arrays))
