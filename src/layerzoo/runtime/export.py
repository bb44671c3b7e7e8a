"""Export a cut network to a file that other programs run, and compare the file with the cut."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from layerzoo.errors import ExportError, OutputError, UsageError
from layerzoo.extras import needs
from layerzoo.plugins.failure import summary
from layerzoo.runtime.backbone import Backbone, network_of
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.preprocess import AudioPreprocessor
from layerzoo.runtime.variation import example_batches

ExportFormat = Literal["onnx", "pt2"]
"""`onnx`: for onnxruntime and others. `pt2`: an ExportedProgram of torch, for ``torch.export.load``."""

TOLERANCE = 1e-4
"""Of the largest difference between the file and the cut, as a share of the largest value of a layer. Runtimes order
the additions of a sum differently: 1e-6 was the largest share measured, for layers of MiniLM, EfficientNet-Lite0 and
Whisper in onnxruntime 1.32."""
_LARGEST_IN_ONE_FILE = 1_900_000_000
"""Bytes of weights. An ONNX file is a protobuf message, of at most 2 GiB; larger weights are in a file next to it."""

_Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Exported:
    """A written file, and how it was compared with the cut."""

    path: Path
    format: ExportFormat
    inputs: dict[str, list[str | int]]
    """Name of an input → its sizes; a name in place of a size that may vary."""
    outputs: list[str]
    """The names of the layers."""
    bytes: int
    largest_difference: float
    """Between the file and the cut, as a share of the largest value of a layer, over all compared batches."""
    batches: list[dict[str, list[int]]]
    """The shapes of the inputs of each compared batch."""


def export(backbone: Backbone, path: str | os.PathLike[str], to: ExportFormat | None = None) -> Exported:
    """Write the network of a backbone up to its cut into a file. See :meth:`layerzoo.Backbone.export`."""
    target = Path(path)
    chosen = _format(target, to)
    if backbone.precision != "float32":
        raise UsageError(f"this backbone computes in {backbone.precision}: load it with precision='float32' to export")
    example = backbone.preprocess.example(2)
    if example is None:
        raise ExportError(f"{backbone.spec.id}: its preprocessing makes no example input", model=backbone.spec.id)
    if not target.parent.is_dir():
        raise OutputError(f"{target}: there is no folder {target.parent}", path=target)
    program, varying = _exported(backbone, example)
    batches = _compared_batches(backbone, example, varying)
    with _scratch(target) as scratch:
        try:
            run = _write_onnx(program, backbone, varying, scratch) if chosen == "onnx" else _write_pt2(program, scratch)
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror or error}", path=target) from error
        difference = _compare(backbone, run, batches)
        for file in sorted(scratch.parent.iterdir()):
            shutil.move(file, target.parent / file.name)
    return Exported(
        path=target,
        format=chosen,
        inputs={name: _sizes(name, tensor, varying) for name, tensor in example.inputs.items()},
        outputs=[layer.name for layer in backbone.layers],
        bytes=target.stat().st_size,
        largest_difference=difference,
        batches=[{name: list(tensor.shape) for name, tensor in batch.inputs.items()} for batch in batches],
    )


def _format(path: Path, to: ExportFormat | None) -> ExportFormat:
    formats = get_args(ExportFormat)
    chosen = to or path.suffix.removeprefix(".")
    if chosen not in formats:
        raise UsageError(
            f"{path}: the format is one of {', '.join(formats)}: name the file *.onnx or *.pt2, or pass to="
        )
    return "onnx" if chosen == "onnx" else "pt2"


Varying = Mapping[str, Mapping[int, str]]
"""Name of an input → the axes that may have another size than in the example → their names."""


def _exported(backbone: Backbone, example: Batch) -> tuple[ExportedProgram, Varying]:
    """Export with as many varying axes as the network allows: the batch and the length, else the batch."""
    sequences = _sequence_axes(backbone, example)
    candidates = [sequences, {}] if sequences else [{}]
    failures: list[Exception] = []
    for candidate in candidates:
        varying = {name: {0: "batch", **candidate.get(name, {})} for name in example.inputs}
        try:
            with _quiet():
                program = torch.export.export(
                    network_of(backbone), (_argument(example),), dynamic_shapes=(_dynamic(example, varying),)
                )
        except Exception as error:  # noqa: BLE001 - torch raises many kinds of errors for code that it cannot follow
            failures.append(error)
            continue
        if failures:
            message = "%s: exported for inputs of the example's length only: %s"
            logging.getLogger("layerzoo").warning(message, backbone.spec.id, summary(failures[0]))
        return program, varying
    raise ExportError(
        f"{backbone.spec.id}: torch.export does not follow the code of the network: {summary(failures[-1])}",
        model=backbone.spec.id,
    ) from failures[-1]


def _sequence_axes(backbone: Backbone, example: Batch) -> dict[str, dict[int, str]]:
    """Return the axis of each input that runs along texts, or along audio without a fixed window."""
    preprocess = backbone.preprocess
    if preprocess.modality == "text":
        return {name: {1: "token"} for name, tensor in example.inputs.items() if tensor.ndim == 2}
    if isinstance(preprocess, AudioPreprocessor) and preprocess.declared.window_s is None:
        longest = next(iter(example.inputs.values())).shape[-1]
        sequences = {name: tensor for name, tensor in example.inputs.items() if tensor.shape[-1] == longest}
        return {name: {tensor.ndim - 1: "time"} for name, tensor in sequences.items()}
    return {}


def _argument(batch: Batch) -> Tensor | dict[str, Tensor]:
    """Return a batch as the network of a backbone takes it: a single input as a tensor, several as a mapping."""
    return next(iter(batch.inputs.values())) if len(batch.inputs) == 1 else dict(batch.inputs)


def _dynamic(batch: Batch, varying: Varying) -> Any:
    dims = {name: dict.fromkeys(axes, Dim.DYNAMIC) for name, axes in varying.items()}
    return next(iter(dims.values())) if len(batch.inputs) == 1 else dims


def _sizes(name: str, tensor: Tensor, varying: Varying) -> list[str | int]:
    return [varying[name].get(axis, size) for axis, size in enumerate(tensor.shape)]


def _compared_batches(backbone: Backbone, example: Batch, varying: Varying) -> list[Batch]:
    """Return batches of random values: of the example's size, of another batch size, and of another length."""
    make = example_batches(example)
    batches = [make([0, 1]), make([1, 0, 1])]
    is_longer = any(len(axes) > 1 for axes in varying.values())
    longer = backbone.preprocess.example(2, "length") if is_longer else None
    return batches if longer is None else [*batches, example_batches(longer)([0, 1])]


