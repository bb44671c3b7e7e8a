"""The layer `embedding` of each tower of a dual encoder equals the library's own method."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tests.hf_plugin.dual_encoders import TYPES, VIDEO, network, saved
from tests.hf_plugin.sentence_encoders import word_pieces
from tests.hub import Hub
from tests.page_program import run_page
from tests.readme import HUB_PAGE
from tests.terminal import Zoo
from transformers import (
    BertConfig,
    CLIPImageProcessorPil,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTConfig,
)
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import layerzoo
from layerzoo.errors import UsageError
from layerzoo.runtime.backbone import resolved_model
from layerzoo_hf.embedding import has_library_embedding

METHODS = {
    "text": ("get_text_features", "input_ids"),
    "vision": ("get_image_features", "pixel_values"),
    "audio": ("get_audio_features", "input_features"),
    "video": ("get_video_features", "pixel_values_videos"),
}
WITHOUT_PREPROCESSING = {("siglip2", "vision")}
"""Accepts patches of images of any shape, which the library's processor cuts: layerzoo refuses it with the reason."""

Declare = Callable[..., None]


@pytest.fixture
def declare(home: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    def add(folder: Path, **models: dict[str, Any]) -> None:
        rows = {
            f"mine/{name}": {"modality": name, "builder": "transformers", "weights": f"file:{folder}", **row}
            for name, row in models.items()
        }
        (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": rows}))

    return add


def towers(whole: Any) -> list[str]:
    model_type = whole.config.model_type
    found = [name for name in METHODS if has_library_embedding(whole.config, name)]
    return [name for name in found if (model_type, name) not in WITHOUT_PREPROCESSING]


def assert_equals_the_library(whole: Any, modality: str) -> None:
    """Compare a tower's default layer, on a random batch of three, with the library's method on the same batch."""
    backbone = layerzoo.load(f"mine/{modality}")
    assert [layer.name for layer in backbone.layers] == ["embedding"]
    example = backbone.preprocess.example(3)
    torch.manual_seed(1)
    inputs = {name: _random(name, tensor) for name, tensor in example.inputs.items()}
    found = backbone.activations(replace(example, inputs=inputs))["embedding"]
    method, main = METHODS[modality]
    if len(inputs) == 1:
        main = "pixel_values" if whole.config.model_type == "xclip" and modality == "video" else main
        inputs = {main: next(iter(inputs.values()))}
    with torch.inference_mode():
        wanted = getattr(whole, method)(**inputs).pooler_output
    assert torch.allclose(found, wanted, atol=1e-6)
    assert wanted.std() > 1e-3
    others = {name.split(".")[0] for name in whole.state_dict()} & {f"{name}_model" for name in METHODS}
    loaded = {name.split(".")[0] for name in backbone.module.state_dict()}
    assert not others & loaded


def _random(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name != "input_ids":
        return torch.randn(tensor.shape) if tensor.is_floating_point() else tensor
    ids = torch.randint(5, 90, tensor.shape)
    ids[:, -1] = 2  # for CLIP and similar types, the token whose vector represents the text
    return ids


def check(model_type: str, folder: Path, declare: Declare) -> None:
    whole = saved(folder, model_type)
    rows = {name: {"preprocess": VIDEO} if name == "video" else {} for name in towers(whole)}
    declare(folder, **rows)
    assert rows
    for modality in rows:
        assert_equals_the_library(whole, modality)


@pytest.mark.parametrize("model_type", ["clip", "siglip", "clap", "xclip", "altclip"])
def test_the_embedding_equals_the_method_of_the_library(model_type: str, tmp_path: Path, declare: Declare) -> None:
    check(model_type, tmp_path, declare)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(TYPES))
def test_the_embedding_of_every_type_equals_the_method_of_the_library(
    model_type: str, tmp_path: Path, declare: Declare
) -> None:
    check(model_type, tmp_path, declare)


@pytest.mark.slow
def test_every_dual_encoder_of_the_library_is_tested() -> None:
    from transformers import CONFIG_MAPPING

    found = set()
    for name in MODEL_MAPPING_NAMES:
        try:
            config = CONFIG_MAPPING[name]()
            found |= {name} if has_library_embedding(config, "text") else set()
        except (ImportError, KeyError, ValueError):
            continue
    assert found - {"vision-text-dual-encoder"} <= TYPES.keys()


def test_a_pair_of_any_two_networks_is_a_dual_encoder(tmp_path: Path, declare: Declare) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**small, image_size=32, patch_size=8), BertConfig(**small, vocab_size=99), projection_dim=16
    )
    torch.manual_seed(0)
    whole = VisionTextDualEncoderModel(config).eval()
    whole.save_pretrained(tmp_path)
    preprocess = {"size_px": [32, 32], "resize": "bicubic", "mean": [0, 0, 0], "std": [1, 1, 1]}
    declare(tmp_path, vision={"preprocess": preprocess}, text={})
    assert_equals_the_library(whole, "vision")
    assert_equals_the_library(whole, "text")


