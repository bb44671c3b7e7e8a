"""The catalogue of the plugin is complete, and equals new traces."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from tests.hub import Hub
from tools.certify.exact import save

import layerzoo
from layerzoo.registry import registry
from layerzoo.runtime.backbone import resolved_model
from layerzoo.runtime.catalogue import catalogue_path, differences, shipped_text, trace_architectures
from layerzoo.spec import FrozenMap

SAMPLE = (
    *("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("swin_tiny_patch4_window7_224", "convnext_atto", "levit_128s", "vgg11", "coat_lite_tiny"),
)
"""One of each kind: stages and blocks, prefix tokens, channels last, tags with other heads and sizes, branches."""


def test_the_catalogue_contains_every_architecture_and_pretrained_tag() -> None:
    tags = timm.list_models(pretrained=True, include_tags=True)
    assert {f"timm/{tag}" for tag in tags} <= set(registry().ids(plugin="timm"))
    assert [
        name for name in timm.list_models() if layerzoo.model(f"timm/{name}").args["name"].split(".")[0] != name
    ] == []


def test_every_model_has_layers_with_shapes_and_costs() -> None:
    lines = Path(catalogue_path("timm")).read_text(encoding="utf-8").splitlines()
    models = [json.loads(line) for line in lines[1:]]
    assert [each["id"] for each in models] == sorted(each["id"] for each in models)
    assert [each["id"] for each in models if not each.get("layers") or not each["flops"] or not each["params"]] == []


def test_the_catalogue_is_small() -> None:
    assert Path(catalogue_path("timm")).stat().st_size < 3_000_000


def test_a_catalogued_model_is_traced_up_to_the_cut(home: Path) -> None:
    early = layerzoo.load("timm/test_vit", layer="block.0", weights="random:0")
    assert resolved_model(early).tracer.latest is not None
    assert not resolved_model(early).tracer.latest.trace.is_whole
    for layer in ("block.1", "head", "module:blocks.1.mlp.fc1", "penultimate"):
        (name,) = [each.name for each in layerzoo.load("timm/test_vit", layer=layer, weights="random:0").layers]
        assert name in (layer, "norm", "pooled")
    again = layerzoo.load("timm/test_vit", layer="block.0", weights="random:0")
    assert again.cut == early.cut


def test_a_model_catalogued_with_another_library_version_is_traced_completely(home: Path) -> None:
    spec = layerzoo.model("timm/test_vit")
    other = replace(spec, traced_with=FrozenMap({**spec.traced_with, "timm": "0.9.0"}))
    resolved = resolved_model(layerzoo.load(other, layer="block.0", weights="random:0"))
    assert resolved.tracer.latest is not None
    assert resolved.tracer.latest.trace.is_whole


def test_another_checkpoint_of_a_known_architecture_needs_no_connection(connected: Hub, tmp_path: Path) -> None:
    save(timm.create_model("test_vit"), tmp_path / "mine.safetensors")
    layerzoo.load("timm/test_vit", layer="block.0", weights=tmp_path / "mine.safetensors")
    assert connected.requests == []


@pytest.mark.parametrize(
    "names", [SAMPLE[::2], pytest.param(SAMPLE[1::2], marks=pytest.mark.slow)], ids=["some", "others"]
)
def test_a_sample_of_the_catalogue_equals_new_traces(names: tuple[str, ...]) -> None:
    traced = [found for found, _ in trace_architectures("timm", names, None, processes=1)]
    assert list(differences("timm", traced, shipped_text("timm"))) == []
