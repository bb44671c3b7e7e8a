"""The public API is typed: pyright checks the program that mypy checks in tests/typing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

CONSUMER = Path(__file__).parents[1] / "typing" / "consumer.py"


def test_pyright_accepts_the_program_of_a_consumer(tmp_path: Path) -> None:
    shutil.copy(CONSUMER, tmp_path)
    settings = {"typeCheckingMode": "standard", "include": ["consumer.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    report = json.loads(done.stdout)
    errors = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    assert [(each["range"]["start"]["line"] + 1, each["message"]) for each in errors] == []
    assert report["summary"]["filesAnalyzed"] == 1
