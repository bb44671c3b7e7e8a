"""A small sample of the attacks on repositories: `make torture` runs them all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tools.torture.repositories import attacks


@pytest.mark.slow
def test_every_promise_holds(tmp_path: Path) -> None:
    for outcome in attacks(random.Random("sample"), tmp_path, 2):
        assert outcome.held == outcome.tried, outcome
