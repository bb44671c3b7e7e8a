"""Find the times of the frames that a network makes of audio: the centres of their receptive fields.

The frames of a layer lie on a regular grid. It follows from the convolutions, poolings and paddings that the network
runs before the layer, and from the frames of its feature extractor, which are found with impulses.

Example: the seven convolutions of wav2vec 2.0 see 400 samples and move by 320, so that the centre of frame i is at
sample 199.5 + 320 i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from layerzoo.runtime.backbone import Backbone
from layerzoo.runtime.clip_lengths import frames_of
from layerzoo.runtime.pool import sequence_axis
from layerzoo.runtime.preprocess import AudioPreprocessor
from layerzoo.spec import Layer

FloatArray = NDArray[np.float32]

_IMPULSES = 24
_LONGER = 5
"""How many times as long the clip is that shows the distance of two frames."""
_LOUD = 0.1
"""Share of the largest response from which a frame counts as responding to an impulse."""


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """The times of a layer's frames."""

    first_s: float
    """Centre of the first frame, in seconds from the start of the row."""
    hop_s: float
    """From the centre of a frame to that of the next."""
    prefix: int = 0
    """Number of positions before the first frame that come from no part of the audio."""

    def times_s(self, count: int) -> list[float]:
        """Return the times of the first positions of a row. A prefix position has the time nan."""
        times = [self.first_s + number * self.hop_s for number in range(max(0, count - self.prefix))]
        return [float("nan")] * min(self.prefix, count) + times


def frame_grids(backbone: Backbone, pools: Mapping[str, str]) -> dict[str, FrameGrid]:
    """Return layer name → times of its frames, for the layers of an audio network that stay unpooled.

    Layers without a time axis have none.
    """
    preprocess = backbone.preprocess
    if not isinstance(preprocess, AudioPreprocessor):
        return {}
    layers = [layer for layer in backbone.layers if pools.get(layer.name) == "none" and _time_axis(layer) is not None]
    if not layers:
        return {}
    samples = preprocess.usual_samples
    batch = preprocess.silence(samples)
    with _StepRecorder() as recorder:
        activations = backbone.activations(batch)
    steps, extractor = recorder.steps, None
    rate_hz = preprocess.declared.sample_rate_hz
    grids = {}
    for layer in layers:
        count = activations[layer.name].shape[(layer.axes or ()).index("time")]
        prefix = layer.prefix_tokens or 0
        frames = count - prefix - (layer.suffix_tokens or 0)
        declared = preprocess.declared.frame_hop_samples
        if declared is not None and frames_of(samples, declared) == frames:
            centres = _SampleGrid(frames, (declared[0] - 1) / 2, declared[1])
        else:
            extractor = extractor or _extractor_frames(preprocess, batch.total)
            centres = _followed(extractor, steps, frames)
        grids[layer.name] = FrameGrid(centres.first / rate_hz, centres.hop / rate_hz, prefix)
    return grids


def _time_axis(layer: Layer) -> int | None:
    axis = sequence_axis(layer)
    return axis if axis is not None and "time" in (layer.axes or ()) else None


class _SampleGrid(NamedTuple):
    """Positions on a regular grid. length: their number; first, hop: in audio samples."""

    length: int
    first: float
    hop: float


class _Step(NamedTuple):
    """The effect of an operation along one axis: position i of the result sees the input from i * stride - left on."""

    before: int
    after: int
    kernel: int
    stride: int
    left: float


def _followed(start: _SampleGrid, steps: Sequence[Sequence[_Step]], count: int) -> _SampleGrid:
    """Follow the positions of a network's input through its operations, to a layer with ``count`` of them.

    Of two branches that shorten the input equally, the one with the smaller kernel counts. If the operations do not
    lead to the layer, its positions are the centres of equal parts of the input.
    """
    at, origin, last_kernel = start, start, 0  # origin: before the last operation that sees several positions
    for step in (step for alternatives in steps for step in alternatives):
        is_there = at.length == count
        if step.before == at.length and step.after != at.length and not is_there:
            source = at
        elif step.before == origin.length and step.after == at.length and 1 < step.kernel < last_kernel:
            source = origin
        else:
            continue
        if step.kernel > 1:
            origin, last_kernel = source, step.kernel
        first = source.first + ((step.kernel - 1) / 2 - step.left) * source.hop
        at = _SampleGrid(step.after, first, source.hop * step.stride)
    if at.length == count:
        return at
    hop = start.length * start.hop / max(1, count)
    return _SampleGrid(count, start.first - start.hop / 2 + hop / 2, hop)


