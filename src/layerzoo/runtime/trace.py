"""Run a network once and record which modules run, what they return, and which tensors are read at which step.

A trace is plain data. Discard the traced network: running can change it (caches, lazy buffers).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from layerzoo.errors import LayerError, TraceError
from layerzoo.plugins.failure import summary
from layerzoo.plugins.source_line import line_of
from layerzoo.runtime.batch import Batch
from layerzoo.spec import Layer

Key = int | str | None
"""Key of one tensor in the value that a module returns: None for a single tensor."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one module. Steps count operations and module boundaries in order."""

    module: str
    index: int
    """Number of the call of this module, from 0."""
    start: int
    end: int
    inputs: Mapping[Key, tuple[int, ...]]
    """Shapes of the tensors received, by position; the batch is part of a shape."""
    outputs: Mapping[Key, tuple[int, ...]]
    """Shapes of the tensors returned, by position or name; {None: shape} for a plain tensor."""
    random: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Paths of the modules that drew the random numbers from which its inputs, and its outputs, were computed."""


@dataclass(frozen=True, slots=True)
class Join:
    """One concatenation of tensors."""

    step: int
    axis: int
    sizes: tuple[int, ...]
    """Of each tensor, along the axis."""
    derived: tuple[bool, ...]
    """Whether each tensor was computed from the batch."""


@dataclass(frozen=True)
class Trace:
    """A record of one forward pass."""

    calls: tuple[Call, ...]
    """In the order in which they started."""
    reads: Mapping[str, int]
    """The first step at which each parameter or buffer is read, in any module. Tensors that are never read are
    absent."""
    sizes: Mapping[str, int]
    """Number of elements of each tensor that is read."""
    parameters: frozenset[str]
    """Names of those that are parameters."""
    flops: tuple[tuple[int, int], ...]
    """(step, FLOPs of that operation for the whole batch), in order."""
    batch_size: int
    signature: str
    """Names and shapes of all tensors: two networks with one signature have the same structure."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Second paths to a shared module → the path it is recorded under."""
    unfinished: frozenset[str] = frozenset()
    """Paths of the modules that were still running when the trace ended: none if it covers the whole network. Otherwise
    nothing is known about the network after the layers that the trace was made for."""
    unread: tuple[str, ...] = ()
    """In a run with values, the tensors that were never read: experts that another input may use."""
    constant: frozenset[int] = frozenset()
    """Steps of the counted operations that read nothing derived from the batch. Their work may be the same for any
    number of samples, such as that of interpolated position embeddings."""
    single: tuple[tuple[int, int], ...] = ()
    """(step, FLOPs of that operation for one sample) where that is not the share of one sample in ``flops``."""
    mixes: Mapping[str, int] = field(default_factory=dict)
    """Paths of the modules that compute statistics over the batch → the step of the first such operation."""
    joins: tuple[Join, ...] = field(default=(), compare=False)
    """Concatenations in order. They are not kept with a trace."""

    def calls_of(self, module: str) -> Sequence[Call]:
        """Return all calls of a module, in order."""
        return self._by_module.get(self.aliases.get(module, module), ())

    @cached_property
    def _by_module(self) -> Mapping[str, Sequence[Call]]:
        """The calls of each module. They are looked up for each batch, and a network has hundreds of modules."""
        by_module: dict[str, list[Call]] = {}
        for call in self.calls:
            by_module.setdefault(call.module, []).append(call)
        return by_module

    def reaches(self, layer: Layer) -> bool:
        """Return whether the trace covers all tensors read before a layer: its call has ended."""
        return self.is_whole or len(self.calls_of(layer.module)) > (layer.call or 0)

    @property
    def is_whole(self) -> bool:
        """Whether the network ran to its end."""
        return not self.unfinished

    def draws_before(self, layer: Layer) -> tuple[str, ...]:
        """Return paths of the modules whose random numbers a layer's activation is computed from."""
        call = self._call(layer)
        return () if call is None else call.random[layer.at == "output"]

    def mixes_before(self, layer: Layer) -> tuple[str, ...]:
        """Return paths of the modules that compute statistics over the batch before a layer's activation exists."""
        call = self._call(layer)
        return () if call is None else tuple(path for path, step in self.mixes.items() if step < _ready(call, layer))

    def _call(self, layer: Layer) -> Call | None:
        calls = self.calls_of(layer.module)
        return calls[layer.call or 0] if (layer.call or 0) < len(calls) else None

    def added_tokens(self, layer: Layer, axis: int, size: int) -> tuple[int, int]:
        """Count the positions added before those of the input and after them, until a layer's activation exists.

        Only positions that are added by a concatenation are counted.

        Args:
            axis: the axis of the positions in the activation.
            size: number of positions on it.
        """
        call = self._call(layer)
        before = after = 0
        until = -1 if call is None else _ready(call, layer)
        for join in reversed(self.joins):
            if join.step < until and join.axis == axis and sum(join.sizes) == size:
                own = [at for at, derived in enumerate(join.derived) if derived] or range(len(join.sizes))
                content = max(own, key=join.sizes.__getitem__)
                before += sum(join.sizes[:content])
                after += sum(join.sizes[content + 1 :])
                size, until = join.sizes[content], join.step
        return before, after

    def flops_until(self, step: int) -> int:
        """Return the FLOPs before a step for one sample."""
        single = dict(self.single)
        shared = sum(flops for at, flops in self.flops if at < step and at not in single)
        return shared // self.batch_size + sum(flops for at, flops in self.single if at < step)

    def with_single(self, other: Trace) -> Trace:
        """Add the FLOPs of one sample, from a trace with another batch size.

        The work of an operation is a constant plus a multiple of the batch size.

        other: of the same network and input size. A trace with other operations changes nothing.
        """
        if [step for step, _ in other.flops] != [step for step, _ in self.flops] or other.batch_size == self.batch_size:
            return self
        single = []
        for (step, own_flops), (_, other_flops) in zip(self.flops, other.flops, strict=True):
            per_sample = (other_flops - own_flops) // (other.batch_size - self.batch_size)
            alone = own_flops + (1 - self.batch_size) * per_sample
            is_linear = per_sample >= 0 and alone >= 0  # not if rows are joined before they are padded to whole windows
            if is_linear and alone * self.batch_size != own_flops:
                single.append((step, alone))
        return replace(self, single=tuple(single))

    def params_until(self, step: int) -> int:
        """Return the number of parameters read before a step. Shared parameters count once."""
        return sum(self.sizes[name] for name, at in self.reads.items() if at < step and name in self.parameters)


