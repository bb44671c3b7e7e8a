"""What only a trace can tell about a model, kept in the cache directory. Read without torch, so that browsing shows it.

A file a model, named by everything that the trace depends on: the declaration, and the versions of the libraries
that build the network. Its first line is the digest of the rest, so that a damaged file is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from layerzoo.disk import atomic_path, cache_dir
from layerzoo.errors import LockError, PluginError
from layerzoo.lock import Lock
from layerzoo.registry import Registry, registry
from layerzoo.registry.repositories import known_commit
from layerzoo.spec import Layer, ModelSpec, Preprocess, layer_from_dict, preprocess_from_dict

_FORMAT = 8


def traced_layers(spec: ModelSpec) -> tuple[Layer, ...] | None:
    """The layers of a model with axes, shapes and costs, as a trace on this machine found them; None without one."""
    try:
        facts = read_facts(spec, registry())
    except PluginError:  # no builder is installed that could have been traced
        return None
    return None if facts is None else tuple(layer_from_dict(layer) for layer in facts["layers"])


def traced_preprocess(spec: ModelSpec) -> Preprocess | None:
    """Return how the input of a model is preprocessed, as its library described it when it was last traced here; None
    where it was not."""
    try:
        facts = read_facts(spec, registry())
    except PluginError:  # no builder is installed that could have been traced
        return None
    kept = None if facts is None else facts.get("preprocess")
    return None if kept is None else preprocess_from_dict(kept)


def read_facts(spec: ModelSpec, zoo: Registry) -> dict[str, Any] | None:
    """What was written for this model and these versions, or None. A file that cannot be read, or that is not as it
    was written, counts as none."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        digest, _, written = _path(spec, zoo).read_text(encoding="utf-8").partition("\n")
        if digest == _digest(written):
            facts: dict[str, Any] = json.loads(written)
            return facts
    return None


def write_facts(spec: ModelSpec, zoo: Registry, facts: Mapping[str, Any]) -> None:
    """Keep what a trace found. A cache that cannot be written only costs the next trace."""
    path, written = _path(spec, zoo), json.dumps(facts)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(f"{_digest(written)}\n{written}", encoding="utf-8")


def library_versions(spec: ModelSpec, zoo: Registry) -> dict[str, str]:
    """The installed versions of all that makes this model's network: its plugins, and the libraries they stand on."""
    chain = _with_bases(spec, zoo)
    plugins = {zoo.builder_plugin(link.builder).distribution for link in chain} | {link.plugin for link in chain}
    found = {"layerzoo": _version("layerzoo")}
    for plugin in sorted(filter(None, plugins)):
        found |= {name: _version(name) for name in (plugin, *_libraries_of(plugin))}
    return {name: version for name, version in found.items() if version is not None}


def _path(spec: ModelSpec, zoo: Registry) -> Path:
    chain = _with_bases(spec, zoo)
    depends_on = {
        "format": _FORMAT,
        "models": [link.to_dict() for link in chain],
        "files": [_local_state(link, zoo) for link in chain],
        "versions": library_versions(spec, zoo),
    }
    return cache_dir() / "traces" / f"{_digest(json.dumps(depends_on, sort_keys=True))}.trace"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _with_bases(spec: ModelSpec, zoo: Registry) -> list[ModelSpec]:
    return [spec, *(_with_bases(zoo.model(spec.base), zoo) if spec.base else [])]


def _local_state(spec: ModelSpec, zoo: Registry) -> list[tuple[str, int, int]] | str | None:
    """Name, size and time of change of the small files beside a local checkpoint: a network may follow from them. Of a
    checkpoint on the hub, the commit that it is locked at; of a repository, also the one that was seen last."""
    if spec.weights is None:
        return []
    if repository := zoo.repository(spec.id):
        return known_commit(repository)
    if spec.weights.source.startswith("hf:"):
        with contextlib.suppress(LockError):
            return locked.revision if (locked := Lock.read().models.get(spec.id)) else None
    if not spec.weights.source.startswith("file:"):
        return []
    folder = Path(spec.weights.source.removeprefix("file:"))
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found]


@lru_cache(maxsize=64)
def _libraries_of(distribution: str) -> tuple[str, ...]:
    """What a plugin names as its requirements, layerzoo and its plugins aside; torch always."""
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
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
