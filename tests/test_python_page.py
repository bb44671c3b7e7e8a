"""The code of the pages on Python runs with the libraries that they name, and has the values in its comments."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.page_program import run_page
from tests.readme import PYTHON_PAGE, SEQUENCES_PAGE, write_files


@pytest.mark.parametrize("page", [PYTHON_PAGE, SEQUENCES_PAGE], ids=lambda page: page.name)
def test_the_code_of_the_page_runs(page: Path, tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, samples)
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), str(page))
