"""Load a checkpoint through torch's ``load_state_dict``, for modules with loading logic, without reading all of it.

Hooks, ``_load_from_state_dict``, ``load_state_dict`` and ``set_extra_state`` of a network may rename, compute,
resize or keep the content of a checkpoint. torch runs them on a state dict of placeholders: tensors of the right
shape and type, whose memory was never touched. Two torch modes watch. A copy of a placeholder into a parameter is
deferred; any other operation on a placeholder reads its values from the checkpoint first. The tensors that the cut
needs are read afterwards, as are all tensors that the network keeps elsewhere.
"""

from __future__ import annotations

import gc
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerzoo.errors import WeightsError
from layerzoo.library_messages import parse_load_state_dict_error
from layerzoo.plugins.failure import summary
from layerzoo.runtime.checkpoint import Checkpoint
from layerzoo.runtime.pickled import decoded
from layerzoo.runtime.trace import saved_tensors

EXTRA_STATE = "_extra_state"
"""Name of a module's extra state in a state dict of torch."""
_TORCH_MODULES = frozenset({"torch.nn.modules.module", "torch.nn.modules.batchnorm", "torch.nn.modules.instancenorm"})
"""Modules of torch whose ``_load_from_state_dict`` only copies. Those of norms add a missing ``num_batches_tracked``,
which no norm reads in eval mode."""
_READS = frozenset(
    {"numpy", "tolist", "__array__", "__dlpack__", "__reduce_ex__", "__deepcopy__", "data_ptr", "untyped_storage"}
)
"""Methods that reach values without an operation that a dispatch mode sees."""
_OVERWRITES = frozenset({"copy_", "fill_", "zero_", "normal_", "uniform_"})

Read = Callable[[Sequence[str]], Mapping[str, Tensor]]
"""Reads tensors of a checkpoint by their names."""
_ViewKey = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""Equal for tensors of the same elements: storage, offset, size, strides."""


class ConstructorValuesNeeded(Exception):  # noqa: N818 - a request to the caller, who builds the network again
    """The network's loading logic uses values that the constructor gives, and its initialisation was skipped."""


def has_loading_logic(network: nn.Module) -> bool:
    """Return whether ``load_state_dict`` of a network does more than copying each tensor into the parameter of its
    name."""
    own = network.__dict__.get("load_state_dict") or type(network).load_state_dict
    return own is not nn.Module.load_state_dict or any(map(_is_special, network.modules()))


def _is_special(module: nn.Module) -> bool:
    kind = type(module)
    return bool(
        module.__dict__.get("_load_state_dict_pre_hooks")
        or module.__dict__.get("_load_state_dict_post_hooks")
        or takes_extra_state(module)
        or "_load_from_state_dict" in module.__dict__
        or kind._load_from_state_dict.__module__ not in _TORCH_MODULES
    )


def takes_extra_state(module: nn.Module) -> bool:
    """Return whether a module keeps extra state in a state dict."""
    return type(module).set_extra_state is not nn.Module.set_extra_state


@dataclass(frozen=True, slots=True)
class _StorageView:
    """One tensor, without keeping its memory alive."""

    reference: StorageWeakRef
    """While it exists, no other storage gets the same key."""
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    name: str
    """Name of its values in the checkpoint."""

    @classmethod
    def of(cls, tensor: Tensor, name: str) -> _StorageView:
        reference = StorageWeakRef(tensor.untyped_storage())
        return cls(reference, int(tensor.storage_offset()), tuple(tensor.size()), tensor.stride(), tensor.dtype, name)

    def fill(self, values: Tensor) -> None:
        """Write values into the memory, if it is still used."""
        if not self.reference.expired():
            storage = torch.UntypedStorage._new_with_weak_ptr(self.reference.cdata)
            with torch.no_grad():
                torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride).copy_(values)


