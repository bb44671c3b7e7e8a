"""The provenance of features that several runs computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from layerzoo.errors import UsageError

_SAME = (
    *("model", "layers", "pooling", "normalize", "prompt", "special_tokens"),
    *("image_pooling", "temporal_pool", "sampling"),
)
"""Parts of a provenance that decide which features a layer has. Rows that differ in them do not fit in one table."""
_RECORDED = ("weights", "preprocess", "precision", "dtype", "device", "versions", "args", "local_files")
"""Parts in which runs may differ. Every distinct run is then recorded."""
_BY_LAYER = ("layers", "pooling", "image_pooling", "temporal_pool", "batch_dependent", "random")
"""Parts of a provenance that have a value for each layer."""
OTHER_RUNS = "other_runs"
"""The key for the provenance of the runs after the first."""


def joined_provenance(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the provenance of the samples of two runs, one after the other.

    It is that of the first run; a run that differs in its versions, device or precision is added under ``other_runs``.
    Raises: UsageError when the runs differ in the model, its weights, a layer's module, the pooling or the prompt. The
    weights of a layer are compared by the digest of their tensors, whatever their file is called.
    """
    if not first or not second or first is second:
        return first or second
    for name, value, later in _differences(first, second):
        raise UsageError(
            f"these samples come from different runs, which differ in {name}: {value}, then {later}. To put the layers "
            "of several runs side by side, use Features.merge"
        )
    runs = [first, *first.get(OTHER_RUNS, ())]
    added = [
        run
        for run in (_alone(second), *second.get(OTHER_RUNS, ()))
        if all(_is_unlike(run, earlier) for earlier in runs)
    ]
    return {**first, OTHER_RUNS: [*runs[1:], *added]} if added else first


def of_layers(provenance: Mapping[str, Any], layers: Iterable[str]) -> dict[str, Any]:
    """Return the provenance of some of the layers. layers: their names."""
    chosen = list(layers)

    def by_layer(values: Any) -> Any:
        """Return the values of the chosen layers. values: by layer, or None."""
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if name in chosen}

    reduced = {name: by_layer(value) if name in _BY_LAYER else value for name, value in provenance.items()}
    if isinstance(weights := reduced.get("weights"), Mapping) and "sha256_by_layer" in weights:
        reduced["weights"] = {**weights, "sha256_by_layer": by_layer(weights["sha256_by_layer"])}
    is_default = {  # as for an extraction of these layers alone
        "image_pooling": reduced.get("image_pooling") == reduced.get("pooling"),
        "temporal_pool": not reduced.get("temporal_pool"),
        "seed": not reduced.get("random"),
    }
    reduced |= {name: None for name, is_none in is_default.items() if is_none and name in reduced}
    if OTHER_RUNS in reduced:
        reduced[OTHER_RUNS] = [of_layers(run, chosen) for run in reduced[OTHER_RUNS]]
    return reduced


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in _SAME:
        if name in first and name in second and first[name] != second[name]:
            yield name, first[name], second[name]
    yield from _weights_differences(first.get("weights"), second.get("weights"))


def _weights_differences(first: Any, second: Any) -> Iterator[tuple[str, Any, Any]]:
    """Compare the weights of two runs: the tensors by layer and the files, each where both runs have their digests; the
    sources where they have neither; and the tensors that changed after loading."""
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        if first is not None and second is not None and first != second:
            yield "weights", first, second
        return
    tensors, other_tensors = first.get("sha256_by_layer") or {}, second.get("sha256_by_layer") or {}
    shared = tensors.keys() & other_tensors.keys()
    for layer in sorted(shared):
        if tensors[layer] != other_tensors[layer]:
            yield f"the weights of {layer} (sha256 of its tensors)", tensors[layer], other_tensors[layer]
    files, other_files = first.get("sha256") or {}, second.get("sha256") or {}
    if shared:  # files with the same tensors may have different names
        for name in sorted(files.keys() & other_files.keys()):
            if files[name] != other_files[name]:
                yield f"the sha256 of {name}", files[name], other_files[name]
    else:
        identity, other = files or first.get("source"), other_files or second.get("source")
        if identity is not None and other is not None and identity != other:
            yield "weights", identity, other
    if first.get("changed") != second.get("changed"):
        yield "the tensors that changed after loading", _changed(first), _changed(second)


def _changed(weights: Mapping[str, Any]) -> str:
    changed = weights.get("changed")
    return f"{changed['tensors']} (sha256 {changed['sha256']})" if changed else "none"


def _is_unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return any(first.get(name) != second.get(name) for name in _RECORDED)


def _alone(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name != OTHER_RUNS}
