"""Trace the network of one model on demand, at its own input size and at others, and cache the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from layerzoo.errors import LayerzooError, RepositoryError, TraceError, UnsafeWeightsError
from layerzoo.runtime.axes import AxisLayout, Enlargement, Probes, infer_layout
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.construct import (
    MOST_KNOWN,
    TRACE_MODES,
    TraceMode,
    build,
    build_uninitialised,
    check_memory_of,
    fake_tensors,
    knowing_small_tensors,
    trace_mode,
)
from layerzoo.runtime.cut import find_call
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.preprocess import Preprocessor
from layerzoo.runtime.trace import Call, Key, Trace, trace
from layerzoo.spec import AudioPreprocess, ImagePreprocess, Layer, ModelSpec, VideoPreprocess
from layerzoo.weights import Files

BATCH_SIZE = 2
"""Rows of the example batch that is traced."""
_LARGER_BATCH_SIZE = 3
_END = 1 << 62
"""A step after the last one of any trace."""


@dataclass(frozen=True, slots=True)
class ModeTrace:
    """A trace, and the mode in which the network ran."""

    trace: Trace
    mode: TraceMode


class Tracer:
    """Traces of the network of one model.

    spec: the model, with its preprocessing.
    latest: a trace from an earlier process.
    layouts: axes by activation, from an earlier process or from another size of the same architecture.
    """

    def __init__(
        self,
        spec: ModelSpec,
        files: Files,
        hooks: ModelHooks,
        preprocess: Preprocessor,
        *,
        latest: ModeTrace | None = None,
        layouts: dict[str, AxisLayout] | None = None,
    ) -> None:
        self.spec = spec
        self.files = files
        self.hooks = hooks
        self.preprocess = preprocess
        self.latest = latest
        """The last trace, which may end before the network does; None before the first one."""
        self.layouts = layouts
        """Activation → axes, where traces at other input sizes show them; None before these traces were needed."""
        self.revision = 0
        """Number of changes of ``latest`` and ``layouts``."""

    @property
    def trace(self) -> Trace:
        """The trace of the whole network."""
        return self.full_trace().trace

    @property
    def flops(self) -> int:
        """FLOPs of the whole network for one sample."""
        return self.trace.flops_until(_END)

    def full_trace(self) -> ModeTrace:
        """Trace the network to its end, if that was not done yet. Raises: TraceError."""
        if self.latest is None or not self.latest.trace.is_whole:
            return self._update(())
        return self.latest

    def reaching(self, layers: Sequence[Layer], *, stop_early: bool) -> Trace:
        """Return a trace that covers some layers.

        stop_early: end a new trace after the last of them, instead of at the end of the network. Raises: TraceError.
        """
        if self.latest is None or not all(map(self.latest.trace.reaches, layers)):
            return self._update(layers if stop_early else ()).trace
        return self.latest.trace

    def layout(self, call: Call, layer: Layer) -> AxisLayout | None:
        """Infer the axes of a layer's activation from traces at other input sizes; None where they do not show them."""
        if self.layouts is None:
            self.layouts = dict(_layouts(self._probes()))
            self.revision += 1
        return self.layouts.get(_activation_key(call, layer.output, layer.at))

    def axes(self, layer: Layer) -> tuple[str, ...] | None:
        """Return the axes of a layer: the declared ones, else those that :meth:`layout` infers."""
        if layer.axes is not None:
            return layer.axes
        layout = self.layout(find_call(self.trace, layer, model=self.spec.id), layer)
        return layout.axes if layout else None

    def enlarged(self, example: Batch, enlargement: Enlargement) -> Trace | None:
        """Trace the network on a larger example.

        A network that resizes its input to a fixed size is built again for the larger size.
        Returns: None where the network refuses that size, or gives the same shapes for it.
        """
        larger = None
        for candidate in dict.fromkeys((self.spec, _resized(self.spec, enlargement))):
            try:
                larger = _trace_in(self.full_trace().mode, candidate, self.hooks, self.files, example)
            except LayerzooError:
                continue  # the network does not take this size
            if _output_shapes(larger) != _output_shapes(self.trace):
                return larger
        return larger

    def _update(self, until: Sequence[Layer]) -> ModeTrace:
        mode_trace = _first_trace(self.spec, self.hooks, self.files, self.preprocess, until)
        if mode_trace.trace.is_whole and mode_trace.trace.constant:
            mode_trace = self._with_single(mode_trace)
        self.latest = mode_trace
        self.revision += 1
        return mode_trace

    def _with_single(self, mode_trace: ModeTrace) -> ModeTrace:
        """Add the FLOPs of one sample, where some of the work may be the same for any number of samples."""
        for size in (_LARGER_BATCH_SIZE, 1):  # for a single sample torch skips some copies
            with suppress(LayerzooError):  # the network does not take this batch size
                example = self.preprocess.example(size)
                other_size = _trace_in(mode_trace.mode, self.spec, self.hooks, self.files, example)
                if (counted := mode_trace.trace.with_single(other_size)) is not mode_trace.trace:
                    return replace(mode_trace, trace=counted)
        return mode_trace

    def _probes(self) -> Probes:
        """Trace at larger sizes. Sizes that the network refuses are absent."""
        larger: dict[Enlargement, Trace] = {}
        for enlargement in get_args(Enlargement):
            size = _LARGER_BATCH_SIZE if enlargement == "all" else BATCH_SIZE
            example = self.preprocess.example(size, enlargement)
            if example is not None and (grown := self.enlarged(example, enlargement)) is not None:
                larger[enlargement] = grown
        return Probes(base=self.trace, enlarged=larger, sequence_axis=self.preprocess.sequence_axis)


