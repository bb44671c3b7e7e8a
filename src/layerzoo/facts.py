"""Store the traces of models in the cache, and read them without torch, so that browsing can show them.

There is one file for each model. Its name has the id of the model, and a digest of everything that the trace depends
on: the declaration, the versions of the libraries that build the network, and the files of the plugins, which may
change without a new version. The first line is the digest of the rest, so that a damaged file counts as missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.disk import atomic_path
from layerzoo.errors import LockError, PluginError
from layerzoo.paths import trace_path, trace_prefix, traces_dir
from layerzoo.registry.lookup import registry
from layerzoo.spec import Layer, ModelSpec, Preprocess, layer_from_dict, preprocess_from_dict

if TYPE_CHECKING:
    from layerzoo.registry import PluginManifest, Registry

_FORMAT = 14


def traced_layers(spec: ModelSpec) -> tuple[Layer, ...] | None:
    """Return the layers of a model with axes, shapes and costs from its trace on this machine; None without a trace."""
    facts = _facts_here(spec)
    return None if facts is None else tuple(layer_from_dict(layer) for layer in facts["layers"])


def traced_params(spec: ModelSpec) -> int | None:
    """Return how many parameters the network of a model read when it was traced on this machine; None without a trace,
    or where the trace ended before the network did."""
    facts = _facts_here(spec)
    if facts is None or facts["trace"]["unfinished"]:
        return None
    sizes: dict[str, int] = facts["trace"]["sizes"]
    return sum(sizes[name] for name in facts["trace"]["parameters"])


def traced_notices(spec: ModelSpec) -> tuple[str, ...]:
    """Return what a trace or a run on this machine showed of features that are random, or depend on the batch."""
    facts = _facts_here(spec)
    return () if facts is None else tuple(facts["notices"])


def traced_dtypes(spec: ModelSpec) -> tuple[str, tuple[str, ...]] | None:
    """Return the dtype that a model's library computes in by default, and those that its checkpoint is stored in; None
    where it was not loaded here."""
    facts = _facts_here(spec)
    dtypes = None if facts is None else facts["dtypes"]
    return None if dtypes is None else (dtypes["library"], tuple(dtypes["stored"]))


def traced_preprocess(spec: ModelSpec) -> Preprocess | None:
    """Return how the input of a model is preprocessed, as its library described it when it was last traced here; None
    where it was not."""
    facts = _facts_here(spec)
    fields = None if facts is None else facts.get("preprocess")
    return None if fields is None else preprocess_from_dict(fields)


def _facts_here(spec: ModelSpec) -> dict[str, Any] | None:
    try:
        return read_facts(spec, registry())
    except PluginError:  # no builder is installed that could have been traced
        return None


def read_facts(spec: ModelSpec, zoo: Registry) -> dict[str, Any] | None:
    """Return the stored trace of a model for the installed versions; None if there is none, or if it is damaged."""
    if not _has_traces(spec):
        return None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        digest, _, text = _path(spec, zoo).read_text(encoding="utf-8").partition("\n")
        if digest == _digest(text):
            facts: dict[str, Any] = json.loads(text)
            return facts
    return None


def write_facts(spec: ModelSpec, zoo: Registry, facts: Mapping[str, Any]) -> None:
    """Store a trace. If the cache cannot be written, the model is traced again next time."""
    path, text = _path(spec, zoo), json.dumps(facts)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(f"{_digest(text)}\n{text}", encoding="utf-8")


def forget_facts(spec: ModelSpec, zoo: Registry) -> None:
    """Remove the stored trace of a model for the installed versions: its network has changed."""
    with contextlib.suppress(OSError):
        _path(spec, zoo).unlink(missing_ok=True)


def library_versions(spec: ModelSpec, zoo: Registry) -> dict[str, str]:
    """Return the installed versions of the plugins that build a model, and of the libraries that they require."""
    chain = _with_bases(spec, zoo)
    plugins = {zoo.builder_plugin(link.builder).distribution for link in chain} | {link.plugin for link in chain}
    names = sorted(filter(None, plugins))
    versions: dict[str, str] = zoo.remember_for_environment(f"versions of {' '.join(names)}", lambda: _versions(names))
    return versions


def _versions(plugins: list[str]) -> dict[str, str]:
    versions = {"layerzoo": _version("layerzoo")}
    for plugin in plugins:
        versions |= {name: _version(name) for name in (plugin, *_libraries_of(plugin))}
    return {name: version for name, version in versions.items() if version is not None}


def _has_traces(spec: ModelSpec) -> bool:
    """Return whether a model may have been traced on this machine: the digest of a trace takes 10 ms to compute."""
    prefix = trace_prefix(spec.id)
    with contextlib.suppress(OSError), os.scandir(traces_dir()) as entries:
        return any(entry.name.startswith(prefix) for entry in entries)
    return False


def _path(spec: ModelSpec, zoo: Registry) -> Path:
    depends_on = {"format": _FORMAT, **network_state(spec, zoo)}
    return trace_path(spec.id, _digest(json.dumps(depends_on, sort_keys=True)))


def network_state(spec: ModelSpec, zoo: Registry) -> dict[str, Any]:
    """Return everything that a network depends on, except its weights, as JSON-able data: the declaration, the
    configuration of its checkpoint, and the versions and code of the plugins that build it."""
    chain = _with_bases(spec, zoo)
    return {
        "models": [link.to_dict() for link in chain],
        "files": [_local_state(link, zoo) for link in chain],
        "versions": library_versions(spec, zoo),
        "code": _code_state(chain, zoo),
    }


_CODE = (".py", ".yaml", ".yml", ".toml", ".json")
_MOST_FILES = 1_000
"""The largest number of files of a package to compare: 1,000 take 18 ms; the largest plugin of this project, of 19
files, 0.4 ms."""


def _code_state(chain: list[ModelSpec], zoo: Registry) -> list[tuple[str, int, int]]:
    """Return name, size and modification time of the code of a model's plugins. Nothing is imported or read."""
    manifests: dict[str, PluginManifest] = {}
    for link in chain:
        plugins = [zoo.builder_plugin(link.builder), *([zoo.plugin(link.namespace)] if link.plugin else [])]
        manifests |= {plugin.namespace: plugin for plugin in plugins}
    plugins = [manifest for manifest in manifests.values() if manifest.path and manifest.distribution != "layerzoo"]
    return [state for manifest in plugins for state in _package_state(manifest)]


