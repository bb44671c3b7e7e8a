"""The provenance of features that several runs computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from layerzoo.errors import UsageError

_SAME = (
    *("model", "layers", "pooling", "normalize", "prompt", "special_tokens"),
    *("image_pooling", "temporal_pool", "sampling"),
)
"""Parts of a provenance that decide which features a layer has. Rows that differ in them do not fit in one table."""
_RECORDED = ("weights", "preprocess", "precision", "dtype", "device", "versions", "args", "local_files")
"""Parts in which runs may differ. Every distinct run is then recorded."""
OTHER_RUNS = "other_runs"
"""The key for the provenance of the runs after the first."""


def joined_provenance(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the provenance of the samples of two runs, one after the other.

    It is that of the first run; a run that differs in its versions, device or precision is added under ``other_runs``.
    Raises: UsageError when the runs differ in the model, its weights, a layer's module, the pooling or the prompt.
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


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in _SAME:
        if name in first and name in second and first[name] != second[name]:
            yield name, first[name], second[name]
    first_weights, second_weights = _weights(first), _weights(second)
    if first_weights is not None and second_weights is not None and first_weights != second_weights:
        yield "weights", first_weights, second_weights


def _weights(provenance: Mapping[str, Any]) -> Any:
    """Return the values that identify the weights of a run: their digests, else their source; None where it is
    unknown."""
    weights = provenance.get("weights")
    if not isinstance(weights, Mapping):
        return weights
    return weights.get("sha256") or weights.get("source")


def _is_unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return any(first.get(name) != second.get(name) for name in _RECORDED)


def _alone(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name != OTHER_RUNS}
