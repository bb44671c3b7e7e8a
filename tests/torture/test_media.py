"""A few of the attacks by media files. Crashes, hangs and limits of decoders are in tests/media/test_decoder.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tools.torture.media import attacks


@pytest.mark.slow
def test_media_files_affect_only_themselves(tmp_path: Path) -> None:
    for outcome in attacks(random.Random(0), tmp_path, 1):
        assert outcome.held == outcome.tried, outcome
