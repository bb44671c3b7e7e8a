"""A sweep finds the layer whose features predict the labels, and states how to extract them."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import layerzoo
from layerzoo.errors import InputError, UsageError
from layerzoo.heads import labels_of_folders
from layerzoo.sweeps.collection import check_sweep_memory

MODEL = "toy/next-word"
ANIMALS = ["the cat", "cat drinks", "the dog", "dog eats", "cat", "dog", "cat eats", "the dog drinks"]
FOOD = ["milk", "meat", "milk meat", "meat meat", "the milk", "the meat", "milk the", "meat milk"]
TEXTS, LABELS = ANIMALS + FOOD, ["animal"] * 8 + ["food"] * 8


@pytest.fixture(scope="module")
def found() -> layerzoo.Sweep:
    return layerzoo.sweep(MODEL, TEXTS, LABELS, layers=["block.0", "head"], pool=["mean", "max"], folds=4)


def test_the_features_of_each_row_are_those_of_extract(found: layerzoo.Sweep) -> None:
    assert [(row.layer, row.pool) for row in found.rows] == [
        ("block.0", "mean"),
        ("block.0", "max"),
        ("head", "mean"),
        ("head", "max"),
    ]
    assert found.details is not None
    features = layerzoo.extract(inputs=TEXTS, **found.arguments())
    np.testing.assert_array_equal(features.concat(), found.details.features)
    assert shlex.split(found.command())[:2] == ["zoo", "extract"]


def test_the_column_and_the_precision_are_arguments_of_extract() -> None:
    table = pandas.DataFrame({"name": list(map(str, range(16))), "said": TEXTS})
    found = layerzoo.sweep(
        MODEL, table, LABELS, column="said", precision="bfloat16", folds=3, repeats=1, baselines=False
    )
    assert found.details is not None
    features = layerzoo.extract(inputs=table, **found.arguments())
    np.testing.assert_array_equal(features.values, found.details.features)
    assert features.provenance["precision"] == "bfloat16"
    assert "--column said --precision bfloat16" in found.command()


def test_the_command_has_the_options_of_zoo_extract(found: layerzoo.Sweep) -> None:
    given = {"special_tokens": False, "chunks": True, "overlap": 0, "start_s": 0.5, "normalize": False, "prompt": None}
    command = replace(found, provenance={MODEL: {"arguments": given}}).command()
    assert "--no-special-tokens" in command
    assert "--chunks --overlap 0 --start 0.5 --out features.parquet" in command
    assert all(word not in command for word in ("--normalize", "--prompt", "--special-tokens"))


def test_the_result_has_scores_costs_and_baselines(found: layerzoo.Sweep) -> None:
    row = found.rows[found.best]
    assert row.score == max(each.score for each in found.rows) > 0.8
    assert found.rows[found.cheapest].score >= row.score - found.standard_error
    assert (row.bytes, row.params, row.flops) == (96, 24, 384)
    assert row.milliseconds is not None
    assert [each.name for each in found.baselines] == ["majority", "words", "random weights", "last layer"]
    assert found.baselines[0].score == 0.5
    assert (found.metric, found.folds, found.repeats, found.samples) == ("accuracy", 4, 2, 16)
    assert found.default == 0
    assert found.p_value is not None
    assert sum(found.selected.values()) == 8
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_several_models_are_compared_at_the_layers_that_they_have() -> None:
    models = [MODEL, "starter/minilm-l6"]
    found = layerzoo.sweep(
        models, TEXTS, LABELS, layers=["head", "block.1"], folds=3, repeats=1, combine=False, baselines=False
    )
    assert [(row.model, row.layer) for row in found.rows] == [(MODEL, "head"), ("starter/minilm-l6", "block.1")]
    assert set(found.provenance) == set(models)
    with pytest.raises(layerzoo.LayerzooError, match=r"no layer 'blok\.1'"):
        layerzoo.sweep(models, TEXTS, LABELS, layers=["block.0", "blok.1"])


def test_numbers_several_labels_and_clusters_are_tasks_too() -> None:
    numbers = layerzoo.sweep(MODEL, TEXTS, [len(text) / 2 for text in TEXTS], baselines=False, folds=3)
    assert (numbers.task, numbers.metric) == ("regress", "R²")
    several = layerzoo.sweep(MODEL, TEXTS, [text.split() for text in TEXTS], folds=3, repeats=1)
    assert (several.task, several.classes[:2]) == ("multilabel", ("cat", "dog"))
    one = layerzoo.sweep(MODEL, TEXTS, [["milk"] if "milk" in text else [] for text in TEXTS], folds=3, repeats=1)
    assert one.classes == ("milk",)
    clusters = layerzoo.sweep(MODEL, TEXTS, folds=3)
    assert clusters.task == "cluster"
    assert clusters.rows[0].estimates["clusters"] >= 2
    labelled = layerzoo.sweep(MODEL, TEXTS, LABELS, task="cluster", folds=3)
    assert set(labelled.rows[0].estimates) == {"ari", "nmi", "clusters"}


def test_equal_samples_are_kept_in_one_fold(caplog: pytest.LogCaptureFixture) -> None:
    found = layerzoo.sweep(MODEL, TEXTS + TEXTS[:2], LABELS + LABELS[:2], baselines=False, folds=3)
    assert found.groups == 16
    assert any("occur several times" in note for note in found.notes)
    assert not caplog.text  # the command line prints the notes


def test_pruned_candidates_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerzoo.sweeps.run._KEPT", 1)
    found = layerzoo.sweep(
        MODEL, TEXTS, LABELS, layers=["block.0", "head"], pool=["mean", "max"], folds=3, prune=True, baselines=False
    )
    assert any("candidates were left out, because their LogME is lower" in note for note in found.notes)
    assert found.rows[0].is_default
    assert sum(found.selected.values()) == 6


def test_failed_samples_are_left_out(tmp_path: Path) -> None:
    for label, texts in (("animal", ANIMALS), ("food", [*FOOD, "unknown words"])):
        (tmp_path / label).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / label / f"{number}.txt").write_text(text)
    found = layerzoo.sweep(MODEL, tmp_path, labels_of_folders, errors="skip", baselines=False, folds=3)
    assert found.samples == 16
    assert any("1 sample failed" in note for note in found.notes)
    with pytest.raises(layerzoo.errors.SampleError, match=r"food/8\.txt:1: "):
        layerzoo.sweep(MODEL, tmp_path, labels_of_folders, baselines=False, folds=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": ["one"] * 16}, InputError, "needs two classes"),
        ({"labels": LABELS[:4]}, InputError, "4 labels for 16 samples"),
        ({"labels": [*LABELS[:-1], "rare"]}, InputError, "too few samples"),
        ({"labels": [1.5, float("nan")] * 8, "task": "regress"}, InputError, "finite numbers"),
        ({"labels": [None, "a"] * 8}, InputError, "label of sample 0 is missing"),
        ({"labels": LABELS, "groups": LABELS}, InputError, "too few groups"),
        ({"labels": LABELS, "folds": 1}, UsageError, "folds=1"),
        ({"labels": LABELS, "task": "sort"}, UsageError, "is not one of auto, classify"),
        ({"labels": LABELS, "pool": ["mean", "none"]}, UsageError, "pool='none' keeps sequences"),
        ({"labels": LABELS, "layer": "block.0"}, UsageError, "a sweep takes only"),
        ({"labels": [1.0] * 16, "task": "regress"}, InputError, "nothing to predict"),
        ({"labels": None, "task": "classify"}, InputError, "needs labels"),
        ({"labels": LABELS, "layers": "blok.0"}, layerzoo.LayerzooError, "Nearest: block.0"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layerzoo.sweep(MODEL, TEXTS, **arguments)


def test_features_that_do_not_fit_in_memory_are_refused_before_the_work() -> None:
    backbone = layerzoo.load(MODEL, layer=["block.0", "head"])
    assert check_sweep_memory([backbone], 1000, None, lambda: 10**9) == 4 * 1000 * 11
    with pytest.raises(InputError, match=r"need 44 GB of memory, and you have 23 GB: pick fewer layers"):
        check_sweep_memory([backbone], 10**9, None, lambda: 23 * 10**9)
