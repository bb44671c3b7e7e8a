"""The measures of the demo: scikit-learn on a feature matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from examples.results import FloatArray, Score
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

FOLDS = 5


def score_of_vectors(vectors: FloatArray, labels: Sequence[str]) -> Score:
    """Return the cross-validated accuracy of a logistic regression on standardised vectors.

    Hundreds of features and a few thousand rows overfit at scikit-learn's C = 1, so C is 0.01 for all layers.
    """
    return _score(make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)), vectors, labels)


def score_of_words(texts: Sequence[str], labels: Sequence[str]) -> Score:
    """Return the accuracy of a logistic regression on TF-IDF word counts, without a network."""
    return _score(make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=1000)), texts, labels)


def score_of_majority(labels: Sequence[str]) -> Score:
    """Return the accuracy of always predicting the most frequent label."""
    return _score(DummyClassifier(strategy="most_frequent"), np.zeros((len(labels), 1)), labels)


def nearest_has_same_class(vectors: FloatArray, classes: Sequence[str]) -> list[bool]:
    """Return, for each row of (n, m), whether the other row with the greatest cosine has the same class."""
    similarity = cosine_similarity(vectors)
    np.fill_diagonal(similarity, -np.inf)
    return [classes[nearest] == label for nearest, label in zip(similarity.argmax(axis=1), classes, strict=True)]


def chance_of_same_class(classes: Sequence[str]) -> float:
    """Return the probability that another row, drawn at random, has the same class."""
    return sum(count * (count - 1) for count in Counter(classes).values()) / (len(classes) * (len(classes) - 1))


def closest_pair(vectors: FloatArray) -> tuple[int, int, float]:
    """Return the two rows with the greatest cosine, and that cosine."""
    similarity = np.triu(cosine_similarity(vectors), k=1)
    first, second = np.unravel_index(similarity.argmax(), similarity.shape)
    return int(first), int(second), float(similarity[first, second])


def grid_positions(vectors: FloatArray, columns: int) -> NDArray[np.intp]:
    """(n, m) → (n, 2): assign each vector a row and a column, so that similar vectors are near each other.

    t-SNE maps the vectors to the plane. Its points are assigned to grid cells with the smallest sum of squared moves.
    """
    rows = -(-len(vectors) // columns)
    cells = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    tsne = TSNE(metric="cosine", init="random", perplexity=min(5, len(vectors) / 4), random_state=0)
    plane = tsne.fit_transform(vectors)
    spread = (rankdata(plane, axis=0) - 0.5) / len(vectors) * [rows, columns] - 0.5
    moves = ((spread[:, None] - cells) ** 2).sum(axis=-1)
    positions: NDArray[np.intp] = cells[linear_sum_assignment(moves)[1]]
    return positions


def _score(classifier: Any, rows: Any, labels: Sequence[str]) -> Score:
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with threadpool_limits(1):  # on matrices this small, threads wait for each other: 0.3 s alone, 2.4 s with two
        scores = cross_val_score(classifier, rows, labels, cv=folds)
    return Score(float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(FOLDS)))
