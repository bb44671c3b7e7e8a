"""Every modality works with models of a folder, the hub, a plugin, and a base."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from tests.hub import Hub
from transformers import AutoConfig, AutoModel

import layerzoo

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film"])
CONFIGS: dict[str, dict[str, Any]] = {
    "text": {"model_type": "bert", **TINY, "vocab_size": 8, "max_position_embeddings": 32},
    "vision": {"model_type": "vit", **TINY, "image_size": 16, "patch_size": 8},
    "audio": {
        "model_type": "wav2vec2", **TINY, "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 4],
        "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2,
    },
    "video": {"model_type": "videomae", **TINY, "image_size": 16, "patch_size": 8, "num_frames": 4},
}  # fmt: skip
NEXT_TO: dict[str, dict[str, str]] = {
    "text": {"vocab.txt": WORDS, "tokenizer_config.json": '{"tokenizer_class": "BertTokenizer"}'},
    "vision": {
        "preprocessor_config.json": json.dumps(
            {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
        )
    },
    "audio": {"preprocessor_config.json": '{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}'},
    "video": {
        "preprocessor_config.json": json.dumps(
            {
                "image_processor_type": "VideoMAEImageProcessor",
                "size": {"shortest_edge": 16},
                "crop_size": {"height": 16, "width": 16},
            }
        )
    },
}
INPUTS: dict[str, Any] = {
    "text": "a fine film",
    "vision": np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8),
    "audio": (np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32), 16_000),
    "video": np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8),
}
MODALITIES = list(CONFIGS)
Published = Callable[[str], dict[str, bytes | str]]


def published(modality: str) -> dict[str, bytes | str]:
    """Return the files of a small model."""
    settings = dict(CONFIGS[modality])
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    torch.manual_seed(0)
    tensors = {name: tensor.clone() for name, tensor in AutoModel.from_config(config).state_dict().items()}
    return {"config.json": json.dumps(config.to_dict()), "model.safetensors": save(tensors), **NEXT_TO[modality]}


def folder_of(modality: str, where: Path) -> Path:
    where.mkdir(parents=True)
    for name, content in published(modality).items():
        (where / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return where


def registry(where: Path, *models: str) -> None:
    text = "layerzoo: 1\nmodels:\n" + "".join(f"  {each}\n" for each in models)
    (where / "registry.yaml").write_text(text, encoding="utf-8")


def own(modality: str, name: str = "m") -> str:
    return f"mine/{name}: {{modality: {modality}, builder: transformers, weights: 'file:./m'}}"


@pytest.fixture
def in_a_folder(home: Path) -> Callable[[str], np.ndarray[Any, Any]]:
    """Return the features of a model in a folder of the user."""

    def features(modality: str) -> np.ndarray[Any, Any]:
        folder_of(modality, home / "m")
        registry(home, own(modality))
        return layerzoo.extract("mine/m", [INPUTS[modality]]).values

    return features


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_model_in_a_folder(modality: str, in_a_folder: Callable[[str], np.ndarray[Any, Any]]) -> None:
    assert in_a_folder(modality).shape == (1, 16)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_repository_of_the_hub(
    modality: str, connected: Hub, in_a_folder: Callable[[str], np.ndarray[Any, Any]]
) -> None:
    connected.repository("acme/m").commit(published(modality))
    found = layerzoo.extract("hf/acme/m", [INPUTS[modality]]).values
    assert np.array_equal(found, in_a_folder(modality))


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_model_of_a_plugin(
    modality: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_a_folder: Callable[[str], np.ndarray[Any, Any]],
) -> None:
    wanted = in_a_folder(modality)
    package = tmp_path / "site" / "kinds_zoo"
    folder_of(modality, package / "m")
    registry(package, f"small: {{modality: {modality}, builder: transformers, weights: 'file:./m'}}")
    (package / "__init__.py").write_text("", encoding="utf-8")
    metadata = tmp_path / "site" / "kinds_zoo-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kinds-zoo\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[layerzoo]\nkinds = kinds_zoo\n", encoding="utf-8")
    files = [path for path in package.rglob("*") if path.is_file()]
    record = "".join(f"{path.relative_to(package.parent)},,\n" for path in files)
    (metadata / "RECORD").write_text(record, encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    try:
        assert np.array_equal(layerzoo.extract("kinds/small", [INPUTS[modality]]).values, wanted)
    finally:
        sys.modules.pop("kinds_zoo", None)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_model_with_a_base(modality: str, home: Path, in_a_folder: Callable[[str], np.ndarray[Any, Any]]) -> None:
    wanted = in_a_folder(modality)
    registry(home, own(modality), f"mine/heir: {{modality: {modality}, base: mine/m}}")
    assert np.array_equal(layerzoo.extract("mine/heir", [INPUTS[modality]]).values, wanted)


def test_frames_through_an_image_model_in_a_folder_are_preprocessed_by_its_library(home: Path) -> None:
    folder_of("vision", home / "m")
    registry(
        home,
        own("vision"),
        "mine/frames: {modality: video, builder: frames, base: mine/m, preprocess: {frames: 3}}",
    )
    video = INPUTS["video"][[0, 0, 2, 2, 4, 4]]
    frames = layerzoo.extract("mine/frames", [video]).values
    images = layerzoo.extract("mine/m", [video[0], video[2], video[4]]).values
    assert np.allclose(frames[0], images.mean(axis=0), atol=1e-6)
