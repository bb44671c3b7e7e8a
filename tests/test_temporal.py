"""Temporal poolings are exact on sequences that are computed by hand, and equal those of other libraries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import fft
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVR

from layerzoo.errors import PoolingError
from layerzoo.pooling import TEMPORAL_POOLINGS, parse_temporal_pool
from layerzoo.temporal import pool_sequence

HAND: dict[str, list[float]] = {
    "mean": [3, 5],
    "max": [6, 8],
    "last": [6, 2],
    "statistics": [3, 5, np.sqrt(5), np.sqrt(5)],
    "ema:0.5": [0.125 * 0 + 0.125 * 2 + 0.25 * 4 + 0.5 * 6, 0.125 * 4 + 0.125 * 6 + 0.25 * 8 + 0.5 * 2],
    "ema:1": [6, 2],
    "delta": [2, -2 / 3],
    "pyramid:1": [3, 5],
    "pyramid:2": [3, 5, 1, 5, 5, 5],
    "pyramid:3": [3, 5, 1, 5, 5, 5, 0, 4, 2, 6, 4, 8, 6, 2],
    "dct:1": [3, 5],
    "dct:3": [
        *(3, 5),
        *(
            -6 * np.cos(np.pi / 8) / 4 - 2 * np.cos(3 * np.pi / 8) / 4,
            2 * (np.cos(np.pi / 8) - np.cos(3 * np.pi / 8)) / 4,
        ),
        *(0, -8 * np.cos(np.pi / 4) / 4),
    ],
}
"""Of the sequence (0, 4), (2, 6), (4, 8), (6, 2)."""
SEQUENCE = np.array([[0, 4], [2, 6], [4, 8], [6, 2]], np.float32)
INVARIANT = ("mean", "max", "statistics", "pyramid:1", "dct:1")


def random_sequence(length: int, channels: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(length).normal(1, 1, (length, channels)).astype(np.float32)


@pytest.mark.parametrize("pool", HAND)
def test_a_sequence_is_pooled_as_by_hand(pool: str) -> None:
    found = pool_sequence(SEQUENCE, pool)
    np.testing.assert_allclose(found, HAND[pool], rtol=1e-6, atol=1e-7)
    assert found.dtype == np.float32
    assert parse_temporal_pool(pool).width_factor == len(found) // 2


def test_rank_pooling_of_a_line_is_its_direction() -> None:
    np.testing.assert_allclose(
        pool_sequence([[5, 0], [4, 3], [3, 4], [0, 5]], "rank"), _ridge([[5, 0], [4, 3], [3, 4], [0, 5]])
    )
    np.testing.assert_allclose(pool_sequence([[3, 4]], "rank"), [0.6, 0.8], rtol=1e-6)
    assert np.all(np.isfinite(pool_sequence(np.zeros((3, 2)), "rank")))


def _ridge(sequence: list[list[float]]) -> NDArray[np.float64]:
    values = np.array(sequence, float)
    smooth = np.array([values[: t + 1].mean(axis=0) for t in range(len(values))])
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    direction = Ridge(alpha=0.5, fit_intercept=False).fit(smooth, 1 + np.arange(len(values))).coef_
    return np.asarray(direction / np.linalg.norm(direction))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 33])
def test_temporal_poolings_equal_other_libraries(length: int) -> None:
    values = random_sequence(length).astype(np.float64)
    expected = {
        "ema:0.2": pd.DataFrame(values).ewm(alpha=0.2, adjust=False).mean().iloc[-1],
        "pyramid:3": np.concatenate(
            [torch.nn.functional.adaptive_avg_pool1d(torch.tensor(values.T), n).numpy().T.ravel() for n in (1, 2, 4)]
        ),
        "rank": _ridge(values.tolist()),
        "statistics": np.concatenate([values.mean(0), values.std(0)]),
    }
    spectrum = np.zeros((4, values.shape[1]))
    spectrum[: min(4, length)] = fft.dct(values, axis=0)[:4] / (2 * length)
    expected["dct:4"] = spectrum.ravel()
    if length > 1:
        expected["delta"] = np.diff(values, axis=0).mean(axis=0)
    for pool, vector in expected.items():
        np.testing.assert_allclose(pool_sequence(values, pool), vector, rtol=1e-5, atol=1e-6, err_msg=pool)


def test_rank_pooling_is_support_vector_regression_without_an_insensitive_zone() -> None:
    values = random_sequence(16)
    smooth = values.cumsum(0) / np.arange(1, 17)[:, None]
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    svr = LinearSVR(loss="squared_epsilon_insensitive", epsilon=0, C=1, fit_intercept=False, tol=1e-8, max_iter=100_000)
    direction = svr.fit(smooth, np.arange(1, 17)).coef_
    np.testing.assert_allclose(pool_sequence(values, "rank"), direction / np.linalg.norm(direction), atol=1e-4)


@pytest.mark.parametrize("length", [2, 5, 16])
def test_reversal_changes_exactly_the_poolings_that_respect_order(length: int) -> None:
    forward = random_sequence(length)
    backward = forward[::-1]
    for pool in INVARIANT:
        np.testing.assert_allclose(pool_sequence(forward, pool), pool_sequence(backward, pool), rtol=1e-5, err_msg=pool)
    for pool in ("last", "ema", "delta", "pyramid:2", "dct:2", "rank", "none"):
        assert np.abs(pool_sequence(forward, pool) - pool_sequence(backward, pool)).max() > 1e-2, pool
    np.testing.assert_allclose(pool_sequence(forward, "delta"), -pool_sequence(backward, "delta"), rtol=1e-5)
    spectra = [pool_sequence(each, f"dct:{length}").reshape(length, -1) for each in (forward, backward)]
    signs = np.where(np.arange(length) % 2, -1, 1)[:, None]
    np.testing.assert_allclose(spectra[0], signs * spectra[1], atol=1e-6)
    means = [pool_sequence(each, "pyramid:2").reshape(3, -1) for each in (forward, backward)]
    np.testing.assert_allclose(means[0], means[1][[0, 2, 1]], rtol=1e-5)


@pytest.mark.parametrize(
    "pool", ["", "median", "dct:", "dct:0", "dct:2.5", "dct:65", "ema:0", "ema:2", "mean:3", "ema:nan", "pyramid:9"]
)
def test_a_pooling_that_does_not_exist_is_refused_with_those_that_do(pool: str) -> None:
    with pytest.raises(PoolingError, match=r"after the colon, as in|All: mean, max|has no number"):
        parse_temporal_pool(pool)


@pytest.mark.parametrize("name", TEMPORAL_POOLINGS)
def test_a_sequence_of_one_vector_can_be_pooled_and_an_empty_one_not(name: str) -> None:
    assert np.isfinite(pool_sequence(np.ones((1, 3)), name)).all()
    for empty in (np.empty((0, 3)), np.ones(3)):
        with pytest.raises(PoolingError, match="at least one vector"):
            pool_sequence(empty, name)
