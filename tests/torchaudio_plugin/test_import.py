"""A torchaudio that was built for another torch costs its own models only, and the fix is named."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import pytest

from layerzoo.plugins.probe import probe
from layerzoo.registry import registry
from layerzoo.runtime import load


@pytest.fixture
def mismatched(small_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package torchaudio 2.6.0 in front of the installed one, whose compiled part cannot be loaded."""
    package = tmp_path / "site" / "torchaudio"
    metadata = tmp_path / "site" / "torchaudio-2.6.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.6.0\n")
    (package / "libtorchaudio.so").write_bytes(b"built for another torch")
    (package / "__init__.py").write_text(
        "import pathlib, torch\ntorch.ops.load_library(pathlib.Path(__file__).with_name('libtorchaudio.so'))\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)


@pytest.mark.usefixtures("mismatched")
def test_both_versions_and_the_fix_are_named_and_other_models_work() -> None:
    outcome = probe(registry().plugin("torchaudio"))  # in a separate process, as `zoo doctor` imports it
    assert outcome.state == "failed"
    assert f"torchaudio 2.6.0 does not match torch {version('torch')} and cannot be imported" in (outcome.cause or "")
    assert (outcome.fix or "").startswith("pip install -U torch torchaudio; until then: zoo plugin disable torchaudio")
    assert load("toy/next-word").layers
    assert registry().model("torchaudio/WAV2VEC2_BASE").params == 94_370_944
