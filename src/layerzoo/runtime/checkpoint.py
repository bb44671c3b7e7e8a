"""A checkpoint under the network's own names, read tensor by tensor."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from layerzoo.errors import CacheError, PluginError, UnsafeWeightsError, WeightsError
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.stored import InMemory, Joined, Safetensors, Stored
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files
from layerzoo.weights.cache import converted_path, make_once
from layerzoo.weights.files import INDEX
from layerzoo.weights.progress import FileProgress
from layerzoo.weights.tensors import read_header

Mapper = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Stored tensors by the names that the network gives them.

    origins: network name → stored name, where the two are one tensor. A name that is missing here is computed from
    others, and then everything must be read.
    """

    stored: Stored
    mapper: Mapper
    shapes: Mapping[str, tuple[int, ...]]
    sizes: Mapping[str, int]
    """Bytes of each tensor."""
    origins: Mapping[str, str]

    @property
    def label(self) -> str:
        return self.stored.label

    @classmethod
    def of(cls, stored: Stored, mapper: Mapper) -> Checkpoint:
        """Learn the names from tensors without values. Where the mapping needs values, everything is read for it."""
        meta = stored.meta()
        try:
            mapped = mapper(meta)
        except PluginError:  # a hook that computes with values cannot do it without them
            mapped, meta = mapper(stored.read(meta)), {}
        names = {id(tensor): name for name, tensor in meta.items()}
        return cls(
            stored=stored,
            mapper=mapper,
            shapes={name: tuple(tensor.shape) for name, tensor in mapped.items()},
            sizes={name: tensor.numel() * tensor.element_size() for name, tensor in mapped.items()},
            origins={name: names[id(tensor)] for name, tensor in mapped.items() if id(tensor) in names},
        )

    def is_partial(self, names: Iterable[str]) -> bool:
        """Whether these tensors can be read without reading the others."""
        return all(name in self.origins for name in names)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some tensors by the network's names, on the CPU, each owning its memory."""
        asked = list(dict.fromkeys(names))
        if self.is_partial(asked):
            tensors = self.stored.read({self.origins[name] for name in asked})
            return {name: tensors[self.origins[name]] for name in asked}
        everything = self.mapper(self.stored.read(self.stored.meta()))
        return {name: everything[name] for name in asked}

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        """Have some tensors, by the network's names, on this machine without reading them."""
        asked = set(names)
        self.stored.fetch(
            {self.origins[name] for name in asked} if self.is_partial(asked) else self.stored.meta(), progress
        )

    def bytes_of(self, names: Iterable[str]) -> int:
        return sum(self.sizes[name] for name in set(names))


@dataclass(frozen=True, slots=True)
class KeyRules:
    """The declared renaming of checkpoint keys: each rule replaces a run of whole dotted segments."""

    rules: tuple[tuple[str, str], ...] = field(default=())

    def __call__(self, key: str) -> str:
        segments = key.split(".")
        for old, new in self.rules:
            segments = _replaced(segments, old.split("."), new.split(".") if new else [])
        return ".".join(segments)


