"""Make a backbone of any module in memory. :func:`wrap` is the outline."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.metadata
import inspect
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from layerzoo.errors import LayerzooError, TraceError, UsageError
from layerzoo.layers import parse_address
from layerzoo.media.text import Tokenizer
from layerzoo.plugins.failure import summary
from layerzoo.runtime.axes import AxisLayout
from layerzoo.runtime.backbone import Backbone
from layerzoo.runtime.batch import Batch, InputRow
from layerzoo.runtime.changes import TensorChanges
from layerzoo.runtime.clip_lengths import FrameHop, frames_of
from layerzoo.runtime.completion import complete_layers
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.modes import in_eval_mode
from layerzoo.runtime.naming import name_layers
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.precision import dtype_name
from layerzoo.runtime.preprocess import AudioPreprocessor, Preprocessor, preprocessor
from layerzoo.runtime.preprocess.arrays import (
    INPUT,
    ArrayPreprocessor,
    AudioTransform,
    ImageTransform,
    TokenizedPreprocessor,
    Transform,
    as_array,
    name_of,
    transformed_images,
)
from layerzoo.runtime.provenance import digests_by_layer
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_layers, choose_pools, default_pools
from layerzoo.runtime.resolved import ResolvedModel, observe_example
from layerzoo.runtime.stored import combined_digest, tensor_digests
from layerzoo.runtime.trace import Call, Trace, named_tensors, saved_tensors
from layerzoo.runtime.tracer import Tracer, as_parameters
from layerzoo.spec import (
    IN_MEMORY,
    KINDS,
    AudioPreprocess,
    Default,
    ImagePreprocess,
    Layer,
    Modality,
    ModelSpec,
    Preprocess,
    TextPreprocess,
    VideoPreprocess,
    preprocess_from_dict,
    to_plain,
)
from layerzoo.weights import Files

_NAMESPACE = "memory"
_MODALITY_OF_KIND: dict[str, Modality] = {KINDS[modality]: modality for modality in get_args(Modality)}
_IMAGE_SIDES = (224, 32, 64, 28, 96, 128, 256, 299, 384, 512)

WrapPreprocess = Preprocessor | Preprocess | Mapping[str, Any] | Callable[..., Any] | Tokenizer | str | tuple[Any, Any]
"""What :func:`wrap` takes as the preprocessing of a module."""


def wrap(
    module: nn.Module,
    preprocess: WrapPreprocess | None = None,
    modality: Modality | None = None,
    layers: Mapping[str, str] | Iterable[Layer] | None = None,
    *,
    example: Any = None,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    name: str | None = None,
) -> Backbone:
    """Make a backbone of a module in memory: of a class in a notebook, of torchvision, timm or transformers.

    The module is traced, its layers are named, cut, pooled and batched by the same rules as those of any model. It is
    neither copied nor changed, except that it is put into eval mode. After more training, features are computed in eval
    mode, too, and the mode of each submodule is restored afterwards.

    Args:
        module: the network. Its parameters may be on any device, and in any floating-point dtype.
        preprocess: turns raw samples into inputs of the network. A callable: a transform of torchvision or timm (image
            of Pillow → array), an image processor, a tokenizer (text → token ids, or a mapping of arrays). Declared
            values: an ``ImagePreprocess``, an ``AudioPreprocess``, or the mapping that a registry.yaml has under
            ``preprocess``. A pair of declared values and a callable, such as ``(AudioPreprocess(sample_rate_hz=16000),
            transform)``. The id of a model whose preprocessing is used. None: inputs are arrays or tensors as the
            network takes them.
        modality: ``text``, ``vision``, ``audio`` or ``video``. None: that of the preprocessing, else that of the first
            layer of the module.
        layers: names of layers → addresses of submodules, as in ``{"early": "conv1", "late": "blocks.3"}``, or
            :class:`Layer` objects. None: named by the trace.
        example: one batch as the network takes it, without ``preprocess``: an array, a tensor, a tuple of several, or a
            mapping by the names of arguments. For a network whose only argument is a mapping: that mapping. None:
            derived from the modality and the first layer of the module.
        layer: the layers that are read by default, as for :func:`load`. Any other layer can be passed to
            :func:`extract`.
        pool: the pooling, as for :func:`load`.
        name: the name of the model in results. None: the name of the module's class.
    Returns: a backbone whose ``module`` shares its parameters with ``module``.
    Raises: UsageError for a module or arguments that cannot be used, TraceError when the module does not run on the
        example, LayerError, PoolingError.

    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> backbone = layerzoo.wrap(network, layers={"hidden": "1"})
    >>> layerzoo.extract(backbone, torch.rand(3, 4), layer="hidden").values.shape
    (3, 8)
    """
    network = _network(module)
    spec = _spec(name or type(network).__name__, modality, preprocess, network)
    hooks = _ModuleHooks(network)
    prepared, tracer = _traced(spec, preprocess, example, hooks)
    declared = _declared_layers(layers)
    named_layers = declared or name_layers(tracer.trace)
    complete = tuple(_with_prefix(layer, tracer.trace) for layer in complete_layers(tracer, named_layers))
    spec = replace(tracer.spec, layers=complete, default=_default_of(complete, tracer.trace))
    tracer.spec = spec
    resolved = ResolvedModel(spec, tracer, prepared)
    observe_example(resolved)
    network.eval()
    changes = TensorChanges(network)
    changes.watch()  # the caller has the module
    return _backbone(network, resolved, changes, layer, pool)


def recut(backbone: Backbone, layer: LayerChoice) -> Backbone:
    """Return a backbone that reads some layers: of a wrapped module, any; of another backbone, itself."""
    resolved = backbone._resolved
    if not isinstance(resolved.hooks, _ModuleHooks) or layer is None:
        return backbone
    loaded = {each.name for each in backbone.layers}
    with in_eval_mode(resolved.hooks.network):
        if {each.name for each in choose_layers(resolved, layer)} <= loaded:
            return backbone
        renewed = _backbone(resolved.hooks.network, resolved, backbone._changes, layer, None)
    return replace(renewed, preprocess=backbone.preprocess)


def _backbone(
    network: nn.Module, resolved: ResolvedModel, changes: TensorChanges, layer: LayerChoice, pool: PoolChoice
) -> Backbone:
    layers = choose_layers(resolved, layer)
    pools = default_pools(resolved, layers) if pool is None else choose_pools(resolved, layers, pool)
    cut = resolved.cut(layers)
    dtype = _dtype(network)
    is_cast = dtype is not torch.float32
    return Backbone(
        spec=resolved.spec,
        preprocess=resolved.preprocess,
        pools=pools,
        device=_device(network),
        precision="library" if is_cast else "float32",
        _loaded=_provenance(network, resolved, cut),
        _network=CutNetwork(network, cut, dtype, is_cast=is_cast).eval(),
        _changes=changes,
        _resolved=resolved,
    )


class _ModuleHooks(ModelHooks):
    """Answers for a module in memory, in place of the plugins of a model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(None, ())  # type: ignore[arg-type]
        self.network = network

    @property
    def identity(self) -> str:
        return name_of(self.network)

    def without_network(self, model: str) -> contextlib.AbstractContextManager[None]:
        """Change nothing: the code is the caller's own."""
        return contextlib.nullcontext()

    def evaluating(self, network: nn.Module) -> contextlib.AbstractContextManager[None]:
        return in_eval_mode(network)

    def build(self, spec: ModelSpec, files: Files) -> nn.Module:
        """Return a copy without values inside a trace mode without values, and else the module itself."""
        if not _is_without_values():
            return self.network
        try:
            return _copy_without_values(self.network)
        except Exception as error:
            raise TraceError(f"{spec.id} cannot be copied: {summary(error)}") from error

    def describe(self, spec: ModelSpec, files: Files) -> Mapping[str, Any] | None:
        return None

    def dtype(self, spec: ModelSpec, files: Files) -> str | None:
        return None

    def preprocess(self, spec: ModelSpec, files: Files) -> Any:
        return None

    def read_weights(self, spec: ModelSpec, files: Files) -> Mapping[str, Tensor] | None:
        return None

    def with_format_of(self, files: Files) -> ModelHooks:
        return self

    def state_dict(self, spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        return None


class _ModuleTracer(Tracer):
    """Infer axes from the kinds of the modules, where a network takes inputs of one size only."""

    def layout(self, call: Call, layer: Layer) -> AxisLayout | None:
        layout = super().layout(call, layer)
        if layout is not None:
            return layout
        assert isinstance(self.hooks, _ModuleHooks)
        shapes = call.outputs if layer.at == "output" else call.inputs
        shape = shapes.get(layer.output, next(iter(shapes.values()), ()))
        axes = _axes_by_kind(self.hooks.network, self.trace, shape, self.preprocess.sequence_axis)
        if axes is None:
            return None
        prefix = self.trace.added_tokens(layer, 1, shape[1])[0] if axes[1] == "token" else None
        return AxisLayout(axes, prefix)


def _axes_by_kind(
    network: nn.Module, trace: Trace, shape: tuple[int, ...], sequence_axis: str
) -> tuple[str, ...] | None:
    """Return the axes of an activation that some convolution or norm of the network takes or returns.

    These modules define the axes of their input: a Conv2d has (batch, channel, height, width), and a LayerNorm over one
    axis has channels on it. None without such a module, or if two of them disagree.
    """
    if shape[:1] != (trace.batch_size,):
        return None
    if len(shape) == 2:
        return ("batch", "channel")
    candidates = set()
    for call in trace.calls:
        if shape in (*call.inputs.values(), *call.outputs.values()):
            module = network.get_submodule(call.module)
            for kinds, axes in _axes_of_kinds(sequence_axis).items():
                is_over_one_axis = len(getattr(module, "normalized_shape", (0,))) == 1
                if isinstance(module, kinds) and len(axes) == len(shape) and is_over_one_axis:
                    candidates.add(axes)
    return candidates.pop() if len(candidates) == 1 else None


def _frame_hop(network: nn.Module, trace: Trace) -> FrameHop | None:
    """Return the length and hop of the frames that the first convolutions and poolings of a network make of samples.

    None if the first of them pads its input, or there are none.
    """
    samples = next(iter(trace.calls[0].inputs.values()), (0,))[-1]
    length, hop, positions = 1, 1, samples
    for call in sorted(trace.calls, key=lambda call: call.start):
        module = network.get_submodule(call.module)
        before, after = (next(iter(shapes.values()), (0,))[-1] for shapes in (call.inputs, call.outputs))
        if not isinstance(module, nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d) or before != positions or after == before:
            continue
        kernel, stride, dilation, padding = (_number(getattr(module, name, 1)) for name in _WINDOW)
        if padding or getattr(module, "ceil_mode", False):
            break
        length, hop, positions = length + (kernel - 1) * dilation * hop, hop * stride, after
    return (length, hop) if hop > 1 and frames_of(samples, (length, hop)) == positions else None


_WINDOW = ("kernel_size", "stride", "dilation", "padding")


def _number(value: int | str | tuple[int, ...]) -> int:
    """Return a setting of a one-dimensional window, which torch keeps as a number or a tuple of one."""
    return value[0] if isinstance(value, tuple) else int(value != "valid") if isinstance(value, str) else value


def _axes_of_kinds(sequence_axis: str) -> dict[tuple[type[nn.Module], ...], tuple[str, ...]]:
    return {
        (nn.Conv1d, nn.BatchNorm1d): ("batch", "channel", sequence_axis),
        (nn.Conv2d, nn.BatchNorm2d): ("batch", "channel", "height", "width"),
        (nn.Conv3d, nn.BatchNorm3d): ("batch", "channel", "frame", "height", "width"),
        (nn.LayerNorm, nn.RMSNorm): ("batch", sequence_axis, "channel"),
    }


def _is_without_values() -> bool:
    return torch.empty(0).is_meta or type(torch.empty(0)) is not Tensor


def _copy_without_values(network: nn.Module) -> nn.Module:
    """Copy a module with tensors of the same shapes, created in the current trace mode, in float32."""
    memo: dict[int, Any] = {}
    for _, tensor in named_tensors(network):
        if id(tensor) in memo:
            continue
        dtype = torch.float32 if tensor.is_floating_point() and tensor.itemsize < 4 else tensor.dtype
        empty: Tensor = torch.empty(tensor.shape, dtype=dtype)
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = empty
    return copy.deepcopy(network, memo)


# ---------------------------------------------------------------- the module


def _network(module: Any) -> nn.Module:
    """Return the network of a module, without the wrappers of torch.compile and of data parallelism."""
    while isinstance(module, nn.Module):
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            break
        module = inner
    if isinstance(module, CutNetwork):
        raise UsageError("this module is that of a backbone already: pass the backbone itself to layerzoo.extract")
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError("a TorchScript module has no hooks to read its layers by: pass the module it was made from")
    if not isinstance(module, nn.Module):
        is_class = isinstance(module, type)
        kind = f"the class {module.__name__}" if is_class else f"an object of type {type(module).__name__}"
        raise UsageError(
            f"layerzoo.wrap takes a torch.nn.Module, and this is {kind}. To load a model by its id: layerzoo.load"
        )
    if any(
        isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer) for _, tensor in named_tensors(module)
    ):
        raise UsageError("the module has lazy parameters without a shape: run it once on a batch before wrapping it")
    if any(tensor.is_meta for _, tensor in named_tensors(module)):
        raise UsageError("the module has tensors on the meta device, without values: load its weights first")
    return module


