"""A checkpoint under the network's own names, read tensor by tensor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from layerzoo.errors import CacheError, PluginError, WeightsError
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.pickled import read_pickle
from layerzoo.runtime.stored import Converted, InMemory, Joined, Safetensors, Stored, tensor_data
from layerzoo.runtime.wrappers import unwrappings
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files
from layerzoo.weights.cache import READER, converted_path, make_once
from layerzoo.weights.files import INDEX
from layerzoo.weights.progress import FileProgress
from layerzoo.weights.tensors import check_tensors, read_digests, read_header, read_metadata, write_tensors

Mapper = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
_Read = tuple[Mapping[str, Tensor], str | None]
"""Tensors, and the entry of a training checkpoint that they were taken from."""
_ENTRY = "layerzoo.entry"
"""The metadata of a converted file that keep it."""


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
    entry: str | None = None
    """The entry of a training checkpoint that the tensors were taken from: ``state_dict_ema``."""
    removed: str | None = None
    """What was removed from its keys to make them fit: ``module.`` of a training wrapper."""

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


def open_checkpoint(
    spec: ModelSpec,
    files: Files,
    hooks: ModelHooks,
    allow_pickle: bool = False,
    *,
    needed: Sequence[Sequence[str]] = (),
    own: Iterable[str] = (),
) -> Checkpoint:
    """Open the checkpoint of a model, in any format.

    A format other than safetensors is converted once, and kept as safetensors in the cache directory. Where the keys do
    not fit the network, and do without what a training wrapper adds to each, they are read so.

    allow_pickle: open a pickle although its sha256 is neither declared nor locked.
    needed: the names of the tensors that must be there; of each one or several, any of which will do.
    own: the names of all tensors of the network.
    Raises: WeightsError when there is none, UnsafeWeightsError for a pickle that may not be opened.
    """
    rules = KeyRules(spec.weights.keys if spec.weights else ())
    stored, entry = _stored(spec, files, hooks, allow_pickle)
    _announce_entry(stored.label, entry)

    def opened(unwrap: Callable[[str], str]) -> Checkpoint:
        def mapper(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            renamed = {rules(unwrap(name)): tensor for name, tensor in tensors.items()}
            mapped = hooks.state_dict(spec, files, renamed)
            return renamed if mapped is None else mapped

        return replace(Checkpoint.of(stored, mapper), entry=entry)

    names = set(own)
    for removed, unwrap in unwrappings(stored.meta().keys(), names):
        checkpoint = opened(unwrap)
        if all(any(name in checkpoint.shapes for name in group) for group in needed):
            if removed is not None:
                _announce_removed(stored.label, removed)
            return replace(checkpoint, removed=removed)
    return opened(str)


@lru_cache(maxsize=256)
def _announce_entry(label: str, entry: str | None) -> None:
    """Once a process."""
    if entry is not None:
        logging.getLogger("layerzoo").warning(
            "%s is a training checkpoint: its weights under '%s' are used", label, entry
        )


@lru_cache(maxsize=256)
def _announce_removed(label: str, removed: str) -> None:
    """Once a process."""
    message = "%s: its keys begin with what a training wrapper adds; without '%s' they fit the network"
    logging.getLogger("layerzoo").warning(message, label, removed)


def _stored(spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool) -> tuple[Stored, str | None]:
    """The tensors, and the entry of a training checkpoint that holds them."""
    name, in_folders = files.checkpoint_name, files.module_weights
    if name is None and not in_folders:
        return _made_by_plugin(spec, files, hooks), None
    main: Stored
    entry: str | None = None
    if name is None:  # all tensors are in the folders of modules, the network's own too
        main = InMemory({}, ", ".join(in_folders))
    else:
        main, entry = _stored_in(name, spec, files, hooks, allow_pickle)
    modules = {each.rpartition("/")[0]: _module_stored_in(each, files, hooks, allow_pickle) for each in in_folders}
    return (Joined(main, modules) if modules else main), entry


def _module_stored_in(name: str, files: Files, hooks: ModelHooks, allow_pickle: bool) -> Stored:
    """The tensors of a module that runs after the network, under their own names."""
    if name.endswith(".safetensors"):
        return Safetensors.of(files, name)
    read = partial(read_pickle, files[name], files, allow_pickle)
    stored, _ = _converted(files[name], files.digests[name], read, made_by=f"{hooks.identity}+{READER}")
    return stored


def _stored_in(
    name: str, spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool
) -> tuple[Stored, str | None]:
    path = files[name]
    if name.endswith((".safetensors", INDEX)):
        return Safetensors.of(files, name), None
    made_by = f"{hooks.identity}+{READER}"
    return _converted(path, files.digests[name], _reader(spec, files, hooks, path, allow_pickle), made_by=made_by)


def _converted(
    path: Path, digest: str, read: Callable[[], _Read], *, made_by: str, is_sound: Callable[[Path], bool] | None = None
) -> tuple[Stored, str | None]:
    """The checkpoint as safetensors from the cache, made now if it is not there; in memory where none can be kept.

    is_sound: whether a file that is there can be used; else one whose header is as it was written.
    """
    made: dict[str, Tensor] = {}
    entry: str | None = None

    def write(target: Path) -> None:
        nonlocal entry
        tensors, entry = read()
        made.update(_contiguous(tensors))
        metadata = {_ENTRY: entry} if entry else {}
        write_tensors(target, {name: tensor_data(tensor) for name, tensor in made.items()}, metadata)

    def make_again() -> Stored:
        return _converted(path, digest, read, made_by=made_by, is_sound=_is_undamaged)[0]

    try:
        kept = make_once(converted_path(digest, made_by), write, is_sound=is_sound or _is_sound)
        return Converted(Safetensors.open(kept, path.name), make_again), read_metadata(kept).get(_ENTRY)
    except CacheError as error:
        logging.getLogger("layerzoo").warning("%s. The checkpoint is converted again at every load.", error)
        if not made:
            tensors, entry = read()
            made = _contiguous(tensors)
        return InMemory(made, path.name), entry


def _is_sound(path: Path) -> bool:
    """Whether a converted file is there, is as long as its header says, and has the header that was written."""
    try:
        read_header(path)
        return read_digests(path) is not None
    except (WeightsError, OSError):
        return False


def _is_undamaged(path: Path) -> bool:
    """Whether a converted file is there, and every tensor in it is the one that was written."""
    try:
        return check_tensors(path)
    except (WeightsError, OSError):
        return False


def _made_by_plugin(spec: ModelSpec, files: Files, hooks: ModelHooks) -> Stored:
    made = hooks.read_weights(spec, files)
    if made is None:
        lacks = (
            f"no file of {spec.id} is a checkpoint ({', '.join(files)})" if files else f"{spec.id} declares no weights"
        )
        raise WeightsError(f"{lacks}: give a checkpoint, weights=PATH, or start from chance, weights='random:0'")
    return InMemory(made, spec.id)


def _reader(spec: ModelSpec, files: Files, hooks: ModelHooks, path: Path, allow_pickle: bool) -> Callable[[], _Read]:
    """How a checkpoint that is no safetensors file is read: by a plugin that knows the format, else as a pickle."""

    def read() -> _Read:
        made = hooks.read_weights(spec, files)
        return read_pickle(path, files, allow_pickle) if made is None else (made, None)

    return read


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, as safetensors wants them."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _replaced(segments: list[str], old: list[str], new: list[str]) -> list[str]:
    for start in range(len(segments) - len(old) + 1):
        if segments[start : start + len(old)] == old:
            return [*segments[:start], *new, *segments[start + len(old) :]]
    return segments
