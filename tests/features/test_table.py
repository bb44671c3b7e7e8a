"""Features as a table: rows, masks, other libraries' tables, CSV and .npy, several runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split

import layerzoo
from layerzoo.errors import InputError, SampleError, UnknownRowError, UsageError
from layerzoo.features import Features, FeatureWriter
from layerzoo.features.features import ragged
from layerzoo.media.written import is_features

RNG = np.random.default_rng(0)
IDS = tuple(f"photos/{number}.jpg" for number in range(20))
VALUES = RNG.normal(size=(20, 3)).astype(np.float32)
FEATURES = Features(IDS, {"norm": VALUES}, {"model": "toy/next-word", "versions": {"torch": "2"}})
TWO = Features(IDS, {"norm": VALUES, "block.1": VALUES[:, :2]})
RAGGED = Features(("a", "b"), {"x": ragged([VALUES[:2], VALUES[:1]])})
TIMED = Features(("a", "b"), {"x": VALUES[:2]}, times_s=((0.0, 0.5), (1.0,)))


@pytest.mark.parametrize(
    "key",
    [
        slice(2, 9, 3),
        slice(None, None, -1),
        [3, -1, 3],
        [],
        np.array([5, 2]),
        VALUES[:, 0] > 0,
        (VALUES[:, 0] > 0).tolist(),
        pd.Series(VALUES[:, 0] > 0, index=range(20, 40)),
        pl.Series(VALUES[:, 0] > 0),
    ],
    ids=str,
)
def test_rows_are_selected_as_numpy_selects_them(key: Any) -> None:
    expected = VALUES[np.asarray(key, dtype=None if len(key) else int)] if not isinstance(key, slice) else VALUES[key]
    selected = FEATURES[key]
    np.testing.assert_array_equal(selected.values, expected)
    np.testing.assert_array_equal([FEATURES.ids.index(name) for name in selected.ids], np.arange(20)[_indexer(key)])
    assert selected.provenance == FEATURES.provenance


def _indexer(key: Any) -> Any:
    return key if isinstance(key, slice) else np.asarray(key, dtype=None if len(key) else int)


def test_iterating_yields_the_rows_with_their_ids_and_times() -> None:
    rows = list(TIMED)
    assert [row.id for row in rows] == ["a", "b"]
    assert [row.times_s for row in rows] == [(0.0, 0.5), (1.0,)]
    np.testing.assert_array_equal(np.stack([row.values for row in rows]), VALUES[:2])
    np.testing.assert_array_equal(TWO[-1]["block.1"], VALUES[-1, :2])
    np.testing.assert_array_equal(np.asarray(FEATURES[np.int64(3)]), VALUES[3])
    assert TIMED[[1]].times_s == ((1.0,),)


def test_layers_are_selected_by_a_list_of_names() -> None:
    assert TWO[["block.1"]].layers == ("block.1",)
    assert TWO[["block.1"]].values.shape == (20, 2)


@pytest.mark.parametrize("position", [20, -21])
def test_a_row_that_does_not_exist_is_an_index_error(position: int) -> None:
    with pytest.raises(IndexError, match=f"no row {position}: these features have 20 rows"):
        FEATURES[position]
    with pytest.raises(UnknownRowError):
        FEATURES[[0, position]]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (True, "not by True"),
        (1.5, "not by 1.5"),
        (None, "not by None"),
        ((0, 1), re.escape("not by (0, 1). For a layer of some rows: features[rows][layer]")),
        ({1}, "not by {1}"),
        ([True], "a mask of 1 bools for 20 rows"),
        (np.zeros((20, 3), bool), "not by an object of type ndarray"),
        (slice("norm", "x"), "a slice of features has positions"),
    ],
    ids=str,
)
def test_other_keys_are_refused(key: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        FEATURES[key]


def test_estimators_of_scikit_learn_take_features() -> None:
    labels = (VALUES[:, 0] > 0).astype(int)
    train, test, train_labels, test_labels = train_test_split(FEATURES, labels, random_state=0, stratify=labels)
    assert isinstance(train, Features)
    score = LogisticRegression().fit(train, train_labels).score(test, test_labels)
    assert score == LogisticRegression().fit(train.values, train_labels).score(test.values, test_labels)
    np.testing.assert_array_equal(
        cross_val_score(LogisticRegression(), FEATURES, labels), cross_val_score(LogisticRegression(), VALUES, labels)
    )


def test_numpy_and_pandas_take_the_only_layer_as_an_array() -> None:
    assert np.shares_memory(np.asarray(FEATURES), VALUES)
    assert np.asarray(FEATURES, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(pd.DataFrame(FEATURES).to_numpy(), VALUES)
    assert FEATURES.shape == (20, 3)
    with pytest.raises(UsageError, match=r"these features have 2: norm, block\.1"):
        np.asarray(TWO)


def test_pandas_columns_are_numbers_by_id() -> None:
    frame = TWO.to_pandas()
    assert frame.index.tolist() == list(IDS)
    assert frame.columns.tolist() == ["norm_0", "norm_1", "norm_2", "block.1_0", "block.1_1"]
    np.testing.assert_array_equal(frame.to_numpy(), TWO.concat())
    assert [cell.shape for cell in RAGGED.to_pandas()["x"]] == [(2, 3), (1, 3)]


def test_polars_and_arrow_have_the_columns_of_a_parquet_file(tmp_path: Path) -> None:
    for features in (TWO, RAGGED):
        path = tmp_path / "features.parquet"
        features.save(path)
        assert features.to_arrow().equals(pq.read_table(path))
        assert features.to_polars().equals(pl.from_arrow(pq.read_table(path)))
    assert TWO.to_polars().schema["norm"] == pl.Array(pl.Float32, 3)
    assert pa.types.is_fixed_size_list(TWO.to_arrow().schema.field("norm").type)


def test_a_tensor_shares_the_memory_of_a_layer() -> None:
    assert FEATURES.to_torch().data_ptr() == FEATURES.values.ctypes.data
    assert torch.equal(TWO.to_torch("block.1"), torch.tensor(VALUES[:, :2]))
    with pytest.raises(UsageError, match="differ in shape, and a tensor has one"):
        RAGGED.to_torch()


def test_the_error_for_several_layers_names_the_function_that_was_called() -> None:
    functions: dict[str, Callable[[], object]] = {
        r"'\.values' is": lambda: TWO.values,
        r"'\.shape' is": lambda: TWO.shape,
        r"to_torch\(\) without a name is": lambda: TWO.to_torch(),
        r"numpy.asarray\(features\) is": lambda: np.asarray(TWO),
        r"numpy.asarray\(row\) is": lambda: np.asarray(TWO[0]),
    }
    for message, function in functions.items():
        with pytest.raises(UsageError, match=rf"{message} for one layer, and these features have 2: norm, block.1"):
            function()


def test_a_csv_file_has_the_ids_and_the_exact_numbers(tmp_path: Path) -> None:
    ids = ('a, "quoted"\nid', *IDS[1:])
    Features(ids, TWO.by_layer).save(tmp_path / "features.csv")
    frame = pd.read_csv(tmp_path / "features.csv", index_col="id", dtype=dict.fromkeys(TWO.to_pandas().columns, "f4"))
    assert tuple(frame.index) == ids
    np.testing.assert_array_equal(frame.to_numpy(), TWO.concat())
    assert pl.read_csv(tmp_path / "features.csv").columns == ["id", *frame.columns]


def test_windows_keep_their_times_in_every_table(tmp_path: Path) -> None:
    times = {"start_s": np.arange(20) / 3, "end_s": np.arange(1, 21) / 3}
    windows = replace(FEATURES, start_s=tuple(times["start_s"]), end_s=tuple(times["end_s"]))
    with FeatureWriter(tmp_path / "windows.csv") as writer:
        for start in range(0, 20, 7):
            writer.write(windows[start : start + 7])
    tables = (pd.read_csv(tmp_path / "windows.csv"), windows.to_pandas(), windows.to_polars(), windows.to_arrow())
    for table in tables:
        for name, expected in times.items():
            np.testing.assert_array_equal(np.asarray(table[name]), expected)
    assert is_features(tmp_path / "windows.csv")
    for suffix in (".parquet", ".npz", ".safetensors"):
        windows.save(tmp_path / f"windows{suffix}")
        again = Features.load(tmp_path / f"windows{suffix}")
        assert (again.start_s, again.end_s) == (windows.start_s, windows.end_s)


def test_frames_keep_their_times_in_tables() -> None:
    times = ((0.25, 0.75), (0.25,))
    one = Features(("a", "b"), {"x": RAGGED["x"], "pooled": VALUES[:2]}, times_s=times)
    two = Features(
        ("a", "b"), {"x": RAGGED["x"], "y": RAGGED["x"]}, times_s=times, times_by_layer={"y": ((1, 2), (3,))}
    )
    for features, columns in ((one, {"times_s": times}), (two, {"x_times_s": times, "y_times_s": ((1, 2), (3,))})):
        for table in (features.to_pandas(), features.to_polars(), features.to_arrow()):
            for name, expected in columns.items():
                column = table[name].to_pylist() if isinstance(table, pa.Table) else table[name].to_list()
                assert tuple(map(tuple, column)) == expected
    assert "times_s" not in one[["pooled"]].to_arrow().column_names


def test_a_csv_file_of_features_is_not_read_as_texts(tmp_path: Path) -> None:
    FEATURES.save(tmp_path / "features.csv")
    (tmp_path / "texts.csv").write_text('"id","text_0"\na,b\n')
    (tmp_path / "tweets.csv").write_text("id,text\na,b\n")
    assert [is_features(tmp_path / name) for name in ("features.csv", "tweets.csv")] == [True, False]


def test_an_npy_file_has_the_array_of_the_layer(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "features.npy") as writer:
        for start in range(0, 20, 7):
            writer.write(FEATURES[start : start + 7])
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), VALUES)


@pytest.mark.parametrize(
    ("features", "name", "reason"),
    [
        (TWO, "x.npy", "a .npy file holds one layer, and there are 2: norm, block.1"),
        (RAGGED, "x.npy", "holds samples of one shape"),
        (RAGGED, "x.csv", "holds one vector for each sample"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(features: Features, name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        features.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "advice"), [("x.npy", "numpy.load"), ("x.csv", "pandas.read_csv")])
def test_a_file_of_numbers_alone_says_how_to_read_it(name: str, advice: str, tmp_path: Path) -> None:
    FEATURES.save(tmp_path / name)
    with pytest.raises(InputError, match=f"no provenance and no digests. {advice}"):
        Features.load(tmp_path / name)


def test_runs_over_different_samples_are_joined() -> None:
    later = Features(("z",), {"norm": VALUES[:1]}, {"model": "toy/next-word", "versions": {"torch": "3"}})
    joined = Features.join([FEATURES, later, later])
    assert joined.ids == (*IDS, "z", "z")
    assert joined.provenance == {**FEATURES.provenance, "other_runs": [later.provenance]}


def test_runs_of_different_models_are_not_joined(tmp_path: Path) -> None:
    other = Features(("z",), {"norm": VALUES[:1]}, {"model": "toy/other"})
    with pytest.raises(UsageError, match=r"differ in model: toy/next-word, then toy/other.*use Features.merge"):
        Features.join([FEATURES, other])
    with FeatureWriter(tmp_path / "x.parquet") as writer:
        writer.write(FEATURES)
        with pytest.raises(UsageError, match="differ in model"):
            writer.write(other)


def test_layers_of_several_runs_are_merged_by_id() -> None:
    other = Features(("z", *IDS[:5][::-1]), {"norm": np.vstack([VALUES[:1], VALUES[:5][::-1]])}, {"model": "toy/other"})
    merged = Features.merge({"one": FEATURES, "two": other})
    assert merged.layers == ("one/norm", "two/norm")
    assert merged.ids == IDS[:5]
    np.testing.assert_array_equal(merged["one/norm"], merged["two/norm"])
    assert merged.provenance["merged"]["two"] == {"model": "toy/other"}
    assert {error.id for error in merged.errors} == {*IDS[5:], "z"}
    assert str(merged.errors[-1]) == "z: no features in run one"


def test_runs_whose_layers_or_ids_are_ambiguous_are_not_merged() -> None:
    with pytest.raises(UsageError, match=r"two runs have a layer 'norm'\. Name the runs"):
        Features.merge([FEATURES, FEATURES])
    with pytest.raises(UsageError, match="'a' occurs twice"):
        Features.merge([Features(("a", "a"), {"x": VALUES[:2]}), FEATURES])
    same = Features(("a", "a"), {"x": VALUES[:2]})
    assert Features.merge([same, Features(("a", "a"), {"y": VALUES[:2]})]).layers == ("x", "y")


def test_normalized_vectors_have_length_one_and_zeros_stay_zeros() -> None:
    values = np.vstack([VALUES, np.zeros((1, 3), np.float32)])
    unit: npt.NDArray[Any] = Features((*IDS, "z"), {"norm": values}).normalized().values
    expected = torch.nn.functional.normalize(torch.tensor(values), dim=1).numpy()
    np.testing.assert_allclose(unit, expected, rtol=1e-6)
    with pytest.raises(UsageError, match="x is not pooled"):
        RAGGED.normalized()


def test_a_notebook_shows_the_layers_and_the_first_rows_without_markup_of_an_id() -> None:
    features = Features(("<b>", *IDS[1:]), {"norm": VALUES}, {"model": "toy/next-word"}, (SampleError("x", "y"),))
    shown = features._repr_html_()
    assert "Features of toy/next-word: 20 samples, 1 failed" in shown
    assert "<th>norm (3)</th>" in shown
    assert "<td>&lt;b&gt;</td>" in shown
    assert len(shown) < 2000
    assert "Features of toy/next-word: 1 sample<" in features[:1]._repr_html_()


def test_the_repr_of_a_model_and_of_a_layer_is_one_short_line() -> None:
    spec = layerzoo.model("starter/minilm-l6")
    assert repr(spec) == "<ModelSpec starter/minilm-l6: text, 22,713,216 parameters, 8 layers>"
    assert repr(spec.layers[1]) == "<Layer block.0: batch, token 16, channel 384>"
    assert repr(FEATURES[0]) == "<FeatureRow photos/0.jpg; norm: 3>"