def _device(network: nn.Module) -> torch.device:
    return next((tensor.device for _, tensor in named_tensors(network)), torch.device("cpu"))


def _dtype(network: nn.Module) -> torch.dtype:
    """Return the dtype of a network's inputs: that of its first floating-point parameter."""
    kinds = (tensor.dtype for tensor in network.parameters() if tensor.is_floating_point())
    return next((dtype for dtype in kinds if dtype.itemsize > 1), torch.float32)


def _first_layer(network: nn.Module) -> nn.Module | None:
    """Return the first submodule of a kind that shows what a network takes."""
    kinds = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.LSTM, nn.GRU, nn.RNN)
    return next((module for module in network.modules() if isinstance(module, kinds)), None)


def _accepted(network: nn.Module) -> list[str] | None:
    """Return the names of a network's arguments, in order; None if it takes any."""
    parameters = inspect.signature(network.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]


# ---------------------------------------------------------------- its declaration


def _spec(name: str, modality: Modality | None, preprocess: WrapPreprocess | None, network: nn.Module) -> ModelSpec:
    if modality is not None and modality not in get_args(Modality):
        raise UsageError(f"modality={modality!r} is not one of {', '.join(get_args(Modality))}")
    chosen = modality or _modality_of(preprocess) or _modality_of_network(network)
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-") or "module"
    return ModelSpec(id=f"{_NAMESPACE}/{slug}", modality=chosen, builder=IN_MEMORY)


