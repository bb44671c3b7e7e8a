"""A linear model on standardized features: logistic regression for classes, ridge regression for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from layerzoo.errors import UsageError
from layerzoo.sequence.storage import labels_from_plain, plain_labels

Task = Literal["classify", "regress"]
DoubleArray = NDArray[np.float64]


def linear_estimator(task: Task) -> Pipeline:
    """Return the estimator of scikit-learn that a linear head is fitted with, for cross-validation too."""
    last = LogisticRegression(max_iter=2000) if task == "classify" else Ridge()
    return make_pipeline(StandardScaler(), last)


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """A fitted linear model, as plain arrays.

    >>> head = LinearHead.fit(np.array([[0.0], [1.0], [4.0], [5.0]]), np.array(["a", "a", "b", "b"]), "classify")
    >>> head.predict(np.array([[-1.0], [6.0]])).tolist()
    ['a', 'b']
    """

    weights: DoubleArray
    """(channel, output), for features as they are."""
    bias: DoubleArray
    """(output,)"""
    classes: NDArray[Any] | None = None
    """The labels of a classifier, in the order of its probabilities; None for a regressor."""

    @classmethod
    def fit(cls, X: NDArray[Any], y: NDArray[Any], task: Task) -> Self:
        """Fit a head on features.

        Args:
            X: (sample, channel).
            y: (sample,) labels or numbers.
            task: ``classify`` or ``regress``.
        """
        scaler, model = linear_estimator(task).fit(X, y).named_steps.values()
        coefficients = np.atleast_2d(model.coef_) / scaler.scale_
        bias = np.atleast_1d(model.intercept_) - coefficients @ scaler.mean_
        return cls(coefficients.T, bias, model.classes_ if task == "classify" else None)

    def predict_proba(self, X: NDArray[Any]) -> DoubleArray:
        """Return (sample, class) probabilities, in the order of ``classes``.

        Args:
            X: (sample, channel).
        Raises: UsageError for a regressor.
        """
        if self.classes is None:
            raise UsageError("a regressor has no probabilities")
        scores = self._outputs(X)
        if scores.shape[1] == 1:  # of two classes, scikit-learn keeps one score
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: DoubleArray = shares / shares.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return (sample,) labels, or numbers for a regressor.

        Args:
            X: (sample, channel).
        """
        if self.classes is None:
            return self._outputs(X)[:, 0]
        labels: NDArray[Any] = self.classes[self.predict_proba(X).argmax(axis=1)]
        return labels

    def _outputs(self, features: NDArray[Any]) -> DoubleArray:
        outputs: DoubleArray = np.asarray(features, np.float64) @ self.weights + self.bias
        return outputs

    def to_plain(self) -> dict[str, Any]:
        """Return the labels as JSON-able data."""
        return {"classes": None if self.classes is None else plain_labels(self.classes)}

    def to_arrays(self) -> dict[str, DoubleArray]:
        """Return the numbers of the head, by name."""
        return {"weights": self.weights, "bias": self.bias}

    @classmethod
    def from_plain(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, device: str = "cpu") -> Self:
        """Return the head of :meth:`to_plain` and :meth:`to_arrays`. device: ignored; numpy computes it."""
        classes = None if facts["classes"] is None else labels_from_plain(facts["classes"])
        return cls(arrays["weights"], arrays["bias"], classes)
