"""Estimates without training have the values of other implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from layerzoo.heads.targets import targets_of
from layerzoo.sweeps.clustering import measure_clusters
from layerzoo.sweeps.estimates import estimates, h_score, linear_cka, log_me
from layerzoo.sweeps.evaluation import Vectors
from layerzoo.sweeps.previews import log_mel, mel_filters


def data(n: int, d: int, k: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    random, targets = np.random.default_rng(0), np.arange(n) % k
    return (random.normal(size=(n, d)) + 1.5 * np.eye(k, d)[targets]).astype(np.float32), targets


@pytest.mark.parametrize(
    ("size", "evidence", "shrunk"),
    [((120, 20, 3), -0.7380907148, 0.3521678804), ((300, 64, 5), -0.5338280804, 0.2595702579)],
)
def test_logme_and_h_score_have_the_values_of_transformer_ranker(
    size: tuple[int, int, int], evidence: float, shrunk: float
) -> None:
    features, targets = data(*size)  # transformer-ranker 0.2.0 gives these numbers for them
    assert log_me(features, np.eye(size[2])[targets]) == pytest.approx(evidence, abs=1e-6)
    assert h_score(features, targets) == pytest.approx(shrunk, abs=1e-6)


@pytest.mark.parametrize("size", [(40, 8, 2), (30, 50, 2)])
def test_logme_is_the_largest_evidence_of_a_linear_model(size: tuple[int, int, int]) -> None:
    features = data(*size)[0]
    values = features[:, 0] + np.random.default_rng(1).normal(size=size[0])
    products = features.astype(float) @ features.T

    def negative_evidence(logarithms: NDArray[Any]) -> float:
        alpha, beta = np.exp(logarithms)
        covariance = products / alpha + np.eye(size[0]) / beta
        return -float(multivariate_normal(np.zeros(size[0]), covariance).logpdf(values)) / size[0]

    best = -minimize(negative_evidence, np.zeros(2), method="Nelder-Mead").fun
    assert log_me(features, values[:, None]) == pytest.approx(best, abs=2e-3)


def test_better_features_have_higher_estimates() -> None:
    features, targets = data(120, 20, 3)
    noise = np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
    good, bad = estimates(features, targets, "classify"), estimates(noise, targets, "classify")
    assert all(good[name] > bad[name] for name in ("logme", "h_score", "nearest_centroid"))


def test_cka_is_the_normalized_covariance_of_the_gram_matrices() -> None:
    one, _ = data(30, 5, 2)
    other = one @ np.random.default_rng(3).normal(size=(5, 9)).astype(np.float32)
    centering = np.eye(30) - 1 / 30
    left, right = (centering @ (layer.astype(float) @ layer.T) @ centering for layer in (one, other))
    reference = (left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum())
    table = linear_cka([one, other, 3 * one])
    assert table[0, 1] == pytest.approx(reference, rel=1e-4)
    assert table[0, 2] == pytest.approx(1.0, rel=1e-5)


def test_clusters_agree_with_classes_that_are_far_apart() -> None:
    features, targets = data(60, 6, 3)
    features += 10 * np.eye(3, 6, dtype=np.float32)[targets]
    ((measured, agreement),) = measure_clusters(
        [Vectors([features])], targets_of(targets.astype(str).tolist(), "cluster"), None, 2, 0
    )
    assert measured.mean > 0.2
    assert agreement["ari"] == adjusted_rand_score(targets, measured.predictions[0]) == 1.0


def test_mel_filters_are_those_of_torchaudio() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    reference = functional.melscale_fbanks(257, 0.0, 8000.0, 64, 16000, mel_scale="htk").numpy().T
    np.testing.assert_allclose(mel_filters(257), reference, atol=1e-4)
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    loudest = int(log_mel(tone).mean(axis=1).argmax())
    assert reference[loudest, 32] > 0.3  # bin 32 of 257 is 1000 Hz
