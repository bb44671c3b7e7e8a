"""What `zoo registry check` says, as text: each file of golden/ has what is said about it beside it.

The first word of a file's name says whose file it is. After a change of the words, all are written again, to be read
before they are committed: ``LAYERZOO_WRITE_GOLDEN=1 python -m pytest tests/registry/test_messages.py``.
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
    """The text of `zoo registry check`, errors included, with one plugin installed."""
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
    said = check(file)
    kept = file.with_suffix(".txt")
    if "LAYERZOO_WRITE_GOLDEN" in os.environ:
        kept.write_text(said, encoding="utf-8")
    assert said == kept.read_text(encoding="utf-8")


def test_every_code_is_documented_and_tested() -> None:
    said = "".join(kept.read_text(encoding="utf-8") for kept in GOLDEN.glob("*.txt"))
    assert set(MEANINGS) == set(get_args(Code))
    # A file that cannot be read cannot be kept in a repository: see test_check.py.
    assert {code for code in MEANINGS if f"[{code}]" not in said} == {"unreadable"}
