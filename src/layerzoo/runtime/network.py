"""The truncated network: an ordinary module that stops at its cut and returns the activations of its layers."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from layerzoo.errors import CutError
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.trace import StopForward, pick, saved_tensors
from layerzoo.spec import Layer

Read = Callable[[Layer, Tensor], Tensor]
"""Processes an activation when it appears. A later in-place operation may overwrite the original."""


class Stub(nn.Module):
    """Replaces a module past the cut. Calling it raises an error."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise CutError(f"the module {self.path} is past the cut and was not loaded; load a deeper layer to use it")

    def extra_repr(self) -> str:
        return "past the cut"


class CutNetwork(nn.Module):
    """A network truncated at a cut. Trainable, movable and savable like any other module.

    Called with a :class:`Batch`, a tensor or a mapping of keyword arguments, it returns a dict of layer name → raw
    activation, in the order in which the layers were requested. One forward pass of a network runs at a time:
    other threads wait.

    Args:
        dtype: of autocast; float32: the dtypes of the module's tensors.
        is_cast: whether the network itself has ``dtype``: inputs are cast to it, without autocast.
    """

    def __init__(
        self, network: nn.Module, cut: Cut, dtype: torch.dtype = torch.float32, *, is_cast: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.cut = cut
        self.dtype = dtype
        self.is_cast = is_cast
        self._turn = _turn_of(network)

    def forward(self, inputs: Batch | Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return layer name → raw activation. Gradients flow through it.

        ``torch.compile(fullgraph=True)`` and ``torch.export.export`` capture it: what runs before the cut, and one
        output per layer.

        Raises: CutError for an input that takes another path through the network than the example of the trace.
        """
        if torch.compiler.is_dynamo_compiling():
            return self._captured(inputs)
        return self.read(inputs, self._keep)

    def _captured(self, inputs: Batch | Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run as :meth:`read` does, in operations that torch's compiler can follow.

        It can neither take a lock nor register a hook, but it can replace a module's dictionary of hooks.
        """
        batch = as_batch(inputs).cast(self.dtype) if self.is_cast else as_batch(inputs)
        activations: dict[str, Tensor] = {}
        replaced: list[tuple[nn.Module, str, Any]] = []
        try:
            for layer in self.cut.layers:
                module = self.network.get_submodule(layer.module)
                tap = _Tap(layer, self._keep, activations, is_stop=layer.name == self.cut.stop)
                if layer.at == "input":
                    _replace_hooks(module, "_forward_pre_hooks", {layer.name: tap.on_input}, replaced)
                    _replace_hooks(module, "_forward_pre_hooks_with_kwargs", {layer.name: True}, replaced)
                else:
                    _replace_hooks(module, "_forward_hooks", {layer.name: tap.on_output}, replaced)
            with self._autocast(batch):
                batch.run(self.network)
        except StopForward:
            pass
        finally:
            for module, name, hooks in reversed(replaced):
                setattr(module, name, hooks)
        return {layer.name: activations[layer.name] for layer in self.cut.layers}

    def read(self, inputs: Batch | Tensor | Mapping[str, Tensor], read: Read) -> dict[str, Tensor]:
        """Run up to the cut, and call ``read`` with each activation as it appears. Returns the results of ``read``."""
        batch = as_batch(inputs).cast(self.dtype) if self.is_cast else as_batch(inputs)
        results: dict[str, Tensor] = {}
        with (
            self._turn,
            self._tapped(read, results),
            _balanced_module_stack(),
            contextlib.suppress(StopForward),
            self._autocast(batch),
        ):
            batch.run(self.network)
        if missing := [layer.name for layer in self.cut.layers if layer.name not in results]:
            raise CutError(
                f"this input never reached {', '.join(missing)}: "
                "it takes another path through the network than the input of the trace"
            )
        return {layer.name: results[layer.name] for layer in self.cut.layers}

    def _autocast(self, batch: Batch) -> contextlib.AbstractContextManager[Any]:
        if self.dtype is torch.float32 or self.is_cast:
            return contextlib.nullcontext()
        return torch.autocast(next(iter(batch.inputs.values())).device.type, dtype=self.dtype)

    def _keep(self, layer: Layer, activation: Tensor) -> Tensor:
        """Return the activation as it is now. Only layers before the stop need a copy."""
        return activation if layer.name == self.cut.stop else activation.clone()

    @contextlib.contextmanager
    def _tapped(self, read: Read, results: dict[str, Tensor]) -> Iterator[None]:
        handles = []
        try:
            for layer in self.cut.layers:
                module = self.network.get_submodule(layer.module)
                tap = _Tap(layer, read, results, is_stop=layer.name == self.cut.stop)
                if layer.at == "input":
                    handles.append(module.register_forward_pre_hook(tap.on_input, with_kwargs=True))
                else:
                    handles.append(module.register_forward_hook(tap.on_output))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_turn": None}  # a lock can be neither copied nor pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._turn = _turn_of(self.network)


_TURNS: weakref.WeakKeyDictionary[nn.Module, threading.Lock] = weakref.WeakKeyDictionary()


def _turn_of(network: nn.Module) -> threading.Lock:
    """Return the lock of a network, which several cuts of it share: the hooks of one would end the pass of another."""
    return _TURNS.setdefault(network, threading.Lock())


def _replace_hooks(
    module: nn.Module, name: str, hooks: Mapping[str, Any], replaced: list[tuple[nn.Module, str, Any]]
) -> None:
    """Add hooks to a copy of one of a module's dictionaries of hooks, and note the original in ``replaced``."""
    original = getattr(module, name)
    replaced.append((module, name, original))
    setattr(module, name, {**original, **hooks})


@contextlib.contextmanager
def _balanced_module_stack() -> Iterator[None]:
    """Remove the modules that a stopped forward pass leaves on the stack of ``torch.export``, which expects each module
    to return."""
    stack = getattr(getattr(get_proxy_mode(), "tracer", None), "module_stack", None)
    depth = len(stack or ())
    try:
        yield
    finally:
        while stack is not None and len(stack) > depth:
            stack.popitem()


def as_batch(inputs: Batch | Tensor | Mapping[str, Tensor]) -> Batch:
    """Convert the argument of a network to a Batch."""
    if isinstance(inputs, Batch):
        return inputs
    return Batch(inputs=inputs if isinstance(inputs, Mapping) else {"input": inputs})


_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
"""Modules whose members others iterate over, as in ``zip(self.stages, self.norms)``; only members are replaced."""


def truncate(network: nn.Module, cut: Cut) -> None:
    """Replace every module that the cut does not need by a stub, in place.

    Modules without saved tensors stay: they are complete, and code may inspect them without calling them, as in
    ``isinstance(module, nn.Identity)`` or ``self.rope.get_embed()``.
    """
    for path, module in list(network.named_modules()):
        for name, child in list(module.named_children()):
            child_path = f"{path}.{name}" if path else name
            if child_path not in cut.modules and not isinstance(child, _CONTAINERS) and saved_tensors(child):
                module._modules[name] = Stub(child_path)


def selected_tokens(activation: Tensor, layer: Layer) -> Tensor:
    """Return the tokens of an activation that a layer selects."""
    if layer.last_tokens is None or layer.axes is None:
        return activation
    axis = layer.axes.index("token")
    return activation.narrow(axis, activation.shape[axis] - layer.last_tokens, layer.last_tokens)


class _Tap:
    """Read one layer in one forward pass."""

    def __init__(self, layer: Layer, read: Read, results: dict[str, Tensor], *, is_stop: bool) -> None:
        self._layer = layer
        self._read = read
        self._results = results
        self._is_stop = is_stop
        self._calls = 0

    def on_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._is_selected_call():
            self._take(pick(output, self._layer.output, where=self._layer.module))

    def on_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._is_selected_call():
            received = args if args else tuple(kwargs.values())
            self._take(pick(received, self._layer.output or 0, where=self._layer.module))

    def _is_selected_call(self) -> bool:
        self._calls += 1
        return self._calls - 1 == (self._layer.call or 0)

    def _take(self, activation: Tensor) -> None:
        self._results[self._layer.name] = self._read(self._layer, selected_tokens(activation, self._layer))
        if self._is_stop:
            raise StopForward
