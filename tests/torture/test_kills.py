"""A small sample of the signals that commands must survive."""

from __future__ import annotations

import random
from pathlib import Path

from tools.torture import kills


def test_a_command_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    found = list(kills.attacks(random.Random(1), tmp_path, 2))
    assert [failure for outcome in found for failure in outcome.failures] == []
    assert all(outcome.held == outcome.tried > 0 for outcome in found)
