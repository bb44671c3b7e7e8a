"""Build a network from its spec: without values to trace it, without initialisation to load weights, or with seeded
random weights."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Iterator
from typing import Any, Literal, get_args
from unittest import mock

import torch
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from layerzoo.bounds import free_memory
from layerzoo.errors import LayerzooError, PluginError, TooLargeError, UnsafeWeightsError
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.initialisation import construct_for_checkpoint, seeded
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files
from layerzoo.weights.tensors import read_header

_MOST_MODULES = 100_000
"""Of one network. The largest in use have 80,000; a module takes 3 kB on any device."""
_FEW_TENSORS = 2_000
"""A language model of 126 blocks has 1,100."""
_FEW_NUMBERS = 100_000_000
_SPLIT = 10
_MOST_BUFFER_BYTES = 1 << 32
"""Of all tensors that no checkpoint sets: tables of positions and masks, which are computed and take memory."""


def build(spec: ModelSpec, hooks: ModelHooks, files: Files) -> nn.Module:
    """Build the whole network of a spec in eval mode.

    Raises: PluginError, TooLargeError.
    """
    with _bounded(spec.id):
        network = hooks.build(spec, files)
    if not isinstance(network, nn.Module):
        raise PluginError(
            f"the builder '{spec.builder}' made {type(network).__name__} of {spec.id}, not a torch.nn.Module",
            plugin=spec.builder,
        )
    buffers = {id(buffer): buffer.numel() * buffer.element_size() for buffer in network.buffers()}
    if (size := sum(buffers.values())) > _MOST_BUFFER_BYTES:
        raise TooLargeError(
            f"{spec.id}: its constants (tables of positions, masks) take {size:,} bytes, and at most "
            f"{_MOST_BUFFER_BYTES:,} are computed"
        )
    _check_against_checkpoint(network, files, model=spec.id)
    return network.eval()


def _check_against_checkpoint(network: nn.Module, files: Files, *, model: str) -> None:
    """Refuse a network with far more tensors or numbers than its checkpoint, before it is traced.

    A library may split the tensors of a checkpoint, or initialise some randomly, but not nine of ten of thousands.

    Raises: TooLargeError.
    """
    sizes = [parameter.numel() for parameter in network.parameters()]
    own, numbers = len(sizes), sum(sizes)
    if own <= _FEW_TENSORS and numbers <= _FEW_NUMBERS:
        return
    stored = None
    with contextlib.suppress(LayerzooError, OSError):  # opening an unreadable checkpoint raises its error later
        name = files.checkpoint_name
        if name is not None and name not in files.partial and name.endswith(".safetensors"):
            stored = read_header(files[name])
    if stored is None:
        return
    stored_numbers = sum(math.prod(entry.shape) for entry in stored.values())
    if own > _FEW_TENSORS + _SPLIT * len(stored) or numbers > _FEW_NUMBERS + _SPLIT * stored_numbers:
        raise TooLargeError(
            f"{model}: its network has {own:,} tensors of {numbers:,} numbers, and its checkpoint holds "
            f"{len(stored):,} of {stored_numbers:,}. Next: check that the two belong together"
        )


@contextlib.contextmanager
def _bounded(model: str) -> Iterator[None]:
    """Stop a builder that creates modules without end, for example because of a number of layers in a file."""
    thread, count = threading.get_ident(), 0

    def registered(module: nn.Module, name: str, child: nn.Module | None) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > _MOST_MODULES:
                raise TooLargeError(
                    f"{model}: its network has more than {_MOST_MODULES:,} modules, which is more than any in use has"
                )

    handle = register_module_module_registration_hook(registered)
    try:
        yield
    finally:
        handle.remove()


def check_memory(params: int, *, model: str) -> None:
    """Refuse a network whose values exceed the free memory.

    Args:
        params: number of its parameters.
        model: its id, for the message.
    Raises: TooLargeError.
    """
    required, free = 4 * params, free_memory()
    if free is not None and required > free:
        raise TooLargeError(
            f"{model}: its network of {params:,} parameters takes {required:,} bytes, and {free:,} are free. Next: a "
            "machine with more memory"
        )


def check_memory_of(spec: ModelSpec, hooks: ModelHooks, files: Files) -> None:
    """Refuse a network whose values exceed the free memory, before it is built with values. Raises: TooLargeError."""
    try:
        with trace_mode("meta"):
            network = build_uninitialised(spec, hooks, files)
    except UnsafeWeightsError:
        raise
    except LayerzooError:  # a network that cannot be built without values
        return
    check_memory(sum(parameter.numel() for parameter in network.parameters()), model=spec.id)


def build_for_checkpoint(spec: ModelSpec, hooks: ModelHooks, files: Files) -> nn.Module:
    """Build the network in memory for a checkpoint: parameters may hold undefined values, and all other tensors have
    the values of their constructor.

    Untouched memory is not allocated, so parameters that are never loaded take no space. If a tensor that no
    checkpoint sets depends on the initialisation of a parameter, the network is built with initialisation. Random
    constants are drawn from a fixed seed, so that features are the same after every load.
    """
    return construct_for_checkpoint(lambda: build(spec, hooks, files), model=spec.id)


def build_uninitialised(spec: ModelSpec, hooks: ModelHooks, files: Files) -> nn.Module:
    """Build the network to inspect its structure. Parameters have no meaningful values."""
    with WithoutInitialisation():
        return build(spec, hooks, files)


def build_random(spec: ModelSpec, hooks: ModelHooks, files: Files, seed: int) -> nn.Module:
    """Build the network with its library's initialisation, drawn from ``seed``: the same for every cut of the
    network."""
    with seeded(seed):
        return build(spec, hooks, files)


TraceMode = Literal["meta", "fake", "faked", "real"]
TRACE_MODES: tuple[TraceMode, ...] = get_args(TraceMode)
"""Modes in which a network can be traced, cheapest first: on the meta device; with fake tensors (for code that checks
whether it is traced); built on the meta device, then run with fake tensors (for constructors that read values); and
with real values (for code that reads values when it runs)."""


@contextlib.contextmanager
def trace_mode(kind: TraceMode) -> Iterator[None]:
    """Build and run networks in one of the TRACE_MODES. In "faked", run them inside :func:`fake_tensors`, too."""
    if kind in ("meta", "faked"):
        with _without_log(), torch.device("meta"):
            yield
    elif kind == "fake":
        with _without_log(), FakeTensorMode(allow_non_fake_inputs=True):
            yield
    else:
        yield


MOST_KNOWN = 256
"""Largest number of elements of a fake tensor with known values: enough for the image sizes of a batch."""


@contextlib.contextmanager
def knowing_small_tensors() -> Iterator[None]:
    """Let fake tensors of a few elements have values, if these follow from numbers in code.

    torch does so for tensors of a single element. A network that reads the size of an image from a tensor then runs
    without the values of its weights. Its trace is valid for images of the size of the example.
    """
    with mock.patch.object(fake_tensor, "CONSTANT_NUMEL_LIMIT", MOST_KNOWN):
        yield


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Silence the loggers of torch: where a network does not run without values, torch logs a traceback."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("torch.")]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)


@contextlib.contextmanager
def fake_tensors(network: nn.Module) -> Iterator[None]:
    """Replace the tensors of a network that was built on the meta device by fake tensors, and run it inside."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in network.modules():
            holders: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for tensors in holders:
                for name, tensor in tensors.items():
                    if tensor is not None:  # the same result for a shared tensor
                        tensors[name] = mode.from_tensor(tensor)
        yield


class WithoutInitialisation(TorchFunctionMode):
    """Build a network without initialising its parameters, within a ``with`` block.

    The functions of ``torch.nn.init`` and in-place writes to parameters do nothing.
    """

    _WRITES = frozenset(
        f"{name}_"
        for name in ("add", "clamp", "copy", "div", "erfinv", "fill", "mul", "normal", "sub", "uniform", "zero")
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if args and isinstance(args[0], nn.Parameter) and getattr(func, "__name__", "") in self._WRITES:
            return args[0]
        return func(*args, **kwargs)
