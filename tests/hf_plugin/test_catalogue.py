"""The catalogue of the architectures of transformers, each under the checkpoint of its documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import layerzoo
from layerzoo.errors import RepositoryError
from layerzoo.registry import registry
from layerzoo.runtime.catalogue import catalogue_path, differences, shipped_text, trace_architectures
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo.weights import Files
from layerzoo_hf import catalogue
from layerzoo_hf.identify import described

SAMPLE = ["bert", "clip:text", "swin", "whisper"]


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """Return the models of the catalogue file."""
    return [json.loads(line) for line in Path(catalogue_path("hf")).read_text(encoding="utf-8").splitlines()[1:]]


def _names(lines: list[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield from (line["id"], *line.get("aliases", ()))


@pytest.mark.parametrize(
    ("name", "id", "modality"),
    [
        ("hf/bert", "hf/google-bert/bert-base-uncased", "text"),
        ("hf/gpt2", "hf/gpt2", "text"),  # the checkpoint states no size that the default configuration could agree with
        ("hf/bloom", "hf/bloom", "text"),
        ("hf/vit", "hf/google/vit-base-patch16-224", "vision"),
        ("hf/clip", "hf/openai/clip-vit-base-patch32", "vision"),
        ("hf/clip_vision_model", "hf/openai/clip-vit-base-patch32", "vision"),
        ("hf/clip:text", "hf/openai/clip-vit-base-patch32:text", "text"),
        ("hf/clip_text_model", "hf/openai/clip-vit-base-patch32:text", "text"),
        ("hf/clap", "hf/clap", "audio"),
        ("hf/whisper", "hf/openai/whisper-tiny", "audio"),
        ("hf/videomae", "hf/MCG-NJU/videomae-base", "video"),
        ("hf/segformer", "hf/segformer", "vision"),  # the documentation names another network's checkpoint
    ],
)
def test_a_type_names_the_checkpoint_of_its_documentation(name: str, id: str, modality: str) -> None:
    spec = layerzoo.model(name)
    assert (spec.id, spec.modality) == (id, modality)
    assert (spec.weights is None) == ("/" not in id.removeprefix("hf/"))


def test_nearly_every_type_is_listed_once(lines: list[dict[str, Any]]) -> None:
    names = list(_names(lines))
    assert len(set(names)) == len(names)
    missing = MODEL_MAPPING_NAMES.keys() - set(names)
    assert len(missing) < 0.03 * len(MODEL_MAPPING_NAMES), sorted(missing)
    assert {"autoformer", "patchtst", "timesfm"} <= missing  # their inputs are none of the four modalities


def test_preprocessing_equals_the_processor_of_the_library() -> None:
    clip, bert = layerzoo.model("hf/clip").preprocess, layerzoo.model("hf/bert").preprocess
    assert (clip.size_px, clip.resize, clip.mean[0]) == ((224, 224), "bicubic", 0.48145466)
    assert (bert.max_tokens, bert.cls_token) == (512, True)
    assert layerzoo.model("hf/whisper").preprocess.window_s == 30


@pytest.mark.parametrize(
    ("model_type", "other"),
    [
        ("dinov2_with_registers", "dinov2"),
        ("dinov3_convnext", "dinov3_vit"),
        ("rt_detr_v2", "rt_detr"),
        ("dab-detr", "conditional_detr"),
    ],
)
def test_a_type_without_a_processor_uses_that_of_its_checkpoints(model_type: str, other: str) -> None:
    found, expected = (described(CONFIG_MAPPING[name](), Files(), "vision") for name in (model_type, other))
    assert found == expected
    assert found["preprocess"]["size_px"][0] in (224, 640, 800)


def test_a_network_that_would_compute_wrong_features_is_refused() -> None:
    """Its attention is zeros without a CUDA kernel, and the library does not report that."""
    args = FrozenMap({"model_type": "mra", "config": {"num_hidden_layers": 1}})
    spec = ModelSpec(id="mine/mra", modality="text", builder="transformers", args=args)
    with pytest.raises(RepositoryError, match=r"mine/mra: its attention is a CUDA kernel alone"):
        layerzoo.load(spec, weights="random:0")
    assert not [each for each in registry().ids(plugin="hf") if "/mra" in each]


@pytest.mark.slow
def test_a_network_that_is_refused_is_not_listed() -> None:
    assert "mra" not in catalogue.models()


def test_the_catalogue_is_small() -> None:
    assert Path(catalogue_path("hf")).stat().st_size < 3_000_000


def test_layers_have_shapes_and_costs() -> None:
    block = next(layer for layer in layerzoo.model("hf/bert").layers if layer.name == "block.3")
    assert (block.module, block.shape, block.params) == ("encoder.layer.3", (16, 768), 52_188_672)


def test_a_checkpoint_of_several_types_belongs_to_the_nearest_name() -> None:
    documented = catalogue.documented_checkpoints()
    owners = {checkpoint: name for name, checkpoint in catalogue._owned(documented).items()}
    assert owners["openai/clip-vit-base-patch32"] == "clip"
    assert owners["FacebookAI/xlm-mlm-en-2048"] == "xlm"
    assert owners["google/mobilenet_v2_1.0_224"] == "mobilenet_v2"
    assert len(documented) > 0.95 * len(MODEL_MAPPING_NAMES)


def test_an_architecture_without_weights_can_be_built_with_random_weights() -> None:
    backbone = layerzoo.load("hf/segformer", layer="stage.0", weights="random:0")
    assert backbone.provenance["weights"]["source"] == "random:0"


@pytest.mark.slow
def test_a_sample_of_the_catalogue_equals_new_traces() -> None:
    traced = [found for found, _ in trace_architectures("hf", SAMPLE, None, processes=1)]
    assert list(differences("hf", traced, shipped_text("hf"))) == []


def test_every_model_can_be_browsed(lines: list[dict[str, Any]]) -> None:
    assert registry().ids(plugin="hf") == [f"hf/{line['id']}" for line in lines]