def _ready(call: Call, layer: Layer) -> int:
    return call.end if layer.at == "output" else call.start


def trace(
    network: nn.Module,
    batch: Batch,
    *,
    until: Collection[Layer] = (),
    has_values: bool = False,
    folders: Collection[str] = (),
) -> Trace:
    """Run ``network`` once on ``batch``, and record it. Discard the network afterwards.

    Args:
        until: layers after whose calls the trace may end; else it ends with the network.
        has_values: whether the network's path may depend on the values of the batch.
        folders: folders of the plugins that build the network. An error names the line in them that raised it.
    Raises: TraceError when the network does not run.
    """
    network.eval()
    built = signature(network)  # running may replace some buffers
    recorder = _Recorder(network, until)
    try:
        _mark(list(batch.inputs.values()))
        with contextlib.suppress(StopForward), torch.no_grad(), recorder.watching(network), recorder:
            batch.run(network)
    except Exception as error:
        line = line_of(error, folders)
        location = f"\n{line}" if line else ""
        message = f"{type(network).__name__} does not run on its example input: {summary(error)}{location}"
        raise TraceError(message) from error
    return recorder.trace(batch.size, built, has_values)


def signature(network: nn.Module) -> str:
    """Return a digest of names and shapes of every parameter and buffer."""
    import hashlib

    rows = sorted(f"{name}{tuple(tensor.shape)}" for name, tensor in named_tensors(network))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def named_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter and buffer under each of its names. Shared tensors occur several times."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def saved_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a state dict, in the order in which ``load_state_dict`` sets them.

    A shared tensor occurs under each of its names.
    """
    tensors: dict[str, Tensor] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        buffers = {
            name: buffer for name, buffer in module._buffers.items() if name not in module._non_persistent_buffers_set
        }
        for name, tensor in {**module._parameters, **buffers}.items():
            if tensor is not None:
                tensors[f"{path}.{name}" if path else name] = tensor
    return tensors


def checkpointed_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return :func:`saved_tensors` without those that the network removes from its state dict."""
    state = network.state_dict(keep_vars=True)
    storages = {_storage(value) for value in state.values() if isinstance(value, Tensor)}
    return {
        name: tensor for name, tensor in saved_tensors(network).items() if name in state or _storage(tensor) in storages
    }


