"""The code of docs/python.md runs with the libraries that it names, and has the values in its comments."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.page_program import run_page
from tests.readme import PYTHON_PAGE, write_files


def test_the_code_of_the_page_runs(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, samples)
    monkeypatch.chdir(tmp_path)
    run_page(PYTHON_PAGE.read_text(encoding="utf-8"), str(PYTHON_PAGE))