class LoadingLogic(TorchDispatchMode):
    """One run of a network's loading logic.

    Args:
        network: its parameters may hold undefined values.
        has_values: whether they have the values of the constructor instead.
        read: reads tensors of the checkpoint.
    """

    def __init__(self, network: nn.Module, checkpoint: Checkpoint, read: Read, *, has_values: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._network = network
        self._checkpoint = checkpoint
        self._read = read
        places = [_place(tensor) for tensor in saved_tensors(network).values()]
        self._own = frozenset(places)
        self._undefined: dict[int, set[_ViewKey]] = {}
        for place in () if has_values else places:
            self._undefined.setdefault(place[0], set()).add(place)
        self._filled: set[_ViewKey] = set()
        self._sources: dict[int, _StorageView] = {}
        self._deferred: dict[int, dict[_ViewKey, _StorageView]] = {}
        self._needs_constructor = False
        self.values: dict[str, Tensor] = {}
        """Values that were read, by the name in the checkpoint."""

    def run(self, needed: Sequence[Sequence[str]], modules: Iterable[str], *, model: str) -> dict[str, str]:
        """Let torch load the checkpoint.

        Args:
            needed: names of the network's tensors that the cut needs; those of one tensor together.
            modules: paths of the modules that the cut needs.
            model: its id, for messages.
        Returns: names of needed tensors that have no values yet, with the names of their values in the checkpoint.
        Raises: ConstructorValuesNeeded; WeightsError for missing tensors, and for those that the network rejects.
        """
        missing: list[str] = []
        versions = self._checkpoint.versions
        refusal = self._load(versions, needed, missing)
        if refusal is not None and not versions:  # safetensors files of most programs do not keep them
            own = {path: {"version": module._version} for path, module in self._network.named_modules()}
            refusal = refusal if self._load(own, needed, missing) is not None else None
        if refusal is not None:
            reason, error = refusal
            message = f"{model}: its own loading code does not take {self._checkpoint.label}: {reason}"
            raise WeightsError(message) from error
        self._require_extra_state(missing, set(modules), model)
        return self._outstanding(needed, set(missing))

    def _load(
        self, versions: Mapping[str, Mapping[str, Any]], needed: Sequence[Sequence[str]], missing: list[str]
    ) -> tuple[str, Exception] | None:
        """Let torch load the checkpoint once, and add the names of missing tensors to ``missing``.

        Args:
            versions: the versions of the modules that saved the checkpoint, by path; empty if it does not state them.
        Returns: the reason for which the network rejects the checkpoint, and the error; None if it accepts it.
        Raises: ConstructorValuesNeeded.
        """

        def note(network: nn.Module, incompatible: Any) -> None:
            missing.extend(incompatible.missing_keys)

        handle = self._network.register_load_state_dict_post_hook(note)
        try:
            with self, _PlaceholderReads(self):
                self._network.load_state_dict(self._state(versions), **_leniently(self._network.load_state_dict))
        except Exception as error:
            if self._needs_constructor:
                raise ConstructorValuesNeeded from error
            refusal = _refusal(error, {name for group in needed for name in group})
            return None if refusal is None else (refusal, error)
        finally:
            handle.remove()
        if self._needs_constructor:
            raise ConstructorValuesNeeded
        return None

    def _state(self, versions: Mapping[str, Mapping[str, Any]]) -> OrderedDict[str, Any]:
        """Return the state dict: placeholders for tensors, and other objects unchanged."""
        state: OrderedDict[str, Any] = OrderedDict()
        for name, shape in self._checkpoint.shapes.items():
            if name in self._checkpoint.objects:
                self.values |= self._checkpoint.read([name])
                state[name] = decoded(self.values[name])
                continue
            state[name] = torch.empty(shape, dtype=self._checkpoint.dtypes[name])
            self._sources[_storage(state[name])] = _StorageView.of(state[name], name)
        if versions:
            state._metadata = {path: dict(entries) for path, entries in versions.items()}  # type: ignore[attr-defined]
        return state

    def _require_extra_state(self, missing: Sequence[str], modules: set[str], model: str) -> None:
        for name in missing:
            path, _, leaf = name.rpartition(".")
            if leaf == EXTRA_STATE and path in modules:
                raise WeightsError(
                    f"{model}: the checkpoint {self._checkpoint.label} has no '{name}', the extra state that "
                    f"{type(self._network.get_submodule(path)).__name__} loads. Next: give a checkpoint that was saved "
                    "from this network with state_dict()"
                )

    def _outstanding(self, needed: Sequence[Sequence[str]], missing: set[str]) -> dict[str, str]:
        tensors = saved_tensors(self._network)
        outstanding: dict[_ViewKey, tuple[str, str]] = {}
        for group in needed:
            for name in group:
                if name not in tensors:
                    continue
                place = _place(tensors[name])
                if (memory := self._deferred.get(place[0], {}).pop(place, None)) is not None:
                    outstanding[place] = (name, memory.name)
                elif place in outstanding or place in self._filled or place not in self._own:
                    continue
                elif missing.issuperset(group):
                    raise MissingTensor(name)
                elif place in self._undefined.get(place[0], ()):
                    raise ConstructorValuesNeeded
        return dict(outstanding.values())

    def settle(self) -> None:
        """Set the values of placeholders that the network keeps somewhere. Call it after truncating the network."""
        if not self._remaining():
            return
        gc.collect()  # a placeholder may be part of a reference cycle
        remaining = self._remaining()
        self._fetch([memory.name for memory in remaining])
        for memory in remaining:
            memory.fill(self.values[memory.name])

    def _remaining(self) -> list[_StorageView]:
        """Return placeholders and tensors of the network that have no values yet and still exist."""
        deferred = [memory for memories in self._deferred.values() for memory in memories.values()]
        return [memory for memory in (*self._sources.values(), *deferred) if not memory.reference.expired()]

    # ------------------------------------------------------------ reports of the two modes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._overloadpacket.__name__
        if name == "copy_" and self._defers(args[0], args[1]):
            return args[0]
        target = args[0] if name in _OVERWRITES and _place(args[0]) in self._own else None
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf is not target:
                self.need(leaf)
        result = func(*args, **kwargs)
        if target is not None:
            self._note_filled(_place(target))
        return result

    def _defers(self, target: Tensor, source: Any) -> bool:
        """Note a copy of a whole placeholder into a whole tensor of the network; it is made later, if at all."""
        memory = self._sources.get(_storage(source)) if isinstance(source, Tensor) else None
        place = _place(target)
        if memory is None or place not in self._own or source.size() != target.size():
            return False
        if _place(source) != (_storage(source), memory.offset, memory.size, memory.stride):
            return False
        self._note_filled(place)
        self._deferred.setdefault(place[0], {})[place] = _StorageView.of(target, memory.name)
        return True

    def _note_filled(self, place: _ViewKey) -> None:
        self._filled.add(place)
        self._undefined.get(place[0], set()).discard(place)
        self._deferred.get(place[0], {}).pop(place, None)

    def need(self, tensor: Tensor) -> None:
        """Read the values of a tensor, if it is a placeholder, or a parameter without values."""
        key = _storage(tensor)
        sources = [*self._deferred.pop(key, {}).values()]
        if (source := self._sources.pop(key, None)) is not None:
            sources.append(source)
        if sources:
            self._fetch([memory.name for memory in sources])
            for memory in sources:
                memory.fill(self.values[memory.name])
        if self._undefined.get(key):
            self._needs_constructor = True

    def _fetch(self, names: Iterable[str]) -> None:
        if unread := [name for name in dict.fromkeys(names) if name not in self.values]:
            self.values |= self._read(unread)


class MissingTensor(Exception):  # noqa: N818 - the caller raises the final error
    """A needed tensor of the network that torch reports as missing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _PlaceholderReads(TorchFunctionMode):
    """Watch functions that hand values to Python without an operation."""

    def __init__(self, logic: LoadingLogic) -> None:
        super().__init__()
        self._logic = logic

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if args and isinstance(args[0], Tensor) and getattr(func, "__name__", "") in _READS:
            self._logic.need(args[0])
        return func(*args, **(kwargs or {}))


def _leniently(load: Callable[..., Any]) -> dict[str, bool]:
    """Return the argument that allows other keys in a checkpoint, if a network's ``load_state_dict`` has it."""
    return {"strict": False} if "strict" in inspect.signature(load).parameters else {}


def _refusal(error: Exception, needed: set[str]) -> str | None:
    """Return the part of an error of ``load_state_dict`` that concerns the needed tensors; None without any."""
    problems = parse_load_state_dict_error(error)
    if problems is None:
        return summary(error)
    return "; ".join(problem for problem, parameter in problems if parameter is None or parameter in needed) or None


def _place(tensor: Tensor) -> _ViewKey:
    return _storage(tensor), int(tensor.storage_offset()), tuple(tensor.size()), tensor.stride()


def _storage(tensor: Tensor) -> int:
    """Return an id shared by all views of one tensor. Sparse tensors share nothing."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return id(tensor)