def _modality_of(preprocess: WrapPreprocess | None) -> Modality | None:
    if isinstance(preprocess, tuple):
        return _modality_of(preprocess[0])
    if isinstance(preprocess, Preprocessor):
        return preprocess.modality
    if isinstance(preprocess, get_args(Preprocess)):
        return _MODALITY_OF_KIND[preprocess.kind]
    if isinstance(preprocess, Mapping) and "kind" in preprocess:
        return _MODALITY_OF_KIND.get(preprocess["kind"])
    if isinstance(preprocess, Tokenizer):
        return "text"
    return None


def _modality_of_network(network: nn.Module) -> Modality:
    first = _first_layer(network)
    if isinstance(first, nn.Embedding):
        return "text"
    return "audio" if isinstance(first, nn.Conv1d) else "vision"


def _declared_layers(layers: Mapping[str, str] | Iterable[Layer] | None) -> tuple[Layer, ...]:
    if layers is None:
        return ()
    if isinstance(layers, Mapping):
        if not all(isinstance(word, str) for pair in layers.items() for word in pair):
            raise UsageError("layers= maps names of layers to addresses of submodules, as in {'early': 'conv1'}")
        layers = [parse_address(address, name=name) for name, address in layers.items()]
    declared: tuple[Any, ...] = tuple(layers)
    if not all(isinstance(layer, Layer) for layer in declared):
        raise UsageError("layers= is a mapping from names to addresses of submodules, or a list of Layer objects")
    if any(not layer.name.strip() for layer in declared):
        raise UsageError("layers= has a layer with an empty name")
    return tuple(_parsed(layer) for layer in declared)


