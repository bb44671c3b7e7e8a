"""A detector has features of images and of objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import layerzoo
from layerzoo.spec import FrozenMap, ModelSpec

_RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage4"],
}
DETECTORS = {
    "detr": {
        "use_timm_backbone": False,
        "backbone_config": _RESNET,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "num_queries": 7,
    },
    "yolos": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": [64, 64],
        "num_detection_tokens": 7,
    },
}
"""By model type, the configuration of a small network with seven object queries."""


def detector(model_type: str) -> ModelSpec:
    args = FrozenMap({"model_type": model_type, "config": DETECTORS[model_type]})
    return ModelSpec(id=f"mine/{model_type}", modality="vision", builder="transformers", args=args)


@pytest.mark.parametrize(("model_type", "image_layer"), [("detr", "neck.block.0"), ("yolos", "norm")])
def test_a_detector_has_a_vector_for_the_image_and_one_for_each_object(
    model_type: str, image_layer: str, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(generator.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"{index}.png")
    pools = {image_layer: "mean", "query.norm": "none"}
    backbone = layerzoo.load(detector(model_type), layer=list(pools), pool=pools, weights="random:0")
    found = layerzoo.extract(backbone, tmp_path)
    assert (found[image_layer].shape, found["query.norm"].shape) == ((2, 16), (2, 7, 16))


def test_object_tokens_of_yolos_are_not_pooled_with_the_image() -> None:
    whole = layerzoo.load(detector("yolos"), layer=["norm", "query.norm"], pool="none", weights="random:0")
    batch = whole.preprocess.example(2)
    assert batch is not None
    raw = whole.activations(batch)
    assert np.array_equal(raw["query.norm"], raw["norm"][:, -7:])
    pooled = layerzoo.load(detector("yolos"), layer="norm", pool="mean", weights="random:0")
    layer = pooled.layers[0]
    assert (layer.prefix_tokens, layer.suffix_tokens) == (1, 7)
