"""Long lists of cases: a few of them run in ``make test``, all of them in ``make test-slow``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest


def sampled(cases: Sequence[Any], count: int, *, always: Collection[Any] = ()) -> list[Any]:
    """Mark all but some cases as slow.

    Args:
        cases: the arguments of ``pytest.mark.parametrize``, in order.
        count: how many evenly spread cases to leave unmarked.
        always: further cases to leave unmarked.
    """
    step = max(1, len(cases) // count)
    return [
        case if case in always or index % step == 0 else pytest.param(case, marks=pytest.mark.slow)
        for index, case in enumerate(cases)
    ]
