"""A few of the attacks by media files."""

from __future__ import annotations

import random
from pathlib import Path

from tools.torture.media import attacks


def test_media_files_cost_themselves_only(tmp_path: Path) -> None:
    for outcome in attacks(random.Random(0), tmp_path, 1):
        assert outcome.held == outcome.tried, outcome