def _parsed(layer: Layer) -> Layer:
    """Return a layer whose module was given as an address, such as ``.``, ``1<`` or ``rnn[0]``, with its parts."""
    parsed = parse_address(layer.module, name=layer.name)
    is_input = "input" in (parsed.at, layer.at)
    return replace(
        layer,
        module=parsed.module,
        call=parsed.call if layer.call is None else layer.call,
        output=parsed.output if layer.output is None else layer.output,
        at="input" if is_input else "output",
    )


def _with_prefix(layer: Layer, trace: Trace) -> Layer:
    """Return a layer with declared axes with the tokens before those of the input, which the trace shows."""
    if layer.prefix_tokens is not None or layer.axes is None or layer.shape is None or "token" not in layer.axes:
        return layer
    axis = layer.axes.index("token")
    size = layer.shape[axis - (layer.axes.index("batch") < axis)]
    return replace(layer, prefix_tokens=trace.added_tokens(layer, axis, size)[0])


def _default_of(layers: Sequence[Layer], trace: Trace) -> Default:
    """Return the last block or stage; without any, the deepest named layer; without any, the first output of the
    network."""
    if any(re.fullmatch(r"(?:block|stage)\.\d+", layer.name) for layer in layers):
        return Default()
    if layers:
        return Default(layer=layers[-1].name)
    output = next(iter(trace.calls[0].outputs), None)
    return Default(layer=f"module:{Layer(name='', module='.', output=output).address}")