def _package_state(manifest: PluginManifest) -> list[tuple[str, int, int]]:
    registry_file = Path(str(manifest.path))
    top = manifest.module.split(".")[0]
    package = next((parent for parent in registry_file.parents if parent.name == top), registry_file.parent)
    states: list[tuple[str, int, int]] = []
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if name.endswith(_CODE) and path != registry_file:  # the digest already covers the declaration of the model
                with contextlib.suppress(OSError):
                    state = path.stat()
                    states.append((str(path.relative_to(package)), state.st_size, state.st_mtime_ns))
        if len(states) >= _MOST_FILES:
            break
    return states[:_MOST_FILES]


def _digest(text: str) -> str:
    import hashlib  # loads OpenSSL, which takes 3 ms

    return hashlib.sha256(text.encode()).hexdigest()


def _with_bases(spec: ModelSpec, zoo: Registry) -> list[ModelSpec]:
    return [spec, *(_with_bases(zoo.model(spec.base), zoo) if spec.base else [])]


def _local_state(spec: ModelSpec, zoo: Registry) -> list[tuple[str, int, int]] | str | None:
    """Return the state of the configuration of a checkpoint, from which the network may follow.

    Of a local checkpoint: name, size and modification time of the small files next to it. Of a checkpoint on the hub:
    the locked commit; of a repository, else the commit that was seen last.
    """
    if spec.weights is None:
        return []
    if repository := zoo.repository(spec.id):
        from layerzoo.registry.index.repositories import known_commit

        return known_commit(repository)
    if spec.weights.source.startswith("hf:"):
        from layerzoo.lock import Lock

        with contextlib.suppress(LockError):
            return locked.revision if (locked := Lock.read().models.get(spec.id)) else None
    if not spec.weights.source.startswith("file:"):
        return []
    folder = Path(spec.weights.source.removeprefix("file:"))
    configurations = sorted((*folder.glob("*.json"), *folder.glob("*/*.json"))) if folder.is_dir() else []
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in configurations
    ]


@lru_cache(maxsize=64)
def _libraries_of(distribution: str) -> tuple[str, ...]:
    """Return the required distributions of a plugin without layerzoo and its plugins, and torch."""
    import importlib.metadata

    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    names = [
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        for requirement in requirements
        if ";" not in requirement
    ]
    return ("torch", *(name for name in names if not name.startswith("layerzoo")))


@lru_cache(maxsize=64)
def _version(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
