"""A small sample of the attacks by a folder; ``make torture`` runs all of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("tools.torture.folders")

from tools.torture import folders


def test_a_folder_does_no_harm(tmp_path: Path) -> None:
    found = list(folders.sample(random.Random(0), tmp_path, 6))
    assert len(found) >= 5
    for outcome in found:
        assert outcome.held == outcome.tried, "\n".join(outcome.failures)


@pytest.mark.slow
def test_a_folder_does_no_harm_in_any_way(tmp_path: Path) -> None:
    for outcome in folders.attacks(random.Random(1), tmp_path, 6):
        assert outcome.held == outcome.tried, "\n".join(outcome.failures)
