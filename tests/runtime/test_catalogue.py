"""Models of a generated catalogue, after a change of the library and during a build."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hub import Hub

import layerzoo
from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.jobs.ledger import Ledger
from layerzoo.runtime import trace_layers
from layerzoo.runtime.backbone import resolved_model
from layerzoo.runtime.catalogue import state_of, trace_architectures

InstallCopy = Callable[[str], Path]

NET = {
    "id": "net",
    "modality": "vision",
    "builder": "catalogued",
    "args": {"width": 4},
    "preprocess": {"size_px": 8, "resize": "nearest", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "weights": "hf://acme/net/model.safetensors",
}
THEN = "1.0"


@pytest.fixture
def package(install_copy: InstallCopy, home: Path) -> Path:
    return install_copy("catalogued")


def ship(package: Path, *layers: list[Any], torch_version: str = THEN) -> None:
    """Return a catalogue of one model, as another version of torch may have written it."""
    head = {"layerzoo": 1, "traced_with": {"torch": torch_version}, "columns": ["name", "module", "axes"]}
    lines = [head, {**NET, "layers": layers} if layers else NET]
    (package / "models.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize("layer", [["stem", "gone"], ["stem", "0", "BTC"]], ids=["no such module", "other axes"])
def test_an_outdated_catalogue_names_both_versions_and_the_fix(package: Path, layer: list[Any]) -> None:
    ship(package, layer)
    with pytest.raises(LayerError) as caught:
        layerzoo.load("catalogued/net", layer="stem", weights="random:0")
    assert f"were traced with torch {THEN} (installed: {importlib.metadata.version('torch')})" in str(caught.value)
    assert str(caught.value).endswith("To trace them again: zoo layers --trace catalogued/net")


def test_a_new_trace_replaces_an_outdated_catalogue_row(package: Path) -> None:
    ship(package, ["stem", "gone"])
    layers = trace_layers("catalogued/net")
    assert "gone" not in {layer.module for layer in layers}
    backbone = layerzoo.load("catalogued/net", layer=layers[0].name, weights="random:0")
    assert resolved_model(backbone).spec.layers == layers


def test_a_model_that_inherits_from_a_catalogued_one_has_the_same_fix(package: Path, home: Path) -> None:
    ship(package, ["stem", "gone"])
    (home / "registry.yaml").write_text("layerzoo: 1\nmodels: {mine/net: {modality: vision, base: catalogued/net}}\n")
    with pytest.raises(LayerError, match="zoo layers --trace mine/net"):
        layerzoo.load("mine/net", layer="stem", weights="random:0")
    trace_layers("mine/net")
    layerzoo.load("mine/net", layer="module:0", weights="random:0")


def test_a_catalogue_of_another_version_is_used_if_it_matches(package: Path) -> None:
    ship(package, ["stem", "0", "BCHW"])
    backbone = layerzoo.load("catalogued/net", layer="stem", weights="random:0")
    assert [layer.name for layer in resolved_model(backbone).spec.layers] == ["stem"]


def test_a_mistake_in_a_current_catalogue_is_reported_as_an_error_of_the_plugin(package: Path) -> None:
    ship(package, ["stem", "gone"], torch_version=importlib.metadata.version("torch"))
    with pytest.raises(UnknownLayerError) as caught:
        layerzoo.load("catalogued/net", layer="stem", weights="random:0")
    assert "--trace" not in str(caught.value)


def test_random_weights_of_a_network_without_files_open_no_connection(package: Path, connected: Hub) -> None:
    ship(package)
    layerzoo.load("catalogued/net", layer="last", weights="random:0")
    trace_layers("catalogued/net")
    assert connected.requests == []


def test_the_state_of_a_plugin_changes_with_its_files(package: Path) -> None:
    before = state_of("catalogued")
    assert before == state_of("catalogued")
    (package / "names.toml").write_text("width = 4\n", encoding="utf-8")
    assert state_of("catalogued") != before


def test_results_that_cannot_be_stored_are_returned(
    package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    ledger = Ledger(tmp_path / "file" / "catalogued.ledger", {})
    ((wide, was_known),) = trace_architectures("catalogued", ["wide"], ledger, processes=1)
    assert [row["id"] for row in wide] == ["wide"]
    assert wide[0]["layers"]
    assert not was_known
    assert (
        "cannot be written: File exists. If this run is stopped, the next one starts from the beginning" in caplog.text
    )