# ---------------------------------------------------------------- its preprocessing and trace


def _traced(
    spec: ModelSpec, preprocess: WrapPreprocess | None, example: Any, hooks: _ModuleHooks
) -> tuple[Preprocessor, Tracer]:
    """Return the preprocessing of a module, and its tracer after the first trace. Raises: UsageError, TraceError."""
    complete, prepared = _prepared(spec, preprocess, example, hooks.network)
    tracer = _ModuleTracer(complete, Files(), hooks, prepared)
    try:
        tracer.full_trace()
    except TraceError as error:
        if preprocess is not None:
            raise TraceError(f"{error}. {_returned_by(prepared)}") from error
        if not (isinstance(prepared, ArrayPreprocessor) and _may_take_mapping(example)):
            raise
        prepared.as_mapping = True
        with contextlib.suppress(TraceError):
            tracer.full_trace()
        if tracer.latest is None:
            prepared.as_mapping = False
            tracer.full_trace()  # raises the first error
    if isinstance(prepared, AudioPreprocessor | ArrayPreprocessor) and prepared.modality == "audio":
        prepared.frame_hop = _frame_hop(hooks.network, tracer.trace)
    return prepared, tracer


def _returned_by(prepared: Preprocessor) -> str:
    """Describe the inputs that a preprocessing returns, for the error of a network that does not run on them."""
    example = prepared.example(1)
    inputs = {} if example is None else example.inputs
    listed = ", ".join(
        f"{name} {tuple(tensor.shape[1:])} {dtype_name(tensor.dtype)}" for name, tensor in inputs.items()
    )
    shape = next((tuple(tensor.shape[1:]) for tensor in inputs.values()), ())
    is_channels_last = prepared.modality == "vision" and len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] > 4
    advice = (
        " This is (height, width, channel), and most networks take (channel, height, width). Next: permute its axes at "
        "the end of preprocess="
        if is_channels_last
        else ""
    )
    return f"preprocess= returns {listed} for a sample.{advice}"


