"""Measure how well labels can be predicted from features, by nested cross-validation."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, r2_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from layerzoo.errors import InputError
from layerzoo.heads.folds import kind_of_folds, most_folds
from layerzoo.media.limits import usable_cores

Rows = NDArray[np.intp]
Split = tuple[Rows, Rows]
"""The rows to fit on, and the rows to score."""
_STRENGTHS: Mapping[str, Sequence[float]] = {
    "classify": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "multilabel": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "regress": (1e5, 1e4, 1e3, 1e2, 1e1, 1.0),
}
"""The values of C, or of alpha for ridge regression, from the strongest regularization to the weakest."""
_COMPONENTS = 256
"""The most principal components of concatenated layers."""
_REPEATED = 20
"""After so many repetitions without a new split, no further one is tried."""
_LEAST = 3
"""The fewest sources of a class: the folds outside need one to score, those inside one to fit and one to choose."""


class CandidateFeatures(Protocol):
    """Features of all samples, or anything that becomes features."""

    def prepared(self, fit: Rows, score: Rows) -> tuple[Any, Any]:
        """Return the features of two sets of rows, scaled by the statistics of the first set only."""

    def content(self) -> Sequence[Any]:
        """Return all that the features are prepared from: arrays and values."""


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Feature vectors."""

    matrices: Sequence[NDArray[np.float32]]
    """(sample, channel); several are put side by side."""
    reduce: bool = False
    """Whether principal components are used instead."""

    def prepared(self, fit: Rows, score: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return standardized features."""
        parts = [_standardized(matrix, fit, score) for matrix in self.matrices]
        fit_features, score_features = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
        if not self.reduce:
            return fit_features, score_features
        count = min(_COMPONENTS, *fit_features.shape)
        pca = PCA(count, svd_solver="randomized", random_state=0).fit(fit_features)
        scale = float(np.sqrt(pca.explained_variance_.mean())) or 1.0  # the mean variance is 1, as of a layer
        return pca.transform(fit_features) / scale, pca.transform(score_features) / scale

    def content(self) -> Sequence[Any]:
        return ["vectors", self.reduce, *self.matrices]


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Texts, as counts of their words."""

    texts: Sequence[str]

    def prepared(self, fit: Rows, score: Rows) -> tuple[Any, Any]:
        """Return weighted counts of the words that occur in the first set."""
        vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\S+")
        fit_features = vectorizer.fit_transform([self.texts[row] for row in fit])
        # A row has length 1, and standardized features have the root of their number.
        scale = np.sqrt(fit_features.shape[1])
        return fit_features * scale, vectorizer.transform([self.texts[row] for row in score]) * scale

    def content(self) -> Sequence[Any]:
        return ["words", *self.texts]


def _standardized(
    matrix: NDArray[np.float32], fit: Rows, score: Rows
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scaler = StandardScaler(copy=False)
    return scaler.fit_transform(matrix[fit]), scaler.transform(matrix[score])


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The folds of a nested cross-validation."""

    task: str
    """``classify``, ``multilabel`` or ``regress``."""
    targets: NDArray[Any]
    """(sample,) numbers of classes or values; (sample, label) zeros and ones."""
    outer: Sequence[Split]
    """The folds of every repetition, each once. The score is measured on them."""
    inner: Sequence[Sequence[Split]]
    """For each outer fold, splits of its rows to fit on. Layers and strengths are chosen on them."""
    folds: int
    repeats: int
    """The number of repetitions whose splits differ."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The result of one candidate."""

    scores: NDArray[np.float64]
    """(outer fold,) scores of rows that nothing was fitted or chosen on."""
    inner: NDArray[np.float64]
    """(outer fold,) mean scores of the inner folds, at the best strength."""
    predictions: Sequence[NDArray[Any]]
    """For each outer fold, the predictions of its rows to score."""
    strength: float
    """The strength that was chosen most often."""
    confidence: Sequence[NDArray[Any]] = ()
    """For each outer fold, the probabilities of the predicted classes; empty for other tasks."""

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        return float(self.scores.std(ddof=1))

    def standard_error(self, folds: int) -> float:
        """Return the standard error of the mean score. folds: of one repetition."""
        return self.std / float(np.sqrt(folds))


def plan_folds(
    task: str, targets: NDArray[Any], groups: NDArray[Any] | None, *, folds: int, repeats: int, seed: int
) -> Plan:
    """Plan a nested cross-validation.

    Few sources have few splits: with as many groups as folds, there is only one. A fold that repeats an earlier one is
    no new observation, so each is measured once, and there may be fewer repetitions than asked for.

    Args:
        task: ``classify``, ``multilabel`` or ``regress``.
        targets: see :attr:`Plan.targets`.
        groups: (sample,) the source of each sample, all in one fold. None: each sample is a separate source.
        folds: at most; fewer where a class has fewer sources.
        repeats: of the outer folds, each with other random splits, at most.
        seed: of the splits.
    Raises: InputError for too few samples.
    """
    rows = np.arange(len(targets))
    count = _folds(task, targets, groups, folds)
    outer: list[Split] = []
    inner: list[list[Split]] = []
    measured_folds: set[bytes] = set()
    repetitions = attempts = since = 0
    while repetitions < repeats and since < _REPEATED:
        splits = _splits(task, targets, groups, rows, count, seed + attempts)
        new = [(fit, score) for fit, score in splits if score.tobytes() not in measured_folds]
        measured_folds |= {score.tobytes() for _, score in new}
        attempts, repetitions, since = attempts + 1, repetitions + bool(new), 0 if new else since + 1
        for fit, score in new:
            inside = None if groups is None else groups[fit].tolist()
            inner_count = min(count, most_folds(task, targets[fit], inside))
            if inner_count < 2:
                raise InputError(
                    "the groups leave too few sources of a class for a choice inside the folds. Next: fewer folds, or "
                    "more sources for each class"
                )
            outer.append((fit, score))
            inner.append(list(_splits(task, targets, groups, fit, inner_count, seed)))
    return Plan(task, targets, outer, inner, count, repetitions)


def _folds(task: str, targets: NDArray[Any], groups: NDArray[Any] | None, requested: int) -> int:
    """Return the number of folds. Raises: InputError where nested folds are impossible."""
    most = most_folds(task, targets, None if groups is None else groups.tolist())
    sources = "groups" if groups is not None else "samples"
    least = _LEAST if task == "classify" else 2
    if most < least:
        of = "a class" if task == "classify" else "the data"
        raise InputError(
            f"{of} has too few {sources} for nested cross-validation, which needs "
            f"{_LEAST if task == 'classify' else 4} at least. Next: more labelled samples, or without the rare classes"
        )
    return min(requested, most)


def _splits(
    task: str, targets: NDArray[Any], groups: NDArray[Any] | None, rows: Rows, folds: int, seed: int
) -> Iterator[Split]:
    """Yield the splits of some rows."""
    options = {"shuffle": True, "random_state": seed}
    row_groups = None if groups is None else groups[rows]
    kind = kind_of_folds(task, are_grouped=groups is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class may have fewer samples than folds in its groups
        for fit, score in kind(folds, **options).split(rows, targets[rows], row_groups):
            yield rows[fit], rows[score]


def measure(
    plan: Plan, sources: Sequence[CandidateFeatures], advance: Callable[[int], None] = lambda count: None
) -> list[Measured]:
    """Measure candidates.

    Args:
        plan: the folds.
        sources: the features of each candidate.
        advance: called with the number of candidates that were just finished in one fold.
    """
    work = [(source, fold) for source in sources for fold in range(len(plan.outer))]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)  # a label without positive samples in a fold
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        jobs = (delayed(_fold)(plan, source, fold) for source, fold in work)
        results = []
        for result in Parallel(usable_cores(), require="sharedmem", return_as="generator")(jobs):
            results.append(result)
            advance(1)
    folds = len(plan.outer)
    return [_joined(results[start : start + folds]) for start in range(0, len(results), folds)]


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    score: float
    inner: float
    strength: float
    predictions: NDArray[Any]
    confidence: NDArray[Any] | None


def _joined(folds: Sequence[_Fold]) -> Measured:
    return Measured(
        np.array([fold.score for fold in folds]),
        np.array([fold.inner for fold in folds]),
        [fold.predictions for fold in folds],
        Counter(fold.strength for fold in folds).most_common(1)[0][0],
        [fold.confidence for fold in folds if fold.confidence is not None],
    )


def _fold(plan: Plan, source: CandidateFeatures, number: int) -> _Fold:
    """Choose the strength on the inner folds, fit on all rows but those to score, and score."""
    fit, score = plan.outer[number]
    fit_features, score_features = source.prepared(fit, score)
    strengths = _STRENGTHS[plan.task]
    position = np.full(len(plan.targets), -1)
    position[fit] = np.arange(len(fit))
    table = [
        _path(plan.task, fit_features, position[inside], position[outside], plan.targets, inside, outside)
        for inside, outside in plan.inner[number]
    ]
    means = np.mean(table, axis=0)
    equal = np.flatnonzero(means >= means.max() - 1e-12)
    best = int(equal[len(equal) // 2])  # with few samples many are equal: neither the strongest nor the weakest
    model = _estimator(plan.task, strengths[best]).fit(fit_features, plan.targets[fit])
    # With one label, the shape is (sample, 1).
    predictions = model.predict(score_features).reshape(len(score), *plan.targets.shape[1:])
    confidence = model.predict_proba(score_features).max(axis=1) if plan.task == "classify" else None
    reached = _score(plan.task, plan.targets[score], predictions)
    return _Fold(reached, float(means[best]), strengths[best], predictions, confidence)


def _path(
    task: str, features: Any, fit: Rows, score: Rows, targets: NDArray[Any], fit_rows: Rows, score_rows: Rows
) -> list[float]:
    """Return the score of each strength on one inner split. Each fit starts from the one before."""
    fit_features, score_features = features[fit], features[score]
    if task == "classify" and len(np.unique(targets[fit_rows])) < 2:
        return [0.0] * len(_STRENGTHS[task])
    model = _estimator(task, _STRENGTHS[task][0])
    scores = []
    for strength in _STRENGTHS[task]:
        model.set_params(**{_parameter(task): strength}).fit(fit_features, targets[fit_rows])
        scores.append(_score(task, targets[score_rows], model.predict(score_features)))
    return scores


def _parameter(task: str) -> str:
    return {"classify": "C", "multilabel": "estimator__C", "regress": "alpha"}[task]


def _estimator(task: str, strength: float) -> Any:
    """Return the model of a task. The tolerance is that at which scores no longer change in the third digit."""
    if task == "regress":
        return Ridge(strength)
    logistic = LogisticRegression(C=strength, tol=1e-3, max_iter=500, warm_start=True)
    return OneVsRestClassifier(logistic) if task == "multilabel" else logistic


def _score(task: str, targets: NDArray[Any], predictions: NDArray[Any]) -> float:
    if task == "regress":
        return float(r2_score(targets, predictions))
    if task == "multilabel":
        return float(f1_score(targets, predictions, average="micro", zero_division=0.0))
    return float(accuracy_score(targets, predictions))


def select(candidates: Sequence[Measured], compared: NDArray[np.bool_] | None = None) -> tuple[Measured, list[int]]:
    """Select a candidate inside each outer fold, by its inner folds, and return the score of this selection.

    Args:
        candidates: measured with one plan.
        compared: (outer fold, candidate) whether it may be selected in that fold. None: all.
    Returns: the scores, inner scores and predictions of the selected candidates; and their numbers, for each fold.
    """
    inner = np.array([candidate.inner for candidate in candidates])
    if compared is not None:
        inner = np.where(compared.T, inner, -np.inf)
    numbers = inner.argmax(axis=0).tolist()
    winners = [candidates[number] for number in numbers]
    strengths = [candidate.strength for candidate in winners]
    selected = Measured(
        np.array([candidate.scores[fold] for fold, candidate in enumerate(winners)]),
        inner.max(axis=0),
        [candidate.predictions[fold] for fold, candidate in enumerate(winners)],
        Counter(strengths).most_common(1)[0][0],
        [candidate.confidence[fold] for fold, candidate in enumerate(winners) if candidate.confidence],
    )
    return selected, numbers


def majority(plan: Plan) -> Measured:
    """Measure the most frequent class, or the mean of the values."""
    dummy = DummyRegressor() if plan.task == "regress" else DummyClassifier(strategy="most_frequent")
    scores, predictions = [], []
    for fit, score in plan.outer:
        model = dummy.fit(np.zeros((len(fit), 1)), plan.targets[fit])
        predictions.append(model.predict(np.zeros((len(score), 1))).reshape(len(score), *plan.targets.shape[1:]))
        scores.append(_score(plan.task, plan.targets[score], predictions[-1]))
    return Measured(np.array(scores), np.array(scores), predictions, 0.0)


def paired_p(plan: Plan, one: Measured, other: Measured) -> float | None:
    """Return the two-sided p-value of the corrected resampled t-test for the difference of two scores.

    Args:
        plan: with which both were measured.
        one: a result.
        other: another result.
    Returns: the p-value; 1 if the scores are equal in every fold. None if they differ by the same amount in every fold,
        as scores of few samples may: the variance is unknown then, and a p-value of 0 would be no evidence.
    Source: Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 2003, section 5.
    """
    differences = one.scores - other.scores
    if not np.any(differences):
        return 1.0
    if np.ptp(differences) <= 1e-12:  # equal but for rounding
        return None
    share = np.mean([len(score) / len(fit) for fit, score in plan.outer])
    error = np.sqrt((1 / len(differences) + share) * differences.var(ddof=1))
    return float(2 * stats.t.sf(abs(differences.mean() / error), len(differences) - 1))
