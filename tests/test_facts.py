"""Traces are cached. A damaged or outdated file only causes another trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import layerzoo
from layerzoo.errors import CutError
from layerzoo.facts import traced_layers
from layerzoo.registry import registry
from layerzoo.runtime import trace_layers

SPEC = "toy/next-word"


def cached_trace(home: Path) -> Path:
    (path,) = (home.parent / "cache/traces").iterdir()
    return path


def test_a_trace_is_read_from_the_cache(home: Path) -> None:
    assert traced_layers(layerzoo.model(SPEC)) is None
    layers = trace_layers(SPEC)
    assert traced_layers(layerzoo.model(SPEC)) == layers
    before = cached_trace(home).stat().st_mtime_ns
    layerzoo.load(SPEC)
    assert cached_trace(home).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda written: b"",
        lambda written: b"garbage",
        lambda written: b"\xff\xfe\x00",
        lambda written: b"{}",
        lambda written: b'{"format": 3}',
        lambda written: written[: len(written) // 2],
        lambda written: written.replace(b'"depth": 0.5', b'"depth": 0.7'),
        lambda written: written.partition(b"\n")[2],
    ],
    ids=["empty", "not JSON", "not text", "no facts", "other facts", "truncated", "changed", "no digest"],
)
def test_a_damaged_file_is_traced_again(home: Path, damage: Callable[[bytes], bytes]) -> None:
    layers = trace_layers(SPEC)
    written = cached_trace(home).read_bytes()
    cached_trace(home).write_bytes(damage(written))
    assert cached_trace(home).read_bytes() != written
    assert traced_layers(layerzoo.model(SPEC)) is None
    assert layerzoo.extract(SPEC, ["cat"], layer="module:hidden").values.shape == (1, 3)
    assert traced_layers(layerzoo.model(SPEC)) == layers


def test_a_model_without_an_installed_builder_has_no_trace(home: Path) -> None:
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/net: {modality: text, builder: gone, preprocess: {max_tokens: 8}}\n"
    )
    assert traced_layers(registry().model("mine/net")) is None


def test_a_plugin_whose_files_change_is_traced_again(
    install_copy: Callable[[str], Path],
) -> None:
    package = install_copy("varying")
    trace_layers("varying/image")
    assert traced_layers(layerzoo.model("varying/image")) is not None
    (package / "__pycache__" / "more.py").parent.mkdir(exist_ok=True)
    (package / "__pycache__" / "more.py").write_text("1")
    assert traced_layers(layerzoo.model("varying/image")) is not None
    code = package / "__init__.py"
    code.write_text(code.read_text().replace("nn.Conv2d(4, 4, 3, padding=1)", "nn.Conv2d(4, 5, 3, padding=1)"))
    assert traced_layers(layerzoo.model("varying/image")) is None
    trace_layers("varying/image")
    (package / "settings.toml").write_text("width = 4")
    assert traced_layers(layerzoo.model("varying/image")) is None


def test_a_network_that_differs_from_its_trace_is_an_error_at_its_first_run(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("varying")
    images = [np.full((16, 16, 3), level, np.uint8) for level in (10, 200)]
    before = layerzoo.extract("varying/image", images, layer="stage.0", pool="none", weights="random:0")
    monkeypatch.setenv("VARYING_STRIDE", "4")  # the same tensors with other activation shapes
    with pytest.raises(CutError, match=r"stage.0: the network gives \(2, 4, 4, 4\) .* and \(4, 8, 8\) .* was traced"):
        layerzoo.extract("varying/image", images, layer="stage.0", pool="none", weights="random:0")
    after = layerzoo.extract("varying/image", images, layer="stage.0", pool="none", weights="random:0")
    assert (before.values.shape, after.values.shape) == ((2, 4, 8, 8), (2, 4, 4, 4))
