"""Fixtures of the registry's tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for many tests: compiling all that is installed takes longer than most of them."""
    return tmp_path_factory.mktemp("index")


@pytest.fixture
def warm_home(home: Path, shared_index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As ``home``, with what is installed already in the index."""
    monkeypatch.setenv("LAYERZOO_CACHE", str(shared_index))
    return home
