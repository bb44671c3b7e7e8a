"""The vectors of the objects that a detector finds are rows of the output of its own box head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.torchvision_plugin.checkpoints import saved
from torch import Tensor
from torchvision import models

import layerzoo
from layerzoo.errors import NoObjectsError
from layerzoo.spec import FrozenMap, ModelSpec

SMALL = {"min_size": 96, "max_size": 160, "rpn_post_nms_top_n_test": 40, "box_detections_per_img": 20}
FASTEST = "fasterrcnn_mobilenet_v3_large_320_fpn"
EVERY = sorted(name for name in models.list_models(module=models.detection) if "rcnn" in name and name != FASTEST)


@pytest.fixture(scope="module")
def photos(samples: Path) -> list[Path]:
    return [samples / "skimage/data/rocket.jpg", samples / "skimage/data/coffee.png"]


def detector(name: str, folder: Path, **arguments: Any) -> tuple[ModelSpec, Any]:
    """Return a detector with random weights whose scores differ between classes, and its spec."""
    torch.manual_seed(0)
    network: Any = models.get_model(name, weights=None, weights_backbone=None, **SMALL, **arguments).eval()
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.normal_(std=5 if "mobilenet" in name else 0.02)
    args = FrozenMap({"name": name, **SMALL, **arguments})
    spec = ModelSpec(id="mine/detector", modality="vision", builder="torchvision", args=args)
    return saved(spec, network, folder), network


def detected(network: Any, photos: Sequence[Path], name: str) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Return what the library's own forward pass computes: the vectors of all regions, and the objects."""
    transform = models.get_model_weights(name).DEFAULT.transforms()
    seen: list[Tensor] = []
    handle = network.roi_heads.box_head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        found = [network([transform(Image.open(photo).convert("RGB"))])[0] for photo in photos]
    handle.remove()
    return list(zip(seen, found, strict=True))


def check_objects(spec: ModelSpec | layerzoo.Backbone, network: Any, photos: Sequence[Path], name: str) -> None:
    """Compare with the library: each vector is that of a region, and gives the class scores of its object."""
    features = layerzoo.extract(spec, photos, layer="query.box", pool="none", batch_size=1)
    for vectors, (regions, objects) in zip(features.values, detected(network, photos, name), strict=True):
        assert len(vectors) == len(objects["scores"]) > 0
        own = torch.from_numpy(vectors)
        nearest = torch.cdist(own, regions, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        assert float(nearest.max()) <= 1e-4 * float(regions.norm(dim=1).max())
        with torch.no_grad():
            scores, _ = network.roi_heads.box_predictor(own)
        chosen = scores.softmax(-1)[range(len(own)), objects["labels"]]
        torch.testing.assert_close(chosen, objects["scores"], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def fastest(tmp_path_factory: pytest.TempPathFactory) -> tuple[layerzoo.Backbone, Any]:
    """Return a small detector as a backbone, and as the library's network."""
    spec, network = detector(FASTEST, tmp_path_factory.mktemp("detector"))
    return layerzoo.load(spec, layer="query.box"), network


def test_each_object_has_its_row_of_the_box_head(fastest: tuple[layerzoo.Backbone, Any], photos: list[Path]) -> None:
    check_objects(*fastest, photos, FASTEST)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_each_object_has_its_row_in_every_detector(name: str, photos: list[Path], tmp_path: Path, home: Path) -> None:
    check_objects(*detector(name, tmp_path), photos, name)


def test_a_pooling_is_over_the_objects(fastest: tuple[layerzoo.Backbone, Any], photos: list[Path]) -> None:
    backbone, _ = fastest
    unpooled, pooled = (layerzoo.extract(backbone, photos[:1], pool=pool).values for pool in ("none", "mean"))
    np.testing.assert_allclose(pooled, [rows.mean(0) for rows in unpooled], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_objects_are_the_same_in_a_batch(fastest: tuple[layerzoo.Backbone, Any], photos: list[Path]) -> None:
    backbone, _ = fastest
    images = [Image.open(photo).convert("RGB").resize((300, 200)) for photo in photos]
    together = layerzoo.extract(backbone, images, pool="none").values
    for image, objects in zip(images, together, strict=True):
        alone = layerzoo.extract(backbone, [image], pool="none").values[0]
        np.testing.assert_allclose(alone, objects, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stage", ["rpn", "roi_heads"])
def test_a_photo_without_objects_is_named(
    fastest: tuple[layerzoo.Backbone, Any], photos: list[Path], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    backbone, _ = fastest
    monkeypatch.setattr(getattr(backbone.module.network, stage), "score_thresh", 1.0)
    with pytest.raises(NoObjectsError, match=r"rocket\.jpg: no objects are found"):
        layerzoo.extract(backbone, photos[:1])
    assert layerzoo.extract(backbone, photos[:1], pool="none").values[0].shape == (0, 1024)
