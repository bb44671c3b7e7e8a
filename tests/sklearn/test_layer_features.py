"""LayerFeatures gives the features of extract for any container of samples, within the tools of scikit-learn."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import layerzoo
from layerzoo.errors import EstimatorDataError, SampleError, UnknownLayerError, UsageError
from layerzoo.sklearn import LayerFeatures, _loaded, _memory

MODEL = "toy/next-word"
TEXTS = ["the cat", "cat drinks", "the dog", "dog eats", "milk", "meat", "milk meat", "meat the"]
LABELS = ["animal"] * 4 + ["food"] * 4

CONTAINERS: dict[str, Any] = {
    "list": TEXTS,
    "tuple": tuple(TEXTS),
    "array of objects": np.array(TEXTS, dtype=object),
    "array of strings": np.array(TEXTS),
    "array of one column": np.array(TEXTS)[:, None],
    "nested list": [[text] for text in TEXTS],
    "Series of pandas": pandas.Series(TEXTS, index=range(5, 13)),
    "frame of pandas": pandas.DataFrame({"text": TEXTS}),
    "Series of polars": polars.Series(TEXTS),
    "frame of polars": polars.DataFrame({"text": TEXTS}),
}


@pytest.fixture(autouse=True)
def fresh() -> None:
    _memory.cache_clear()
    _loaded.cache_clear()


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_features_are_those_of_extract_for_every_container(container: str) -> None:
    reference = layerzoo.extract(MODEL, TEXTS, layer=["block.0", "head"], pool="max").concat()
    features = LayerFeatures(MODEL, ["block.0", "head"], "max")
    np.testing.assert_array_equal(features.fit_transform(CONTAINERS[container]), reference)
    assert len(features.get_feature_names_out()) == reference.shape[1]


def test_images_and_files_are_samples(samples: Path) -> None:
    files = sorted((samples).rglob("*.jpg"))[:2]
    features = LayerFeatures("starter/efficientnet-lite0", "stage.0")
    reference = layerzoo.extract("starter/efficientnet-lite0", files, layer="stage.0").values
    np.testing.assert_array_equal(features.transform(files), reference)
    np.testing.assert_array_equal(features.transform(pandas.Series(list(map(str, files)))), reference)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("the cat", "Expected a list"),
        ([], "0 sample"),
        (np.array("the cat"), "scalar"),
        (np.array([["the", "cat"]]), "Reshape your data"),
        (pandas.DataFrame({"a": TEXTS, "b": TEXTS}), "one column, and this one has 2: a, b"),
        (5, "Expected a list"),
    ],
)
def test_other_containers_are_refused(value: Any, message: str) -> None:
    for method in (LayerFeatures(MODEL).fit, LayerFeatures(MODEL).transform):
        with pytest.raises(EstimatorDataError, match=message):
            method(value)


def test_mistakes_surface_when_it_transforms() -> None:
    with pytest.raises(UnknownLayerError):
        LayerFeatures(MODEL, "blok.0").fit(TEXTS).transform(TEXTS)
    with pytest.raises(SampleError, match="unknown word"):
        LayerFeatures(MODEL).transform(["a sentence"])
    with pytest.raises(UsageError, match="keeps sequences"):
        LayerFeatures(MODEL, pool="none").transform(TEXTS)
    with pytest.raises(UsageError, match="cache='all'"):
        LayerFeatures(MODEL, cache="all").transform(TEXTS)  # type: ignore[arg-type]


def test_a_pickle_has_no_weights() -> None:
    features = LayerFeatures(MODEL)
    features.fit_transform(TEXTS)
    assert len(pickle.dumps(features)) < 1000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(TEXTS), features.transform(TEXTS))


@pytest.mark.parametrize(("library", "kind"), [("pandas", pandas.DataFrame), ("polars", polars.DataFrame)])
def test_frames_have_the_names_of_the_features(library: Any, kind: Any) -> None:
    frame = LayerFeatures(MODEL).set_output(transform=library).fit_transform(CONTAINERS[f"frame of {library}"])
    assert isinstance(frame, kind)
    assert list(frame.columns) == ["block.0:0", "block.0:1", "block.0:2"]


def test_a_column_of_a_table_is_transformed_next_to_others() -> None:
    table = pandas.DataFrame({"text": TEXTS, "length": list(map(len, TEXTS))})
    columns = ColumnTransformer([("text", LayerFeatures(MODEL), ["text"]), ("length", "passthrough", ["length"])])
    model = make_pipeline(columns, LogisticRegression()).fit(table, LABELS)
    assert model.score(table, LABELS) > 0.8
    series = ColumnTransformer([("text", LayerFeatures(MODEL), "text")])
    assert series.fit_transform(table).shape == (8, 3)


def test_a_search_over_layers_runs_the_network_once_for_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    run = layerzoo.Backbone.pool_with_counts

    def counted(self: layerzoo.Backbone, batch: Any, pools: Any) -> Any:
        rows.append(batch.size)
        return run(self, batch, pools)

    monkeypatch.setattr(layerzoo.Backbone, "pool_with_counts", counted)
    layerzoo.extract("starter/minilm-l6", TEXTS[:2], layer=["stem", "block.*", "pooled"])  # checks the layers, once
    rows.clear()
    model = make_pipeline(LayerFeatures("starter/minilm-l6"), LogisticRegression())
    layers = ["block.0", "block.2", "block.5", "pooled", ["block.1", "block.3"]]
    search = GridSearchCV(model, {"layerfeatures__layer": layers}, cv=2).fit(TEXTS, LABELS)
    assert sum(rows) == len(TEXTS)
    chosen = search.best_params_["layerfeatures__layer"]
    reference = layerzoo.extract("starter/minilm-l6", TEXTS, layer=chosen).concat()
    np.testing.assert_allclose(search.best_estimator_[0].transform(TEXTS), reference, atol=1e-5)


def test_a_column_of_skrub_is_transformed() -> None:
    skrub = pytest.importorskip("skrub")
    table = pandas.DataFrame({"text": TEXTS, "length": list(map(len, TEXTS))})
    applied = skrub.ApplyToCols(LayerFeatures(MODEL), cols="text").fit_transform(table)
    assert list(applied.columns) == ["block.0:0", "block.0:1", "block.0:2", "length"]
    vectorizer = skrub.TableVectorizer(high_cardinality=LayerFeatures(MODEL), cardinality_threshold=2)
    assert vectorizer.fit_transform(table).shape == (8, 4)
