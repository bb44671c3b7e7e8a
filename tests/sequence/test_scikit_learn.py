"""scikit-learn's own checks of estimators hold: their arrays (sample, channel) are sequences of one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerzoo.sequence import SequenceClassifier, SequenceRegressor

NOT_APPLICABLE = {
    "check_sample_weight_equivalence_on_dense_data": "a sample that is repeated is in more training steps than one "
    "with a larger weight, so that the network is another one",
}
"""Checks that cannot hold, and why."""


@pytest.mark.slow
@parametrize_with_checks(
    [SequenceClassifier(hidden=16), SequenceRegressor(hidden=16)], expected_failed_checks=lambda _: NOT_APPLICABLE
)
def test_check(estimator: Any, check: Callable[[Any], None]) -> None:
    torch.set_num_threads(1)
    check(estimator)
