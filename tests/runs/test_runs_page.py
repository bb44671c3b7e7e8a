"""The commands and the code of docs/runs.md run in order, and print what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.page_program import page_blocks, run_page
from tests.readme import RUNS_PAGE, page_commands, prints, write_files
from tests.terminal import Zoo


def test_the_page_of_runs_is_correct(zoo: Zoo, samples: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(home.parent / "datasets"))
    write_files(home, samples)
    page = RUNS_PAGE.read_text(encoding="utf-8")
    blocks = [(block.line, "python", block.code) for block in page_blocks("python", page)]
    blocks += [(block.line, "console", block.code) for block in page_blocks("console", page)]
    for line, language, code in sorted(blocks):
        if language == "python":
            run_page(f"```python\n{code}```\n", f"{RUNS_PAGE.name}:{line}")
            continue
        for command in page_commands(f"```console\n{code}```\n"):
            result = zoo(*command.text.split()[1:])
            printed = result.out + result.err
            assert result.code == 0, printed
            assert not command.output or prints(command.output, printed), f"{command.text}\n{printed}"
