"""A small sample of the attacks on repositories: `make torture` runs them all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.hub import Hub
from tools.torture.repositories import Client, attacks, mutations
from tools.torture.small_repositories import small_repository


def test_a_few_changed_files_give_features_or_a_named_error(tmp_path: Path) -> None:
    kinds = [small_repository("bert")]
    (tmp_path / "elsewhere").mkdir()
    with Hub() as hub, Client(hub, tmp_path, tmp_path / "elsewhere") as client:
        client.warm_up(kinds)
        for outcome in mutations(kinds, client, random.Random("sample"), 6):
            assert outcome.held == outcome.tried, outcome


@pytest.mark.slow
def test_every_promise_holds(tmp_path: Path) -> None:
    for outcome in attacks(random.Random("sample"), tmp_path, 2):
        assert outcome.held == outcome.tried, outcome
