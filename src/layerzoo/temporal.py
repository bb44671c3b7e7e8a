"""Temporal poolings: from a sequence of vectors in time to one vector.

With the vectors x_1 … x_T of the frames of a video, the windows of a recording or the chunks of a text:

=============== ============================================================ ========= ==========================
pooling         formula                                                      width     reversed sequence
=============== ============================================================ ========= ==========================
``mean``        m = (x_1 + … + x_T) / T                                      C         equal
``max``         the largest value of each channel                            C         equal
``last``        x_T                                                          C         differs
``statistics``  m, then √(Σ (x_t - m)² / T)                                  2 C       equal
``ema:A``       y_1 = x_1, y_t = A x_t + (1 - A) y_(t-1); the result is y_T  C         differs
``delta``       (x_T - x_1) / (T - 1), which is the mean of x_(t+1) - x_t    C         the sign changes
``pyramid:N``   the means of 2^l equal segments, for l = 0 … N - 1           (2^N-1) C segments in reversed order
``dct:N``       c_k = Σ x_t cos(π k (t - ½) / T) / T, for k = 0 … N - 1      N C       the sign of odd k changes
``rank``        the direction u along which the vectors are ordered in time  C         differs
``none``        x_1 … x_T                                                    T × C     reversed
=============== ============================================================ ========= ==========================

All of them compute in float64. A sequence of one vector is allowed: its ``delta`` is 0, and so are the ``dct``
coefficients with k ≥ T.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from layerzoo.errors import PoolingError
from layerzoo.pooling import TemporalChoice, parse_temporal_pool

__all__ = ["pool_sequence"]

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]


def pool_sequence(sequence: ArrayLike, pool: str | TemporalChoice) -> FloatArray:
    """Pool a sequence of vectors over time.

    Args:
        sequence: (time, channel) numbers, at least one vector, in the order of time.
        pool: the name of a temporal pooling, with its number if it has one: ``mean``, ``max``, ``last``,
            ``statistics``, ``ema:0.2``, ``delta``, ``pyramid:3``, ``dct:4``, ``rank`` or ``none``.
    Returns: (width,) float32, see the module for the width; (time, channel) for ``none``.
    Raises: PoolingError for an unknown pooling, or for an array that is no sequence of vectors.

    >>> from layerzoo.temporal import pool_sequence
    >>> pool_sequence([[0, 1], [2, 1], [4, 4]], "delta").tolist()
    [2.0, 1.5]
    """
    choice = parse_temporal_pool(pool) if isinstance(pool, str) else pool
    values = np.asarray(sequence, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise PoolingError(
            f"a sequence has the axes (time, channel) and at least one vector, and this has the shape {values.shape}"
        )
    return _POOLINGS[choice.name](values, choice.number).astype(np.float32)


def _statistics(values: DoubleArray, _: float) -> DoubleArray:
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def _ema(values: DoubleArray, weight: float) -> DoubleArray:
    """Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1959, eq. 1. It is
    ``DataFrame.ewm(alpha=A, adjust=False).mean()`` of pandas at the end of the sequence."""
    age = np.arange(len(values) - 1, -1, -1)
    share = np.where(age == age[0], 1, weight) * (1 - weight) ** age
    pooled: DoubleArray = share @ values
    return pooled


def _delta(values: DoubleArray, _: float) -> DoubleArray:
    difference: DoubleArray = (values[-1] - values[0]) / max(1, len(values) - 1)
    return difference


def _pyramid(values: DoubleArray, levels: float) -> DoubleArray:
    """Pirsiavash and Ramanan, "Detecting activities of daily living in first-person camera views", CVPR 2012, sec. 4.

    A segment whose ends lie within a vector includes it, as in ``torch.nn.functional.adaptive_avg_pool1d``: segment k
    of n has the vectors from floor(k T / n) to before ceil((k + 1) T / n), so that no segment is empty.
    """
    length = len(values)
    return np.concatenate(
        [
            values[k * length // n : -(-(k + 1) * length // n)].mean(axis=0)
            for n in (2**level for level in range(int(levels)))
            for k in range(n)
        ]
    )


def _dct(values: DoubleArray, count: float) -> DoubleArray:
    """Ahmed, Natarajan and Rao, "Discrete Cosine Transform", IEEE Transactions on Computers 1974, eq. 1.

    The sum is divided by T, so that the first coefficient is the mean, and sequences of different lengths are
    comparable. It is ``scipy.fft.dct(values, axis=0)[:N] / (2 * T)``.
    """
    length = len(values)
    k, time = np.arange(int(count))[:, None], np.arange(length)[None, :] + 0.5
    basis = np.cos(np.pi * k * time / length) / length
    basis[length:] = 0  # a sequence has as many frequencies as vectors
    return (basis @ values).ravel()


def _rank(values: DoubleArray, _: float) -> DoubleArray:
    """Fernando et al., "Rank Pooling for Action Recognition", TPAMI 2017, eq. 4-6.

    The vectors become v_t, the mean of x_1 … x_t divided by its length. The result minimises
    ½ |u|² + Σ (t - u·v_t)², which is support vector regression with squared loss, C = 1 and no insensitive zone, and
    is then divided by its length. It is ``sklearn.linear_model.Ridge(alpha=0.5, fit_intercept=False)``.
    """
    length, channels = values.shape
    time = np.arange(1, length + 1, dtype=np.float64)
    smooth = values.cumsum(axis=0) / time[:, None]
    smooth = _unit(smooth)
    penalty = 0.5 * np.eye(min(length, channels))
    if length <= channels:
        direction = smooth.T @ np.linalg.solve(smooth @ smooth.T + penalty, time)
    else:
        direction = np.linalg.solve(smooth.T @ smooth + penalty, smooth.T @ time)
    return _unit(direction)


def _unit(vectors: DoubleArray) -> DoubleArray:
    """Divide vectors by their length. Vectors of zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: DoubleArray = vectors / np.where(lengths > 0, lengths, 1)
    return unit


_POOLINGS: dict[str, Callable[[DoubleArray, float], DoubleArray]] = {
    "mean": lambda values, _: values.mean(axis=0),
    "max": lambda values, _: values.max(axis=0),
    "last": lambda values, _: values[-1],
    "statistics": _statistics,
    "ema": _ema,
    "delta": _delta,
    "pyramid": _pyramid,
    "dct": _dct,
    "rank": _rank,
    "none": lambda values, _: values,
}
