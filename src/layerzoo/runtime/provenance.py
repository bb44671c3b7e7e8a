"""Where the numbers of a backbone come from, as plain data."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from layerzoo.facts import library_versions
from layerzoo.local_files import are_ignored
from layerzoo.registry import Registry
from layerzoo.runtime.blueprint import Blueprint
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.fill import Loaded
from layerzoo.spec import ModelSpec, to_plain
from layerzoo.weights import Files


def provenance(
    blueprint: Blueprint,
    cut: Cut,
    loaded: Loaded,
    weights: str | os.PathLike[str] | None,
    is_random: bool,
    numbers: Mapping[str, str],
    device: torch.device,
    zoo: Registry,
) -> dict[str, Any]:
    """JSON-able: the model's full id, what its weights are and how much of them was read, each layer's module path, the
    preprocessing, and the versions of all that took part.

    weights: what the caller gave in place of the declared ones. is_random: that this was a seed.
    numbers: the precision asked for, the dtype computed in, and the one that the library computes in by default.
    """
    spec, files = blueprint.spec, blueprint.files
    assert spec.preprocess is not None
    return {
        "model": spec.id,
        "plugin": spec.plugin,
        "builder": spec.builder,
        "args": spec.args.to_dict(),
        "weights": {
            **_weights(spec, files, weights, is_random),
            "entry": loaded.entry,
            "removed_prefix": loaded.removed,
            "dtypes": list(blueprint.dtypes.stored) if blueprint.dtypes and not is_random else [],
        },
        "layers": {layer.name: layer.address for layer in cut.layers},
        "preprocess": to_plain(spec.preprocess),
        **numbers,
        "device": str(device),
        "local_files": _local_files(zoo),
        "loaded": {name: value for name, value in asdict(loaded).items() if name not in ("entry", "removed")},
        "versions": {
            "python": platform.python_version(),
            **library_versions(spec, zoo),
        },
    }


def _local_files(zoo: Registry) -> dict[str, Any]:
    """The user's own registry files and lock, with their digests, so that two experiments can be compared."""
    return {"ignored": are_ignored(), "files": [each.to_dict() for each in zoo.user_files()]}


def _weights(spec: ModelSpec, files: Files, weights: str | os.PathLike[str] | None, is_random: bool) -> dict[str, Any]:
    if is_random:
        return {"source": str(weights), "revision": None, "pinned_by": None, "lock_sha256": None, "sha256": {}}
    declared = spec.weights.source if spec.weights else None
    origin = files.origin if weights is None else None
    return {
        "source": declared if weights is None else os.fspath(weights),
        "revision": origin and origin.revision,
        "pinned_by": origin and origin.pinned_by,
        "lock_sha256": origin and origin.lock_sha256,
        "sha256": files.digests,
    }
