"""Every image model is a video model, `video/ID`, without a declaration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.terminal import Zoo

import layerzoo
from layerzoo.errors import UnknownModelError
from layerzoo.registry import registry


def test_an_image_model_is_a_video_model_by_its_id() -> None:
    base = layerzoo.model("timm/resnet50.a1_in1k")
    spec = layerzoo.model("video/timm/resnet50.a1_in1k")
    assert (spec.id, spec.modality, spec.builder, spec.base) == ("video/" + base.id, "video", "frames", base.id)
    assert (spec.layers, spec.weights, spec.license, spec.params) == (
        base.layers,
        base.weights,
        base.license,
        base.params,
    )
    assert spec.to_dict()["preprocess"]["image"] == base.to_dict()["preprocess"]
    assert spec.plugin == "layerzoo-video"


def test_an_alias_and_a_short_name_lead_to_the_full_id(home: Path) -> None:
    (home / "registry.yaml").write_text("layerzoo: 1\naliases: {fav: starter/efficientnet-lite0}\n")
    assert layerzoo.model("video/timm/resnet50").id == "video/timm/resnet50.a1_in1k"
    assert layerzoo.model("video/mine/fav").id == "video/starter/efficientnet-lite0"
    assert layerzoo.model("video/fav").id == "video/starter/efficientnet-lite0"
    assert layerzoo.model("video/test_vit").id == "video/timm/test_vit.r160_in1k"
    assert layerzoo.model("video/timm/resnet50").id == layerzoo.model(layerzoo.model("video/timm/resnet50").id).id


def test_no_list_shows_them_and_show_and_layers_do(zoo: Zoo) -> None:
    assert not [name for name in registry().ids() if name.startswith("video/")]
    assert "video/starter/efficientnet-lite0" in zoo("show", "video/starter/efficientnet-lite0").out
    assert zoo("layers", "video/starter/efficientnet-lite0").out == zoo("layers", "starter/efficientnet-lite0").out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("video/starter/minilm-l6", "only image models run on the frames of a video, and starter/minilm-l6 takes text"),
        ("video/starter/efficientnet-lite0-video", "Next: starter/efficientnet-lite0-video, which takes videos itself"),
        ("video/timm/resnet51", r"there is no model 'timm/resnet51'\. Nearest: timm/resnet5"),
        ("video/video/starter/efficientnet-lite0", "there is no model"),
        ("video/nothing", "video/nothing: there is no model 'nothing'"),
        ("video/resnet50", r"'resnet50' is ambiguous: timm/resnet50\.a1_in1k, torchvision"),
        ("video/", "there is no model"),
    ],
)
def test_what_is_no_image_model_is_an_error_with_the_next_step(name: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        layerzoo.model(name)


def test_a_user_can_disable_them(home: Path) -> None:
    (home / "registry.yaml").write_text("layerzoo: 1\ndisable: [video/*]\n")
    with pytest.raises(UnknownModelError, match="disabled"):
        layerzoo.model("video/starter/efficientnet-lite0")


def test_a_declared_model_of_the_same_id_comes_first(home: Path) -> None:
    declared = "clips: {modality: video, base: video/starter/efficientnet-lite0, preprocess: {frames: 4}}"
    (home / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n  {declared}\n")
    with pytest.raises(UnknownModelError, match="inherits from video/starter/efficientnet-lite0"):
        layerzoo.model("mine/clips")
