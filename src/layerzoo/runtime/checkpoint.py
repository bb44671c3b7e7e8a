"""A checkpoint with the names of the network's tensors, read tensor by tensor."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerzoo.errors import CacheError, PluginError, UsageError, WeightsError
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.pickled import StateDict, encoded, read_pickle
from layerzoo.runtime.read_ahead import ReadAhead
from layerzoo.runtime.stored import Converted, InMemory, Joined, Safetensors, Stored, tensor_data
from layerzoo.runtime.wrappers import unwrappings
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files
from layerzoo.weights.cache import READER, converted_path, make_once
from layerzoo.weights.files import INDEX
from layerzoo.weights.progress import FileProgress
from layerzoo.weights.tensors import check_tensors, read_digests, read_header, read_metadata, write_tensors

Mapper = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
_ENTRY = "layerzoo.entry"
_OBJECTS = "layerzoo.objects"
_VERSIONS = "layerzoo.versions"
"""Metadata keys of a converted file: the entry, the names of objects and the versions of a state dict."""
_SAVED = "layerzoo.saved"
"""Metadata key of a file whose checkpoint keys are the network's own names, because layerzoo saved them."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Stored tensors by the names of the network's tensors.

    origins: network name → stored name, where both are one tensor. A name that is missing here is computed from
    other tensors, so that all of the checkpoint must be read.
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
    """The prefix of a training wrapper that was removed from its keys: ``module.``."""
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    objects: frozenset[str] = frozenset()
    """Names of tensors that hold the bytes of an object, which is the extra state of a module."""
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Path of a module → metadata in its state dict."""

    @property
    def label(self) -> str:
        return self.stored.label

    @classmethod
    def of(cls, stored: Stored, mapper: Mapper) -> Checkpoint:
        """Map the names of tensors without values. If the mapping requires values, all tensors are read for it."""
        meta = stored.meta()
        try:
            mapped = mapper(meta)
        except PluginError:  # the hook computes with values
            mapped, meta = mapper(stored.read(meta)), {}
        names = {id(tensor): name for name, tensor in meta.items()}
        return cls(
            stored=stored,
            mapper=mapper,
            shapes={name: tuple(tensor.shape) for name, tensor in mapped.items()},
            sizes={name: tensor.numel() * tensor.element_size() for name, tensor in mapped.items()},
            origins={name: names[id(tensor)] for name, tensor in mapped.items() if id(tensor) in names},
            dtypes={name: tensor.dtype for name, tensor in mapped.items()},
        )

    def is_partial(self, names: Iterable[str]) -> bool:
        """Return whether these tensors can be read without reading the others."""
        return all(name in self.origins for name in names)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read some tensors, by the network's names, to the CPU. Each owns its memory."""
        requested = list(dict.fromkeys(names))
        if self.is_partial(requested):
            tensors = self.stored.read({self.origins[name] for name in requested})
            return {name: tensors[self.origins[name]] for name in requested}
        all_tensors = self.mapper(self.stored.read(self.stored.meta()))
        return {name: all_tensors[name] for name in requested}

    def digests(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the sha256 of the tensors that were hashed while they were read, by the network's names."""
        digests = self.stored.digests if isinstance(self.stored, ReadAhead) else {}
        return {name: digests[origin] for name in names if (origin := self.origins.get(name)) in digests}

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        """Download some tensors, by the network's names, without reading them."""
        requested = set(names)
        self.stored.fetch(
            {self.origins[name] for name in requested} if self.is_partial(requested) else self.stored.meta(), progress
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


def key_rules(spec: ModelSpec, content: CheckpointContent, keys: Mapping[str, str] | None) -> KeyRules:
    """Return the renaming of the keys of a checkpoint.

    Args:
        spec: the model, whose declared renaming applies unless layerzoo saved the checkpoint.
        content: the opened checkpoint.
        keys: the renaming to use instead of the declared one; None for that.
    Raises: UsageError for a renaming that applies to no key of the checkpoint.
    """
    if keys is not None:
        _check_used(keys, content.stored)
        return KeyRules(tuple(keys.items()))
    return KeyRules(spec.weights.keys if spec.weights and not content.is_saved else ())


def _check_used(keys: Mapping[str, str], stored: Stored) -> None:
    """Raises: UsageError for a renaming that applies to no key of a checkpoint."""
    names = list(stored.meta())
    for old, new in keys.items():
        renamed = [KeyRules(((old, new),))(name) for name in names]
        if old != new and renamed == names:
            raise UsageError(
                f"keys={{{old!r}: {new!r}}}: no key of {stored.label} is {old!r}, or has it as whole dotted segments. "
                f"Its keys: {', '.join(names[:3])}, …"
            )
        names = renamed


def open_checkpoint(
    spec: ModelSpec,
    files: Files,
    hooks: ModelHooks,
    content: CheckpointContent | None = None,
    *,
    keys: Mapping[str, str] | None = None,
    needed: Sequence[Sequence[str]] = (),
    own: Iterable[str] = (),
    renames: bool = False,
) -> Checkpoint:
    """Open the checkpoint of a model, in any format.

    Other formats than safetensors are converted once, and kept as safetensors in the cache directory. If the keys do
    not fit the network, but fit without the prefix of a training wrapper, that prefix is removed.

    Args:
        content: the opened checkpoint; None: it is opened here.
        keys: the renaming of checkpoint keys, instead of the declared one.
        needed: names of required tensors; alternative names of one tensor are grouped.
        own: names of all tensors of the network.
        renames: whether the network's loading code may rename keys.
    Raises: as :func:`open_content`.
    """
    content = content or open_content(spec, files, hooks)
    rules = key_rules(spec, content, keys)
    stored = content.stored
    _announce_entry(stored.label, content.entry)

    def opened(unwrap: Callable[[str], str]) -> Checkpoint:
        def renamed(name: str) -> str:
            return rules(unwrap(name))

        def mapper(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            own_names = {renamed(name): tensor for name, tensor in tensors.items()}
            if content.is_saved:
                return own_names
            mapped = hooks.state_dict(spec, files, own_names)
            return own_names if mapped is None else mapped

        checkpoint = Checkpoint.of(stored, mapper)
        return replace(
            checkpoint,
            entry=content.entry,
            objects=frozenset(name for name, origin in checkpoint.origins.items() if origin in content.objects),
            versions={_path(renamed, path): version for path, version in content.versions.items()},
        )

    names = set(own)
    candidates: list[tuple[int, Checkpoint]] = []
    for removed, unwrap in unwrappings(stored.meta().keys(), names):
        checkpoint = opened(unwrap)
        fitting = sum(any(name in checkpoint.shapes for name in group) for group in needed)
        candidates.append((fitting, replace(checkpoint, removed=removed)))
        if fitting == len(needed):
            break
    else:
        unchanged = opened(str)
        fitting = sum(any(name in unchanged.shapes for name in group) for group in needed)
        candidates = [(fitting, unchanged), *(candidates if renames else [])]
    _, checkpoint = max(candidates, key=lambda candidate: candidate[0])
    if checkpoint.removed is not None:
        _announce_removed(stored.label, checkpoint.removed)
    return checkpoint


def _path(renamed: Callable[[str], str], path: str) -> str:
    """Return the path of a module in the network."""
    return renamed(f"{path}.{_LEAF}" if path else _LEAF).rpartition(".")[0]


_LEAF = "\0"
"""A name that no tensor has."""


@lru_cache(maxsize=256)
def _announce_entry(label: str, entry: str | None) -> None:
    """Log the entry of a training checkpoint, once per process."""
    if entry is not None:
        logging.getLogger("layerzoo").warning(
            "%s is a training checkpoint: its weights under '%s' are used", label, entry
        )


@lru_cache(maxsize=256)
def _announce_removed(label: str, removed: str) -> None:
    """Log a removed prefix, once per process."""
    message = "%s: its keys begin with what a training wrapper adds; without '%s' they fit the network"
    logging.getLogger("layerzoo").warning(message, label, removed)


@dataclass(frozen=True, slots=True)
class CheckpointContent:
    """The tensors of a checkpoint, and the other content of its state dict."""

    stored: Stored
    entry: str | None = None
    """The entry of a training checkpoint that holds them."""
    objects: frozenset[str] = frozenset()
    """Names of tensors that hold the bytes of an object."""
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_saved: bool = False
    """Whether :meth:`layerzoo.Backbone.save` wrote it."""


def saved_metadata(objects: Iterable[str], versions: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a safetensors file whose checkpoint keys are the network's own names.

    Args:
        objects: names of tensors that hold the bytes of an object.
        versions: the metadata of the state dict, by module.
    """
    return {_SAVED: "1", _OBJECTS: json.dumps(sorted(objects)), _VERSIONS: json.dumps(_jsonable_versions(versions))}


def _saved_content(name: str, files: Files) -> CheckpointContent | None:
    """Open a file that layerzoo saved; None for any other file."""
    if name in files.partial or not name.endswith(".safetensors"):
        return None
    stored = Safetensors.of(files, name)
    metadata = read_metadata(files[name])
    if _SAVED not in metadata:
        return None
    objects, versions = (json.loads(metadata.get(key, "{}")) for key in (_OBJECTS, _VERSIONS))
    return CheckpointContent(stored, objects=frozenset(objects), versions=versions, is_saved=True)


def open_content(spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool = False) -> CheckpointContent:
    """Open the checkpoint of a model, with its own checkpoint keys.

    Args:
        allow_pickle: open a pickle whose sha256 is neither declared nor locked.
    Raises: WeightsError without a checkpoint, UnsafeWeightsError for a pickle that may not be opened.
    """
    name, in_folders = files.checkpoint_name, files.module_weights
    if name is None and not in_folders:
        return CheckpointContent(_read_by_plugin(spec, files, hooks))
    if name is not None and (saved := _saved_content(name, files)) is not None:
        return saved  # with the tensors of all modules
    if name is None:  # all tensors are in the folders of modules, including those of the network
        main = CheckpointContent(InMemory({}, ", ".join(in_folders)))
    else:
        main = _stored_in(name, spec, files, hooks, allow_pickle)
    modules = {file.rpartition("/")[0]: _module_stored_in(file, files, hooks, allow_pickle) for file in in_folders}
    return replace(main, stored=Joined(main.stored, modules)) if modules else main


def _module_stored_in(name: str, files: Files, hooks: ModelHooks, allow_pickle: bool) -> Stored:
    """Open the checkpoint of a module that runs after the network."""
    if name.endswith(".safetensors"):
        return Safetensors.of(files, name)
    read = partial(read_pickle, files[name], files, allow_pickle)
    return _converted(files[name], files.digests[name], read, made_by=f"{hooks.identity}+{READER}").stored


def _stored_in(name: str, spec: ModelSpec, files: Files, hooks: ModelHooks, allow_pickle: bool) -> CheckpointContent:
    path = files[name]
    if name.endswith((".safetensors", INDEX)):
        return CheckpointContent(Safetensors.of(files, name))
    hooks = hooks.with_format_of(files)
    made_by = f"{hooks.identity}+{READER}"
    return _converted(path, files.digests[name], _reader(spec, files, hooks, path, allow_pickle), made_by=made_by)


def _converted(
    path: Path,
    digest: str,
    read: Callable[[], StateDict],
    *,
    made_by: str,
    is_sound: Callable[[Path], bool] | None = None,
) -> CheckpointContent:
    """Open a checkpoint that was converted to safetensors in the cache, or convert it now; in memory if the cache is
    not writable.

    is_sound: checks an existing file; by default its header.
    """
    by_key: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}

    def convert() -> None:
        state = read()
        by_key.update(_contiguous(state.tensors))
        by_key.update({name: encoded(value) for name, value in state.objects.items()})
        metadata.update({_ENTRY: state.entry} if state.entry else {})
        metadata.update({_OBJECTS: json.dumps(sorted(state.objects))} if state.objects else {})
        metadata.update({_VERSIONS: json.dumps(_jsonable_versions(state.versions))} if state.versions else {})

    def write(target: Path) -> None:
        convert()
        write_tensors(target, {name: tensor_data(tensor) for name, tensor in by_key.items()}, metadata)

    def make_again() -> Stored:
        return _converted(path, digest, read, made_by=made_by, is_sound=_is_undamaged).stored

    stored: Stored
    try:
        converted = make_once(converted_path(digest, made_by), write, is_intact=is_sound or _is_sound)
        stored, metadata = Converted(Safetensors.open(converted, path.name), make_again), dict(read_metadata(converted))
    except CacheError as error:
        logging.getLogger("layerzoo").warning("%s. The checkpoint is converted again at every load.", error)
        if not by_key:
            convert()
        stored = InMemory(by_key, path.name)
    objects, versions = (json.loads(metadata.get(key, "{}")) for key in (_OBJECTS, _VERSIONS))
    return CheckpointContent(stored, metadata.get(_ENTRY), frozenset(objects), versions)


def _jsonable_versions(versions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the JSON-able entries of a state dict's metadata, by module."""
    return {
        str(path): {
            name: value for name, value in entries.items() if isinstance(value, str | int | float | bool | None)
        }
        for path, entries in versions.items()
        if isinstance(entries, Mapping)
    }


def _is_sound(path: Path) -> bool:
    """Return whether a converted file exists with the length and header that were written."""
    try:
        read_header(path)
        return read_digests(path) is not None
    except (WeightsError, OSError):
        return False


def _is_undamaged(path: Path) -> bool:
    """Return whether a converted file exists, and each of its tensors is the one that was written."""
    try:
        return check_tensors(path)
    except (WeightsError, OSError):
        return False


def _read_by_plugin(spec: ModelSpec, files: Files, hooks: ModelHooks) -> Stored:
    tensors = hooks.read_weights(spec, files)
    if tensors is None:
        missing = (
            f"no file of {spec.id} is a checkpoint ({', '.join(files)})" if files else f"{spec.id} declares no weights"
        )
        raise WeightsError(f"{missing}: give a checkpoint, weights=PATH, or start from chance, weights='random:0'")
    return InMemory(tensors, spec.id)


def _reader(
    spec: ModelSpec, files: Files, hooks: ModelHooks, path: Path, allow_pickle: bool
) -> Callable[[], StateDict]:
    """Return the function that reads a checkpoint of another format: by a plugin that knows it, else as a pickle."""

    def read() -> StateDict:
        tensors = hooks.read_weights(spec, files)
        return read_pickle(path, files, allow_pickle) if tensors is None else StateDict(tensors)

    return read


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors that share no memory, as safetensors requires.

    Raises: WeightsError for quantised and sparse tensors.
    """
    for name, tensor in tensors.items():
        if tensor.is_quantized or tensor.layout is not torch.strided:
            kind, conversion = ("quantised", "dequantize") if tensor.is_quantized else ("sparse", "to_dense")
            raise WeightsError(
                f"'{name}' in the checkpoint is a {kind} tensor ({tensor.dtype}, {tensor.layout}), which layerzoo does "
                f"not load. Next: save {name}.{conversion}(), and let the network make its own from it"
            )
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _replaced(segments: list[str], old: list[str], new: list[str]) -> list[str]:
    for start in range(len(segments) - len(old) + 1):
        if segments[start : start + len(old)] == old:
            return [*segments[:start], *new, *segments[start + len(old) :]]
    return segments
