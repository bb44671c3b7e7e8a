"""Estimate without training how well labels can be predicted from features, and how similar layers are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestCentroid

DoubleArray = NDArray[np.float64]
_ROUNDS, _CLOSE = 11, 1e-3
"""Of the fixed-point iteration of LogME, as its authors publish it."""


def estimates(features: NDArray[np.float32], targets: NDArray[np.intp], task: str) -> dict[str, float]:
    """Return estimates by name. A higher one promises a better score.

    Args:
        features: (sample, channel).
        targets: (sample,) numbers of classes, or values.
        task: ``classify`` or ``regress``.
    Returns: ``logme``; of classes also ``h_score`` and ``nearest_centroid``, a cross-validated accuracy.
    """
    values = {"logme": log_me(features, outputs_of(targets, task))}
    if task == "regress":
        return values
    values["h_score"] = h_score(features, targets)
    if np.bincount(targets)[np.unique(targets)].min() >= 3:
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", UserWarning)  # a feature may be constant within the classes
            values["nearest_centroid"] = float(cross_val_score(NearestCentroid(), features, targets, cv=3).mean())
    return values


def outputs_of(targets: NDArray[Any], task: str) -> DoubleArray:
    """Return (sample, output) targets of a linear model: values, or a one for the class of each sample.

    Args:
        targets: (sample,) numbers of classes, or values.
        task: ``classify`` or ``regress``.
    """
    column = targets[:, None]
    return np.asarray(column if task == "regress" else column == np.unique(targets), np.float64)


def log_me(features: NDArray[np.float32], targets: DoubleArray) -> float:
    """Return the log of the maximum evidence of a linear model, for each sample, as the mean over the outputs.

    Args:
        features: (sample, channel).
        targets: (sample, output).
    Source: You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021, with the
        fixed-point iteration of "Ranking and Tuning Pre-trained Models", JMLR 2022.
    """
    n, d = features.shape
    u, s, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    squares = s**2
    evidences = []
    for target in targets.T:
        projected = (u.T @ target) ** 2
        outside = max(float(target @ target - projected.sum()), 0.0)
        alpha = beta = 1.0
        for _ in range(_ROUNDS):
            ratio = alpha / beta
            gamma = float((squares / (squares + ratio)).sum())
            weights = float((squares * projected / (squares + ratio) ** 2).sum())
            residual = float((projected / (1 + squares / ratio) ** 2).sum()) + outside
            alpha, beta = gamma / (weights + 1e-5), (n - gamma) / (residual + 1e-5)
            if abs(alpha / beta - ratio) / ratio <= _CLOSE:
                break
        ratio = alpha / beta
        weights = float((squares * projected / (squares + ratio) ** 2).sum())
        residual = float((projected / (1 + squares / ratio) ** 2).sum()) + outside
        evidence = d * np.log(alpha) + n * np.log(beta) - np.log(alpha + beta * squares).sum()
        evidence -= (d - len(squares)) * np.log(alpha) + beta * residual + alpha * weights + n * np.log(2 * np.pi)
        evidences.append(evidence / (2 * n))
    return float(np.mean(evidences))


def h_score(features: NDArray[np.float32], targets: NDArray[np.intp]) -> float:
    """Return the H-score with a shrunk covariance: the variance between the classes, measured with all variance.

    Args:
        features: (sample, channel).
        targets: (sample,) numbers of classes.
    Source: Ibrahim, Ponomareva, Mazumder, "Newer is not always better: Rethinking transferability metrics", ECML 2022.
    """
    centred = features.astype(np.float64) - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    means = np.zeros_like(centred)
    for number in np.unique(targets):
        means[targets == number] = centred[targets == number].mean(axis=0)
    between = means.T @ means / (len(centred) - 1)
    return float(np.trace(np.linalg.pinv(covariance, hermitian=True) @ ((1 - shrinkage) * between)))


def linear_cka(layers: Sequence[NDArray[np.float32]]) -> DoubleArray:
    """Return the similarity of each pair of layers, from 0 to 1: linear centred kernel alignment.

    Args:
        layers: (sample, channel) of each.
    Returns: (layer, layer).
    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, eq. 4.
    """
    centred = [layer - layer.mean(axis=0) for layer in layers]
    scaled = [layer / max(float(np.abs(layer).max()), 1e-30) for layer in centred]
    norms = [float(np.linalg.norm(layer.T @ layer)) for layer in scaled]
    table = np.eye(len(layers))
    for row, layer in enumerate(scaled):
        for column in range(row):
            product = float(np.linalg.norm(scaled[column].T @ layer)) ** 2
            scale = norms[row] * norms[column]
            table[row, column] = table[column, row] = product / scale if scale else 0.0
    return table
