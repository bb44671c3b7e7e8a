"""Measure how well features fall into clusters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from layerzoo.errors import InputError
from layerzoo.heads.targets import Targets
from layerzoo.sweeps.evaluation import CandidateFeatures, Measured

_MOST_CLUSTERS = 10
_SILHOUETTE_ROWS = 2_000
"""Rows for the silhouette, whose time grows with the square of their number."""


class Clustering(NamedTuple):
    """The result of one candidate.

    Attributes:
        measured: the silhouettes, and the clusters of the best of all runs as its only predictions.
        agreement: ``clusters``, their number; ``ari`` and ``nmi`` if there are classes.
    """

    measured: Measured
    agreement: Mapping[str, float]


def measure_clusters(
    sources: Sequence[CandidateFeatures], targets: Targets, clusters: int | None, runs: int, seed: int
) -> list[Clustering]:
    """Cluster the features of each candidate with k-means, from several random starts.

    Args:
        sources: the features of each candidate.
        targets: classes to compare the clusters with; without values, there are none.
        clusters: their number. None: that of the classes, else the number from 2 to 10 with the highest silhouette.
        runs: random starts; the spread of the silhouette is over them.
        seed: of the first start.
    Raises: InputError for fewer samples than clusters.
    """
    results = []
    for source in sources:
        rows = np.arange(_count(source, targets))
        features, _ = source.prepared(rows, rows[:1])
        count = clusters or len(targets.names) or _best_count(features, seed)
        if features.shape[0] <= count:
            raise InputError(f"{features.shape[0]} samples cannot form {count} clusters. Next: fewer clusters")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
            labellings = [KMeans(count, n_init=3, random_state=seed + run).fit_predict(features) for run in range(runs)]
        scores = np.array([_silhouette(features, labels, seed) for labels in labellings])
        agreement = {"clusters": float(count)}
        if len(targets.values):
            pairs = [(targets.values, labels) for labels in labellings]
            agreement["ari"] = float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))
            agreement["nmi"] = float(np.mean([normalized_mutual_info_score(*pair) for pair in pairs]))
        measured = Measured(scores, scores, [labellings[int(scores.argmax())]], float(count))
        results.append(Clustering(measured, agreement))
    return results


def _count(source: Any, targets: Targets) -> int:
    """Return the number of samples."""
    if len(targets.values):
        return len(targets.values)
    return len(source.matrices[0]) if hasattr(source, "matrices") else len(source.texts)


def _best_count(features: Any, seed: int) -> int:
    most = min(_MOST_CLUSTERS, features.shape[0] - 1)
    if most < 2:
        raise InputError(f"{features.shape[0]} samples cannot be clustered")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = {
            count: _silhouette(features, KMeans(count, n_init=1, random_state=seed).fit_predict(features), seed)
            for count in range(2, most + 1)
        }
    return max(scores, key=lambda count: scores[count])


def _silhouette(features: Any, labels: NDArray[Any], seed: int) -> float:
    """Return the mean silhouette; -1 if all samples are in one cluster."""
    count = len(labels)
    if not 1 < len(np.unique(labels)) < count:
        return -1.0
    size = _SILHOUETTE_ROWS if count > _SILHOUETTE_ROWS else None
    return float(silhouette_score(features, labels, sample_size=size, random_state=seed))
