"""Vision towers that take the patches of several images in one sequence equal the library's, image by image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel

import layerzoo

_TEXT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 48, "vocab_size": 300,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
}  # fmt: skip
_VISION: dict[str, Any] = {
    "depth": 3, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4, "intermediate_size": 48, "patch_size": 14
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14},
    "qwen2_5_vl": {**_VISION, "window_size": 56, "fullatt_block_indexes": [1]},
    "qwen3_vl": {**_VISION, "deepstack_visual_indexes": [1], "num_position_embeddings": 64},
    "glm4v": {**_VISION, "image_size": 56},
}
SIZES = ((70, 90), (90, 70), (60, 60), (120, 200), (61, 60))


def images() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (height, width, 3), np.uint8)) for height, width in SIZES]


def saved(folder: Path, kind: str) -> Any:
    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.for_model(kind, text_config=_TEXT, vision_config=KINDS[kind])).eval()
    network.save_pretrained(folder)
    settings = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2}
    settings["size"] = {"shortest_edge": 3136, "longest_edge": 200_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return network.visual


def of_the_library(tower: Any, folder: Path, image: Image.Image) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the tokens of the first two blocks, and of the whole tower."""
    found: list[NDArray[Any]] = []
    handles = [block.register_forward_hook(lambda _, args, output: found.append(output)) for block in tower.blocks[:2]]
    made = AutoImageProcessor.from_pretrained(folder, backend="pil")([image], return_tensors="pt")
    with torch.inference_mode():
        merged = tower(made["pixel_values"], grid_thw=made["image_grid_thw"]).pooler_output
    for handle in handles:
        handle.remove()
    return [np.asarray(output) for output in found], np.asarray(merged)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "qwen2_5_vl" else pytest.mark.slow) for kind in KINDS]
)
def test_the_tower_equals_the_librarys_for_images_of_any_size(kind: str, tmp_path: Path, home: Path) -> None:
    tower = saved(tmp_path, kind)
    row = {"modality": "vision", "builder": "transformers", "weights": f"file:{tmp_path}"}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/m": row}}))
    backbone = layerzoo.load("mine/m", layer=["stem", "block.0", "block.1", "neck"])
    pooled = layerzoo.extract(backbone, images(), batch_size=4)
    tokens = layerzoo.extract(backbone, images(), layer="block.1", pool="none")
    for at, image in enumerate(images()):
        (first, second), merged = of_the_library(tower, tmp_path, image)
        np.testing.assert_allclose(pooled["block.0"][at], first.mean(0), atol=1e-6)
        np.testing.assert_allclose(pooled["block.1"][at], second.mean(0), atol=1e-6)
        np.testing.assert_allclose(pooled["neck"][at], merged.mean(0), atol=1e-6)
        np.testing.assert_allclose(tokens["block.1"][at], second, atol=1e-6)