def _prepared(
    spec: ModelSpec, preprocess: WrapPreprocess | None, example: Any, network: nn.Module
) -> tuple[ModelSpec, Preprocessor]:
    if preprocess is not None and example is not None:
        raise UsageError("example= is for a network without preprocess=, whose example input is made by it")
    if preprocess is not None:
        return _preprocessed(spec, preprocess, network)
    inner = _inner_mapping(example)
    if inner is not None:
        return spec, ArrayPreprocessor(spec.modality, _sample_of(inner, network), as_mapping=True)
    sample = _derived_sample(spec, network) if example is None else _sample_of(example, network)
    return spec, ArrayPreprocessor(spec.modality, sample)


def _derived_sample(spec: ModelSpec, network: nn.Module) -> dict[str, Any]:
    """Return arrays of one sample that the network takes. Raises: TraceError if none is found."""
    failures: list[Exception] = []
    network.eval()
    for sample in _likely_samples(spec.modality, network):
        batch = as_parameters(ArrayPreprocessor(spec.modality, sample).collate([InputRow(sample)] * 2), network)
        try:
            with torch.no_grad():
                batch.run(network)
        except Exception as error:  # noqa: BLE001 - a network may raise anything for an input that it does not take
            failures.append(error)
            continue
        return sample
    raise TraceError(
        f"{spec.id}: the input of the network is unknown. On inputs derived from the modality {spec.modality} and its "
        f"first layer it fails: {summary(failures[0])}. Next: layerzoo.wrap(module, example=BATCH), with one batch as "
        "the network takes it"
    ) from failures[0]


def _preprocessed(spec: ModelSpec, preprocess: WrapPreprocess, network: nn.Module) -> tuple[ModelSpec, Preprocessor]:
    if isinstance(preprocess, str):
        from layerzoo.runtime.loading import load_preprocess

        preprocess = load_preprocess(preprocess)
    if isinstance(preprocess, Preprocessor):
        declared = getattr(preprocess, "declared", None)
        return replace(spec, modality=preprocess.modality, preprocess=declared), preprocess
    values, function = preprocess if isinstance(preprocess, tuple) and len(preprocess) == 2 else (None, preprocess)
    if isinstance(function, Mapping | ImagePreprocess | AudioPreprocess | TextPreprocess | VideoPreprocess):
        values, function = function, None
    if values is not None:
        spec = replace(spec, preprocess=_declared_preprocess(values, spec))
        return spec, preprocessor(spec, _adapted(function, spec, network))
    if isinstance(function, Tokenizer) and not callable(function):
        limit = getattr(function, "max_tokens", None) or _positions(network)
        spec = replace(spec, modality="text", preprocess=TextPreprocess(max_tokens=limit, batching="equal_lengths"))
        return spec, preprocessor(spec, function)
    return _called(spec, function, network)


