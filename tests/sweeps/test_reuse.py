"""With cache=True, a sweep uses what an earlier one measured with the same features, labels and folds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

import layerzoo
from layerzoo.paths import feature_cache_path
from layerzoo.sweeps import reuse
from layerzoo.sweeps.evaluation import Measured

MODEL = "toy/next-word"
TEXTS = ["the cat", "cat drinks", "the dog", "dog eats", "milk", "meat", "milk meat", "meat meat"] * 2
LABELS = (["animal"] * 4 + ["food"] * 4) * 2
Sweeping = Callable[..., layerzoo.Sweep]


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each call adds the number of candidates that it measures."""
    counts: list[int] = []

    def counted(measure: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            counts.append(len(next(each for each in arguments if isinstance(each, list))))
            return measure(*arguments)

        return run

    for name in ("measure", "measure_clusters"):
        monkeypatch.setattr(reuse, name, counted(getattr(reuse, name)))
    return counts


def sweep(labels: Sequence[Any] | None = LABELS, **changed: Any) -> layerzoo.Sweep:
    return layerzoo.sweep(MODEL, TEXTS, labels, **{"folds": 3, "repeats": 1, "cache": True, **changed})


def without_times(found: layerzoo.Sweep) -> dict[str, Any]:
    plain = found.to_dict()
    del plain["seconds"]
    for row in plain["rows"]:
        del row["milliseconds"]
    return plain


TASKS: dict[str, tuple[Sequence[Any] | None, dict[str, Any]]] = {
    "classes": (LABELS, {}),
    "several labels": ([["a"], ["b"], ["a", "b"], ["b"]] * 4, {"task": "multilabel"}),
    "numbers": ([len(text) / 3 for text in TEXTS], {"task": "regress"}),
    "clusters": (LABELS, {"task": "cluster"}),
    "clusters without labels": (None, {"task": "cluster"}),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_second_sweep_fits_nothing_and_is_equal(home: Path, fitted: list[int], task: str) -> None:
    labels, options = TASKS[task]
    first = sweep(labels, **options)
    assert sum(fitted) >= 3
    fitted.clear()
    second = sweep(labels, **options)
    assert sum(fitted) == 0
    assert without_times(second) == without_times(first)
    assert first.details is not None
    assert second.details is not None
    for name in ("targets", "predictions", "confidence", "features"):
        np.testing.assert_array_equal(getattr(second.details, name), getattr(first.details, name))


CHANGES: dict[str, tuple[Sequence[Any], dict[str, Any]]] = {
    "a label": ([*LABELS[:-1], "animal"], {}),
    "the folds": (LABELS, {"folds": 4}),
    "the seed": (LABELS, {"seed": 1}),
    "the pooling": (LABELS, {"pool": "max"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_labels_folds_or_features_is_measured(home: Path, fitted: list[int], change: str) -> None:
    sweep()
    fitted.clear()
    labels, options = CHANGES[change]
    changed = sweep(labels, **options)
    assert sum(fitted) >= 2
    assert without_times(changed) == without_times(sweep(labels, cache=False, **options))


def test_only_new_candidates_are_measured(home: Path, fitted: list[int]) -> None:
    sweep(layers="block.0", baselines=False)
    fitted.clear()
    sweep(layers=["block.0", "head"], baselines=False, combine=False)
    assert fitted == [1]


def test_a_damaged_entry_is_measured_again(home: Path, fitted: list[int]) -> None:
    first = sweep()
    fitted.clear()
    with sqlite3.connect(feature_cache_path()) as database:
        database.execute("UPDATE features SET value = zeroblob(40) WHERE layer = 'cross-validation'")
    assert without_times(sweep()) == without_times(first)
    assert sum(fitted) >= 3


def test_results_come_back_to_the_bit() -> None:
    predictions = [np.array([1, 2]), np.array([[1.5], [0.1]])]
    measured = Measured(np.array([1 / 3]), np.array([0.1]), predictions, 1e-4, [np.array([0.2], np.float32)])
    arrays = reuse._arrays(measured) | reuse._of_numbers({"ari": 1 / 7})
    read = load(save(arrays))
    assert reuse._numbers(read) == {"ari": 1 / 7}
    again = reuse._measured(read)
    assert again.strength == 1e-4
    for one, other in (
        *zip(measured.predictions, again.predictions, strict=True),
        *zip(measured.confidence, again.confidence, strict=True),
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
