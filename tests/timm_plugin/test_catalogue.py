"""The catalogue that the plugin ships: whole, and what a trace finds here and now."""

from __future__ import annotations

import json
from pathlib import Path

import timm

import layerzoo
from layerzoo.registry import registry
from layerzoo.runtime.catalogue import catalogue_path, differences, shipped_text, trace_architectures

SAMPLE = (
    *("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("swin_tiny_patch4_window7_224", "convnext_atto", "levit_128s", "vgg11", "coat_lite_tiny"),
)
"""Of each kind one: stages and blocks, prefix tokens, channels last, tags with other heads and sizes, branches."""


def test_every_architecture_and_every_pretrained_tag_is_in_it() -> None:
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


def test_it_is_small() -> None:
    assert Path(catalogue_path("timm")).stat().st_size < 3_000_000


def test_a_sample_that_is_traced_again_is_as_it_says() -> None:
    traced = [found for found, _ in trace_architectures("timm", SAMPLE, None, processes=1)]
    assert list(differences("timm", traced, shipped_text("timm"))) == []