def _called(spec: ModelSpec, function: Any, network: nn.Module) -> tuple[ModelSpec, Preprocessor]:
    """Return the preprocessing by a callable alone."""
    if not callable(function) and callable(getattr(function, "encode", None)):
        function = function.encode
    if not callable(function):
        raise UsageError(
            f"preprocess= is of type {type(function).__name__}: it has to be a callable, declared values, a pair of "
            "both, or the id of a model"
        )
    accepted = _accepted(network)
    names = None if accepted is None else frozenset(accepted)
    try:
        if spec.modality == "text":
            return spec, TokenizedPreprocessor(Transform(function, names), _cls_token(function))
        if spec.modality == "vision":
            prepared = transformed_images(function, names)
            return replace(spec, preprocess=prepared.declared), prepared
    except LayerzooError:
        raise
    except Exception as error:
        takes = {"text": "a text (str)", "vision": "an RGB image of Pillow"}[spec.modality]
        raise UsageError(
            f"preprocess= fails on {takes}: {summary(error)}. If the network takes no {spec.modality}, pass modality="
        ) from error
    if spec.modality == "audio":
        rate = getattr(function, "sampling_rate", None) or getattr(function, "sample_rate", None)
        if isinstance(rate, int):
            declared = AudioPreprocess(sample_rate_hz=rate)
            return replace(spec, preprocess=declared), AudioPreprocessor(declared, AudioTransform(function, names))
        raise UsageError(
            "the sample rate of the network is unknown. Next: preprocess=(layerzoo.spec.AudioPreprocess("
            "sample_rate_hz=16000), transform)"
        )
    raise UsageError(
        "a video network needs the number of frames. Next: preprocess=(layerzoo.spec.VideoPreprocess(frames=16, "
        "joint=True, image=…), transform)"
    )


