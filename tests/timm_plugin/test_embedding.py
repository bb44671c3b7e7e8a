"""Image towers of dual encoders: the output of timm's network is the embedding."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg

import layerzoo
from layerzoo_timm.embedding import is_image_tower


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_base_patch16_clip_224.openai", True),
        ("vit_base_patch16_clip_224.openai_ft_in12k", False),
        ("vit_base_patch16_clip_224.openai_ft_in1k", False),
        ("resnet50_clip.openai", True),
        ("convnext_base.clip_laion2b", True),
        ("convnext_base.clip_laion2b_augreg_ft_in1k", False),
        ("convnext_base.fb_in1k", False),
        ("vit_base_patch16_siglip_224.webli", True),
        ("vit_base_patch16_siglip_gap_224.webli", False),
        ("vit_base_patch14_dinov2.lvd142m", False),
        ("vit_base_patch16_224.bamboo", False),
    ],
)
def test_a_tower_is_distinguished_from_a_classifier(name: str, expected: bool) -> None:
    assert is_image_tower(name, get_pretrained_cfg(name)) is expected


def test_the_catalogue_has_the_layer_as_the_default() -> None:
    spec = layerzoo.model("timm/vit_base_patch16_clip_224.openai")
    assert spec.default.layer == "embedding"
    assert [layer.name for layer in spec.layers[-3:]] == ["pooled", "head", "embedding"]
    assert spec.layers[-1].shape == (512,)
    assert layerzoo.model("timm/vit_base_patch16_clip_224.openai_ft_in1k").default.layer == "last"


def test_the_embedding_equals_the_output_of_timms_network() -> None:
    name = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
    backbone = layerzoo.load(f"timm/{name}", weights="random:0")
    assert [layer.name for layer in backbone.layers] == ["embedding"]
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False).eval()
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        wanted = whole(pixels)
    found = backbone.activations(layerzoo.Batch({"x": pixels}))["embedding"]
    assert wanted.shape == (2, 512)
    assert torch.allclose(found, wanted, atol=1e-5)
