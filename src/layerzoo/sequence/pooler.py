"""Temporal pooling as a step of a scikit-learn pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from layerzoo.errors import SequenceDataError
from layerzoo.pooling import parse_temporal_pool
from layerzoo.sequence.data import as_sequences
from layerzoo.temporal import pool_sequence


class TemporalPooler(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Pool sequences over time, so that any classical model can be fitted on them.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> rising, falling = [[0.0], [1.0], [2.0]], [[2.0], [1.0], [0.0]]
    >>> model = make_pipeline(TemporalPooler("delta"), LogisticRegression())
    >>> model.fit([rising, falling], ["up", "down"]).predict([[[5.0], [6.0]]]).tolist()
    ['up']
    """

    def __init__(self, pool: str = "mean") -> None:
        """Choose a pooling.

        Args:
            pool: the name of a temporal pooling except ``none``, with its number if it has one: see
                :func:`layerzoo.temporal.pool_sequence`.
        """
        self.pool = pool

    def fit(self, X: Any, y: Any = None) -> TemporalPooler:
        """Check the sequences and the pooling.

        Args:
            X: sequences, in a form that :func:`layerzoo.sequence.data.as_sequences` takes.
            y: ignored.
        Raises: PoolingError, SequenceDataError.
        """
        if parse_temporal_pool(self.pool).width_factor is None:
            raise SequenceDataError("pool='none' keeps the sequences, and a pooler returns one vector of each")
        self.n_features_in_ = _sequences(X)[0].shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return (sample, width) float32: the pooled vector of each sequence.

        Args:
            X: sequences, in a form that :func:`layerzoo.sequence.data.as_sequences` takes.
        Raises: PoolingError, SequenceDataError.
        """
        choice = parse_temporal_pool(self.pool)
        return np.stack([pool_sequence(sequence, choice) for sequence in _sequences(X)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.requires_fit = False
        return tags


def _sequences(inputs: Any) -> NDArray[Any]:
    sequences = as_sequences(inputs)
    if sequences is None:
        raise SequenceDataError(
            "a pooler takes sequences: a list of arrays (time, channel), or Features with temporal_pool='none'"
        )
    return sequences