@pytest.mark.parametrize(
    ("model_type", "kind", "modality"),
    [
        ("clip", "CLIPTextModelWithProjection", "text"),
        ("clip", "CLIPVisionModelWithProjection", "vision"),
        pytest.param("metaclip_2", "MetaClip2TextModelWithProjection", "text", marks=pytest.mark.slow),
        pytest.param("metaclip_2", "MetaClip2VisionModelWithProjection", "vision", marks=pytest.mark.slow),
        pytest.param("clap", "ClapTextModelWithProjection", "text", marks=pytest.mark.slow),
        ("clap", "ClapAudioModelWithProjection", "audio"),
    ],
)
def test_a_tower_that_was_saved_with_its_projection_has_its_embedding(
    model_type: str, kind: str, modality: str, tmp_path: Path, declare: Declare
) -> None:
    config = getattr(network(model_type).config, f"{modality}_config")
    torch.manual_seed(0)
    tower = getattr(transformers, kind)(config).eval()
    tower.save_pretrained(tmp_path)
    declare(tmp_path, **{modality: {}})
    backbone = layerzoo.load(f"mine/{modality}")
    assert [layer.name for layer in backbone.layers] == ["embedding"]
    example = backbone.preprocess.example(3)
    inputs = {name: _random(name, tensor) for name, tensor in example.inputs.items()}
    found = backbone.activations(replace(example, inputs=inputs))["embedding"]
    with torch.inference_mode():
        wanted = tower(**inputs if len(inputs) > 1 else {METHODS[modality][1]: next(iter(inputs.values()))})[0]
    assert wanted.shape == (3, 16)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_the_embedding_is_the_last_layer_and_the_others_are_unchanged(tmp_path: Path, declare: Declare) -> None:
    whole = saved(tmp_path, "clip")
    declare(tmp_path, vision={}, text={})
    backbone = layerzoo.load("mine/vision", layer=["block.1", "pooled", "last", "final", "embedding"])
    names = [layer.name for layer in resolved_model(backbone).spec.layers]
    assert names == ["stem", "block.0", "block.1", "pooled", "embedding"]
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        library = whole.vision_model(pixels)
    found = backbone.activations(layerzoo.Batch({"pixel_values": pixels}))
    assert torch.equal(found["pooled"], library.pooler_output)
    assert torch.equal(found["block.1"], library.last_hidden_state)
    assert backbone.layers[-1].shape == (16,)
    assert layerzoo.model("mine/vision").default.layer == "last"  # the declared fields; the files state the others


def test_a_copied_backbone_computes_its_own_embedding(tmp_path: Path, declare: Declare) -> None:
    import copy

    saved(tmp_path, "clip")
    declare(tmp_path, vision={})
    backbone = layerzoo.load("mine/vision")
    batch = layerzoo.Batch({"pixel_values": torch.randn(2, 3, 32, 32)})
    before = backbone.activations(batch)["embedding"]
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.zero_()
    assert torch.equal(backbone.activations(batch)["embedding"], before)
    assert other.activations(batch)["embedding"].abs().max() == 0


