"""LayerFeatures passes the check functions of scikit-learn, one by one, with texts in place of their numbers.

``check_estimator`` itself runs one check for an estimator that takes no 2D array. Here all checks for a transformer of
numbers run. Those that need X get an estimator that turns each row of numbers into a text.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import Tags, estimator_checks
from sklearn.utils.validation import validate_data

from layerzoo.sklearn import LayerFeatures

PAGE = Path(__file__).parents[2] / "docs" / "scikit-learn.md"
WORDS = np.array(["the", "cat", "dog", "drinks", "eats", "milk", "meat"])
KEPT = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
}
"""They take no X, and run with LayerFeatures itself."""
FURTHER = (
    "check_dataframe_column_names_consistency",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
)
"""Checks that scikit-learn runs for its own transformers only."""
NOT_APPLICABLE = {"check_array_api_input", "check_param_validation"}


def texts_of(numbers: Any) -> list[str]:
    """Return a text for each row: the remainders of ten times its values number the words."""
    return [" ".join(WORDS[(np.abs(row) * 10).astype(np.int64) % len(WORDS)]) for row in np.asarray(numbers, float)]


class FeaturesOfNumbers(LayerFeatures):
    """Transforms rows of numbers, as the checks make them, as texts."""

    def __init__(self, model: str = "toy/next-word", layer: Any = None, pool: Any = None) -> None:
        super().__init__(model, layer, pool)

    def fit(self, X: Any, y: Any = None) -> Self:
        super().fit(texts_of(validate_data(self, X)))
        validate_data(self, X)
        return self

    def transform(self, X: Any) -> Any:
        numbers = validate_data(self, X, reset=not hasattr(self, "n_features_in_"))
        return LayerFeatures.transform.__wrapped__(self, texts_of(numbers))  # scikit-learn wraps the result once

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        if input_features is not None and len(input_features) != self.n_features_in_:
            raise ValueError("input_features should have length equal to number of features")
        if input_features is not None and not np.array_equal(
            input_features, getattr(self, "feature_names_in_", input_features)
        ):
            raise ValueError("input_features is not equal to feature_names_in_")
        return super().get_feature_names_out()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


def _checks() -> dict[str, Callable[[Any], None]]:
    checks = {}
    for _, check in estimator_checks.estimator_checks_generator(FeaturesOfNumbers(), legacy=True):
        words = [check.func.__name__, *(f"{name}={value}" for name, value in check.keywords.items())]
        checks[" ".join(words) if "array_api" not in words[0] else words[0]] = check
    name = FeaturesOfNumbers.__name__
    return checks | {each: partial(getattr(estimator_checks, each), name) for each in FURTHER}


CHECKS = _checks()


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_check_of_scikit_learn_passes(name: str) -> None:
    function = name.partition(" ")[0]
    if function in NOT_APPLICABLE:
        pytest.skip("not applicable: see docs/scikit-learn.md")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CHECKS[name](LayerFeatures("toy/next-word") if function in KEPT else FeaturesOfNumbers())


def test_the_page_lists_each_check() -> None:
    rows = dict(re.findall(r"^\| `(check_\w+)` \| (kept|adapted|not applicable) \|", PAGE.read_text(), re.MULTILINE))
    functions = {name.partition(" ")[0] for name in CHECKS}
    assert rows == {
        name: "not applicable" if name in NOT_APPLICABLE else "kept" if name in KEPT else "adapted"
        for name in functions
    }


def test_estimators_are_cloned_with_their_parameters() -> None:
    features = LayerFeatures("toy/next-word", ["block.0", "head"], {"head": "max"})
    assert clone(features).get_params() == features.get_params()
