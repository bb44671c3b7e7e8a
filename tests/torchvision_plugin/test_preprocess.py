"""An image or a clip becomes what ``weights.transforms()`` makes of it, bit for bit, for all weights of torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.transforms.functional import pil_to_tensor

import layerzoo
from layerzoo.spec import FrozenMap, ImagePreprocess, ModelSpec
from layerzoo_torchvision import layerzoo_preprocess
from layerzoo_torchvision.arguments import Arguments


def distinct() -> dict[str, WeightsEnum]:
    """Return weights of each task and transform, by the name of the model."""
    found: dict[str, tuple[str, WeightsEnum]] = {}
    for name in models.list_models():
        for weights in models.get_model_weights(name):
            kind = Arguments(name, weights).kind
            if kind not in ("quantization", "detection"):
                found.setdefault(f"{kind} {weights.transforms()}", (f"{name}.{weights.name}", weights))
    return dict(found.values())


DISTINCT = distinct()
SAMPLE = {Arguments.of("m", {"name": name}).kind: name for name in reversed(DISTINCT)}
"""One of them for each task."""


def transform(name: str) -> Any:
    modality = "video" if Arguments.of("m", {"name": name}).kind == "video" else "vision"
    args = FrozenMap({"name": name})
    return layerzoo_preprocess(ModelSpec(id="mine/m", modality=modality, builder="torchvision", args=args))


@pytest.fixture(scope="module")
def photo(samples: Path) -> Image.Image:
    return Image.open(samples / "skimage/data/rocket.jpg").convert("RGB")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE.values() else pytest.mark.slow) for name in DISTINCT]
)
def test_it_is_the_transform_of_the_weights(name: str, photo: Image.Image) -> None:
    library = DISTINCT[name].transforms()
    kind = Arguments.of("m", {"name": name}).kind
    for image in (photo, photo.resize((95, 119)), photo.crop((0, 0, 201, 90))):
        if kind == "video":
            expected = library(torch.stack([pil_to_tensor(image)] * 2)).transpose(0, 1)
            assert np.array_equal(transform(name)([image, image]), expected)
        else:
            expected = library(image, image)[0] if kind == "optical_flow" else library(image)
            assert np.array_equal(transform(name)(image), expected)


def test_the_input_of_a_detector_is_what_it_computes_on_itself(photo: Image.Image) -> None:
    detector = models.get_model("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None).eval()
    seen: list[torch.Tensor] = []
    detector.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    weights = models.get_model_weights("fasterrcnn_mobilenet_v3_large_320_fpn").DEFAULT
    with torch.no_grad():
        detector([weights.transforms()(photo)])
    made = transform("fasterrcnn_mobilenet_v3_large_320_fpn")(photo)
    assert np.array_equal(made.inputs["pixels"], seen[0][0])
    height, width = made.inputs["image_size"]
    assert made.mask.shape == seen[0].shape[2:]
    assert made.mask[:height, :width].all()
    assert made.mask.sum() == height * width == 320 * 479
    assert not seen[0][0, :, :, width:].any()


def test_declared_values_describe_the_transform() -> None:
    declared = layerzoo.model("torchvision/resnet50").preprocess
    assert isinstance(declared, ImagePreprocess)
    assert (declared.size_px, declared.resize, declared.processor) == ((224, 224), "bilinear", "ImageClassification")
    assert declared.settings["resize_size"] == (232,)


def test_declared_values_of_a_user_are_applied_instead() -> None:
    own = ImagePreprocess(size_px=(64, 64), resize="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)  # type: ignore[arg-type]
    spec = ModelSpec(
        id="mine/m", modality="vision", builder="torchvision", args=FrozenMap({"name": "resnet18"}), preprocess=own
    )
    assert layerzoo_preprocess(spec) is None
