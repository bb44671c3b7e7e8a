"""Layers of real networks that declare none, by family: names, modules, axes and shapes equal a golden file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.sampling import sampled

from layerzoo.runtime.loading import trace_layers
from layerzoo.spec import FrozenMap, Layer, ModelSpec

GOLDEN = Path(__file__).parent / "golden" / "timm_layers.txt"
FAMILIES = {
    "resnet18": "stages of blocks after a stem",
    "legacy_seresnet18": "a stem that is named like the stages",
    "mobilenetv3_small_050": "a stage that consists of several modules",
    "densenet121": "stages without blocks of their width",
    "vgg11": "one flat chain of layers without blocks",
    "inception_v3": "modules that are numbered with letters",
    "dpn48b": "a row of the plugin selects the modules",
    "selecsls42": "blocks whose outputs the last one reads",
    "vit_tiny_patch16_224": "a plain transformer",
    "convit_tiny": "a class token that is added late",
    "swin_tiny_patch4_window7_224": "channels last",
    "pit_ti_224": "maps outside, tokens inside of a stage",
    "inception_resnet_v2": "blocks that are not numbered alike",
    "twins_svt_small": "blocks in a list of lists",
    "tnt_s_legacy_patch16_224": "blocks that also return their windows",
    "crossvit_tiny_240": "two branches, each with its own head",
    "hrnet_w18_small": "blocks, then branches that begin one after the other",
    "coat_tiny": "stages, and branches after them",
}


def traced(name: str) -> tuple[Layer, ...]:
    return trace_layers(ModelSpec(id=f"mine/{name}", modality="vision", builder="timm", args=FrozenMap({"name": name})))


def line(layer: Layer) -> str:
    shape = "×".join(map(str, layer.shape or ()))
    prefix = "" if layer.prefix_tokens is None else f" {layer.prefix_tokens} in front"
    return f"{layer.name:<20} {layer.address:<40} {' '.join(layer.axes or ('?',))} {shape}{prefix}"


def pinned() -> dict[str, list[str]]:
    if not GOLDEN.exists():
        return {}
    blocks = GOLDEN.read_text(encoding="utf-8").strip().split("\n\n")
    return {head.split(":")[0]: rows for head, *rows in (block.split("\n") for block in blocks)}


@pytest.mark.skipif("LAYERZOO_WRITE_GOLDEN" in os.environ, reason="the file is being written")
@pytest.mark.parametrize("name", sampled(list(FAMILIES), 4))
def test_layers_of_a_family_equal_the_golden_file(name: str) -> None:
    assert [line(layer) for layer in traced(name)] == pinned()[name]


@pytest.mark.skipif("LAYERZOO_WRITE_GOLDEN" not in os.environ, reason="with LAYERZOO_WRITE_GOLDEN=1 it writes the file")
def test_write_the_golden_files() -> None:
    blocks = (
        "\n".join((f"{name}: {habit}", *(line(layer) for layer in traced(name)))) for name, habit in FAMILIES.items()
    )
    GOLDEN.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
