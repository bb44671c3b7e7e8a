"""layerzoo is typed for those who use it: a strict type checker reads two small programs against what is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CACHE = Path(__file__).parents[2] / ".mypy_cache" / "users"  # torch's types take 20 s to read the first time

Found = list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What mypy finds in each program: line, code, message. The project's own settings do not count."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={CACHE}", "--output=json"]
    programs = [str(FOLDER / "consumer.py"), str(FOLDER / "mistakes.py")]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run([*command, *programs], cwd=elsewhere, capture_output=True, encoding="utf-8")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = [error for error in map(json.loads, done.stdout.splitlines()) if error["severity"] == "error"]
    return {
        Path(program).name: [
            (error["line"], error["code"], error["message"]) for error in errors if error["file"] == program
        ]
        for program in programs
    }


def test_a_program_has_the_types_it_expects(found: dict[str, Found]) -> None:
    assert found["consumer.py"] == []


def test_what_is_wrong_in_a_program_is_found(found: dict[str, Found]) -> None:
    lines = (FOLDER / "mistakes.py").read_text(encoding="utf-8").splitlines()
    wrong = [(number, mark[1]) for number, line in enumerate(lines, 1) if (mark := re.search(r"  # (\S+)$", line))]
    assert [(line, code) for line, code, _ in found["mistakes.py"]] == wrong
