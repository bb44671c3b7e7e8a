"""Build a network without initialising the parameters that a checkpoint sets, and prove that nothing else needs them.

Initialisation takes most of the time of a build, and a checkpoint overwrites its results. Two torch modes skip it:
each in-place write to a parameter, and each function of ``torch.nn.init`` on one. A skipped parameter holds
undefined memory. The modes therefore follow that memory, storage by storage, through every operation of the
constructor. When a tensor that no checkpoint sets depends on it (a buffer that is not saved, a plain attribute, a
tensor in a closure), or when Python reads a value of it, the network must be built again with initialisation.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerzoo.runtime.trace import checkpointed_tensors

_READS = frozenset({"numpy", "tolist", "__array__", "__dlpack__", "__reduce_ex__"})
"""Methods that hand values to Python without an operation that a dispatch mode sees."""
_OVERWRITES = frozenset({"copy_", "fill_", "normal_", "uniform_", "zero_"})
"""Operations after which no element has its earlier value."""
_VALUE_TAGS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
"""Operations that return a number, a boolean, or a tensor whose shape depends on values."""


SEED_OF_CONSTANTS = 0
"""Seed of random tensors that no checkpoint contains."""
_ONE_SEED_AT_A_TIME = threading.RLock()
"""The generator that initialisation draws from is global. A builder may load another model meanwhile."""
_OWN_OF_MODULES = frozenset(vars(nn.Module()))
"""Attributes in which ``nn.Module`` keeps its parameters, buffers and children."""


def construct_for_checkpoint(make: Callable[[], nn.Module], *, model: str) -> nn.Module:
    """Build a network for a checkpoint: its parameters may hold undefined values, and all other tensors have the values
    of their constructor.

    If a tensor that no checkpoint sets depends on the initialisation of a parameter, the network is built with
    initialisation. Random constants are drawn from a fixed seed, so that features are the same after every load.

    Args:
        make: builds the network, the same at every call.
        model: the id, for messages.
    """
    skipped = Initialisation(skip=True)
    with seeded(SEED_OF_CONSTANTS), skipped.recorded():
        network = make()
    if not skipped.must_be_repeated(network):
        return network
    del network
    real = Initialisation(skip=False)
    with seeded(SEED_OF_CONSTANTS), real.recorded():
        network = make()
    if real.is_random(network):
        _announce_random(model, real.random_tensors(network))
    return network


def _announce_random(model: str, names: list[str]) -> None:
    paths = f" ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})" if names else ""
    logging.getLogger("layerzoo").warning(
        "%s: its constructor draws random numbers for values that no checkpoint holds%s. layerzoo draws them from seed "
        "%d, the same at every load",
        model,
        paths,
        SEED_OF_CONSTANTS,
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside, and restore the caller's random state."""
    with _ONE_SEED_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(slots=True)
class _StorageState:
    """One storage, and the origin of its values."""

    reference: StorageWeakRef
    """Shows whether the storage is alive. While this exists, no other storage gets the same key."""
    is_parameter: bool = False
    is_undefined: bool = False
    """Whether its values depend on a skipped write."""
    is_random: bool = False
    """Whether its values depend on a random number."""