def open_checkpoint(spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint of a model, in whatever format it comes.

    A format that is not safetensors is converted once, and kept as safetensors in the cache directory.
    allow_pickle: open a pickle although its sha256 is neither declared nor locked.
    Raises: WeightsError when there is none, UnsafeWeightsError for a pickle that may not be opened.
    """
    rename = KeyRules(spec.weights.keys if spec.weights else ())

    def mapper(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        renamed = {rename(name): tensor for name, tensor in tensors.items()}
        mapped = hooks.state_dict(spec, files, renamed)
        return renamed if mapped is None else mapped

    return Checkpoint.of(_stored(spec, files, hooks, allow_pickle), mapper)


def _stored(spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool) -> Stored:
    name = files.checkpoint_name
    if name is None:
        return _made_by_plugin(spec, files, hooks)
    main = _stored_in(name, spec, files, hooks, allow_pickle)
    modules = {
        each.rpartition("/")[0]: _module_stored_in(each, files, hooks, allow_pickle) for each in files.module_weights
    }
    return Joined(main, modules) if modules else main


def _module_stored_in(name: str, files: Files, hooks: ModelHooks, allow_pickle: bool) -> Stored:
    """The tensors of a module that runs after the network, under their own names."""
    if name.endswith(".safetensors"):
        return Safetensors.of(files, name)
    read = partial(_read_pickle, name, files, allow_pickle)
    return _converted(files[name], files.digests[name], read, made_by=hooks.identity)


def _stored_in(name: str, spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool) -> Stored:
    path = files[name]
    if name.endswith((".safetensors", INDEX)):
        return Safetensors.of(files, name)
    return _converted(
        path, files.digests[name], _reader(spec, files, hooks, name, allow_pickle), made_by=hooks.identity
    )


def _converted(path: Path, digest: str, read: Callable[[], Mapping[str, Tensor]], *, made_by: str) -> Stored:
    """The checkpoint as safetensors from the cache, made now if it is not there; in memory where none can be kept."""
    made: dict[str, Tensor] = {}

    def write(target: Path) -> None:
        from safetensors.torch import save_file

        made.update(_contiguous(read()))
        save_file(made, target)

    try:
        kept = make_once(converted_path(digest, made_by), write, is_sound=_is_sound)
        return Safetensors.open(kept, path.name)
    except CacheError as error:
        logging.getLogger("layerzoo").warning("%s. The checkpoint is converted again at every load.", error)
        return InMemory(made or _contiguous(read()), path.name)


def _is_sound(path: Path) -> bool:
    """Whether a safetensors file is there, and as long as its header says."""
    try:
        read_header(path)
    except WeightsError:
        return False
    return True


def _made_by_plugin(spec: ModelSpec, files: Files, hooks: ModelHooks) -> Stored:
    made = hooks.read_weights(spec, files)
    if made is None:
        lacks = (
            f"no file of {spec.id} is a checkpoint ({', '.join(files)})" if files else f"{spec.id} declares no weights"
        )
        raise WeightsError(f"{lacks}: give a checkpoint, weights=PATH, or start from chance, weights='random:0'")
    return InMemory(made, spec.id)


def _reader(
    spec: ModelSpec, files: Files, hooks: ModelHooks, name: str, allow_pickle: bool
) -> Callable[[], Mapping[str, Tensor]]:
    """How a checkpoint that is no safetensors file is read: by a plugin that knows the format, else as a pickle."""

    def read() -> Mapping[str, Tensor]:
        made = hooks.read_weights(spec, files)
        return _read_pickle(name, files, allow_pickle) if made is None else made

    return read


def _read_pickle(name: str, files: Files, allow_pickle: bool) -> Mapping[str, Tensor]:
    """A pickled state dict, read by torch's restricted unpickler, which runs no code of the file's.

    That unpickler had holes before, so a file that nobody vouches for with a sha256 is opened only on request.
    """
    path = files[name]
    if name not in files.verified and not allow_pickle:
        raise UnsafeWeightsError(
            f"{path} is no .safetensors file. A pickle runs code, so it is opened only when its sha256 is declared in "
            "registry.yaml (weights: {source: …, sha256: …}) or locked (zoo lock MODEL), or with --allow-pickle (in "
            "Python: allow_pickle=True), and always by torch's restricted unpickler. Or save the weights as safetensors"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as a pickled state dict: {error}") from error
    state = loaded.get("state_dict", loaded.get("model", loaded)) if isinstance(loaded, dict) else loaded
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds {type(state).__name__} and no state dict: names with their tensors")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, as safetensors wants them."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _replaced(segments: list[str], old: list[str], new: list[str]) -> list[str]:
    for start in range(len(segments) - len(old) + 1):
        if segments[start : start + len(old)] == old:
            return [*segments[:start], *new, *segments[start + len(old) :]]
    return segments
