"""The public API is typed: a strict type checker checks two small programs against the installed package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CACHE = Path(__file__).parents[2] / ".mypy_cache" / "users"  # the first check of torch's types takes 20 s

Errors = list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Errors]:
    """Return mypy's errors in each program (line, code, message), without the settings of this project."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={CACHE}", "--output=json"]
    programs = [str(FOLDER / "consumer.py"), str(FOLDER / "mistakes.py")]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run([*command, *programs], cwd=elsewhere, capture_output=True, encoding="utf-8")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    reported = [error for error in map(json.loads, done.stdout.splitlines()) if error["severity"] == "error"]
    return {
        Path(program).name: [
            (error["line"], error["code"], error["message"]) for error in reported if error["file"] == program
        ]
        for program in programs
    }


def test_the_public_api_has_the_expected_types(errors: dict[str, Errors]) -> None:
    assert errors["consumer.py"] == []


def test_wrong_uses_are_type_errors(errors: dict[str, Errors]) -> None:
    lines = (FOLDER / "mistakes.py").read_text(encoding="utf-8").splitlines()
    expected = [(number, mark[1]) for number, line in enumerate(lines, 1) if (mark := re.search(r"  # (\S+)$", line))]
    assert [(line, code) for line, code, _ in errors["mistakes.py"]] == expected