class Initialisation:
    """Record the origin of the values of all tensors while a network is built.

    skip: skip writes to parameters; else only record.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self._memory: dict[int, _StorageState] = {}
        self._has_read_undefined = False
        self._has_read_random = False

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Skip and record initialisation inside, in this thread."""
        with _Operations(self), _InitCalls(self), self._without_truncated_normals(), self._unseen_reads():
            yield

    @contextlib.contextmanager
    def _unseen_reads(self) -> Iterator[None]:
        """Record events that no torch mode of this thread sees: a pickled tensor, and the start of another thread."""
        pickled: Any = Tensor._reduce_ex_internal
        start, thread = threading.Thread.start, threading.get_ident()

        def noted(tensor: Tensor, protocol: int) -> Any:
            if threading.get_ident() == thread:
                self.note_read(tensor)
            return pickled(tensor, protocol)

        def started(new_thread: threading.Thread) -> None:
            if threading.get_ident() == thread:
                self._has_read_undefined |= self.skip
            start(new_thread)

        with (
            mock.patch.object(Tensor, "_reduce_ex_internal", noted),
            mock.patch.object(threading.Thread, "start", started),
        ):
            yield

    @contextlib.contextmanager
    def _without_truncated_normals(self) -> Iterator[None]:
        """Skip ``trunc_normal_`` of parameters as a whole, which no mode sees: it draws until all values are in range,
        and so would compute with undefined memory."""
        fill, thread = nn.init._no_grad_trunc_normal_, threading.get_ident()

        def unless_skipped(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if threading.get_ident() == thread:
                if isinstance(tensor, nn.Parameter):
                    self.note_parameter(tensor)
                if self.skips_write_to(tensor):
                    return tensor
            return fill(tensor, *args, **kwargs)

        with mock.patch.object(nn.init, "_no_grad_trunc_normal_", unless_skipped):
            yield

    def must_be_repeated(self, network: nn.Module) -> bool:
        """Return whether a tensor that no checkpoint sets, or a value in Python, differs from that of a full
        construction.

        Random numbers count: a skipped initialisation draws none, so that later ones differ.
        """
        has_read = self._has_read_undefined or self._has_read_random
        return has_read or any(self._outside(network, "is_undefined", "is_random"))

    def is_random(self, network: nn.Module) -> bool:
        """Return whether a tensor that no checkpoint sets, or a value in Python, depends on a random number."""
        return self._has_read_random or any(self._outside(network, "is_random"))

    def random_tensors(self, network: nn.Module) -> list[str]:
        """Return the names of buffers and tensor attributes that depend on a random number and that no checkpoint
        sets."""
        random = {id(memory) for memory in self._outside(network, "is_random")}
        return [
            f"{path}.{name}" if path else name
            for path, module in network.named_modules()
            for name, value in {**vars(module), **module._buffers}.items()
            if name not in _OWN_OF_MODULES
            if any(id(self._of(tensor)) in random for tensor in tree_leaves(value) if type(tensor) is Tensor)
        ]

    def _outside(self, network: nn.Module, *kinds: str) -> list[_StorageState]:
        """Return the living storages of some kinds that the network does not save.

        The others get their values from the checkpoint, or are dropped because the cut does not read them.
        """
        filled = {_key(tensor) for tensor in checkpointed_tensors(network).values()}
        suspects = [
            memory
            for key, memory in self._memory.items()
            if key not in filled and any(getattr(memory, kind) for kind in kinds)
        ]
        alive = [memory for memory in suspects if not memory.reference.expired()]
        if alive:
            gc.collect()  # a temporary tensor may be part of a reference cycle
        return [memory for memory in alive if not memory.reference.expired()]

    def _of(self, tensor: Tensor) -> _StorageState | None:
        key = _key(tensor)
        return None if key is None else self._memory.get(key)

    def _make(self, tensor: Tensor) -> _StorageState | None:
        if _key(tensor) is None:
            return None
        storage = tensor.untyped_storage()
        key = int(storage._cdata)
        if key not in self._memory:
            self._memory[key] = _StorageState(StorageWeakRef(storage))
        return self._memory[key]

    # ------------------------------------------------------------ reports of the two modes

    def note_parameter(self, tensor: Tensor) -> None:
        if (memory := self._make(tensor)) is not None:
            memory.is_parameter = True

    def skips_write_to(self, target: Any) -> bool:
        """Decide whether to skip a write to a tensor. If so, its memory is undefined from now on."""
        if not self.skip or not isinstance(target, Tensor):
            return False
        memory = self._of(target)
        if memory is None or not memory.is_parameter:
            return False
        memory.is_undefined = True
        return True

    def note_overwritten(self, tensor: Tensor) -> None:
        """Note that a tensor is about to get new values that do not depend on its earlier ones."""
        memory = self._of(tensor)
        if memory is not None and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes():
            memory.is_undefined = memory.is_random = False

    def note_result(self, sources: list[Tensor], targets: list[Tensor], *, random: bool, reads: bool) -> None:
        """Note that tensors were computed from others. reads: whether values of the sources become known to Python."""
        memories = [memory for source in sources if (memory := self._of(source)) is not None]
        undefined = any(memory.is_undefined for memory in memories)
        random = random or any(memory.is_random for memory in memories)
        if reads and (undefined or random) and not _is_initialising():
            self._has_read_undefined |= undefined
            self._has_read_random |= random
        if undefined or random:
            for target in targets:
                memory = self._make(target)
                if memory is None:  # it cannot be followed any further
                    self._has_read_undefined |= undefined
                    self._has_read_random |= random
                    continue
                memory.is_undefined |= undefined
                memory.is_random |= random

    def note_read(self, tensor: Tensor) -> None:
        """Note that all values of a tensor become known to Python."""
        if (memory := self._of(tensor)) is not None:
            self._has_read_undefined |= memory.is_undefined or (self.skip and memory.is_parameter)
            self._has_read_random |= memory.is_random


class _Operations(TorchDispatchMode):
    """Sees every operation on tensors."""

    def __init__(self, record: Initialisation) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        sources = [*_tensors_of(args), *_tensors_of(kwargs.values())]
        for source in sources:
            if isinstance(source, nn.Parameter):
                self._record.note_parameter(source)
        tags = func.tags
        writes = func._schema.is_mutable
        if writes and torch.Tag.inplace in tags and torch.Tag.inplace_view not in tags:
            if self._record.skips_write_to(args[0]):
                return args[0]
            if func._overloadpacket.__name__ in _OVERWRITES:
                self._record.note_overwritten(args[0])
        result = func(*args, **kwargs)
        is_random = torch.Tag.nondeterministic_seeded in tags
        if sources or is_random:
            targets = [*_tensors_of((result,))]
            if writes:
                targets += _written_arguments(func._schema, args, kwargs)
            self._record.note_result(
                [] if _reads_shapes_only(func) else sources,
                targets,
                random=is_random,
                reads=not _VALUE_TAGS.isdisjoint(tags),
            )
        return result


class _InitCalls(TorchFunctionMode):
    """Intercepts accesses that are not operations: functions of ``torch.nn.init``, and memory handed to Python."""

    def __init__(self, record: Initialisation) -> None:
        super().__init__()
        self._record = record

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else kwargs.get("tensor")
        if isinstance(first, nn.Parameter):
            self._record.note_parameter(first)
        if getattr(func, "__module__", None) == "torch.nn.init" and self._record.skips_write_to(first):
            return first
        name = getattr(func, "__name__", "")
        if name in _READS and isinstance(first, Tensor):
            self._record.note_read(first)
        result = func(*args, **kwargs)
        if name == "__deepcopy__" and isinstance(first, Tensor) and isinstance(result, Tensor):
            self._record.note_result([first], [result], random=False, reads=False)
        return result


def _is_initialising() -> bool:
    """Return whether the caller is a function of ``torch.nn.init``. Values that it reads only affect its tensor."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_globals.get("__name__") == "torch.nn.init":
            return True
    return False


def _key(tensor: Tensor) -> int | None:
    """Return an id shared by all views of one tensor; None for a tensor without memory, such as a sparse one."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError, ValueError):
        return None


def _tensors_of(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among the arguments or results of an operation: single, or in a list or tuple.

    It is called for every operation of a constructor, and ``tree_leaves`` would take a fifth of a build.
    """
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors_of(value)


def _written_arguments(schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the arguments that an operation writes to."""
    values = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | kwargs
    names = [argument.name for argument in schema.arguments if argument.alias_info and argument.alias_info.is_write]
    return [*_tensors_of(values.get(name) for name in names)]


def _reads_shapes_only(func: Any) -> bool:
    """Return whether an operation uses only shape and type of its tensors, as ``zeros_like`` does."""
    name: str = func._overloadpacket.__name__
    return name.endswith("_like") or name.startswith("new_")
