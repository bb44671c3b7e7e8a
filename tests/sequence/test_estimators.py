"""Estimators of sequences learn order, ignore padding, and behave as estimators of scikit-learn do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from layerzoo import Features
from layerzoo.errors import InputError, PoolingError, SequenceDataError, UsageError
from layerzoo.sequence import SequenceClassifier, SequenceRegressor, TemporalPooler

Sequences = list[NDArray[np.float32]]
CHANNELS = 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ordered(count: int = 24, seed: int = 0) -> tuple[Sequences, NDArray[Any], NDArray[np.int_]]:
    """Return sequences of different lengths and their reversals, their direction, and the group of each pair."""
    random = np.random.default_rng(seed)
    forward = [
        (np.linspace(-1, 1, length)[:, None] + random.normal(0, 0.3, (length, CHANNELS))).astype(np.float32)
        for length in random.integers(4, 12, count)
    ]
    sequences = [each for sequence in forward for each in (sequence, sequence[::-1].copy())]
    return sequences, np.array(["up", "down"] * count), np.repeat(np.arange(count), 2)


def small(network: str = "gru", **parameters: Any) -> SequenceClassifier:
    return SequenceClassifier(network, hidden=16, random_state=0, **{"epochs": 12, **parameters})  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["gru", "conv", "transformer"])
def test_each_network_learns_an_order_that_a_mean_does_not_show(network: str) -> None:
    sequences, labels, groups = ordered(40)
    model = small(network)
    scores = cross_val_score(model, sequences, labels, groups=groups, cv=GroupKFold(2))
    assert scores.mean() > 0.9
    mean = make_pipeline(TemporalPooler("mean"), LogisticRegression())
    assert abs(cross_val_score(mean, sequences, labels, groups=groups, cv=GroupKFold(2)).mean() - 0.5) < 0.15
    for pool in ("delta", "dct:2", "rank"):
        pooled = make_pipeline(TemporalPooler(pool), LogisticRegression())
        assert cross_val_score(pooled, sequences, labels, groups=groups, cv=GroupKFold(2)).mean() > 0.9, pool


@pytest.mark.parametrize("network", ["gru", "conv", "transformer"])
def test_a_sequence_alone_is_predicted_as_in_any_batch(network: str) -> None:
    sequences, labels, _ = ordered()
    model = small(network, epochs=2, layers=2).fit(sequences, labels)
    together = model.predict_proba(sequences)
    for row in (0, 1, 7):
        np.testing.assert_allclose(model.predict_proba([sequences[row]])[0], together[row], rtol=1e-9)
    np.testing.assert_allclose(model.predict_proba(sequences[::-1]), together[::-1], rtol=1e-9)


def test_a_series_of_pandas_or_polars_holds_the_sequences_of_its_cells() -> None:
    sequences, labels, _ = ordered(4)
    model = small(epochs=1).fit(sequences, labels)
    expected = model.predict_proba(sequences)
    nested = [sequence.tolist() for sequence in sequences]
    inner = polars.Array(polars.Float32, CHANNELS)
    rows = range(10, 10 + len(sequences))
    for series in (
        pandas.Series(sequences, index=rows),
        pandas.Series(nested, index=rows),
        polars.Series(nested),
        polars.Series(nested, dtype=polars.List(inner)),
        polars.Series(sequences, dtype=polars.Object),
    ):
        np.testing.assert_array_equal(model.predict_proba(series), expected)
    steps = [sequence[:4] for sequence in sequences]
    cube = polars.Series(np.stack(steps))  # of the type Array(Array)
    np.testing.assert_array_equal(model.predict_proba(cube), model.predict_proba(steps))


def test_training_depends_on_the_seed_alone_and_leaves_the_generators_of_the_caller() -> None:
    sequences, labels, _ = ordered()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = small(epochs=2).fit(sequences, labels).predict_proba(sequences)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert np.array_equal(small(epochs=2).fit(sequences, labels).predict_proba(sequences), first)
    other = clone(small(epochs=2)).set_params(random_state=1).fit(sequences, labels)
    assert not np.allclose(other.predict_proba(sequences), first)


def test_features_lists_and_object_arrays_are_the_same_input() -> None:
    sequences, labels, groups = ordered()
    ragged = np.empty(len(sequences), dtype=object)
    ragged[:] = sequences
    features = Features(tuple(map(str, range(len(sequences)))), {"block.0": ragged})
    expected = small(epochs=2).fit(sequences, labels).predict_proba(sequences)
    for inputs in (ragged, features):
        assert np.array_equal(small(epochs=2).fit(inputs, labels).predict_proba(inputs), expected)
    search = GridSearchCV(small(epochs=1), {"hidden": [4, 8]}, cv=GroupKFold(2)).fit(features, labels, groups=groups)
    assert search.best_params_["hidden"] in (4, 8)
    stacked = np.stack([sequence[:4] for sequence in sequences])
    assert small(epochs=1).fit(stacked, labels).predict(list(stacked)).shape == (len(sequences),)


def test_sample_and_class_weights_move_the_decision() -> None:
    sequences = [np.zeros((3, 1), np.float32)] * 40
    labels = np.array([0] * 30 + [1] * 10)
    plain, balanced = (small(class_weight=weight, epochs=40).fit(sequences, labels) for weight in (None, "balanced"))
    assert plain.predict_proba(sequences[:1])[0, 1] == pytest.approx(0.25, abs=0.06)
    assert balanced.predict_proba(sequences[:1])[0, 1] == pytest.approx(0.5, abs=0.06)
    weighted = small(epochs=40).fit(sequences, labels, sample_weight=np.where(labels == 0, 1, 9))
    assert weighted.predict_proba(sequences[:1])[0, 1] == pytest.approx(0.75, abs=0.06)


def test_several_labels_of_a_sample_are_predicted_independently() -> None:
    sequences, labels, _ = ordered(30)
    long = np.array([len(sequence) > 7 for sequence in sequences])
    targets = np.stack([labels == "up", labels == "down", long], axis=1).astype(int)
    model = small(epochs=30).fit(sequences, targets)
    assert model.predict(sequences).shape == targets.shape
    assert (model.predict(sequences)[:, :2] == targets[:, :2]).mean() > 0.95
    assert model.predict_proba(sequences).sum(axis=1).max() > 1.5


def test_a_regressor_predicts_one_or_several_numbers() -> None:
    sequences, labels, _ = ordered(30)
    slopes = np.where(labels == "up", 100.0, -100.0)
    model = SequenceRegressor(hidden=16, random_state=0).fit(sequences, slopes)
    assert model.score(sequences, slopes) > 0.9
    both = SequenceRegressor(hidden=16, epochs=2, random_state=0).fit(sequences, np.stack([slopes, -slopes], axis=1))
    assert both.predict(sequences[:3]).shape == (3, 2)


def test_early_stopping_holds_out_whole_groups_and_keeps_the_best_epoch() -> None:
    sequences, labels, groups = ordered(30)
    noise = np.random.default_rng(0).permutation(labels)  # nothing can be learned from it
    model = small(epochs=60, early_stopping=True, patience=3).fit(sequences, noise, groups=groups)
    losses = [epoch["valid_loss"] for epoch in model.losses_]
    assert model.n_iter_ < 60
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert not model.interrupted_
    with pytest.raises(SequenceDataError, match="Next: early_stopping=False"):
        small(early_stopping=True).fit(sequences[:3], labels[:3])


def test_ctrl_c_keeps_what_was_learned() -> None:
    sequences, labels, _ = ordered()

    def interrupt(done: int, total: int | None) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    model = small(epochs=500, progress=interrupt)
    with pytest.warns(ConvergenceWarning, match="interrupted after [34] of 500 epochs"):
        model.fit(sequences, labels)
    assert model.interrupted_
    assert model.predict(sequences).shape == labels.shape


@pytest.mark.parametrize(
    "make_labels", [lambda up: np.where(up, "ä", "b"), lambda up: up, lambda up: up.astype(int) * 7]
)
def test_a_saved_classifier_predicts_the_same(tmp_path: Path, make_labels: Callable[[Any], NDArray[Any]]) -> None:
    sequences, labels, _ = ordered()
    model = small("conv", epochs=2).fit(sequences, make_labels(labels == "up"))
    model.save(tmp_path / "head.safetensors")
    loaded = SequenceClassifier.load(tmp_path / "head.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "head.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert np.array_equal(loaded.predict(sequences), model.predict(sequences))
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.predict_proba(sequences), model.predict_proba(sequences))
    assert loaded.get_params() == model.get_params()
    with pytest.raises(InputError, match="holds the kind 'SequenceClassifier'"):
        SequenceRegressor.load(tmp_path / "head.safetensors")
    (tmp_path / "broken").write_bytes((tmp_path / "head.safetensors").read_bytes()[:-8])
    with pytest.raises(InputError, match="cannot be read as a saved"):
        SequenceClassifier.load(tmp_path / "broken")


def test_a_saved_regressor_predicts_the_same(tmp_path: Path) -> None:
    sequences, labels, _ = ordered()
    model = SequenceRegressor(epochs=2, random_state=0).fit(sequences, np.where(labels == "up", 3.5, -1))
    model.save(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(
        SequenceRegressor.load(tmp_path / "head.safetensors").predict(sequences), model.predict(sequences)
    )


def test_unusable_sequences_are_refused_as_value_errors() -> None:
    sequences, labels, _ = ordered(4)
    wrong: list[tuple[Any, str]] = [
        ([*sequences[:-1], sequences[0][:, :2]], "differ in their number of channels: 2, 6"),
        ([*sequences[:-1], np.empty((0, CHANNELS))], "sequence 7 has the shape"),
        ([*sequences[:-1], np.full((2, CHANNELS), np.nan)], "sequence 7 holds NaN"),
        ([*sequences[:-1], np.full((2, CHANNELS), "a")], "and not numbers"),
        (sequences[:-1], "7 sequences and 8 targets"),
    ]
    for inputs, message in wrong:
        with pytest.raises(ValueError, match=message):
            small().fit(inputs, labels)
    with pytest.raises(UsageError, match="not one of gru, conv, transformer"):
        small("lstm").fit(sequences, labels)
    with pytest.raises(SequenceDataError, match="6"):
        small(epochs=1).fit(sequences, labels).predict([np.zeros((3, 5))])
    with pytest.raises(PoolingError, match="All: mean"):
        TemporalPooler("median").fit(sequences)
    with pytest.raises(SequenceDataError, match="takes sequences"):
        TemporalPooler("mean").fit(np.zeros((3, 4)))
