"""Describe the origin of a backbone's features, as JSON-able data."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from layerzoo.facts import library_versions
from layerzoo.local_files import are_ignored
from layerzoo.registry import Registry
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.fill import Loaded
from layerzoo.runtime.precision import Precision, dtype_name
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.runtime.stored import combined_digest
from layerzoo.spec import ModelSpec, to_plain
from layerzoo.weights import Files


@dataclass(frozen=True, slots=True)
class Numerics:
    """Precision, dtypes and devices of a network."""

    precision: Precision
    """As requested."""
    dtype: torch.dtype
    """The dtype that the network computes in."""
    library: torch.dtype
    """The dtype that its library computes in by default."""
    devices: tuple[torch.device, ...]


def provenance(
    resolved: ResolvedModel,
    cut: Cut,
    loaded: Loaded,
    numerics: Numerics,
    zoo: Registry,
    *,
    weights: str | os.PathLike[str] | None,
    is_random: bool,
    keys: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the model's full id, its weights and how much of them was read, the module path of each layer, the
    preprocessing, and the versions of all libraries involved.

    Args:
        weights: the caller's replacement for the declared weights, if any.
        is_random: whether ``weights`` is a seed.
        keys: the caller's renaming of checkpoint keys, instead of the declared one.
    """
    spec, dtypes = resolved.spec, resolved.measured.dtypes
    assert spec.preprocess is not None
    return {
        "model": spec.id,
        "plugin": spec.plugin,
        "builder": spec.builder,
        "args": spec.args.to_dict(),
        "weights": {
            **_weights(spec, resolved.files, weights, is_random),
            "entry": loaded.entry,
            "removed_prefix": loaded.removed,
            "keys": None if keys is None else dict(keys),
            "dtypes": list(dtypes.stored) if dtypes and not is_random else [],
            "sha256_by_layer": digests_by_layer(resolved, cut, loaded.digests),
        },
        "layers": {layer.name: layer.address for layer in cut.layers},
        "preprocess": to_plain(spec.preprocess),
        "precision": numerics.precision,
        "dtype": dtype_name(numerics.dtype),
        "library_dtype": dtype_name(numerics.library),
        "device": ", ".join(map(str, numerics.devices)),
        "local_files": _local_files(zoo),
        "loaded": {
            name: value for name, value in asdict(loaded).items() if name not in ("entry", "removed", "digests")
        },
        "versions": {
            "python": platform.python_version(),
            **library_versions(spec, zoo),
        },
    }


def digests_by_layer(resolved: ResolvedModel, cut: Cut, digests: Mapping[str, bytes]) -> dict[str, str]:
    """Return for each layer the sha256 of the tensors that a cut at this layer alone needs.

    It is the same for every cut that reads the layer, so that the weights of two runs can be compared.

    Args:
        resolved: the model.
        cut: of the network.
        digests: the sha256 of each tensor by name, as in :class:`Loaded`; empty for random weights.
    """
    by_layer = {}
    for layer in cut.layers if digests else ():
        needed = {"", *(cut if len(cut.layers) == 1 else resolved.cut([layer])).tensors}
        by_layer[layer.name] = combined_digest({name: digest for name, digest in digests.items() if name in needed})
    return by_layer


def _local_files(zoo: Registry) -> dict[str, Any]:
    """List the user's registry files and lock with their digests, so that experiments can be compared."""
    return {"ignored": are_ignored(), "files": [file.to_dict() for file in zoo.user_files()]}


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
