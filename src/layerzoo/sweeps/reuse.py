"""Use what an earlier sweep measured with the same features, labels and folds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from layerzoo.features.cache import FeatureCache
from layerzoo.heads.targets import Targets
from layerzoo.sweeps.clustering import Clustering, measure_clusters
from layerzoo.sweeps.estimates import estimates
from layerzoo.sweeps.evaluation import CandidateFeatures, Measured, Plan, Vectors, measure

_KEY_VERSION = 1
"""Raised when the same features, labels and folds give other scores."""
_LIBRARIES = ("numpy", "scipy", "scikit-learn")
_Arrays = dict[str, NDArray[Any]]
_ARRAYS, _ARRAYS_OF_FOLDS = ("scores", "inner", "strength"), ("predictions", "confidence")
_NUMBER = "number."


class MeasurementReuse:
    """Measures candidates, or returns their earlier results from the cache.

    Args:
        cache: whether to use the database in the cache folder; or a database, which its owner closes.
    """

    def __init__(self, cache: bool | FeatureCache) -> None:
        self._cache = cache

    def measured(
        self, plan: Plan, sources: Sequence[CandidateFeatures], advance: Callable[[int], None] = lambda count: None
    ) -> list[Measured]:
        """Return the result of :func:`layerzoo.sweeps.evaluation.measure`, with the same arguments."""
        settings = [plan.task, plan.targets, *(rows for split in plan.outer for rows in split)]
        settings += [rows for splits in plan.inner for split in splits for rows in split]

        def compute(missing: list[int]) -> Iterable[_Arrays]:
            advance((len(sources) - len(missing)) * len(plan.outer))
            return map(_arrays, measure(plan, [sources[number] for number in missing], advance))

        return list(map(_measured, self._measure_each("cross-validation", settings, sources, compute)))

    def clusters(
        self, sources: Sequence[CandidateFeatures], targets: Targets, clusters: int | None, runs: int, seed: int
    ) -> list[Clustering]:
        """Return the result of :func:`layerzoo.sweeps.clustering.measure_clusters`, with the same arguments."""
        settings = [targets.values, len(targets.names), clusters, runs, seed]

        def compute(missing: list[int]) -> Iterable[_Arrays]:
            clusterings = measure_clusters([sources[number] for number in missing], targets, clusters, runs, seed)
            return (_arrays(clustering.measured) | _of_numbers(clustering.agreement) for clustering in clusterings)

        return [
            Clustering(_measured(arrays), _numbers(arrays))
            for arrays in self._measure_each("clusters", settings, sources, compute)
        ]

    def estimates(
        self, sources: Sequence[Vectors], rows: NDArray[np.intp], targets: NDArray[Any], task: str
    ) -> list[dict[str, float]]:
        """Return the result of :func:`layerzoo.sweeps.estimates.estimates` for some rows of each candidate.

        Args:
            sources: the features of each candidate.
            rows: the samples that are used.
            targets: of these samples.
            task: ``classify`` or ``regress``.
        """

        def compute(missing: list[int]) -> Iterable[_Arrays]:
            for number in missing:
                features = np.concatenate([matrix[rows] for matrix in sources[number].matrices], axis=1)
                yield _of_numbers(estimates(features, targets, task))

        return list(map(_numbers, self._measure_each("estimates", [rows, targets, task], sources, compute)))

    def _measure_each(
        self,
        kind: str,
        settings: Iterable[Any],
        sources: Sequence[CandidateFeatures],
        compute: Callable[[list[int]], Iterable[_Arrays]],
    ) -> list[_Arrays]:
        """Return the arrays of each candidate.

        Args:
            kind: of the measurement.
            settings: everything but the features that decides about the result.
            sources: the features of each candidate.
            compute: returns the arrays of the candidates with these numbers.
        """
        if self._cache is False:
            return list(compute(list(range(len(sources)))))
        cache = FeatureCache.on_disk() if self._cache is True else self._cache
        try:
            shared = _digest([kind, _KEY_VERSION, *map(version, _LIBRARIES), *settings])
            keys = [_digest([shared, *source.content()]) for source in sources]
            stored = {key: load(entry) for key, entry in cache.entries(keys).items()}
            missing = [number for number, key in enumerate(keys) if key not in stored]
            for number, arrays in zip(missing, compute(missing), strict=True):
                cache.put_entry(keys[number], save(arrays), model="", layer=kind)
                stored[keys[number]] = arrays
        finally:
            if self._cache is True:
                cache.close()
            else:
                cache.save()
        return [stored[key] for key in keys]


def _digest(parts: Iterable[Any]) -> bytes:
    """Return the sha256 of arrays, with their types and shapes, and of other values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            data = part if isinstance(part, bytes) else repr(part).encode()
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _arrays(measured: Measured) -> _Arrays:
    arrays: _Arrays = {name: np.asarray(getattr(measured, name)) for name in _ARRAYS}
    for name in _ARRAYS_OF_FOLDS:
        arrays |= {f"{name}.{fold}": np.ascontiguousarray(part) for fold, part in enumerate(getattr(measured, name))}
    return arrays


def _measured(arrays: _Arrays) -> Measured:
    def of_folds(name: str) -> list[NDArray[Any]]:
        count = sum(key.startswith(f"{name}.") for key in arrays)
        return [arrays[f"{name}.{fold}"] for fold in range(count)]

    return Measured(
        scores=arrays["scores"],
        inner=arrays["inner"],
        predictions=of_folds("predictions"),
        strength=arrays["strength"].item(),
        confidence=of_folds("confidence"),
    )


def _of_numbers(numbers: Mapping[str, float]) -> _Arrays:
    return {f"{_NUMBER}{name}": np.asarray(value) for name, value in numbers.items()}


def _numbers(arrays: _Arrays) -> dict[str, float]:
    return {key.removeprefix(_NUMBER): arrays[key].item() for key in arrays if key.startswith(_NUMBER)}