def _first_trace(
    spec: ModelSpec, hooks: ModelHooks, files: Files, preprocess: Preprocessor, until: Sequence[Layer]
) -> ModeTrace:
    """Trace the network at the model's own input size, in the cheapest mode in which it runs.

    Raises: the error of the plugin, if it caused the failure in the last mode; else TraceError.
    """
    failures: dict[TraceMode, LayerzooError] = {}
    for mode in TRACE_MODES:
        try:
            return ModeTrace(_trace_in(mode, spec, hooks, files, preprocess.example(BATCH_SIZE), until), mode)
        except (UnsafeWeightsError, RepositoryError):
            raise  # the files cause these errors in every mode
        except LayerzooError as error:
            failures[mode] = error
    last = failures[TRACE_MODES[-1]]  # of the run with real values; the other failures are only steps towards it
    if not isinstance(last, TraceError):
        raise last
    raise TraceError(f"{spec.id} could not be traced: {last}") from last


def _trace_in(
    mode: TraceMode,
    spec: ModelSpec,
    hooks: ModelHooks,
    files: Files,
    example: Batch | None,
    until: Sequence[Layer] = (),
) -> Trace:
    if example is None:
        raise TraceError(f"{spec.id}: no example input of that size")
    if mode == "real":
        check_memory_of(spec, hooks, files)
    with trace_mode(mode):
        network = (build if mode == "real" else build_uninitialised)(spec, hooks, files)
        with fake_tensors(network) if mode == "faked" else nullcontext(), _small_values(spec):
            sample = (
                as_parameters(example, network)
                if mode == "real"
                else _without_values(example, keeps_integers=_reads_sizes(spec))
            )
            with hooks.without_network(spec.id):
                return trace(network, sample, until=until, has_values=mode == "real", folders=hooks.folders)


def as_parameters(batch: Batch, network: torch.nn.Module) -> Batch:
    """Return a batch on the device of a network, and in the floating-point dtype of its parameters."""
    first = next((tensor for tensor in network.parameters() if tensor.is_floating_point()), None)
    if first is None or (first.device.type == "cpu" and first.dtype is torch.float32):
        return batch
    return batch.to(first.device).cast(first.dtype if first.dtype.itemsize > 1 else torch.float32)


def _reads_sizes(spec: ModelSpec) -> bool:
    """Return whether integers in an input may be image sizes that the network reads, and not tokens."""
    return spec.modality in ("vision", "video")


def _small_values(spec: ModelSpec) -> AbstractContextManager[None]:
    return knowing_small_tensors() if _reads_sizes(spec) else nullcontext()


def _without_values(batch: Batch, *, keeps_integers: bool) -> Batch:
    """Return a batch of the same shapes, created in the current trace mode.

    keeps_integers: keep the values of small integer tensors, where the mode supports values; all others are ones.
    """

    def create(tensor: Tensor) -> Tensor:
        if keeps_integers and not tensor.is_floating_point() and tensor.numel() <= MOST_KNOWN:
            return torch.tensor(tensor.tolist(), dtype=tensor.dtype)
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    return replace(batch, inputs={name: create(tensor) for name, tensor in batch.inputs.items()})


def _layouts(probes: Probes) -> Iterator[tuple[str, AxisLayout]]:
    """Yield every activation of a network whose axes the probes show."""
    for call in probes.base.calls:
        for at, shapes in (("output", call.outputs), ("input", call.inputs)):
            for key in shapes:
                if layout := infer_layout(probes, call, key, at=at):
                    yield _activation_key(call, key, at), layout


def _activation_key(call: Call, key: Key, at: str) -> str:
    if at == "input" and key is None:
        key = next(iter(call.inputs), None)
    return f"{call.module}#{call.index} {at} {key}"


def _output_shapes(trace: Trace) -> list[tuple[str, dict[Key, tuple[int, ...]]]]:
    """Return the shapes of all outputs without their first axes, which change with the batch size alone."""
    return [(call.module, {key: shape[1:] for key, shape in call.outputs.items()}) for call in trace.calls]


def _resized(spec: ModelSpec, enlargement: Enlargement) -> ModelSpec:
    """Return the spec of the same architecture for an image of twice the height or width, or a window twice as long."""
    grow = {"all": (2, 2), "height": (2, 1), "width": (1, 2)}.get(enlargement, (1, 1))
    declared = spec.preprocess
    if isinstance(declared, AudioPreprocess) and declared.window_s is not None:
        return replace(spec, preprocess=replace(declared, window_s=2 * declared.window_s))
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    if not isinstance(image, ImagePreprocess):
        return spec
    size_px = image.size_px[0] * grow[0], image.size_px[1] * grow[1]
    larger = replace(image, size_px=size_px, processor=None)  # no library's processor makes this size
    return replace(
        spec, preprocess=replace(declared, image=larger) if isinstance(declared, VideoPreprocess) else larger
    )
