"""Messages of `zoo registry check`: each file of golden/ has its expected output next to it.

The first word of a file's name is the owner of the file. After a change of the messages, write the files again, and
read the difference before committing it: ``LAYERZOO_WRITE_GOLDEN=1 python -m pytest tests/registry/test_messages.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from layerzoo.cli import main
from layerzoo.registry.format.diagnostics import MEANINGS, Code

GOLDEN = Path(__file__).parent / "golden"
NAMESPACES = {"user": "mine", "plugin": "shop", "core": "toy"}


@pytest.fixture
def check(
    install: Callable[..., None],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Return the output of `zoo registry check`, including errors, with one plugin installed."""
    install("good")
    monkeypatch.chdir(GOLDEN)

    def run(file: Path) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["registry", "check", file.name, "--namespace", NAMESPACES[file.name.partition("-")[0]]])
        assert caught.value.code == 1
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_diagnostics_equal_the_golden_files(check: Callable[..., str], file: Path) -> None:
    message = check(file)
    kept = file.with_suffix(".txt")
    if "LAYERZOO_WRITE_GOLDEN" in os.environ:
        kept.write_text(message, encoding="utf-8")
    assert message == kept.read_text(encoding="utf-8")


def test_every_code_is_documented_and_tested() -> None:
    message = "".join(kept.read_text(encoding="utf-8") for kept in GOLDEN.glob("*.txt"))
    assert set(MEANINGS) == set(get_args(Code))
    # A file that cannot be read cannot be stored in a repository: see test_check.py.
    assert {code for code in MEANINGS if f"[{code}]" not in message} == {"unreadable"}
