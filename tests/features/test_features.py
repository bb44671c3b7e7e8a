"""Features in memory: validation, concatenation and joining."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from layerzoo.errors import SampleError, UnknownLayerError, UsageError
from layerzoo.features import Features
from layerzoo.features.features import ragged


def matrix(n: int, m: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + n * m, dtype=np.float32).reshape(n, m)


def test_values_is_the_matrix_of_the_only_layer():
    features = Features(ids=("a", "b"), by_layer={"norm": matrix(2, 3)})
    assert features.values.shape == (2, 3)
    assert features.values.dtype == np.float32
    assert features["norm"] is features.values
    assert len(features) == 2


def test_values_of_several_layers_names_them():
    features = Features(ids=("a",), by_layer={"block.0": matrix(1, 3), "norm": matrix(1, 2)})
    with pytest.raises(UsageError, match=r"these features have 2: block\.0, norm.*features\['block\.0'\].*concat"):
        _ = features.values


def test_values_without_any_sample_says_how_many_failed():
    features = Features(ids=(), by_layer={}, errors=(SampleError("a.jpg", "truncated"),))
    with pytest.raises(UsageError, match="none of the 1 samples could be used"):
        _ = features.values


def test_the_error_for_an_unknown_layer_lists_the_existing_layers():
    features = Features(ids=("a",), by_layer={"block.0": matrix(1, 3)})
    with pytest.raises(UnknownLayerError, match=r"no layer 'blok\.0'. They have: block\.0") as caught:
        features["blok.0"]
    assert caught.value.nearest == ("block.0",)


def test_concat_puts_layers_side_by_side():
    features = Features(ids=("a", "b"), by_layer={"block.0": matrix(2, 3), "norm": matrix(2, 1, start=6)})
    assert features.concat().tolist() == [[0, 1, 2, 6], [3, 4, 5, 7]]


def test_concat_refuses_layers_that_are_not_pooled():
    features = Features(ids=("a",), by_layer={"block.0": np.zeros((1, 4, 3), np.float32), "norm": matrix(1, 2)})
    with pytest.raises(UsageError, match=r"block\.0 is not"):
        features.concat()


def test_samples_with_the_same_shape_are_stacked():
    features = Features(ids=("a", "b"), by_layer={"x": ragged([matrix(4, 3), matrix(4, 3)])})
    assert features.values.shape == (2, 4, 3)


def test_samples_with_different_shapes_are_not_stacked():
    features = Features(ids=("a", "b"), by_layer={"x": ragged([matrix(4, 3), matrix(5, 3)])})
    assert features.values.dtype == object
    assert [sample.shape for sample in features.values] == [(4, 3), (5, 3)]


def test_the_number_of_rows_must_equal_the_number_of_ids():
    with pytest.raises(UsageError, match=r"layer x: an array of shape \(2, 3\) for 1 sample"):
        Features(ids=("a",), by_layer={"x": matrix(2, 3)})


@pytest.mark.parametrize("name", ["id", "__metadata__", "shape of x"])
def test_reserved_names_of_layers_are_refused(name: str):
    with pytest.raises(UsageError, match="cannot be called"):
        Features(ids=("a",), by_layer={name: matrix(1, 3)})


def test_ids_that_no_format_supports_are_escaped():
    features = Features(ids=("caf\udce9.jpg", "a\0b", "naïve 🦩"), by_layer={})
    assert features.ids == ("caf\\udce9.jpg", "a\\x00b", "naïve 🦩")


def test_join_concatenates_batches_and_adds_their_counts():
    first = Features(
        ids=("a",), by_layer={"x": matrix(1, 2)}, provenance={"model": "m"}, report={"truncated": 1, "windows": 0}
    )
    second = Features(
        ids=("c",),
        by_layer={"x": matrix(1, 2, start=2)},
        provenance={"model": "m"},
        errors=(SampleError("b", "empty"),),
        report={"truncated": 2},
        passed_over=("notes.txt",),
    )
    joined = Features.join([first, second])
    assert joined.ids == ("a", "c")
    assert joined.values.tolist() == [[0, 1], [2, 3]]
    assert joined.provenance == {"model": "m"}
    assert [error.id for error in joined.errors] == ["b"]
    assert joined.report == {"truncated": 3, "windows": 0}
    assert joined.passed_over == ("notes.txt",)


def test_join_of_batches_with_different_shapes_is_ragged():
    batches = [Features(ids=(str(n),), by_layer={"x": np.ones((1, n, 3), np.float32)}) for n in (4, 5)]
    assert [sample.shape for sample in Features.join(batches).values] == [(4, 3), (5, 3)]


def test_join_takes_a_batch_whose_samples_all_failed():
    failed = Features(ids=(), by_layer={}, errors=(SampleError("a", "empty"),))
    joined = Features.join([failed, Features(ids=("b",), by_layer={"x": matrix(1, 2)})])
    assert joined.values.shape == (1, 2)
    assert len(joined.errors) == 1


def test_join_refuses_batches_of_other_layers():
    batches = [Features(ids=("a",), by_layer={name: matrix(1, 2)}) for name in ("x", "y")]
    with pytest.raises(UsageError, match="differ in their layers: x, then y"):
        Features.join(batches)


def test_join_of_nothing_is_empty():
    assert len(Features.join([])) == 0


def test_features_cannot_be_changed():
    features = Features(ids=("a",), by_layer={"x": matrix(1, 2)})
    with pytest.raises(AttributeError):
        features.ids = ()  # type: ignore[misc]


def test_features_can_be_pickled_with_their_errors():
    features = Features(ids=("a",), by_layer={"x": matrix(1, 2)}, errors=(SampleError("b.jpg", "truncated"),))
    copy = pickle.loads(pickle.dumps(features))
    assert copy.ids == features.ids
    assert (copy.values == features.values).all()
    assert (copy.errors[0].id, copy.errors[0].reason, str(copy.errors[0])) == ("b.jpg", "truncated", "b.jpg: truncated")


def test_repr_is_one_line():
    features = Features(
        ids=("a", "b"),
        by_layer={"norm": matrix(2, 3), "raw": ragged([matrix(1, 3), matrix(2, 3)])},
        errors=(SampleError("c", "empty"),),
    )
    assert repr(features) == "<Features of 2 samples; norm: 3; raw: ragged; 1 failed>"