# ---------------------------------------------------------------- unit length


def test_normalize_gives_unit_length_and_is_recorded(tmp_path: Path, declare: Declare) -> None:
    saved(tmp_path, "clip")
    declare(tmp_path, vision={})
    images = [Image.fromarray(np.full((40, 30, 3), shade, dtype=np.uint8)) for shade in (0, 99, 255)]
    usual = layerzoo.extract("mine/vision", images)
    unit = layerzoo.extract("mine/vision", images, normalize=True)
    assert np.allclose(np.linalg.norm(unit.values, axis=1), 1, atol=1e-6)
    assert np.allclose(unit.values, usual.values / np.linalg.norm(usual.values, axis=1, keepdims=True), atol=1e-6)
    assert (usual.provenance["normalize"], unit.provenance["normalize"]) == (False, True)
    tokens = layerzoo.extract("mine/vision", images, layer="block.0", pool="none", normalize=True).values
    assert np.allclose(np.linalg.norm(tokens, axis=-1), 1, atol=1e-5)
    without_axes = _without_axes("module:encoder.layers.0.self_attn.k_proj")
    with pytest.raises(UsageError, match="needs a channel axis"):
        layerzoo.extract(without_axes, images, pool="none", normalize=True)


def _without_axes(selector: str) -> layerzoo.Backbone:
    backbone = layerzoo.load("mine/vision", layer=selector, pool="none")
    (layer,) = backbone.layers
    object.__setattr__(layer, "axes", None)
    return backbone


# ---------------------------------------------------------------- the worked example


def published(folder: Path) -> dict[str, bytes]:
    """Return a small random CLIP with its tokenizer and its image processor, as a repository stores them."""
    saved(folder, "clip")
    tokenizer = word_pieces(model_max_length=40)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def clip(connected: Hub, tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    connected.repository("openai/clip-vit-base-patch32").commit(published(folder))
    return folder


def test_the_code_of_the_page_on_ranking_images_ranks_like_the_library(
    clip: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "photos").mkdir()
    draw = np.random.default_rng(0)
    for number, (height, width) in enumerate([(48, 64), (32, 32), (70, 33), (40, 90)]):
        pixels = draw.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(home / "photos" / f"{number}.png")
    found = run_page(HUB_PAGE.read_text(encoding="utf-8"), HUB_PAGE.name)
    printed = [line.split()[-1] for line in capsys.readouterr().out.strip().splitlines()]
    whole, processor = network("clip"), CLIPImageProcessorPil.from_pretrained(clip)
    paths = sorted((home / "photos").iterdir())
    pixels = processor([Image.open(path) for path in paths], return_tensors="pt")
    tokens = word_pieces(model_max_length=40)(["a photo of a cat"], return_tensors="pt")
    with torch.inference_mode():
        images = whole.get_image_features(**pixels).pooler_output
        text = whole.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
    scores = torch.cosine_similarity(images, text)
    assert np.allclose(np.sort(found["scores"]), np.sort(scores.numpy()), atol=1e-5)
    assert printed == [f"photos/{paths[at].name}" for at in scores.argsort(descending=True)]


def test_a_tower_downloads_only_its_own_tensors(connected: Hub, clip: Path) -> None:
    whole = len((clip / "model.safetensors").read_bytes())
    backbone = layerzoo.load("hf/openai/clip-vit-base-patch32:text", partial=True)
    sent = connected.bytes_sent("*/model.safetensors")
    text = sum(tensor.nbytes for name, tensor in network("clip").state_dict().items() if name.startswith("text"))
    assert backbone.provenance["loaded"]["bytes"] == text
    assert text < sent < whole


def test_the_embedding_is_listed(clip: Path, zoo: Zoo) -> None:
    message = zoo("layers", "--trace", "hf/openai/clip-vit-base-patch32")
    assert (message.code, message.out.split()[-1]) == (0, "embedding")
    assert layerzoo.model("hf/openai/clip-vit-base-patch32:text").default.layer == "embedding"
