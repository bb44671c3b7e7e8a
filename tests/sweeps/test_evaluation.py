"""Candidates are measured by nested cross-validation: nothing is chosen on the rows that are scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerzoo.errors import InputError
from layerzoo.sweeps.candidates import Candidate
from layerzoo.sweeps.evaluation import Vectors, majority, measure, paired_p, plan_folds, select
from layerzoo.sweeps.pruning import promising

Array = NDArray[Any]


def vectors(targets: Array, signal: float, *, seed: int = 0, width: int = 8) -> Array:
    """Return features of which the first is the target with noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(targets), width)).astype(np.float32)
    features[:, 0] += signal * targets
    return features


def test_a_score_is_that_of_a_grid_search_inside_each_fold() -> None:
    targets = np.arange(90) % 3
    features = vectors(targets, 1.0)
    plan = plan_folds("classify", targets, None, folds=3, repeats=1, seed=0)
    (measured,) = measure(plan, [Vectors([features])])
    for number, (fit, score) in enumerate(plan.outer):
        scaler = StandardScaler().fit(features[fit])
        inner = [(np.searchsorted(fit, one), np.searchsorted(fit, other)) for one, other in plan.inner[number]]
        grid = {"C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
        model = GridSearchCV(LogisticRegression(max_iter=1000), grid, cv=inner)
        model.fit(scaler.transform(features[fit]), targets[fit])
        assert measured.inner[number] == pytest.approx(model.best_score_, abs=0.02)
        equal = np.flatnonzero(model.cv_results_["mean_test_score"] >= model.best_score_ - 0.02)
        models = [LogisticRegression(C=grid["C"][each], max_iter=1000) for each in equal]
        fitted = [each.fit(scaler.transform(features[fit]), targets[fit]) for each in models]
        scores = [accuracy_score(targets[score], each.predict(scaler.transform(features[score]))) for each in fitted]
        assert any(measured.scores[number] == pytest.approx(each) for each in scores)


def test_numbers_are_predicted_by_ridge_regression() -> None:
    targets = np.random.default_rng(1).normal(size=60)
    features = vectors(targets, 3.0)
    plan = plan_folds("regress", targets, None, folds=3, repeats=1, seed=0)
    (measured,) = measure(plan, [Vectors([features])])
    fit, score = plan.outer[0]
    ridge = make_pipeline(StandardScaler(), Ridge(1.0)).fit(features[fit], targets[fit])
    assert measured.scores[0] == pytest.approx(r2_score(targets[score], ridge.predict(features[score])), abs=0.05)
    assert majority(plan).mean < 0.05


def test_selecting_among_many_layers_of_noise_is_no_better_than_chance() -> None:
    targets = np.arange(60) % 2
    plan = plan_folds("classify", targets, None, folds=3, repeats=2, seed=0)
    measured = measure(plan, [Vectors([vectors(targets, 0.0, seed=seed)]) for seed in range(12)])
    selected, chosen = select(measured)
    assert max(each.mean for each in measured) > 0.6  # the best of 12 is above chance
    assert selected.mean == pytest.approx(0.5, abs=0.12)
    assert len(chosen) == 6


def test_candidates_are_left_out_without_the_labels_that_are_scored() -> None:
    targets = np.arange(60) % 2
    plan = plan_folds("classify", targets, None, folds=3, repeats=2, seed=0)
    sources = [Vectors([vectors(targets, signal, seed=seed)]) for seed, signal in enumerate((0.0, 0.0, 3.0, 0.0))]
    candidates = [
        Candidate("model", str(n), "mean", (str(n),), each, is_default=n == 0) for n, each in enumerate(sources)
    ]
    chosen = promising(plan, candidates, most=1, rows=60, seed=0)
    assert chosen.tolist() == [[True, False, True, False]] * 6
    score = plan.outer[0][1]
    other = targets.copy()
    other[score] = 1 - other[score]
    assert (promising(replace(plan, targets=other), candidates, most=1, rows=60, seed=0)[0] == chosen[0]).all()
    measured = measure(plan, sources)
    assert select(measured, np.eye(4, dtype=bool)[[1] * 6])[1] == [1] * 6


def test_several_labels_and_concatenated_layers_are_measured() -> None:
    targets = np.stack([np.arange(60) % 2, np.arange(60) % 3 == 0], axis=1).astype(int)
    features = vectors(targets[:, 0], 3.0)
    features[:, 1] += 3 * targets[:, 1]
    plan = plan_folds("multilabel", targets, None, folds=3, repeats=1, seed=0)
    alone, reduced = measure(plan, [Vectors([features]), Vectors([features[:, :4], features[:, 4:]], reduce=True)])
    assert alone.mean > 0.9
    assert reduced.mean > 0.9
    assert alone.predictions[0].shape == (20, 2)


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_the_samples_of_a_group_are_in_one_fold_outside_and_inside(task: str) -> None:
    groups = np.arange(60) // 3
    targets = groups % 2 if task == "classify" else np.arange(60.0)
    plan = plan_folds(task, targets, groups, folds=3, repeats=2, seed=0)
    splits = [*plan.outer, *(split for inner in plan.inner for split in inner)]
    assert len(plan.outer) == 6
    assert all(not set(groups[fit]) & set(groups[score]) for fit, score in splits)


def test_a_rare_class_reduces_the_folds_and_a_rarer_one_is_an_error() -> None:
    targets = np.array([0] * 20 + [1] * 3)
    assert plan_folds("classify", targets, None, folds=5, repeats=1, seed=0).folds == 3
    with pytest.raises(InputError, match="too few samples"):
        plan_folds("classify", targets[:-1], None, folds=5, repeats=1, seed=0)


def test_numbers_are_scored_on_two_samples_at_least() -> None:
    groups = np.array([0] * 6 + [1] * 6 + [2] * 6 + [3, 4, 5])
    targets = np.random.default_rng(1).normal(size=len(groups))
    plan = plan_folds("regress", targets, groups, folds=5, repeats=2, seed=0)
    assert all(len(score) > 1 for splits in (plan.outer, *plan.inner) for _, score in splits)
    (measured,) = measure(plan, [Vectors([vectors(targets, 3.0)])])
    assert np.isfinite(measured.scores).all()


def test_the_paired_test_is_that_of_nadeau_and_bengio() -> None:
    targets = np.arange(90) % 3
    plan = plan_folds("classify", targets, None, folds=3, repeats=2, seed=0)
    good, bad = measure(plan, [Vectors([vectors(targets, signal)]) for signal in (3.0, 0.2)])
    differences = good.scores - bad.scores
    error = np.sqrt((1 / 6 + 30 / 60) * differences.var(ddof=1))
    assert paired_p(plan, good, bad) == pytest.approx(2 * stats.t.cdf(-differences.mean() / error, 5))
    assert paired_p(plan, good, good) == 1.0


def test_a_difference_without_variance_has_no_p_value() -> None:
    targets = np.arange(90) % 3
    plan = plan_folds("classify", targets, None, folds=3, repeats=2, seed=0)
    chance = majority(plan)
    better = replace(chance, scores=chance.scores + 0.1)
    assert paired_p(plan, better, chance) is None


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_a_fold_that_occurs_again_is_measured_once(task: str) -> None:
    groups = np.arange(40) % 5
    targets = (np.arange(40) // 5) % 2 if task == "classify" else np.arange(40.0)
    plan = plan_folds(task, targets, groups, folds=5, repeats=20, seed=0)
    assert (len(plan.outer), plan.repeats) == (5, 1)
    six = plan_folds(task, targets, np.arange(40) % 6, folds=5, repeats=100, seed=0)
    folds = [score.tobytes() for _, score in six.outer]
    assert len(folds) == len(set(folds)) <= 6 + 15  # each group alone, and each pair
    many = plan_folds(task, targets, None, folds=5, repeats=3, seed=0)
    assert (len(many.outer), many.repeats) == (15, 3)
