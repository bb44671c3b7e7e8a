"""A small sample of the attacks on files of features and on converted checkpoints."""

from __future__ import annotations

import random
from pathlib import Path

from tools.torture import features


def test_a_damaged_or_crafted_file_is_refused(tmp_path: Path) -> None:
    found = list(features.attacks(random.Random(1), tmp_path, 1))
    assert [failure for outcome in found for failure in outcome.failures] == []
    assert all(outcome.held == outcome.tried > 0 for outcome in found)