class _StepRecorder(TorchDispatchMode):
    """Record the operations that move along an axis."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[list[_Step]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read_steps = _READERS.get(func.overloadpacket.__name__)
        if read_steps is not None and args and isinstance(args[0], Tensor):
            output = result[0] if isinstance(result, tuple) else result
            if isinstance(output, Tensor) and (steps := list(read_steps(args, output))):
                self.steps.append(steps)
        return result


def _convolution(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    source, weight, _, strides, paddings, dilations, is_transposed = args[:7]
    if not is_transposed:
        sizes = [(size - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations, strict=True)]
        yield from _window_steps(source, output, sizes, strides, paddings)


def _pooling(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    source, kernel = args[:2]
    strides = args[2] if len(args) > 2 and args[2] else kernel
    paddings = args[3] if len(args) > 3 else [0] * len(kernel)
    yield from _window_steps(source, output, kernel, strides, paddings)


def _window_steps(
    source: Tensor, output: Tensor, sizes: Sequence[int], strides: Sequence[int], paddings: Sequence[int]
) -> Iterator[_Step]:
    count = len(sizes)
    if len(strides) == len(paddings) == count and source.ndim == output.ndim:
        before, after = source.shape[-count:], output.shape[-count:]
        yield from map(_Step, before, after, sizes, strides, paddings)


def _padding(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    source, amounts = args[:2]
    for number in range(len(amounts) // 2):
        axis = -1 - number
        yield _Step(source.shape[axis], output.shape[axis], 1, 1, amounts[2 * number])


def _slicing(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    source, axis = args[0], args[1] if len(args) > 1 else 0
    start = (args[2] if len(args) > 2 else 0) or 0
    size = source.shape[axis]
    yield _Step(size, output.shape[axis], 1, args[4] if len(args) > 4 else 1, -(start + size if start < 0 else start))


def _unfolding(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    source, axis, size, stride = args[:4]
    yield _Step(source.shape[axis], output.shape[axis], size, stride, 0)


def _framing(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    """The frames of a Fourier transform are a view with overlapping rows.

    A window of even size begins with a zero, as torch.hann_window: its centre is a sample, the one that the library
    places at a multiple of the hop.
    """
    source, _, strides = args[:3]
    if output.ndim > 1 and strides[-1] == source.stride(-1) == 1 and strides[-2] > 0:
        size = output.shape[-1]
        yield _Step(source.shape[-1], output.shape[-2], size, strides[-2], 0 if size % 2 else -0.5)


def _stacking(args: Sequence[Any], output: Tensor) -> Iterator[_Step]:
    """Neighbouring frames become channels: (batch, time, channel) to (batch, time / n, n * channel)."""
    source = args[0]
    if source.ndim == output.ndim == 3 and source.shape[0] == output.shape[0] and output.shape[1] > 0:
        times, remainder = divmod(source.shape[1], output.shape[1])
        if times > 1 and remainder == 0:
            yield _Step(source.shape[1], output.shape[1], times, times, 0)


_READERS: Mapping[str, Callable[[Sequence[Any], Tensor], Iterator[_Step]]] = {
    "convolution": _convolution,
    "avg_pool1d": _pooling,
    "avg_pool2d": _pooling,
    "max_pool1d": _pooling,
    "max_pool2d": _pooling,
    "max_pool2d_with_indices": _pooling,
    "constant_pad_nd": _padding,
    "reflection_pad1d": _padding,
    "replication_pad1d": _padding,
    "slice": _slicing,
    "unfold": _unfolding,
    "as_strided": _framing,
    "view": _stacking,
    "_unsafe_view": _stacking,
}
"""Operation of torch's aten library → its steps."""


def _extractor_frames(preprocess: AudioPreprocessor, samples: int) -> _SampleGrid:
    """Return where the positions of the network's main input are in the audio.

    Waveforms have a position for each sample. The frames of a spectrogram respond to an impulse where they are: the
    positions of several impulses are compared with the centres of the frames that respond.
    """

    channels = preprocess.declared.channels

    def inputs(waveform: FloatArray) -> FloatArray:
        return np.asarray(next(iter(preprocess.row_of(waveform).inputs.values())), np.float32)

    def silence(length: int) -> FloatArray:
        return np.zeros(length if channels == 1 else (length, channels), np.float32)

    array = inputs(silence(samples))
    if preprocess.declared.pad == "window":
        axis, hop = int(np.argmax(array.shape)), samples / max(array.shape)  # more frames than frequency bands
    else:
        longer = inputs(silence(_LONGER * samples)).shape
        axis = next((at for at, size in enumerate(array.shape) if size != longer[at]), array.ndim - 1)
        hop = (_LONGER - 1) * samples / max(1, longer[axis] - array.shape[axis])
    count = array.shape[axis]
    if count == samples:
        return _SampleGrid(count, 0.0, 1.0)

    def frames(waveform: FloatArray) -> FloatArray:
        return np.moveaxis(inputs(waveform), axis, 0).reshape(count, -1)

    even, silent = _SampleGrid(count, (samples / count - 1) / 2, samples / count), frames(silence(samples))
    hop = float(round(hop)) if abs(hop - round(hop)) < 0.01 * hop else hop
    # Each impulse is at another place between two frames.
    placed = (samples / 2 + hop * (1 + 1 / _IMPULSES) * (np.arange(_IMPULSES) - _IMPULSES / 2)).astype(int)
    placed = placed[(placed >= 0) & (placed < samples)]
    centres = []
    for sample in placed:
        waveform = silence(samples)
        waveform[sample] = 1.0
        change = np.abs(frames(waveform) - silent)
        response = np.clip(change - np.median(change, axis=0), 0, None).sum(axis=1)
        response[response < _LOUD * response.max()] = 0
        if not response.any():
            return even
        centres.append(float(response @ np.arange(count) / response.sum()))
    offsets = placed - hop * np.asarray(centres)
    if not centres or np.std(offsets) > hop:
        return even
    return _SampleGrid(count, round(2 * float(np.mean(offsets))) / 2, hop)  # to half a sample