def _cls_token(function: Any) -> int | None:
    """Return the id of a tokenizer's classification token: -1 if it has none, None if it does not say so."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__self__", function)
    if not hasattr(function, "cls_token_id"):
        return None
    token = function.cls_token_id
    return token if isinstance(token, int) else -1


def _declared_preprocess(values: Any, spec: ModelSpec) -> Preprocess:
    if isinstance(values, Mapping):
        fields = {"kind": KINDS[spec.modality], **values}
        if isinstance(fields.get("size_px"), int):
            fields["size_px"] = (fields["size_px"], fields["size_px"])
        try:
            values = preprocess_from_dict(fields)
        except (KeyError, TypeError) as error:
            raise UsageError(f"preprocess= of a {spec.modality} network does not fit: {error}") from error
    if not isinstance(values, get_args(Preprocess)):
        raise UsageError(
            f"preprocess= begins with an object of type {type(values).__name__}, and not with declared values"
        )
    if _MODALITY_OF_KIND[values.kind] != spec.modality:
        raise UsageError(f"preprocess= declares {values.kind}, and modality={spec.modality!r}")
    declared: Preprocess = values
    return declared


def _adapted(function: Any, spec: ModelSpec, network: nn.Module) -> Any:
    """Convert the results of a callable to the form that the preprocessing of a modality takes."""
    if function is None or isinstance(function, Tokenizer) or not callable(function):
        return function
    accepted = _accepted(network)
    names = None if accepted is None else frozenset(accepted)
    kinds: dict[str, type[Transform]] = {"vision": ImageTransform, "video": ImageTransform, "audio": AudioTransform}
    return kinds[spec.modality](function, names) if spec.modality in kinds else function


def _inner_mapping(example: Any) -> Mapping[str, Any] | None:
    """Return the mapping that is the only argument of a network, from a tuple or a mapping with this one value."""
    values = list(example.values()) if isinstance(example, Mapping) else example
    if isinstance(values, list | tuple) and len(values) == 1 and isinstance(values[0], Mapping):
        return values[0]
    return None


def _may_take_mapping(example: Any) -> bool:
    """Return whether an example may be the only argument of a network, which takes a mapping."""
    return isinstance(example, Mapping) and _inner_mapping(example) is None


def _positions(network: nn.Module) -> int:
    """Return the largest number of tokens that is tried for a tokenizer without a limit."""
    config = getattr(network, "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else 512


def _sample_of(example: Any, network: nn.Module) -> dict[str, Any]:
    """Return the arrays of one sample of an example batch."""
    if isinstance(example, Batch):
        example = example.inputs
    if isinstance(example, Mapping):
        inputs = dict(example)
    elif isinstance(example, tuple | list):
        names = _accepted(network) or []
        if len(example) > 1 and len(names) < len(example):
            raise UsageError(
                f"example= has {len(example)} inputs, and the names of the module's arguments are unknown: pass a "
                "mapping by their names"
            )
        inputs = {INPUT: example[0]} if len(example) == 1 else dict(zip(names, example, strict=False))
    else:
        inputs = {INPUT: example}
    try:
        arrays = {str(name): as_array(value) for name, value in inputs.items()}
    except (TypeError, ValueError) as error:
        raise UsageError(f"example= is one batch of arrays or tensors: {error}") from error
    if not arrays or any(array.ndim == 0 or len(array) == 0 for array in arrays.values()):
        raise UsageError("example= is one batch: each array has the batch as its first axis, with at least one sample")
    return {name: array[0] for name, array in arrays.items()}


def _likely_samples(modality: Modality, network: nn.Module) -> Iterable[dict[str, Any]]:
    """Yield arrays of one sample that a network may take, the most likely first."""
    first = _first_layer(network)
    if isinstance(first, nn.Linear):
        yield {INPUT: np.zeros(first.in_features, np.float32)}
    if modality == "vision":
        channels = [first.in_channels] if isinstance(first, nn.Conv2d) else [3, 1]
        for side in _IMAGE_SIDES:
            for count in channels:
                yield {INPUT: np.zeros((count, side, side), np.float32)}
    elif modality == "text":
        yield {INPUT: np.zeros(16, np.int64)}
    elif modality == "audio":
        channels = [first.in_channels] if isinstance(first, nn.Conv1d) else [1]
        yield {INPUT: np.zeros(16_000, np.float32)}
        yield {INPUT: np.zeros((channels[0], 16_000), np.float32)}
    elif isinstance(first, nn.Conv3d):
        for side in (112, 224, 32):
            yield {INPUT: np.zeros((first.in_channels, 16, side, side), np.float32)}
    else:
        for frames, side in ((16, 224), (8, 224)):
            yield {INPUT: np.zeros((frames, 3, side, side), np.float32)}


# ---------------------------------------------------------------- provenance


def _provenance(network: nn.Module, resolved: ResolvedModel, cut: Cut) -> dict[str, Any]:
    """Return the provenance of a wrapped module, with the keys of :func:`layerzoo.runtime.provenance.provenance`."""
    tensors = saved_tensors(network)
    needed = {name: tensors[name] for name in cut.tensors if name in tensors}
    digests = tensor_digests({name: tensor.detach().cpu() for name, tensor in needed.items()})
    dtype = dtype_name(_dtype(network))
    spec = resolved.spec
    return {
        "model": spec.id,
        "plugin": None,
        "builder": spec.builder,
        "args": {"class": name_of(network)},
        "weights": {
            "source": "memory",
            "revision": None,
            "pinned_by": None,
            "lock_sha256": None,
            "sha256": {},
            "entry": None,
            "removed_prefix": None,
            "keys": None,
            "dtypes": sorted({dtype_name(tensor.dtype) for tensor in needed.values() if tensor.is_floating_point()}),
            "sha256_by_layer": digests_by_layer(resolved, cut, digests),
        },
        "layers": {layer.name: layer.address for layer in cut.layers},
        "preprocess": None if spec.preprocess is None else to_plain(spec.preprocess),
        "precision": "library" if dtype != "float32" else "float32",
        "dtype": dtype,
        "library_dtype": dtype,
        "device": str(_device(network)),
        "local_files": {"ignored": False, "files": []},
        "loaded": {
            "tensors": len(needed),
            "of_tensors": len(tensors),
            "bytes": _bytes_of(needed.values()),
            "of_bytes": _bytes_of(tensors.values()),
            "sha256": combined_digest(digests),
        },
        "versions": {"python": platform.python_version(), **_versions(network)},
    }


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(tensor): tensor for tensor in tensors}.values())


def _versions(network: nn.Module) -> dict[str, str]:
    """Return the versions of layerzoo, torch and the distributions that define the classes of a network."""
    packages = {type(module).__module__.partition(".")[0] for module in network.modules()} | {"torch", "layerzoo"}
    versions: dict[str, str] = {}
    for package in sorted(packages):  # the distributions of other names are found by reading all of them: 1 s
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


__all__ = ["WrapPreprocess", "recut", "wrap"]