def tensors_in(value: Any) -> dict[Key, Tensor]:
    """Return the tensors that a module returned, by the keys that a layer's ``output`` may name.

    A single tensor has the key None. Of a tuple, list or mapping, the items that are tensors are returned.
    """
    if isinstance(value, Tensor):
        return {None: value}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items() if isinstance(item, Tensor)}
    if isinstance(value, tuple | list):
        return {index: item for index, item in enumerate(value) if isinstance(item, Tensor)}
    return {}


def pick(value: Any, output: Key, *, where: str) -> Tensor:
    """Return the tensor that a layer selects from the value that its module returned.

    Without ``output``: a single tensor, or the first item if it is the only tensor.

    Raises: LayerError, which lists the outputs.
    """
    tensors = tensors_in(value)
    if output is None:
        if None in tensors:
            return tensors[None]
        first = next(iter(tensors.items()), None)
        if first is not None and len(tree_leaves_of_tensors(value)) == 1:
            return first[1]
    elif output in tensors:
        return tensors[output]
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    raise unknown_output(where, shapes, output, otherwise=type(value).__name__)


def unknown_output(
    module: str, shapes: Mapping[Key, tuple[int, ...]], output: Key, *, otherwise: str = "no tensor"
) -> LayerError:
    """Return the error for a layer whose ``output`` selects none of the tensors that its module returns.

    module: names the module in the message. otherwise: describes the value of a module that returns no tensor.
    """
    listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or otherwise
    selected = "does not say which" if output is None else f"selects {output!r}"
    example = f"module:PATH[{next(iter(shapes), 0)}]"
    return LayerError(
        f"{module} returns {listed}, and the layer {selected}: declare `output:` as one of them, or select it as in "
        f"{example}"
    )


def tree_leaves_of_tensors(value: Any) -> list[Tensor]:
    """Return every tensor in nested tuples, lists and mappings."""
    tree = dict(value) if isinstance(value, Mapping) else value
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class StopForward(BaseException):
    """Ends a forward pass early. Not an Exception, so that model code does not catch it."""