def _compare(backbone: Backbone, run: _Run, batches: Sequence[Batch]) -> float:
    """Return the largest difference between the file and the cut. Raises: ExportError above the tolerance."""
    largest = 0.0
    for batch in batches:
        expected = backbone.activations(batch)
        outputs = run(batch.inputs)
        for name, activation in expected.items():
            reference, exported = activation.cpu().double(), outputs[name].double()
            if exported.shape != reference.shape:
                raise ExportError(
                    f"{backbone.spec.id}, layer {name}: the exported file gives {tuple(exported.shape)}, and the cut "
                    f"{tuple(reference.shape)}",
                    model=backbone.spec.id,
                )
            scale = float(reference.abs().max()) if reference.numel() else 0.0
            largest = max(
                largest, float((exported - reference).abs().max()) / (scale or 1.0) if reference.numel() else 0.0
            )
    if not largest <= TOLERANCE:
        raise ExportError(
            f"{backbone.spec.id}: the exported file differs from the cut by {largest:.2g} of the largest value, and at "
            f"most {TOLERANCE:g} is accepted. Nothing was written",
            model=backbone.spec.id,
        )
    return largest


def _write_pt2(program: ExportedProgram, path: Path) -> _Run:
    with _quiet():
        torch.export.save(program, path)
        module = torch.export.load(path).module()

    def run(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        with torch.no_grad():
            outputs: dict[str, Tensor] = module(_argument(Batch(inputs)))
        return outputs

    return run


def _write_onnx(program: ExportedProgram, backbone: Backbone, varying: Varying, path: Path) -> _Run:
    with needs("onnx"):
        import onnxruntime
        import onnxscript  # noqa: F401 - torch requires it
    names, outputs = list(varying), [layer.name for layer in backbone.layers]
    try:
        with _quiet():
            onnx_program = torch.onnx.export(
                program, dynamo=True, input_names=names, output_names=outputs, verbose=False, optimize=True
            )
    except Exception as error:
        raise ExportError(
            f"{backbone.spec.id}: no ONNX exists for an operation of the network: {summary(error)}. Next: --to pt2",
            model=backbone.spec.id,
        ) from error
    assert onnx_program is not None
    _name_axes(onnx_program.model, varying)
    size = sum(tensor.numel() * tensor.element_size() for tensor in network_of(backbone).state_dict().values())
    onnx_program.save(path, external_data=size > _LARGEST_IN_ONE_FILE)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        values = session.run(outputs, {name: inputs[name].cpu().numpy() for name in names})
        return dict(zip(outputs, map(torch.from_numpy, values), strict=True))

    return run


def _name_axes(model: Any, varying: Varying) -> None:
    """Name the varying axes of an ONNX model, in place of torch's names such as s85.

    torch.export names them only for a named ``Dim``, which refuses networks whose sizes depend on each other.

    Args:
        model: an ``onnxscript.ir.Model``.
        varying: the axes of each input, and their names.
    """
    from onnxscript import ir

    names = {
        tensor.shape[axis].value: name
        for tensor in model.graph.inputs
        for axis, name in varying[tensor.name].items()
        if isinstance(tensor.shape[axis], ir.SymbolicDim)
    }
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values if names else ():
        if value.shape is not None:
            value.shape = ir.Shape(_renamed(dim, pattern, names) for dim in value.shape)


def _renamed(dim: Any, pattern: re.Pattern[str], names: Mapping[str, str]) -> Any:
    """Return a size with its symbols renamed: s85 is batch, and 2*s85 is 2*batch."""
    symbols = getattr(dim, "value", None)
    return pattern.sub(lambda symbol: names[symbol[0]], symbols) if isinstance(symbols, str) else dim


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Yield a path with the name of ``target`` in a new folder next to it, which is removed at the end."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".layerzoo-export-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}", path=target) from error
    try:
        yield folder / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the deprecation warnings and progress messages of torch's exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "onnxscript", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