class _Recorder(TorchDispatchMode):
    """Count steps, and record at which step a module starts and ends, and at which a tensor is first read."""

    def __init__(self, network: nn.Module, until: Collection[Layer]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._step = 0
        self._awaited = {(layer.module, layer.call or 0) for layer in until}
        self._owners: dict[int, list[str]] = {}
        self._sizes: dict[str, int] = {}
        for name, tensor in named_tensors(network):
            self._owners.setdefault(_storage(tensor), []).append(name)
            self._sizes[name] = tensor.numel()
        self._parameters = {name for name, _ in network.named_parameters()}
        self._reads: dict[str, int] = {}
        self._flops: list[tuple[int, int]] = []
        self._constant: set[int] = set()
        self._calls: list[Call] = []
        self._aliases: dict[str, str] = {}
        self._running: Counter[str] = Counter()
        self._has_stopped = False
        self._inside: list[str] = []  # the modules that are running, the innermost last
        self._mixes: dict[str, int] = {}
        self._joins: list[Join] = []
        # By storage, a tensor that was computed from random numbers, and who drew them. The tensor is held, so that no
        # other gets the same storage.
        self._random: dict[int, tuple[Tensor, frozenset[str]]] = {}
        self._steering: frozenset[str] = frozenset()  # the modules that drew the numbers on which code branched

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._step += 1
        is_derived = False
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                is_derived = is_derived or hasattr(leaf, _MARK)
                for name in self._owners.get(_storage(leaf), ()):
                    self._reads.setdefault(name, self._step)
        result = func(*args, **kwargs)
        if is_derived:
            _mark(result)
        if func is torch.ops.aten.cat.default:
            self._note_join(*args, **kwargs)
        self._note_randomness(func, args, kwargs, result)
        if _mixes_batch(func, args, kwargs):
            self._mixes.setdefault(self._innermost, self._step)
        if count := _flop_formula(func):
            self._flops.append((self._step, int(count(*args, **kwargs, out_val=result))))
            if not is_derived:
                self._constant.add(self._step)
        return result

    def _note_join(self, tensors: Sequence[Tensor], dim: int = 0) -> None:
        joined = [tensor for tensor in tensors if tensor.ndim > 0]
        if joined:
            axis = dim % max(tensor.ndim for tensor in joined)
            sizes = tuple(tensor.shape[axis] if tensor.ndim > axis else 0 for tensor in joined)
            self._joins.append(Join(self._step, axis, sizes, tuple(hasattr(tensor, _MARK) for tensor in joined)))

    @property
    def _innermost(self) -> str:
        return self._inside[-1] if self._inside else ""

    def _note_randomness(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Mark the results of an operation as random, if it draws random numbers or computes with random tensors."""
        if not isinstance(func, torch._ops.OpOverload):
            return
        returned = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        drawn = frozenset({self._innermost}) if returned and _draws(func, args, kwargs) else frozenset()
        if not (drawn or self._random):
            return
        inherited = frozenset() if func._overloadpacket in _VALUELESS else self._drawn_by((args, kwargs))
        if inherited and not returned:
            self._steering |= inherited  # a value was read from it, as `bool(x)` and `x.item()` do
        if drawn or inherited:
            self._random.update((_storage(tensor), (tensor, drawn | inherited)) for tensor in returned)

    def _drawn_by(self, value: Any) -> frozenset[str]:
        """Return the modules that drew the random numbers from which tensors were computed."""
        if not self._random:
            return frozenset()
        origins = (self._random.get(_storage(leaf)) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
        return self._steering.union(*(paths for _, paths in filter(None, origins)))

    @contextlib.contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Record every call of every module of the network inside the context."""
        paths: dict[nn.Module, str] = {}
        handles = []
        for path, module in network.named_modules(remove_duplicate=False):
            if module in paths:
                self._aliases[path] = paths[module]
                continue
            paths[module] = path
            begin, finish = self._hooks(path)
            # Prepended: modules that are called by the module's own hooks belong to it.
            handles.append(module.register_forward_pre_hook(begin, with_kwargs=True, prepend=True))
            handles.append(module.register_forward_hook(finish))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, path: str) -> tuple[Callable[..., None], Callable[..., None]]:
        # A stack: a module may call itself.
        started: list[tuple[int, int, dict[Key, tuple[int, ...]], frozenset[str]]] = []
        count = 0

        def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal count
            self._step += 1
            self._running[path] += 1
            self._inside.append(path)
            received = {**tensors_in(args), **tensors_in(kwargs)}
            shapes = {key: tuple(tensor.shape) for key, tensor in received.items()}
            started.append((count, self._step, shapes, self._drawn_by((args, kwargs))))
            count += 1

        def finish(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._step += 1
            self._running[path] -= 1
            self._inside.pop()
            index, start, inputs, drawn = started.pop()
            random = (tuple(sorted(drawn)), tuple(sorted(self._drawn_by(tree_leaves_of_tensors(output)))))
            self._calls.append(Call(path, index, start, self._step, inputs, _shapes(output), random))
            if (path, index) in self._awaited:
                self._awaited.remove((path, index))
                if not self._awaited:
                    self._has_stopped = True
                    raise StopForward

        return begin, finish

    def trace(self, batch_size: int, signature: str, has_values: bool) -> Trace:
        return Trace(
            calls=tuple(sorted(self._calls, key=lambda call: call.start)),
            reads=dict(self._reads),
            sizes={name: self._sizes[name] for name in self._reads},
            parameters=frozenset(self._parameters & self._reads.keys()),
            flops=tuple(self._flops),
            batch_size=batch_size,
            signature=signature,
            aliases=dict(self._aliases),
            unfinished=frozenset(path for path, count in self._running.items() if count and self._has_stopped),
            unread=tuple(sorted(self._sizes.keys() - self._reads.keys())) if has_values else (),
            constant=frozenset(self._constant),
            mixes=dict(self._mixes),
            joins=tuple(self._joins),
        )


_MARK = "_layerzoo_derived"


def _mark(values: Any) -> None:
    """Mark the tensors of a nest as derived from the batch."""
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            setattr(leaf, _MARK, True)


def _storage(tensor: Tensor) -> int:
    """Return an id shared by all views of one tensor, even on the meta device, where every data pointer is 0.

    A sparse tensor keeps its values in another tensor.
    """
    if tensor.layout is not torch.strided and tensor.layout is not torch.jagged:
        is_coo = tensor.layout is torch.sparse_coo
        tensor = tensor._values() if is_coo else tensor.values()
    return int(tensor.untyped_storage()._cdata)


_VALUELESS = frozenset(
    getattr(torch.ops.aten, name)
    for name in ("empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_zeros", "new_ones", "new_full")
)
"""Operations that use the shape of a tensor, but not its values."""


def _draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation draws random numbers: it can, and its arguments do not disable it."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    arguments = _arguments(func, args, kwargs)
    return all(arguments.get(name, True) for name in ("dropout_p", "train", "training"))


def _mixes_batch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation is a batch norm with statistics of its batch. On one row it is an instance norm."""
    if not isinstance(func, torch._ops.OpOverload) or "batch_norm" not in func._schema.name:
        return False
    if func._schema.name.endswith("backward"):
        return False
    arguments = _arguments(func, args, kwargs)
    by_batch = arguments.get("training", "with_update" in func._schema.name)
    return bool(by_batch) and isinstance(arguments.get("input"), Tensor) and arguments["input"].shape[0] > 1


def _arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an operation by name, including defaults."""
    declared = func._schema.arguments
    defaults = {argument.name: argument.default_value for argument in declared if argument.has_default_value()}
    return {**defaults, **{argument.name: value for argument, value in zip(declared, args, strict=False)}, **kwargs}


def _flop_formula(func: Any) -> Callable[..., Any] | None:
    packet = getattr(func, "_overloadpacket", None)
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:  # not in torch's own table
        return lambda query, key, value, *_, **__: sdpa_flop_count(query.shape, key.shape, value.shape)
    return flop_registry.get(packet)


def _shapes(output: Any) -> dict[Key, tuple[int, ...]]:
    """Return shapes by key. The key None also selects the only tensor among several items."""
    tensors = tensors_in(output)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if None not in shapes and len(tree_leaves_of_tensors(output)) == 1 and shapes:
        shapes[None] = next(iter(shapes.values()))
    return shapes
